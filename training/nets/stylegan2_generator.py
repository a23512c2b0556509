"""The generator of StyleGAN2 (arXiv:1912.04958), configs b to f: the mapping network, and what joins it to synthesis.

Arguments, defaults and variable names are the official ones. Inputs and outputs are channels-first as in the official
code. The synthesis networks are in `stylegan2_synthesis`.
"""

from typing import Any, ClassVar

import tensorflow as tf

from dnnlib.tflib.ops.upfirdn_2d import downsample_2d, upsample_2d

from .generator import Generator, Mapping
from .network_model import NetworkModel
from .stylegan2_synthesis import G_synthesis_stylegan2, G_synthesis_stylegan_revised


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
        return_dlatents: bool = False,
        mapping_func: str = "G_mapping",
        synthesis_func: str = "G_synthesis_stylegan2",
        **kwargs: Any,
    ):
        """Builds the network.

        Args:
            name: name of the network.
            return_dlatents: default of each call.
            mapping_func: class of the mapping network, 'G_mapping'.
            synthesis_func: 'G_synthesis_stylegan2' or 'G_synthesis_stylegan_revised'.
            kwargs: truncation_psi, truncation_cutoff, truncation_psi_val, truncation_cutoff_val, dlatent_avg_beta,
                style_mixing_prob, is_training, is_validation: defaults of each call, see `Generator`; and the arguments
                of the two networks.
        """
        super().__init__(
            name,
            return_dlatents=return_dlatents,
            mapping_func=mapping_func,
            synthesis_func=synthesis_func,
            **kwargs,
        )
