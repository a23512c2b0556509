"""stdout and stderr, whatever they are: terminals that go away, pipes nobody reads, cells of a notebook, nothing."""

import contextlib
import errno
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

_NO_TERMINAL = (errno.EIO, errno.EBADF, errno.ENXIO)  # what writing to one that was closed gives


# Commands to terminals, all but those of progress bars (carriage return, line up), and marks that turn the direction of
# writing, by which a text looks like another.
_ACTS = re.compile(
    "\x1b(?!\\[A)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def harmless(text: str) -> str:
    """A text that does nothing to a terminal but to show it: what would is escaped as in Python, such as \\x1b."""
    return _ACTS.sub(lambda match: ascii(match[0])[1:-1], text)


class Tolerant:
    """A stream of text that is given up when it fails: work does not end because a terminal or a reader is gone.

    Characters that the stream cannot encode, and those that make terminals do something, are escaped: names of files
    and what is in files may have them.

    Args:
        stream: anything with `write`; None: there is none.
        must_arrive: raise OSError when a reader is gone or a disk is full: what is written is what a program is for.
    """

    def __init__(self, stream: Any, must_arrive: bool = False):
        self.stream = stream
        self.must_arrive = must_arrive
        self.is_gone = stream is None

    def write(self, text: str) -> int:
        """Writes text. Returns its length, as streams do."""
        self._attempt(self._write, text)
        return len(text)

    def _write(self, text: str) -> None:
        text = harmless(text)
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            self.stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))

    def flush(self) -> None:
        """Flushes the stream."""
        self._attempt(getattr(self.stream, "flush", lambda: None))

    def _attempt(self, function: Callable[..., Any], *args: Any) -> None:
        if self.is_gone:
            return
        try:
            function(*args)
        except BlockingIOError:  # it takes no more for the moment
            pass
        except (OSError, ValueError) as error:  # ValueError: it was closed
            reason = getattr(error, "strerror", None) or str(error)
            self.give_up(reason)
            if self.must_arrive and isinstance(error, OSError) and error.errno not in _NO_TERMINAL:
                raise OSError(error.errno, reason, "stdout") from None

    def give_up(self, reason: str) -> None:
        """From now on writes nowhere, also what the stream holds back until the process ends."""
        self.is_gone = True
        with contextlib.suppress(AttributeError, OSError, ValueError):  # of streams without a descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def close(self) -> None:
        """Nothing: libraries that keep stderr close it at exit."""

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        with contextlib.suppress(AttributeError, ValueError):
            return not self.is_gone and self.stream.isatty()
        return False

    @property
    def encoding(self) -> str:
        """Encoding of the stream."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def fileno(self) -> int:
        """The file descriptor of the stream. Raises OSError where it has none."""
        return self.stream.fileno()


@contextlib.contextmanager
def tolerant() -> Iterator[None]:
    """Inside, scripts can print whatever stdout and stderr are. OSError is raised for stdout in a pipe or file only.

    Descriptors that are closed from the start lead nowhere: the next file opened would get their numbers, and with them
    what libraries write to stderr.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Tolerant(sys.stdout, must_arrive=True), Tolerant(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def need_not_arrive() -> None:
    """From now on stdout may fail like stderr: what is printed is not what the script is for."""
    if isinstance(sys.stdout, Tolerant):
        sys.stdout.must_arrive = False


@contextlib.contextmanager
def hidden_notes(show_failures: bool = True) -> Iterator[None]:
    """Inside, nothing is written to stderr, by libraries of C++ either. TF_CPP_MIN_LOG_LEVEL=0 shows it nevertheless.

    show_failures: show what was written if an exception ends it, whose message does not say all.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            if show_failures:
                notes.seek(0)
                os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
