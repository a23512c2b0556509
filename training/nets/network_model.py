"""What all networks have in common: Keras models with the arguments, inputs and outputs of the official networks."""

import contextlib
import inspect
from collections.abc import Container, Iterable
from typing import Any, ClassVar

import tensorflow as tf

from dnnlib.errors import did_you_mean, short
from dnnlib.resolutions import Resolution
from dnnlib.tflib.ops import implementation
from dnnlib.tflib.scope import KERAS_3, Scoped

from .mixed_precision import MixedPrecision

# Arguments that every official network takes and most ignore: official losses hand `is_training` to the discriminator,
# official metrics ask for `mapping_dtype`, the others describe TensorFlow 1 graphs.
COMMON_ARGUMENTS = {
    "is_training",
    "is_validation",
    "is_template_graph",
    "force_clean_graph",
    "components",
    "mapping_dtype",
}
# The default of call-time arguments: the value that the network was built with. A string, because Keras stores it.
AS_BUILT = "as built"
# Keras' names of classes in the version before, which its `.keras` files hold, by those of today. To go with the next.
_FORMERLY_REGISTERED = {
    "training.networks_stylegan>D_basic": "training.discriminator_stylegan>D_basic",
    "training.networks_stylegan2>D_stylegan": "training.discriminator_stylegan2>D_stylegan",
    "training.networks_stylegan2>D_stylegan2": "training.discriminator_stylegan2>D_stylegan2",
    "training.networks_stylegan2>G_synthesis_stylegan2": "training.synthesis_stylegan2>G_synthesis_stylegan2",
    "training.networks_stylegan2>G_synthesis_stylegan_revised": (
        "training.synthesis_stylegan2>G_synthesis_stylegan_revised"
    ),
}
_families: dict[str, list[type]] = {}


def as_built(value: Any, built: Any) -> Any:
    """`value`, or the value the network was built with."""
    return built if isinstance(value, str) and value == AS_BUILT else value


