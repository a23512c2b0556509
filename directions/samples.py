"""W of random Z, as the mapping network makes it, and what is to be known of its distribution, in one pass."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.parallel import parallel_map
from dnnlib.progress import Progress
from dnnlib.tflib.ops import implementation
from generation import conventions
from generation.conventions import Rendering

_BATCH = 2048


class Moments(NamedTuple):
    """Of a distribution of W: how many samples, their mean `[dlatent_size]` and covariance `[dlatent_size] * 2`."""

    num: int
    mean: np.ndarray
    covariance: np.ndarray


def labels_of(net: Any, rendering: Rendering, begin: int, num: int) -> np.ndarray | None:
    """Labels `[num, label_size]` of samples from number `begin` on: the one that was chosen, or else each in turn."""
    label_size = net.input_shapes[1][1]
    chosen = conventions.labels(rendering.class_idx, rendering.label, label_size, num)
    if chosen is not None or not label_size:
        return chosen
    return np.eye(label_size, dtype=np.float32)[np.arange(begin, begin + num) % label_size]


def moments(net: Any, num: int, seed: int, rendering: Rendering) -> Moments:
    """Mean and covariance, in float64, of W of so many Z, which are `RandomState(seed).randn(num, latent_size)`.

    Sums are taken batch by batch, around the network's average W. `labels_of` has the labels.
    """
    mapping = net.components.mapping
    around = tf.constant(net.get_var("dlatent_avg"), tf.float64)
    state = np.random.RandomState(seed)
    size = around.shape[0]

    @implementation.function
    def add(latents: tf.Tensor, labels: tf.Tensor | None, total: tf.Tensor, products: tf.Tensor) -> Any:
        x = tf.cast(mapping.get_output_for(latents, labels)[:, 0], tf.float64) - around  # [N, dlatent_size]
        return total + tf.reduce_sum(x, axis=0), products + tf.matmul(x, x, transpose_a=True)

    def drawn(begin: int) -> tuple[int, np.ndarray, np.ndarray | None]:
        count = min(_BATCH, num - begin)
        latents = state.randn(count, net.input_shape[1]).astype(np.float32)
        return count, latents, labels_of(net, rendering, begin, count)

    total, products = tf.zeros([size], tf.float64), tf.zeros([size, size], tf.float64)
    progress = Progress(num, "samples of W", disable=num <= 20 * _BATCH)
    for count, latents, labels in parallel_map(drawn, range(0, num, _BATCH), threads=1):
        labels = None if labels is None else tf.constant(labels)
        total, products = add(tf.constant(latents), labels, total, products)
        total.numpy()  # waits, so that no more than a few batches are in memory
        progress.update(count)
    if num > 20 * _BATCH:
        progress.finish()
    mean = total.numpy() / num
    covariance = (products.numpy() - num * np.outer(mean, mean)) / max(num - 1, 1)
    return Moments(num, mean + around.numpy(), covariance)


def of_seeds(net: Any, seeds: Any, rendering: Rendering) -> np.ndarray:
    """W float32 `[N, dlatent_size]` of seeds, not truncated, with the label that was chosen."""
    parts = list(_of_seeds(net, list(seeds), rendering))
    return np.concatenate(parts) if parts else np.zeros([0, net.components.synthesis.input_shape[2]], np.float32)


def _of_seeds(net: Any, seeds: list[int], rendering: Rendering) -> Iterator[np.ndarray]:
    for begin in range(0, len(seeds), _BATCH):
        part = seeds[begin : begin + _BATCH]
        latents = [conventions.numbers_of_seed(seed, net.input_shape[1])[0] for seed in part]
        labels = conventions.labels(rendering.class_idx, rendering.label, net.input_shapes[1][1], len(part))
        yield net.components.mapping.run(np.concatenate(latents).astype(np.float32), labels, minibatch_size=_BATCH)[
            :, 0
        ]


def of_class(net: Any, number: int, num: int, seed: int) -> np.ndarray:
    """W float32 `[num, dlatent_size]` of a class: of Z that are `RandomState(seed).randn(num, latent_size)`."""
    latents = np.random.RandomState(seed).randn(num, net.input_shape[1]).astype(np.float32)
    labels = conventions.labels(number, None, net.input_shapes[1][1], num)
    return net.components.mapping.run(latents, labels, minibatch_size=_BATCH)[:, 0]
