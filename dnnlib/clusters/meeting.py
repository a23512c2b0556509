"""Workers of a cluster meet before they train: all of them, with the same options.

TensorFlow waits for those that are missing as well, but without a word, without end and deaf to signals, and compares
nothing. So they meet before it does, at the address of the first. The connections stay, for the watch; the port is free
for TensorFlow.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from dnnlib.errors import TryAgainError, UserError, enumerated, listed, short

from .watch import POLL_SECONDS, Watch
from .workers import Cluster, Line, place

LIMIT_VARIABLE = "STYLEGAN2_WAIT_MINUTES"
_LIMIT_MINUTES = 30.0
_TELL_SECONDS = 60.0  # from one line about those that are missing to the next
_HELLO_SECONDS = 5.0  # for the first words of whoever comes
_WELCOME_SECONDS = 30.0  # for the answer to them, as others may be before us


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
    watch = Watch(cluster)
    if len(cluster.workers) == 1:
        return watch
    wait = _Wait(cluster, _limit())
    come = _receive_others if cluster.index == 0 else _go_to_first
    try:
        problem = come(cluster, options, wait, watch)
    except BaseException as error:
        watch.close(error)
        raise
    if problem:
        watch.close()
        raise UserError(problem)
    print(f"All {len(cluster.workers)} workers are here.", flush=True)
    return watch


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


# ----------------------------------------------------------------------------
# The first worker.


def _receive_others(cluster: Cluster, options: Mapping[str, Any], wait: _Wait, watch: Watch) -> str:
    """Returns in which options the workers differ, which it tells them, too."""
    said = {0: json.loads(json.dumps(options))}
    with _listening(cluster.workers[0]) as server:
        while missing := [number for number in range(len(cluster.workers)) if number not in said]:
            wait.go_on(missing)
            watch.check()
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # of whatever else comes to this port
                line = Line(server.accept()[0])
                hello = line.receive_one(_HELLO_SECONDS)
                number, theirs = hello["worker"], hello["options"]
                if number in missing:
                    line.send({"welcome": number})
                    said[number] = theirs
                    watch.add(number, line)
                elif number in said:
                    line.send({"refused": f"there is a {cluster.name(number)} already"})
    problem = _differences(said)
    watch.tell({"answer": {"problem": problem}})
    return problem


@contextlib.contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    port = place(address)[1]
    both = socket.has_dualstack_ipv6()
    family = {"family": socket.AF_INET6, "dualstack_ipv6": True} if both else {}
    try:
        server = socket.create_server(("", port), **family)
    except OSError as error:
        raise UserError(f"TF_CONFIG: worker 0 cannot be at {address}: {error.strerror}") from error
    with server:
        server.settimeout(1.0)
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


# ----------------------------------------------------------------------------
# The others.


def _go_to_first(cluster: Cluster, options: Mapping[str, Any], wait: _Wait, watch: Watch) -> str:
    """Returns what the first worker says is different."""
    while True:
        wait.go_on([0])
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not there yet, or something else is
            line = Line(socket.create_connection(place(cluster.workers[0]), timeout=5.0))
            line.send({"worker": cluster.index, "options": options})
            reply = line.receive_one(_WELCOME_SECONDS)
            if "refused" in reply:
                return str(reply["refused"])
            if reply["welcome"] == cluster.index:
                watch.add(0, line)
                break
        time.sleep(1.0)
    print(f"Worker 0 at {cluster.workers[0]} is there; it waits for all others.", flush=True)
    while watch.answer is None:
        wait.go_on([0])
        watch.check(POLL_SECONDS)
    return str(watch.answer["problem"])
