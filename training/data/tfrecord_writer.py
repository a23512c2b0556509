"""Writes tfrecord files of images, many records at a time; `tfrecord_parser` describes them."""

import math
import os
import struct

import numpy as np

from .tfrecord_parser import FOOTER, HEADER, checksum


class TFRecordFileWriter:
    """A new file of images of one shape.

    Args:
        path: the file to create.
        shape: (C, H, W) of all images.

    Raises OSError for a file that cannot be created or written.
    """

    def __init__(self, path: str, shape: tuple[int, int, int]):
        self.shape = shape
        example = _example_before_pixels(shape)
        length = struct.pack("<Q", len(example) + math.prod(shape))
        self._before_pixels = length + struct.pack("<I", checksum(length)) + example
        self._file = open(path, "xb")  # noqa: SIM115 (close is called)

    def write(self, images: np.ndarray) -> None:
        """Appends images, uint8 [N, C, H, W]."""
        count, before, pixels = len(images), len(self._before_pixels), math.prod(self.shape)
        records = np.empty([count, before + pixels + FOOTER], np.uint8)
        records[:, :before] = np.frombuffer(self._before_pixels, np.uint8)
        records[:, before:-FOOTER] = images.reshape(count, pixels)
        checksums = [checksum(record[HEADER:-FOOTER].tobytes()) for record in records]
        records[:, -FOOTER:] = np.asarray(checksums, "<u4")[:, np.newaxis].view(np.uint8)
        self._file.write(records)

    def close(self, sync: bool = True) -> None:
        """Closes the file; with `sync` waits until it is on the disk."""
        with self._file:
            if sync:
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
