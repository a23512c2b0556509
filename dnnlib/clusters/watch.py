"""A watch over the workers of a cluster: when one is gone the others end, whatever they are doing.

TensorFlow notices some ways to go, in some phases; at other times its collective operations wait for ever, deaf to
signals. So the first worker keeps a connection to each of the others. Each side of it says every few seconds that it is
there; one that hangs up, or is silent for long because its machine is gone, is told to all.
"""

import contextlib
import os
import sys
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from dnnlib.errors import TryAgainError, UserError, enumerated, lines_of, printable

from . import guard
from .workers import Cluster, Line

_BEAT_SECONDS = 1.0
SILENCE_SECONDS = 35.0
"""After which a worker is given up. Python can be busy for long without letting threads run."""
POLL_SECONDS = 0.1
"""How often to look at what the watch has heard."""
_GRACE_SECONDS = 4.0  # for the main thread to end by itself, which has more to tidy up
_PRINT_SECONDS = 2.0  # what reads our output may have stopped
_LAST_WORDS = 300  # characters


class Watch:
    """Watches the other workers in a thread, from when they meet; the context of everything that needs them.

    With `cluster=None`, and of a cluster of one, there is nothing to watch.

    Attributes:
        advice: a sentence for the end of the message of a worker that ends because another is gone.
        signals: numbers of the signals that have asked this worker to stop, as they come. The first worker, which may
            be busy with metrics, is sent those of others.
    """

    def __init__(self, cluster: Cluster | None = None):
        self.cluster = cluster
        self.advice = "start all workers again"
        self.signals: list[int] | None = None
        self.said: dict[int, Any] = {}  # the options of others, as the first worker hears them
        self.answer: dict[str, Any] | None = None  # of the first worker, when all have met
        self._lines: dict[int, Line] = {}
        self._heard: dict[int, float] = {}
        self._done: set[int] = set()  # workers that need nobody any more
        self._changed = threading.Condition()
        self._gone: str | None = None
        self._kind: type[UserError] = TryAgainError  # of the error that this worker ends with then
        self._is_entered = self._told = self._closed = self._ending = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    # ------------------------------------------------------------------------
    # For the main thread.

    def add(self, number: int, line: Line) -> None:
        """Begins to watch a worker."""
        self._lines[number], self._heard[number] = line, time.monotonic()
        if not self._thread.is_alive():
            self._thread.start()

    def tell(self, message: dict[str, Any]) -> None:
        """Says something to all that are watched."""
        for line in list(self._lines.values()):
            with contextlib.suppress(OSError):
                line.send(message)

    @property
    def is_closed(self) -> bool:
        """Whether the watch has ended."""
        return self._closed

    @property
    def has_lost(self) -> bool:
        """Whether a worker is gone."""
        return self._gone is not None

    def check(self, seconds: float = 0.0) -> None:
        """Raises UserError if a worker is gone, or is found to be within some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._gone is not None, seconds)
        if self._gone is None:
            return
        if self._is_first_to_tell():
            raise self._error()
        threading.Event().wait()  # until the watch, which has told it, ends this process

    def guarding(self) -> AbstractContextManager[None]:
        """A context in which TensorFlow may not let threads run: a process takes the place of the watch's."""
        gone = "was killed, or its machine has failed. So this worker ends, too"
        words = {line.descriptor: f"{self.cluster.name(n)} {gone}; {self.advice}" for n, line in self._lines.items()}
        return guard.guarding(words, f"another worker does not answer; {self.advice}")

    def end_together(self) -> None:
        """To be called where nothing but files remains to be done, which are the first worker's business.

        The others wait until it has done that: TensorFlow is upset by workers that end early. From here on the first
        lets them go. Raises UserError if the first is gone.
        """
        self._ending = True
        if self._lines and self.cluster.index > 0:
            self.tell({"done": True})
            while 0 not in self._done:
                self.check(POLL_SECONDS)

    def close(self, error: BaseException | None = None) -> None:
        """Ends the watch, once. error: that ends this worker, which the others do not know of."""
        if self._closed:
            return
        if error is not None and self._gone is None and self.cluster is not None:
            words = str(error) if isinstance(error, (UserError, OSError)) else type(error).__name__
            words = enumerated(words.splitlines(), 1)
            again = isinstance(error, TryAgainError) or not isinstance(error, Exception)
            why = f"has ended: {printable(words, _LAST_WORDS)}"
            self.tell({"gone": self.cluster.index, "why": why, "again": again})
        self._told = True  # what ends this worker, or will be in a moment
        self._closed = True  # connections stay open as long as the process: it is there until then

    def __enter__(self) -> "Watch":
        self._is_entered = True
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._ending and (error is None or isinstance(error, (SystemExit, KeyboardInterrupt))):
            self.tell({"done": True})
            error = None
        self.close(error)

    # ------------------------------------------------------------------------
    # The thread.

    def _run(self) -> None:
        before = time.monotonic()
        while self._gone is None and not self._closed:
            now = time.monotonic()
            if now - before > 5 * _BEAT_SECONDS:  # this process was asleep, which is no silence of others
                self._heard = dict.fromkeys(self._heard, now)
            before = now
            self._beat()
            for number, line in list(self._lines.items()):
                self._hear(number, line, _BEAT_SECONDS / len(self._lines))
        while self._gone is not None and not self._is_entered:  # the main thread is not deaf: it will look for itself
            if self._closed:
                return
            time.sleep(POLL_SECONDS)
        if self._gone is None:
            return
        time.sleep(_GRACE_SECONDS)
        if self._is_first_to_tell():
            _print(str(self._error()))
            os._exit(self._error().status)
        time.sleep(_GRACE_SECONDS)
        os._exit(self._error().status)  # what ends may still wait for TensorFlow

    def _beat(self) -> None:
        self.tell({"signal": self.signals[0] if self.signals else 0})

    def _hear(self, number: int, line: Line, seconds: float) -> None:
        try:
            messages = line.receive(seconds)
        except (OSError, ValueError, EOFError):
            self._lose(number, "was killed, or its machine has failed")
            time.sleep(seconds)  # in place of waiting for a word
            return
        for message in messages:
            self._heard[number] = time.monotonic()
            if "options" in message:
                self.said[number] = message["options"]
            if "answer" in message:
                self.answer = message["answer"]
                self._closed = bool(self.answer["problem"])  # all end, and all know why
            if "done" in message:
                self._done.add(number)
            if "gone" in message:
                self._lose(message["gone"], message["why"], message["again"])
            if message.get("signal") and self.cluster.index == 0 and self.signals is not None and not self.signals:
                os.kill(os.getpid(), message["signal"])
        silence = time.monotonic() - self._heard[number]
        if silence > SILENCE_SECONDS:
            self._lose(number, f"has said nothing for {silence:.0f} seconds: it or the network has stopped")

    def _lose(self, number: int, why: str, again: bool = True) -> None:
        may_go = number in self._done or (self._ending and self.cluster.index == 0)
        if may_go or self._closed or self._gone is not None:
            return
        with self._changed:
            self._kind = TryAgainError if again else UserError
            self._gone = f"{self.cluster.name(number)} {why}"
            self._changed.notify_all()
        self.tell({"gone": number, "why": why, "again": again})

    def _is_first_to_tell(self) -> bool:
        """Whether nobody has told yet that a worker is gone: the main thread and the watch both do."""
        with self._changed:
            self._told, told = True, self._told
        return not told

    def _error(self) -> UserError:
        return self._kind(f"{self._gone}. So this worker ends, too; {self.advice}")


def _print(message: str) -> None:
    """Prints an error where somebody reads it; of nobody it waits for a moment only."""

    def write() -> None:
        with contextlib.suppress(Exception):
            print("\n".join(lines_of(f"Error: {message}")), file=sys.stderr, flush=True)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(_PRINT_SECONDS)
