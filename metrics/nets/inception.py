"""Inception-v3 as of 2015-12-05: the network of FID, KID and Inception score.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2015), in the form of the frozen graph
`classify_image_graph_def.pb` that all published numbers are made with. It differs from `keras.applications.InceptionV3`
in its weights, its 1008 classes, the scaling of images, and the pool of the last block, which takes maxima.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from .images import legacy_resize, rgb_images
from .inception_layers import CONVS
from .layers import Conv, Trunk

RESOLUTION = 299
NUM_FEATURES = 2048
NUM_CLASSES = 1008
_EPSILON = 1e-3  # of batch normalisation


def fold(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Joins convolutions with their batch normalisation.

    Args:
        weights: `<scope>/weight`, `/bias`, `/mean`, `/var` of each convolution.

    Returns:
        `<layer>/weight` and `/bias`, the variables of `InceptionV3`.
    """
    folded = {}
    for conv in CONVS:
        weight, bias, mean, var = (
            weights[f"{conv.scope}/{role}"].astype(np.float64) for role in ("weight", "bias", "mean", "var")
        )
        scale = 1 / np.sqrt(var + _EPSILON)
        folded[f"{_layer_name(conv.scope)}/weight"] = (weight * scale).astype(np.float32)
        folded[f"{_layer_name(conv.scope)}/bias"] = (bias - mean * scale).astype(np.float32)
    return folded


def _layer_name(scope: str) -> str:
    return scope.replace("/", "_")


class InceptionV3(Trunk):
    """Images [N, C, H, W] of any size, uint8 or float 0..255, to features [N, 2048].

    Images are resized to 299x299 without smoothing, as officially. Grey images are repeated to three channels.
    """

    def __init__(self, name: str = "InceptionV3"):
        super().__init__(name)
        for conv in CONVS:
            self.add_child(
                Conv,
                _layer_name(conv.scope),
                in_fmaps=conv.in_fmaps,
                fmaps=conv.fmaps,
                kernel=conv.kernel,
                stride=conv.stride,
                padding=conv.padding,
            )

    def call(self, images: tf.Tensor) -> tf.Tensor:
        x = legacy_resize(rgb_images(images), RESOLUTION)
        return self.features((x - 128) / 128)

    def features(self, x: tf.Tensor) -> tf.Tensor:
        """Scaled images [N, H, W, 3] to features [N, 2048]."""
        x = _shrink(self._chain(x, "conv", "conv_1", "conv_2"))
        x = _shrink(self._chain(x, "conv_3", "conv_4"))
        for block in ("mixed", "mixed_1", "mixed_2"):
            x = self._concat(
                self._tower(x, block, 1),
                self._tower(x, f"{block}/tower", 2),
                self._tower(x, f"{block}/tower_1", 3),
                self._tower(_average(x), f"{block}/tower_2", 1),
            )
        x = self._concat(self._tower(x, "mixed_3", 1), self._tower(x, "mixed_3/tower", 3), _shrink(x))
        for block in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
            x = self._concat(
                self._tower(x, block, 1),
                self._tower(x, f"{block}/tower", 3),
                self._tower(x, f"{block}/tower_1", 5),
                self._tower(_average(x), f"{block}/tower_2", 1),
            )
        x = self._concat(self._tower(x, "mixed_8/tower", 2), self._tower(x, "mixed_8/tower_1", 4), _shrink(x))
        for block, pool in (("mixed_9", _average), ("mixed_10", _maximum)):
            wide = self._tower(x, f"{block}/tower", 1)
            deep = self._tower(x, f"{block}/tower_1", 2)
            x = self._concat(
                self._tower(x, block, 1),
                *(self._chain(wide, f"{block}/tower/mixed/{conv}") for conv in ("conv", "conv_1")),
                *(self._chain(deep, f"{block}/tower_1/mixed/{conv}") for conv in ("conv", "conv_1")),
                self._tower(pool(x), f"{block}/tower_2", 1),
            )
        return tf.reduce_mean(x, axis=[1, 2])

    def _tower(self, x: tf.Tensor, scope: str, count: int) -> tf.Tensor:
        """The first convolutions of a scope, one after the other."""
        return self._chain(x, *(f"{scope}/{conv}" for conv in ("conv", "conv_1", "conv_2", "conv_3", "conv_4")[:count]))

    def _chain(self, x: tf.Tensor, *scopes: str) -> tf.Tensor:
        for scope in scopes:
            x = getattr(self, _layer_name(scope))(x)
        return x

    @staticmethod
    def _concat(*branches: tf.Tensor) -> tf.Tensor:
        return tf.concat(branches, axis=3)


def _shrink(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.max_pool2d(x, 3, 2, "VALID")


def _average(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.avg_pool2d(x, 3, 1, "SAME")  # over what lies inside: padding does not count


def _maximum(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.max_pool2d(x, 3, 1, "SAME")


class SoftmaxHead:
    """Features [N, 2048] to the probabilities [N, 1008] of the Inception score, which knows no bias.

    Salimans et al., "Improved Techniques for Training GANs" (2016), left the bias out, and all others did the same.
    """

    def __init__(self, weight: np.ndarray):
        self.weight = tf.Variable(weight.astype(np.float32), trainable=False, name="softmax_weight")

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(tf.matmul(features, self.weight))
