"""VGG-16 with the weights of torchvision: features for precision and recall.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2014).
"""

import numpy as np
import tensorflow as tf

from .images import legacy_resize, rgb_images
from .layers import Conv, Dense, Trunk

RESOLUTION = 224
NUM_FEATURES = 4096
FMAPS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
"""Output channels of the 13 convolutions."""
TAPS = (2, 4, 7, 10, 13)
"""The last convolution, counted from 1, of each resolution."""
TAP_FMAPS = tuple(FMAPS[number - 1] for number in TAPS)
_MEAN = (0.485, 0.456, 0.406)  # of images 0..1, red, green, blue
_STD = (0.229, 0.224, 0.225)


class VGGConvs(Trunk):
    """The convolutions of VGG-16."""

    def __init__(self, name: str):
        super().__init__(name)
        for number, (in_fmaps, fmaps) in enumerate(zip((3, *FMAPS), FMAPS, strict=False), 1):
            self.add_child(Conv, f"conv{number}", in_fmaps=in_fmaps, fmaps=fmaps, kernel=(3, 3))

    def taps(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Images [N, H, W, 3], 0..255, to the feature maps [N, h, w, C] at the end of each resolution."""
        x = (images / 255 - tf.constant(_MEAN)) / tf.constant(_STD)
        taps = []
        for number in range(1, len(FMAPS) + 1):
            if number - 1 in TAPS:
                x = halve(x)
            x = getattr(self, f"conv{number}")(x)
            if number in TAPS:
                taps.append(x)
        return taps


def halve(x: tf.Tensor) -> tf.Tensor:
    """Maxima of 2x2 pixels, without what is left over at the end of odd sides. Sides of one pixel keep it."""
    return tf.nn.max_pool2d(x, 2, 2, "SAME" if 1 in x.shape[1:3] else "VALID")


def rows_by_pixel(weight: np.ndarray) -> np.ndarray:
    """Reorders the rows of a weight that follows feature maps, from channel, y, x to y, x, channel."""
    rows = weight.reshape(FMAPS[-1], 7, 7, -1)
    return np.ascontiguousarray(rows.transpose(1, 2, 0, 3)).reshape(weight.shape)


class VGG16(VGGConvs):
    """Images [N, C, H, W] of any size, uint8 or float 0..255, to features [N, 4096]: the second fully connected layer.

    Images are resized to 224x224 without smoothing, as officially. Grey images are repeated to three channels.
    """

    def __init__(self, name: str = "VGG16"):
        super().__init__(name)
        self.add_child(Dense, "fc1", in_fmaps=7 * 7 * FMAPS[-1], fmaps=NUM_FEATURES)
        self.add_child(Dense, "fc2", in_fmaps=NUM_FEATURES, fmaps=NUM_FEATURES)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        x = halve(self.taps(legacy_resize(rgb_images(images), RESOLUTION))[-1])
        return self.fc2(self.fc1(tf.reshape(x, [-1, 7 * 7 * FMAPS[-1]])))  # rows of the weight: y, x, channel
