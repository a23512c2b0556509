"""What people read while a network trains: the tick line, a live line on terminals, stats.jsonl, TensorBoard."""

import json
import os
import sys
import time
from typing import Any

from dnnlib.files import Log
from dnnlib.streams import Tolerant
from dnnlib.tflib.autosummary import autosummary, last_averages, save_summaries
from dnnlib.util import format_time

from .event_file import EventFile

_LIVE_SECONDS = 1.0


class TickReport:
    """Writes reports into a run folder.

    Args:
        run_dir: where; None: nowhere (workers other than the first).
        total_nimg: real images after which training ends.
        counters: of the run, which say where it is; its seconds are kept there, too, up to date after `count`.
    """

    def __init__(self, run_dir: str | None, total_nimg: float, counters: Any):
        self.run_dir = run_dir
        self.total_nimg = total_nimg
        self.counters = counters
        now = time.monotonic()
        self.start = now - counters.total_sec
        self.last_tick_end = now - counters.tick_sec
        self._maintained_since = now
        self._ticks = 0
        self._terminal = Tolerant(sys.__stderr__)
        self._live_at = 0.0
        self._live_width = 0
        self._events: EventFile | None = None
        self._stats: Log | None = None
        if run_dir is not None:
            self._events = EventFile(run_dir, self.say)
            self._stats = Log(os.path.join(run_dir, "stats.jsonl"), self.say)

    def count(self) -> None:
        """Counts the seconds of training so far, those of earlier processes included, and of the tick in progress."""
        now = time.monotonic()
        self.counters.total_sec, self.counters.tick_sec = now - self.start, now - self.last_tick_end

    def eta(self) -> str:
        """How long it will take, by the speed of the last tick."""
        left = max(self.total_nimg - self.counters.cur_nimg, 0) / 1000
        return format_time(left * self.counters.sec_per_kimg) if self.counters.sec_per_kimg else "?"

    def live(self, tick_kimg: float) -> None:
        """Shows on a terminal, in place, how far the tick is. tick_kimg: its length."""
        now = time.monotonic()
        if self.run_dir is None or now - self._live_at < _LIVE_SECONDS or not self._terminal.isatty():
            return
        self._live_at = now
        cur_nimg = self.counters.cur_nimg
        tick_nimg = cur_nimg - self.counters.tick_start_nimg
        rate = tick_nimg / max(now - self.last_tick_end, 1e-6)
        done = tick_nimg / (tick_kimg * 1000)
        text = f"kimg {cur_nimg / 1000:.2f}/{self.total_nimg / 1000:g}  tick {done:4.0%}  {rate:.1f} img/s"
        text += f"  eta {self.eta()}"
        self._live_width = max(self._live_width, len(text))
        self._terminal.write("\r" + text.ljust(self._live_width))
        self._terminal.flush()

    def clear_live(self) -> None:
        """Removes the live line, before something is printed."""
        if self._live_width:
            self._terminal.write("\r" + " " * self._live_width + "\r")
            self._terminal.flush()
            self._live_width = 0

    def say(self, line: str) -> None:
        """Prints a line between ticks."""
        self.clear_live()
        print(line, flush=True)

    def tick(self, tick_nimg: int, sched: Any, peak_gpu_mem_gb: float, augment_p: float | None = None) -> None:
        """Prints the line of a tick in which `tick_nimg` images were shown. augment_p: None where nothing augments."""
        self.clear_live()
        self.count()
        self._maintained_since = time.monotonic()
        c = self.counters
        sec_per_kimg = c.tick_sec / max(tick_nimg / 1000, 1e-9)
        if self._ticks:  # the first tick of a process compiles
            c.sec_per_kimg = sec_per_kimg
        self._ticks += 1
        augment = "" if augment_p is None else f"augment {autosummary('Progress/augment', augment_p):<6.3f} "
        print(
            f"tick {autosummary('Progress/tick', c.cur_tick):<5d} "
            f"kimg {autosummary('Progress/kimg', c.cur_nimg / 1000.0):<8.1f} "
            f"lod {autosummary('Progress/lod', sched.lod):<5.2f} "
            f"minibatch {autosummary('Progress/minibatch', sched.minibatch_size):<4d} "
            f"time {format_time(autosummary('Timing/total_sec', c.total_sec)):<12s} "
            f"sec/tick {autosummary('Timing/sec_per_tick', c.tick_sec):<7.1f} "
            f"sec/kimg {autosummary('Timing/sec_per_kimg', sec_per_kimg):<7.2f} "
            f"maintenance {autosummary('Timing/maintenance_sec', c.maintenance_sec):<6.1f} "
            f"gpumem {autosummary('Resources/peak_gpu_mem_gb', peak_gpu_mem_gb):<4.1f} "
            f"{augment}"
            f"eta {self.eta()}"
            + "".join(f" {tag.removeprefix('Metrics/')} {value:.4f}" for tag, value in _metrics().items()),
            flush=True,
        )
        autosummary("Timing/total_hours", c.total_sec / 3600)
        autosummary("Timing/total_days", c.total_sec / 86400)

    def finish_tick(self) -> None:
        """Writes all averages to TensorBoard and stats.jsonl, after whatever else the tick had to do."""
        values = _metrics() | save_summaries(self._events, self.counters.cur_nimg)
        if self._stats is not None:
            record = {"cur_nimg": self.counters.cur_nimg, "timestamp": time.time(), **values}
            self._stats.add(f"{json.dumps(record)}\n".encode())
        self.last_tick_end = time.monotonic()
        self.counters.maintenance_sec = self.last_tick_end - self._maintained_since

    def close(self) -> None:
        """Leaves the terminal as it was."""
        self.clear_live()


def _metrics() -> dict[str, float]:
    """The newest values of metrics, which are computed at snapshots only, by tag."""
    return {tag: value for tag, value in last_averages().items() if tag.startswith("Metrics/")}
