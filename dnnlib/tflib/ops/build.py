"""Builds the library of compiled ops, once per user and version, and loads it.

One shared library holds the ops as TensorFlow sees them (ops.cc, op_kernels.cc), the CPU kernels (cpu_*.cc) and, where
CUDA's compiler and a GPU are found (or architectures are asked for), the CUDA kernels (*.cu). Only the kernels are
compiled for this machine; they see no header of TensorFlow. The library is built when an op first runs, or ahead by

    python -m dnnlib.tflib.ops.build

and kept in a folder of the user: $STYLEGAN2_OPS_CACHE, else `stylegan2-keras/ops` in $XDG_CACHE_HOME or ~/.cache. Its
name there is made of the sources, the TensorFlow version, the processor, the compilers and the GPU architectures.
"""

import argparse
import concurrent.futures
import ctypes
import functools
import hashlib
import os
import secrets
import shutil
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from dnnlib.files import atomic_write, only_one, sha256_of

from . import toolchain
from .toolchain import BuildError, Compiler

CACHE_VARIABLE = "STYLEGAN2_OPS_CACHE"
SOURCES = Path(__file__).parent / "kernels"
OPS = (  # of the library
    *("StyleganUpfirdn2D", "StyleganBiasAct"),
    *("StyleganEpilogue", "StyleganEpilogueGrad", "StyleganEpilogueGradGrad"),
    *("StyleganAdam", "StyleganAverage", "StyleganRandomKey"),
)
OP_OPTIONS = ("-O2", "-fPIC", "-Wno-deprecated-declarations")  # names that newer versions of TensorFlow like less
CPU_OPTIONS = (
    *("-std=c++17", "-O3", "-fPIC", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"),
    "-Wno-pass-failed",  # clang's words about loops that it does not vectorize
)
NVCC_OPTIONS = ("-std=c++17", "-O3", "-Xcompiler", "-fPIC")
_OTHER_FOLDER = f"Set {CACHE_VARIABLE} to a folder that can be written."
_NO_COMPILER = "Install g++ 9 or newer (Debian, Ubuntu: apt install g++), or set CXX to a C++17 compiler."
_CXX_REMEDY = f"{_NO_COMPILER} STYLEGAN2_OPS=ref runs the TensorFlow ops without building anything."
_NVCC_REMEDY = (
    "Install a CUDA toolkit that supports this g++ and the GPU's driver, or set NVCC or CUDA_HOME to another one."
    " STYLEGAN2_OPS=ref runs the TensorFlow ops without building anything."
)


class Plan(NamedTuple):
    """What to build: with which compilers (None: not found), for which GPU architectures ([80, 90]; none: CPU only).

    cpu: for which kind of processors, of `toolchain.LEVELS`; None: for this machine's.
    """

    cxx: Compiler | None
    nvcc: Compiler | None
    archs: tuple[int, ...]
    cpu: str | None = None


# ----------------------------------------------------------------------------
# Loading, once per process.

_lock = threading.Lock()
_loaded: tuple[Any, str] | None = None  # the module or None, the reason
_path: Path | None = None


def load() -> Any:
    """The module of compiled ops (`tf.load_op_library`), or None; builds them at the first call if they are not there.

    What went wrong is in `reason()`; nothing is tried twice in a process.
    """
    return _load()[0]


def reason() -> str:
    """What `load()` loaded ('built with g++ 12.2.0'), or why it is None."""
    return _load()[1]


def cuda_problem() -> str | None:
    """Why the CUDA kernels of the loaded library cannot run (a driver that is too old, say); None if they can."""
    try:
        check = ctypes.CDLL(str(_path)).stylegan2_cuda_problem
    except AttributeError:
        return "the library has no CUDA kernels"
    check.restype = ctypes.c_char_p
    problem = check()
    return f"CUDA: {problem.decode()}; nvcc must not be newer than the driver. {_NVCC_REMEDY}" if problem else None


@tf.autograph.experimental.do_not_convert  # where a function that AutoGraph rewrites is the first to need it
def _load() -> tuple[Any, str]:
    global _loaded, _path
    with _lock:
        if _loaded is None:
            try:
                _path = library()
                _loaded = tf.load_op_library(str(_path)), f"built with {_compilers(_path)}"
            except BuildError as error:
                _loaded = None, str(error)
            except tf.errors.OpError as error:
                _loaded = None, f"{_path} cannot be loaded: {error.message}. Delete the file, and it is built again."
            except (OSError, RuntimeError) as error:  # the latter: no home folder
                _loaded = None, f"{error}. {_OTHER_FOLDER}"
        return _loaded


def kernels(module: Any) -> dict[str, set[tuple[str, str]]]:
    """The kernels of a loaded library: for each op the pairs (device, dtype), such as ('GPU', 'float16')."""
    if module is None:
        return {op: set() for op in OPS}
    from tensorflow.python.framework.kernels import get_registered_kernels_for_op

    found = {}
    for op in OPS:
        found[op] = set()
        for kernel in get_registered_kernels_for_op(op).kernel:
            types = next(c.allowed_values.list.type for c in kernel.constraint if c.name == "T")
            found[op] |= {(kernel.device_type, tf.as_dtype(t).name) for t in types}
    return found


# ----------------------------------------------------------------------------
# Finding and building.


def library(plan: Plan | None = None, verbose: bool = True) -> Path:
    """The path of the library; builds it unless it is there.

    Args:
        plan: None is what this machine needs: CPU kernels, and CUDA kernels for the GPUs that TensorFlow sees.
        verbose: whether to say on stderr that something is being built.

    Raises:
        BuildError: no compiler, or one that failed.
        OSError: a cache folder that cannot be written.
    """
    plan = _plan() if plan is None else plan
    folder = cache_dir() / _key(plan.cpu)
    others = toolchain.levels_of_cpu() if plan.cpu is None else []  # which may have been built ahead
    for place in (folder, *(cache_dir() / _key(level) for level in others)):
        if found := _find(place, plan):
            return found
    if plan.cxx is None:
        asked = os.environ.get("CXX")
        found = f"CXX={asked!r}: expected the path of a compiler that runs" if asked else "no C++ compiler found"
        raise BuildError(f"{found}. {_NO_COMPILER}")
    if plan.archs and plan.nvcc is None:
        gpus = ", ".join(f"sm_{arch}" for arch in plan.archs)
        raise BuildError(
            f"TensorFlow sees GPUs ({gpus}), but nvcc, which compiles the CUDA kernels, was not found. {_NVCC_REMEDY}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder / "lock", "Waiting for another process that builds the custom ops ..." if verbose else None):
        found = _find(folder, plan)
        return found or _build(folder, plan, verbose)


def cache_dir() -> Path:
    """The folder of built libraries."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stylegan2-keras" / "ops"


def visible_archs() -> tuple[int, ...]:
    """The architectures of the GPUs that TensorFlow sees, such as (80, 90)."""
    archs = set()
    for gpu in tf.config.get_visible_devices("GPU"):
        capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
        if capability:
            archs.add(capability[0] * 10 + capability[1])
    return tuple(sorted(archs))


def _plan() -> Plan:
    archs = visible_archs()
    return Plan(toolchain.find_cxx(), toolchain.find_nvcc() if archs else None, archs)


@functools.cache
def _key(cpu: str | None = None) -> str:
    """What it depends on beside compilers and architectures: sources, TensorFlow, the processor or its kind."""
    options = (*OP_OPTIONS, *CPU_OPTIONS, *NVCC_OPTIONS, *tf.sysconfig.get_compile_flags()[1:])
    key = hashlib.sha256(f"{tf.__version__} {options} {cpu or toolchain.cpu_name()}".encode())
    for path in sorted(p for p in SOURCES.iterdir() if p.suffix in (".cc", ".cu", ".h")):
        key.update(path.name.encode() + path.read_bytes())
    return f"tf{tf.__version__}-{key.hexdigest()[:16]}"


def _tag(compiler: Compiler) -> str:
    return f"{Path(compiler.path).name}{compiler.version}".replace("-", "_")


def _name(plan: Plan) -> str:
    parts = ["ops", _tag(plan.cxx)]
    if plan.archs:
        parts += [_tag(plan.nvcc), *(f"sm{arch}" for arch in plan.archs)]
    return "-".join(parts) + ".so"


def _find(folder: Path, plan: Plan) -> Path | None:
    """A library that serves the plan: of these compilers if they are here, of any if they are not."""
    exact = folder / _name(plan) if plan.cxx and (plan.nvcc or not plan.archs) else None
    compilers = [_tag(plan.cxx)] if plan.cxx else []
    compilers += [_tag(plan.nvcc)] if plan.nvcc and plan.archs else []
    wanted = {*compilers, *(f"sm{arch}" for arch in plan.archs)}
    for path in sorted(folder.glob("ops-*.so"), key=lambda path: (path != exact, path)):
        if wanted <= set(path.stem.split("-")) and _is_whole(path):  # more architectures do no harm
            return path
    return None


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """Whether a library is what was built: loading a damaged one ends the process without a word."""
    try:
        return _digest_file(path).read_text() == sha256_of(path)
    except OSError:
        return False


def _compilers(path: Path) -> str:
    parts = path.stem.split("-")[1:]
    compilers = [part for part in parts if not part.startswith("sm")]
    archs = [part for part in parts if part.startswith("sm")]
    return " and ".join(compilers) + (f" for {', '.join(archs)}" if archs else "")


def _build(folder: Path, plan: Plan, verbose: bool) -> Path:
    cuda = bool(plan.archs)
    path = folder / _name(plan)
    if verbose:
        compilers = f"{plan.cxx.path}" + (f" and {plan.nvcc.path}" if cuda else "")
        print(f"Building the custom ops with {compilers} (once; half a minute) ...", file=sys.stderr, flush=True)
    work = folder / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}"
    work.mkdir()
    try:
        sources = sorted(SOURCES.glob("*.cu")) if cuda else []  # these take longest
        sources += sorted(SOURCES.glob("*.cc"), reverse=True)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda source: _compile(source, work, plan), sources))
        temporary = work / path.name
        if cuda:  # with CUDA's run time inside, so that the library loads where there is no GPU
            options = ["-cudart", "static", "-ccbin", plan.cxx.path]
            run = [plan.nvcc.path, "-shared", *options, *map(str, objects), "-o", str(temporary)]
        else:
            run = [plan.cxx.path, "-shared", *map(str, objects), "-o", str(temporary)]
        toolchain.run([*run, *tf.sysconfig.get_link_flags()], _NVCC_REMEDY if cuda else _CXX_REMEDY)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        with atomic_write(_digest_file(path)) as file:
            file.write(sha256_of(temporary).encode())
        os.replace(temporary, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return path


def _compile(source: Path, work: Path, plan: Plan) -> Path:
    target = work / f"{source.name}.o"
    if source.suffix == ".cu":
        command = [plan.nvcc.path, "-ccbin", plan.cxx.path, *NVCC_OPTIONS]
        for arch in plan.archs:
            command += ["-gencode", f"arch=compute_{arch},code=sm_{arch}"]
        newest = plan.archs[-1]  # its intermediate code lets later GPUs run it
        command += ["-gencode", f"arch=compute_{newest},code=compute_{newest}"]
        remedy = _NVCC_REMEDY
    elif source.name.startswith("cpu_"):
        native = (f"-march={plan.cpu}",) if plan.cpu else toolchain.native_options(plan.cxx)
        command = [plan.cxx.path, *CPU_OPTIONS, *native]
        remedy = _CXX_REMEDY
        if native:
            remedy = f"This processor's instructions ({native[0]}) may be too new for compiler or assembler. {remedy}"
    else:  # for any processor: TensorFlow's headers do not compile for all that compilers know
        include, *flags = tf.sysconfig.get_compile_flags()
        include = ["-isystem", include.removeprefix("-I")]  # no warnings about TensorFlow's own headers
        command = [plan.cxx.path, *OP_OPTIONS, *include, *flags, *(["-DSTYLEGAN2_CUDA"] if plan.archs else [])]
        remedy = _CXX_REMEDY
    toolchain.run([*command, "-c", str(source), "-o", str(target)], remedy)
    return target


# ----------------------------------------------------------------------------
# Command line.


def main() -> int:
    """Builds ahead and prints what was found; the exit status is 1 if nothing could be built."""
    parser = argparse.ArgumentParser(
        prog="python -m dnnlib.tflib.ops.build", description="Builds the custom ops ahead of their first use."
    )
    toolchain.add_targets(parser)
    args = parser.parse_args()
    return build_ahead(args.arch, args.cpu)


def build_ahead(arch: str | None = None, cpu: str | None = None) -> int:
    """Builds, loads, and prints what was found, for what --arch and --cpu name. Returns the exit status."""
    cxx, nvcc, gpus = toolchain.find_cxx(), toolchain.find_nvcc(), visible_archs()
    print("TensorFlow   ", tf.__version__)
    print("C++ compiler ", f"{cxx.path} {cxx.version}" if cxx else "none")
    print("nvcc         ", f"{nvcc.path} {nvcc.version}" if nvcc else "none")
    print("GPUs         ", ", ".join(f"sm_{arch}" for arch in gpus) or "none")
    try:
        path = library(Plan(cxx, nvcc, _archs(arch, nvcc, gpus), cpu))
        module = tf.load_op_library(str(path))
    except (BuildError, tf.errors.OpError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except (OSError, RuntimeError) as error:
        print(f"Error: {error}. {_OTHER_FOLDER}", file=sys.stderr)
        return 1
    print("library      ", path)
    print("built with   ", _compilers(path))
    for name, places in kernels(module).items():
        print(f"{name:24s}", ", ".join(sorted(f"{device} {dtype}" for device, dtype in places)) or "no kernels")
    return 0


def _archs(text: str | None, nvcc: Compiler | None, gpus: tuple[int, ...]) -> tuple[int, ...]:
    if nvcc is None or text == "none":
        if text not in (None, "here", "none"):
            raise BuildError(f"--arch={text}: no nvcc found. {_NVCC_REMEDY}")
        return ()
    if text == "here":
        return gpus
    known = toolchain.supported_archs(nvcc)
    if text is None:
        return gpus or tuple(arch for arch in toolchain.DEFAULT_ARCHS if arch in known)
    try:
        archs = tuple(sorted({int(arch) for arch in text.split(",")}))
    except ValueError:
        archs = ()
    if not archs or not set(archs) <= set(known):
        names = ", ".join(map(str, known))
        raise BuildError(f"--arch={text}: expected some of {names} (what nvcc {nvcc.version} knows), or none")
    return archs


if __name__ == "__main__":
    sys.exit(main())
