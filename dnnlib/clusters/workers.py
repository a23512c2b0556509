"""Who the workers of a cluster are, as `TF_CONFIG` has it, and the lines of JSON in which they talk."""

import json
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from dnnlib.errors import UserError, short

VARIABLE = "TF_CONFIG"
_MAX_BYTES = 1 << 20  # of what a worker says


@dataclass(frozen=True)
class Cluster:
    """Addresses 'host:port' of all workers, and the number of this one."""

    workers: tuple[str, ...]
    index: int

    def name(self, number: int) -> str:
        """'worker 1 at host:port'."""
        return f"worker {number} at {self.workers[number]}"

    def to_json(self) -> str:
        """As `TF_CONFIG` has it."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.workers)}, "task": task})


def cluster() -> Cluster | None:
    """What `TF_CONFIG` says; None where it is not set. Raises UserError."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    try:
        config = json.loads(text)
        workers, task = tuple(config["cluster"]["worker"]), config["task"]
        index = int(task["index"])
        if task["type"] != "worker" or not 0 <= index < len(workers) or not all(map(place, workers)):
            raise KeyError("task")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            'TF_CONFIG: expected {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, '
            f"got {short(text, 200)}"
        ) from error
    return Cluster(workers, index)


def place(address: str) -> tuple[str, int]:
    """Host and port of an address 'host:port'."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Line:
    """A connection to another worker on which messages, JSON in a line each, go both ways."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._come: list[Any] = []  # messages that nobody has asked for yet
        self._begun = b""  # of the next one
        self._sending = threading.Lock()

    @property
    def descriptor(self) -> int:
        """Of the connection, as the system numbers it."""
        return self._connection.fileno()

    def send(self, message: Any) -> None:
        """Raises OSError."""
        with self._sending:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, seconds: float) -> list[Any]:
        """Messages that are there, or come within some seconds.

        Raises EOFError where the other has hung up, OSError where it cannot be reached, ValueError for what is no
        message.
        """
        if not self._come:
            self._connection.settimeout(max(seconds, 1e-3))
            try:
                part = self._connection.recv(1 << 16)
            except TimeoutError:
                return []
            if not part:
                raise EOFError
            *lines, self._begun = (self._begun + part).split(b"\n")
            if len(self._begun) > _MAX_BYTES:
                raise ValueError("no message")
            self._come = [json.loads(line) for line in lines]
        messages, self._come = self._come, []
        return messages

    def receive_one(self, seconds: float) -> Any:
        """The next message. Raises as `receive`, and OSError if none comes within some seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if messages := self.receive(left):
                self._come = messages[1:]
                return messages[0]
        raise TimeoutError
