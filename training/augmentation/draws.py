"""Random parameters of augmentation: for each image a value, and whether its transform is applied at all.

A transform draws its value first and then a uniform number, which is below its probability where it is applied
(arXiv:2006.06676, section 2.2: each transform is skipped with probability 1 - p). Both are drawn for the whole
minibatch whatever the probability is, so that the draws that follow do not depend on p. They come from the random
stream in use.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from dnnlib.tflib import random_stream


class Draws:
    """The draws of one stage of the pipeline.

    Args:
        size: images in the minibatch, an integer or a tensor.
        percentile: None; or, for checks, in (0, 1): every value is this percentile of its distribution, and every
            transform is applied. Normal values are `erfinv(2 * percentile - 1)` then, as officially, which is
            the percentile over the square root of 2.

    Attributes:
        applied: bool `[N]`, the images to which some transform has been applied.
    """

    def __init__(self, size: Any, percentile: Any = None):
        self.size = size
        self.percentile = None if percentile is None else tf.cast(percentile, tf.float32)
        self.applied = tf.zeros([size], tf.bool)

    def uniform(self, probability: Any, neutral: float, value: Callable[[tf.Tensor], Any], *shape: int) -> tf.Tensor:
        """`value` of numbers in [0, 1), `[N, *shape]`; `neutral` for the images that are left out."""
        drawn = random_stream.uniform([self.size, *shape])
        return self._gated(probability, neutral, value, drawn, self.percentile)

    def normal(self, probability: Any, neutral: float, value: Callable[[tf.Tensor], Any], *shape: int) -> tf.Tensor:
        """`value` of normal numbers, `[N, *shape]`; `neutral` for the images that are left out."""
        drawn = random_stream.normal([self.size, *shape])
        instead = None if self.percentile is None else tf.math.erfinv(2 * self.percentile - 1)
        return self._gated(probability, neutral, value, drawn, instead)

    def half_normal(self, probability: Any) -> tf.Tensor:
        """Absolute values of normal numbers, `[N]`; 0 for the images that are left out."""
        drawn = random_stream.normal([self.size])
        instead = None if self.percentile is None else tf.math.erfinv(self.percentile)
        return self._gated(probability, 0.0, tf.abs, drawn, instead)

    def gate(self, probability: Any) -> tf.Tensor:
        """Whether a transform is applied, bool `[N]`."""
        gate = random_stream.uniform([self.size]) < probability
        if self.percentile is not None:
            gate = tf.ones_like(gate)
        self.applied |= gate
        return gate

    def _gated(self, probability: Any, neutral: float, value: Callable, drawn: tf.Tensor, instead: Any) -> tf.Tensor:
        gate = self.gate(probability)
        gate = tf.reshape(gate, [-1] + [1] * (drawn.shape.rank - 1))
        if instead is not None:
            drawn = tf.fill(tf.shape(drawn), instead)
        return tf.where(gate, value(drawn), neutral)

    def where_applied(self, changed: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """`changed` for the images to which a transform was applied; the others stay as they are, bit for bit."""
        return tf.where(self.applied[:, tf.newaxis, tf.newaxis, tf.newaxis], changed, images)
