"""Homogeneous matrices of augmentation, one per image: `[N, n + 1, n + 1]` for n coordinates.

Products are sums of elementwise products: GPUs round the inputs of matrix multiplications to 10 bits (TF32), which
would move pixels.
"""

from typing import Any

import numpy as np
import tensorflow as tf


def of_rows(*rows: tuple[Any, ...]) -> tf.Tensor:
    """A matrix of numbers and of tensors `[N]` or `[]`."""
    entries = [tf.cast(entry, tf.float32) for row in rows for entry in row]
    size = tf.shape(sum(entries))  # [N]
    stacked = tf.stack([tf.broadcast_to(entry, size) for entry in entries], axis=-1)
    return tf.reshape(stacked, [-1, len(rows), len(rows[0])])


def product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The matrix product of `[N, i, j]` and `[N, j, k]`: first b, then a."""
    return tf.reduce_sum(a[:, :, :, tf.newaxis] * b[:, tf.newaxis, :, :], axis=2)


# ----------------------------------------------------------------------------
# Of the plane.


def translate2d(tx: Any, ty: Any) -> tf.Tensor:
    """Moves by (tx, ty)."""
    return of_rows((1, 0, tx), (0, 1, ty), (0, 0, 1))


def scale2d(sx: Any, sy: Any) -> tf.Tensor:
    """Enlarges sx and sy times."""
    return of_rows((sx, 0, 0), (0, sy, 0), (0, 0, 1))


def rotate2d(angle: tf.Tensor) -> tf.Tensor:
    """Turns x towards y, in radians."""
    cos, sin = tf.cos(angle), tf.sin(angle)
    return of_rows((cos, -sin, 0), (sin, cos, 0), (0, 0, 1))


# ----------------------------------------------------------------------------
# Of colours. The luma axis is the diagonal of the RGB cube: v = (1, 1, 1) / sqrt(3).

_LUMA = np.pad(np.full([3, 3], 1 / 3), [[0, 1], [0, 1]])  # v * transposed v, the projection on the luma axis
_CHROMA = np.diag([1.0, 1.0, 1.0, 0.0]) - _LUMA
_CROSS = np.pad(np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3), [[0, 1], [0, 1]])  # the product v x
_ONE = np.diag([0.0, 0.0, 0.0, 1.0])


def _combined(*terms: tuple[Any, np.ndarray]) -> tf.Tensor:
    """The sum of factors `[N]` times constant matrices."""
    return sum(
        tf.reshape(tf.cast(factor, tf.float32), [-1, 1, 1]) * tf.constant(matrix, tf.float32)
        for factor, matrix in terms
    )


def brightness(offset: tf.Tensor) -> tf.Tensor:
    """Adds to all channels."""
    return of_rows((1, 0, 0, offset), (0, 1, 0, offset), (0, 0, 1, offset), (0, 0, 0, 1))


def contrast(factor: tf.Tensor) -> tf.Tensor:
    """Multiplies all channels."""
    return _combined((factor, _LUMA + _CHROMA), (1, _ONE))


def luma(factor: tf.Tensor) -> tf.Tensor:
    """Multiplies the luma; -1 mirrors it."""
    return _combined((factor, _LUMA), (1, _CHROMA + _ONE))


def saturation(factor: tf.Tensor) -> tf.Tensor:
    """Multiplies the distance from the luma axis."""
    return _combined((factor, _CHROMA), (1, _LUMA + _ONE))


def hue(angle: tf.Tensor) -> tf.Tensor:
    """Turns around the luma axis, in radians (Rodrigues)."""
    return _combined((1, _LUMA + _ONE), (tf.cos(angle), _CHROMA), (tf.sin(angle), _CROSS))
