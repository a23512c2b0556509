"""The state of a run in progress: its log file, start time and files."""

import datetime
import os
import pprint
import sys
import time
from types import TracebackType
from typing import Any, ClassVar

from dnnlib.files import atomic_write


class Stopped(BaseException):
    """Work ended early because the run was asked to stop. Not an Exception: nothing has failed."""


class RunContext:
    """Opened when a run starts: prints go to log.txt, too; run.txt tells start and end; _finished.txt tells success."""

    _current: ClassVar["RunContext | None"] = None

    @staticmethod
    def get() -> "RunContext":
        """The run in progress. Raises RuntimeError if there is none."""
        if RunContext._current is None:
            raise RuntimeError("no run is in progress: start it with dnnlib.submit_run")
        return RunContext._current

    @staticmethod
    def is_in_progress() -> bool:
        """Whether there is a run in progress."""
        return RunContext._current is not None

    def __init__(self, submit_config: Any, config_module: Any = None):
        RunContext._current = self
        self.submit_config = submit_config
        self.should_stop_flag = False
        self.has_closed = False
        self.start_time = self.last_update_time = time.monotonic()
        self.run_txt_data = {
            "task_name": submit_config.task_name,
            "host_name": submit_config.host_name,
            "start_time": datetime.datetime.now().isoformat(sep=" "),
        }
        self._write_run_txt()

    def __enter__(self) -> "RunContext":
        return self

    def __exit__(self, exc_type: type | None, exc_value: Exception | None, traceback: TracebackType | None) -> None:
        self.close()

    def get_time_since_last_update(self) -> float:
        """Seconds since `update` was called."""
        return time.monotonic() - self.last_update_time

    def get_time_since_start(self) -> float:
        """Seconds since the run started."""
        return time.monotonic() - self.start_time

    def get_last_update_interval(self) -> float:
        """Seconds between the last two updates."""
        return getattr(self, "last_update_interval", 0.0)

    def update(self, loss: float = 0, cur_epoch: int = 0, max_epoch: int | None = None) -> None:
        """Marks progress. The arguments exist for official callers."""
        now = time.monotonic()
        self.last_update_interval, self.last_update_time = now - self.last_update_time, now

    def should_stop(self) -> bool:
        """Whether the run has been asked to stop."""
        return self.should_stop_flag

    def close(self) -> None:
        """Writes the end time, if the disk has room. Called once, at the end of the run."""
        if not self.has_closed:
            self.run_txt_data["stop_time"] = datetime.datetime.now().isoformat(sep=" ")
            try:
                self._write_run_txt()
            except OSError as error:
                print(f"{error.filename}: {error.strerror}; the end of the run is not in it", file=sys.stderr)
            self.has_closed = True
            RunContext._current = None

    def _write_run_txt(self) -> None:
        with atomic_write(os.path.join(self.submit_config.run_dir, "run.txt")) as file:
            file.write(pprint.pformat(self.run_txt_data, width=200).encode("utf-8", "backslashreplace") + b"\n")
