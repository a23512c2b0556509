"""Times calls in turns, with their spread, until the device has finished; peaks of its memory."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from dnnlib.tflib.ops import implementation
from tools.benchmarks.timing import seconds


class Spread(NamedTuple):
    """Seconds: the median of several rounds, and the least and the most."""

    median: float
    least: float
    most: float

    def cells(self, unit: str = "ms", per: float = 1.0) -> dict[str, object]:
        """Milliseconds of a `per`-th of it, and the range."""
        scale = 1000 / per
        return {unit: self.median * scale, "least to most": f"{self.least * scale:.4g} to {self.most * scale:.4g}"}


def spreads(calls: dict[str, Callable[[], object]], budget: float, rounds: int = 7) -> dict[str, Spread]:
    """Times of calls, in turns; each was called often enough before that nothing is compiled or chosen any more.

    budget: seconds after which no further round begins. Of the rounds that there were, at least one.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    for number in range(rounds):
        if number and time.perf_counter() - start > budget:
            break
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: Spread(statistics.median(values), min(values), max(values)) for name, values in times.items()}


def use_device() -> str | None:
    """The GPU that is measured, or None; its memory is taken as it is needed."""
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    return "GPU:0" if tf.config.list_logical_devices("GPU") else None


def reset_peak() -> None:
    """Forgets the peak of the GPU's memory."""
    if tf.config.list_logical_devices("GPU"):
        tf.test.experimental.sync_devices()
        with contextlib.suppress(ValueError, tf.errors.OpError):  # an allocator that does not count
            tf.config.experimental.reset_memory_stats("GPU:0")


def peak_gb() -> float | None:
    """The most that TensorFlow had in use on the GPU since it was reset, in 10^9 bytes; None without one."""
    if not tf.config.list_logical_devices("GPU"):
        return None
    tf.test.experimental.sync_devices()
    with contextlib.suppress(ValueError, tf.errors.OpError):  # an allocator that does not count
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
    return None


def asked() -> str:
    """The implementation of custom ops that the environment asks for."""
    return os.environ.get(implementation.VARIABLE) or "auto"


def variant() -> str:
    """The variables of the environment that make this process differ from the default, as they are set."""
    names = (implementation.VARIABLE, "TF_CUDNN_USE_AUTOTUNE", "TF_GPU_THREAD_MODE", "TF_GPU_ALLOCATOR", "TF_XLA_FLAGS")
    return " ".join(f"{name}={os.environ[name]}" for name in names if os.environ.get(name))
