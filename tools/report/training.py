"""Phases of training, seconds per 1000 images, and memory."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tools.benchmarks.table import Case
from tools.benchmarks.table import implementation as using
from tools.benchmarks.timing import run_all
from tools.benchmarks.timing import seconds as seconds_of
from tools.benchmarks.training import FREQUENCY, as_in_training, make_step, per_iteration, phase_calls

from .records import Record, case
from .timing import Spread, asked, peak_gb, reset_peak, spreads, use_device, variant

PHASES = ("TrainG", "TrainD", "RegG", "RegD")  # by what they cost in an iteration
_ITERATIONS = 16  # after which all phases have come as often as they do on average


def _iterations(calls: dict[str, Callable[[], None]]) -> list[Callable[[], None]]:
    """The phases of some iterations in their order."""
    due = []
    for number in range(_ITERATIONS):
        due += [calls["TrainG"], *([calls["RegG"]] if number % 4 == 0 else [])]
        due += [calls["TrainD"], *([calls["RegD"]] if number % 16 == 0 else []), calls["average"]]
    return due


def phases(
    precision: str,
    minibatch: int,
    *,
    config: str = "config-f",
    resolution: int = 256,
    tf32: bool = False,
    budget: float = 3.0,
    network_kwargs: dict[str, Any] | None = None,
) -> Iterator[Record]:
    """Each phase, and what an iteration takes on average with a minibatch that the device computes at once.

    A row is written as soon as its phase is measured, to its end. Seconds per 1000 images are of 16 iterations in a
    row, in which nothing waits. budget: seconds for each phase.
    """
    use_device()
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    with using(asked()) as impl, as_in_training():
        shown = case(config, resolution, minibatch, "tf32" if tf32 else precision, impl)
        step = make_step(Case(config, resolution, minibatch, precision, impl), **(network_kwargs or {}))
        said: list[str] = []
        step.say = said.append
        calls = phase_calls(step, minibatch)
        times: dict[str, Spread] = {}
        peaks: dict[str, float | None] = {}
        for name in (*PHASES, "average"):
            first = seconds_of(calls[name])
            calls[name]()
            reset_peak()
            times |= spreads({name: calls[name]}, budget)
            peaks[name] = peak_gb()
            per = {"ms/image": 1000 * times[name].median / minibatch} if name in FREQUENCY else {}
            cells = {**shown, "phase": name, **times[name].cells(), **per, "peak GB": peaks[name]}
            cells |= {"first call, s": first, "of that tracing": " ".join(said).split(" in ")[-1].rstrip(".")}
            said.clear()
            yield Record("Training: phases", cells)
        seconds = per_iteration({name: spread.median for name, spread in times.items()})
        several = _iterations(phase_calls(step, minibatch, wait=False))
        in_a_row = seconds_of(functools.partial(run_all, several)) / _ITERATIONS
        known = [peak for peak in peaks.values() if peak is not None]
        cells = {**shown, "s/kimg": 1000 * in_a_row / minibatch, "images/s": minibatch / in_a_row}
        cells |= {"s/kimg by phases": 1000 * seconds / minibatch, "peak GB": max(known, default=None)}
        yield Record("Training", {**cells, "settings": variant()})
