"""Images as the networks that measure take them."""

import tensorflow as tf


def rgb_images(images: tf.Tensor) -> tf.Tensor:
    """Images [N, C, H, W] of any type as float32 [N, H, W, 3]. A single channel is repeated."""
    # Stacked rather than transposed, which oneDNN cannot do with bytes: it says so, on stderr. As fast.
    nhwc = tf.cast(tf.stack(tf.unstack(images, axis=1), axis=3), tf.float32)  # [N, H, W, C]
    return tf.repeat(nhwc, 3, axis=3) if nhwc.shape[3] == 1 else nhwc


def legacy_resize(images: tf.Tensor, size: int) -> tf.Tensor:
    """Bilinear resize of float32 [N, H, W, C] to size x size, as TensorFlow 1 did it.

    Pixel j comes from position j * in / out, between its two neighbours: pixel centres are not aligned, and nothing is
    averaged when images shrink. `tf.image.resize` of today gives other values.
    """
    if images.shape[1:3] == [size, size]:
        return images
    return tf.raw_ops.ResizeBilinear(images=images, size=[size, size], align_corners=False, half_pixel_centers=False)


def prepare_images(images: tf.Tensor, crop: bool = False) -> tf.Tensor:
    """Images [N, C, H, W] from -1 to 1 as LPIPS takes them: from 0 to 255, averaged to 256x256 if larger.

    crop: the part where an aligned portrait has the face: rows 3/8 to 7/8, columns 2/8 to 6/8.
    """
    if crop:
        eighth = images.shape[2] // 8
        images = images[:, :, eighth * 3 : eighth * 7, eighth * 2 : eighth * 6]
    return (average_down(images, 256) + 1) * (255 / 2)


def average_down(images: tf.Tensor, size: int) -> tf.Tensor:
    """Images [N, C, H, W] higher than `size`, averaged over squares of H // size; others as they are."""
    factor = images.shape[2] // size
    if factor <= 1:
        return images
    _, channels, height, width = images.shape
    images = tf.reshape(images, [-1, channels, height // factor, factor, width // factor, factor])
    return tf.reduce_mean(images, axis=[3, 5])
