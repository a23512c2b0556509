"""Times metric networks against their convolutions alone, and Inception against that of Keras."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.scope import recorded_rows
from metrics.nets.inception import InceptionV3
from metrics.nets.layers import Conv, Trunk
from metrics.nets.lpips import LPIPS
from metrics.nets.metric_network import MetricNetwork
from metrics.nets.vgg16 import VGG16

from .table import Figure, Options, Row
from .timing import in_turns, run_all


def random_network(trunk_class: type[Trunk], num_inputs: int, output_shape: list[int | None]) -> MetricNetwork:
    """A metric network with random weights that keep the size of activations."""
    rng = np.random.default_rng(1)
    weights = {}
    for name, shape in trunk_class.weight_shapes().items():
        scale = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0
        weights[name] = rng.standard_normal(shape, np.float32) * np.float32(scale)
    return MetricNetwork(
        trunk_class.__name__,
        trunk_class.with_weights(weights),
        source="random numbers",
        trunk_digest="",
        input_shapes=[[None, 3, None, None]] * num_inputs,
        output_shape=output_shape,
    )


def convolutions(trunk: Any, images: list[np.ndarray]) -> list[Callable[[], tf.Tensor]]:
    """The convolutions and matrix products of a network alone, on random numbers of the sizes that it sees."""
    with recorded_rows() as rows:
        trunk(*map(tf.constant, images))
    return [_product(getattr(trunk, name), shape) for name, shape in rows]


def _product(layer: Any, out_shape: tf.TensorShape) -> Callable[[], tf.Tensor]:
    weight = tf.constant(layer.weight.numpy())
    if not isinstance(layer, Conv):
        x = tf.random.normal([out_shape[0], weight.shape[0]])
        return tf.function(lambda: tf.matmul(x, weight), autograph=False).get_concrete_function()
    stride, padding = layer.stride, layer.padding
    border = 0 if padding == "SAME" else 1
    sizes = [(size - border) * stride + border * k for size, k in zip(out_shape[1:3], weight.shape[:2], strict=True)]
    x = tf.random.normal([out_shape[0], *sizes, weight.shape[2]])
    return tf.function(lambda: tf.nn.conv2d(x, weight, stride, padding), autograph=False).get_concrete_function()


def _keras_inception(images: np.ndarray) -> Callable[[], np.ndarray]:
    """Keras' own network of nearly the same layers on the same images."""
    network = tf.keras.applications.InceptionV3(weights=None, include_top=False, pooling="avg")
    scaled = np.float32(images.transpose(0, 2, 3, 1)) / 127.5 - 1
    return lambda: network.predict(scaled, batch_size=len(scaled), verbose=0)


def bench(options: Options) -> Iterator[Row | Figure]:
    """The networks on images of the resolutions they work at."""
    rng = np.random.default_rng(0)
    for minibatch in options.minibatches or [8]:

        def images(resolution: int, minibatch: int = minibatch) -> np.ndarray:
            return rng.integers(0, 256, [minibatch, 3, resolution, resolution], np.uint8)

        cases = {
            "Inception": (random_network(InceptionV3, 1, [None, 2048]), [images(299)]),
            "VGG-16 features": (random_network(VGG16, 1, [None, 4096]), [images(224)]),
            "LPIPS, of pairs": (random_network(LPIPS, 2, [None]), [images(256), images(256)]),
        }
        for title, (network, inputs) in cases.items():
            products = convolutions(network.trunk, inputs)
            calls: dict[str, Callable[[], object]] = {
                "network": functools.partial(network.run, *inputs, minibatch_size=minibatch),
                "convolutions": functools.partial(run_all, products),
            }
            if title == "Inception":
                calls["keras"] = _keras_inception(inputs[0])
            times = in_turns(calls, options.rounds)
            size = inputs[0].shape[-1]
            yield Row("metrics", "metric network", title, size, minibatch, "fp32", "", *list(times.values())[:2])
            if "keras" in times:
                what = f"{title}, minibatch {minibatch}: speed against keras.applications.InceptionV3.predict"
                yield Figure(what, f"{times['keras'] / times['network']:.2f}", "1 or more")
