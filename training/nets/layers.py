"""Layers of the StyleGAN2 networks: equalized learning rate, modulated convolution, minibatch statistics.

Feature maps are `[N, H, W, C]` here (NHWC: the layout whose convolutions run on every device); the networks
translate at the borders. Weights have the official names and shapes: convolutions `[k, k, in, out]`, dense
`[in, out]`. Sections and equations cite the StyleGAN2 paper, arXiv:1912.04958.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.ops.fused_bias_act import activation_funcs, fused_bias_act
from dnnlib.tflib.ops.synthesis_epilogue import synthesis_epilogue
from dnnlib.tflib.ops.upfirdn_2d import conv_downsample_2d, mirrored, upsample_conv_2d
from dnnlib.tflib.scope import Scoped, random_normal, zeros

from .style_space import LayerStyle, moved

ResampleKernel = Sequence[float] | None
_TINY = 1e-20  # in place of a largest value of 0

# ----------------------------------------------------------------------------
# Equalized learning rate: weights are stored with unit variance and scaled at run time (ProGAN, section 4.1).


class EqualizedLayer(Scoped):
    """A layer with one `weight` whose He scale is applied at run time.

    Args:
        gain: factor on the standard deviation `gain / sqrt(fan_in)` of the effective weights.
        use_wscale: scale at run time; False bakes the scale into the initial values.
        lrmul: learning-rate multiplier: the stored weights are 1 / lrmul as large, their effect the same.
        act_gain: factor on the activation; None is the default of `fused_bias_act`.
        conv_clamp: largest absolute value of the result; None is no limit.
        frozen: the variables are not trained.
    """

    def __init__(
        self,
        name: str,
        *,
        gain: float = 1,
        use_wscale: bool = True,
        lrmul: float = 1,
        act_gain: float | None = None,
        conv_clamp: float | None = None,
        frozen: bool = False,
    ):
        super().__init__(name)
        self.frozen = frozen
        self.act_gain = act_gain
        self.conv_clamp = conv_clamp
        self.gain = gain
        self.use_wscale = use_wscale
        self.lrmul = lrmul

    def add_equalized_variable(self, name: str, shape: Sequence[int]) -> float:
        """Creates the variable and returns the factor that makes effective weights of it."""
        he_std = self.gain / np.sqrt(np.prod(shape[:-1]))
        init_std, runtime_coef = (1.0 / self.lrmul, he_std * self.lrmul)
        if not self.use_wscale:
            init_std, runtime_coef = he_std / self.lrmul, self.lrmul
        self.add_variable(name, shape, random_normal(init_std), trainable=not self.frozen)
        return float(runtime_coef)


class Dense(EqualizedLayer):
    """Fully connected layer `[N, in] -> [N, fmaps]`, with bias and activation unless `act` is None.

    The official `dense_layer` + `apply_bias_act`. Inputs with more axes are flattened as the caller hands them over.
    `equalized`: the arguments of `EqualizedLayer`.
    """

    def __init__(self, name: str, *, in_fmaps: int, fmaps: int, act: str | None = "linear", **equalized: Any):
        super().__init__(name, **equalized)
        self.act = act
        self.runtime_coef = self.add_equalized_variable("weight", [in_fmaps, fmaps])
        if act is not None:
            self.add_variable("bias", [fmaps], zeros)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.reshape(x, [-1, self.weight.shape[0]])  # [N, in]
        weight = self.kept(f"weight {x.dtype.name}", lambda: tf.cast(self.weight * self.runtime_coef, x.dtype))
        x = tf.matmul(x, weight)
        return self.row(apply_bias_act(self, x, self.act))


class Conv2D(EqualizedLayer):
    """Convolution `[N, H, W, in] -> [N, H', W', fmaps]` with zero padding, optional 2x resampling, bias and activation.

    The official `conv2d_layer` + `apply_bias_act`; `act=None` leaves bias and activation out (the `Skip` layers).
    `equalized`: the arguments of `EqualizedLayer`.
    """

    def __init__(
        self,
        name: str,
        *,
        in_fmaps: int,
        fmaps: int,
        kernel: int,
        up: bool = False,
        down: bool = False,
        resample_kernel: ResampleKernel = None,
        act: str | None = "linear",
        **equalized: Any,
    ):
        super().__init__(name, **equalized)
        self.up = up
        self.down = down
        self.resample_kernel = resample_kernel
        self.act = act
        self.runtime_coef = self.add_equalized_variable("weight", [kernel, kernel, in_fmaps, fmaps])
        if act is not None:
            self.add_variable("bias", [fmaps], zeros, trainable=not self.frozen)

    def call(self, x: tf.Tensor, scale: float = 1) -> tf.Tensor:
        """The result times `scale`, which costs nothing: it goes into the weights or into the gain."""
        coef = self.runtime_coef * (scale if self.act is None else 1)
        weight = self.kept(f"weight {x.dtype.name} {coef}", lambda: tf.cast(self.weight * coef, x.dtype))
        x = resample_conv2d(x, weight, self.up, self.down, self.resample_kernel)
        return self.row(apply_bias_act(self, x, self.act, scale))


def apply_bias_act(layer: EqualizedLayer, x: tf.Tensor, act: str | None, scale: float = 1) -> tf.Tensor:
    """Adds `layer.bias` along the last axis, applies the activation, times `scale`; `act=None` does nothing."""
    if act is None:
        return x
    bias = layer.kept(f"bias {x.dtype.name}", lambda: tf.cast(layer.bias * layer.lrmul, x.dtype))
    return fused_bias_act(x, bias, axis=-1, act=act, **gain_and_clamp(layer, act, scale))


def gain_and_clamp(layer: EqualizedLayer, act: str, scale: float) -> dict[str, float | None]:
    """Arguments of the activation of a layer whose result is wanted times `scale`."""
    gain = activation_funcs[act].def_gain if layer.act_gain is None else layer.act_gain
    return {"gain": gain * scale, "clamp": None if layer.conv_clamp is None else layer.conv_clamp * scale}


def resample_conv2d(
    x: tf.Tensor,
    w: tf.Tensor,
    up: bool = False,
    down: bool = False,
    resample_kernel: ResampleKernel = None,
    is_mirrored: bool = False,
) -> tf.Tensor:
    """A convolution after 2x upsampling, before 2x downsampling, or neither. x `[N, H, W, in]`.

    is_mirrored: with `up`, whether w is mirrored already.
    """
    if up:
        return upsample_conv_2d(x, w, k=resample_kernel, data_format="NHWC", is_mirrored=is_mirrored)
    if down:
        return conv_downsample_2d(x, w, k=resample_kernel, data_format="NHWC")
    return tf.nn.conv2d(x, w, strides=1, padding="SAME")


# ----------------------------------------------------------------------------
# Modulated convolution (section 2.2, equations 1 and 3).


def modulated_conv2d(
    x: tf.Tensor,
    w: tf.Tensor,
    style: tf.Tensor,
    *,
    up: bool = False,
    down: bool = False,
    demodulate: bool = True,
    resample_kernel: ResampleKernel = None,
    fused_modconv: bool = True,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Convolution whose weights are scaled per sample by `style` and normalised per output feature map.

    x: `[N, H, W, in]`. w: weights `[k, k, in, out]`. style: `[N, in]`, times the run-time coefficient of the weights.
    Returns feature maps `[N, H', W', out]` and what they must still be multiplied by to be demodulated, `[N, out]`;
    None is nothing.

    Scaling the weights (equation 1) equals scaling the input; demodulation (equation 3) equals scaling the output.
    With `fused_modconv`, one sample is computed the first way where its feature maps are larger than the weights, which
    saves a pass over them. Else the second way serves all samples with one convolution: a grouped convolution would be
    slow or missing on a CPU. Without `fused_modconv` a CPU computes a sample alone as it does among others, to the last
    bit.

    In float16, demodulation allows any scale of weights and styles, so both are scaled to where nothing overflows
    (StyleGAN2-ADA, appendix D).
    """
    size, out_fmaps = int(w.shape[0]), int(w.shape[3])
    if fused_modconv and x.shape[0] == 1 and x.shape[1] * x.shape[2] > size * size * out_fmaps:
        w = w * style[0][:, tf.newaxis]  # [k, k, in, out]
        if demodulate:
            w = w * tf.math.rsqrt(tf.reduce_sum(tf.square(w), axis=[0, 1, 2]) + 1e-8)
        return resample_conv2d(x, tf.cast(w, x.dtype), up, down, resample_kernel), None

    if demodulate and x.dtype == tf.float16:
        w = in_range(w)
        style = style / largest(style)
    x = synthesis_epilogue(x, style, act="linear")  # whose gradient computes those of x and style in one pass
    x = resample_conv2d(x, tf.cast(w, x.dtype), up, down, resample_kernel)
    if not demodulate:
        return x, None
    energy = tf.reduce_sum(tf.square(w), axis=[0, 1])  # [in, out]
    return x, as_in_batches(lambda style: tf.math.rsqrt(tf.matmul(tf.square(style), energy) + 1e-8), style)


