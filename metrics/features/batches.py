"""Passes over samples: minibatches on one or several devices, rows on disk, progress, and going on after a stop."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

import dnnlib
from dnnlib.progress import Progress
from dnnlib.submission.run_context import Stopped
from dnnlib.tflib import random_stream

from .feature_file import RowFile


@dataclass
class BatchFunction:
    """A compiled function of minibatches of one size, divided among devices; smaller ones are filled up.

    Args:
        function: tensors [n, ...] -> list of tensors [n, ...]. Random numbers come from `dnnlib.tflib.random_stream`.
        devices: names of devices, as of `dnnlib.tflib.devices.device_names`.
        per_device: items per device at once.
        seed: of the random numbers.
    """

    function: Callable[..., Sequence[tf.Tensor]]
    devices: Sequence[str]
    per_device: int
    seed: int
    _compiled: Any = None

    @property
    def batch_size(self) -> int:
        """Items on all devices at once."""
        return self.per_device * len(self.devices)

    def __call__(self, first: int, *arrays: np.ndarray) -> list[np.ndarray]:
        """The outputs for arrays [n, ...], n up to `batch_size`. `first`: the number of the first sample."""
        count = len(arrays[0])
        fill = self.batch_size - count
        filled = [np.concatenate([a, np.repeat(a[-1:], fill, axis=0)]) if fill else a for a in arrays]
        inputs = [tf.constant(array) for array in (random_stream.seed_of(self.seed, first), *filled)]
        if self._compiled is None:  # once: shapes do not change
            self._compiled = tf.function(self._on_devices, autograph=False).get_concrete_function(*inputs)
        return [output.numpy()[:count] for output in self._compiled(*inputs)]

    def _on_devices(self, seed: tf.Tensor, *inputs: tf.Tensor) -> list[tf.Tensor]:
        split = [tf.split(x, len(self.devices)) for x in inputs]
        parts = []
        for number, (device, shares) in enumerate(zip(self.devices, zip(*split, strict=True), strict=True)):
            stream = random_stream.StatelessStream(seed + tf.constant([number, 0], tf.int64))
            with tf.device(device), random_stream.using(stream):
                parts.append(list(self.function(*shares)))
        return [tf.concat(outputs, axis=0) for outputs in zip(*parts, strict=True)]


def fill(
    files: Mapping[str, RowFile],
    wanted: Mapping[str, int],
    batch_size: int,
    compute: Callable[[list[str], int, int], Sequence[np.ndarray]],
    unit: str,
) -> None:
    """Computes rows until every file has as many as are wanted.

    Args:
        files: by name; they may have different numbers of rows.
        wanted: rows, by name.
        batch_size: rows to compute at once.
        compute: (names, first row, number of rows) -> for each name an array [rows, columns].
        unit: what a row stands for, e.g. 'generated images', in progress lines.
    """
    total = max(wanted.values(), default=0)
    begin = min((files[name].rows for name in wanted if files[name].rows < wanted[name]), default=total)
    if begin == total:
        return
    print(f"Computing {', '.join(wanted)} of {total} {unit}" + (f", going on at {begin} ..." if begin else " ..."))
    progress = Progress(total - begin, unit)
    while missing := [name for name in wanted if files[name].rows < wanted[name]]:
        begin = min(files[name].rows for name in missing)
        names = [name for name in missing if files[name].rows == begin]
        ends = [begin + batch_size, *(wanted[name] for name in names)]
        count = min(ends + [files[name].rows for name in missing if name not in names]) - begin
        for name, rows in zip(names, compute(names, begin, count), strict=True):
            files[name].append(rows)
        progress.update(count)
        _check_run()
    progress.finish()


def _check_run() -> None:
    """Tells the run in progress, if there is one, that work goes on; raises Stopped if it should not."""
    with contextlib.suppress(RuntimeError):  # outside of runs
        context = dnnlib.RunContext.get()
        context.update()
        if context.should_stop():
            raise Stopped
