"""What the device did during calls: kernels by kind and by name against the time that passed."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from tools.benchmarks.generating import network
from tools.benchmarks.table import Case
from tools.benchmarks.table import implementation as using
from tools.benchmarks.training import as_in_training, make_step, phase_calls

from .generating import run_call
from .records import Record
from .timing import asked, use_device

KINDS = (  # by what names of kernels contain; the first that matches
    ("ours", r"stylegan|upfirdn|bias_act|epilogue"),
    ("copy to the host", r"memcpyd2h|dtoh"),
    ("copy from the host", r"memcpyh2d|htod"),
    ("copy or fill", r"memcpy|memset|dtod"),
    ("transposition", r"transpose|swapdimension|shuffle|nchwtonhwc|nhwctonchw|permut"),
    ("convolution", r"conv|fprop|dgrad|wgrad|winograd|implicit|cudnn|xmma_.*_nhwc"),
    ("matrix product", r"gemm|cutlass|cublas|nvjet|splitk"),
    ("random numbers", r"philox|random"),
    ("reduction", r"reduce|sum|max_kernel|norm"),
    ("update of weights", r"adam|applygradient"),
)
_TOP = 12


class Event(NamedTuple):
    """A kernel or a copy; picoseconds since the trace began."""

    name: str
    start: int
    end: int


def kind_of(name: str) -> str:
    """What a kernel computes, by its name."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, name, re.IGNORECASE)), "elementwise and others")


def busy(events: Iterable[Event]) -> int:
    """Picoseconds in which at least one of them ran."""
    total, until = 0, 0
    for event in sorted(events, key=lambda event: event.start):
        total += max(event.end - max(event.start, until), 0)
        until = max(until, event.end)
    return total


def events_of(folder: str) -> list[Event]:
    """The events of the device in a trace of TensorFlow's profiler; of the host's threads where there is no GPU."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    result = []
    for path in Path(folder).rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        planes = [plane for plane in space.planes if "/device:GPU" in plane.name]
        if not tf.config.list_physical_devices("GPU"):
            planes = [plane for plane in space.planes if plane.name == "/host:CPU"]
        for plane in planes:
            streams = [line for line in plane.lines if line.name.startswith("Stream")]
            for line in streams or plane.lines:
                begin = line.timestamp_ns * 1000
                for event in line.events:
                    start = begin + event.offset_ps
                    name = plane.event_metadata[event.metadata_id].name
                    result.append(Event(name, start, start + event.duration_ps))
    return result


def traced(call: Callable[[], Any], repeats: int) -> list[Event]:
    """The events of some calls, after two that are not traced."""
    for _ in range(2):
        call()
    tf.test.experimental.sync_devices()
    with tempfile.TemporaryDirectory() as folder:
        options = tf.profiler.experimental.ProfilerOptions(
            host_tracer_level=1, python_tracer_level=0, device_tracer_level=1
        )
        tf.profiler.experimental.start(folder, options)
        for _ in range(repeats):
            call()
        tf.test.experimental.sync_devices()
        tf.profiler.experimental.stop()
        return events_of(folder)


def summary(what: str, events: list[Event], calls: int) -> Iterator[Record]:
    """How long the device was busy and idle, and with what."""
    if not events:
        yield Record("Profile", {"what": what, "note": "no event of the GPU was traced: CUPTI may be missing"})
        return
    wall = max(event.end for event in events) - min(event.start for event in events)
    at_work = busy(events)
    cells = {"what": what, "launches": len(events) / calls, "ms from first to last": wall / 1e9 / calls}
    yield Record("Profile", {**cells, "busy, ms": at_work / 1e9 / calls, "idle, %": 100 * (1 - at_work / max(wall, 1))})
    for title, key, top in ((f"Profile of {what}: kinds", kind_of, None), (f"Profile of {what}: names", str, _TOP)):
        time_of, count_of = Counter[str](), Counter[str]()
        for event in events:
            name = key(event.name) if key is kind_of else event.name
            time_of[name] += event.end - event.start
            count_of[name] += 1
        for name, taken in time_of.most_common(top):
            share = 100 * taken / max(time_of.total(), 1)
            cells = {"what": name[:100], "launches": count_of[name] / calls, "ms": taken / 1e9 / calls, "%": share}
            yield Record(title, cells)


def generating(
    precision: str,
    minibatches: list[int],
    *,
    config: str = "config-f",
    resolution: int = 1024,
    network_kwargs: dict[str, Any] | None = None,
) -> Iterator[Record]:
    """Gs.run; per minibatch, of several in one call."""
    use_device()
    Gs = network("Gs", config, resolution, precision, **(network_kwargs or {}))
    count = 8
    with using(asked()):
        for minibatch in minibatches:
            events = traced(run_call(Gs, minibatch, count), 1)
            yield from summary(f"Gs.run, {resolution}x{resolution}, {precision}, minibatch {minibatch}", events, count)


def training(
    precision: str,
    minibatch: int,
    phases: list[str],
    *,
    config: str = "config-f",
    resolution: int = 256,
    network_kwargs: dict[str, Any] | None = None,
) -> Iterator[Record]:
    """Phases of training."""
    use_device()
    with using(asked()) as impl, as_in_training():
        calls = phase_calls(
            make_step(Case(config, resolution, minibatch, precision, impl), **(network_kwargs or {})), minibatch
        )
        for name in phases:
            events = traced(calls[name], 3)
            yield from summary(f"{name}, {resolution}x{resolution}, {precision}, minibatch {minibatch}", events, 3)
