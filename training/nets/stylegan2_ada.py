"""Networks of StyleGAN2-ADA (arXiv:2006.06676, appendix D): those of StyleGAN2 with other treatment of labels.

Official module, function, argument and variable names: `training.networks.G_main` and so on. What is not declared here
is as in `networks_stylegan2`: 16-bit resolutions and clamping, architectures, resampling.
"""

from typing import Any, ClassVar

import tensorflow as tf

from dnnlib.errors import short

from . import stylegan2_discriminator, stylegan2_generator, stylegan2_synthesis
from .checks import check_flags, check_numbers, check_sizes, prepare_labels
from .layers import Dense, normalize_2nd_moment
from .network_model import NetworkModel


class G_mapping(stylegan2_generator.G_mapping, family="stylegan2-ada-generator", module="training.networks"):
    """The mapping network: labels are embedded (`LabelEmbed`) and normalised by themselves, then joined with Z."""

    def __init__(
        self,
        name: str = "G_mapping",
        *,
        latent_size: int = 512,
        dlatent_size: int = 512,
        mapping_fmaps: int | None = None,
        label_fmaps: int | None = None,
        **kwargs: Any,
    ):
        """Builds the network. Arguments as in `networks_stylegan2.G_mapping`, and:

        Args:
            name: name of the network.
            latent_size: dimensions of Z.
            dlatent_size: dimensions of W.
            mapping_fmaps: width of the inner layers; None: `dlatent_size`.
            label_fmaps: features of the embedded label; None: `latent_size`.
            kwargs: the other arguments.
        """
        super().__init__(
            name,
            latent_size=latent_size,
            dlatent_size=dlatent_size,
            mapping_fmaps=dlatent_size if mapping_fmaps is None else mapping_fmaps,
            label_fmaps=latent_size if label_fmaps is None else label_fmaps,
            **kwargs,
        )


class G_synthesis(
    stylegan2_synthesis.G_synthesis_stylegan2, family="stylegan2-ada-generator", module="training.networks"
):
    """The synthesis network of StyleGAN2, with another default."""

    def __init__(self, name: str = "G_synthesis", *, fused_modconv: bool = False, **kwargs: Any):
        """Builds the network. Arguments as in `networks_stylegan2.G_synthesis_stylegan2`."""
        super().__init__(name, fused_modconv=fused_modconv, **kwargs)


class G_main(stylegan2_generator.G_main, family="stylegan2-ada-generator", module="training.networks"):
    """The generator: mapping and synthesis network with W averaging, style mixing and truncation."""

    mapping_classes: ClassVar[tuple[type[NetworkModel], ...]] = (G_mapping,)
    synthesis_classes: ClassVar[tuple[type[NetworkModel], ...]] = (G_synthesis,)
    has_lod: ClassVar[bool] = False

    def __init__(self, name: str = "G", *, synthesis_func: str = "G_synthesis", **kwargs: Any):
        """Builds the network. Arguments as in `networks_stylegan2.G_main`; `synthesis_func` is 'G_synthesis'."""
        super().__init__(name, synthesis_func=synthesis_func, **kwargs)


# What the discriminator can do officially and cannot here. The ADA paper compares these methods with its own
# (section 4.2); none of its published networks was trained with them.
_UNSUPPORTED = {
    "use_pagan": (False, "PA-GAN, which feeds random bits to the discriminator"),
    "use_spectral_norm": (False, "spectral normalisation of weights"),
    "adaptive_dropout": (0, "dropout in the discriminator"),
}