def in_range(w: tf.Tensor) -> tf.Tensor:
    """Weights `[k, k, in, out]` scaled so that each output feature map's largest is 1 / sqrt(fan_in)."""
    fan_in = float(np.prod(w.shape[:-1]))
    return w * (fan_in**-0.5 / tf.maximum(tf.reduce_max(tf.abs(w), axis=[0, 1, 2]), _TINY))


def largest(style: tf.Tensor) -> tf.Tensor:
    """The largest absolute value of each style `[..., N, in]`: `[..., N, 1]`."""
    return tf.maximum(tf.reduce_max(tf.abs(style), axis=-1, keepdims=True), _TINY)


def as_in_batches(func: Callable[[tf.Tensor], tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
    """`func(rows)`, for matrix products. A single row goes in twice: alone it has kernels of its own, which round."""
    return func(rows) if rows.shape[0] != 1 else func(tf.tile(rows, [2, 1]))[:1]


class ModulatedConv2D(EqualizedLayer):
    """The official `modulated_conv2d_layer`: variables `weight`, `mod_weight` (dlatent -> style) and `mod_bias`.

    Arguments as in `modulated_conv2d`; `equalized`: those of `EqualizedLayer`.
    """

    def __init__(
        self,
        name: str,
        *,
        in_fmaps: int,
        fmaps: int,
        kernel: int,
        dlatent_size: int,
        up: bool = False,
        down: bool = False,
        demodulate: bool = True,
        resample_kernel: ResampleKernel = None,
        fused_modconv: bool = True,
        **equalized: Any,
    ):
        super().__init__(name, **equalized)
        self.conv_kwargs = {
            "up": up,
            "down": down,
            "demodulate": demodulate,
            "resample_kernel": resample_kernel,
            "fused_modconv": fused_modconv,
        }
        self.runtime_coef = self.add_equalized_variable("weight", [kernel, kernel, in_fmaps, fmaps])
        self.mod_coef = float(1 / np.sqrt(dlatent_size))  # mod_weight always has gain 1 and lrmul 1
        self.add_variable("mod_weight", [dlatent_size, in_fmaps], random_normal())
        self.add_variable("mod_bias", [in_fmaps], zeros)

    @property
    def style_coef(self) -> float:
        """What styles are multiplied by: without demodulation the weights' coefficient, which keeps 16 bit in range."""
        return 1.0 if self.conv_kwargs["demodulate"] else self.runtime_coef

    @property
    def affine(self) -> tuple[Any, float, Any, float]:
        """From W to styles: the variable of the matrix, what it is multiplied by, that of the bias, what is added."""
        return self.mod_weight, self.mod_coef, self.mod_bias, 1.0

    def effective_weight(self, dtype: tf.DType) -> tf.Tensor:
        """Weights `[k, k, in, out]` in float32, scaled to the range of a type, for styles times `style_coef`."""
        weight = self.weight * (self.runtime_coef / self.style_coef)
        return in_range(weight) if self.conv_kwargs["demodulate"] and dtype == tf.float16 else weight

    def convolve(self, x: tf.Tensor, dlatents: "tf.Tensor | LayerStyle") -> tuple[tf.Tensor, tf.Tensor | None]:
        """x `[N, H, W, in]`, dlatents `[N, dlatent_size]` -> feature maps and their factors: `modulated_conv2d`.

        Styles are computed in float32.
        """
        if isinstance(dlatents, LayerStyle):
            return self._convolve_styled(x, dlatents.style), dlatents.demodulation

        def style_of(dlatents: tf.Tensor) -> tf.Tensor:
            return tf.matmul(tf.cast(dlatents, tf.float32), self.mod_weight * self.mod_coef) + self.mod_bias + 1

        fused = self.conv_kwargs["fused_modconv"]
        style = style_of(dlatents) if fused else as_in_batches(style_of, dlatents)  # [N, in]
        style = moved(style, self.mod_weight)
        weight = tf.convert_to_tensor(self.weight)
        return modulated_conv2d(x, weight, style * self.runtime_coef, **self.conv_kwargs)

    def _convolve_styled(self, x: tf.Tensor, style: tf.Tensor) -> tf.Tensor:
        """The convolution alone, with kept weights. One sample's weights are scaled where they are the smaller."""
        up, down = self.conv_kwargs["up"], self.conv_kwargs["down"]

        def converted() -> tf.Tensor:
            weight = tf.cast(self.effective_weight(x.dtype), x.dtype)
            return mirrored(weight) if up else weight

        size, _, in_fmaps, out_fmaps = self.weight.shape
        weight = self.kept(f"weight {x.dtype.name}", converted)
        alone = self.conv_kwargs["fused_modconv"] and x.shape[0] == 1
        if alone and x.shape[1] * x.shape[2] > size * size * out_fmaps:
            weight = weight * tf.reshape(style, [1, in_fmaps] if up else [in_fmaps, 1])
        else:
            x = synthesis_epilogue(x, style, act="linear")
        return resample_conv2d(x, weight, up, down, self.conv_kwargs["resample_kernel"], is_mirrored=True)

    def call(self, x: tf.Tensor, dlatents: tf.Tensor) -> tf.Tensor:
        x, scale = self.convolve(x, dlatents)
        return self.row(synthesis_epilogue(x, scale, act="linear"))


class SynthesisLayer(ModulatedConv2D):
    """Modulated 3x3 convolution, noise, bias, activation: one layer of the synthesis network (figure 2c).

    `noise` is `[N or 1, 1, H', W']`, the layout of the official noise variables; None without `use_noise`.
    `modulated`: the arguments of `ModulatedConv2D`.
    """

    def __init__(self, name: str, *, fmaps: int, act: str, use_noise: bool = True, **modulated: Any):
        super().__init__(name, fmaps=fmaps, kernel=3, **modulated)
        self.act = act
        if use_noise:
            self.add_variable("noise_strength", [], zeros)
        self.add_variable("bias", [fmaps], zeros)

    def call(
        self, x: tf.Tensor, dlatents: tf.Tensor | LayerStyle, noise: tf.Tensor | None, scale: float = 1
    ) -> tf.Tensor:
        """The result times `scale`. noise: is in the style, where there is one."""
        x, demodulation = self.convolve(x, dlatents)
        if isinstance(dlatents, LayerStyle):
            noise = dlatents.noise
        else:
            noise = None if noise is None else noise * self.noise_strength
        bias = self.kept("bias", lambda: self.bias * self.lrmul)
        scaled = gain_and_clamp(self, self.act, scale)
        return self.row(synthesis_epilogue(x, demodulation, noise, bias, act=self.act, **scaled))


class ToRGB(ModulatedConv2D):
    """Modulated 1x1 convolution to image channels, without demodulation, plus bias.

    `modulated`: the arguments of `ModulatedConv2D`.
    """

    def __init__(self, name: str, *, fmaps: int, **modulated: Any):
        super().__init__(name, fmaps=fmaps, kernel=1, demodulate=False, **modulated)
        self.add_variable("bias", [fmaps], zeros)

    def call(self, x: tf.Tensor, dlatents: tf.Tensor) -> tf.Tensor:
        x, _ = self.convolve(x, dlatents)
        return self.row(apply_bias_act(self, x, "linear"))


# ----------------------------------------------------------------------------
# Small steps that own no variables.


def normalize_2nd_moment(x: tf.Tensor, axis: int = -1, eps: float = 1e-8) -> tf.Tensor:
    """Scales vectors to mean square 1 (pixel norm; the `Normalize` step of the mapping network)."""
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=axis, keepdims=True) + tf.cast(eps, x.dtype))


