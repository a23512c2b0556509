"""Synthesis networks of StyleGAN2, W to images: configs e and f, and the revised StyleGAN ones of configs b to d.

Section numbers cite arXiv:1912.04958. Inside, feature maps and images are `[N, H, W, C]`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.resolutions import Size
from dnnlib.tflib import kept
from dnnlib.tflib.ops.upfirdn_2d import upsample_2d
from dnnlib.tflib.scope import Scoped, random_normal

from .checks import check_choice, check_common, check_flags, check_kernel, check_sizes, feature_maps
from .generator import NoiseImages, Synthesis
from .growing import STRUCTURES, GeneratorSteps, grow_generator, resolve_structure
from .layers import Conv2D, SynthesisLayer, ToRGB
from .mixed_precision import MixedPrecision
from .network_model import AS_BUILT, as_built, reject_unknown_kwargs
from .style_space import LayerStyle
from .styles import Modulated, layer_noises, layer_styles

ARCHITECTURES = ("orig", "skip", "resnet")


class SynthesisBlock(Scoped):
    """The layers of one resolution: `Conv0_up`, `Conv1`, for resnet `Skip`, and ToRGB where it stands inside."""

    def __init__(
        self,
        name: str,
        *,
        in_fmaps: int,
        fmaps: int,
        resnet: bool,
        layer_kwargs: dict[str, Any],
        rgb: dict | None,
    ):
        super().__init__(name)
        self.resnet = resnet
        self.add_child(SynthesisLayer, "Conv0_up", in_fmaps=in_fmaps, fmaps=fmaps, up=True, **layer_kwargs)
        self.add_child(SynthesisLayer, "Conv1", in_fmaps=fmaps, fmaps=fmaps, up=False, **layer_kwargs)
        if resnet:
            resample_kernel = layer_kwargs["resample_kernel"]
            self.add_child(
                Conv2D,
                "Skip",
                in_fmaps=in_fmaps,
                fmaps=fmaps,
                kernel=1,
                up=True,
                resample_kernel=resample_kernel,
                act=None,
            )
        if rgb is not None:
            self.add_child(ToRGB, "ToRGB", in_fmaps=fmaps, **rgb)

    def call(self, x: tf.Tensor, dlatents: list[tf.Tensor], noise: list[tf.Tensor]) -> tf.Tensor:
        """x `[N, H, W, in]`; dlatents and noise of the two layers -> `[N, 2 H, 2 W, fmaps]`."""
        t = x
        x = self.Conv0_up(x, dlatents[0], noise[0])
        if not self.resnet:
            return self.Conv1(x, dlatents[1], noise[1])
        half = float(np.sqrt(0.5))  # so that the variance of the sum stays
        return self.Conv1(x, dlatents[1], noise[1], scale=half) + self.Skip(t, scale=half)


class InputBlock(Scoped):
    """The base: the learned constant `Const` and `Conv`, and ToRGB where it stands inside."""

    def __init__(
        self,
        name: str,
        *,
        size: tuple[int, int],
        fmaps: int,
        layer_kwargs: dict[str, Any],
        rgb: dict | None,
        const_fmaps: int | None = None,
    ):
        super().__init__(name)
        const_fmaps = fmaps if const_fmaps is None else const_fmaps
        self.add_child(Const, "Const", size=size, fmaps=const_fmaps)
        self.add_child(SynthesisLayer, "Conv", in_fmaps=const_fmaps, fmaps=fmaps, up=False, **layer_kwargs)
        if rgb is not None:
            self.add_child(ToRGB, "ToRGB", in_fmaps=fmaps, **rgb)

    def call(self, dlatents: tf.Tensor | LayerStyle, noise: tf.Tensor) -> tf.Tensor:
        """dlatents `[N, dlatent_size]`, noise of the first layer -> `[N, h, w, fmaps]`."""
        x = self.Const(dlatents.style if isinstance(dlatents, LayerStyle) else dlatents)
        return self.Conv(x, dlatents, noise)


class Const(Scoped):
    """A learned constant `[1, C, h, w]`, of the size of the base, repeated for each sample: `[N, h, w, C]`."""

    def __init__(self, name: str, *, size: tuple[int, int], fmaps: int):
        super().__init__(name)
        self.add_variable("const", [1, fmaps, *size], random_normal())

    def call(self, dlatents: tf.Tensor) -> tf.Tensor:
        x = self.kept("NHWC", lambda: tf.transpose(tf.convert_to_tensor(self.const), [0, 2, 3, 1]))  # [1, h, w, C]
        x = tf.cast(x, dlatents.dtype)
        minibatch = dlatents.shape[0] or tf.shape(dlatents)[0]
        return self.row(tf.tile(x, [minibatch, 1, 1, 1]))


class _SynthesisNetwork(Synthesis):
    """What the two synthesis networks share: sizes, noise and the convolution layers."""

    def __init__(
        self,
        name: str = "G_synthesis",
        *,
        dlatent_size: int = 512,
        num_channels: int = 3,
        resolution: Size = 1024,
        base: Size | None = None,
        fmap_base: int = 16 << 10,
        fmap_decay: float = 1.0,
        fmap_min: int = 1,
        fmap_max: int = 512,
        randomize_noise: bool = True,
        nonlinearity: str = "lrelu",
        dtype: str = "float32",
        resample_kernel: Sequence[float] | None = (1, 3, 3, 1),
        fused_modconv: bool = True,
        **_kwargs: Any,
    ):
        """Checks the arguments that both have, and sets inputs and outputs.

        Args:
            name: name of the network.
            dlatent_size: dimensions of W.
            num_channels: image channels.
            resolution: side of square images, or `[height, width]`.
            base: size of the learned constant, which is doubled to the resolution; None: see `dnnlib.resolutions`.
            fmap_base: feature maps times resolution / 2, before clipping; resolution is 2 to the power of the level.
            fmap_decay: exponent by which feature maps fall with resolution.
            fmap_min: least number of feature maps.
            fmap_max: largest number of feature maps.
            randomize_noise: fresh noise in each call instead of the noise variables.
            nonlinearity: activation.
            dtype: type of activations and output.
            resample_kernel: FIR filter of up- and downsampling; None: nearest neighbour and box.
            fused_modconv: scale weights instead of feature maps where one sample is computed.
            _kwargs: arguments of the generator's other networks, ignored.
        """
        super().__init__(name)
        reject_unknown_kwargs(type(self), _kwargs)
        check_kernel(name, "resample_kernel", resample_kernel)
        check_flags(name, randomize_noise=randomize_noise, fused_modconv=fused_modconv)
        check_common(name, nonlinearity, dtype, dlatent_size=dlatent_size, num_channels=num_channels)
        self.set_resolution(resolution, base)
        self.activation_dtype = dtype
        self.randomize_noise = randomize_noise
        self.resample_kernel = resample_kernel
        self.feature_maps = feature_maps(fmap_base, fmap_decay, fmap_min, fmap_max)
        common = {"dlatent_size": dlatent_size, "fused_modconv": fused_modconv}
        self.layer_kwargs = {"act": nonlinearity, "resample_kernel": resample_kernel, **common}
        self.rgb_kwargs = {"fmaps": num_channels, **common}
        self.set_io(
            {"dlatents_in": [None, self.num_layers, dlatent_size]},
            {"images_out": [None, num_channels, *self.resolution[:2]]},
        )

    def _noise_levels(self) -> list[int]:
        """The levels of the layers' noise images: one at the base, two at those above."""
        return [self.resolution.first_log2 + (idx + 1) // 2 for idx in range(self.num_layers - 1)]

    def _rgb_layer(self, res: int) -> int:
        """The index of the W of ToRGB."""
        return 2 * (res - self.resolution.first_log2) + 1

    def _convs(self, res: int) -> list[tuple[SynthesisLayer, int]]:
        """The convolutions of a level, and the index of the W of each."""
        block = getattr(self, f"{2**res}x{2**res}")
        if res == self.resolution.first_log2:
            return [(block.Conv, 0)]
        last = self._rgb_layer(res) - 1
        return [(block.Conv0_up, last - 1), (block.Conv1, last)]

    def _add_input_block(self, **kwargs: Any) -> None:
        first = self.resolution.first_log2
        fmaps = self.feature_maps(first - 1)
        self.add_child(InputBlock, f"{2**first}x{2**first}", size=self.resolution.base, fmaps=fmaps, **kwargs)

    @property
    def _input_block(self) -> InputBlock:
        first = self.resolution.first_log2
        return getattr(self, f"{2**first}x{2**first}")

    def _block(self, x: tf.Tensor, res: int, dlatents: list[tf.Tensor], noise_of: Any) -> tf.Tensor:
        first = 2 * (res - self.resolution.first_log2) - 1  # layer index of Conv0_up
        block = getattr(self, f"{2**res}x{2**res}")
        x = tf.cast(x, self.precision.dtype_at(res, self.resolution, self.activation_dtype))
        return block(x, dlatents[first : first + 2], [noise_of(first), noise_of(first + 1)])


class G_synthesis_stylegan2(_SynthesisNetwork, family="stylegan2-generator", module="training.networks_stylegan2"):
    """The StyleGAN2 synthesis network: no progressive growing; output skips or residual blocks (section 4)."""

    def __init__(
        self,
        name: str = "G_synthesis",
        *,
        architecture: str = "skip",
        num_fp16_res: int = 0,
        conv_clamp: float | None = None,
        fp16_dtype: str = "auto",
        use_noise: bool = True,
        fmap_const: int | None = None,
        **kwargs: Any,
    ):
        """Builds the network. Arguments as in `_SynthesisNetwork`, and:

        Args:
            name: name of the network.
            architecture: 'orig', 'skip' (sum of images over resolutions) or 'resnet' (residual blocks).
            num_fp16_res, conv_clamp, fp16_dtype: see `MixedPrecision`.
            use_noise: whether there is noise.
            fmap_const: feature maps of the learned constant; None: as many as follow it.
            kwargs: the other arguments.
        """
        super().__init__(name, **kwargs)
        check_choice(name, "architecture", architecture, ARCHITECTURES)
        check_flags(name, use_noise=use_noise)
        if fmap_const is not None:
            check_sizes(name, fmap_const=fmap_const)
        self.architecture = architecture
        self.precision = MixedPrecision(num_fp16_res, conv_clamp, fp16_dtype).check(name)
        layer_kwargs = {**self.layer_kwargs, "conv_clamp": conv_clamp, "use_noise": use_noise}
        rgb_kwargs = {**self.rgb_kwargs, "conv_clamp": conv_clamp}
        nf = self.feature_maps

        self.add_noise_variables(self._noise_levels() if use_noise else [])
        rgb = rgb_kwargs if self._has_rgb(self.resolution.first_log2) else None
        self._add_input_block(layer_kwargs=layer_kwargs, rgb=rgb, const_fmaps=fmap_const)
        for res in range(self.resolution.first_log2 + 1, self.resolution.log2 + 1):
            self.add_child(
                SynthesisBlock,
                f"{2**res}x{2**res}",
                in_fmaps=nf(res - 2),
                fmaps=nf(res - 1),
                resnet=architecture == "resnet",
                layer_kwargs=layer_kwargs,
                rgb=rgb_kwargs if self._has_rgb(res) else None,
            )

    def _has_rgb(self, res: int) -> bool:
        return self.architecture == "skip" or res == self.resolution_log2

    def _rgbs(self, res: int) -> list[tuple[ToRGB, int]]:
        """ToRGB of a level, if it has any, and the index of its W."""
        return [(getattr(self, f"{2**res}x{2**res}").ToRGB, self._rgb_layer(res))] if self._has_rgb(res) else []

    def styled_layers(self, lod: float) -> list[tuple[Any, int]]:
        levels = range(self.resolution.first_log2, self.resolution.log2 + 1)
        return [layer for res in levels for layer in (*self._convs(res), *self._rgbs(res))]

    def call(
        self, dlatents_in: tf.Tensor, *, randomize_noise: Any = AS_BUILT, noise: NoiseImages | None = None
    ) -> tf.Tensor:
        """W `[N, layers, dlatent_size]` to images `[N, C, H, W]`. See `Generator.call` for the arguments."""
        dlatents, noise_of = self.start(dlatents_in, randomize_noise, noise)
        of_rgb = dlatents
        if kept.current() is not None:
            dlatents, of_rgb = self._styled(dlatents_in, as_built(randomize_noise, self.randomize_noise), noise)
            noise_of = {}.get
        first = self.resolution.first_log2
        x = self._input_block(dlatents[0], noise_of(0))
        images = self._torgb(x, None, first, of_rgb)
        for res in range(first + 1, self.resolution.log2 + 1):
            x = self._block(x, res, dlatents, noise_of)
            if self.architecture == "skip":
                images = upsample_2d(images, k=self.resample_kernel, data_format="NHWC")
                self.row(images, f"{2**res}x{2**res}/Upsample")
            images = self._torgb(x, images, res, of_rgb)
        return tf.transpose(images, [0, 3, 1, 2])  # [N, C, H, W]

    def _styled(
        self, dlatents_in: tf.Tensor, randomize_noise: Any, noise: NoiseImages | None
    ) -> tuple[list[LayerStyle], list[LayerStyle]]:
        """What the layers are given in place of W, and what the ToRGB layers are, at the places of their W."""
        convs, rgbs = [], []
        first = self.resolution.first_log2
        for res in range(first, self.resolution.log2 + 1):
            dtype = tf.as_dtype(self.precision.dtype_at(res, self.resolution, self.activation_dtype))
            convs += [Modulated(layer, idx, dtype) for layer, idx in self._convs(res)]
            rgbs += [Modulated(layer, idx, dtype) for layer, idx in self._rgbs(res)]
        dlatents_in = tf.convert_to_tensor(dlatents_in)
        styles = layer_styles(self, convs, dlatents_in)
        if self.num_noises:
            variables = [getattr(self, f"noise{idx}") for idx in range(self.num_noises)]
            minibatch = dlatents_in.shape[0] or tf.shape(dlatents_in)[0]
            layers = [layer for layer, _, _ in convs]
            noises = layer_noises(self, layers, variables, minibatch, randomize_noise, noise)
            styles = [style._replace(noise=of_layer) for style, of_layer in zip(styles, noises, strict=True)]
        of_rgb = dict(zip((idx for _, idx, _ in rgbs), layer_styles(self, rgbs, dlatents_in), strict=True))
        return styles, [of_rgb.get(idx, styles[0]) for idx in range(self.num_layers)]

    def _torgb(self, x: tf.Tensor, images: tf.Tensor | None, res: int, dlatents: list[tf.Tensor]) -> tf.Tensor | None:
        if not self._has_rgb(res):
            return None
        rgb = getattr(self, f"{2**res}x{2**res}").ToRGB(x, dlatents[self._rgb_layer(res)])
        rgb = tf.cast(rgb, self.activation_dtype)
        return rgb if images is None else images + rgb


class G_synthesis_stylegan_revised(
    _SynthesisNetwork, family="stylegan2-generator", module="training.networks_stylegan2"
):
    """The StyleGAN synthesis network with weight demodulation (section 2, configs b to d); progressive growing."""

    def __init__(self, name: str = "G_synthesis", *, structure: str = "auto", **kwargs: Any):
        """Builds the network. Arguments as in `_SynthesisNetwork`, and `structure`, explained in `growing`."""
        super().__init__(name, **kwargs)
        check_choice(name, "structure", structure, STRUCTURES)
        self.structure = structure
        nf = self.feature_maps

        self.add_variable("lod", [], trainable=False)
        self.add_noise_variables(self._noise_levels())
        for res in range(self.resolution.first_log2, self.resolution.log2 + 1):
            if res == self.resolution.first_log2:
                self._add_input_block(layer_kwargs=self.layer_kwargs, rgb=None)
            else:
                self.add_child(
                    SynthesisBlock,
                    f"{2**res}x{2**res}",
                    in_fmaps=nf(res - 2),
                    fmaps=nf(res - 1),
                    resnet=False,
                    layer_kwargs=self.layer_kwargs,
                    rgb=None,
                )
            level = self.resolution_log2 - res
            if structure != "fixed" or level == 0:
                self.add_child(ToRGB, f"ToRGB_lod{level}", in_fmaps=nf(res - 1), **self.rgb_kwargs)

    def styled_layers(self, lod: float) -> list[tuple[Any, int]]:
        lod = 0 if self.structure == "fixed" else lod
        shown = range(self.resolution_log2 - math.ceil(lod), self.resolution_log2 + 1 - math.floor(lod))
        layers = []
        for res in range(self.resolution.first_log2, shown.stop):
            layers += self._convs(res)
            if res in shown:
                layers.append((getattr(self, f"ToRGB_lod{self.resolution_log2 - res}"), self._rgb_layer(res)))
        return layers

    def call(
        self, dlatents_in: tf.Tensor, *, randomize_noise: Any = AS_BUILT, noise: NoiseImages | None = None
    ) -> tf.Tensor:
        """W `[N, layers, dlatent_size]` to images `[N, C, H, W]` at the level of detail `lod`."""
        dlatents, noise_of = self.start(dlatents_in, randomize_noise, noise)

        def upsample(images: tf.Tensor, row: str) -> tf.Tensor:
            return self.row(upsample_2d(images, data_format="NHWC"), row)  # images grow by repeated pixels

        steps = GeneratorSteps(
            block=lambda x, res: self._block(x, res, dlatents, noise_of),
            torgb=lambda x, res: getattr(self, f"ToRGB_lod{self.resolution_log2 - res}")(
                x, dlatents[self._rgb_layer(res)]
            ),
            upsample=upsample,
            enlarge=lambda images, factor: upsample_2d(images, factor=factor, data_format="NHWC"),
            row=self.row,
        )
        x = self._input_block(dlatents[0], noise_of(0))
        lod = tf.convert_to_tensor(self.lod)
        images = grow_generator(resolve_structure(self.structure), x, lod, self.resolution, steps)
        return tf.transpose(images, [0, 3, 1, 2])  # [N, C, H, W]
