"""Layers of the StyleGAN networks (arXiv:1812.04948, config a): blur, fused scale, AdaIN, per-channel noise.

Unlike StyleGAN2's, these layers put the gain of the activation into the weights. The free functions carry the official
names and take `NCHW` (default) or `NHWC`; layers work on `[N, H, W, C]`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.ops import linear
from dnnlib.tflib.scope import Scoped, ones, zeros

from .growing import lod_is_fixed
from .layers import Conv2D, Dense, EqualizedLayer, apply_bias_act, as_in_batches, normalize_2nd_moment
from .style_space import moved

GAIN = {"relu": float(np.sqrt(2)), "lrelu": float(np.sqrt(2))}

# ----------------------------------------------------------------------------
# Steps without variables.


def _in_nhwc(x: tf.Tensor, data_format: str, func: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    if data_format == "NHWC":
        return func(x)
    return tf.transpose(func(tf.transpose(x, [0, 2, 3, 1])), [0, 3, 1, 2])


def blur2d(
    x: tf.Tensor,
    f: Sequence[float] | None = (1, 2, 1),
    normalize: bool = True,
    flip: bool = False,
    stride: int = 1,
    data_format: str = "NCHW",
) -> tf.Tensor:
    """Filters each channel with f (`[n]`: its outer product with itself; None: nothing), zero padding.

    As officially, the gradient of a blur without stride is the blur with the mirrored filter.
    """
    if f is None:
        return x
    f = np.asarray(f, dtype=np.float32)
    f = np.outer(f, f) if f.ndim == 1 else f
    f = f / np.sum(f) if normalize else f
    f = f[::-1, ::-1] if flip else f
    return _in_nhwc(x, data_format, lambda x: _blur(x, f, stride))


def _blur(x: tf.Tensor, f: np.ndarray, stride: int) -> tf.Tensor:
    blur = _Blur(tuple(map(tuple, f.tolist())))
    return linear.apply(blur, x) if stride == 1 else blur(x, stride)


@dataclass(frozen=True)
class _Blur:
    """Filters each channel of `[N, H, W, C]` with f `[h][w]`, zero padding."""

    f: tuple[tuple[float, ...], ...]

    @property
    def adjoint(self) -> "_Blur":
        return _Blur(tuple(row[::-1] for row in self.f[::-1]))

    def __call__(self, x: tf.Tensor, stride: int = 1) -> tf.Tensor:
        f = np.array(self.f)[:, :, np.newaxis, np.newaxis]
        kernel = tf.constant(np.tile(f, [1, 1, x.shape[3], 1]), x.dtype)  # [h, w, C, 1]
        return tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME")


def upscale2d(x: tf.Tensor, factor: int = 2, gain: float = 1, data_format: str = "NCHW") -> tf.Tensor:
    """Enlarges images by repeating pixels, times gain."""

    def enlarge(x: tf.Tensor) -> tf.Tensor:
        height, width, channels = x.shape[1:]
        x = x if gain == 1 else x * gain
        x = tf.tile(tf.reshape(x, [-1, height, 1, width, 1, channels]), [1, 1, factor, 1, factor, 1])
        return tf.reshape(x, [-1, height * factor, width * factor, channels])  # [N, H * factor, W * factor, C]

    return x if factor == 1 and gain == 1 else _in_nhwc(x, data_format, enlarge)


def downscale2d(x: tf.Tensor, factor: int = 2, gain: float = 1, data_format: str = "NCHW") -> tf.Tensor:
    """Reduces images by averaging blocks of pixels, times gain."""

    def shrink(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.avg_pool2d(x if gain == 1 else x * gain, factor, factor, "VALID")

    return x if factor == 1 and gain == 1 else _in_nhwc(x, data_format, shrink)


def leaky_relu(x: tf.Tensor, alpha: float = 0.2) -> tf.Tensor:
    """x where positive, else alpha x."""
    return tf.nn.leaky_relu(x, alpha)


def pixel_norm(x: tf.Tensor, epsilon: float = 1e-8, data_format: str = "NCHW") -> tf.Tensor:
    """Scales the channel vector of each pixel (or of each `[N, C]` row) to mean square 1 (ProGAN, section 4.2)."""
    axis = 1 if data_format == "NCHW" or x.shape.rank == 2 else 3
    return normalize_2nd_moment(x, axis=axis, eps=epsilon)


def instance_norm(x: tf.Tensor, epsilon: float = 1e-8, data_format: str = "NCHW") -> tf.Tensor:
    """Normalises each channel of each image to mean 0, variance 1; computed in float32."""
    axes = [2, 3] if data_format == "NCHW" else [1, 2]
    y = tf.cast(x, tf.float32)
    y = y - tf.reduce_mean(y, axis=axes, keepdims=True)
    y = y * tf.math.rsqrt(tf.reduce_mean(tf.square(y), axis=axes, keepdims=True) + epsilon)
    return tf.cast(y, x.dtype)


# ----------------------------------------------------------------------------
# Convolutions with resampling.


def upscale2d_conv2d(x: tf.Tensor, w: tf.Tensor, fused_scale: bool | str = "auto") -> tf.Tensor:
    """Nearest-neighbour upsampling and 3x3 convolution. x `[N, H, W, in]`, w `[k, k, in, out]`.

    fused_scale computes both as one transposed convolution, 'auto' does from output size 128 on. The fused form uses
    the mirrored weights, as officially: the two are different networks, not two ways to compute one.
    """
    if not (min(x.shape[1:3]) * 2 >= 128 if fused_scale == "auto" else fused_scale):
        return tf.nn.conv2d(upscale2d(x, data_format="NHWC"), w, 1, "SAME")
    w = _four_shifts(tf.transpose(w, [0, 1, 3, 2]))  # [k + 1, k + 1, out, in]
    out_shape = [tf.shape(x)[0], x.shape[1] * 2, x.shape[2] * 2, w.shape[2]]
    return tf.nn.conv2d_transpose(x, w, out_shape, strides=2, padding="SAME")


def conv2d_downscale2d(x: tf.Tensor, w: tf.Tensor, fused_scale: bool | str = "auto") -> tf.Tensor:
    """3x3 convolution and box downsampling. x `[N, H, W, in]`; fused_scale: as one convolution, 'auto' from 128 on."""
    if not (min(x.shape[1:3]) >= 128 if fused_scale == "auto" else fused_scale):
        return downscale2d(tf.nn.conv2d(x, w, 1, "SAME"), data_format="NHWC")
    return tf.nn.conv2d(x, _four_shifts(w) * tf.cast(0.25, w.dtype), 2, "SAME")


def _four_shifts(w: tf.Tensor) -> tf.Tensor:
    """The sum of a kernel's four shifts by one pixel: `[k, k, ...] -> [k + 1, k + 1, ...]`."""
    w = tf.pad(w, [[1, 1], [1, 1], [0, 0], [0, 0]])
    return w[1:, 1:] + w[:-1, 1:] + w[1:, :-1] + w[:-1, :-1]


