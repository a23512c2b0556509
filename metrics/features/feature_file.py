"""Rows of numbers that are computed piece by piece and kept on disk: features of images, distances, predictions.

They are in parts that only appear whole. So what an interrupted pass has written is good, more rows can be added
another day, and where a part is damaged those before it are good: the rest is computed again.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from dnnlib.download import CACHE_VARIABLE
from dnnlib.errors import UserError
from dnnlib.files import atomic_write, only_one, short_name

_PART_ROWS = 512  # or more; what is lost when a process is killed takes VGG-16 a minute on two CPU cores


class RowFile:
    """Rows float32 [N, columns] in a folder of .npy files, named by their first row and the CRC-32C of their values.

    One process at a time may use it: see `in_cache`.

    Args:
        path: of the folder, which is made. Its name says what the rows are: see `key_of`.
        columns: numbers per row.

    Attributes:
        rows: how many there are.
    """

    def __init__(self, path: str | os.PathLike, columns: int):
        self.path = Path(path)
        self.columns = columns
        self.rows = 0
        self._waiting: list[np.ndarray] = []  # the last rows, not yet written
        self.path.mkdir(parents=True, exist_ok=True)
        paths = self._parts()
        while paths and (part := self._load(paths[0])) is not None:
            self.rows += len(part)
            paths.pop(0)
        if paths:
            print(f"{paths[0]} is damaged or lost; what follows is computed again.", file=sys.stderr)
        for path in paths:
            path.unlink()

    def _parts(self) -> list[Path]:
        return sorted(self.path.glob("*.npy"))

    def _load(self, path: Path) -> np.ndarray | None:
        """The part that comes next; None if the file is none, or another."""
        try:
            part = np.lib.format.open_memmap(path, mode="r")
        except OSError:
            raise
        except Exception:  # cut off, or no .npy file: headers break in many ways
            return None
        fits = part.dtype == np.float32 and part.ndim == 2 and part.shape[1] == self.columns and part.size > 0
        return part if fits and path.name == self._name(self.rows, part) else None

    @staticmethod
    def _name(first: int, rows: np.ndarray) -> str:
        return f"{first:09d}-{google_crc32c.value(rows.tobytes()):08x}.npy"

    def append(self, values: np.ndarray) -> None:
        """Adds rows, [N, columns]."""
        assert values.shape == (len(values), self.columns), (values.shape, self.columns)
        self._waiting.append(np.array(values, np.float32))
        self.rows += len(values)
        if sum(map(len, self._waiting)) >= _PART_ROWS:
            self.close()

    def read(self, count: int) -> np.ndarray:
        """The first `count` rows, float32 [count, columns]."""
        assert count <= self.rows
        self.close()
        result = np.empty([count, self.columns], np.float32)
        for path in self._parts():
            first = int(path.stem.partition("-")[0])
            if first < count:
                part = np.load(path)
                result[first : first + len(part)] = part[: count - first]
        return result

    def close(self) -> None:
        """Writes the rows that are not written yet."""
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting)
        content = io.BytesIO()  # a full disk is reported by its name so, not by NumPy as bytes that are missing
        np.save(content, rows)
        with atomic_write(self.path / self._name(self.rows - len(rows), rows)) as file:
            file.write(content.getbuffer())
        self._waiting = []

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def key_of(facts: Mapping[str, Any]) -> str:
    """16 hex digits that tell facts, in JSON, from others: for names of files."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def file_label(text: str) -> str:
    """A text for names of files: at most 60 bytes, no special characters."""
    return short_name(re.sub(r"[^\w.-]", "_", text), 60)


@contextlib.contextmanager
def in_cache(folder: Path, key: str, content: str) -> Iterator[None]:
    """Makes a folder for files of rows, where inside no other process works on those of the key: it waits.

    content: what they are, for messages. Raises UserError if that, or what is done inside, fails for the disk.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder / f"{key}.lock", f"Waiting for another process that computes {content} ..."):
            yield
    except OSError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{folder}: {error.strerror or error}. What metrics compute is kept there; --cache-dir or "
            f"{CACHE_VARIABLE} names another folder"
        ) from None
