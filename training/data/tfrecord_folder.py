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
from dnnlib.resolutions import level_of_size, resolution_of, size_text

from .image_files import AS_USUAL, Reading
from .image_sources import ImageSource, report
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
        self.resolution = resolution_of(full.shape[1:])
        lower = [level for level in self.resolution.levels if level not in self.files_by_level]
        missing = [height if height == width else [height, width] for height, width in map(self.resolution.size, lower)]
        self.names, self.label_names = read_names_file(path, self.count)
        self.looks_at_headers_only = not all(file.is_raw for file in self.files_by_level.values())
        if missing and full.is_raw:
            given = self.resolution.argument
            print(f"{path} lacks tfrecords of the resolutions {missing}; they are averaged from {given}.")

    def _open(self) -> list[str]:
        damage = Problems()
        opened: list[TFRecordFile] = []
        for name in sorted(name for name in os.listdir(self.path) if name.endswith(".tfrecords")):
            with damage.gather():
                opened.append(TFRecordFile(os.path.join(self.path, name)))
        problems = damage.messages
        fitting = []
        for file in opened:
            try:
                resolution_of(file.shape[1:])
                fitting.append(file)
            except ValueError as error:
                problems.append(f"{file.path}: images of {error}")
        full = max(fitting, key=lambda file: math.prod(file.shape[1:]), default=None)
        for file in fitting:
            (height, width), level = file.shape[1:], level_of_size(*file.shape[1:])
            times = level_of_size(*full.shape[1:]) - level
            has = f"but {os.path.basename(full.path)} has"
            if (height << times, width << times) != full.shape[1:]:
                size = size_text(full.shape[1:])
                problems.append(f"{file.path}: images of {size_text((height, width))}, {has} {size}")
            elif level in self.files_by_level:
                other = os.path.basename(self.files_by_level[level].path)
                problems.append(f"{file.path}: has the same resolution {size_text((height, width))} as {other}")
            else:
                self.files_by_level[level] = file
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