class NetworkModel(Scoped, tf.keras.Model):
    """A network: a Keras model with official variable names, input names and shapes.

    Sub-classes set `input_names`, `input_shapes`, `output_names`, `output_shapes` (channels first, None for the
    minibatch axis) with `set_io` before they return from the constructor. Networks that are built from one set of
    arguments, such as a generator and its sub-networks, name the same `family`. `module` is the official module of a
    network, wherever its file lies: the class bears it, so that Keras, pickles and messages say it.
    """

    family: ClassVar[str] = ""
    precision = MixedPrecision()  # 32 bit, where a network does not say otherwise
    resolution: Resolution  # of images, where the network has any

    def __init_subclass__(cls, family: str | None = None, module: str | None = None, **kwargs: Any):
        if module is not None:
            cls.__module__ = module
        super().__init_subclass__(**kwargs)
        former = _FORMERLY_REGISTERED.get(f"{cls.__module__}>{cls.__name__}")
        if former is not None:
            tf.keras.utils.get_custom_objects()[former] = cls
        if family is not None:
            cls.family = family
            _families.setdefault(family, []).append(cls)

    @property
    def resolution_log2(self) -> int:
        """The level of the images: log2 of the side of a square."""
        return self.resolution.log2

    def set_io(self, inputs: dict[str, list[int | None]], outputs: dict[str, list[int | None]]) -> None:
        """Names and shapes of inputs and outputs, in the official order."""
        self.io_inputs = {name: tuple(shape) for name, shape in inputs.items()}
        self.io_outputs = {name: tuple(shape) for name, shape in outputs.items()}

    @property
    def _default_save_signature(self) -> Any:
        """The signature that `tf.saved_model.save` gives a model of Keras 3 that is saved without one."""
        specs = [tf.TensorSpec(shape, tf.float32, name) for name, shape in self._exported_inputs().items()]
        return tf.function(self._portable, input_signature=specs, autograph=False)

    def _portable(self, *inputs: Any) -> Any:
        """The network made of TensorFlow's own ops, for graphs that are to run without this repository."""
        with implementation.using("ref"):
            return self(*inputs)

    def _exported_inputs(self) -> dict[str, tuple[int | None, ...]]:
        return {name: shape for name, shape in self.io_inputs.items() if shape[-1] != 0}  # no labels, no input

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Runs the network on its inputs, or on a list or a dict of them, as Keras hands them over."""
        if len(inputs) == 1 and isinstance(inputs[0], dict):
            unknown = set(inputs[0]) - set(self.io_inputs)
            if unknown:
                raise ValueError(f"{self.name}: unknown inputs {sorted(unknown)}, expected {list(self.io_inputs)}")
            inputs = tuple(inputs[0].get(name) for name in self.io_inputs)
        elif len(inputs) == 1 and isinstance(inputs[0], (list, tuple)) and all(hasattr(x, "shape") for x in inputs[0]):
            inputs = tuple(inputs[0])
        return super().__call__(*inputs, **kwargs)

    def export(self, filepath: str, *args: Any, **kwargs: Any) -> None:
        """Writes a SavedModel, as `keras.Model.export` does, with the official inputs unless told otherwise.

        `serve(latents)` or `serve(images)`; with labels as the second input where the network was built for them.
        """
        shapes = self._exported_inputs()
        if KERAS_3:
            specs = [tf.keras.InputSpec(shape=shape, dtype="float32") for shape in shapes.values()]
            kwargs.setdefault("input_signature", specs)
            with implementation.using("ref"):
                super().export(filepath, *args, **kwargs)
            return
        archive = tf.keras.export.ExportArchive()  # Keras 2 exports the first input only
        archive.track(self)
        specs = [tf.TensorSpec(shape, tf.float32, name) for name, shape in shapes.items()]
        archive.add_endpoint("serve", self._portable, input_signature=specs)
        archive.write_out(filepath)

    @classmethod
    def effective_kwargs(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Those of some arguments that this network is built with. Raises TypeError for names that none knows."""
        reject_unknown_kwargs(cls, kwargs)
        declared = cls.declared_arguments()
        return {key: value for key, value in kwargs.items() if key in declared}

    @classmethod
    def call_arguments(cls) -> frozenset[str]:
        """Names of the arguments that each call takes, besides the inputs."""
        parameters = inspect.signature(cls.call).parameters.values()
        return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    @classmethod
    def declared_arguments(cls) -> dict[str, Any]:
        """The keyword arguments of the network with their defaults: its own, and those of networks it extends."""
        declared: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            if issubclass(base, NetworkModel) and "__init__" in vars(base):
                parameters = inspect.signature(base.__init__).parameters.values()
                declared.update((p.name, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY)
        return declared

    def float32_kwargs(self) -> dict[str, Any]:
        """Arguments with which the network computes in 32 bit; none where it does so anyway."""
        in_16_bit = any(model.precision.num_fp16_res for model in (self, *self.components.values()))
        return {"num_fp16_res": 0} if in_16_bit else {}

    def without_branches(self) -> contextlib.AbstractContextManager[None]:
        """Inside, graphs are made for the level of detail of a growing network as it is now, without branches."""
        return contextlib.nullcontext()

    def rendering_kwargs(self, given: Container[str] = ()) -> dict[str, Any]:
        """Arguments with which the network computes where nothing is trained: 32 bit unless there is a GPU.

        16 bit saves CPUs little, and bfloat16, which they have, costs images visible accuracy.

        given: names of arguments that are given; with one that is about 16 bit, that is what was asked for.
        """
        asked_for = "num_fp16_res" in given or "fp16_dtype" in given
        return {} if asked_for or tf.config.get_visible_devices("GPU") else self.float32_kwargs()

    @classmethod
    def family_arguments(cls) -> set[str]:
        """The names of the arguments of all networks of the family."""
        return {name for relative in _families[cls.family] for name in relative.declared_arguments()}

    @classmethod
    def unknown_arguments(cls, names: Iterable[str]) -> list[str]:
        """Those of some names that are an argument of no network of the family, sorted."""
        return sorted(set(names) - cls.family_arguments() - COMMON_ARGUMENTS)

    @classmethod
    def ignored_arguments(cls, names: Iterable[str]) -> dict[str, str]:
        """Those of some names that no network of the family takes, neither when it is built nor when it is called.

        The values say what may have been meant: ' (did you mean fmap_max?)', or nothing.
        """
        of_calls = {name for relative in _families[cls.family] for name in relative.call_arguments()}
        known = cls.family_arguments() | of_calls
        return {name: did_you_mean(name, known) for name in cls.unknown_arguments(names) if name not in of_calls}

    @property
    def components(self) -> dict[str, "NetworkModel"]:
        """Sub-networks by their official component names (a generator has `synthesis` and `mapping`)."""
        return {}


_MOST_UNKNOWN = 10  # arguments in a message


def reject_unknown_kwargs(cls: type[NetworkModel], kwargs: Iterable[str]) -> None:
    """Raises TypeError for names that are an argument of no network of the family of `cls`.

    The official networks hand all their arguments down to their sub-networks, which ignore what is not theirs; a
    misspelt one is ignored as well. Here every name must belong to one of the networks involved.
    """
    unknown, known = cls.unknown_arguments(kwargs), cls.family_arguments()
    if unknown:
        messages = [f"unknown argument {short(name)}{did_you_mean(name, known)}" for name in unknown[:_MOST_UNKNOWN]]
        more = [f"and {len(unknown) - _MOST_UNKNOWN} more"] if len(unknown) > _MOST_UNKNOWN else []
        raise TypeError(f"{cls.__name__}: {'; '.join([*messages, *more])}. Known: {', '.join(sorted(known))}")
