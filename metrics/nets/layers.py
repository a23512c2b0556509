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
