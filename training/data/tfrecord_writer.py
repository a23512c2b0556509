"""Writes tfrecord files of images, many records at a time; `tfrecord_parser` describes them."""

import math
import os
import struct

import numpy as np

from .tfrecord_parser import checksum


class TFRecordFileWriter:
    """A new file of images of one shape.

    Args:
        path: the file to create.
        shape: (C, H, W) of all images.

    Raises OSError for a file that cannot be created or written.
    """

    def __init__(self, path: str, shape: tuple[int, int, int]):
        self.shape = shape
        self._before_pixels = np.frombuffer(_example_before_pixels(shape), np.uint8)
        self._file = open(path, "xb")  # noqa: SIM115 (close is called)

    def write(self, images: np.ndarray) -> None:
        """Appends images, uint8 [N, C, H, W]."""
        count, before, pixels = len(images), len(self._before_pixels), math.prod(self.shape)
        header = struct.pack("<Q", before + pixels)
        header += struct.pack("<I", checksum(header))
        records = np.empty([count, len(header) + before + pixels + 4], np.uint8)
        records[:, : len(header)] = np.frombuffer(header, np.uint8)
        records[:, len(header) : len(header) + before] = self._before_pixels
        records[:, len(header) + before : -4] = images.reshape(count, pixels)
        checksums = [checksum(record[len(header) : -4].tobytes()) for record in records]
        records[:, -4:] = np.asarray(checksums, "<u4")[:, np.newaxis].view(np.uint8)
        self._file.write(records)

    def close(self, sync: bool = True) -> None:
        """Closes the file; with `sync` waits until it is on the disk."""
        with self._file:
            if sync and not self._file.closed:
                self._file.flush()
                os.fsync(self._file.fileno())


# ----------------------------------------------------------------------------
# Protocol buffers.


def _varint(value: int) -> bytes:
    result = b""
    while value > 127:
        result += bytes([value & 127 | 128])
        value >>= 7
    return result + bytes([value])


def _field(number: int, content: bytes, further: int = 0) -> bytes:
    """A field that holds `content` and `further` bytes which the caller adds."""
    return bytes([number << 3 | 2]) + _varint(len(content) + further) + content


def _example_before_pixels(shape: tuple[int, int, int]) -> bytes:
    """A tf.train.Example of the features `shape` and `data` up to the pixels, with which it ends."""
    int64_list = _field(1, b"".join(map(_varint, shape)))
    shape_entry = _field(1, _field(1, b"shape") + _field(2, _field(3, int64_list)))
    pixels = math.prod(shape)
    content = b""
    for number in (1, 1, 2):  # the value of a BytesList, which is kind 1 of a Feature, which is the value of an entry
        content = _field(number, content, pixels)
    data_entry = _field(1, _field(1, b"data") + content, pixels)
    return _field(1, shape_entry + data_entry, pixels)
