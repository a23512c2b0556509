"""Times training: iterations of config f against their convolutions alone, and the reading of images.

Config f has no fewer feature maps at low resolutions, so the networks are those of the official configuration. An
iteration is what training does on average: the losses of G and D, a 4th of G's and a 16th of D's regularizer, and the
moving average.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from timing import in_turns

from dnnlib.tflib import Network, random_stream
from training.dataset import SyntheticDataset, TFRecordDataset
from training.dataset_export import TFRecordExporter
from training.layers import Conv2D, ModulatedConv2D
from training.reals_reader import RealsReader
from training.training_step import Piece, TrainingStep

FREQUENCY = {"TrainG": 1.0, "TrainD": 1.0, "RegG": 1 / 4, "RegD": 1 / 16}
_NUM_IMAGES = 2000  # to read

# ----------------------------------------------------------------------------
# The step.


def make_step(resolution: int) -> TrainingStep:
    """Config f: its networks with random weights, losses and optimizers."""
    kwargs = {"num_channels": 3, "resolution": resolution, "label_size": 0}
    G = Network("G", func_name="training.networks_stylegan2.G_main", **kwargs)
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **kwargs)
    optimizer = {"beta1": 0.0, "beta2": 0.99, "epsilon": 1e-8}
    return TrainingStep(
        G,
        D,
        G.clone("Gs"),
        SyntheticDataset(resolution),
        G_loss_args={"func_name": "training.loss.G_logistic_ns_pathreg"},
        D_loss_args={"func_name": "training.loss.D_logistic_r1", "gamma": 100.0},
        G_opt_args=dict(optimizer),
        D_opt_args=dict(optimizer),
    )


def phase_calls(step: TrainingStep, minibatch: int) -> dict[str, Callable[[], None]]:
    """Calls that run each phase of an iteration to its end, with other random numbers each time."""
    reals = np.random.RandomState(1).randint(0, 256, [minibatch, *step.D.input_shape[1:]]).astype(np.uint8)
    labels = np.zeros([minibatch, 0], np.float32)
    numbers = iter(range(10**9))

    def run(name: str) -> None:
        number = next(numbers)
        piece = Piece(random_stream.seed_of(1, number), random_stream.seed_of(2, number), reals, labels)
        result = step.run(name, [piece], learning_rate=1e-6)
        assert result is not None
        assert bool(result.finite)

    calls: dict[str, Callable[[], None]] = {name: lambda name=name: run(name) for name in FREQUENCY}
    calls["average"] = lambda: step.update_average(0.99)
    return calls


# ----------------------------------------------------------------------------
# Its convolutions.


@dataclass(frozen=True)
class Conv:
    """A convolution of a network: square inputs, outputs and kernels."""

    name: str  # G_synthesis/64x64/Conv0_up
    in_size: int
    in_fmaps: int
    out_size: int
    fmaps: int
    kernel: int
    up: bool
    down: bool

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """How often each phase needs it, at the least: forward, gradient by its input, gradient by its weights.

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
        layer = self.name.split("/")[-1]
        if self.name.startswith("G"):
            return {"TrainG": (1, 1, 1), "TrainD": (1, 0, 0), "RegG": (0, 1, 1) if layer == "ToRGB" else (2, 2, 2)}
        if layer == "FromRGB":
            return {"TrainG": (1, 1, 0), "TrainD": (2, 0, 2), "RegD": (2, 1, 2)}
        return {"TrainG": (1, 1, 0), "TrainD": (2, 2, 2), "RegD": (2, 1, 1) if layer == "Conv" else (2, 2, 2)}

    def calls(self, minibatch: int) -> tuple[Callable, Callable, Callable]:
        """The bare convolution, and the gradients by its input and its weights, at a minibatch size.

        Compiled, a gradient is one op: the convolution that it belongs to is not needed for it.
        """
        random = tf.random.Generator.from_seed(1)
        x = random.normal([minibatch, self.in_size, self.in_size, self.in_fmaps])
        dy = random.normal([minibatch, self.out_size, self.out_size, self.fmaps])
        channels = (self.fmaps, self.in_fmaps) if self.up else (self.in_fmaps, self.fmaps)
        w = random.normal([self.kernel, self.kernel, *channels])

        def conv(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
            if self.up:
                return tf.nn.conv2d_transpose(x, w, dy.shape, 2, "VALID")
            return tf.nn.conv2d(x, w, 2, "VALID") if self.down else tf.nn.conv2d(x, w, 1, "SAME")

        def gradient(index: int) -> tf.Tensor:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch((x, w)[index])
                y = conv(x, w)
            return tape.gradient(y, (x, w)[index], dy)

        functions = [lambda: conv(x, w), lambda: gradient(0), lambda: gradient(1)]
        return tuple(tf.function(function, autograph=False).get_concrete_function() for function in functions)


def convolutions(net: Network) -> list[Conv]:
    """The convolutions of a synthesis network or a discriminator."""
    net.prepare()
    result = []
    for layer in net.model._flatten_layers():
        if not isinstance(layer, (ModulatedConv2D, Conv2D)):
            continue
        scope = layer._scope_path
        size = int(scope.split("/")[-2].split("x")[0])
        kernel, _kernel, in_fmaps, fmaps = layer.weight.shape
        options = getattr(layer, "conv_kwargs", None) or {"up": layer.up, "down": layer.down}
        up, down = bool(options["up"]), bool(options["down"])
        in_size, out_size = size, size
        if up:  # the filter that follows, or comes before, cuts or pads
            in_size, out_size = size // 2, size - 2 + kernel
        elif down:
            in_size, out_size = size - 2 + kernel, size // 2
        name = f"{'G' if isinstance(layer, ModulatedConv2D) else 'D'}/{scope}"
        result.append(Conv(name, in_size, in_fmaps, out_size, fmaps, kernel, up, down))
    return result


def convolution_calls(step: TrainingStep, minibatch: int) -> dict[str, Callable[[], None]]:
    """Calls that compute the convolutions of each phase, and nothing else."""
    functions: dict[str, list[Callable]] = {name: [] for name in FREQUENCY}
    for conv in convolutions(step.G.components.synthesis) + convolutions(step.D):
        calls = {size: conv.calls(size) for size in {minibatch, minibatch // 2}}
        for phase, counts in conv.counts().items():
            size = minibatch // 2 if phase == "RegG" else minibatch  # pl_minibatch_shrink = 2
            for function, count in zip(calls[size], counts, strict=True):
                functions[phase] += [function] * count

    def run(name: str) -> None:
        for function in functions[name]:
            function()

    return {name: lambda name=name: run(name) for name in FREQUENCY}


# ----------------------------------------------------------------------------
# The measurements.


def bench_iteration(resolution: int, minibatch: int, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each phase, and of its convolutions. What is rarely computed is measured in fewer rounds."""
    step = make_step(resolution)
    phases, convs = phase_calls(step, minibatch), convolution_calls(step, minibatch)
    times: dict[str, float] = {}
    for names, count in (("TrainG", "TrainD", "average"), rounds), (("RegG", "RegD"), max(rounds // 3, 1)):
        calls: dict[str, Callable[[], Any]] = {}
        for name in names:
            calls[name] = phases[name]
            if name in convs:
                calls[f"{name} convolutions"] = convs[name]
        times |= in_turns(calls, count, warm_up=1)
    return {name: times[name] for name in phases}, {name: times[f"{name} convolutions"] for name in convs}


def per_iteration(times: dict[str, float]) -> float:
    """Seconds of an iteration on average."""
    return sum(taken * FREQUENCY.get(name, 1.0) for name, taken in times.items())


def bench_reading(resolution: int, minibatch: int) -> float:
    """Images per second that training can read from tfrecords, each read in full and in random order."""
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
    return count * minibatch / taken


def bench(resolution: int, minibatch: int, rounds: int) -> None:
    """Measures and prints a table."""
    phases, convs = bench_iteration(resolution, minibatch, rounds)
    reading = bench_reading(resolution, minibatch)
    iteration, alone = per_iteration(phases), per_iteration(convs)
    consumed = minibatch / iteration

    print(f"\nTraining: config f, {resolution}x{resolution}, float32, minibatch {minibatch}\n")
    print("| what | measured | target |")
    print("|---|---|---|")
    for name, title in (("TrainG", "loss of G"), ("TrainD", "loss of D"), ("RegG", "path length"), ("RegD", "R1")):
        share = "" if FREQUENCY[name] == 1 else f", every {1 / FREQUENCY[name]:.0f}th iteration"
        print(f"| {title}{share} | {phases[name]:.2f} s, convolutions {convs[name]:.2f} s | |")
    print(f"| moving average | {phases['average']:.3f} s | |")
    print(f"| iteration, on average | {iteration:.2f} s, {1000 * iteration / minibatch:.0f} s/kimg | |")
    print(f"| its convolutions alone | {alone:.2f} s | |")
    print(f"| speed against bare convolutions | {alone / iteration:.2f} | 0.5 or more |")
    print(f"| images read from tfrecords | {reading:.0f}/s, ratio {reading / consumed:.0f} | 10 times what is used |")
