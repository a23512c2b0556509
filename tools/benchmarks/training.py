"""Times training: iterations against their convolutions alone, and the reading of images.

An iteration is what training does on average: the losses of G and D, a 4th of G's and a 16th of D's regularizer, and
the moving average.
"""

import contextlib
import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.tflib import random_stream, settings
from training.data.dataset import SyntheticDataset, TFRecordDataset
from training.data.tfrecord_export import TFRecordExporter
from training.loop.options import LoopOptions
from training.loop.reals import RealsReader
from training.loop.step import Piece, TrainingStep, on_host
from training.options.configs import config_kwargs

from .convolutions import Conv, convolutions
from .generating import network
from .table import Case, Figure, Options, Row, seconds_text
from .timing import in_turns, run_all

FREQUENCY = {"TrainG": 1.0, "TrainD": 1.0, "RegG": 1 / 4, "RegD": 1 / 16}
_RESOLUTION = 64
_MINIBATCHES = [8, 4]
_NUM_IMAGES = 2000  # to read

# ----------------------------------------------------------------------------
# The step.


def make_step(case: Case, **network_kwargs: Any) -> TrainingStep:
    """The networks of a configuration with random weights, its losses and optimizers.

    network_kwargs: other arguments than the configuration's.
    """
    G, D = (network(name, case.config, case.resolution, case.precision, **network_kwargs) for name in "GD")
    kwargs = config_kwargs(case.config).items()
    args = {key: value for key, value in kwargs if key.endswith(("_loss_args", "_opt_args"))}  # does not grow
    return TrainingStep(G, D, G.clone("Gs"), SyntheticDataset(case.resolution), LoopOptions(**args))


def phase_calls(step: TrainingStep, minibatch: int, wait: bool = True) -> dict[str, Callable[[], None]]:
    """Calls that run each phase of an iteration, with other random numbers each time; `wait`: to its end."""
    reals = np.random.RandomState(1).randint(0, 256, [minibatch, *step.D.input_shape[1:]]).astype(np.uint8)
    labels = np.zeros([minibatch, 0], np.float32)
    numbers = itertools.count()

    def run(name: str) -> None:
        number = next(numbers)
        piece = Piece(random_stream.seed_of(1, number), random_stream.seed_of(2, number), reals, labels)
        result = step.run(name, [piece], learning_rate=1e-6)
        assert result is not None
        assert not wait or bool(result.finite)

    calls = {name: functools.partial(run, name) for name in FREQUENCY}
    return {**calls, "average": lambda: step.update_average(0.99)}


def phase_function(step: TrainingStep, name: str, minibatch: int) -> Any:
    """The concrete function of a phase, for a minibatch that one device computes at once."""
    seed, reals = np.zeros([2], np.int64), np.zeros([minibatch, *step.D.input_shape[1:]], np.uint8)
    piece = Piece(seed, seed, reals, np.zeros([minibatch, 0], np.float32))
    function = step._function((name, 1), lambda: functools.partial(step._round, name, 1))
    return function.get_concrete_function(on_host(1e-6, np.float32), *step._distribute([piece]))


# ----------------------------------------------------------------------------
# Its convolutions.


def counts(conv: Conv) -> dict[str, tuple[int, int, int]]:
    """How often each phase needs a convolution, at the least: forward, gradient by its input, gradient by its weights.

    Training G needs all three of G's convolutions, and those by the input of D's. Training D needs G forward,
    and D's on generated and on real images; nothing asks for the gradient by these images themselves.

    A regularizer needs the forward pass and the gradients by all inputs (first-order). It is then differentiated
    by the weights. Through the gradient by an input, which is linear in what comes from above and in the weights:
    one convolution like the forward one, and one like a gradient by weights. And through the forward pass, on
    whose features first-order gradients depend as well: one by the input, and one by the weights. That makes two
    of each, except at the ends:
    * ToRGB: images are linear in it, and the noise they are multiplied with is constant. So there is no forward
      pass at all; its first-order gradient, and the weights' part of that, remain.
    * D's Conv at 4x4: what follows it is piecewise linear, so nothing comes back through its forward pass. (To all
      layers below it does, from the minibatch standard deviation.)
    * FromRGB: the gradient by images is taken only once, in the first order.
    """
    layer = conv.name.split("/")[-1]
    if conv.name.startswith("G"):
        return {"TrainG": (1, 1, 1), "TrainD": (1, 0, 0), "RegG": (0, 1, 1) if layer == "ToRGB" else (2, 2, 2)}
    if layer == "FromRGB":
        return {"TrainG": (1, 1, 0), "TrainD": (2, 0, 2), "RegD": (2, 1, 2)}
    return {"TrainG": (1, 1, 0), "TrainD": (2, 2, 2), "RegD": (2, 1, 1) if layer == "Conv" else (2, 2, 2)}


