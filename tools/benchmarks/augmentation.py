"""Times the full augmentation pipeline, against the training iterations it is part of."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from training.augmentation.pipeline import AugmentPipe

from .table import Figure, Options, seconds_text
from .timing import in_turns
from .training import FREQUENCY, as_in_training, bench_iteration, per_iteration

_SPEC = "bgcfnc"
_RESOLUTIONS = [64, 256]
_MINIBATCH = 4
_P = 0.6  # every transform is computed, whatever p is


def pipeline_calls(minibatch: int, resolution: int) -> dict[str, Callable[[], None]]:
    """Calls that augment a minibatch as the phases of training need it, with other random numbers each time."""
    pipe, p = AugmentPipe.of_spec(_SPEC), tf.Variable(_P)
    images = tf.constant(np.random.RandomState(1).randn(minibatch, 3, resolution, resolution), tf.float32)

    def augment(x: tf.Tensor) -> tf.Tensor:
        return pipe(x, p)

    gradient = _gradient(augment)
    # The second is what comes back to the scores through the gradient by images.
    functions = {"forward": augment, "gradient": gradient, "second gradient": _gradient(gradient)}
    compiled = {name: tf.function(function, autograph=False) for name, function in functions.items()}
    return {name: functools.partial(function, images) for name, function in compiled.items()}


def _gradient(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """The gradient of the sum of squares of a function."""

    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.square(function(x)))
        return tape.gradient(total, x)

    return gradient


def seconds_per_iteration(times: dict[str, float]) -> float:
    """Of the pipeline: G's images with their gradient; for D, real and generated ones; at times, those of R1."""
    return times["gradient"] + 2 * times["forward"] + times["second gradient"] * FREQUENCY["RegD"]


def bench(options: Options) -> Iterator[Figure]:
    """The pipeline and iterations without it, in float32; a third of the rounds for iterations."""
    options = dataclasses.replace(options, precisions=["fp32"], impls=options.impls[:1])
    for case in options.cases(_RESOLUTIONS, [_MINIBATCH]):
        with as_in_training():
            times = in_turns(pipeline_calls(case.minibatch, case.resolution), options.rounds)
            iteration = per_iteration(bench_iteration(case, max(options.rounds // 3, 1))[0])
        own = seconds_per_iteration(times)
        parts = ", ".join(f"{name} {seconds_text(taken)}" for name, taken in times.items())
        what = f"augmentation {_SPEC}, {case.resolution}x{case.resolution}, minibatch {case.minibatch}"
        yield Figure(what, f"{parts}; {case.minibatch / times['forward']:.0f} images/s")
        share = f"{seconds_text(own)} on {seconds_text(iteration)}, {own / iteration:.1%}"
        yield Figure(f"{what}: of an iteration ({case.config}, {case.impl})", share, "at most 15 %")
