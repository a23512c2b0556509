"""The facts about this machine, gathered without a verdict.

TensorFlow's are asked of another process, by `ask_tensorflow`, where this one must go on if it cannot be imported.
"""

import ctypes
import dataclasses
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnnlib.download import CACHE_VARIABLE
from dnnlib.files import existing_part
from dnnlib.tflib.ops import toolchain

GB = 2**30


@dataclass(frozen=True)
class Card:
    """A GPU. capability: its compute capability, such as (9, 0); memory, free: GB. None: unknown."""

    name: str
    capability: tuple[int, int] | None = None
    memory: float | None = None
    free: float | None = None


@dataclass(frozen=True)
class Folder:
    """Where files go. free: GB, None if unknown; writable: whether files can be made there."""

    purpose: str
    path: str
    free: float | None = None
    writable: bool = True


@dataclass(frozen=True)
class Machine:
    """What is known of a machine. Sizes in GB; None or empty: not there, or unknown."""

    python: str = ""
    system: str = ""
    cpus: int = 1
    memory: float | None = None
    available: float | None = None
    folders: tuple[Folder, ...] = ()

    driver: str | None = None  # its version
    driver_cuda: str | None = None  # the newest CUDA that it supports
    driver_problem: str | None = None  # what nvidia-smi said in place of an answer
    cards: tuple[Card, ...] = ()  # that the driver sees
    visible_devices: str | None = None  # $CUDA_VISIBLE_DEVICES
    cxx: str | None = None  # path and version
    nvcc: str | None = None  # version
    nvcc_archs: tuple[int, ...] = ()  # GPU architectures that nvcc knows, such as 90

    tensorflow: str | None = None  # its version
    tensorflow_problem: str = ""  # why it cannot be imported
    cuda: str | None = None  # that TensorFlow was built with
    cudnn: str | None = None
    capabilities: tuple[str, ...] = ()  # that TensorFlow has code for: sm_80, or compute_90 for this and newer ones
    gpus: tuple[Card, ...] = ()  # that TensorFlow sees
    notes: str = ""  # what TensorFlow wrote of GPUs that it cannot use
    onednn: bool | None = None
    tf32: bool | None = None
    ops: str | None = None  # the implementation that runs: cuda, cpu, ref
    ops_reason: str = ""
    ops_asked: str | None = None  # $STYLEGAN2_OPS


def examine_host(results: str) -> dict[str, Any]:
    """What can be told without TensorFlow, as arguments of `Machine`. results: the folder that results go to."""
    cxx, nvcc = toolchain.find_cxx(), toolchain.find_nvcc()
    facts = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        **dict(zip(("memory", "available"), _memory(), strict=True)),
        **_driver(),
        "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "cxx": f"{cxx.path} {cxx.version}" if cxx else None,
        "nvcc": nvcc.version if nvcc else None,
        "nvcc_archs": tuple(toolchain.supported_archs(nvcc)) if nvcc else (),
        "ops_asked": os.environ.get("STYLEGAN2_OPS") or None,
    }
    folders = [_folder("results", results), _folder("downloads", os.environ.get(CACHE_VARIABLE) or ".stylegan2-cache")]
    if facts["cards"]:
        kernels = os.environ.get("CUDA_CACHE_PATH") or os.path.join("~", ".nv", "ComputeCache")
        folders.append(_folder("CUDA's cache", kernels))
    return {**facts, "folders": tuple(folders)}


def examine_tensorflow() -> dict[str, Any]:
    """What TensorFlow tells, as arguments of `Machine`; the custom ops are built if they are not there."""
    import tensorflow as tf

    from dnnlib.errors import UserError
    from dnnlib.tflib.ops import build, implementation

    info = tf.sysconfig.get_build_info()
    gpus = []
    for gpu in tf.config.get_visible_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        gpus.append(Card(details.get("device_name", gpu.name), details.get("compute_capability")))
    try:
        ops, reason = implementation.automatic()
    except UserError as error:
        ops, reason = None, str(error)
    try:
        folders = (_folder("custom ops", str(build.cache_dir())),)
    except RuntimeError:  # no home folder: the reason says so
        folders = ()
    return {
        "tensorflow": tf.__version__,
        "cuda": info.get("cuda_version") if info.get("is_cuda_build") else None,
        "cudnn": info.get("cudnn_version"),
        "capabilities": tuple(info.get("cuda_compute_capabilities", ())),
        "gpus": tuple(gpus),
        "onednn": _onednn(),
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "ops": ops,
        "ops_reason": reason,
        "folders": folders,
    }


