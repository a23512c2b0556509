"""The nine activations of the official StyleGAN2 op, and the pointwise function of a layer that is made of one.

Default slopes and gains are the official ones. The gains keep the variance of a unit-variance input close to 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


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


class Pointwise(NamedTuple):
    """F(u) = clamp(gain * act(u)), where clamp None is no limit. `pointwise()` knows the defaults of activations."""

    act: str
    alpha: float | None
    gain: float
    clamp: float | None

    def __call__(self, u: tf.Tensor) -> tf.Tensor:
        """F made of TensorFlow ops."""
        y = activation_funcs[self.act].func(u, self.alpha)
        y = y if self.gain == 1 else y * tf.cast(self.gain, y.dtype)
        if self.clamp is None:
            return y
        return tf.clip_by_value(y, tf.cast(-self.clamp, y.dtype), tf.cast(self.clamp, y.dtype))

    def derivative(self, order: int, u: tf.Tensor) -> tf.Tensor:
        """The derivative of F of an order, made of TensorFlow ops."""
        if order == 0:
            return self(u)
        with tf.GradientTape() as tape:
            tape.watch(u)
            y = self.derivative(order - 1, u)
        return tape.gradient(y, u, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def is_piecewise_linear(self) -> bool:
        """Whether F'' is 0."""
        return self.act in ("linear", "relu", "lrelu")

    def attrs(self) -> dict[str, Any]:
        """As the attributes of the compiled ops."""
        clamp = -1.0 if self.clamp is None else float(self.clamp)
        return {"act": self.act, "alpha": float(self.alpha or 0), "gain": float(self.gain), "clamp": clamp}

    @staticmethod
    def of_op(op: tf.Operation) -> "Pointwise":
        """What a compiled op computes."""
        act, clamp = op.get_attr("act"), op.get_attr("clamp")
        act = act.decode() if isinstance(act, bytes) else act
        return Pointwise(act, op.get_attr("alpha"), op.get_attr("gain"), None if clamp < 0 else clamp)


def pointwise(act: str, alpha: float | None, gain: float | None, clamp: float | None) -> Pointwise:
    """F with the defaults of the activation in place of None. Raises ValueError for values that make no sense."""
    activation = activation_funcs.get(act)
    if activation is None:
        raise ValueError(f"act must be one of {', '.join(activation_funcs)}, got {act!r}")
    if clamp is not None and not clamp > 0:
        raise ValueError(f"clamp must be a number above 0, or None, got {clamp!r}")
    alpha = activation.def_alpha if alpha is None else alpha
    return Pointwise(act, alpha, float(activation.def_gain if gain is None else gain), clamp)
