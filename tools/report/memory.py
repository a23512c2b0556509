"""Memory by configuration, precision and minibatch, and the largest minibatch that fits into cards of some sizes."""

import gc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tools.benchmarks.generating import network
from tools.benchmarks.table import Case
from tools.benchmarks.table import implementation as using
from tools.benchmarks.training import FREQUENCY, as_in_training, make_step, phase_calls

from .generating import device_call
from .records import Record
from .timing import asked, peak_gb, reset_peak, use_device

CARDS_GB = (8, 16, 24, 80)
OF_CUDA_GB = 0.8  # of a card, which CUDA, cuDNN and a display take beside what TensorFlow counts
MULTIPLES = {"generating": 1, "training": 4}  # D compares minibatches in groups of 4


def line_through(peaks: Mapping[int, float]) -> tuple[float, float]:
    """GB at minibatch 0, and GB for each image: the line through the smallest and the largest minibatch."""
    least, most = min(peaks), max(peaks)
    slope = (peaks[most] - peaks[least]) / (most - least)
    return peaks[least] - slope * least, slope


def largest(peaks: Mapping[int, float], card_gb: float, multiple: int) -> int:
    """The largest minibatch, a multiple of some number, that fits into a card; 0: none does."""
    fixed, slope = line_through(peaks)
    return max(int((card_gb - OF_CUDA_GB - fixed) / slope) // multiple * multiple, 0) if slope > 0 else 0


def fits(what: str, cells: dict[str, Any], peaks: Mapping[int, float]) -> Record:
    """A row that tells what fits, by the peaks of two or more minibatches."""
    fixed, slope = line_through(peaks)
    measured = ", ".join(f"{minibatch}: {peak:.3g}" for minibatch, peak in sorted(peaks.items()))
    found = {f"fits {card} GB": largest(peaks, card, MULTIPLES[what]) for card in CARDS_GB}
    numbers = {"peak GB by minibatch": measured, "GB without images": fixed, "GB/image": slope}
    return Record("Memory", {"what": what, **cells, **numbers, **found})


def _measured(calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """The peak of each; 0 where there is no GPU."""
    peaks = {}
    for name, call in calls.items():
        call()  # the first time algorithms may be tried
        reset_peak()
        call()
        peaks[name] = peak_gb() or 0.0
    return peaks


def generating(
    precision: str, minibatches: list[int], *, config: str = "config-f", resolution: int, **network_kwargs: Any
) -> Iterator[Record]:
    """Of images that are not fetched."""
    use_device()
    Gs, peaks = network("Gs", config, resolution, precision, **network_kwargs), {}
    cells = {"network": config, "resolution": f"{resolution}x{resolution}", "precision": precision}
    with using(asked()):
        for minibatch in minibatches:
            peaks[minibatch] = _measured({"images": device_call(Gs, minibatch, 2)})["images"]
    yield fits("generating", cells, peaks)


def training(
    precision: str, minibatches: list[int], *, config: str = "config-f", resolution: int, **network_kwargs: Any
) -> Iterator[Record]:
    """Of all four phases; the largest counts."""
    use_device()
    peaks: dict[int, float] = {}
    cells = {"network": config, "resolution": f"{resolution}x{resolution}", "precision": precision}
    with using(asked()) as impl, as_in_training():
        for minibatch in minibatches:
            step = make_step(Case(config, resolution, minibatch, precision, impl), **network_kwargs)
            calls = phase_calls(step, minibatch)
            try:
                found = _measured({name: calls[name] for name in FREQUENCY})
            except tf.errors.ResourceExhaustedError:
                yield Record("Memory: of phases", {**cells, "minibatch": minibatch, "phase": "does not fit"})
                break
            for name, peak in found.items():
                yield Record("Memory: of phases", {**cells, "minibatch": minibatch, "phase": name, "peak GB": peak})
            peaks[minibatch] = max(found.values())
            del step, calls
            gc.collect()
    if len(peaks) > 1:
        yield fits("training", cells, peaks)
