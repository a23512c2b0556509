"""A process that watches while Python stands still: TensorFlow's workers connect without letting other threads run.

Where a worker is gone by then, TensorFlow waits for it for an hour, and the thread of the watch with it. This process
sees that a connection has been closed by the other side, tells, and kills.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

_GRACE_SECONDS = 9.0  # more than the watch takes, if it can
_MOST_SECONDS = 120.0  # for all of it: of a machine that is gone nothing is seen

# Arguments: the process, seconds as above, what to say if it takes too long; then a descriptor and what to say of it,
# and so on. It ends when stdin does.
_PROGRAM = """
import os, select, signal, sys, time
process, grace, most, late, *rest = sys.argv[1:]
words = dict(zip(map(int, rest[::2]), rest[1::2]))
end, others = select.poll(), select.poll()
end.register(0, select.POLLIN)
for descriptor in words:
    others.register(descriptor, getattr(select, "POLLRDHUP", 0))
until = time.monotonic() + float(most)
while time.monotonic() < until:
    if end.poll(200):
        sys.exit()
    if gone := others.poll(0):
        if end.poll(int(1000 * float(grace))):
            sys.exit()
        late = words[gone[0][0]]
        break
print("Error: " + late, file=sys.stderr, flush=True)
os.kill(int(process), signal.SIGKILL)
"""


@contextlib.contextmanager
def guarding(words: Mapping[int, str], late: str) -> Iterator[None]:
    """Inside, this process is killed where the other side of a connection hangs up, or if it takes too long.

    words: what to say then, by the descriptor of the connection. late: what to say if it takes too long.
    """
    if not words or os.name != "posix":
        yield
        return
    arguments = [str(argument) for pair in words.items() for argument in pair]
    head = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(os.getpid()), str(_GRACE_SECONDS), str(_MOST_SECONDS), late]
    process = subprocess.Popen([*head, *arguments], stdin=subprocess.PIPE, pass_fds=list(words))
    try:
        yield
    finally:
        process.stdin.close()
        process.wait()
