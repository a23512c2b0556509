"""What a run does right now, for whoever watches over it: `heartbeat.json`, written every ten seconds, whole or not.

No TensorFlow: it beats while that is busy, and is read by programs that start nothing.
"""

import contextlib
import json
import os
import socket
import threading
import time
from types import TracebackType
from typing import Any

from dnnlib.errors import UserError, printable
from dnnlib.files import atomic_write

NAME = "heartbeat.json"
VERSION = 1
_SECONDS = 10.0
_PATIENCE_SECONDS = 25.0  # two beats and some
_ENDS = ("finished", "stopped", "failed")


class Heartbeat:
    """Beats inside of a `with` block, in a thread of its own; then says how the block has ended.

    Args:
        run_dir: the run folder; None: nothing is written (workers other than the first).
        total_kimg: length of the training.
    """

    def __init__(self, run_dir: str | None, total_kimg: float):
        self.counters: Any = None  # of the run, a `training.loop.counters.Counters`, once it has them
        self._path = None if run_dir is None else os.path.join(run_dir, NAME)
        self._total_kimg = total_kimg
        self._doing, self._ended = "starting", False
        self._seen: Any = None
        self._seen_at = time.monotonic()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        if self._path is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        stopped = kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit))
        self._doing = "stopped" if stopped else "finished" if kind is None else "failed"
        self._ended = True
        self._wake.set()
        if self._path is not None:
            self._thread.join()

    def doing(self, what: str) -> None:
        """Says what the run does from now on."""
        if what != self._doing and not self._ended:
            self._doing = what
            self._wake.set()

    def _beat(self) -> None:
        ended = False
        while not ended:
            self._wake.clear()  # first: what comes while it is written, which may be slow, is written then
            ended = self._ended
            with contextlib.suppress(OSError), atomic_write(self._path) as file:  # a full disk: there is no room for it
                file.write(json.dumps(self._facts(), indent=1).encode() + b"\n")
            if not ended:
                self._wake.wait(_SECONDS)

    def _facts(self) -> dict[str, Any]:
        c, now = self.counters, time.monotonic()
        facts = {"doing": self._doing, "total_kimg": self._total_kimg}
        if c is not None:
            facts |= {"kimg": c.cur_nimg / 1000, "tick": c.cur_tick, "sec_per_kimg": round(c.sec_per_kimg, 3)}
        if facts != self._seen:
            self._seen, self._seen_at = facts, now
        of_process = {"version": VERSION, "timestamp": time.time(), "host": socket.gethostname(), "pid": os.getpid()}
        return {**of_process, **facts, "unchanged_sec": round(now - self._seen_at, 1)}


def check_not_elsewhere(run_dir: str) -> None:
    """Waits for two beats if the last one is of another machine, where file systems may not know of our locks.

    Raises UserError if it still beats there.
    """
    then = _read(run_dir)
    if then is None or then.get("doing") in _ENDS or then.get("host") in (None, socket.gethostname()):
        return
    print(
        f"{run_dir}: waiting {_PATIENCE_SECONDS:g} seconds to see if it still is in use ({told(run_dir)})...",
        flush=True,
    )
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        time.sleep(min(1.0, _PATIENCE_SECONDS))
        now = _read(run_dir)
        if now is not None and now.get("timestamp") != then.get("timestamp"):
            if now.get("doing") in _ENDS:
                return
            raise UserError(f"{run_dir}: a run is in progress in this folder ({told(run_dir)})")


def told(run_dir: str) -> str:
    """What the heartbeat in a folder says, in words; '' if there is none."""
    facts = _read(run_dir)
    try:
        seen = time.strftime("%H:%M:%S", time.localtime(float(facts["timestamp"])))
        place = f" at kimg {float(facts['kimg']):g}" if "kimg" in facts else ""
        what = printable(f"process {facts['pid']} on {facts['host']}, {facts['doing']}")
        return f"{what}{place}, seen at {seen}"
    except (ValueError, KeyError, TypeError, OverflowError):
        return ""


def _read(run_dir: str) -> dict[str, Any] | None:
    try:
        with open(os.path.join(run_dir, NAME), encoding="utf-8") as file:
            facts = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None
