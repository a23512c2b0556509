"""Images with transparency: what the discriminator sees of them, and their averages.

RGBA images have straight alpha in their fourth channel, -1 (transparent) to 1 (opaque). A discriminator sees their
colours times the *weight* of alpha, 0 to 1: what is transparent is grey 0, whatever its colour, as outlines fade to it.
Alpha itself stays as it is. Images of other numbers of channels are seen, and averaged, as they are.
"""

from collections.abc import Callable

import tensorflow as tf

RGBA = 4  # channels


def weight_of(alpha: tf.Tensor) -> tf.Tensor:
    """0 for -1 and less, 1 for 1 and more. The gradient at -1 is 0: no penalty depends on colours that are not seen."""
    return tf.minimum(tf.nn.relu((alpha + 1) / 2), 1)


def as_seen(images: tf.Tensor) -> tf.Tensor:
    """What a discriminator sees of images `[N, C, H, W]` in the networks' range, [-1, 1]; of that shape."""
    if images.shape[1] != RGBA:
        return images
    alpha = images[:, 3:]
    return tf.concat([images[:, :3] * weight_of(alpha), alpha], axis=1)


def averaged(images: tf.Tensor, average: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Averages of pixels with colours weighted by alpha, as a picture that is seen from further away has them.

    Args:
        images: `[N, C, H, W]`, C static, in [-1, 1], with straight alpha if there are four channels.
        average: takes images to averages of their pixels, one as large as the other or not.

    Returns:
        As `average` does. Where all that is averaged is transparent, colours are averaged as they are.
    """
    plain = average(images)
    if images.shape[1] != RGBA:
        return plain
    seen, weight = average(as_seen(images)), average(weight_of(images[:, 3:]))
    colours = tf.where(weight > 0, tf.math.divide_no_nan(seen[:, :3], weight), plain[:, :3])
    return tf.concat([colours, plain[:, 3:]], axis=1)
