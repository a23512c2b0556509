"""Reads all images of a data set once, at the start of a training: opening it looks at headers only.

Small sets are checked ahead, in a few seconds. The rest of larger ones is checked in the background of the training, by
a thread that leaves the processor to others. Nothing of it has an influence on what is trained.
"""

import os
import threading
import time
from typing import Any

from dnnlib.errors import UserError, listed, printable
from dnnlib.network_drives import gave_up
from dnnlib.parallel import parallel_map
from dnnlib.progress import Progress

SECONDS_AHEAD = 10.0
"""For what is checked before a training starts."""
_SECONDS_AT_THE_END = 60.0  # for what is left when a training has met an image that it cannot read
_SECONDS_TO_RECOVER = 60.0  # for a drive of which nothing can be read
_SHARE = 8  # in the background, one core of so many is busy
_MAX_DAMAGED = 1000  # of more, the data set cannot be read at all
_MAX_LISTED = 30


class ImageCheck:
    """A check of the first `count` images of a source, once."""

    def __init__(self, source: Any, count: int):
        self._source = source
        self._levels = source.levels if source.looks_at_headers_only else []
        self._total = count * len(self._levels)
        self._count = count
        self._done = 0
        self._problems: list[str] = []
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def ahead(self, seconds: float | None = None) -> None:
        """Checks images for so many seconds, by all threads. Raises UserError as `go_on` does.

        seconds: None: `SECONDS_AHEAD`.
        """
        if not self._total:
            return
        print("Checking images...")
        self._check_for(SECONDS_AHEAD if seconds is None else seconds)
        if self._done < self._total:
            print(f"{self._done} of {self._total} images are checked; the others will be in the background.")
        self._report()

    def go_on(self) -> None:
        """Goes on in the background. Raises UserError that names all images that cannot be read, once all are checked.

        To be called again and again.
        """
        if self._thread is None and self._done < self._total:
            self._thread = threading.Thread(target=self._work, name="image check", daemon=True)
            self._thread.start()
        self._report()

    def finish(self, problem: str) -> None:
        """To be called when an image cannot be read: checks the rest, and raises UserError that names all.

        problem: what is wrong with that image; nothing is raised unless the check finds something, too.
        """
        self.close()
        if gave_up():  # it is not the image
            return
        self._check_for(_SECONDS_AT_THE_END)
        if self._problems:
            known = any(found in problem for found in self._problems)
            self._problems = self._problems if known else [problem, *self._problems]
            self._raise()

    def close(self) -> None:
        """Stops checking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=60)

    # ----------------------------------------------------------------------------

    def _problem(self, number: int) -> str | None:
        return self._source.problem_of(number % self._count, self._levels[number // self._count])

    def _note(self, problem: str | None) -> None:
        self._problems += [problem] if problem else []
        self._done += 1

    def _check_for(self, seconds: float) -> None:
        """Checks images by all threads, showing progress."""
        end = time.monotonic() + seconds
        with Progress(self._total, "images", initial=self._done) as progress:
            for problem in parallel_map(self._problem, range(self._done, self._total)):
                self._note(problem)
                progress.update(1)
                if time.monotonic() > end or len(self._problems) >= _MAX_DAMAGED:
                    break

    def _work(self) -> None:
        busy = min(1.0, (os.cpu_count() or 1) / _SHARE)  # of the time
        while self._done < self._total and len(self._problems) < _MAX_DAMAGED:
            begin = time.monotonic()
            problem = self._problem(self._done)
            if self._stop.wait((time.monotonic() - begin) * (1 / busy - 1)):
                return
            if problem and gave_up():  # is it the image, or the drive?
                if self._stop.wait(_SECONDS_TO_RECOVER):
                    return
                if gave_up():
                    continue
                problem = self._problem(self._done)
            self._note(problem)

    def _report(self) -> None:
        if self._problems and (self._done == self._total or len(self._problems) >= _MAX_DAMAGED):
            self._raise()

    def _raise(self) -> None:
        of = f"{self._done}" + (f" checked ones of {self._total}" if self._done < self._total else "")
        lines = [printable(problem) for problem in self._problems]
        if len(lines) > _MAX_LISTED:  # errors are cut short: all of them are in the log
            print("\n".join(["Images that cannot be read:", *lines]))
        head = f"{self._source.path}: {len(lines)} of {of} images cannot be read:"
        advice = "Replace them by whole ones, or remove them; --resume-changed-data then goes on with a training."
        raise UserError("\n".join([head, *(f"  {line}" for line in listed(lines, _MAX_LISTED)), advice]))
