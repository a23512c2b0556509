"""Reading from file systems of networks, which stumble: what cannot be read at once is tried again."""

import errno
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

PAUSES = (1, 2, 4, 8, 16, 30)
"""Seconds between attempts to read."""
_NAMES_OF_PASSING = ("EIO", "ESTALE", "ETIMEDOUT", "EREMOTEIO", "ENOTCONN", "ECONNRESET", "ECONNABORTED", "EAGAIN")
_NAMES_OF_PASSING += ("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET")
_PASSING = {getattr(errno, name, None) for name in _NAMES_OF_PASSING} - {None}  # Windows lacks some
_speaking = threading.Lock()  # of the thread that says what it waits for
_given_up = threading.Event()  # until something can be read again
_Result = TypeVar("_Result")


def gave_up() -> bool:
    """Whether `persistently` has given up, and nothing could be read since."""
    return _given_up.is_set()


def persistently(read: Callable[[], _Result]) -> _Result:
    """What a function reads, called again after growing pauses if an error of the file system may pass.

    When one call has been given up, others do not wait any more, until something can be read again. One of several
    threads that wait says so on stderr. Raises what the function does.
    """
    speaks = False
    try:
        for pause in (*PAUSES, None):
            try:
                result = read()
            except OSError as error:
                if error.errno not in _PASSING or _given_up.is_set():
                    raise
                if pause is None:
                    _given_up.set()
                    raise
                speaks = speaks or _speaking.acquire(blocking=False)
                if speaks:
                    where = f"{error.filename}: " if error.filename else ""
                    print(f"{where}{error.strerror}; trying again in {pause} s", file=sys.stderr)
                time.sleep(pause)
            else:
                _given_up.clear()
                if speaks:
                    print("It can be read again.", file=sys.stderr)
                return result
    finally:
        if speaks:
            _speaking.release()
    raise AssertionError("the last attempt returns or raises")
