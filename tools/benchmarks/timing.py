"""Timing shared by the benchmarks."""

import statistics
import time
from collections.abc import Callable, Iterable

from dnnlib.progress import Progress


def seconds(func: Callable[[], object]) -> float:
    """How long a call takes, until all devices have finished."""
    import tensorflow as tf

    start = time.perf_counter()
    func()
    tf.test.experimental.sync_devices()
    return time.perf_counter() - start


def in_turns(funcs: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict[str, float]:
    """Median seconds of several functions, called in turns after `warm_up` rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in funcs}
    with Progress(warm_up + rounds, "rounds") as progress:
        for _ in range(warm_up + rounds):
            for name, func in funcs.items():
                times[name].append(seconds(func))
            progress.update(1)
    return {name: statistics.median(values[warm_up:]) for name, values in times.items()}


def run_all(funcs: Iterable[Callable[[], object]]) -> None:
    """Calls one after the other."""
    for func in funcs:
        func()
