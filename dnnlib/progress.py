"""How far long work is, how fast, and how long it will take."""

import sys
import time
from collections.abc import Callable

from .util import format_time


class Progress:
    """Says now and then how far a job is, how fast, and how long it will take.

    The first update is left out of the speed: it includes starting up.
    """

    def __init__(self, total: int, unit: str, interval: float = 10.0):
        self.total = total
        self.unit = unit
        self.interval = interval
        self.done = 0
        self.start = self.last_report = time.time()
        self.first: tuple[float, int] | None = None  # time and count after the first update

    def update(self, count: int, note: Callable[[], str] | None = None, due: bool = False) -> None:
        """Counts some more as done. note: what else to say, asked only when something is said. due: say it now."""
        self.done += count
        now = time.time()
        if self.first is None:
            self.first = now, self.done
        elif (due or now - self.last_report >= self.interval) and self.done < self.total:
            self.last_report = now
            rate = self._rate(now)
            left = format_time((self.total - self.done) / rate) if rate else "?"
            said = f"{note()}, " if note else ""
            print(f"{self.done}/{self.total} {self.unit}, {said}{rate:.2f} {self.unit}/s, {left} left", file=sys.stderr)

    def finish(self) -> None:
        """Says how many and how fast."""
        now = time.time()
        speed = f", then {self._rate(now):.2f} {self.unit}/s" if self._rate(now) else ""
        first = f" (first after {self.first[0] - self.start:.1f}s{speed})" if self.first else ""
        print(f"{self.done} {self.unit} in {now - self.start:.1f}s{first}", file=sys.stderr)

    def _rate(self, now: float) -> float:
        if self.first is None or self.done == self.first[1] or now <= self.first[0]:
            return 0.0
        return (self.done - self.first[1]) / (now - self.first[0])
