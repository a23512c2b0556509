"""What metric networks are built of. Inside, feature maps are [N, H, W, C]; nothing is trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.scope import GivenVariables, Scoped, ShapesOnly, check_variables, variables_from


class Trunk(Scoped, tf.keras.Model):
    """A network without its head: images [N, C, H, W] to features."""

    @classmethod
    def weight_shapes(cls) -> dict[str, tuple[int, ...]]:
        """Shapes of all variables by name."""
        source = ShapesOnly()
        with variables_from(source):
            cls()
        return dict(source.shapes)

    @classmethod
    def with_weights(cls, weights: Mapping[str, np.ndarray]) -> Any:
        """The network with these values of its variables. Raises VariableMismatchError if they are not all there."""
        check_variables(cls.__name__, cls.weight_shapes(), weights)
        with variables_from(GivenVariables(weights)):
            return cls()


class Conv(Scoped):
    """Convolution, bias, ReLU."""

    def __init__(
        self,
        name: str,
        *,
        in_fmaps: int,
        fmaps: int,
        kernel: tuple[int, int],
        stride: int = 1,
        padding: str = "SAME",
    ):
        """kernel: height and width; padding: 'SAME' or 'VALID'."""
        super().__init__(name)
        self.stride = stride
        self.padding = padding
        self.add_variable("weight", [*kernel, in_fmaps, fmaps], trainable=False)
        self.add_variable("bias", [fmaps], trainable=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.conv2d(x, self.weight, self.stride, self.padding)
        return self.row(tf.nn.relu(tf.nn.bias_add(x, self.bias)))


class Dense(Scoped):
    """Matrix product, bias, ReLU."""

    def __init__(self, name: str, *, in_fmaps: int, fmaps: int):
        super().__init__(name)
        self.add_variable("weight", [in_fmaps, fmaps], trainable=False)
        self.add_variable("bias", [fmaps], trainable=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.row(tf.nn.relu(tf.nn.bias_add(tf.matmul(x, self.weight), self.bias)))


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