def ask_tensorflow() -> dict[str, Any]:
    """As `examine_tensorflow`, in another process: what ends that one, or is written there, is told."""
    code = "from dnnlib.tflib.doctor import machine; machine.print_tensorflow()"
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "0"}
    try:
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, errors="replace")
    except OSError as error:
        return {"tensorflow_problem": str(error)}
    if done.returncode < 0:
        return {"tensorflow_problem": f"the process ended by {signal_name(-done.returncode)}"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        return {"tensorflow_problem": problem_of_import(done.stderr)}
    facts = json.loads(lines[-1])
    cards = tuple(Card(**{**card, "capability": _pair(card["capability"])}) for card in facts["gpus"])
    folders = tuple(Folder(**folder) for folder in facts["folders"])
    return {**facts, "gpus": cards, "folders": folders, "notes": notes_of_gpus(done.stderr)}


def print_tensorflow() -> None:
    """Prints the facts as JSON, in one line, the last one: the other end of `ask_tensorflow`."""
    print(json.dumps(examine_tensorflow(), default=dataclasses.asdict))


def gather(results: str, tensorflow: dict[str, Any]) -> Machine:
    """All facts. results: the folder that results go to; tensorflow: of `examine_tensorflow` or `ask_tensorflow`."""
    host = examine_host(results)
    return Machine(**{**host, **tensorflow, "folders": (*host["folders"], *tensorflow.get("folders", ()))})


# ----------------------------------------------------------------------------


def notes_of_gpus(text: str) -> str:
    """What TensorFlow's notes say of GPUs that cannot be used: the first such message, without file and time."""
    for line in text.splitlines():
        if re.search(r"Could not load dynamic library|Cannot dlopen|cuInit|kernel driver", line):
            return re.sub(r"^.*?\.cc:\d+\]\s*", "", line).strip()
    return ""


def problem_of_import(text: str) -> str:
    """What a traceback says: the line that names the error; TensorFlow has several lines of advice follow it."""
    lines = text.strip().splitlines() or ["no output"]
    return next((line for line in reversed(lines) if re.match(r"[\w.]*(Error|Exception)\b", line)), lines[-1]).strip()


def signal_name(number: int) -> str:
    """Such as 'SIGILL'."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _pair(value: Any) -> tuple[int, int] | None:
    return (int(value[0]), int(value[1])) if value else None


def _memory() -> tuple[float | None, float | None]:
    """Memory of this machine, or of the container that this process is in, and what is free of it."""
    try:
        text = Path("/proc/meminfo").read_text()
        kilobytes = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
        total, available = kilobytes["MemTotal"] * 1024, kilobytes["MemAvailable"] * 1024
    except (OSError, KeyError):
        return None, None
    try:
        limit, used = (Path("/sys/fs/cgroup", name).read_text() for name in ("memory.max", "memory.current"))
        total, available = min(total, int(limit)), min(available, max(int(limit) - int(used), 0))
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    return total / GB, available / GB


def _driver() -> dict[str, Any]:
    """NVIDIA's driver and the cards that it sees."""
    facts: dict[str, Any] = {"cards": (), "driver_cuda": _driver_cuda()}
    program = shutil.which("nvidia-smi") or shutil.which("/usr/lib/wsl/lib/nvidia-smi")
    if program is None:
        return facts
    columns = "name,driver_version,memory.total,memory.free,compute_cap"
    try:
        done = _query(program, columns)
        if done.returncode != 0 and "compute_cap" in done.stdout + done.stderr:  # unknown to old drivers
            done = _query(program, columns.removesuffix(",compute_cap"))
    except (OSError, subprocess.SubprocessError) as error:
        return {**facts, "driver_problem": str(error)}
    if done.returncode != 0 and not cards_of_nvidia_smi(done.stdout)["cards"]:  # it has a status for warnings, too
        words = (done.stdout + done.stderr).strip().splitlines() or ["it fails without a word"]
        return facts if "No devices" in words[0] else {**facts, "driver_problem": words[0]}
    return {**facts, **cards_of_nvidia_smi(done.stdout)}


def _query(program: str, columns: str) -> subprocess.CompletedProcess:
    command = [program, f"--query-gpu={columns}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60)


def cards_of_nvidia_smi(text: str) -> dict[str, Any]:
    """Driver and cards from lines of name, driver, MiB, free MiB and, of newer drivers, compute capability.

    Between them nvidia-smi prints warnings, of a memory that is corrupted, for example, and words in place of a card
    that does not answer: where there is no card at all, they are the problem.
    """
    cards, driver, words = [], None, []
    for line in filter(str.strip, text.splitlines()):
        name, *rest = (cell.strip() for cell in line.split(","))
        if len(rest) < 3:
            words.append(line.strip())
            continue
        driver, *rest = rest
        sizes = [float(cell) / 1024 if re.fullmatch(r"\d+(\.\d+)?", cell) else None for cell in rest[:2]]  # [N/A] else
        capability = _pair(rest[2].split(".")) if re.fullmatch(r"\d+\.\d+", "".join(rest[2:3])) else None
        cards.append(Card(name, capability, *sizes))
    problem = {"driver_problem": words[0]} if words and not cards else {}
    return {"driver": driver, "cards": tuple(cards), **problem}


def _driver_cuda() -> str | None:
    """The newest CUDA that the driver supports, such as '13.0'."""
    version = ctypes.c_int()
    try:
        library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _onednn() -> bool | None:
    try:
        from tensorflow.python.util import _pywrap_util_port

        return bool(_pywrap_util_port.IsMklEnabled())
    except (ImportError, AttributeError):
        return None


def _folder(purpose: str, path: str) -> Folder:
    path = os.path.abspath(os.path.expanduser(path))
    existing = existing_part(path)
    writable = os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)
    try:
        free = shutil.disk_usage(existing).free / GB
    except OSError:
        free = None
    return Folder(purpose, path, free, writable)
