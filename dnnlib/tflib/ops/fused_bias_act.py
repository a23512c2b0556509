"""Bias, activation and gain in one call."""

import tensorflow as tf

from . import compiled
from .activations import Pointwise, activation_funcs, pointwise
from .implementation import COMPILED, choose

__all__ = ["activation_funcs", "fused_bias_act"]
KERNELS = ("StyleganBiasAct", "StyleganEpilogueGrad", "StyleganEpilogueGradGrad")  # the others are gradients


def fused_bias_act(
    x: tf.Tensor,
    b: tf.Tensor | None = None,
    axis: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    impl: str = "auto",
    clamp: float | None = None,
) -> tf.Tensor:
    """Adds a bias, applies an activation, multiplies by a gain, limits the result.

    Args:
        x: activations of any shape.
        b: bias `[C]`, added along `axis`; None adds nothing.
        axis: the axis of x whose size is C; counted from the end if negative.
        act: one of `activation_funcs`: linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus, swish.
        alpha: slope of 'lrelu' for negative values; None is the default of the activation.
        gain: factor on the result; None is the default of the activation.
        impl: see `implementation`.
        clamp: the result is limited to [-clamp, clamp] (StyleGAN2-ADA's `conv_clamp`); None leaves it unlimited.

    Returns:
        A tensor of the shape and type of x.

    Raises:
        ValueError: an unknown activation or a bias that does not fit.
    """
    f = pointwise(act, alpha, gain, clamp)
    x = tf.convert_to_tensor(x)
    b = None if b is None else tf.convert_to_tensor(b, dtype=x.dtype)
    if b is not None:
        axis = _check_bias(x, b, axis)
    inner = 1 if b is None else x.shape[axis + 1 :].num_elements()
    known = inner is not None and (b is None or b.shape[0] is not None)
    impl = choose(
        impl, KERNELS, x.dtype, None if known else f"the sizes of b and of x after axis {axis} must be static"
    )
    inner = max(inner or 1, 1)  # x may be empty
    if impl in COMPILED:
        return compiled.bias_act(x, b, inner, f)
    if impl == "xla" and x.dtype.size < 4:
        b = None if b is None else tf.cast(b, tf.float32)
        return tf.cast(_ref(tf.cast(x, tf.float32), b, axis, f), x.dtype)
    return _ref(x, b, axis, f)


def _ref(x: tf.Tensor, b: tf.Tensor | None, axis: int, f: Pointwise) -> tf.Tensor:
    return f(x if b is None else _add_bias(x, b, axis))


def _check_bias(x: tf.Tensor, b: tf.Tensor, axis: int) -> int:
    rank = x.shape.rank
    if not -rank <= axis < rank:
        raise ValueError(f"fused_bias_act: axis {axis} is out of range for x of shape {x.shape}")
    axis %= rank
    if b.shape.rank != 1 or not b.shape.is_compatible_with([x.shape[axis]]):
        raise ValueError(f"fused_bias_act: b of shape {b.shape} does not fit axis {axis} of x of shape {x.shape}")
    return axis


def _add_bias(x: tf.Tensor, b: tf.Tensor, axis: int) -> tf.Tensor:
    rank = x.shape.rank
    if axis == rank - 1 and rank > 1:
        return tf.nn.bias_add(x, b)
    return x + tf.reshape(b, [-1 if i == axis else 1 for i in range(rank)])
