"""Processes of parts: begun ahead, so that they have imported TensorFlow when the device is free; ended at a limit."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .plan import Part
from .records import Record

ROOT = Path(__file__).resolve().parents[2]
_LAST_LINES = 3  # of what a part printed, which tell why it failed


class PartProcess:
    """A part that has been begun and waits until it may use the device.

    log: what the part prints is appended to it.
    """

    def __init__(self, part: Part, small: bool, goldens: str | None, log: Path):
        self.part, self.log = part, log
        function, kwargs = part.call(small, goldens)
        command = [sys.executable, "-m", "tools.report.part", function, json.dumps(kwargs)]
        command += [] if small else ["needs-gpu"]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1")}
        self._file: IO[bytes] = open(log, "ab")  # noqa: SIM115
        self._begin = log.stat().st_size
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **quiet, **part.env},
            stdin=pipe,
            stdout=pipe,
            stderr=self._file,
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line.decode(errors="replace"))
        self._lines.put(None)

    def run(self, limit: float, on_record: Callable[[Record], None]) -> str:
        """Lets it run for at most `limit` seconds; why it did not come to its end, or nothing."""
        end = time.monotonic() + limit
        with contextlib.suppress(OSError):  # it has failed already
            self.process.stdin.write(b"go\n")
            self.process.stdin.flush()
        while (left := end - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                code = self.process.wait()
                return "" if code == 0 else f"ended with status {code}: {self._reason()}"
            if line.endswith("\n"):  # else it was killed in the middle of it
                on_record(Record.of_line(line))
        return f"stopped after {limit:.0f} s"

    def _reason(self) -> str:
        with open(self.log, "rb") as file:
            file.seek(self._begin)
            lines = file.read().decode(errors="replace").strip().splitlines()
        return " / ".join(line.strip()[:300] for line in reversed(lines[-_LAST_LINES:]) if line.strip())

    def end(self) -> None:
        """Kills whatever still runs of it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._file.close()
