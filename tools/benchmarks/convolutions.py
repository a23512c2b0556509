"""The bare convolutions of a network: what its computations cannot do without."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from dnnlib.tflib import Network
from training.nets.layers import Conv2D, ModulatedConv2D

from .table import dtype_at


@dataclass(frozen=True)
class Conv:
    """A convolution of a network: square inputs, outputs and kernels."""

    name: str  # G_synthesis/64x64/Conv0_up
    in_size: int
    in_fmaps: int
    out_size: int
    fmaps: int
    kernel: int
    up: bool
    down: bool
    dtype: str

    def calls(self, minibatch: int) -> tuple[Callable, Callable, Callable]:
        """The bare convolution, and the gradients by its input and its weights, at a minibatch size.

        Compiled, a gradient is one op: the convolution that it belongs to is not needed for it.
        """
        random = tf.random.Generator.from_seed(1)

        def values(*shape: int) -> tf.Tensor:
            return tf.cast(random.normal(shape), self.dtype)

        x = values(minibatch, self.in_size, self.in_size, self.in_fmaps)
        dy = values(minibatch, self.out_size, self.out_size, self.fmaps)
        channels = (self.fmaps, self.in_fmaps) if self.up else (self.in_fmaps, self.fmaps)
        w = values(self.kernel, self.kernel, *channels)

        def conv(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
            if self.up:
                return tf.nn.conv2d_transpose(x, w, dy.shape, 2, "VALID")
            return tf.nn.conv2d(x, w, 2, "VALID") if self.down else tf.nn.conv2d(x, w, 1, "SAME")

        def gradient(index: int) -> tf.Tensor:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch((x, w)[index])
                y = conv(x, w)
            return tape.gradient(y, (x, w)[index], dy)

        functions = [lambda: conv(x, w), lambda: gradient(0), lambda: gradient(1)]
        return tuple(tf.function(function, autograph=False).get_concrete_function() for function in functions)


def convolutions(net: Network, precision: str = "fp32") -> list[Conv]:
    """The convolutions of a synthesis network or a discriminator of config e or f, in their types there."""
    net.prepare()
    resolution = (net.output_shape if len(net.output_shape) == 4 else net.input_shape)[-1]
    result = []
    for layer in net.model._flatten_layers():
        if not isinstance(layer, (ModulatedConv2D, Conv2D)):
            continue
        scope = layer._scope_path
        size = int(scope.split("/")[-2].split("x")[0])
        kernel, _kernel, in_fmaps, fmaps = layer.weight.shape
        options: Any = getattr(layer, "conv_kwargs", None) or {"up": layer.up, "down": layer.down}
        up, down = bool(options["up"]), bool(options["down"])
        in_size, out_size = size, size
        if up:  # the filter that follows, or comes before, cuts or pads
            in_size, out_size = size // 2, size - 2 + kernel
        elif down:
            in_size, out_size = size - 2 + kernel, size // 2
            if kernel == 1:  # only the pixels that stay are filtered
                in_size, down = out_size, False
        name = f"{'G' if isinstance(layer, ModulatedConv2D) else 'D'}/{scope}"
        dtype = dtype_at(size, resolution, precision)
        result.append(Conv(name, in_size, in_fmaps, out_size, fmaps, kernel, up, down, dtype))
    return result
