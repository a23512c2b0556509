"""The outer network of a generator: W averaging, style mixing and truncation around `mapping` and `synthesis`."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from dnnlib.resolutions import Size
from dnnlib.tflib import random_stream, replicas
from dnnlib.tflib.scope import Scoped, random_normal
from dnnlib.tflib.tfutil import finite_or, lerp

from .checks import check_choice, check_common, check_flags, check_numbers, check_sizes, prepare_labels, resolution_of
from .growing import fixed_lod, lod_is_fixed, whole_lod
from .layers import Dense, normalize_2nd_moment
from .network_model import AS_BUILT, COMMON_ARGUMENTS, NetworkModel, as_built, reject_unknown_kwargs

NoiseImages = Sequence[tf.Tensor | None]
"""A noise image `[N or 1, 1, H, W]` for each noise variable; None is no noise there."""


class Generator(NetworkModel):
    """latents `[N, latent_size]`, labels `[N, label_size]` -> images `[N, C, H, W]`.

    Base of `networks_stylegan2.G_main`, `networks_stylegan.G_style` and `networks.G_main`, which add their
    sub-networks and defaults.
    Variables of its own: `lod`, the level of detail of progressive growing (not in StyleGAN2-ADA), and `dlatent_avg`,
    the average of W.
    """

    # Whether truncation without a cutoff covers all layers (StyleGAN2) or none (StyleGAN).
    truncate_without_cutoff: ClassVar[bool] = True
    truncation_row: ClassVar[str] = "Truncation/Lerp"
    has_lod: ClassVar[bool] = True
    # What `mapping_func` and `synthesis_func` may name in generators with these arguments; the first is the default.
    mapping_classes: ClassVar[tuple[type[NetworkModel], ...]]
    synthesis_classes: ClassVar[tuple[type[NetworkModel], ...]]

    def __init__(
        self,
        name: str = "G",
        *,
        truncation_psi: float | None = 0.5,
        truncation_cutoff: float | None = None,
        truncation_psi_val: float | None = None,
        truncation_cutoff_val: float | None = None,
        dlatent_avg_beta: float | None = 0.995,
        style_mixing_prob: float | None = 0.9,
        is_training: bool = False,
        is_validation: bool = False,
        **kwargs: Any,
    ):
        """Builds the network. `call` explains the named arguments; the others go to the two sub-networks."""
        super().__init__(name)
        reject_unknown_kwargs(type(self), kwargs)
        numbers = {
            "truncation_psi": truncation_psi,
            "truncation_cutoff": truncation_cutoff,
            "truncation_psi_val": truncation_psi_val,
            "truncation_cutoff_val": truncation_cutoff_val,
            "dlatent_avg_beta": dlatent_avg_beta,
            "style_mixing_prob": style_mixing_prob,
        }
        check_numbers(name, **numbers)
        flags = {"is_training": is_training, "is_validation": is_validation}
        flags["return_dlatents"] = kwargs.get("return_dlatents", False)
        check_flags(name, **flags)
        self.options = {**numbers, **flags}
        mapping_class = self._chosen("mapping_func", self.mapping_classes, kwargs)
        synthesis_class = self._chosen("synthesis_func", self.synthesis_classes, kwargs)
        own = {*self.declared_arguments(), *COMMON_ARGUMENTS}
        kwargs = {key: value for key, value in kwargs.items() if key not in own}
        if self.has_lod:
            self.add_variable("lod", [], trainable=False)
        self.add_variable("dlatent_avg", [kwargs.get("dlatent_size", 512)], trainable=False)
        synthesis = self.add_child(synthesis_class, "G_synthesis", **kwargs)
        num_layers = synthesis.io_inputs["dlatents_in"][1]
        mapping_kwargs = {"dlatent_broadcast": num_layers, **kwargs}
        check_choice(name, "dlatent_broadcast", mapping_kwargs["dlatent_broadcast"], (num_layers,))
        mapping = self.add_child(mapping_class, "G_mapping", **mapping_kwargs)
        self.resolution = synthesis.resolution
        self.set_io(mapping.io_inputs, synthesis.io_outputs)

    def _chosen(self, argument: str, classes: tuple[type[NetworkModel], ...], kwargs: dict[str, Any]) -> Any:
        by_name = {cls.__name__: cls for cls in classes}
        name = kwargs.get(argument, classes[0].__name__)
        check_choice(self.name, argument, name, by_name)
        return by_name[name]

    @property
    def components(self) -> dict[str, NetworkModel]:
        return {"synthesis": self.G_synthesis, "mapping": self.G_mapping}

    @classmethod
    def effective_kwargs(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        reject_unknown_kwargs(cls, kwargs)
        return {key: value for key, value in kwargs.items() if key not in COMMON_ARGUMENTS}

    def without_branches(self) -> contextlib.AbstractContextManager[None]:
        if not hasattr(self.G_synthesis, "lod"):
            return super().without_branches()
        with tf.init_scope():  # where a graph is being made, too
            self.G_synthesis.lod.assign(tf.convert_to_tensor(self.lod))  # which a call does otherwise
            return fixed_lod(float(self.lod.numpy()))

    def call(
        self,
        latents_in: tf.Tensor,
        labels_in: tf.Tensor | None = None,
        *,
        truncation_psi: Any = AS_BUILT,
        truncation_cutoff: Any = AS_BUILT,
        truncation_psi_val: Any = AS_BUILT,
        truncation_cutoff_val: Any = AS_BUILT,
        dlatent_avg_beta: Any = AS_BUILT,
        style_mixing_prob: Any = AS_BUILT,
        is_training: Any = AS_BUILT,
        is_validation: Any = AS_BUILT,
        return_dlatents: Any = AS_BUILT,
        randomize_noise: Any = AS_BUILT,
        noise: NoiseImages | None = None,
    ) -> Any:
        """Generates images. All keyword arguments default to what the network was built with.

        Args:
            latents_in: Z, `[N, latent_size]`.
            labels_in: `[N, label_size]`; None is all zeros.
            truncation_psi: 1 is no truncation, 0 the average image; None is no truncation.
            truncation_cutoff: number of layers that are truncated; None is all of them (StyleGAN: none).
            truncation_psi_val, truncation_cutoff_val: what replaces the two above where `is_validation`.
            dlatent_avg_beta: decay of `dlatent_avg` per step in training; None or 1 keeps it.
            style_mixing_prob: probability that a training image takes its last layers from a second latent.
            is_training: W averaging and style mixing on, truncation off.
            is_validation: use the `_val` arguments.
            return_dlatents: return (images, dlatents) with dlatents `[N, layers, dlatent_size]` (StyleGAN2).
            randomize_noise: fresh noise instead of the noise variables.
            noise: images used in place of both.
        """
        option = self.options
        psi = as_built(truncation_psi, option["truncation_psi"])
        cutoff = as_built(truncation_cutoff, option["truncation_cutoff"])
        if as_built(is_validation, option["is_validation"]):
            psi = as_built(truncation_psi_val, option["truncation_psi_val"])
            cutoff = as_built(truncation_cutoff_val, option["truncation_cutoff_val"])

        latents_in = tf.convert_to_tensor(latents_in)
        if as_built(is_training, option["is_training"]):
            dlatents = self.G_mapping(latents_in, labels_in)
            self._update_average(dlatents, as_built(dlatent_avg_beta, option["dlatent_avg_beta"]))
            dlatents = self._mix_styles(
                dlatents, latents_in, labels_in, as_built(style_mixing_prob, option["style_mixing_prob"])
            )
        else:
            dlatents = self._truncate(self.G_mapping(latents_in, labels_in), psi, cutoff)

        if hasattr(self.G_synthesis, "lod") and not lod_is_fixed():
            # As officially, rendering sets the level of detail of the sub-network.
            self.G_synthesis.lod.assign(tf.convert_to_tensor(self.lod))
        images = self.G_synthesis(dlatents, randomize_noise=randomize_noise, noise=noise)
        return (images, dlatents) if as_built(return_dlatents, option["return_dlatents"]) else images

    def _update_average(self, dlatents: tf.Tensor, beta: Any) -> None:
        if beta is None or (not tf.is_tensor(beta) and beta == 1):
            return
        average = tf.convert_to_tensor(self.dlatent_avg)
        batch_avg = tf.reduce_mean(tf.cast(dlatents[:, 0], tf.float32), axis=0)  # [dlatent_size]
        for of_replica in replicas.gather(batch_avg):  # one after the other, as one device does it in rounds
            average = finite_or(lerp(of_replica, average, beta), average)
        self.dlatent_avg.assign(average)

    def _mix_styles(self, dlatents: tf.Tensor, latents: tf.Tensor, labels: Any, prob: Any) -> tf.Tensor:
        """Style mixing regularization (StyleGAN, section 3.1): layers from a random one on take a second latent."""
        if prob is None or (not tf.is_tensor(prob) and prob <= 0):
            return dlatents
        dlatents2 = self.G_mapping(random_stream.normal(tf.shape(latents), latents.dtype), labels)
        num_layers = dlatents.shape[1]
        # Without branches, and with numbers of layers as float32: the host would wait for others that a GPU computes.
        layer_idx = tf.range(num_layers, dtype=tf.float32)[tf.newaxis, :, tf.newaxis]  # [1, layers, 1]
        cur_layers = num_layers - whole_lod(self.lod) * 2 if self.has_lod else num_layers
        mixes = random_stream.uniform([]) < prob
        first_other = tf.cast(random_stream.uniform([], 1, cur_layers, tf.int32), tf.float32)
        mixing_cutoff = tf.where(mixes, first_other, tf.cast(cur_layers, tf.float32))
        return tf.where(layer_idx < mixing_cutoff, dlatents, dlatents2)

    def _truncate(self, dlatents: tf.Tensor, psi: Any, cutoff: Any) -> tf.Tensor:
        """Truncation trick (StyleGAN, appendix B): W moves towards its average, in the first `cutoff` layers."""
        if psi is None or (not tf.is_tensor(psi) and psi == 1):
            return dlatents
        if cutoff is None and not self.truncate_without_cutoff:
            return dlatents
        layer_psi = tf.ones([1, dlatents.shape[1], 1]) * tf.cast(psi, tf.float32)  # [1, layers, 1]
        if cutoff is not None:
            layer_idx = tf.range(dlatents.shape[1], dtype=tf.float32)[tf.newaxis, :, tf.newaxis]
            layer_psi = tf.where(layer_idx < tf.cast(cutoff, tf.float32), layer_psi, tf.ones_like(layer_psi))
        average = tf.cast(tf.convert_to_tensor(self.dlatent_avg), dlatents.dtype)
        return self.row(lerp(average, dlatents, tf.cast(layer_psi, dlatents.dtype)), self.truncation_row)


class Synthesis(NetworkModel):
    """Base of the synthesis networks: dlatents `[N, layers, dlatent_size]` -> images `[N, C, H, W]`.

    Keeps the noise variables `noise0`, `noise1`, ... and decides where the noise of a call comes from.
    """

    def set_resolution(self, resolution: Size, base: Size | None) -> None:
        """Sets the resolution of the images, and the number of layers, two for each level."""
        self.resolution = resolution_of(self.name, resolution, base)
        self.num_layers = 2 * len(self.resolution.levels)

    def styled_layers(self, lod: float) -> list[tuple[Any, int]]:
        """What has affine layers (`affine`) on which images hang, from the base up; and the index of the W of each.

        lod: the level of detail of a network that grows.
        """
        raise NotImplementedError

    def add_noise_variables(self, levels: list[int]) -> None:
        """Creates a noise image `[1, 1, H, W]` for each of some levels."""
        self.num_noises = len(levels)
        for idx, level in enumerate(levels):
            size = self.resolution.size(level)
            self.add_variable(f"noise{idx}", [1, 1, *size], random_normal(), trainable=False)

    def start(
        self, dlatents_in: Any, randomize_noise: Any, noise: NoiseImages | None
    ) -> tuple[list[tf.Tensor], Callable[[int], tf.Tensor | None]]:
        """Checked dlatents, `[N, dlatent_size]` of each layer, and a function from layer index to its noise.

        The noise is `[N or 1, 1, H, W]`; None where there is none. For the arguments see `Generator.call`.
        """
        dlatents = tf.cast(dlatents_in, self.activation_dtype)
        expected = self.io_inputs["dlatents_in"]
        if dlatents.shape.rank != 3 or not dlatents.shape.is_compatible_with(expected):
            shape = f"[N, {expected[1]}, {expected[2]}]"
            raise ValueError(f"{self.name}: dlatents must have shape {shape}, got {dlatents.shape}")
        minibatch = dlatents.shape[0] or tf.shape(dlatents)[0]
        randomize_noise = as_built(randomize_noise, self.randomize_noise)
        if noise is not None and len(noise) != self.num_noises:
            raise ValueError(f"{self.name}: noise must be a list of {self.num_noises} tensors, got {len(noise)}")

        def noise_of(idx: int) -> tf.Tensor | None:
            if not self.num_noises:
                return None
            if noise is not None:
                return None if noise[idx] is None else tf.convert_to_tensor(noise[idx])
            variable = getattr(self, f"noise{idx}")
            if randomize_noise:
                return random_stream.normal([minibatch, *variable.shape[1:]])
            return tf.convert_to_tensor(variable)

        return tf.unstack(dlatents, axis=1), noise_of


def noise_variables(synthesis: Any) -> list[Any]:
    """The variables of a synthesis network (a `Network`) that hold its noise images, `[1, 1, H, W]` each, in order."""
    return [variable for name, variable in synthesis.vars.items() if name.startswith("noise")]


class Mapping(NetworkModel):
    """Base of the mapping networks: latents `[N, latent_size]`, labels -> dlatents `[N, broadcast, dlatent_size]`.

    With `dlatent_broadcast=None` the result is `[N, dlatent_size]`. A low learning rate (`lrmul`) keeps the fully
    connected layers stable (StyleGAN, appendix C).
    """

    normalize_row: ClassVar[str] = "Normalize"

    def __init__(
        self,
        name: str = "G_mapping",
        *,
        latent_size: int = 512,
        label_size: int = 0,
        dlatent_size: int = 512,
        dlatent_broadcast: int | None = None,
        mapping_layers: int = 8,
        mapping_fmaps: int = 512,
        mapping_lrmul: float = 0.01,
        mapping_nonlinearity: str = "lrelu",
        normalize_latents: bool = True,
        dtype: str = "float32",
        **_kwargs: Any,
    ):
        """Builds the network.

        Args:
            name: name of the network.
            latent_size: dimensions of Z.
            label_size: number of labels; 0 for none.
            dlatent_size: dimensions of W.
            dlatent_broadcast: output W repeated so many times, `[N, broadcast, dlatent_size]`; None: `[N, dlatent]`.
            mapping_layers: number of layers.
            mapping_fmaps: width of the inner layers.
            mapping_lrmul: learning-rate multiplier.
            mapping_nonlinearity: activation.
            normalize_latents: scale Z (joined with the labels) to unit mean square first.
            dtype: type of activations and output.
            _kwargs: arguments of the generator's other networks, ignored; `label_fmaps`, see `networks.G_mapping`.
        """
        super().__init__(name)
        reject_unknown_kwargs(type(self), _kwargs)
        dense_kwargs = {"act": mapping_nonlinearity, "lrmul": mapping_lrmul}
        dense_kwargs |= self._equalized_kwargs(mapping_nonlinearity, **_kwargs)
        # Of StyleGAN2-ADA: labels are embedded in so many features and normalised. None: they are multiplied by a
        # matrix, and normalised together with Z.
        label_fmaps = _kwargs.get("label_fmaps")
        check_common(name, mapping_nonlinearity, dtype, latent_size=latent_size, label_size=label_size)
        check_numbers(name, mapping_lrmul=mapping_lrmul)
        check_flags(name, normalize_latents=normalize_latents)
        if dlatent_broadcast is not None:
            check_sizes(name, dlatent_broadcast=dlatent_broadcast)
        check_sizes(name, dlatent_size=dlatent_size, mapping_layers=mapping_layers, mapping_fmaps=mapping_fmaps)
        self.latent_size = latent_size
        self.label_size = label_size
        self.dlatent_broadcast = dlatent_broadcast
        self.normalize_latents = normalize_latents
        self.activation_dtype = dtype
        shape = [None, dlatent_size] if dlatent_broadcast is None else [None, dlatent_broadcast, dlatent_size]
        self.set_io({"latents_in": [None, latent_size], "labels_in": [None, label_size]}, {"dlatents_out": shape})

        in_fmaps = latent_size
        if label_size and label_fmaps is None:
            self.add_child(LabelConcat, "LabelConcat", label_size=label_size, latent_size=latent_size)
            in_fmaps += latent_size
        elif label_size:
            check_sizes(name, label_fmaps=label_fmaps)
            self.add_child(Dense, "LabelEmbed", in_fmaps=label_size, fmaps=label_fmaps)
            in_fmaps += label_fmaps
        self.dense_names = [f"Dense{idx}" for idx in range(mapping_layers)]
        for layer in self.dense_names:
            fmaps = dlatent_size if layer == self.dense_names[-1] else mapping_fmaps
            self.add_child(Dense, layer, in_fmaps=in_fmaps, fmaps=fmaps, **dense_kwargs)
            in_fmaps = fmaps
        if dlatent_broadcast is not None and in_fmaps != dlatent_size:  # of a generator
            raise ValueError(f"{name}: mapping_layers=0 makes W of {in_fmaps} numbers, dlatent_size={dlatent_size}")

    def _equalized_kwargs(self, act: str, **_kwargs: Any) -> dict[str, Any]:
        """Arguments of `EqualizedLayer` for the layers, besides `lrmul`."""
        return {}

    def call(self, latents_in: tf.Tensor, labels_in: tf.Tensor | None = None) -> tf.Tensor:
        """Z `[N, latent_size]` (and labels `[N, label_size]`, None: zeros) to W."""
        x = tf.cast(latents_in, self.activation_dtype)
        if x.shape.rank != 2 or not x.shape.is_compatible_with(self.io_inputs["latents_in"]):
            raise ValueError(f"{self.name}: latents must have shape [N, {self.latent_size}], got {x.shape}")
        labels = prepare_labels(self.name, labels_in, self.label_size, tf.shape(x)[0], x.dtype)
        embedded = labels is not None and hasattr(self, "LabelEmbed")
        if labels is not None and not embedded:
            x = self.LabelConcat(x, labels)
        if self.normalize_latents:
            x = self.row(normalize_2nd_moment(x), self.normalize_row)
        if embedded:
            x = tf.concat([x, normalize_2nd_moment(self.LabelEmbed(labels))], axis=1)
        for layer in self.dense_names:
            x = getattr(self, layer)(x)
        if self.dlatent_broadcast is None:
            return x
        return self.row(tf.tile(x[:, tf.newaxis], [1, self.dlatent_broadcast, 1]), "Broadcast")  # [N, layers, dlatent]


class LabelConcat(Scoped):
    """Joins latents `[N, C]` and embedded labels: `[N, L]` -> `[N, 2 C]`, with a weight `[L, C]`."""

    def __init__(self, name: str, *, label_size: int, latent_size: int):
        super().__init__(name)
        self.add_variable("weight", [label_size, latent_size], random_normal())

    def call(self, x: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return self.row(tf.concat([x, tf.matmul(labels, tf.cast(self.weight, x.dtype))], axis=1))
