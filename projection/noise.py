"""Noise images as the projector optimizes them: they stay normal noise, of which nothing can be told about the image.

Appendix D of arXiv:1912.04958.
"""

from collections.abc import Sequence

import tensorflow as tf

from dnnlib.resolutions import level_of_size
from metrics.nets.images import average_down

_SMALLEST_LEVEL = 3  # 8x8; smaller reductions are not regularized


def regularization(noises: Sequence[tf.Tensor]) -> tf.Tensor:
    """How much pixels tell about their neighbours, [N], summed over noise images and their reductions.

    noises: [N, 1, H, W] each. Of each, halved again and again down to 8x8, the squared correlations of pixels with
    their right and lower neighbours count (around the edges, too). Images that are not square are halved as often as
    the square of their level, as long as their sides are even.
    """
    by_size: dict[tuple[int, int], list[tf.Tensor]] = {}
    for noise in noises:
        height, width = noise.shape[2:]
        by_size.setdefault((height, width), []).append(tf.reshape(noise, [1, -1, height, width]))  # [1, N, H, W]
    total = tf.zeros([noises[0].shape[0]])
    # Images of a size are taken together, with those that were halved to it: the fewer ops, the faster.
    while by_size:
        size = max(by_size)
        together = tf.concat(by_size.pop(size), axis=0)  # [K, N, H, W]
        for axis in (3, 2):
            correlation = tf.reduce_mean(together * tf.roll(together, 1, axis), axis=[2, 3])  # [K, N]
            total += tf.reduce_sum(tf.square(correlation), axis=0)
        height, width = size
        if level_of_size(height, width) > _SMALLEST_LEVEL and not (height % 2 or width % 2):
            by_size.setdefault((height // 2, width // 2), []).append(average_down(together, 2))
    return total


def normalized(noise: tf.Tensor) -> tf.Tensor:
    """Noise images [N, 1, H, W], each brought to mean 0 and standard deviation 1."""
    centred = noise - tf.reduce_mean(noise, axis=[1, 2, 3], keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centred), axis=[1, 2, 3], keepdims=True))
    return tf.math.divide_no_nan(centred, deviation)
