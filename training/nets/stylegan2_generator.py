"""Networks of the StyleGAN2 paper (arXiv:1912.04958): configs b to f, with every G and D architecture.

Arguments, defaults and variable names are the official ones. Inputs and outputs are channels-first as in the official
code. The synthesis and discriminator networks have modules of their own.
"""

from typing import Any, ClassVar

import tensorflow as tf

from dnnlib.tflib.ops.upfirdn_2d import downsample_2d, upsample_2d

from .checks import check_choice
from .generator import Generator, Mapping
from .layers import minibatch_stddev_layer
from .network_model import NetworkModel, reject_unknown_kwargs
from .stylegan2_discriminator import D_stylegan, D_stylegan2
from .stylegan2_synthesis import G_synthesis_stylegan2, G_synthesis_stylegan_revised

__all__ = [
    "D_stylegan",
    "D_stylegan2",
    "G_main",
    "G_mapping",
    "G_synthesis_stylegan2",
    "G_synthesis_stylegan_revised",
    "minibatch_stddev_layer",
    "naive_downsample_2d",
    "naive_upsample_2d",
]


def naive_upsample_2d(x: tf.Tensor, factor: int = 2, data_format: str = "NCHW") -> tf.Tensor:
    """Enlarges images by repeating pixels."""
    return upsample_2d(x, k=None, factor=factor, data_format=data_format)


def naive_downsample_2d(x: tf.Tensor, factor: int = 2, data_format: str = "NCHW") -> tf.Tensor:
    """Reduces images by averaging blocks of pixels."""
    return downsample_2d(x, k=None, factor=factor, data_format=data_format)


# ----------------------------------------------------------------------------
# Mapping network: Z -> W.


class G_mapping(Mapping, family="stylegan2-generator", module="training.networks_stylegan2"):
    """The mapping network: 8 fully connected layers with a low learning rate (StyleGAN, section 2)."""

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
            _kwargs: arguments of the generator's other networks, ignored.
        """
        super().__init__(name)
        reject_unknown_kwargs(type(self), _kwargs)
        self.setup(
            latent_size=latent_size,
            label_size=label_size,
            dlatent_size=dlatent_size,
            dlatent_broadcast=dlatent_broadcast,
            mapping_layers=mapping_layers,
            mapping_fmaps=mapping_fmaps,
            normalize_latents=normalize_latents,
            dtype=dtype,
            dense_kwargs={"act": mapping_nonlinearity, "lrmul": mapping_lrmul},
            label_fmaps=_kwargs.get("label_fmaps"),  # of StyleGAN2-ADA
        )


# ----------------------------------------------------------------------------
# The generator.


class G_main(Generator, family="stylegan2-generator", module="training.networks_stylegan2"):
    """The StyleGAN2 generator: mapping and synthesis network with W averaging, style mixing and truncation."""

    mapping_classes: ClassVar[tuple[type[NetworkModel], ...]] = (G_mapping,)
    synthesis_classes: ClassVar[tuple[type[NetworkModel], ...]] = (G_synthesis_stylegan2, G_synthesis_stylegan_revised)

    def __init__(
        self,
        name: str = "G",
        *,
        truncation_psi: float | None = 0.5,
        truncation_cutoff: int | None = None,
        truncation_psi_val: float | None = None,
        truncation_cutoff_val: int | None = None,
        dlatent_avg_beta: float | None = 0.995,
        style_mixing_prob: float | None = 0.9,
        is_training: bool = False,
        is_validation: bool = False,
        return_dlatents: bool = False,
        mapping_func: str = "G_mapping",
        synthesis_func: str = "G_synthesis_stylegan2",
        **kwargs: Any,
    ):
        """Builds the network. See `Generator.call` for the first nine arguments.

        Args:
            name: name of the network.
            truncation_psi, truncation_cutoff, truncation_psi_val, truncation_cutoff_val, dlatent_avg_beta,
                style_mixing_prob, is_training, is_validation, return_dlatents: defaults of each call.
            mapping_func: class of the mapping network, 'G_mapping'.
            synthesis_func: 'G_synthesis_stylegan2' or 'G_synthesis_stylegan_revised'.
            kwargs: arguments of the two.
        """
        mapping_classes = {cls.__name__: cls for cls in self.mapping_classes}
        synthesis_classes = {cls.__name__: cls for cls in self.synthesis_classes}
        check_choice(name, "mapping_func", mapping_func, mapping_classes)
        check_choice(name, "synthesis_func", synthesis_func, synthesis_classes)
        super().__init__(
            name,
            mapping_class=mapping_classes[mapping_func],
            synthesis_class=synthesis_classes[synthesis_func],
            options={
                "truncation_psi": truncation_psi,
                "truncation_cutoff": truncation_cutoff,
                "truncation_psi_val": truncation_psi_val,
                "truncation_cutoff_val": truncation_cutoff_val,
                "dlatent_avg_beta": dlatent_avg_beta,
                "style_mixing_prob": style_mixing_prob,
                "is_training": is_training,
                "is_validation": is_validation,
                "return_dlatents": return_dlatents,
            },
            kwargs=kwargs,
        )
