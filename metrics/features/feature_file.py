"""Rows of numbers that are computed piece by piece and kept on disk: features of images, distances, predictions.

A file only grows, by blocks that have a checksum each. So what an interrupted pass has written is good, more rows can
be added another day, and a damaged file is good up to the damage: the rest is computed again.
"""

import contextlib
import hashlib
import json
import os
import re
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dnnlib.download import CACHE_VARIABLE
from dnnlib.errors import UserError

_MAGIC = b"STYLEGAN2-ROWS-1\n"
_BLOCK = struct.Struct("<II")  # number of rows, CRC-32 of row number and data


class RowFile:
    """Rows float32 [N, columns] in a file. One process at a time may use it (`dnnlib.files.only_one`).

    Args:
        path: of the file. Its folder is made.
        columns: numbers per row.
        facts: what the rows are, in JSON. A file of other rows is started anew, and that is said.

    Attributes:
        rows: how many there are.
    """

    def __init__(self, path: str | os.PathLike, columns: int, facts: dict[str, Any] | None = None):
        self.path = Path(path)
        self.columns = columns
        self.rows = 0
        text = json.dumps({"columns": columns, **(facts or {})}, sort_keys=True).encode()
        self._header = _MAGIC + struct.pack("<I", len(text)) + text
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = open(  # noqa: SIM115, until close
            self.path, "r+b" if self.path.exists() else "w+b"
        )
        self._end = self._check()
        self._file.truncate(self._end)

    def _check(self) -> int:
        """Counts the good rows. Returns where they end."""
        size = os.fstat(self._file.fileno()).st_size
        end = len(self._header)
        if self._file.read(end) != self._header:
            if size:
                print(f"{self.path} does not hold what its name says; it is made again.", file=sys.stderr)
            self._file.seek(0)
            self._file.write(self._header)
            return end
        while end < size:
            block = self._read_block()
            if block is None:
                print(
                    f"{self.path} is damaged or cut off after {self.rows} rows; what follows is computed again.",
                    file=sys.stderr,
                )
                break
            self.rows += len(block)
            end = self._file.tell()
        return end

    def _read_block(self, first: int | None = None) -> np.ndarray | None:
        """The block at the position of the file, [rows, columns]; None if it is not whole."""
        first = self.rows if first is None else first
        head = self._file.read(_BLOCK.size)
        if len(head) < _BLOCK.size:
            return None
        rows, crc = _BLOCK.unpack(head)
        size = rows * self.columns * 4
        left = os.fstat(self._file.fileno()).st_size - self._file.tell()
        if not 0 < size <= left:
            return None
        data = self._file.read(size)
        if _checksum(first, data) != crc:
            return None
        return np.frombuffer(data, "<f4").reshape(rows, self.columns)

    def append(self, values: np.ndarray) -> None:
        """Adds rows, [N, columns]."""
        assert values.shape == (len(values), self.columns), (values.shape, self.columns)
        data = np.ascontiguousarray(values, "<f4").tobytes()
        self._file.seek(self._end)
        self._file.write(_BLOCK.pack(len(values), _checksum(self.rows, data)) + data)
        self._file.flush()
        self._end = self._file.tell()
        self.rows += len(values)

    def read(self, count: int) -> np.ndarray:
        """The first `count` rows, float32 [count, columns]."""
        assert count <= self.rows
        result = np.empty([count, self.columns], np.float32)
        self._file.seek(len(self._header))
        done = 0
        while done < count:
            block = self._read_block(done)
            if block is None:
                raise OSError(None, "has changed while it was in use", os.fspath(self.path))
            result[done : done + len(block)] = block[: count - done]
            done += len(block)
        return result

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def remove(self) -> None:
        """Closes and deletes the file."""
        self.close()
        self.path.unlink(missing_ok=True)


def key_of(facts: Mapping[str, Any]) -> str:
    """16 hex digits that tell facts, in JSON, from others: for names of files."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def file_label(text: str) -> str:
    """A text for names of files: at most 60 characters, none of them special."""
    return re.sub(r"[^\w.-]", "_", text)[:60]


@contextlib.contextmanager
def in_cache(folder: Path) -> Iterator[None]:
    """Makes a folder for files of rows. Raises UserError if that, or what is done inside, fails for the disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{folder}: {error.strerror or error}. What metrics compute is kept there; --cache-dir or "
            f"{CACHE_VARIABLE} names another folder"
        ) from None


def _checksum(first: int, data: bytes) -> int:
    """Of a block that starts with row number `first`: blocks that moved do not count."""
    return zlib.crc32(data, first)
