"""A folder of multi-resolution tfrecords as a source of images."""

import io
import math
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

from dnnlib.errors import Problems

from .image_files import AS_USUAL, Reading
from .image_sources import ImageSource, level_of, report
from .labels import read_names_file
from .tfrecord_reader import TFRecordFile


class TFRecordSource(ImageSource):
    """A folder of tfrecords, one file per level, as `dataset_tool.py` writes them; if encoded, of the first level only.

    num_threads: threads that decode images. reading: has no effect.
    """

    kind = "tfrecords"

    def __init__(self, path: str, num_threads: int = 0, reading: Reading = AS_USUAL):
        self.path = path
        self._executor = ThreadPoolExecutor(max(1, num_threads), "decode")  # which starts threads when it needs them
        if reading.max_value is not None:
            self.notes = ["--max-value has no effect on tfrecords."]
        self.files_by_level: dict[int, TFRecordFile] = {}
        report(path, self._open())
        self.levels = sorted(self.files_by_level, reverse=True)
        full = self.files_by_level[self.levels[0]]
        self.count, self.channels = full.count, full.shape[0]
        missing = [1 << level for level in range(self.levels[0], 1, -1) if level not in self.files_by_level]
        self.names, self.label_names = read_names_file(path, self.count)
        self.looks_at_headers_only = not all(file.is_raw for file in self.files_by_level.values())
        if missing and full.is_raw:
            print(f"{path} lacks tfrecords of the resolutions {missing}; they are averaged from {1 << self.levels[0]}.")

    def _open(self) -> list[str]:
        damage = Problems()
        opened: list[TFRecordFile] = []
        for name in sorted(name for name in os.listdir(self.path) if name.endswith(".tfrecords")):
            with damage.gather():
                opened.append(TFRecordFile(os.path.join(self.path, name)))
        problems = damage.messages
        for file in opened:
            level = level_of(file.shape[1])
            if file.shape[1] != file.shape[2] or level is None:
                problems.append(
                    f"{file.path}: images of {list(file.shape)}, expected [C, N, N], N a power of two from 4"
                )
            elif level in self.files_by_level:
                other = os.path.basename(self.files_by_level[level].path)
                problems.append(f"{file.path}: has the same resolution {file.shape[1]} as {other}")
            else:
                self.files_by_level[level] = file
        if self.files_by_level:
            full = self.files_by_level[max(self.files_by_level)]
            has = f"but {os.path.basename(full.path)} has"
            for file in self.files_by_level.values():
                if file.count != full.count:
                    problems.append(f"{file.path}: {file.count} images, {has} {full.count}")
                if file.shape[0] != full.shape[0]:
                    problems.append(f"{file.path}: {file.shape[0]} channels, {has} {full.shape[0]}")
        return problems

    def read_stored(self, indices: np.ndarray, level: int) -> np.ndarray:
        return self.files_by_level[level].read(indices, self._executor.map if len(indices) > 1 else map)

    def problem_of(self, index: int, level: int) -> str | None:
        return self.files_by_level[level].problem_of(index)

    def open_image(self, index: int, level: int) -> BinaryIO | None:
        file = self.files_by_level[level]
        content = b"" if file.is_raw else file.read_content(index)
        return None if len(content) in (0, math.prod(file.shape)) else io.BytesIO(content)

    def verify_images(self, progress: Callable[[int], None]) -> None:
        damage = Problems()
        for level in self.levels:
            with damage.gather():
                self.files_by_level[level].verify(progress)
        report(self.path, damage.messages)

    def checksums(self, count: int) -> np.ndarray:
        """Of those that the records have: nothing is read."""
        full, *lower = (self.files_by_level[level].index.checksums[:count] for level in self.levels)
        rest = [zlib.crc32(column.tobytes()) for column in np.stack(lower, axis=1)] if lower else [0] * len(full)
        return full.astype(np.uint64) << np.uint64(32) | np.array(rest, np.uint64)

    def files(self) -> list[str]:
        return [file.path for file in self.files_by_level.values()]

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
        for file in self.files_by_level.values():
            file.close()
