"""The compilers on this machine, and what they have to compile for: GPU architectures, this processor."""

import functools
import os
import re
import shutil
import subprocess
from typing import Any, NamedTuple

DEFAULT_ARCHS = (70, 75, 80, 86, 89, 90, 100, 120)  # Volta to Blackwell, as far as the compiler knows them


class Compiler(NamedTuple):
    """A compiler that answered: its path and its version, such as '12.2.0'."""

    path: str
    version: str


class BuildError(Exception):
    """The library could not be built. The message is for users: what failed, the compiler's words, the remedy."""


def find_cxx() -> Compiler | None:
    """The C++ compiler: $CXX, else g++, c++ or clang++ of the search path; None where there is none."""
    candidates = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]
    return _first(candidates, r"\b(\d+\.\d+(?:\.\d+)?)")


def find_nvcc() -> Compiler | None:
    """CUDA's compiler: $NVCC, else nvcc of $CUDA_HOME, the search path or /usr/local/cuda; None where there is none."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = [f"{home}/bin/nvcc"] if home else []
    candidates += ["nvcc", "/usr/local/cuda/bin/nvcc"]
    return _first([os.environ["NVCC"]] if os.environ.get("NVCC") else candidates, r"\bV(\d+\.\d+\.\d+)")


def _first(names: list[str], version: str) -> Compiler | None:
    """The first compiler that answers; version: the pattern of its version."""
    return next(filter(None, (_ask(name, version) for name in names)), None)


def _ask(name: str, version: str) -> Compiler | None:
    path = shutil.which(name)
    if path is None:
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace", timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(version, done.stdout)
    return Compiler(path, match[1] if match else "unknown")


@functools.cache
def native_options(cxx: Compiler) -> tuple[str, ...]:
    """What compiles for this machine's processor: -march=native, or, on some arm64, -mcpu=native; () for neither."""
    for option in ("-march=native", "-mcpu=native"):
        command = [cxx.path, option, "-fsyntax-only", "-x", "c++", os.devnull]
        if subprocess.run(command, capture_output=True, timeout=60).returncode == 0:
            return (option,)
    return ()


LEVELS = {  # by what /proc/cpuinfo calls their instructions, as far as those before have them not
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"},
    "x86-64-v2": {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"},
}
"""Kinds of processors that code can be compiled for (-march) in place of this one, the best first."""


def levels_of_cpu() -> list[str]:
    """Those of `LEVELS` that this processor is of, the best first."""
    has = set(cpu_name().split())
    names = list(LEVELS)
    return [name for idx, name in enumerate(names) if set().union(*(LEVELS[part] for part in names[idx:])) <= has]


def supported_archs(nvcc: Compiler) -> list[int]:
    """The GPU architectures that a compiler knows, such as [75, 80, 90]: compute capability times 10."""
    out = subprocess.run([nvcc.path, "--list-gpu-arch"], capture_output=True, text=True, timeout=60).stdout
    return sorted({int(arch) for arch in re.findall(r"compute_(\d+)\b", out)})


def add_targets(parser: Any) -> None:
    """Adds --arch and --cpu to a parser or a group of one: what to build the ops for, ahead of their first use."""
    arch_help = "GPU architectures, such as 80,90; here: this machine's; none: no CUDA kernels (default: those of the "
    arch_help += f"GPUs of this machine, else those from {DEFAULT_ARCHS[0]} to {DEFAULT_ARCHS[-1]} that nvcc knows)"
    parser.add_argument("--arch", help=arch_help, metavar="LIST")
    cpu_help = f"kind of processors: {', '.join(LEVELS)} (default: that of this machine, and of no other)"
    parser.add_argument("--cpu", choices=tuple(LEVELS), help=cpu_help, metavar="KIND")


def run(command: list[str], remedy: str) -> None:
    """Runs a compiler; raises BuildError with what it printed and the remedy."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{command[0]} could not be run: {error}\n{remedy}") from None
    if done.returncode != 0:
        text = done.stdout.decode(errors="replace").strip()
        lines = text.splitlines()
        if len(lines) > 40:  # the first errors say most
            text = "\n".join([*lines[:40], f"... ({len(lines) - 40} more lines)"])
        raise BuildError(f"{' '.join(command)}\nended with status {done.returncode}:\n{text}\n{remedy}")


@functools.cache
def cpu_name() -> str:
    """What `native_options` depend on: the processor's instruction sets, as the system lists them."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = {line.split(":", 1)[0].strip(): line for line in file}
        return "".join(lines.get(key, "") for key in ("vendor_id", "model name", "flags", "Features"))
    except OSError:
        import platform

        return f"{platform.machine()} {platform.processor()}"
