"""Signals that ask a training to stop: by people, by terminals that close, and by clusters whose time is over."""

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

from dnnlib import RunContext

_ASKING = ("SIGINT", "SIGTERM")  # heard in any case
_WARNING = ("SIGHUP", "SIGBREAK", "SIGUSR1", "SIGUSR2", "SIGXCPU")  # unless ignored, as by nohup, or of other use
_GRACE_SECONDS = 1.0  # in which a signal is no second one: supervisors signal a process and its group


class StopAtOnce(KeyboardInterrupt):
    """Ctrl-C again while a training is stopping: nothing more is saved."""


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """Inside, the first signal that asks to stop is noted in the list that this context gives.

    Metrics in progress end then. Another Ctrl-C after a second raises StopAtOnce, wherever the program is. Outside of
    the main thread there are no signals.
    """
    received: list[int] = []
    previous: dict[int, Any] = {}
    first_at = 0.0

    def note(signum: int, _frame: Any) -> None:
        nonlocal first_at
        if not received:
            received.append(signum)  # and print nothing: the terminal may be gone
            first_at = time.monotonic()
            if RunContext.is_in_progress():
                RunContext.get().should_stop_flag = True
        elif signum == signal.SIGINT and time.monotonic() - first_at > _GRACE_SECONDS:
            raise StopAtOnce

    for name in (*_ASKING, *_WARNING):
        signum = getattr(signal, name, None)  # which exist depends on the system
        if signum is not None and (name in _ASKING or signal.getsignal(signum) == signal.SIG_DFL):
            with contextlib.suppress(ValueError):  # not in the main thread
                previous[signum] = signal.signal(signum, note)
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
