"""The processor of this machine, in words."""

import contextlib
import os
import platform


def cpu() -> str:
    """The processor, how many cores may be used, and what it has of vector extensions."""
    facts = {}
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in file)}
    model = facts.get("model name", platform.processor() or platform.machine())
    known = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")
    flags = [name for name in known if name in facts.get("flags", "").split()]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {usable} cores ({', '.join(flags) or 'no vector extensions known here'})"
