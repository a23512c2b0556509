"""Discriminators of StyleGAN2: `D_stylegan2` (configs e and f) and the growing `D_stylegan` (configs b to d)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.resolutions import Size
from dnnlib.tflib.ops.upfirdn_2d import downsample_2d
from dnnlib.tflib.scope import Scoped

from .checks import check_choice, check_kernel, check_mbstd, check_sizes, feature_maps
from .discriminator import Discriminator
from .growing import STRUCTURES, DiscriminatorSteps, grow_discriminator, resolve_structure
from .layers import Conv2D, Dense, minibatch_stddev_layer
from .mixed_precision import MixedPrecision
from .network_model import reject_unknown_kwargs
from .stylegan2_synthesis import ARCHITECTURES


class FromRGB(Conv2D):
    """1x1 convolution from image channels, with bias and activation."""

    def __init__(self, name: str, *, in_fmaps: int, fmaps: int, act: str, **kwargs: Any):
        super().__init__(name, in_fmaps=in_fmaps, fmaps=fmaps, kernel=1, act=act, **kwargs)


class DiscriminatorBlock(Scoped):
    """The layers of one resolution: optional `FromRGB`, `Conv0`, `Conv1_down` and, for resnet, `Skip`.

    The first `freeze_layers` of them are not trained.
    """

    def __init__(
        self,
        name: str,
        *,
        in_fmaps: int,
        fmaps: int,
        act: str,
        resample_kernel: Sequence[float] | None,
        resnet: bool = False,
        rgb_channels: int | None = None,
        conv_clamp: float | None = None,
        freeze_layers: int = 0,
    ):
        super().__init__(name)
        self.resnet = resnet
        common = {"act": act, "conv_clamp": conv_clamp}
        down = {"down": True, "resample_kernel": resample_kernel}
        layers: dict[str, dict[str, Any]] = {}
        if rgb_channels is not None:
            layers["FromRGB"] = {"in_fmaps": rgb_channels, "fmaps": in_fmaps, **common}
        layers["Conv0"] = {"in_fmaps": in_fmaps, "fmaps": in_fmaps, "kernel": 3, **common}
        layers["Conv1_down"] = {"in_fmaps": in_fmaps, "fmaps": fmaps, "kernel": 3, **common, **down}
        if resnet:
            layers["Skip"] = {"in_fmaps": in_fmaps, "fmaps": fmaps, "kernel": 1, "act": None, **down}
        for idx, (layer, kwargs) in enumerate(layers.items()):
            layer_class = FromRGB if layer == "FromRGB" else Conv2D
            self.add_child(layer_class, layer, frozen=idx < freeze_layers, **kwargs)
        self.num_layers = len(layers)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """x `[N, H, W, in]` -> `[N, H / 2, W / 2, fmaps]`."""
        t = x
        x = self.Conv0(x)
        if not self.resnet:
            return self.Conv1_down(x)
        half = float(np.sqrt(0.5))  # so that the variance of the sum stays
        return self.Conv1_down(x, scale=half) + self.Skip(t, scale=half)


class OutputBlock(Scoped):
    """The base: optional `FromRGB`, minibatch standard deviation, `Conv` and `Dense0`."""

    def __init__(
        self,
        name: str,
        *,
        size: tuple[int, int],
        fmaps: int,
        dense_fmaps: int,
        act: str,
        mbstd_group_size: int | None,
        mbstd_num_features: int,
        rgb_channels: int | None = None,
        conv_clamp: float | None = None,
        pytorch_details: bool = False,
    ):
        super().__init__(name)
        self.mbstd_group_size = mbstd_group_size
        self.mbstd_num_features = mbstd_num_features
        smallest_group = 1 if pytorch_details else 2
        self.has_mbstd = mbstd_num_features > 0 and (mbstd_group_size is None or mbstd_group_size >= smallest_group)
        if rgb_channels is not None:
            clamp = None if pytorch_details else conv_clamp
            self.add_child(FromRGB, "FromRGB", in_fmaps=rgb_channels, fmaps=fmaps, act=act, conv_clamp=clamp)
        if self.has_mbstd:
            check_mbstd(name, mbstd_num_features, fmaps)
        in_fmaps = fmaps + (mbstd_num_features if self.has_mbstd else 0)
        self.add_child(Conv2D, "Conv", in_fmaps=in_fmaps, fmaps=fmaps, kernel=3, act=act, conv_clamp=conv_clamp)
        self.add_child(Dense, "Dense0", in_fmaps=fmaps * size[0] * size[1], fmaps=dense_fmaps, act=act)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """x `[N, h, w, fmaps]` -> `[N, dense_fmaps]`."""
        if self.has_mbstd:
            x = minibatch_stddev_layer(x, self.mbstd_group_size, self.mbstd_num_features, data_format="NHWC")
            self.row(x, "MinibatchStddev")
        x = self.Conv(x)
        return self.Dense0(tf.transpose(x, [0, 3, 1, 2]))  # rows of the weight are in C, H, W order


class _StyleGAN2Discriminator(Discriminator):
    """What the two discriminators share: sizes, and the arguments of the layers."""

    def __init__(
        self,
        name: str = "D",
        *,
        num_channels: int = 3,
        resolution: Size = 1024,
        base: Size | None = None,
        label_size: int = 0,
        fmap_base: int = 16 << 10,
        fmap_decay: float = 1.0,
        fmap_min: int = 1,
        fmap_max: int = 512,
        nonlinearity: str = "lrelu",
        mbstd_group_size: int | None = 4,
        mbstd_num_features: int = 1,
        dtype: str = "float32",
        resample_kernel: Sequence[float] | None = (1, 3, 3, 1),
        **_kwargs: Any,
    ):
        """Checks the arguments that both have.

        Args:
            name: name of the network.
            num_channels: image channels.
            resolution: side of square images, or `[height, width]`.
            base: size of the last block, which is doubled to the resolution; None: see `dnnlib.resolutions`.
            label_size: number of labels; 0 for none.
            fmap_base: feature maps times resolution / 2, before clipping; resolution is 2 to the power of the level.
            fmap_decay: exponent by which feature maps fall with resolution.
            fmap_min: least number of feature maps.
            fmap_max: largest number of feature maps.
            nonlinearity: activation.
            mbstd_group_size: samples per group of the minibatch standard deviation; 0 leaves it out, None: all.
            mbstd_num_features: feature maps that it adds; 0 leaves it out.
            dtype: type of activations and output.
            resample_kernel: FIR filter of downsampling; None: box.
            _kwargs: none but the official graph options, ignored.
        """
        super().__init__(name)
        reject_unknown_kwargs(type(self), _kwargs)
        self.setup(num_channels, resolution, base, label_size, nonlinearity, dtype)
        if mbstd_num_features != 0:
            check_sizes(name, mbstd_num_features=mbstd_num_features)
        check_kernel(name, "resample_kernel", resample_kernel)
        if mbstd_group_size is not None:
            check_sizes(name, mbstd_group_size=mbstd_group_size)
        self.nonlinearity = nonlinearity
        self.num_channels = num_channels
        self.resample_kernel = resample_kernel
        self.feature_maps = feature_maps(fmap_base, fmap_decay, fmap_min, fmap_max)
        self.block_kwargs = {"act": nonlinearity, "resample_kernel": resample_kernel}
        first = self.resolution.first_log2
        self.output_block = f"{2**first}x{2**first}"
        self.output_fmaps = self.feature_maps(first - 2)
        self.output_kwargs = {
            "size": self.resolution.base,
            "fmaps": self.feature_maps(first - 1),
            "dense_fmaps": self.output_fmaps,
            "act": nonlinearity,
            "mbstd_group_size": mbstd_group_size,
            "mbstd_num_features": mbstd_num_features,
        }


class D_stylegan2(_StyleGAN2Discriminator, family="stylegan2-discriminator", module="training.networks_stylegan2"):
    """The StyleGAN2 discriminator: no progressive growing; input skips or residual blocks (section 4)."""

    def __init__(
        self,
        name: str = "D",
        *,
        architecture: str = "resnet",
        num_fp16_res: int = 0,
        conv_clamp: float | None = None,
        fp16_dtype: str = "auto",
        **kwargs: Any,
    ):
        """Builds the network. Arguments as in `_StyleGAN2Discriminator`, and:

        Args:
            name: name of the network.
            architecture: 'orig', 'skip' or 'resnet'.
            num_fp16_res, conv_clamp, fp16_dtype: see `MixedPrecision`.
            kwargs: the other arguments.
        """
        super().__init__(name, **kwargs)
        check_choice(name, "architecture", architecture, ARCHITECTURES)
        self.architecture = architecture
        self.precision = MixedPrecision(num_fp16_res, conv_clamp, fp16_dtype).check(name)
        nf = self.feature_maps

        score_fmaps = self._add_label_layers(self.output_fmaps, **kwargs)
        # Of StyleGAN2-ADA.
        freeze_layers, pytorch_details = kwargs.get("freeze_layers", 0), kwargs.get("pytorch_details", False)
        for res in self.resolution.levels[:-1]:
            block = self.add_child(
                DiscriminatorBlock,
                f"{2**res}x{2**res}",
                in_fmaps=nf(res - 1),
                fmaps=nf(res - 2),
                resnet=architecture == "resnet",
                rgb_channels=self.num_channels if self._has_rgb(res) else None,
                conv_clamp=conv_clamp,
                freeze_layers=freeze_layers,
                **self.block_kwargs,
            )
            freeze_layers -= block.num_layers
        self.add_child(
            OutputBlock,
            self.output_block,
            rgb_channels=self.num_channels if self._has_rgb(self.resolution.first_log2) else None,
            conv_clamp=conv_clamp,
            pytorch_details=pytorch_details,
            **self.output_kwargs,
        )
        self.add_child(Dense, "Output", in_fmaps=self.output_fmaps, fmaps=score_fmaps)

    def _add_label_layers(self, fmaps: int, **_options: Any) -> int:
        """Creates the layers for labels; returns how many features `Output`, after `fmaps` of them, must have."""
        return max(self.label_size, 1)

    def _score(self, x: tf.Tensor, labels_in: Any) -> tf.Tensor:
        """Scores of the features of `Output`."""
        return self.choose_label(x, labels_in, "Output")

    def _has_rgb(self, res: int) -> bool:
        return self.architecture == "skip" or res == self.resolution_log2

    def call(self, images_in: tf.Tensor, labels_in: tf.Tensor | None = None) -> tf.Tensor:
        """Images `[N, C, H, W]` (and labels `[N, label_size]`, None: zeros) to scores `[N, 1]`."""
        images = self.images_nhwc(images_in)
        x = None
        for res in self.resolution.levels:
            scope = f"{2**res}x{2**res}"
            block = getattr(self, scope)
            dtype = self.precision.dtype_at(res, self.resolution, self.activation_dtype)
            x = None if x is None else tf.cast(x, dtype)
            if self._has_rgb(res):
                y = block.FromRGB(tf.cast(images, dtype))
                x = y if x is None else x + y
            x = block(x)
            if self.architecture == "skip" and res > self.resolution.first_log2:
                images = downsample_2d(images, k=self.resample_kernel, data_format="NHWC")
                self.row(images, f"{scope}/Downsample")
        return self._score(self.Output(x), labels_in)


class D_stylegan(
    _StyleGAN2Discriminator, family="stylegan2-growing-discriminator", module="training.networks_stylegan2"
):
    """The StyleGAN discriminator as of configs b to d; progressive growing."""

    def __init__(self, name: str = "D", *, structure: str = "auto", **kwargs: Any):
        """Builds the network. Arguments as in `_StyleGAN2Discriminator`, and `structure`, explained in `growing`."""
        super().__init__(name, **kwargs)
        check_choice(name, "structure", structure, STRUCTURES)
        check_sizes(name, mbstd_num_features=self.output_kwargs["mbstd_num_features"])
        self.structure = structure
        nf = self.feature_maps

        self.add_variable("lod", [], trainable=False)
        for res in self.resolution.levels:
            level = self.resolution_log2 - res
            if structure != "fixed" or level == 0:
                rgb = {"in_fmaps": self.num_channels, "fmaps": nf(res - 1), "act": self.nonlinearity}
                self.add_child(FromRGB, f"FromRGB_lod{level}", **rgb)
            if res > self.resolution.first_log2:
                sizes = {"in_fmaps": nf(res - 1), "fmaps": nf(res - 2)}
                self.add_child(DiscriminatorBlock, f"{2**res}x{2**res}", **sizes, **self.block_kwargs)
        self.add_child(OutputBlock, self.output_block, **self.output_kwargs)
        self.add_child(Dense, "Output", in_fmaps=self.output_fmaps, fmaps=max(self.label_size, 1))

    def call(self, images_in: tf.Tensor, labels_in: tf.Tensor | None = None) -> tf.Tensor:
        """Images `[N, C, H, W]` (and labels `[N, label_size]`, None: zeros) to scores `[N, 1]`, at level `lod`."""

        def downsample(images: tf.Tensor, row: str) -> tf.Tensor:
            return self.row(downsample_2d(images, data_format="NHWC"), row)  # images shrink by box averages

        steps = DiscriminatorSteps(
            block=lambda x, res: getattr(self, f"{2**res}x{2**res}")(x),
            fromrgb=lambda images, res: getattr(self, f"FromRGB_lod{self.resolution_log2 - res}")(images),
            downsample=downsample,
            shrink=lambda images, factor: downsample_2d(images, factor=factor, data_format="NHWC"),
            row=self.row,
        )
        images = self.images_nhwc(images_in)
        lod = tf.convert_to_tensor(self.lod)
        x = grow_discriminator(resolve_structure(self.structure), images, lod, self.resolution, steps)
        return self.choose_label(self.Output(x), labels_in, "Output")
