"""Reading what files of others hold, in a process of its own with little memory and time."""

import contextlib
import io
import os
import resource
import signal
import traceback
from collections.abc import Callable


def within(
    function: Callable[[], object], seconds: float = 5, megabytes: int = 400, errors: tuple[type[Exception], ...] = ()
) -> str:
    """Calls a function in a forked process. Returns the message of the error that it raises, '' for none.

    What it prints counts as part of the message. Fails for other errors than these, and where it takes longer, of
    a processor's time, or more memory than it may beyond what this process has.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        with contextlib.suppress(BaseException), os.fdopen(write_end, "w", errors="backslashreplace") as pipe:
            pipe.write(_outcome(function, seconds, megabytes, errors))
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, errors="backslashreplace") as pipe:
        outcome = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert outcome, f"no answer within {seconds} s (status {status})"
    assert outcome[0] == "+", outcome[1:]
    return outcome[1:]


def _outcome(function: Callable[[], object], seconds: float, megabytes: int, errors: tuple) -> str:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), resource.RLIM_INFINITY))
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            function()
        return "+" + printed.getvalue()
    except errors as error:
        return f"+{printed.getvalue()}{error}"
    except BaseException:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        return "-" + traceback.format_exc()
