"""Times the full augmentation pipeline, against the training iterations it is part of."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from training.augmentation.pipeline import AugmentPipe

from .table import Figure, Options, implementation, implementations, seconds_text
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

    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.square(augment(x)))
        return tape.gradient(total, x)

    def second(x: tf.Tensor) -> tf.Tensor:  # what comes back to the scores through the gradient by images
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.square(gradient(x)))
        return tape.gradient(total, x)

    functions = {"forward": augment, "gradient": gradient, "second gradient": second}
    compiled = {name: tf.function(function, autograph=False) for name, function in functions.items()}
    return {name: lambda function=function: function(images) for name, function in compiled.items()}


def seconds_per_iteration(times: dict[str, float]) -> float:
    """Of the pipeline: G's images with their gradient; for D, real and generated ones; at times, those of R1."""
    return times["gradient"] + 2 * times["forward"] + times["second gradient"] * FREQUENCY["RegD"]


def bench(options: Options) -> Iterator[Figure]:
    """The pipeline and iterations without it, in float32; a third of the rounds for iterations."""
    for resolution in [options.resolution] if options.resolution else _RESOLUTIONS:
        for minibatch in options.minibatches or [_MINIBATCH]:
            for impl in implementations(options.impls[:1]):
                with implementation(impl), as_in_training():
                    times = in_turns(pipeline_calls(minibatch, resolution), options.rounds)
                    case = options.config, resolution, minibatch, "fp32", max(options.rounds // 3, 1)
                    iteration = per_iteration(bench_iteration(*case)[0])
                own = seconds_per_iteration(times)
                parts = ", ".join(f"{name} {seconds_text(taken)}" for name, taken in times.items())
                what = f"augmentation {_SPEC}, {resolution}x{resolution}, minibatch {minibatch}"
                yield Figure(what, f"{parts}; {minibatch / times['forward']:.0f} images/s")
                share = f"{seconds_text(own)} on {seconds_text(iteration)}, {own / iteration:.1%}"
                yield Figure(f"{what}: of an iteration ({options.config}, {impl})", share, "at most 15 %")
