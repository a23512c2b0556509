"""Mistakes of users, as opposed to bugs: scripts show the message and exit, without a traceback."""

import contextlib
import difflib
import errno
import os
import reprlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from . import streams
from .commands import as_called


class UserError(Exception):
    """Something the user can mend. The message names it, what was expected, and what was given."""

    status = 1  # with which a script ends


class TryAgainError(UserError):
    """Something that has passed when the same command is started again."""

    status = 75  # EX_TEMPFAIL of sysexits.h


class Problems:
    """Gathers user errors, so that all of them are shown at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextlib.contextmanager
    def gather(self, name: str = "") -> Iterator[None]:
        """A UserError ends the block only, and is kept. name: of a flag, put before each line of its message."""
        try:
            yield
        except UserError as error:
            self.messages.extend(f"{name}: {line}" if name else line for line in str(error).splitlines())

    def report(self) -> None:
        """Raises a UserError of everything gathered, each message once; does nothing where there is none."""
        if self.messages:
            raise UserError("\n".join(dict.fromkeys(self.messages)))


def listed(problems: Sequence[str], most: int) -> list[str]:
    """The first problems, at most so many, and in one more line how many there are besides."""
    more = [f"... and {len(problems) - most} more"] if len(problems) > most else []
    return [*problems[:most], *more]


def counted(number: int, what: str) -> str:
    """'1 class', '2 classes'."""
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}{plural if number != 1 else ''}"


def short(value: Any, most: int = 80) -> str:
    """`repr` of a value that comes from a file, cut to so many characters: printable, and soon done whatever it is.

    A few nested tuples that share their parts have a `repr` of gigabytes.
    """
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    text = _SHORT.repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3  # of 20 items each
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 20
_SHORT.maxstring = _SHORT.maxother = 200


def printable(text: str, most: int = 200) -> str:
    """A text that comes from a file or a server, as it can be printed: in one line, and cut to so many characters.

    What is not printable is escaped as in Python, such as \\x1b with which commands to terminals begin.
    """
    cut = text if len(text) <= most else f"{text[: most - 3]}..."
    return cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


def reason_of(error: BaseException, most: int = 200, with_kind: bool = False) -> str:
    """What the error of a library says, as it can be printed: in one line, cut to so many characters; else its kind.

    with_kind: 'ValueError: what it says'.
    """
    kind, text = type(error).__name__, printable(" ".join(str(error).split()), most)
    return f"{kind}: {text}" if with_kind and text else text or kind


def enumerated(names: Sequence[str], most: int) -> str:
    """The first of some names, at most so many, with commas between and as they can be printed, and how many more."""
    return ", ".join(map(printable, listed(names, most)))


def did_you_mean(name: object, known: Iterable[str], most: int = 1, cutoff: float = 0.6) -> str:
    """' (did you mean config-e or config-f?)', or nothing if no known name is near. Case does not matter.

    Args:
        name: that does not exist.
        known: names that do.
        most: how many of them to offer, at most.
        cutoff: how near they must be, from 0 to 1.
    """
    by_lower = {other.lower(): other for other in sorted(known)}
    close = difflib.get_close_matches(str(name)[:200].lower(), by_lower, most, cutoff)
    return f" (did you mean {' or '.join(by_lower[other] for other in close)}?)" if close else ""


_OF_FILES = {os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was not enough, of the computer or of a GPU.

    TensorFlow, which is not imported here, has one error for that and for full disks.
    """
    exhausted = type(error).__name__ == "ResourceExhaustedError"
    return isinstance(error, MemoryError) or (exhausted and not any(text in str(error) for text in _OF_FILES))


@contextlib.contextmanager
def exits_on_user_error(saves_memory: str | None = None) -> Iterator[None]:
    """Around the main function of a script: user errors end it with `Error: ...` on stderr and exit status 1.

    saves_memory: the flag that does when it is smaller.
    """
    with streams.tolerant():
        stdout = sys.stdout
        try:
            yield
            stdout.flush()
        except UserError as error:
            _exit(str(error), error.status)
        except BrokenPipeError:  # the reader of our output, such as `head`, has gone
            sys.exit(1)
        except OSError as error:  # unwritable folders, full disks
            place = f"{os.fspath(error.filename)}: " if isinstance(error.filename, (str, os.PathLike)) else ""
            _exit(place + (error.strerror or str(error)))
        except Exception as error:
            if is_out_of_memory(error):
                _exit("out of memory" + (f"; use a smaller {saves_memory}" if saves_memory else ""))
            if type(error).__name__ == "ResourceExhaustedError":
                _exit(str(error).splitlines()[0])
            raise
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            sys.exit(130)


_MOST_LINES = 36
_MOST_CHARACTERS = 2000  # in a line


def lines_of(message: str) -> list[str]:
    """The lines of a user error, in which there may be anything that files hold, as they can be printed."""
    lines = as_called(message).split("\n")
    return listed([printable(line, _MOST_CHARACTERS) for line in lines], _MOST_LINES - 1)


def _exit(message: str, status: int = 1) -> None:
    print("\n".join(lines_of(f"Error: {message}")), file=sys.stderr)
    sys.exit(status)
