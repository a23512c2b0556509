"""What users wait for: the first tick of a training and the first image, with empty caches and a second time."""

import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image

from dnnlib.tflib.ops import build
from tools.benchmarks.generating import write_networks

from .records import Record, text

ROOT = Path(__file__).resolve().parents[2]
TITLE = "Start-up"
FIRST_TICK, FIRST_IMAGE = "first tick of run_training.py", "first image of run_generator.py"


def caches(folder: str) -> dict[str, str]:
    """An environment whose caches of compiled GPU code are in a folder; the built ops stay where they are."""
    own = {"CUDA_CACHE_PATH": f"{folder}/cuda", "XDG_CACHE_HOME": f"{folder}/cache", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, build.CACHE_VARIABLE: str(build.cache_dir()), **own}


def lines_until(command: list[str], cwd: str, env: dict[str, str], last: str, limit: float) -> list[tuple[float, str]]:
    """Runs a command until it prints a line that begins with `last`, and ends it. Its lines, and when they came (s).

    It is ended after `limit` seconds in any case.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    printed: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in process.stdout:
            printed.put(line.rstrip())
        printed.put(None)

    threading.Thread(target=read, daemon=True).start()
    found: list[tuple[float, str]] = []
    while (left := start + limit - time.perf_counter()) > 0:
        try:
            line = printed.get(timeout=left)
        except queue.Empty:
            break
        if line is None:
            break
        found.append((time.perf_counter() - start, line))
        if line.startswith(last):
            break
    for end in (signal.SIGTERM, signal.SIGKILL):
        process.send_signal(end)
        try:
            process.wait(5)
            break
        except subprocess.TimeoutExpired:
            continue
    return found


def _told(what: str, resolution: int, found: list[tuple[float, str]]) -> Iterator[Record]:
    """When the line of the first tick came, seconds per 1000 images of later ticks, and all lines with their times."""
    seconds = next((when for when, line in found if line.startswith("tick 0")), None)
    size = {"resolution": f"{resolution}x{resolution}"}
    yield Record(TITLE, {"what": what, **size, "s": seconds}, None if seconds is not None else False)
    rates = [re.search(r"sec/kimg ([\d.]+)", line) for _, line in found if re.match("tick [1-9]", line)]
    if rates and rates[-1]:
        yield Record(TITLE, {"what": f"{what}: tick {len(rates)}", **size, "sec/kimg": float(rates[-1][1])})
    shown = [f"{when:6.1f}  {line[:160]}" for when, line in found if line.strip()][-40:]
    yield text(f"Start-up: what was printed when, {what}", "```\n" + "\n".join(shown) + "\n```")


def first_tick(
    resolution: int = 256,
    minibatch: int = 32,
    precision: str = "fp16",
    limit: float = 80,
    tick_kimg: float = 0.5,
    flags: list[str] | None = None,
) -> Iterator[Record]:
    """From the command to the line of tick 0, config-f, twice; the second finds what the first left in the caches.

    tick_kimg: length of ticks; the second goes on to tick 2, which tells how fast it trains.
    """
    random = np.random.RandomState(1)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        images.mkdir()
        for number in range(64):
            small = random.randint(0, 256, [8, 8, 3]).astype(np.uint8)
            PIL.Image.fromarray(small).resize((resolution, resolution)).save(images / f"{number}.png")
        command = [sys.executable, str(ROOT / "run_training.py"), "--dataset=images", f"--data-dir={folder}"]
        command += ["--config=config-f", f"--precision={precision}", f"--minibatch={minibatch}"]
        command += [f"--minibatch-gpu={minibatch}", "--metrics=none", "--total-kimg=100"]
        command += ["--options=options.yaml", *(flags or [])]
        (Path(folder) / "options.yaml").write_text(
            f"sched_args: {{tick_kimg_base: {tick_kimg}, tick_kimg_dict: {{}}}}\n"
        )
        for time_of, last in (("empty caches", "tick 0"), ("second time", "tick 2")):
            found = lines_until(command, folder, caches(folder), last, limit)
            yield from _told(f"{FIRST_TICK}, {time_of}", resolution, found)


def first_image(resolution: int = 1024, config: str = "config-f", limit: float = 60) -> Iterator[Record]:
    """The whole process of run_generator.py generate-images with one seed, twice."""
    with tempfile.TemporaryDirectory() as folder:
        write_networks(f"{folder}/networks.pkl", config, resolution)
        command = [
            sys.executable,
            str(ROOT / "run_generator.py"),
            "generate-images",
            "--network=networks.pkl",
            "--seeds=1",
        ]
        for time_of in ("empty caches", "second time"):
            start = time.perf_counter()
            found = lines_until(command, folder, caches(folder), "\0", limit)
            seconds = time.perf_counter() - start
            there = any(Path(folder).rglob("seed0001.png"))
            cells = {"what": f"{FIRST_IMAGE}, {time_of}", "resolution": f"{resolution}x{resolution}"}
            yield Record(TITLE, {**cells, "s": seconds if there else None}, None if there else False)
            if not there:
                yield text(
                    f"{TITLE}: {FIRST_IMAGE} failed", "```\n" + "\n".join(line for _, line in found[-20:]) + "\n```"
                )
            for path in Path(folder).rglob("seed0001.png"):
                path.unlink()
