"""The state of a run in progress: its log file, start time and files."""

import datetime
import os
import pprint
import time
from types import TracebackType
from typing import Any, ClassVar


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

    def __init__(self, submit_config: Any, config_module: Any = None):
        RunContext._current = self
        self.submit_config = submit_config
        self.should_stop_flag = False
        self.has_closed = False
        self.start_time = time.time()
        self.last_update_time = time.time()
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
        return time.time() - self.last_update_time

    def get_time_since_start(self) -> float:
        """Seconds since the run started."""
        return time.time() - self.start_time

    def get_last_update_interval(self) -> float:
        """Seconds between the last two updates."""
        return getattr(self, "last_update_interval", 0.0)

    def update(self, loss: float = 0, cur_epoch: int = 0, max_epoch: int | None = None) -> None:
        """Marks progress. The arguments exist for official callers."""
        now = time.time()
        self.last_update_interval, self.last_update_time = now - self.last_update_time, now

    def should_stop(self) -> bool:
        """Whether the run has been asked to stop."""
        return self.should_stop_flag

    def close(self) -> None:
        """Writes the end time. Called once, at the end of the run."""
        if not self.has_closed:
            self.run_txt_data["stop_time"] = datetime.datetime.now().isoformat(sep=" ")
            self._write_run_txt()
            self.has_closed = True
            RunContext._current = None

    def _write_run_txt(self) -> None:
        with open(os.path.join(self.submit_config.run_dir, "run.txt"), "w", encoding="utf-8") as file:
            pprint.pprint(self.run_txt_data, stream=file, width=200)
