"""What follows the convolution in a layer of the synthesis network: demodulation, noise, bias, activation, in one call.

Section 2.2 and figure 2c of the StyleGAN2 paper (arXiv:1912.04958); the clamp is StyleGAN2-ADA's `conv_clamp`.
"""

import tensorflow as tf

from . import compiled
from .activations import pointwise
from .fused_bias_act import fused_bias_act
from .implementation import COMPILED, choose

KERNELS = ("StyleganEpilogue", "StyleganEpilogueGrad", "StyleganEpilogueGradGrad")


def synthesis_epilogue(
    x: tf.Tensor,
    scale: tf.Tensor | None = None,
    noise: tf.Tensor | None = None,
    b: tf.Tensor | None = None,
    *,
    act: str = "lrelu",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    data_format: str = "NHWC",
    impl: str = "auto",
) -> tf.Tensor:
    """`clamp(act(x * scale + noise + b) * gain)`.

    Args:
        x: feature maps `[N, H, W, C]` or `[N, C, H, W]`, as `data_format` says.
        scale: factor of each feature map of each sample (demodulation, equation 3), `[N, C]`; None is 1.
        noise: noise times its strength, `[N or 1, 1, H, W]`; None is 0.
        b: bias `[C]`; None is 0.
        act, alpha, gain, clamp: as in `fused_bias_act`.
        data_format: 'NHWC' or 'NCHW'.
        impl: see `implementation`.

    Returns:
        A tensor of the shape and type of x.

    Raises:
        ValueError: an unknown activation or layout.
    """
    if data_format not in ("NCHW", "NHWC"):
        raise ValueError(f"data_format must be 'NCHW' or 'NHWC', got {data_format!r}")
    f = pointwise(act, alpha, gain, clamp)
    nhwc = data_format == "NHWC"
    x = tf.convert_to_tensor(x)
    sizes = [*x.shape[1:], *(p.shape[0] for p in (noise, b) if p is not None)]
    impl = choose(impl, KERNELS, x.dtype, "all sizes but N must be static" if None in sizes else None)
    if impl in COMPILED:
        noise = None if noise is None else tf.squeeze(noise, axis=1)  # [N or 1, H, W]
        return compiled.epilogue(x, scale, noise, b, nhwc, f)
    dtype = x.dtype
    if impl == "xla" and dtype.size < 4:
        x = tf.cast(x, tf.float32)
    if scale is not None:
        scale = tf.cast(scale, x.dtype)
        x = x * (scale[:, tf.newaxis, tf.newaxis, :] if nhwc else scale[:, :, tf.newaxis, tf.newaxis])
    if noise is not None:
        noise = tf.cast(noise, x.dtype)
        x = x + (tf.transpose(noise, [0, 2, 3, 1]) if nhwc else noise)  # [N or 1, H, W, 1]
    b = None if b is None else tf.cast(b, x.dtype)
    y = fused_bias_act(x, b, axis=-1 if nhwc else 1, act=act, alpha=alpha, gain=gain, clamp=clamp, impl="ref")
    return tf.cast(y, dtype)