def convolution_calls(step: TrainingStep, minibatch: int, precision: str) -> dict[str, Callable[[], None]]:
    """Calls that compute the convolutions of each phase, and nothing else."""
    functions: dict[str, list[Callable]] = {name: [] for name in FREQUENCY}
    for conv in convolutions(step.G.components.synthesis, precision) + convolutions(step.D, precision):
        calls = {size: conv.calls(size) for size in {minibatch, minibatch // 2}}
        for phase, numbers in counts(conv).items():
            size = minibatch // 2 if phase == "RegG" else minibatch  # pl_minibatch_shrink = 2
            for function, count in zip(calls[size], numbers, strict=True):
                functions[phase] += [function] * count

    return {name: functools.partial(run_all, called) for name, called in functions.items()}


# ----------------------------------------------------------------------------
# The measurements.


def bench_iteration(case: Case, rounds: int) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """Median seconds of each phase, and of its convolutions; what was said of tracing.

    What is rarely computed is measured in fewer rounds.
    """
    step, traced = make_step(case), []
    step.say = traced.append
    phases, convs = phase_calls(step, case.minibatch), convolution_calls(step, case.minibatch, case.precision)
    times: dict[str, float] = {}
    for names, count in (("TrainG", "TrainD", "average"), rounds), (("RegG", "RegD"), max(rounds // 3, 1)):
        calls: dict[str, Callable[[], Any]] = {}
        for name in names:
            calls[name] = phases[name]
            if name in convs:
                calls[f"{name} convolutions"] = convs[name]
        times |= in_turns(calls, count, warm_up=1)
    return {name: times[name] for name in phases}, {name: times[f"{name} convolutions"] for name in convs}, traced


def per_iteration(times: dict[str, float]) -> float:
    """Seconds of an iteration on average."""
    return sum(taken * FREQUENCY.get(name, 1.0) for name, taken in times.items())


def bench_reading(resolution: int, minibatch: int) -> float:
    """Seconds in which training can read a minibatch from tfrecords, each image in full and in random order."""
    random = np.random.RandomState(1)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "images")
        with TFRecordExporter(path, _NUM_IMAGES, print_progress=False) as exporter:
            for _ in range(_NUM_IMAGES):
                exporter.add_image(random.randint(0, 256, [3, resolution, resolution]).astype(np.uint8))
        training_set = TFRecordDataset(path)
        reader = RealsReader(training_set, seed=1)
        count = 2 * _NUM_IMAGES // minibatch
        start = time.perf_counter()
        for number in range(count):
            reader.pieces(number * minibatch, minibatch, minibatch, 0)
        taken = time.perf_counter() - start
        reader.close()
        training_set.close()
    return taken / count


def bench(options: Options) -> Iterator[Row | Figure]:
    """Iterations; a third of the rounds."""
    titles = {"TrainG": "loss of G", "TrainD": "loss of D", "RegG": "path length", "RegD": "R1", "average": "average"}
    for case in options.cases([_RESOLUTION], _MINIBATCHES):
        with as_in_training():
            phases, convs, traced = bench_iteration(case, max(options.rounds // 3, 1))
        yield Row("training", "training iteration", *case, per_iteration(phases), per_iteration(convs))
        size = f"{case.resolution}x{case.resolution}"
        what = f"training, {case.config}, {size}, minibatch {case.minibatch}, {case.precision}, {case.impl}"
        parts = [f"{title} {_against(phases[name], convs.get(name))}" for name, title in titles.items()]
        yield Figure(f"{what}: phases (of that convolutions)", ", ".join(parts))
        yield Figure(f"{what}: tracing", " ".join(traced).replace("Traced ", ""))


def _against(seconds: float, convolutions: float | None) -> str:
    return seconds_text(seconds) + (f" ({seconds_text(convolutions)})" if convolutions else "")


@contextlib.contextmanager
def as_in_training() -> Iterator[None]:
    """Inside, TensorFlow optimizes graphs as `training_loop` lets it."""
    before = settings.allow_remapping(False)
    try:
        yield
    finally:
        settings.allow_remapping(before)


def bench_input(options: Options) -> Iterator[Row]:
    """The input pipeline: minibatches of tfrecords."""
    resolution = options.resolution or _RESOLUTION
    for minibatch in options.minibatches or _MINIBATCHES[:1]:
        seconds = bench_reading(resolution, minibatch)
        yield Row("input", "reading tfrecords", "", resolution, minibatch, "uint8", "", seconds, None)
