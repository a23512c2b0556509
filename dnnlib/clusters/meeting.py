"""Workers of a cluster meet before they train: all of them, with the same options.

TensorFlow waits for those that are missing as well, but without a word, without end and deaf to signals, and compares
nothing. So they meet before it does, at the address of the first. The connections stay, for the watch; the port is free
for TensorFlow.
"""

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from dnnlib.errors import TryAgainError, UserError, enumerated, listed, short

from .watch import POLL_SECONDS, Watch
from .workers import Cluster, Line, cluster, place

LIMIT_VARIABLE = "STYLEGAN2_WAIT_MINUTES"
_LIMIT_MINUTES = 30.0
_TELL_SECONDS = 60.0  # from one line about those that are missing to the next
_BUSY_SECONDS = 60.0  # for an earlier start of the same worker to end, which has the port
_HELLO_SECONDS = 5.0  # for the first words of whoever comes
_WELCOME_SECONDS = 30.0  # for the answer to them, as others may be before us


class Meeting:
    """Brings a worker together with the others, in a thread: at once, so that they hear of it when one is gone.

    watch: over those that have come.
    """

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.watch = Watch(cluster)
        self.error: UserError | None = None  # why this worker cannot come
        gather = self._receive_others if cluster.index == 0 else self._go_to_first
        self._thread = threading.Thread(target=gather, name="meeting", daemon=True)
        if len(cluster.workers) > 1:
            self._thread.start()

    def come(self, options: Mapping[str, Any], wait: "_Wait") -> str:
        """Waits for the others, and returns what is different in their options. Raises UserError."""
        return self._compare(options, wait) if self.cluster.index == 0 else self._hear(options, wait)

    def _check(self) -> None:
        self.watch.check(POLL_SECONDS)
        if self.error is not None:
            raise self.error

    # The first worker.

    def _receive_others(self) -> None:
        with _listening(self.cluster.workers[0], self.watch) as server:
            if isinstance(server, UserError):
                self.error = server
                return
            missing = set(range(1, len(self.cluster.workers)))
            while missing and not self.watch.is_closed:
                with contextlib.suppress(OSError, EOFError, ValueError, KeyError, TypeError):  # of whatever else comes
                    line = Line(server.accept()[0])
                    number = line.receive_one(_HELLO_SECONDS)["worker"]
                    if number in missing:
                        line.send({"welcome": number})
                        self.watch.add(number, line)
                        missing.remove(number)
                    elif number in range(len(self.cluster.workers)):
                        line.send({"refused": f"there is a {self.cluster.name(number)} already"})

    def _compare(self, options: Mapping[str, Any], wait: "_Wait") -> str:
        said = self.watch.said
        while missing := [number for number in range(1, len(self.cluster.workers)) if number not in said]:
            wait.go_on(missing)
            self._check()
        self._thread.join()  # the port is free
        problem = _differences({0: json.loads(json.dumps(options)), **said})
        self.watch.tell({"answer": {"problem": problem}})
        return problem

    # The others.

    def _go_to_first(self) -> None:
        while not self.watch.is_closed:
            with contextlib.suppress(OSError, EOFError, ValueError, KeyError, TypeError):  # something else
                line = Line(socket.create_connection(place(self.cluster.workers[0]), timeout=5.0))
                line.send({"worker": self.cluster.index})
                reply = line.receive_one(_WELCOME_SECONDS)
                if "refused" in reply:
                    self.error = UserError(str(reply["refused"]))
                    return
                if reply["welcome"] == self.cluster.index:
                    self.watch.add(0, line)
                    return
            time.sleep(0.3)

    def _hear(self, options: Mapping[str, Any], wait: "_Wait") -> str:
        while self._thread.is_alive() or self.error is not None:
            wait.go_on([0])
            self._check()
        print(f"Worker 0 at {self.cluster.workers[0]} is there; it waits for all others.", flush=True)
        self.watch.tell({"options": options})
        while self.watch.answer is None:
            wait.go_on([0])
            self._check()
        return str(self.watch.answer["problem"])


_begun: Meeting | None = None


