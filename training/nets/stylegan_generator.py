"""The generator of the original StyleGAN (arXiv:1812.04948), config a of the StyleGAN2 paper.

Arguments, defaults and variable names are the official ones. Inputs and outputs are channels-first as in the official
code; inside, feature maps and images are `[N, H, W, C]`.
"""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from dnnlib.resolutions import Size

from .checks import check_choice, check_common, check_flags, check_kernel, feature_maps
from .generator import Generator, Mapping, NoiseImages, Synthesis
from .growing import STRUCTURES, GeneratorSteps, grow_generator, resolve_structure
from .layers import Conv2D
from .network_model import AS_BUILT, reject_unknown_kwargs
from .stylegan_layers import (
    GAIN,
    Block,
    ConstLayer,
    ConvLayer,
    ConvUpLayer,
    DenseLayer,
    upscale2d,
)


class G_mapping(Mapping, family="stylegan-generator", module="training.networks_stylegan"):
    """The mapping network: Z to W by 8 fully connected layers with a low learning rate (section 2)."""

    normalize_row = "PixelNorm"

    def __init__(self, name: str = "G_mapping", *, use_wscale: bool = True, **kwargs: Any):
        """Builds the network. Arguments as in `networks_stylegan2.G_mapping`, and:

        use_wscale: equalized learning rate.
        """
        super().__init__(name, use_wscale=use_wscale, **kwargs)

    def _equalized_kwargs(self, act: str, *, use_wscale: bool, **_kwargs: Any) -> dict[str, Any]:
        check_choice(self.name, "mapping_nonlinearity", act, GAIN)
        check_flags(self.name, use_wscale=use_wscale)
        return {"gain": GAIN[act], "use_wscale": use_wscale, "act_gain": 1}


