"""From the facts about a machine to verdicts and remedies: functions of `Machine` alone."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dnnlib.commands import as_called

from .machine import Card, Machine

OK, WARNING, PROBLEM = "ok", "warning", "problem"
TRIED = ((2, 15), (2, 21))  # versions of TensorFlow
_AND_CUDA = "pip install 'tensorflow[and-cuda]'"


@dataclass(frozen=True)
class Finding:
    """A line of the report. verdict: ok, warning (it works, but not as well as it could) or problem."""

    subject: str
    verdict: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return as_called(f"{self.subject}: {self.text}" + (f". {self.remedy}" if self.remedy else ""))


def examine(m: Machine) -> list[Finding]:
    """All verdicts, in the order of the report."""
    return [finding for check in CHECKS for finding in check(m)]


def _system(m: Machine) -> Iterator[Finding]:
    yield Finding("System", OK, f"Python {m.python}, {m.system}, {m.cpus} CPU{'s' if m.cpus > 1 else ''}")


def _tensorflow(m: Machine) -> Iterator[Finding]:
    if m.tensorflow is None:
        remedy = "make setup, or pip install -r requirements.lock, in an environment of Python 3.10 to 3.13"
        if "SIGILL" in m.tensorflow_problem:
            remedy = "TensorFlow's wheels need a processor with AVX; virtual machines must pass it on"
        yield Finding("TensorFlow", PROBLEM, f"cannot be imported: {m.tensorflow_problem}", remedy)
        return
    text = f"{m.tensorflow}, " + (f"CUDA {m.cuda}, cuDNN {m.cudnn}" if m.cuda else "built without CUDA")
    if TRIED[0] <= _version(m.tensorflow) <= TRIED[1]:
        yield Finding("TensorFlow", OK, text)
    else:
        first, last = (".".join(map(str, version)) for version in TRIED)
        yield Finding("TensorFlow", WARNING, text, f"If something fails, install one of those tried: {first} to {last}")


def _driver(m: Machine) -> Iterator[Finding]:
    if m.driver_problem:
        remedy = "Restart the machine (a driver that was updated needs that), or install NVIDIA's driver again"
        yield Finding("Driver", PROBLEM, f"nvidia-smi: {m.driver_problem}", remedy)
        return
    if not (m.driver or m.driver_cuda):
        yield Finding("Driver", OK, "none of NVIDIA's")
        return
    text = f"{m.driver or 'of unknown version'}, CUDA up to {m.driver_cuda or 'an unknown version'}"
    if m.driver_cuda and m.cuda and _version(m.driver_cuda) < _version(m.cuda):
        fatal = _version(m.driver_cuda)[0] < _version(m.cuda)[0]
        why = "will not run" if fatal else "may not be able to compile all of its kernels"
        remedy = f"Install a driver that supports CUDA {m.cuda}: TensorFlow, built with that, {why} on this one"
        yield Finding("Driver", PROBLEM if fatal else WARNING, text, remedy)
    else:
        yield Finding("Driver", OK, text)


def _gpus(m: Machine) -> Iterator[Finding]:
    if m.tensorflow is not None and m.cards and not m.gpus:
        yield _unseen(m)
        return
    cards = m.gpus or m.cards
    if not cards:
        yield Finding("GPU", OK, "none: the CPU computes everything")
    for (name, capability), number in Counter((card.name, card.capability) for card in cards).items():
        like = [card for card in m.cards if card.name == name]
        text = (f"{number} x " if number > 1 else "") + _describe(Card(name, capability), like)
        yield _code_for(m, text, capability)
        if any(card.free is not None and card.free < 0.5 * (card.memory or 0) for card in like):
            remedy = "nvidia-smi lists what uses it: end that, or choose another GPU by CUDA_VISIBLE_DEVICES"
            yield Finding("GPU memory", WARNING, f"{min(card.free for card in like):.0f} GB are free", remedy)


def _unseen(m: Machine) -> Finding:
    """Where the driver has cards and TensorFlow has none."""
    text = f"TensorFlow does not see {_describe(m.cards[0], m.cards)}"
    if m.visible_devices is not None and not _chooses(m.visible_devices, len(m.cards)):
        return Finding("GPU", WARNING, f"{text}: CUDA_VISIBLE_DEVICES={m.visible_devices!r} hides it", "Unset it")
    if m.cuda is None:
        return Finding("GPU", PROBLEM, f"{text}: it is built without CUDA", f"{_AND_CUDA} (on Windows: in WSL 2)")
    text += f" ({m.notes.rstrip('.')})" if m.notes else ""
    if m.driver_cuda and _version(m.driver_cuda)[0] < _version(m.cuda)[0]:
        return Finding("GPU", PROBLEM, text, "See the driver")
    return Finding("GPU", PROBLEM, text, f"If the CUDA libraries are what was not found: {_AND_CUDA}")


def _chooses(devices: str, number: int) -> bool:
    """Whether $CUDA_VISIBLE_DEVICES begins with a card. number: of cards that are there."""
    index = re.match(r"\s*(\d+)", devices)
    return int(index[1]) < number if index else bool(re.match(r"\s*(GPU|MIG)-", devices))


def _describe(card: Card, known: tuple[Card, ...] | list[Card]) -> str:
    capability = card.capability or next((other.capability for other in known), None)
    memory = next((other.memory for other in known), None)
    facts = [f"compute capability {capability[0]}.{capability[1]}"] if capability else []
    facts += [f"{memory:.0f} GB"] if memory else []
    return card.name + (f" ({', '.join(facts)})" if facts else "")


def _code_for(m: Machine, text: str, capability: tuple[int, int] | None) -> Finding:
    """Whether TensorFlow has code for a card."""
    code = code_for(m.capabilities, capability)
    if code == "native":
        return Finding("GPU", OK, text)
    text += f": this TensorFlow has no code for it, only for {', '.join(m.capabilities)}"
    if code == "none":
        return Finding("GPU", PROBLEM, text, "Install a TensorFlow that was built for this GPU, or use another GPU")
    if capability >= (10, 0):  # what people report of 2.20 and 2.21
        remedy = (
            "Plain operations may fail there (CUDA_ERROR_INVALID_PTX, CUDA_ERROR_INVALID_HANDLE). Use a TensorFlow that"
            " was built for Blackwell: people report that NVIDIA's container works (nvcr.io/nvidia/tensorflow)"
        )
        return Finding("GPU", PROBLEM, text, remedy)
    remedy = "The driver compiles all kernels at their first use, which takes time; a newer TensorFlow may have them"
    return Finding("GPU", WARNING, text, remedy)


def code_for(capabilities: tuple[str, ...], capability: tuple[int, int] | None) -> str:
    """What a TensorFlow brings for a card: 'native' code, 'ptx' that the driver compiles, or 'none'.

    capabilities: as in its build information. sm_80 runs on 8.x, compute_90 is code for 9.x and PTX for later ones.
    """
    if not capabilities or capability is None:  # unknown
        return "native"
    found = "none"
    for kind, digits in re.findall(r"(sm|compute)_(\d+)", " ".join(capabilities)):
        target = (int(digits[:-1]), int(digits[-1]))
        if target[0] == capability[0] and target <= capability:
            return "native"
        if kind == "compute" and target <= capability:
            found = "ptx"
    return found


def _nvcc(m: Machine) -> Iterator[Finding]:
    gpu = bool(m.gpus)
    if m.nvcc is None:
        if gpu and m.ops != "cuda":
            remedy = "Install a CUDA toolkit no newer than the driver, or set NVCC or CUDA_HOME"
            yield Finding("nvcc", WARNING, "none: the CUDA kernels of this project cannot be built", remedy)
        else:
            yield Finding("nvcc", OK, "none" + ("; the CUDA kernels are built already" if gpu else ""))
        return
    new = [card for card in m.gpus if card.capability and _arch(card) > max(m.nvcc_archs, default=1000)]
    if gpu and m.driver_cuda and _version(m.nvcc) > _version(m.driver_cuda):
        remedy = f"Install CUDA {m.driver_cuda} or older beside it (NVCC, CUDA_HOME), or a newer driver"
        yield Finding("nvcc", WARNING, f"{m.nvcc}, newer than the driver's CUDA {m.driver_cuda}", remedy)
    elif new:
        capability = ".".join(map(str, new[0].capability))
        remedy = "Install a newer CUDA toolkit (12.8 for Blackwell), no newer than the driver"
        yield Finding("nvcc", WARNING, f"{m.nvcc}, which does not know compute capability {capability}", remedy)
    else:
        yield Finding("nvcc", OK, m.nvcc)


def _compiler(m: Machine) -> Iterator[Finding]:
    if m.cxx or m.ops in ("cuda", "cpu"):
        yield Finding("C++ compiler", OK, m.cxx or "none; the custom ops are built already")
    else:
        yield Finding("C++ compiler", WARNING, "none", "Install g++ 9 or newer (Debian, Ubuntu: apt install g++)")


def _ops(m: Machine) -> Iterator[Finding]:
    names = {"cuda": "CUDA kernels", "cpu": "CPU kernels", "ref": "TensorFlow ops ('ref')", "xla": "XLA"}
    if m.tensorflow is None:
        return
    reason = m.ops_reason.partition("\n")[0]
    if m.ops is None:
        yield Finding("Custom ops", PROBLEM, reason, "Unset STYLEGAN2_OPS, or mend what it says")
    elif m.ops == "ref" and m.ops_asked != "ref":
        remedy = "They compute the same, slower; python -m dnnlib.tflib.ops.build tries again, and tells all"
        yield Finding("Custom ops", WARNING, f"{names.get(m.ops, m.ops)}, because {reason.rstrip('.')}", remedy)
    else:
        yield Finding("Custom ops", OK, f"{names.get(m.ops, m.ops)}, {reason}")


def _numerics(m: Machine) -> Iterator[Finding]:
    if m.tensorflow is None:
        return
    can = any(card.capability is None or card.capability >= (8, 0) for card in m.gpus)
    text = "allowed: float32 is less exact" if m.tf32 else "off: float32 is exact (--allow-tf32 is faster)"
    yield Finding("TensorFloat-32", OK, text if can else "no GPU that has it")
    if m.onednn is not None:
        yield Finding("oneDNN", OK, "on (TF_ENABLE_ONEDNN_OPTS=0: off)" if m.onednn else "off")


def _memory(m: Machine) -> Iterator[Finding]:
    if m.memory is None or m.available is None:
        return
    text = f"{m.memory:.0f} GB, {m.available:.0f} GB of them free"
    if m.available < 4:
        yield Finding("Memory", WARNING, text, "Large networks may not fit: end other programs")
    else:
        yield Finding("Memory", OK, text)


def _folders(m: Machine) -> Iterator[Finding]:
    settings = {
        "results": "--result-dir=DIR",
        "downloads": "--cache-dir=DIR or STYLEGAN2_CACHE_DIR",
        "custom ops": "STYLEGAN2_OPS_CACHE",
        "CUDA's cache": "CUDA_CACHE_PATH",
    }
    for folder in m.folders:
        needed = folder.purpose == "results"
        subject, remedy = f"Folder of {folder.purpose}", f"Choose another folder: {settings[folder.purpose]}"
        text = folder.path if folder.free is None else f"{folder.path}, {folder.free:.0f} GB free"
        if not folder.writable:
            yield Finding(subject, PROBLEM if needed else WARNING, f"{folder.path} cannot be written", remedy)
        elif folder.free is not None and folder.free < 1:
            yield Finding(subject, PROBLEM if needed else WARNING, f"{folder.path} is full", f"Make room. {remedy}")
        elif folder.free is not None and folder.free < 10 and needed:
            yield Finding(subject, WARNING, text, f"Snapshots of config-f at 1024x1024 take 0.4 GB each. {remedy}")
        else:
            yield Finding(subject, OK, text)


CHECKS: tuple[Callable[[Machine], Iterator[Finding]], ...] = (
    *(_system, _tensorflow, _driver, _gpus, _nvcc, _compiler, _ops, _numerics, _memory, _folders),
)


def _arch(card: Card) -> int:
    return card.capability[0] * 10 + card.capability[1]


def _version(text: str) -> tuple[int, int]:
    """The first two numbers of a version."""
    major, minor, *_ = [*map(int, re.findall(r"\d+", text)[:2]), 0, 0]
    return major, minor
