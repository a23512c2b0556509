"""Real images on their way to the discriminator: range, mirroring, and the blur of progressive growing."""

from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib import random_stream
from dnnlib.tflib.tfutil import lerp


def process_reals(
    x: tf.Tensor,
    labels: Any,
    lod: Any,
    mirror_augment: bool,
    drange_data: tuple[float, float],
    drange_net: tuple[float, float],
) -> tuple[tf.Tensor, Any]:
    """Turns images of a data set into what the networks see.

    Args:
        x: images of the current resolution, `[N, C, H, W]` in `drange_data`, usually uint8.
        labels: passed through.
        lod: level of detail; the number 0 where networks do not grow.
        mirror_augment: flip half of the images, at random.
        drange_data: range of the data.
        drange_net: range of the networks.

    Returns:
        Images `[N, C, H * 2**floor(lod), W * 2**floor(lod)]`, float32 in `drange_net`, and the labels.
    """
    x = tf.cast(x, tf.float32)
    x = adjust_dynamic_range(x, drange_data, drange_net)
    if mirror_augment:
        keep = random_stream.uniform([tf.shape(x)[0]]) < 0.5
        x = tf.where(keep[:, tf.newaxis, tf.newaxis, tf.newaxis], x, tf.reverse(x, [3]))
    if not tf.is_tensor(lod) and lod == 0:
        return x, labels
    lod = tf.cast(lod, tf.float32)
    n, c, h, w = tf.unstack(tf.shape(x))
    half = tf.reshape(x, [n, c, h // 2, 2, w // 2, 2])  # [N, C, H/2, 2, W/2, 2]
    half = tf.tile(tf.reduce_mean(half, axis=[3, 5], keepdims=True), [1, 1, 1, 2, 1, 2])
    x = lerp(x, tf.reshape(half, [n, c, h, w]), lod - tf.floor(lod))
    factor = tf.cast(2 ** tf.floor(lod), tf.int32)
    x = tf.reshape(x, [n, c, h, 1, w, 1])
    return tf.reshape(tf.tile(x, [1, 1, 1, factor, 1, factor]), [n, c, h * factor, w * factor]), labels


def adjust_dynamic_range(data: Any, drange_in: Any, drange_out: Any) -> Any:
    """Maps values linearly from one range to another. NumPy arrays and tensors."""
    if tuple(drange_in) == tuple(drange_out):
        return data
    scale = (np.float32(drange_out[1]) - np.float32(drange_out[0])) / (
        np.float32(drange_in[1]) - np.float32(drange_in[0])
    )
    return data * scale + (np.float32(drange_out[0]) - np.float32(drange_in[0]) * scale)
