"""LPIPS: how different two images look, by the features of VGG-16.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018), version 0.1.
"""

import tensorflow as tf

from .images import rgb_images
from .vgg16 import TAP_FMAPS, VGGConvs

_EPSILON = 1e-10


class LPIPS(VGGConvs):
    """Images a and b [N, C, H, W] of equal size, uint8 or float 0..255, to distances [N]. They are not resized.

    Differentiable as often as needed, also where all features of a pixel are 0. The distance of two images is also that
    of their `features`, so that those of an image that many are compared with need to be computed only once.
    """

    def __init__(self, name: str = "LPIPS"):
        super().__init__(name)
        for idx, fmaps in enumerate(TAP_FMAPS):
            self.add_variable(f"perceptual_weight_{idx}", [1, 1, fmaps, 1], trainable=False)

    def call(self, images_a: tf.Tensor, images_b: tf.Tensor) -> tf.Tensor:
        images_a, images_b = rgb_images(images_a), rgb_images(images_b)
        taps = self.taps(tf.concat([images_a, images_b], axis=0))
        sizes = [tf.shape(images_a)[0], tf.shape(images_b)[0]]
        pairs = [tf.split(_normalized(tap), sizes) for tap in taps]
        return self.distance_of([a for a, _ in pairs], [b for _, b in pairs])

    def features(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Images [N, C, H, W] to what `distance_of` compares: five feature maps [N, h, w, C] of unit vectors."""
        return [_normalized(tap) for tap in self.taps(rgb_images(images))]

    def distance_of(self, features_a: list[tf.Tensor], features_b: list[tf.Tensor]) -> tf.Tensor:
        """Distances [N] of images by their features. Either may be of a single image, which is compared with all."""
        distances = []
        for idx, (a, b) in enumerate(zip(features_a, features_b, strict=True)):
            weight = tf.reshape(getattr(self, f"perceptual_weight_{idx}"), [-1, 1])  # [C, 1]
            per_pixel = tf.tensordot(tf.math.squared_difference(a, b), weight, 1)  # [N, h, w, 1]
            distances.append(tf.reduce_mean(per_pixel, axis=[1, 2, 3]))
        return tf.add_n(distances)


def _normalized(x: tf.Tensor) -> tf.Tensor:
    """Vectors along the last axis, x / (|x| + epsilon). The official gradient at 0 is no number; here it is 0."""
    squared = tf.reduce_sum(tf.square(x), axis=-1, keepdims=True)
    is_zero = squared <= 0
    norm = tf.sqrt(tf.where(is_zero, tf.ones_like(squared), squared))
    return x * tf.where(is_zero, tf.zeros_like(norm), 1 / (norm + _EPSILON))
