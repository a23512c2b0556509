"""Images as the networks that measure take them."""

from collections.abc import Sequence

import tensorflow as tf

from dnnlib.pictures import WHITE
from dnnlib.resolutions import level_of_size


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


def composited(images: tf.Tensor, matte: Sequence[int] = WHITE, drange: tuple[float, float] = (0, 255)) -> tf.Tensor:
    """RGBA images [N, 4, H, W] laid over one colour: [N, 3, H, W] of the same type. Others are returned as they are.

    What is transparent is of that colour, whatever lies under it.

    matte: red, green and blue of the colour, 0 to 255. drange: of the images; bytes are rounded.
    """
    if images.shape[1] != 4:
        return images
    low, high = drange
    colours, alpha = tf.split(tf.cast(images, tf.float32), [3, 1], axis=1)
    opacity = tf.clip_by_value((alpha - low) / (high - low), 0, 1)
    background = low + tf.reshape(tf.constant(matte, tf.float32), [1, 3, 1, 1]) * ((high - low) / 255)
    result = background + (colours - background) * opacity
    return tf.cast(tf.round(result) if images.dtype.is_integer else result, images.dtype)


def prepare_images(images: tf.Tensor, crop: bool = False, matte: Sequence[int] = WHITE) -> tf.Tensor:
    """Images [N, C, H, W] from -1 to 1 as LPIPS takes them: from 0 to 255, averaged to about 256x256 if larger.

    crop: the part where an aligned portrait has the face: rows 3/8 to 7/8, columns 2/8 to 6/8. matte: see `composited`.
    """
    images = composited(images, matte, (-1, 1))
    if crop:
        y, x = images.shape[2] // 8, images.shape[3] // 8
        images = images[:, :, y * 3 : y * 7, x * 2 : x * 6]
    return (average_down(images, reduction_of(*images.shape[2:])) + 1) * (255 / 2)


def reduction_of(height: int, width: int, size: int = 256) -> int:
    """By what factor images are reduced where squares are reduced to `size`: they count as the square of their level.

    1 where it does not divide height and width.
    """
    factor = max((1 << level_of_size(height, width)) // size, 1)
    return 1 if height % factor or width % factor else factor


def average_down(images: tf.Tensor, factor: int) -> tf.Tensor:
    """Images [N, C, H, W] averaged over squares of so many pixels."""
    if factor == 1:
        return images
    _, channels, height, width = images.shape
    images = tf.reshape(images, [-1, channels, height // factor, factor, width // factor, factor])
    return tf.reduce_mean(images, axis=[3, 5])
