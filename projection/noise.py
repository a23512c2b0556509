"""Noise images as the projector optimizes them: they stay normal noise, of which nothing can be told about the image.

Appendix D of arXiv:1912.04958.
"""

from collections.abc import Sequence

import tensorflow as tf

from metrics.nets.images import average_down

_SMALLEST = 8  # pixels; smaller reductions are not regularized


def regularization(noises: Sequence[tf.Tensor]) -> tf.Tensor:
    """How much pixels tell about their neighbours, [N], summed over noise images and their reductions.

    noises: [N, 1, H, W] each. Of each, halved again and again down to 8x8, the squared correlations of pixels with
    their right and lower neighbours count (around the edges, too).
    """
    by_size: dict[int, list[tf.Tensor]] = {}
    for noise in noises:
        by_size.setdefault(noise.shape[2], []).append(tf.reshape(noise, [1, -1, *noise.shape[2:]]))  # [1, N, H, W]
    total = tf.zeros([noises[0].shape[0]])
    # Images of a size are taken together, with those that were halved to it: the fewer ops, the faster.
    while by_size:
        size = max(by_size)
        together = tf.concat(by_size.pop(size), axis=0)  # [K, N, H, W]
        for axis in (3, 2):
            correlation = tf.reduce_mean(together * tf.roll(together, 1, axis), axis=[2, 3])  # [K, N]
            total += tf.reduce_sum(tf.square(correlation), axis=0)
        if size > _SMALLEST:
            by_size.setdefault(size // 2, []).append(average_down(together, size // 2))
    return total


def normalized(noise: tf.Tensor) -> tf.Tensor:
    """Noise images [N, 1, H, W], each brought to mean 0 and standard deviation 1."""
    centred = noise - tf.reduce_mean(noise, axis=[1, 2, 3], keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centred), axis=[1, 2, 3], keepdims=True))
    return tf.math.divide_no_nan(centred, deviation)
