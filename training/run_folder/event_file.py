"""Event files, which TensorBoard reads."""

import io
import itertools
import os
import socket
import time
from collections.abc import Callable

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from dnnlib.files import Log

_numbers = itertools.count()  # of the files of this process


class EventFile:
    """A new event file in a folder. Unlike TensorBoard's writer it has a whole record or none, whatever the disk does.

    Args:
        folder: where; its name may be anything.
        tell: called with a line when nothing can be added to the file, and when it can be again.

    Raises OSError where the file cannot be made.
    """

    def __init__(self, folder: str, tell: Callable[[str], None]):
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._log = Log(os.path.join(folder, name), tell)
        self.add_event(Event(wall_time=now, file_version="brain.Event:2"))

    def add_event(self, event: Event) -> None:
        """Adds an event at the end of the file."""
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self._log.add(record.getvalue())

    def flush(self) -> None:
        """Nothing: events are written at once."""