def minibatch_stddev_layer(
    x: tf.Tensor, group_size: int | None = 4, num_new_features: int = 1, data_format: str = "NCHW"
) -> tf.Tensor:
    """Appends feature maps that tell how much the samples of a group differ (ProGAN, section 3).

    Samples are split into groups of `group_size` (the minibatch size if that is smaller or None is given; it must
    divide the minibatch), the channels into `num_new_features` parts; each part yields the standard deviation over the
    group, averaged over pixels and channels. Sample i belongs to the group of sample i + minibatch / group_size, as in
    the official layer.
    """
    nhwc = tf.transpose(x, [0, 2, 3, 1]) if data_format == "NCHW" else x
    height, width, channels = nhwc.shape[1:]
    if channels % num_new_features:
        raise ValueError(f"mbstd_num_features={num_new_features} must divide the number of feature maps, {channels}")
    minibatch = nhwc.shape[0]
    if minibatch is not None and group_size is not None and minibatch % min(group_size, minibatch):
        raise ValueError(
            f"minibatch size {minibatch} must be a multiple of mbstd_group_size={group_size} (or smaller than it)"
        )
    minibatch = tf.shape(nhwc)[0] if minibatch is None else minibatch
    group = minibatch if group_size is None else tf.minimum(group_size, minibatch)
    # Statistics are taken in float32 whatever the type of the activations.
    y = tf.cast(tf.reshape(nhwc, [group, -1, height * width, channels]), tf.float32)  # [G, M, HW, C]
    y = y - tf.reduce_mean(y, axis=0, keepdims=True)
    y = tf.sqrt(tf.reduce_mean(tf.square(y), axis=0) + 1e-8)  # [M, HW, C]
    y = tf.reshape(y, [-1, height * width, num_new_features, channels // num_new_features])  # [M, HW, n, c]
    y = tf.cast(tf.reduce_mean(y, axis=[1, 3]), nhwc.dtype)  # [M, n]
    y = tf.tile(y[:, tf.newaxis, tf.newaxis, :], [group, height, width, 1])  # [N, H, W, n]
    y = tf.concat([nhwc, y], axis=3)
    return tf.transpose(y, [0, 3, 1, 2]) if data_format == "NCHW" else y
