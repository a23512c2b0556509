"""What benchmarks report: rows of one table, figures of their own, and the machine they were measured on."""

import contextlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Options:
    """What to measure. Lists that are empty: what each benchmark takes by itself."""

    rounds: int = 9
    config: str = "config-f"
    resolution: int | None = None
    minibatches: list[int] = field(default_factory=list)
    precisions: list[str] = field(default_factory=lambda: ["fp32", "bf16"])
    impls: list[str] = field(default_factory=lambda: ["auto", "ref"])


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
    """Prints the rows, then the figures, as tables in Markdown."""
    results = list(results)
    rows = [result.cells() for result in results if isinstance(result, Row)]
    figures = [list(result) for result in results if isinstance(result, Figure)]
    for columns, lines in ((_COLUMNS, rows), (["what", "measured", "target"], figures)):
        if lines:
            print()
            for cells in [columns, ["---"] * len(columns), *lines]:
                print(f"| {' | '.join(cells)} |")


# ----------------------------------------------------------------------------
# Precision and implementation of what is measured.

_HIGHEST = 4  # resolutions that are computed in 16 bit, as in StyleGAN2-ADA
PRECISIONS: dict[str, dict[str, Any]] = {"fp32": {}}
PRECISIONS |= {
    name: {"num_fp16_res": _HIGHEST, "conv_clamp": 256, "fp16_dtype": dtype}
    for name, dtype in (("fp16", "float16"), ("bf16", "bfloat16"))
}
"""Arguments of networks for each precision."""


def dtype_at(size: int, resolution: int, precision: str) -> str:
    """The type in which a network computes its feature maps of some height and width."""
    is_16_bit = precision != "fp32" and size > max(resolution >> _HIGHEST, 4)
    return PRECISIONS[precision]["fp16_dtype"] if is_16_bit else "float32"


@contextlib.contextmanager
def implementation(impl: str) -> Iterator[str]:
    """Inside, custom ops are of an implementation where they are traced; gives the name of the one that it is."""
    import tensorflow as tf

    from dnnlib.tflib.ops import implementation as ops

    before = os.environ.get(ops.VARIABLE)
    os.environ[ops.VARIABLE] = impl
    try:
        yield ops.choose("auto", ops.OPS, tf.float32)
    finally:
        del os.environ[ops.VARIABLE]
        if before is not None:
            os.environ[ops.VARIABLE] = before


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
    lines = [f"{versions}, Python {platform.python_version()}; oneDNN {'on' if one_dnn else 'off'}", _cpu()]
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", ())))
        lines.append(f"GPU: {details.get('device_name', gpu.name)}, compute capability {capability}")
    return "\n".join([*lines, time.strftime("%Y-%m-%d")])


def _cpu() -> str:
    facts = {}
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in file)}
    model = facts.get("model name", platform.processor() or platform.machine())
    known = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")
    flags = [name for name in known if name in facts.get("flags", "").split()]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU: {model}, {usable} cores ({', '.join(flags) or 'no vector extensions known here'})"
