"""Real images for the iterations of training, read ahead in a thread."""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib import random_stream
from dnnlib.tflib.tfutil import lerp
from training.augmentation.transparency import averaged
from training.misc import adjust_dynamic_range

from .schedule import num_rounds

_PATIENCE_SECONDS = 1.0


@dataclass
class RealsReader:
    """Reads minibatches of a data set by their position in its shuffled stream."""

    training_set: Any  # a `training.data.dataset.Dataset`
    seed: int  # of the order
    worker: int = 0  # which reads the pieces of its own replicas only
    local_replicas: int = 1
    num_replicas: int = 1
    devices: Sequence[str] | None = None  # of the local replicas, where their pieces go; None: they stay arrays
    check: Any = None  # a `training.data.image_check.ImageCheck` that is in progress

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reals")
        self._ahead: tuple[tuple, Future] | None = None
        self._failed: BaseException | None = None  # of the last request

    def pieces(
        self,
        position: int,
        minibatch_size: int,
        minibatch_gpu: int,
        lod: int,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> list[tuple[int, Any, Any]] | None:
        """The pieces of the minibatch at a position: (number, images uint8 `[minibatch_gpu, C, H, W]`, labels).

        Arrays, or tensors on `devices`.

        What an unchanged next request will ask for is read in the meantime. None is returned if `is_stopping()` becomes
        true before they are there: network drives can take for ever. Raises UserError for an image that cannot be read,
        which `explain` may know more about, or for all of them if they are known by now.
        """
        if self.check is not None:
            self.check.go_on()
        request = position, minibatch_size, minibatch_gpu, lod
        if self._ahead is None or self._ahead[0] != request:
            self._read_ahead(*request)
        future = self._ahead[1]
        while not wait([future], timeout=_PATIENCE_SECONDS).done:
            if is_stopping():
                return None
        self._failed = future.exception()
        result = future.result()
        self._read_ahead(position + minibatch_size, minibatch_size, minibatch_gpu, lod)
        return result

    def explain(self, error: BaseException) -> None:
        """Raises UserError that names all images that cannot be read, if that is the error. It may take a minute."""
        if self.check is not None and error is self._failed and isinstance(error, UserError):
            self.check.finish(str(error))

    def _read_ahead(self, *request: int) -> None:
        self._ahead = request, self._pool.submit(self._read, *request)

    def _read(self, position: int, minibatch_size: int, minibatch_gpu: int, lod: int) -> list[tuple[int, Any, Any]]:
        rounds = range(num_rounds(minibatch_size, minibatch_gpu, self.num_replicas))
        first = self.worker * self.local_replicas
        numbers = [r * self.num_replicas + first + i for r in rounds for i in range(self.local_replicas)]
        order = self.training_set.order(self.seed, position, minibatch_size).reshape(-1, minibatch_gpu)
        images, labels = self.training_set.read(order[numbers].reshape(-1), lod)
        parts = zip(np.split(images, len(numbers)), np.split(labels, len(numbers)), strict=True)
        return [
            (number, *self._on_device(k, *part)) for k, (number, part) in enumerate(zip(numbers, parts, strict=True))
        ]

    def _on_device(self, k: int, *arrays: np.ndarray) -> Sequence[Any]:
        """Arrays of the k-th piece, copied to its device: here, because a copy waits for all that a GPU was given."""
        if self.devices is None:
            return arrays
        with tf.device("/CPU:0"):
            values = [tf.convert_to_tensor(array) for array in arrays]
        with tf.device(self.devices[k % len(self.devices)]):  # by an op, which lets other threads run meanwhile
            return [tf.raw_ops.Identity(input=value) for value in values]

    def close(self) -> None:
        """Stops reading ahead, and checking."""
        if self.check is not None:
            self.check.close()
        self._pool.shutdown(wait=True, cancel_futures=True)


# ----------------------------------------------------------------------------
# Real images on their way to the discriminator: range, mirroring, and the blur of progressive growing.


def process_reals(
    x: tf.Tensor,
    labels: Any,
    lod: Any,
    mirror_augment: bool,
    drange_data: tuple[float, float],
    drange_net: tuple[float, float],
) -> tuple[tf.Tensor, Any]:
    """Turns images of a data set into what the networks see.

    Args:
        x: images of the current resolution, `[N, C, H, W]` in `drange_data`, usually uint8. Colours of RGBA images are
            weighted by alpha where pixels are averaged.
        labels: passed through.
        lod: level of detail; the number 0 where networks do not grow.
        mirror_augment: flip half of the images, at random.
        drange_data: range of the data.
        drange_net: range of the networks.

    Returns:
        Images `[N, C, H * 2**floor(lod), W * 2**floor(lod)]`, float32 in `drange_net`, and the labels.
    """
    x = tf.cast(x, tf.float32)
    x = adjust_dynamic_range(x, drange_data, drange_net)
    if mirror_augment:
        keep = random_stream.uniform([tf.shape(x)[0]]) < 0.5
        x = tf.where(keep[:, tf.newaxis, tf.newaxis, tf.newaxis], x, tf.reverse(x, [3]))
    if not tf.is_tensor(lod) and lod == 0:
        return x, labels
    lod = tf.cast(lod, tf.float32)
    x = averaged(x, functools.partial(_blurred, amount=lod - tf.floor(lod)))
    n, c, h, w = tf.unstack(tf.shape(x))
    factor = tf.cast(2 ** tf.floor(lod), tf.int32)
    x = tf.reshape(x, [n, c, h, 1, w, 1])
    return tf.reshape(tf.tile(x, [1, 1, 1, factor, 1, factor]), [n, c, h * factor, w * factor]), labels


def _blurred(x: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Images `[N, C, H, W]` on their way, by an amount in [0, 1], to the means of 2x2 pixels.

    Where H or W is odd, as those of a base can be, the amount must be 0.
    """
    n, c, h, w = tf.unstack(tf.shape(x))
    half = tf.pad(x, [[0, 0], [0, 0], [0, h % 2], [0, w % 2]])
    rows, columns = (h + 1) // 2, (w + 1) // 2
    half = tf.reshape(half, [n, c, rows, 2, columns, 2])
    half = tf.tile(tf.reduce_mean(half, axis=[3, 5], keepdims=True), [1, 1, 1, 2, 1, 2])
    return lerp(x, tf.reshape(half, [n, c, rows * 2, columns * 2])[:, :, :h, :w], amount)