class D_main(stylegan2_discriminator.D_stylegan2, family="stylegan2-ada-discriminator", module="training.networks"):
    """The discriminator. Labels are embedded and mapped; a score is a projection on the result (arXiv:1802.05637)."""

    def __init__(
        self,
        name: str = "D",
        *,
        mapping_layers: int = 0,
        mapping_fmaps: int | None = None,
        mapping_lrmul: float = 0.1,
        mbstd_group_size: int | None = None,
        score_size: int = 1,
        score_max: int = 1,
        use_pagan: bool = False,
        use_spectral_norm: bool = False,
        adaptive_dropout: float = 0,
        augment_strength: Any = 0,
        pagan_num: int = 16,
        pagan_fade: float = 0.5,
        freeze_layers: int = 0,
        pytorch_details: bool = False,
        **kwargs: Any,
    ):
        """Builds the network. Arguments as in `networks_stylegan2.D_stylegan2`, and:

        Args:
            name: name of the network.
            mapping_layers: fully connected layers after the embedding of the label.
            mapping_fmaps: width of the embedding, of these layers, and of what is projected; None: as many as the
                features of the last layer.
            mapping_lrmul: learning-rate multiplier of these layers.
            mbstd_group_size: samples per group of the minibatch standard deviation; None: the whole minibatch.
            score_size: number of scores; 1 where there are labels.
            score_max: number of scores that there are weights for: the largest `score_size`.
            use_pagan, use_spectral_norm, adaptive_dropout: must be off.
            augment_strength, pagan_num, pagan_fade: without effect: details of what is off.
            freeze_layers: so many layers above the base, from the images on, are not trained (Freeze-D,
                arXiv:2002.10964).
            pytorch_details: where the PyTorch version differs: at the base, `FromRGB` is not clamped; a group of one
                sample has a feature map of its standard deviation, too.
            kwargs: the other arguments.

        Raises:
            ValueError: arguments that make no sense or ask for what is not supported.
        """
        given = {"use_pagan": use_pagan, "use_spectral_norm": use_spectral_norm, "adaptive_dropout": adaptive_dropout}
        wanted = [f"{key}={short(value)} ({_UNSUPPORTED[key][1]})" for key, value in given.items() if value]
        if wanted:
            raise ValueError(f"{name}: StyleGAN2-ADA networks with {' and '.join(wanted)} are not supported")
        check_numbers(name, mapping_lrmul=mapping_lrmul)
        check_flags(name, pytorch_details=pytorch_details)
        check_sizes(name, mapping_layers=mapping_layers, score_size=score_size, score_max=score_max)
        if freeze_layers != 0:
            check_sizes(name, freeze_layers=freeze_layers)
        label_size = kwargs.get("label_size", 0)
        if score_size > score_max or (label_size and score_max > 1):
            limit = "1, because there are labels" if label_size else f"score_max={score_max} or less"
            raise ValueError(f"{name}: score_size={score_size}, score_max={score_max}: score_size must be {limit}")
        super().__init__(
            name,
            mbstd_group_size=mbstd_group_size,
            mapping_layers=mapping_layers,
            mapping_fmaps=mapping_fmaps,
            mapping_lrmul=mapping_lrmul,
            score_max=score_max,
            freeze_layers=freeze_layers,
            pytorch_details=pytorch_details,
            **kwargs,
        )
        self.score_size = score_size
        self.set_io(self.io_inputs, {"scores_out": [None, score_size]})

    def _add_label_layers(
        self,
        fmaps: int,
        *,
        mapping_layers: int,
        mapping_fmaps: int | None,
        mapping_lrmul: float,
        score_max: int,
        **_options: Any,
    ) -> int:
        self.mapping_names: list[str] = []
        if not self.label_size:
            return score_max
        fmaps = fmaps if mapping_fmaps is None else mapping_fmaps
        check_sizes(self.name, mapping_fmaps=fmaps)
        self.add_child(Dense, "LabelEmbed", in_fmaps=self.label_size, fmaps=fmaps)
        self.mapping_names = [f"Mapping{idx}" for idx in range(mapping_layers)]
        for layer in self.mapping_names:
            self.add_child(Dense, layer, in_fmaps=fmaps, fmaps=fmaps, act=self.nonlinearity, lrmul=mapping_lrmul)
        return fmaps

    def _score(self, x: tf.Tensor, labels_in: Any) -> tf.Tensor:
        labels = prepare_labels(self.name, labels_in, self.label_size, tf.shape(x)[0], x.dtype)
        if labels is None:
            return x[:, : self.score_size]
        y = normalize_2nd_moment(self.LabelEmbed(labels))
        for layer in self.mapping_names:
            y = getattr(self, layer)(y)
        scale = float(y.shape[1]) ** -0.5
        return self.row(tf.reduce_sum(x * y, axis=1, keepdims=True) * scale, "Output")
