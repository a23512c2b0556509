"""What a tfrecord of images holds: records around `tf.train.Example`s, parsed without TensorFlow and without trust.

A record is its length (uint64), the masked CRC-32C of the length, the Example, and the masked CRC-32C of the Example
(uint32 each; all little-endian). The Example has the features `shape` (int64, [C, H, W]) and `data` (bytes, uint8).
"""

import itertools
import math
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

import google_crc32c

HEADER = 12  # bytes
FOOTER = 4
_MAX_FIELDS = 1000  # in one message


class DamagedError(Exception):
    """What is wrong with a record or file, without its name."""


def checksum(data: bytes) -> int:
    """The checksum that a record has of some of its bytes: CRC-32C, masked."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


# ----------------------------------------------------------------------------
# Access to a file.


def pread(fd: int, size: int, position: int) -> bytes:
    """`size` bytes from `position`. Raises DamagedError if the file ends before."""
    data = os.pread(fd, size, position)
    while len(data) < size:
        more = os.pread(fd, size - len(data), position + len(data))
        if not more:
            raise DamagedError(f"ends before byte {position + size}, in the middle of a record")
        data += more
    return data


class _Window:
    """Small reads near one another, up to the byte `end`."""

    _AHEAD = 256

    def __init__(self, fd: int, end: int):
        self.fd = fd
        self.end = end
        self.begin = 0
        self.data = b""

    def read(self, position: int, size: int) -> bytes:
        if size < 0 or position + size > self.end:
            raise DamagedError("has lengths that contradict each other")
        offset = position - self.begin
        if offset < 0 or offset + size > len(self.data):
            self.begin, offset = position, 0
            self.data = pread(self.fd, min(max(size, self._AHEAD), self.end - position), position)
        return self.data[offset : offset + size]


# ----------------------------------------------------------------------------
# Parsing of tf.train.Example.


class Record(NamedTuple):
    """Where a record and its pixels are in the file, in bytes."""

    start: int  # of the header
    length: int  # of the Example
    data: int  # start of the pixels
    shape: tuple[int, ...]  # [C, H, W]

    @property
    def data_end(self) -> int:
        return self.data + math.prod(self.shape)

    @property
    def end(self) -> int:
        return self.start + HEADER + self.length + FOOTER


def _varint(window: _Window, position: int, end: int) -> tuple[int, int]:
    value = 0
    for count in range(10):
        if position >= end:
            break
        byte = window.read(position, 1)[0]
        position += 1
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise DamagedError("has a malformed number")


def _fields(window: _Window, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Fields of a message as (number, value of a varint or -1, begin, end of the content)."""
    for _ in range(_MAX_FIELDS):
        if begin >= end:
            return
        tag, begin = _varint(window, begin, end)
        number, wire_type = tag >> 3, tag & 7
        value = -1
        if wire_type == 0:
            content = begin
            value, content_end = _varint(window, begin, end)
        elif wire_type == 2:
            size, content = _varint(window, begin, end)
            content_end = content + size
        elif wire_type in (1, 5):
            content, content_end = begin, begin + (8 if wire_type == 1 else 4)
        else:
            raise DamagedError("is not a tf.train.Example")
        if content_end > end:
            raise DamagedError("has lengths that contradict each other")
        yield number, value, content, content_end
        begin = content_end
    raise DamagedError(f"has more than {_MAX_FIELDS} fields")


def _int64_list(window: _Window, begin: int, end: int) -> list[int]:
    values = []
    for number, value, content, content_end in _fields(window, begin, end):
        if number != 1:
            continue
        if value >= 0:
            values.append(value)
        while value < 0 and content < content_end and len(values) <= 8:  # packed
            item, content = _varint(window, content, content_end)
            values.append(item)
    return values


def _parse_example(window: _Window, begin: int, end: int) -> tuple[tuple[int, ...], int]:
    """Shape and start of the pixels of the Example in bytes begin to end. Raises DamagedError."""
    names = []
    shape: list[int] | None = None
    data: tuple[int, int] | None = None
    features = [f for f in _fields(window, begin, end) if f[0] == 1]
    for entry in itertools.chain.from_iterable(_fields(window, f[2], f[3]) for f in features):
        if entry[0] != 1:
            continue
        name, feature = b"", (0, 0)
        for number, _, content, content_end in _fields(window, entry[2], entry[3]):
            if number == 1:
                name = window.read(content, content_end - content) if content_end - content <= 100 else b"?"
            elif number == 2:
                feature = content, content_end
        names.append(name.decode(errors="replace"))
        for kind, _, content, content_end in _fields(window, *feature):
            if name == b"shape" and kind == 3:
                shape = _int64_list(window, content, content_end)
            elif name == b"data" and kind == 1:
                values = [f for f in _fields(window, content, content_end) if f[0] == 1]
                if len(values) == 1:
                    data = values[0][2:]
    if shape is None or data is None:
        raise DamagedError(f"lacks the features 'shape' and 'data' of an image (it has {names[:8]})")
    if len(shape) != 3 or not all(0 < size <= 1 << 20 for size in shape):
        raise DamagedError(f"has the shape {shape[:8]}, expected [channels, height, width]")
    if shape[0] * shape[1] * shape[2] != data[1] - data[0]:
        raise DamagedError(f"has the shape {shape} but {data[1] - data[0]} bytes of data")
    return tuple(shape), data[0]


def read_record(fd: int, start: int, size: int) -> Record:
    """Parses the record at byte `start` of a file of `size` bytes. Raises DamagedError."""
    length = read_length(fd, start, size)
    window = _Window(fd, start + HEADER + length)
    shape, data = _parse_example(window, start + HEADER, start + HEADER + length)
    return Record(start, length, data, shape)


def read_length(fd: int, start: int, size: int) -> int:
    """Length of the Example of the record at byte `start` of a file of `size` bytes. Raises DamagedError."""
    if start + HEADER > size:
        raise DamagedError(f"is cut off: the file ends at byte {size}")
    header = pread(fd, HEADER, start)
    length, stored = struct.unpack("<QI", header)
    if checksum(header[:8]) != stored:
        raise DamagedError("has a wrong checksum of its length")
    if start + HEADER + length + FOOTER > size:
        raise DamagedError(f"is cut off: the file ends at byte {size}, the record at {start + length + 16}")
    return length
