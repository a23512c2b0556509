"""Writes tfrecord files of images, many records at a time; `tfrecord_parser` describes them."""

import math
import os
import struct
from collections.abc import Iterable

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
        self._before_pixels = _before_data(shape, math.prod(shape))
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

    def write_files(self, images: np.ndarray, files: Iterable[bytes]) -> None:
        """Appends images, uint8 [N, C, H, W], as image files, where these are smaller than their pixels."""
        for image, content in zip(images, files, strict=True):
            if len(content) >= image.size:  # by that length they are told from pixels
                self.write(image[np.newaxis])
                continue
            record = _before_data(self.shape, len(content)) + content
            self._file.write(record + struct.pack("<I", checksum(record[HEADER:])))

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


def _before_data(shape: tuple[int, int, int], size: int) -> bytes:
    """A record up to its data, of so many bytes: its length, and a tf.train.Example of `shape` and, at last, `data`."""
    int64_list = _field(1, b"".join(map(_varint, shape)))
    shape_entry = _field(1, _field(1, b"shape") + _field(2, _field(3, int64_list)))
    content = b""
    for number in (1, 1, 2):  # the value of a BytesList, which is kind 1 of a Feature, which is the value of an entry
        content = _field(number, content, size)
    data_entry = _field(1, _field(1, b"data") + content, size)
    example = _field(1, shape_entry + data_entry, size)
    length = struct.pack("<Q", len(example) + size)
    return length + struct.pack("<I", checksum(length)) + example
