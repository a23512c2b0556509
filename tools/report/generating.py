"""Generating as users do it, and what of that the device needs, by minibatch, precision and settings."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib import Network, convert_images_to_uint8
from dnnlib.tflib.kept import Kept
from dnnlib.tflib.ops import implementation
from generation.conventions import Rendering
from generation.image_generator import ImageGenerator
from tools.benchmarks.generating import network
from tools.benchmarks.table import implementation as using
from tools.benchmarks.timing import seconds

from .records import Record, case
from .timing import asked, peak_gb, reset_peak, spreads, use_device, variant

_SECONDS_PER_CALL = 0.5  # a call of Gs.run renders several minibatches: about as many as this takes
_TO_UINT8 = {"func": convert_images_to_uint8, "nchw_to_nhwc": True}


def run_call(Gs: Network, minibatch: int, count: int, **kwargs: Any) -> Callable[[], np.ndarray]:
    """A call of Gs.run that renders `count` minibatches of random points, and returns uint8 `[N, H, W, C]`."""
    latents = np.random.RandomState(1).randn(minibatch * count, *Gs.input_shape[1:]).astype(np.float32)
    kwargs = {"truncation_psi": 0.5, "randomize_noise": True, "output_transform": _TO_UINT8, **kwargs}
    return lambda: Gs.run(latents, None, minibatch_size=minibatch, **kwargs)


def device_call(Gs: Network, minibatch: int, count: int) -> Callable[[], None]:
    """The same images, `count` minibatches one after the other, which nobody fetches: dispatch and device alone."""
    latents = tf.random.normal([minibatch, *Gs.input_shape[1:]])
    labels = tf.zeros([minibatch, Gs.input_shapes[1][1]])
    kwargs = Gs.model.rendering_kwargs({})
    store = Kept()  # its values live as long as the function that is returned

    def render() -> tf.Tensor:
        with store.in_use():
            images = Gs.get_output_for(latents, labels, truncation_psi=0.5, randomize_noise=True, **kwargs)
        return convert_images_to_uint8(images, nchw_to_nhwc=True)

    function = implementation.function(render).get_concrete_function()

    def call(_kept: Kept = store) -> None:
        for _ in range(count):
            function()

    return call


def seeds_call(Gs: Network, minibatch: int) -> Callable[[], np.ndarray]:
    """What run_generator.py renders at once: each seed's image with noise that NumPy draws for it."""
    generator = ImageGenerator(Gs, Rendering(truncation_psi=0.5))
    return lambda: generator.from_seeds(range(minibatch))


@contextlib.contextmanager
def _layout_optimizer(state: bool | None) -> Iterator[None]:
    """Inside, TensorFlow's layout optimizer is on or off in functions that are traced; None: as the project has it."""
    before = tf.config.optimizer.get_experimental_options().get("layout_optimizer")
    if state is not None:
        tf.config.optimizer.set_experimental_options({"layout_optimizer": state})
    try:
        yield
    finally:
        if state is not None:
            tf.config.optimizer.set_experimental_options({"layout_optimizer": before is None or before})


