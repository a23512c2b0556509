"""Bias, activation and gain in one call.

The nine activations, their default slope and gain are those of the official StyleGAN2 op. The gains keep the variance
of a unit-variance input close to 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from . import compiled
from .implementation import choose


class Activation(NamedTuple):
    """One row of the table: the function `(x, alpha) -> y`, its default alpha (None: it has none) and default gain."""

    func: Callable[[tf.Tensor, float | None], tf.Tensor]
    def_alpha: float | None
    def_gain: float


activation_funcs: dict[str, Activation] = {
    "linear": Activation(lambda x, alpha: x, None, 1.0),
    "relu": Activation(lambda x, alpha: tf.nn.relu(x), None, np.sqrt(2)),
    "lrelu": Activation(lambda x, alpha: tf.nn.leaky_relu(x, alpha), 0.2, np.sqrt(2)),
    "tanh": Activation(lambda x, alpha: tf.nn.tanh(x), None, 1.0),
    "sigmoid": Activation(lambda x, alpha: tf.nn.sigmoid(x), None, 1.0),
    "elu": Activation(lambda x, alpha: tf.nn.elu(x), None, 1.0),
    "selu": Activation(lambda x, alpha: tf.nn.selu(x), None, 1.0),
    "softplus": Activation(lambda x, alpha: tf.nn.softplus(x), None, 1.0),
    "swish": Activation(lambda x, alpha: tf.nn.sigmoid(x) * x, None, np.sqrt(2)),
}

KERNELS = ("StyleganBiasAct", "StyleganEpilogueGrad")  # the second is the gradient


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
    activation = activation_funcs.get(act)
    if activation is None:
        raise ValueError(f"act must be one of {', '.join(activation_funcs)}, got {act!r}")
    x = tf.convert_to_tensor(x)
    b = None if b is None else tf.convert_to_tensor(b, dtype=x.dtype)
    if b is not None:
        axis = _check_bias(x, b, axis)
    f = pointwise(act, alpha, gain, clamp)
    inner = 1 if b is None else x.shape[axis + 1 :].num_elements()
    impl = choose(impl, KERNELS, x.dtype, None if inner else f"the sizes of x after axis {axis} must be static")
    if impl == "ref":
        return f.ref(x if b is None else _add_bias(x, b, axis))
    return compiled.bias_act(x, b, inner, f)


def pointwise(act: str, alpha: float | None, gain: float | None, clamp: float | None) -> compiled.Pointwise:
    """The function after the bias, with the defaults of the activation in place of None."""
    activation = activation_funcs[act]
    alpha = activation.def_alpha if alpha is None else alpha
    gain = float(activation.def_gain if gain is None else gain)

    def ref(u: tf.Tensor) -> tf.Tensor:
        y = activation.func(u, alpha)
        y = y if gain == 1 else y * tf.cast(gain, y.dtype)
        return y if clamp is None else tf.clip_by_value(y, tf.cast(-clamp, y.dtype), tf.cast(clamp, y.dtype))

    return compiled.Pointwise(act, alpha, gain, clamp, ref)


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