class Conv2DDownscale2D(EqualizedLayer):
    """Blur, `conv2d_downscale2d`, bias, activation."""

    def __init__(
        self,
        name: str,
        *,
        in_fmaps: int,
        fmaps: int,
        act: str,
        use_wscale: bool,
        fused_scale: bool | str,
        blur_filter: Sequence[float] | None,
    ):
        super().__init__(name, gain=GAIN[act], use_wscale=use_wscale, act_gain=1)
        self.act = act
        self.fused_scale = fused_scale
        self.blur_filter = blur_filter
        self.runtime_coef = self.add_equalized_variable("weight", [3, 3, in_fmaps, fmaps])
        self.add_variable("bias", [fmaps], zeros)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = blur2d(x, self.blur_filter, data_format="NHWC")
        x = conv2d_downscale2d(x, tf.cast(self.weight * self.runtime_coef, x.dtype), self.fused_scale)
        return self.row(apply_bias_act(self, x, self.act))


# ----------------------------------------------------------------------------
# What follows each convolution of the synthesis network.


class Noise(Scoped):
    """Adds noise `[N or 1, 1, H, W]` with a learned strength per channel."""

    def __init__(self, name: str, *, fmaps: int):
        super().__init__(name)
        self.add_variable("weight", [fmaps], zeros)

    def call(self, x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        noise = tf.cast(tf.transpose(noise, [0, 2, 3, 1]), x.dtype)  # [N or 1, H, W, 1]
        return x + noise * tf.cast(self.weight, x.dtype)


class StyleMod(EqualizedLayer):
    """Scales and shifts channels by functions of W (AdaIN, equation 1, without the normalisation)."""

    def __init__(self, name: str, *, dlatent_size: int, fmaps: int, use_wscale: bool):
        super().__init__(name, use_wscale=use_wscale)
        self.runtime_coef = self.add_equalized_variable("weight", [dlatent_size, fmaps * 2])
        self.add_variable("bias", [fmaps * 2], zeros)

    @property
    def affine(self) -> tuple[Any, float, Any, float]:
        """From W to styles: the variable of the matrix, what it is multiplied by, that of the bias, what is added."""
        return self.weight, self.runtime_coef, self.bias, 0.0

    def call(self, x: tf.Tensor, dlatents: tf.Tensor) -> tf.Tensor:
        weight = tf.cast(self.weight * self.runtime_coef, dlatents.dtype)
        style = as_in_batches(lambda rows: tf.matmul(rows, weight), dlatents)  # [N, fmaps * 2]
        style = moved(style + tf.cast(self.bias, style.dtype), self.weight)
        style = tf.cast(style, x.dtype)
        scale, shift = tf.split(style[:, tf.newaxis, tf.newaxis, :], 2, axis=-1)  # [N, 1, 1, C] each
        return x * (scale + 1) + shift


class Epilogue(Scoped):
    """Mixin of the synthesis layers: noise, bias, activation, norms and style, in this order."""

    def add_epilogue(
        self,
        fmaps: int,
        *,
        act: str,
        dlatent_size: int,
        use_noise: bool,
        use_pixel_norm: bool,
        use_instance_norm: bool,
        use_styles: bool,
        use_wscale: bool,
    ) -> None:
        """Creates the variables. They come after the weight of the layer."""
        self.act = act
        self.use_pixel_norm = use_pixel_norm
        self.use_instance_norm = use_instance_norm
        self.use_styles = use_styles
        if use_noise:
            self.add_child(Noise, "Noise", fmaps=fmaps)
        self.add_variable("bias", [fmaps], zeros)
        if use_styles:
            self.add_child(StyleMod, "StyleMod", dlatent_size=dlatent_size, fmaps=fmaps, use_wscale=use_wscale)

    def finish(self, x: tf.Tensor, dlatents: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """x `[N, H, W, C]` after the convolution; dlatents `[N, dlatent_size]`; noise `[N or 1, 1, H, W]` or None."""
        return self.styled(self.before_styles(x, noise), dlatents)

    def before_styles(self, x: tf.Tensor, noise: Any) -> tf.Tensor:
        """Noise, bias, activation and normalization: `[N, H, W, C]`."""
        if noise is not None:
            x = self.Noise(x, noise)
        x = apply_bias_act(self, x, self.act)
        if self.use_pixel_norm:
            x = pixel_norm(x, data_format="NHWC")
        if self.use_instance_norm:
            x = instance_norm(x, data_format="NHWC")
        return x

    def styled(self, x: tf.Tensor, dlatents: tf.Tensor) -> tf.Tensor:
        """What the styles make of that."""
        if self.use_styles:
            x = self.StyleMod(x, dlatents)
        return self.row(x)


class ConvLayer(Epilogue, Conv2D):
    """3x3 convolution and epilogue."""

    def __init__(self, name: str, *, in_fmaps: int, fmaps: int, act: str, use_wscale: bool, epilogue: dict):
        kwargs = {"gain": GAIN[act], "use_wscale": use_wscale, "act_gain": 1}
        Conv2D.__init__(self, name, in_fmaps=in_fmaps, fmaps=fmaps, kernel=3, act=None, **kwargs)
        self.add_epilogue(fmaps, act=act, use_wscale=use_wscale, **epilogue)

    def call(self, x: tf.Tensor, dlatents: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        w = tf.cast(self.weight * self.runtime_coef, x.dtype)
        return self.finish(tf.nn.conv2d(x, w, 1, "SAME"), dlatents, noise)


class ConvUpLayer(Epilogue, EqualizedLayer):
    """Upsampling 3x3 convolution (`upscale2d_conv2d`), blur and epilogue."""

    def __init__(
        self,
        name: str,
        *,
        in_fmaps: int,
        fmaps: int,
        act: str,
        use_wscale: bool,
        fused_scale: bool | str,
        blur_filter: Sequence[float] | None,
        epilogue: dict,
    ):
        EqualizedLayer.__init__(self, name, gain=GAIN[act], use_wscale=use_wscale, act_gain=1)
        self.fused_scale = fused_scale
        self.blur_filter = blur_filter
        self.runtime_coef = self.add_equalized_variable("weight", [3, 3, in_fmaps, fmaps])
        self.add_epilogue(fmaps, act=act, use_wscale=use_wscale, **epilogue)

    def call(self, x: tf.Tensor, dlatents: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """x `[N, H, W, in]` -> `[N, 2 H, 2 W, fmaps]`."""
        x = upscale2d_conv2d(x, tf.cast(self.weight * self.runtime_coef, x.dtype), self.fused_scale)
        return self.finish(blur2d(x, self.blur_filter, data_format="NHWC"), dlatents, noise)


class ConstLayer(Epilogue, EqualizedLayer):
    """A learned constant `[1, C, h, w]`, of the size of the base, for each sample, and epilogue."""

    def __init__(self, name: str, *, size: tuple[int, int], fmaps: int, act: str, use_wscale: bool, epilogue: dict):
        EqualizedLayer.__init__(self, name, act_gain=1)
        self.add_variable("const", [1, fmaps, *size], ones)
        self.add_epilogue(fmaps, act=act, use_wscale=use_wscale, **epilogue)

    def call(self, dlatents: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        multiples = [dlatents.shape[0] or tf.shape(dlatents)[0], 1, 1, 1]
        known = tf.get_static_value(noise) if noise is not None and lod_is_fixed() else None
        if lod_is_fixed() and not tf.executing_eagerly() and (noise is None or known is not None):
            # A network that stays as it is, for other programs. This is the same for all samples, and nearly flat where
            # a network has hardly been trained: normalization magnifies the rounding, in which programs differ.
            with tf.init_scope():
                x = self.before_styles(self._constant(dlatents.dtype), known).numpy()
            return self.styled(tf.tile(tf.constant(x), multiples), dlatents)
        return self.finish(tf.tile(self._constant(dlatents.dtype), multiples), dlatents, noise)

    def _constant(self, dtype: tf.DType) -> tf.Tensor:
        """`[1, h, w, C]`."""
        return tf.cast(tf.transpose(tf.convert_to_tensor(self.const), [0, 2, 3, 1]), dtype)


class DenseLayer(Epilogue, Dense):
    """W to feature maps of the base by a fully connected layer, and epilogue: the input without a constant."""

    def __init__(self, name: str, *, size: tuple[int, int], fmaps: int, act: str, use_wscale: bool, epilogue: dict):
        pixels = size[0] * size[1]
        kwargs = {"gain": GAIN[act] / pixels**0.5, "use_wscale": use_wscale, "act_gain": 1}  # / 4 for 4x4, officially
        Dense.__init__(self, name, in_fmaps=epilogue["dlatent_size"], fmaps=fmaps * pixels, act=None, **kwargs)
        self.shape = fmaps, *size
        self.add_epilogue(fmaps, act=act, use_wscale=use_wscale, **epilogue)

    def call(self, dlatents: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        x = tf.matmul(dlatents, tf.cast(self.weight * self.runtime_coef, dlatents.dtype))
        x = tf.transpose(tf.reshape(x, [-1, *self.shape]), [0, 2, 3, 1])  # [N, C, h, w] -> [N, h, w, C]
        return self.finish(x, dlatents, noise)


class Block(Scoped):
    """A scope such as `8x8` that holds two layers; `layers` maps names to (class, arguments)."""

    def __init__(self, name: str, *, layers: dict[str, tuple[type[Scoped], dict[str, Any]]]):
        super().__init__(name)
        self.layer_names = list(layers)
        for layer, (layer_class, kwargs) in layers.items():
            self.add_child(layer_class, layer, **kwargs)

    def sublayer(self, index: int) -> Scoped:
        """The first or second layer."""
        return getattr(self, self.layer_names[index])