@contextlib.contextmanager
def begun() -> Iterator[None]:
    """Inside, this worker is on its way to the meeting: if it ends before, those that are there are told.

    `meet` ends the way. Where there is no cluster nothing happens. Raises UserError for a damaged TF_CONFIG.
    """
    global _begun
    if (of := cluster()) is None:
        yield
        return
    meeting = _begun = Meeting(of)
    try:
        yield
    except BaseException as error:
        meeting.watch.close(error)
        raise


def meet(cluster: Cluster, options: Mapping[str, Any]) -> Watch:
    """Waits until all workers are there, and compares their options.

    Args:
        cluster: the workers.
        options: what must be the same everywhere, as JSON has it.

    Returns:
        What watches the others from now on, a context.

    Raises:
        UserError: on all workers, if their options differ, or one that had come is gone; if some do not come in
            $STYLEGAN2_WAIT_MINUTES minutes.
    """
    global _begun
    meeting, _begun = _begun, None
    if meeting is None or meeting.cluster != cluster or meeting.watch.is_closed:
        meeting = Meeting(cluster)
    if len(cluster.workers) == 1:
        return meeting.watch
    try:
        problem = meeting.come(options, _Wait(cluster, _limit()))
    except BaseException as error:
        meeting.watch.close(error)
        raise
    if problem:
        meeting.watch.close()
        raise UserError(problem)
    print(f"All {len(cluster.workers)} workers are here.", flush=True)
    return meeting.watch


def _limit() -> float:
    text = os.environ.get(LIMIT_VARIABLE)
    try:
        minutes = _LIMIT_MINUTES if not text else float(text)
    except ValueError:
        minutes = -1.0
    if not 0 < minutes < 1e6:
        raise UserError(f"{LIMIT_VARIABLE}={text}: expected a number of minutes above 0")
    return minutes


class _Wait:
    """Tells now and then who is missing, and raises UserError when it takes too long."""

    def __init__(self, cluster: Cluster, minutes: float):
        self._cluster, self._minutes = cluster, minutes
        self._start = time.monotonic()
        self._told: tuple[Any, float] = None, self._start

    def go_on(self, missing: list[int]) -> None:
        """missing: numbers of the workers that are waited for."""
        now = time.monotonic()
        names = enumerated([f"{number} at {self._cluster.workers[number]}" for number in missing], 8)
        who = f"worker{'s' if len(missing) > 1 else ''} {names}"
        if now - self._start > self._minutes * 60:
            raise TryAgainError(
                f"{who} did not come in {self._minutes:g} minutes. Start the same command there, with the same cluster "
                f"in TF_CONFIG and an index of its own; {LIMIT_VARIABLE}=N waits N minutes"
            )
        if self._told[0] != missing or now - self._told[1] > _TELL_SECONDS:
            print(f"Waiting for {who}, {self._minutes:g} minutes at most...", flush=True)
            self._told = list(missing), now


@contextlib.contextmanager
def _listening(address: str, watch: Watch) -> Iterator[socket.socket | UserError]:
    """A server at the port of an address, as soon as it is free, or why there is none."""
    both = socket.has_dualstack_ipv6()
    family = {"family": socket.AF_INET6, "dualstack_ipv6": True} if both else {}
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            server = socket.create_server(("", place(address)[1]), **family)
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until or watch.is_closed:
                yield UserError(f"TF_CONFIG: worker 0 cannot be at {address}: {error.strerror}")
                return
        time.sleep(0.2)
    with server:
        server.settimeout(0.5)
        yield server


def _differences(options: Mapping[int, Mapping[str, Any]]) -> str:
    """A line for each option that is not the same for all workers, after one that says so; '' if there is none."""
    flat = {number: dict(_flat(said)) for number, said in options.items()}
    names = dict.fromkeys(name for said in flat.values() for name in said)
    lines = []
    for name in names:
        if len({repr(said.get(name)) for said in flat.values()}) > 1:
            values = {number: short(said.get(name)) for number, said in sorted(flat.items())}
            others = [f"{value} of worker {number}" for number, value in values.items() if value != values[0]]
            lines.append(f"{name} is {values[0]} of worker 0, {enumerated(others, 4)}")
    head = "the workers have different options; start all of them alike"
    return "\n".join([head, *listed(lines, 20)]) if lines else ""


def _flat(options: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(options, Mapping) and options:
        for key, value in options.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, options