class G_synthesis(Synthesis, family="stylegan-generator", module="training.networks_stylegan"):
    """The synthesis network: W to images, by AdaIN (section 2); progressive growing."""

    def __init__(
        self,
        name: str = "G_synthesis",
        *,
        dlatent_size: int = 512,
        num_channels: int = 3,
        resolution: Size = 1024,
        base: Size | None = None,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        use_styles: bool = True,
        const_input_layer: bool = True,
        use_noise: bool = True,
        randomize_noise: bool = True,
        nonlinearity: str = "lrelu",
        use_wscale: bool = True,
        use_pixel_norm: bool = False,
        use_instance_norm: bool = True,
        dtype: str = "float32",
        fused_scale: bool | str = "auto",
        blur_filter: Sequence[float] | None = (1, 2, 1),
        structure: str = "auto",
        **_kwargs: Any,
    ):
        """Builds the network.

        Args:
            name: name of the network.
            dlatent_size: dimensions of W.
            num_channels: image channels.
            resolution: side of square images, or `[height, width]`.
            base: size of the learned constant, which is doubled to the resolution; None: see `dnnlib.resolutions`.
            fmap_base: feature maps times resolution / 2, before clipping; resolution is 2 to the power of the level.
            fmap_decay: exponent by which feature maps fall with resolution.
            fmap_max: largest number of feature maps.
            use_styles: style modulation.
            const_input_layer: start from a learned constant; False: from W by a fully connected layer.
            use_noise: noise inputs.
            randomize_noise: fresh noise in each call instead of the noise variables.
            nonlinearity: 'relu' or 'lrelu'.
            use_wscale: equalized learning rate.
            use_pixel_norm: pixelwise normalisation.
            use_instance_norm: instance normalisation.
            dtype: type of activations and output.
            fused_scale: upsampling joined with the convolution; 'auto': from 128x128 on.
            blur_filter: low-pass filter of resampling; None: none.
            structure: explained in `growing`.
            _kwargs: arguments of the generator's other networks, ignored.
        """
        super().__init__(name)
        reject_unknown_kwargs(type(self), _kwargs)
        check_common(name, nonlinearity, dtype, dlatent_size=dlatent_size, num_channels=num_channels)
        check_choice(name, "nonlinearity", nonlinearity, GAIN)
        check_choice(name, "structure", structure, STRUCTURES)
        check_choice(name, "fused_scale", fused_scale, (True, False, "auto"))
        check_kernel(name, "blur_filter", blur_filter)
        check_flags(name, use_styles=use_styles, const_input_layer=const_input_layer, use_noise=use_noise)
        check_flags(name, randomize_noise=randomize_noise, use_wscale=use_wscale)
        check_flags(name, use_pixel_norm=use_pixel_norm, use_instance_norm=use_instance_norm)
        self.set_resolution(resolution, base)
        first_level = self.resolution.first_log2
        self.use_styles = use_styles
        self.randomize_noise = randomize_noise
        self.activation_dtype = dtype
        self.structure = structure
        self.set_io(
            {"dlatents_in": [None, self.num_layers if use_styles else 1, dlatent_size]},
            {"images_out": [None, num_channels, *self.resolution[:2]]},
        )
        nf = feature_maps(fmap_base, fmap_decay, 1, fmap_max)
        epilogue = {
            "dlatent_size": dlatent_size,
            "use_noise": use_noise,
            "use_pixel_norm": use_pixel_norm,
            "use_instance_norm": use_instance_norm,
            "use_styles": use_styles,
        }
        layer = {"act": nonlinearity, "use_wscale": use_wscale, "epilogue": epilogue}
        up = {"fused_scale": fused_scale, "blur_filter": blur_filter}
        rgb = {"kernel": 1, "use_wscale": use_wscale}

        self.add_variable("lod", [], trainable=False)
        self.add_noise_variables([first_level + idx // 2 for idx in range(self.num_layers)] if use_noise else [])
        for res in range(first_level, self.resolution.log2 + 1):
            fmaps, in_fmaps = nf(res - 1), nf(res - 2)
            if res == first_level:
                first = ("Const", ConstLayer) if const_input_layer else ("Dense", DenseLayer)
                layers = {
                    first[0]: (first[1], {"size": self.resolution.base, "fmaps": fmaps, **layer}),
                    "Conv": (ConvLayer, {"in_fmaps": fmaps, "fmaps": fmaps, **layer}),
                }
            else:
                layers = {
                    "Conv0_up": (ConvUpLayer, {"in_fmaps": in_fmaps, "fmaps": fmaps, **layer, **up}),
                    "Conv1": (ConvLayer, {"in_fmaps": fmaps, "fmaps": fmaps, **layer}),
                }
            self.add_child(Block, f"{2**res}x{2**res}", layers=layers)
            level = self.resolution_log2 - res
            if structure != "fixed" or level == 0:
                self.add_child(Conv2D, f"ToRGB_lod{level}", in_fmaps=fmaps, fmaps=num_channels, **rgb)

    def styled_layers(self, lod: float) -> list[tuple[Any, int]]:
        lod = 0 if self.structure == "fixed" else lod
        layers = []
        for res in range(self.resolution.first_log2, self.resolution.log2 + 1 - math.floor(lod)):
            block = getattr(self, f"{2**res}x{2**res}")
            layers += [block.sublayer(0), block.sublayer(1)] if self.use_styles else []
        return [(layer.StyleMod, idx) for idx, layer in enumerate(layers)]

    def call(
        self, dlatents_in: tf.Tensor, *, randomize_noise: Any = AS_BUILT, noise: NoiseImages | None = None
    ) -> tf.Tensor:
        """W `[N, layers, dlatent_size]` to images `[N, C, H, W]` at the level of detail `lod`."""
        dlatents, noise_of = self.start(dlatents_in, randomize_noise, noise)
        if not self.use_styles:  # one for all
            dlatents *= self.num_layers

        first_level = self.resolution.first_log2

        def block(x: tf.Tensor, res: int) -> tf.Tensor:
            layers = getattr(self, f"{2**res}x{2**res}")
            idx = 2 * (res - first_level)
            x = layers.sublayer(0)(x, dlatents[idx], noise_of(idx))
            return layers.sublayer(1)(x, dlatents[idx + 1], noise_of(idx + 1))

        upscaled = iter(["Upscale2D", *(f"Upscale2D_{idx}" for idx in range(1, self.resolution.log2 + 1))])

        def upsample(images: tf.Tensor, _row: str) -> tf.Tensor:
            return self.row(upscale2d(images, data_format="NHWC"), next(upscaled))

        steps = GeneratorSteps(
            block=block,
            torgb=lambda x, res: getattr(self, f"ToRGB_lod{self.resolution_log2 - res}")(x),
            upsample=upsample,
            enlarge=lambda images, factor: upscale2d(images, factor, data_format="NHWC"),
            row=self.row,
        )
        first = getattr(self, f"{2**first_level}x{2**first_level}")
        x = first.sublayer(0)(dlatents[0], noise_of(0))
        x = first.sublayer(1)(x, dlatents[1], noise_of(1))
        lod = tf.convert_to_tensor(self.lod)
        images = grow_generator(resolve_structure(self.structure), x, lod, self.resolution, steps)
        return tf.transpose(images, [0, 3, 1, 2])  # [N, C, H, W]


class G_style(Generator, family="stylegan-generator", module="training.networks_stylegan"):
    """The StyleGAN generator: mapping and synthesis network with W averaging, style mixing and truncation."""

    truncate_without_cutoff = False
    truncation_row = "Truncation"
    mapping_classes = (G_mapping,)
    synthesis_classes = (G_synthesis,)

    def __init__(
        self, name: str = "G", *, truncation_psi: float | None = 0.7, truncation_cutoff: int | None = 8, **kwargs: Any
    ):
        """Builds the network. Arguments as in `Generator`, with other defaults; the others go to the sub-networks."""
        super().__init__(name, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff, **kwargs)
