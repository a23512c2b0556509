"""What a tfrecord of images holds: records around `tf.train.Example`s, parsed without TensorFlow and without trust.

A record is its length (uint64), the masked CRC-32C of the length, the Example, and the masked CRC-32C of the Example
(uint32 each; all little-endian). The Example has the features `shape` (int64, [C, H, W]) and `data`: pixels (bytes,
uint8), or an image file (PNG, JPEG or WebP), which is told from them by its length and its first bytes.
"""

import math
import os
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

import google_crc32c

from dnnlib.kinds import image_format

HEADER = 12  # bytes
FOOTER = 4
_FORMATS = ("PNG", "JPEG", "WebP")  # of images in records
_MAGIC = 16  # bytes by which they are told
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


# ----------------------------------------------------------------------------
# Parsing of tf.train.Example.


class Record(NamedTuple):
    """Where a record and its data are in the file, in bytes."""

    start: int  # of the header
    length: int  # of the Example
    data: int  # start of the pixels or image file
    size: int  # of these
    shape: tuple[int, ...]  # [C, H, W]

    @property
    def is_raw(self) -> bool:
        """Whether its data are pixels."""
        return self.size == math.prod(self.shape)

    @property
    def end(self) -> int:
        return self.start + HEADER + self.length + FOOTER


def _varint(file: BinaryIO, position: int, end: int) -> tuple[int, int]:
    value = 0
    file.seek(position)
    for count, byte in enumerate(file.read(min(10, end - position))):
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, position + count + 1
    raise DamagedError("has a malformed number")


def _fields(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Fields of a message as (number, value of a varint or -1, begin, end of the content)."""
    for _ in range(_MAX_FIELDS):
        if begin >= end:
            return
        tag, begin = _varint(file, begin, end)
        number, wire_type = tag >> 3, tag & 7
        value = -1
        if wire_type == 0:
            content = begin
            value, content_end = _varint(file, begin, end)
        elif wire_type == 2:
            size, content = _varint(file, begin, end)
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


def _int64_list(file: BinaryIO, begin: int, end: int) -> list[int]:
    values = []
    for number, value, content, content_end in _fields(file, begin, end):
        if number != 1:
            continue
        if value >= 0:
            values.append(value)
        while value < 0 and content < content_end and len(values) <= 8:  # packed
            item, content = _varint(file, content, content_end)
            values.append(item)
    return values


def _contents(file: BinaryIO, messages: Iterable[tuple[int, int]], number: int) -> list[tuple[int, int]]:
    """Begin and end of all fields of this number in some messages, of which begin and end are given, too."""
    return [field[2:] for message in messages for field in _fields(file, *message) if field[0] == number]


def _parse_example(file: BinaryIO, begin: int, end: int) -> tuple[int, int, tuple[int, ...]]:
    """Start and size of the data, and shape, of the Example in bytes begin to end. Raises DamagedError."""
    features = {}
    for entry in _contents(file, _contents(file, [(begin, end)], 1), 1):
        parts = {number: (first, last) for number, _, first, last in _fields(file, *entry)}
        first, last = parts.get(1, (begin, begin))
        file.seek(first)
        features[file.read(min(last - first, 100))] = [parts[2]] if 2 in parts else []
    shapes = _contents(file, features.get(b"shape", []), 3)
    data = _contents(file, _contents(file, features.get(b"data", []), 1), 1)
    if not shapes or len(data) != 1:
        names = [name.decode(errors="replace") for name in features][:8]
        raise DamagedError(f"lacks the features 'shape' and 'data' of an image (it has {names})")
    shape, [(first, last)] = _int64_list(file, *shapes[-1]), data
    if len(shape) != 3 or not all(0 < size <= 1 << 20 for size in shape):
        raise DamagedError(f"has the shape {shape[:8]}, expected [channels, height, width]")
    if math.prod(shape) != last - first:
        file.seek(first)
        if image_format(file.read(min(last - first, _MAGIC))) not in _FORMATS:
            but = f"{last - first} bytes of data, which are no PNG, JPEG or WebP"
            raise DamagedError(f"has the shape {shape} but {but}")
    return first, last - first, tuple(shape)


def read_record(file: BinaryIO, start: int, length: int) -> Record:
    """Parses the record at byte `start`, of the length that `read_length` gives. Raises DamagedError."""
    return Record(start, length, *_parse_example(file, start + HEADER, start + HEADER + length))


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
