"""How far long work is, how fast, and how long it will take."""

import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from .streams import Tolerant


class Progress(tqdm):
    """tqdm's bar on terminals; where stderr is none, as in logs, a line now and then.

    The first update is left out of the speed: it includes starting up.

    Args:
        total: how much there is to do; None where nobody knows.
        unit: what is counted, in the plural.
        interval: seconds between lines.
        desc: what is done, in front of it.
        kwargs: arguments of tqdm, such as initial, unit_scale, disable.
    """

    monitor_interval = 0  # no thread that looks after bars which are updated rarely

    def __init__(self, total: int | None, unit: str, interval: float = 10.0, desc: str = "", **kwargs: Any):
        self._note: Callable[[], str] | None = None
        self._begin = time.perf_counter()
        self._first: float | None = None  # seconds until the first update was made
        kwargs = {"leave": False, "miniters": 1, "smoothing": 0, "dynamic_ncols": True, **kwargs}
        if not Tolerant(sys.stderr).isatty():
            line = "{desc}{n_fmt}/{total_fmt}{unit}{note}{speed}"
            kwargs.update(file=_Lines(), mininterval=interval, delay=interval, bar_format=line)
        super().__init__(total=total, desc=desc and f"{desc}: ", unit=f" {unit}", **kwargs)
        self._time = time.monotonic  # in place of a clock that may be set
        self.start_t = self.last_print_t = self._time()

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm fills into its format, with what is our own."""
        facts = super().format_dict
        note = f", {self._note()}" if self._note else ""
        speed = ""
        if rate := self._rate(facts):
            count = tqdm.format_sizeof(rate) if self.unit_scale else f"{rate:.2f}"
            left = f", {tqdm.format_interval((self.total - self.n) / rate)} left" if self.total else ""
            speed = f", {count}{self.unit}/s{left}"
        return {**facts, "note": note, "speed": speed, "postfix": note.removeprefix(", ") or None}

    @staticmethod
    def _rate(facts: dict[str, Any]) -> float:
        return (facts["n"] - facts["initial"]) / facts["elapsed"] if facts["elapsed"] else 0.0

    def update(self, n: float = 1, note: Callable[[], str] | None = None, due: bool = False) -> None:
        """Counts some more as done. note: what else to say, asked only when something is said. due: say it now."""
        if self.disable:
            return
        self._note = note
        if self._first is None:
            self._first = time.perf_counter() - self._begin
            self.n += n
            self.initial, self.start_t = self.n, self._time()
        else:
            super().update(n)
            if due and self.n != self.total:
                self.refresh()
                self.last_print_t = self._time()

    def finish(self) -> None:
        """Says how many and how fast."""
        speed = self._rate(self.format_dict)
        self.close()
        then = f", then {speed:.2f}{self.unit}/s" if speed else ""
        first = f" (first after {self._first:.1f}s{then})" if self._first is not None else ""
        _Lines().write(f"{self.n}{self.unit} in {time.perf_counter() - self._begin:.1f}s{first}")


class _Lines:
    """What tqdm draws over and over, as lines of stderr."""

    def __init__(self) -> None:
        self._stream = Tolerant(sys.stderr)

    def write(self, text: str) -> None:
        if text.strip():
            self._stream.write(f"{text.strip()}\n")

    def flush(self) -> None:
        self._stream.flush()
