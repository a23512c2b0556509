"""The machine and the versions: what a figure is worth nothing without. Needs no TensorFlow."""

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

from tools.benchmarks.processor import cpu

ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13")
_ASKED = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "clocks.max.mem", "pstate")
NOW = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu", "memory.used", "utilization.gpu")


def command_output(*command: str) -> str:
    """What a command prints; nothing if it is not there or fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        options = {"capture_output": True, "text": True, "timeout": 20, "cwd": ROOT, "check": True}
        return subprocess.run(command, **options).stdout.strip()
    return ""


def gpu_facts(fields: tuple[str, ...] = _ASKED) -> dict[str, str]:
    """What nvidia-smi tells of the first GPU; nothing without it."""
    lines = command_output("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader").splitlines()
    return dict(zip(fields, (value.strip() for value in lines[0].split(",")), strict=False)) if lines else {}


def has_gpu() -> bool:
    """Whether there seems to be an NVIDIA GPU, as far as can be told without TensorFlow."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return bool(gpu_facts()) or Path("/proc/driver/nvidia/gpus").exists() or Path("/dev/nvidia0").exists()


def commit() -> str:
    """The commit of this folder, and whether files differ from it."""
    name = command_output("git", "rev-parse", "--short", "HEAD") or "unknown: no git"
    return f"{name} with changes" if command_output("git", "status", "--porcelain", "--untracked-files=no") else name


def describe() -> dict[str, str]:
    """Everything by name."""
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    gpu = gpu_facts()
    cuda = re.search(r"CUDA Version: ([\d.]+)", command_output("nvidia-smi"))
    nvcc = re.search(r"release ([\d.]+)", command_output("nvcc", "--version"))
    return {
        "GPU": ", ".join(f"{name} {value}" if name != "name" else value for name, value in gpu.items()) or "none seen",
        "CUDA of the driver": cuda[1] if cuda else "",
        "nvcc": nvcc[1] if nvcc else "",
        "g++": (command_output(os.environ.get("CXX") or "g++", "--version").splitlines() or [""])[0],
        "CPU": cpu(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "free disk": f"{shutil.disk_usage(ROOT).free / 1e9:.0f} GB",
        "Python": platform.python_version(),
        **versions,
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }
