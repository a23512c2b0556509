"""What benchmarks report: rows of one table, figures of their own, and the machine they were measured on."""

import contextlib
import importlib.metadata
import itertools
import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from training.options.new_run import PRECISIONS

from .processor import cpu


class Case(NamedTuple):
    """Networks of a configuration, how they are run, and the implementation of custom ops."""

    config: str
    resolution: int
    minibatch: int
    precision: str
    impl: str


@dataclass(frozen=True)
class Options:
    """What to measure. None, and lists that are empty: what each benchmark takes by itself."""

    rounds: int
    config: str
    resolution: int | None
    minibatches: list[int]
    precisions: list[str]
    impls: list[str]

    def cases(self, resolutions: list[int], minibatches: list[int]) -> Iterator[Case]:
        """All cases, of these sizes where none are asked for. Meanwhile custom ops are of the case's implementation."""
        sizes = [self.resolution] if self.resolution else resolutions
        impls = implementations(self.impls)
        for *case, impl in itertools.product(sizes, self.minibatches or minibatches, self.precisions, impls):
            with implementation(impl):
                yield Case(self.config, *case, impl)


class Row(NamedTuple):
    """A measured computation. Seconds of one minibatch; `convolutions`: of its bare convolutions, None: it has none."""

    only: str  # of the command that makes the row
    what: str
    config: str
    resolution: int
    minibatch: int
    precision: str
    impl: str
    seconds: float
    convolutions: float | None

    def cells(self) -> list[str]:
        """Text of the columns."""
        ratio = "" if self.convolutions is None else f"{self.convolutions / self.seconds:.2f}"
        bare = "" if self.convolutions is None else seconds_text(self.convolutions)
        command = f"--only {self.only} --minibatch {self.minibatch}"
        command += f" --resolution {self.resolution}" if self.only != "metrics" else ""
        command += f" --config {self.config}" if self.config.startswith("config") else ""
        command += f" --precision {self.precision}" if self.only in ("generating", "training") else ""
        command += f" --impl {self.impl}" if self.impl in ("ref", "cpu", "cuda") else ""
        size = f"{self.resolution}x{self.resolution}"
        numbers = [seconds_text(self.seconds), f"{1000 * self.seconds / self.minibatch:.4g}", bare, ratio]
        return [self.what, self.config, size, str(self.minibatch), self.precision, self.impl, *numbers, f"`{command}`"]


class Figure(NamedTuple):
    """A figure that has nothing to do with convolutions."""

    what: str
    measured: str
    target: str = ""


_COLUMNS = ["what", "network", "resolution", "minibatch", "precision", "implementation"]
_COLUMNS += ["time", "s/kimg", "convolutions alone", "ratio", "`python tools/bench.py` with"]


def seconds_text(value: float) -> str:
    """'1.234 s', '12.3 ms'."""
    return f"{value:.3f} s" if value >= 0.1 else f"{1000 * value:.3g} ms"


def print_tables(results: Iterable[Row | Figure]) -> None:
    """Prints the rows as they come, then the figures, as tables in Markdown."""
    figures: list[Figure] = []
    started = False
    for result in results:
        if isinstance(result, Figure):
            figures.append(result)
            continue
        if not started:
            _print_header(_COLUMNS)
        started = True
        _print_line(result.cells())
    if figures:
        _print_header(["what", "measured", "target"])
        for figure in figures:
            _print_line(figure)


def _print_header(columns: Sequence[str]) -> None:
    print()
    _print_line(columns)
    _print_line(["---"] * len(columns))


def _print_line(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


# ----------------------------------------------------------------------------
# Precision and implementation of what is measured.


def dtype_at(size: int, resolution: int, precision: str) -> str:
    """The type in which a network computes its feature maps of some height and width."""
    from dnnlib.resolutions import resolution_of
    from training.nets.mixed_precision import MixedPrecision

    return MixedPrecision(**PRECISIONS[precision]).dtype_at(size.bit_length() - 1, resolution_of(resolution), "float32")


@contextlib.contextmanager
def implementation(impl: str) -> Iterator[str]:
    """Inside, custom ops are of an implementation where they are traced; gives the name of the one that it is."""
    import tensorflow as tf

    from dnnlib.tflib.ops import implementation as ops

    with ops.using(impl):
        yield ops.choose("auto", ops.build.OPS, tf.float32)


def implementations(impls: Iterable[str]) -> list[str]:
    """What `impls` stand for on this machine, each once: 'auto' is one of the others."""
    found = []
    for impl in impls:
        with implementation(impl) as name:
            found.append(name)
    return list(dict.fromkeys(found))


# ----------------------------------------------------------------------------
# The machine.


def describe_machine() -> str:
    """Hardware and versions, a line each."""
    import tensorflow as tf

    one_dnn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "keras", "numpy"))
    lines = [f"{versions}, Python {platform.python_version()}; oneDNN {'on' if one_dnn else 'off'}", f"CPU: {cpu()}"]
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", ())))
        lines.append(f"GPU: {details.get('device_name', gpu.name)}, compute capability {capability}")
    return "\n".join([*lines, time.strftime("%Y-%m-%d")])
