"""Linear maps of images whose gradient is another linear map, the adjoint: differentiable any number of times.

`tf.custom_gradient` says the same with fewer words. But in a graph it enters every use under a new name into a registry
of the process, together with tensors of the graph, so that no network which was ever traced is freed, nor its weights.
Here maps that are equal share an entry, and an entry holds no tensor.
"""

import functools
import itertools
from typing import Any, Protocol

import tensorflow as tf
from tensorflow.python.eager import record


class LinearMap(Protocol):
    """A map of x that is linear. Maps are hashable, and equal if they do the same."""

    @property
    def adjoint(self) -> "LinearMap":
        """The map that takes gradients by the result to those by x. It is called with the same `others`."""

    def __call__(self, x: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
        """The result for x, computed in any way: how it is computed is not differentiated."""


def apply(linear: LinearMap, x: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
    """`linear(x, *others)` with gradients by x, and none by the others."""
    x = tf.convert_to_tensor(x)
    with record.stop_recording():
        y = linear(x, *others)
        if not tf.executing_eagerly():
            # What TensorFlow differentiates later, functions and branches, it looks up by this name.
            with tf.compat.v1.get_default_graph().gradient_override_map({"IdentityN": _registered(linear)}):
                y = tf.identity_n([y, x, *others])[0]
    # What is differentiated while it is recorded is found by the tape.
    backward = functools.partial(_gradients, linear, x.shape, y.shape, others)
    record.record_operation("LinearMap", [y], [x, *others], backward)
    return y


def _gradients(
    linear: LinearMap, x_shape: tf.TensorShape, y_shape: tf.TensorShape, others: tuple[tf.Tensor, ...], dy: tf.Tensor
) -> list[Any]:
    dy.set_shape(y_shape)  # static shapes get lost in gradients of gradients
    dx = apply(linear.adjoint, dy, *others)
    dx.set_shape(x_shape)
    return [dx] + [None] * len(others)


_numbers = itertools.count()


@functools.cache
def _registered(linear: LinearMap) -> str:
    """The name by which graphs find the gradient of a map."""
    name = f"LinearMap-{next(_numbers)}"

    @tf.RegisterGradient(name)
    def _gradient(op: tf.Operation | None, dy: tf.Tensor, *unused: tf.Tensor) -> list[Any]:
        if op is None:  # a SavedModel is written, with the inputs in place of gradients; it allows no circles of names
            _x, *others = unused
            return [None, linear.adjoint(dy, *others)] + [None] * len(others)
        y, x, *others = op.inputs
        return [None, *_gradients(linear, x.shape, y.shape, tuple(others), dy)]

    return name