def images(
    precision: str,
    minibatches: list[int],
    *,
    config: str = "config-f",
    resolution: int = 1024,
    tf32: bool = False,
    ways: bool = False,
    budget: float = 4.0,
    network_kwargs: dict[str, Any] | None = None,
) -> Iterator[Record]:
    """Images per second by minibatch: of Gs.run as a whole, of one call alone, and without fetching; peaks of memory.

    tf32: float32 may be TensorFloat-32. ways: other ways to ask for images, too. budget: seconds of measuring for each
    minibatch size.
    """
    use_device()
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    start = time.perf_counter()
    Gs = network("Gs", config, resolution, precision, **(network_kwargs or {}))
    with using(asked()) as impl:
        Gs.prepare()
        cells = {"what": f"making {config} {resolution}x{resolution}", "s": time.perf_counter() - start}
        yield Record("First images", cells)
        for minibatch in minibatches:
            first = seconds(run_call(Gs, minibatch, 1))
            cells = {"what": f"first {precision} minibatch of {minibatch}: tracing, choosing algorithms", "s": first}
            yield Record("First images", cells)
            once = seconds(run_call(Gs, minibatch, 1))
            count = min(max(round(_SECONDS_PER_CALL / once), 2), 4096 // minibatch)
            shown = case(config, resolution, minibatch, "tf32" if tf32 else precision, impl)
            calls = {"run": run_call(Gs, minibatch, count), "one": run_call(Gs, minibatch, 1)}
            reset_peak()
            calls["run"]()
            peak = peak_gb()
            calls["device"] = device_call(Gs, minibatch, count)
            calls["device"]()
            times = spreads(calls, budget)
            yield Record(
                "Generating",
                {
                    **shown,
                    "images/s": minibatch * count / times["run"].median,
                    **times["run"].cells("ms/minibatch", count),
                    "without fetching, ms": 1000 * times["device"].median / count,
                    "one call alone, ms": 1000 * times["one"].median,
                    "peak GB": peak,
                    "settings": variant(),
                },
            )
            if ways:
                yield from _ways(Gs, shown, count, budget)


def _ways(Gs: Network, shown: dict[str, Any], count: int, budget: float) -> Iterator[Record]:
    """Gs.run with other arguments, and images of seeds, in turns."""
    minibatch = shown["minibatch"]
    calls = {
        "random noise": (run_call(Gs, minibatch, count), count),
        "constant noise": (run_call(Gs, minibatch, count, randomize_noise=False), count),
        "assume_frozen": (run_call(Gs, minibatch, count, assume_frozen=True), count),
        "float32 images": (run_call(Gs, minibatch, count, output_transform=None), count),
        "seeds, one call, noise of NumPy": (seeds_call(Gs, minibatch), 1),
    }
    for call, _ in calls.values():
        call()
    for name, times in spreads({name: call for name, (call, _) in calls.items()}, budget).items():
        cells = {**shown, "way": name, **times.cells("ms/minibatch", calls[name][1])}
        yield Record("Generating: ways to call", cells)


def comparison(
    precision: str,
    minibatches: list[int],
    *,
    config: str = "config-f",
    resolution: int = 1024,
    budget: float = 4.0,
    network_kwargs: dict[str, Any] | None = None,
) -> Iterator[Record]:
    """Gs.run with each implementation of ops, and with TensorFlow's layout optimizer, in turns in one process."""
    use_device()
    variants: list[tuple[str, bool | None]] = [(impl, None) for impl in ("auto", "ref")]
    variants.append(("auto", True))
    calls: dict[str, Callable[[], Any]] = {}
    for minibatch in minibatches:
        calls.clear()
        for impl, layout in variants:
            title = impl if layout is None else f"{impl}, layout optimizer on"
            Gs = network("Gs", config, resolution, precision, **(network_kwargs or {}))
            try:
                with implementation.using(impl), _layout_optimizer(layout):
                    call = run_call(Gs, minibatch, 8)
                    first = seconds(call)
            except Exception as error:  # this variant cannot run here; the others can
                cells = {"variant": title, "what": f"{type(error).__name__}: {error}".split("\n")[0][:200]}
                yield Record("Generating: variants", cells)
                continue
            calls[title] = _bound(call, impl)
            cells = {"variant": title, "what": f"first call, {precision}, minibatch {minibatch}", "s": first}
            yield Record("First images", cells)
        for title, times in spreads(calls, budget, 5).items():
            cells = case(config, resolution, minibatch, precision, title.split(",")[0])
            cells = {"variant": title, **cells, "images/s": 8 * minibatch / times.median}
            yield Record("Generating: variants", {**cells, **times.cells("ms/minibatch", 8)})


def _bound(call: Callable[[], Any], impl: str) -> Callable[[], Any]:
    """The call, with the implementation that it was traced with: were it traced again, it would not be another."""

    def run() -> None:
        with implementation.using(impl):
            call()

    return run
