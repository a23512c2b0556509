"""Metric networks, steps of the projector, and kernels, through TensorFlow where nvcc is not there."""

import functools
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.ops import implementation
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from dnnlib.tflib.ops.synthesis_epilogue import synthesis_epilogue
from dnnlib.tflib.ops.upfirdn_2d import downsample_2d, upsample_2d
from metrics.nets.inception import InceptionV3
from metrics.nets.lpips import LPIPS
from metrics.nets.vgg16 import VGG16
from tools.benchmarks.generating import network
from tools.benchmarks.metrics import random_network
from tools.benchmarks.projecting import make_projector
from tools.benchmarks.table import implementation as using
from tools.benchmarks.timing import run_all

from .records import Record, text
from .timing import asked, peak_gb, reset_peak, spreads, use_device

ROOT = Path(__file__).resolve().parents[2]
_FIR = [1, 3, 3, 1]


def ops() -> Iterator[Record]:
    """What TensorFlow has and sees, which implementation of ops runs here and why, compiled now if it has to be."""
    use_device()
    info = tf.sysconfig.get_build_info()
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    cells = {"TensorFlow": tf.__version__, "built with CUDA": info.get("cuda_version")}
    cells |= {"cuDNN": info.get("cudnn_version"), "GPU": details.get("device_name")}
    cells |= {"capability": str(details.get("compute_capability", ""))}
    cells |= {"TensorFloat-32 allowed": tf.config.experimental.tensor_float_32_execution_enabled()}
    yield Record("TensorFlow", {**cells, "optimizer options": str(tf.config.optimizer.get_experimental_options())})
    with using(asked()) as impl:
        pass
    wanted = "cuda" if tf.config.list_logical_devices("GPU") else "cpu"
    cells = {"custom ops": impl, "why": implementation.build.reason(), "expected": wanted}
    yield Record("Custom ops", cells, impl == wanted)


def metric_networks(minibatch: int = 32) -> Iterator[Record]:
    """Images per second of Inception, VGG-16 and LPIPS, with random weights, on uint8 images of the host."""
    use_device()
    random = np.random.RandomState(1)
    cases = {
        "Inception, 299x299": (InceptionV3, 1, [None, 2048], 299),
        "VGG-16, 224x224": (VGG16, 1, [None, 4096], 224),
        "LPIPS, pairs of 256x256": (LPIPS, 2, [None], 256),
    }
    for title, (trunk, count, shape, size) in cases.items():
        net = random_network(trunk, count, shape)
        inputs = [random.randint(0, 256, [minibatch, 3, size, size]).astype(np.uint8) for _ in range(count)]
        call = functools.partial(net.run, *inputs, minibatch_size=minibatch)
        run_all([call, call])
        times = spreads({title: call}, 2.0)[title]
        cells = {"what": title, "minibatch": minibatch, "images/s": minibatch / times.median, **times.cells()}
        yield Record("Metric networks", cells)


def projector(
    config: str = "config-f", resolution: int = 1024, together: tuple[int, ...] = (1, 4), **network_kwargs: Any
) -> Iterator[Record]:
    """A step of the projector, with LPIPS of random weights, of several images at once."""
    use_device()
    Gs = network("Gs", config, resolution, "fp32", **network_kwargs)
    for minibatch in together:
        with using(asked()):
            step = make_projector(Gs, random_network(LPIPS, 2, [None]), minibatch).step
            run_all([step, step])
            reset_peak()
            times = spreads({"step": functools.partial(run_all, [step] * 5)}, 3.0)["step"]
        cells = {"network": config, "resolution": f"{resolution}x{resolution}", "images at once": minibatch}
        cells |= {**times.cells("ms/step", 5), "min for 1000 steps": 1000 * times.median / 5 / 60, "peak GB": peak_gb()}
        yield Record("Projector", cells)


# ----------------------------------------------------------------------------
# Kernels.


def kernels(seconds: float = 100, flags: list[str] | None = None, **small: Any) -> Iterator[Record]:
    """tools/check_cuda_kernels.py, or where it cannot run the ops through TensorFlow."""
    if tf.config.list_physical_devices("GPU"):
        command = [sys.executable, str(ROOT / "tools" / "check_cuda_kernels.py"), *(flags or ["--seconds=30"])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            output = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0] + f"\n\nStopped after {seconds:g} s."
        right = "Results: right" in output
        yield text("Kernels by tools/check_cuda_kernels.py", output.strip(), right)
        if right:
            return
    use_device()
    yield from through_tensorflow(**small)


def through_tensorflow(
    cases: tuple[tuple[int, int, int], ...] = ((8, 32, 1024), (8, 128, 256), (8, 512, 64)),
    dtypes: tuple[str, ...] = ("float32", "float16", "bfloat16"),
    repeats: int = 20,
) -> Iterator[Record]:
    """Bandwidths of ops and gradients in NHWC, against a pass that negates as many values.

    cases: minibatch, channels, size.
    """
    for dtype, (n, c, size) in itertools.product(dtypes, cases):
        x = tf.cast(tf.random.normal([n, size, size, c]), dtype)
        half = x[:, ::2, ::2]
        b, scale, noise = tf.random.normal([c]), tf.random.normal([n, c]), tf.random.normal([n, 1, size, size])
        passes: dict[str, tuple[Callable[..., Any], list[tf.Tensor], float]] = {  # and how often x is read or written
            "negation": (tf.negative, [x], 2),
            "bias_act": (_bias_act, [x, b], 2),
            "epilogue": (_epilogue, [x, scale, noise, b], 2),
            "epilogue with its gradient": (_epilogue_gradient, [x, scale, noise, b], 5),
            "upsample_2d": (_upsample, [half], 1.25),
            "downsample_2d": (_downsample, [x], 1.25),
        }
        calls = {}
        for name, (function, inputs, _) in passes.items():
            compiled = tf.function(function, autograph=False).get_concrete_function(*inputs)
            calls[name] = functools.partial(run_all, [functools.partial(compiled, *inputs)] * repeats)
        run_all(calls.values())
        times = spreads(calls, 2.0)
        moved = x.shape.num_elements() * x.dtype.size
        rates = {name: passes[name][2] * moved * repeats / spread.median for name, spread in times.items()}
        for name, rate in rates.items():
            cells = {"op": name, "shape": f"{n}x{size}x{size}x{c}", "type": dtype, **times[name].cells("ms", repeats)}
            yield Record(
                "Kernels through TensorFlow", {**cells, "GB/s": rate / 1e9, "of a pass": rate / rates["negation"]}
            )


def _bias_act(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return fused_bias_act(x, tf.cast(b, x.dtype), axis=-1, act="lrelu", clamp=256.0)


def _upsample(x: tf.Tensor) -> tf.Tensor:
    return upsample_2d(x, _FIR, data_format="NHWC")


def _downsample(x: tf.Tensor) -> tf.Tensor:
    return downsample_2d(x, _FIR, data_format="NHWC")


def _epilogue(x: tf.Tensor, scale: tf.Tensor, noise: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return synthesis_epilogue(x, scale=scale, noise=noise, b=b, act="lrelu")


def _epilogue_gradient(x: tf.Tensor, scale: tf.Tensor, noise: tf.Tensor, b: tf.Tensor) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch([x, scale, noise, b])
        y = _epilogue(x, scale, noise, b)
    return tape.gradient(y, [x, scale, noise, b], y)
