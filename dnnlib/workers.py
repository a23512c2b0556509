"""Workers of a cluster meet before they train: all of them, with the same options.

TensorFlow waits for those that are missing as well, but without a word, without end and deaf to signals, and compares
nothing. So they meet before it does, at the address of the first.
"""

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import UserError, enumerated, listed, short

LIMIT_VARIABLE = "STYLEGAN2_WAIT_MINUTES"
_LIMIT_MINUTES = 30.0
_TELL_SECONDS = 60.0  # from one line about those that are missing to the next
_MAX_BYTES = 1 << 20  # of what a worker says


@dataclass(frozen=True)
class Cluster:
    """Addresses 'host:port' of all workers, and the number of this one."""

    workers: tuple[str, ...]
    index: int


def cluster() -> Cluster | None:
    """What `TF_CONFIG` says; None where it is not set. Raises UserError."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return None
    try:
        config = json.loads(text)
        workers, task = tuple(config["cluster"]["worker"]), config["task"]
        index = int(task["index"])
        if task["type"] != "worker" or not 0 <= index < len(workers) or not all(map(_place, workers)):
            raise KeyError("task")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            'TF_CONFIG: expected {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, '
            f"got {short(text, 200)}"
        ) from error
    return Cluster(workers, index)


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def meet(cluster: Cluster, options: Mapping[str, Any]) -> None:
    """Waits until all workers are there, and compares their options.

    Args:
        cluster: the workers.
        options: what must be the same everywhere, as JSON has it.

    Raises:
        UserError: on all workers, if their options differ; if some do not come in $STYLEGAN2_WAIT_MINUTES minutes.
    """
    if len(cluster.workers) == 1:
        return
    wait = _Wait(cluster, _limit())
    problem = _receive_others(cluster, options, wait) if cluster.index == 0 else _go_to_first(cluster, options, wait)
    if problem:
        raise UserError(problem)
    print(f"All {len(cluster.workers)} workers are here.", flush=True)


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
            raise UserError(
                f"{who} did not come in {self._minutes:g} minutes. Start the same command there, with the same cluster "
                f"in TF_CONFIG and an index of its own; {LIMIT_VARIABLE}=N waits N minutes"
            )
        if self._told[0] != missing or now - self._told[1] > _TELL_SECONDS:
            print(f"Waiting for {who}, {self._minutes:g} minutes at most...", flush=True)
            self._told = list(missing), now


# ----------------------------------------------------------------------------
# The first worker.


def _receive_others(cluster: Cluster, options: Mapping[str, Any], wait: _Wait) -> str:
    """Returns in which options the workers differ, which it tells them, too."""
    count = len(cluster.workers)
    present: dict[int, tuple[socket.socket, Any]] = {}
    with contextlib.ExitStack() as stack, _listening(cluster.workers[0]) as server:
        while missing := [number for number in range(1, count) if number not in present]:
            wait.go_on(missing)
            for number, (other, _) in list(present.items()):
                if _is_gone(other):
                    del present[number]
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # of whatever else comes to this port
                other = stack.enter_context(server.accept()[0])
                said = _receive(other, 5.0)
                if said["worker"] in range(1, count):
                    present[said["worker"]] = other, said["options"]
        problem = _differences({0: json.loads(json.dumps(options)), **{n: said for n, (_, said) in present.items()}})
        for other, _ in present.values():
            with contextlib.suppress(OSError):
                _send(other, {"problem": problem})
                other.settimeout(1.0)
                other.recv(1)  # it hangs up first, so that the port is free at once
    return problem


@contextlib.contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    port = _place(address)[1]
    both = socket.has_dualstack_ipv6()
    family = {"family": socket.AF_INET6, "dualstack_ipv6": True} if both else {}
    try:
        server = socket.create_server(("", port), **family)
    except OSError as error:
        raise UserError(f"TF_CONFIG: worker 0 cannot be at {address}: {error.strerror}") from error
    with server:
        server.settimeout(1.0)
        yield server


def _is_gone(other: socket.socket) -> bool:
    readable = select.select([other], [], [], 0)[0]  # nothing more is said by those that wait
    return bool(readable)


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


def _go_to_first(cluster: Cluster, options: Mapping[str, Any], wait: _Wait) -> str:
    """Returns what the first worker says is different."""
    while True:
        wait.go_on([0])
        with (
            contextlib.suppress(OSError, ValueError),  # not there yet, or there no more
            socket.create_connection(_place(cluster.workers[0]), timeout=5.0) as first,
        ):
            _send(first, {"worker": cluster.index, "options": options})
            print(f"Worker 0 at {cluster.workers[0]} is there; it waits for all others.", flush=True)
            while not select.select([first], [], [], 1.0)[0]:
                wait.go_on([0])
            return str(_receive(first, 5.0)["problem"])
        time.sleep(1.0)


# ----------------------------------------------------------------------------
# Lines of JSON.


def _send(to: socket.socket, message: Any) -> None:
    to.sendall(json.dumps(message).encode() + b"\n")


def _receive(of: socket.socket, seconds: float) -> Any:
    """Raises OSError or ValueError for what is no message."""
    of.settimeout(seconds)
    data = b""
    while not data.endswith(b"\n"):
        part = of.recv(1 << 16)
        if not part or len(data) > _MAX_BYTES:
            raise ValueError("no message")
        data += part
    return json.loads(data)
