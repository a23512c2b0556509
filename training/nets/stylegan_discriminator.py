"""The discriminator of the original StyleGAN (arXiv:1812.04948, config a)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from dnnlib.resolutions import Size

from .checks import check_choice, check_flags, check_kernel, check_mbstd, check_sizes, feature_maps
from .discriminator import Discriminator
from .growing import STRUCTURES, DiscriminatorSteps, grow_discriminator, resolve_structure
from .layers import Conv2D, Dense, minibatch_stddev_layer
from .network_model import reject_unknown_kwargs
from .stylegan_layers import GAIN, Block, Conv2DDownscale2D, downscale2d


class D_basic(Discriminator, family="stylegan-discriminator", module="training.networks_stylegan"):
    """The discriminator of ProGAN and StyleGAN; progressive growing."""

    def __init__(
        self,
        name: str = "D",
        *,
        num_channels: int = 1,
        resolution: Size = 32,
        base: Size | None = None,
        label_size: int = 0,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        nonlinearity: str = "lrelu",
        use_wscale: bool = True,
        mbstd_group_size: int = 4,
        mbstd_num_features: int = 1,
        dtype: str = "float32",
        fused_scale: bool | str = "auto",
        blur_filter: Sequence[float] | None = (1, 2, 1),
        structure: str = "auto",
        **_kwargs: Any,
    ):
        """Builds the network. Arguments as in `G_synthesis` and `networks_stylegan2.D_stylegan2`."""
        super().__init__(name)
        reject_unknown_kwargs(type(self), _kwargs)
        self.setup(num_channels, resolution, base, label_size, nonlinearity, dtype)
        check_choice(name, "nonlinearity", nonlinearity, GAIN)
        check_choice(name, "structure", structure, STRUCTURES)
        check_choice(name, "fused_scale", fused_scale, (True, False, "auto"))
        check_kernel(name, "blur_filter", blur_filter)
        check_flags(name, use_wscale=use_wscale)
        check_sizes(name, mbstd_num_features=mbstd_num_features, mbstd_group_size=mbstd_group_size)
        self.mbstd_group_size = mbstd_group_size
        self.mbstd_num_features = mbstd_num_features
        self.structure = structure
        nf = feature_maps(fmap_base, fmap_decay, 1, fmap_max)
        conv = {"act": nonlinearity, "gain": GAIN[nonlinearity], "use_wscale": use_wscale, "act_gain": 1}
        down = {"act": nonlinearity, "use_wscale": use_wscale, "fused_scale": fused_scale, "blur_filter": blur_filter}

        self.add_variable("lod", [], trainable=False)
        for res in self.resolution.levels:
            fmaps, level = nf(res - 1), self.resolution_log2 - res
            if structure != "fixed" or level == 0:
                self.add_child(Conv2D, f"FromRGB_lod{level}", in_fmaps=num_channels, fmaps=fmaps, kernel=1, **conv)
            if res > self.resolution.first_log2:
                layers = {
                    "Conv0": (Conv2D, {"in_fmaps": fmaps, "fmaps": fmaps, "kernel": 3, **conv}),
                    "Conv1_down": (Conv2DDownscale2D, {"in_fmaps": fmaps, "fmaps": nf(res - 2), **down}),
                }
            else:
                if mbstd_group_size > 1:
                    check_mbstd(name, mbstd_num_features, fmaps)
                in_fmaps = fmaps + (mbstd_num_features if mbstd_group_size > 1 else 0)
                height, width = self.resolution.base
                output = {"act": "linear", "gain": 1, "use_wscale": use_wscale}
                layers = {
                    "Conv": (Conv2D, {"in_fmaps": in_fmaps, "fmaps": fmaps, "kernel": 3, **conv}),
                    "Dense0": (Dense, {"in_fmaps": fmaps * height * width, "fmaps": nf(res - 2), **conv}),
                    "Dense1": (Dense, {"in_fmaps": nf(res - 2), "fmaps": max(label_size, 1), **output}),
                }
            self.add_child(Block, f"{2**res}x{2**res}", layers=layers)

    def call(self, images_in: tf.Tensor, labels_in: tf.Tensor | None = None) -> tf.Tensor:
        """Images `[N, C, H, W]` (and labels `[N, label_size]`, None: zeros) to scores `[N, 1]`, at level `lod`."""
        images = self.images_nhwc(images_in)
        downscaled = iter(["Downscale2D", *(f"Downscale2D_{idx}" for idx in range(1, self.resolution.log2 + 1))])

        def downsample(images: tf.Tensor, _row: str) -> tf.Tensor:
            return self.row(downscale2d(images, data_format="NHWC"), next(downscaled))

        steps = DiscriminatorSteps(
            block=self._block,
            fromrgb=lambda images, res: getattr(self, f"FromRGB_lod{self.resolution_log2 - res}")(images),
            downsample=downsample,
            shrink=lambda images, factor: downscale2d(images, factor, data_format="NHWC"),
            row=self.row,
        )
        lod = tf.convert_to_tensor(self.lod)
        scores = grow_discriminator(resolve_structure(self.structure), images, lod, self.resolution, steps)
        return self.choose_label(scores, labels_in, "LabelSwitch")

    def _block(self, x: tf.Tensor, res: int) -> tf.Tensor:
        block = getattr(self, f"{2**res}x{2**res}")
        if res > self.resolution.first_log2:
            return block.sublayer(1)(block.sublayer(0)(x))
        if self.mbstd_group_size > 1:
            x = minibatch_stddev_layer(x, self.mbstd_group_size, self.mbstd_num_features, data_format="NHWC")
            self.row(x, f"{2**res}x{2**res}/MinibatchStddev")
        x = block.Conv(x)
        x = block.Dense0(tf.transpose(x, [0, 3, 1, 2]))  # rows of the weight are in C, H, W order
        return block.Dense1(x)
