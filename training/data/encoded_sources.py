"""Sources of images in files of image formats: folders, zip files, LMDB folders.

All images are looked at when a source is opened (their headers only), and all that do not fit are listed by name.
"""

import collections
import io
import itertools
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import BinaryIO

import numpy as np

from dnnlib.errors import UserError, listed, printable
from dnnlib.network_drives import persistently
from dnnlib.parallel import parallel_map
from dnnlib.pictures import CHANNELS, DEEP, to_chw
from dnnlib.progress import Progress
from dnnlib.resolutions import resolution_of, size_text

from .containers import Container, lmdb_errors, open_lmdb, sampled_checksum
from .image_files import ImageFacts, Reading, decode, look_at, notes_about, notes_about_depth, reason
from .image_listing import find_images
from .image_sources import ImageSource, report
from .labels import labels_of_images

_MAX_LISTED = 20
_MAX_SIDE = 1 << 16  # pixels, of images in an LMDB
MAX_DAMAGED = 1000
"""Images that cannot be decoded, listed at most: whoever is to mend them wants to know them all."""
_HINT = (
    "`dataset_tool.py create_from_images` makes a data set of such images, too: --resolution and --crop=center change "
    "their sizes, --convert=rgb, --convert=rgba or --convert=gray their kinds"
)
_HINT_DEEP = "; --max-value=N reads images of more than 8 bits as they are: N becomes white, such as 65535, or 4095"


class EncodedSource(ImageSource):
    """Images in files. A subclass sets `path` and `count`, then calls `_scan`.

    num_threads: threads that decode images. reading: how.
    """

    looks_at_headers_only = True
    _halved: Sequence[int] = (0,)  # how often height and width are, of images that are stored; ascending

    def __init__(self, path: str, num_threads: int, reading: Reading):
        self.path = path
        self.notes = []
        self._reading = reading
        self._has_cut = False  # values above `max_value`, and said so
        self._threads = max(1, num_threads)
        self._executor = ThreadPoolExecutor(self._threads, "decode")

    def name(self, index: int, level: int | None = None) -> str:
        """The name of an image in messages. level: None is the first."""
        raise NotImplementedError

    def open_image(self, index: int, level: int | None = None) -> BinaryIO:
        """The file of an image. Any exception means that it cannot be read."""
        raise NotImplementedError

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def checksum(self, index: int, level: int) -> int:
        """A number of 32 bits for the content of the file of an image. Any exception means that it cannot be read."""
        raise NotImplementedError

    # Looking at all images.

    def _scan(self) -> None:
        """Finds out shape and levels. Raises UserError that lists all images that cannot be used."""
        facts = self._look_at_all()
        usable = collections.Counter(fact for fact in facts if fact.mode in CHANNELS)
        expected = usable.most_common(1)[0][0] if usable else None
        problems = []
        for index, fact in enumerate(facts):
            if fact.mode not in CHANNELS:
                problem = fact.problem or f"{fact}, expected RGB, RGBA or grayscale with 8 bits"
                problems.append(f"{self.name(index)}: {problem}")
            elif fact != expected:
                problems.append(f"{self.name(index)}: {fact}, most are {expected}")
        problems = listed(problems, _MAX_LISTED)
        if expected is not None:
            self.channels = CHANNELS[expected.mode]
            size = expected.height, expected.width
            try:
                self.resolution = resolution_of(size)
            except ValueError as error:
                problems.append(f"images are {expected}, but {str(error).removeprefix(f'{size_text(size)}: ')}")
            else:
                self.levels = [self.resolution.log2 - times for times in self._halved]
                problems += [f"images are {expected}, {problem}" for problem in self._problems_of_size()]
        is_deep = any(fact.mode in (DEEP, "I", "F") for fact in facts)
        report(self.path, problems, _HINT + (_HINT_DEEP if is_deep else ""))
        self.notes += notes_about(facts, self._reading)
        turned = sum(fact.turned for fact in facts)
        self.changes = [("exif", self._reading.exif, turned)] if turned else []
        if self._reading.max_value is not None:
            self.changes.append(("max_value", self._reading.max_value))

    def _problems_of_size(self) -> list[str]:
        """What is wrong with `resolution`, which is that of most images."""
        return []

    def _look_at_all(self) -> list[ImageFacts]:
        facts = []
        known: dict[ImageFacts, ImageFacts] = {}  # most are alike, and kept once
        with Progress(self.count, "images") as progress:
            look = lambda index: look_at(lambda: self.open_image(index), self._reading)  # noqa: E731
            for fact in parallel_map(look, range(self.count), self._threads):
                known_one = known.setdefault(fact, fact)
                same = (known_one.turned, known_one.animated) == (fact.turned, fact.animated)
                facts.append(known_one if same else fact)
                progress.update(1)
        return facts

    def checksums(self, count: int) -> np.ndarray:
        """Of samples of each file where it has no checksum. Raises UserError."""

        def of_image(index: int) -> int:
            try:
                full, *lower = (persistently(partial(self.checksum, index, level)) for level in self.levels)
            except Exception as error:
                raise UserError(f"{self.path}: {self.name(index, self.levels[0])}: {reason(error)}") from None
            return full << 32 | (zlib.crc32(repr(lower).encode()) if lower else 0)

        numbers = np.empty(count, np.uint64)
        with Progress(count, "checksums of images") as progress:
            for index, number in enumerate(parallel_map(of_image, range(count), self._threads)):
                numbers[index] = number
                progress.update(1)
        return numbers

    # Reading.

    def read_stored(self, indices: np.ndarray, level: int) -> np.ndarray:
        images = np.empty([len(indices), self.channels, *self._size(level)], np.uint8)

        def store(item: tuple[int, int]) -> None:
            images[item[0]] = self._decode(item[1], level)

        # All results are asked for, so that an exception of a thread is raised here.
        list((self._executor.map if len(indices) > 1 else map)(store, enumerate(indices.tolist())))
        return images

    def _decode(self, index: int, level: int) -> np.ndarray:
        """An image, uint8 [C, H, W]. Raises UserError."""
        facts, image = decode(lambda: self.open_image(index, level), self._reading)
        problem = facts.problem
        if image and ((image.height, image.width), CHANNELS.get(facts.mode)) != (self._size(level), self.channels):
            problem = f"{facts}, unlike the other images"
        if problem:
            raise UserError(f"{self.path}: {self.name(index, level)}: {problem}")
        if self._reading.max_value is not None and facts.peak > self._reading.max_value and not self._has_cut:
            self._has_cut = True
            print(f"{self.path}: {self.name(index, level)}: {notes_about_depth([facts], self._reading)[0]}")
        return to_chw(image)

    def _size(self, level: int) -> tuple[int, int]:
        times = self.resolution.log2 - level
        return self.resolution.height >> times, self.resolution.width >> times

    def problem_of(self, index: int, level: int) -> str | None:
        try:
            self._decode(index, level)
        except UserError as error:
            return str(error).removeprefix(f"{self.path}: ")
        return None

    def verify_images(self, progress: Callable[[int], None]) -> None:
        images = itertools.product(self.levels, range(self.count))
        problems = []
        for problem in parallel_map(lambda image: self.problem_of(image[1], image[0]), images, self._threads):
            problems += [problem] if problem else []
            progress(1)
        report(self.path, listed(problems, MAX_DAMAGED))


# ----------------------------------------------------------------------------
# Kinds of storage.


class FileSource(EncodedSource):
    """Images of a folder or zip file in order of their names; labels from `dataset.json` or from class folders."""

    def __init__(self, path: str, num_threads: int, reading: Reading):
        super().__init__(path, num_threads, reading)
        self._container = Container(path)
        self.kind = self._container.kind
        self.names, others = find_images(self._container, reading)
        self.notes = self._container.notes
        self.notes += [others] if others else []
        self.count = len(self.names)
        if not self.names:
            raise UserError("\n".join([f"{path}: has no images", *self.notes]))
        self._scan()
        self.labels, self.label_names = labels_of_images(self._container, self.names)

    def name(self, index: int, level: int | None = None) -> str:
        return printable(self.names[index])

    def open_image(self, index: int, level: int | None = None) -> BinaryIO:
        return self._container.open(self.names[index])

    def checksum(self, index: int, level: int) -> int:
        return self._container.checksum(self.names[index])

    def files(self) -> list[str]:
        return list(dict.fromkeys(map(self._container.path_of, self.names)))

    def close(self) -> None:
        super().close()
        self._container.close()


class LmdbSource(EncodedSource):
    """An LMDB folder with images under `NUMBER-INDEX` (`256-00042`) and how many they are under `length`.

    NUMBER is their height or their width; there may be halved images, under half of it, and so on.
    """

    kind = "lmdb"

    def __init__(self, path: str, num_threads: int, reading: Reading):
        super().__init__(path, num_threads, reading)
        with lmdb_errors(path):
            self._env = open_lmdb(path)
            self._check_keys()
        self._scan()

    def _check_keys(self) -> None:
        with self._env.begin(buffers=True) as transaction:
            length = bytes(transaction.get(b"length") or b"")
            numbers = {
                number for number in range(1, _MAX_SIDE + 1) if transaction.get(f"{number}-00000".encode()) is not None
            }
            if not numbers or not length.isdigit() or len(length) > 11 or int(length) < 1:
                with transaction.cursor() as cursor:
                    first = itertools.islice(cursor.iternext(values=False), 3)
                    keys = [bytes(key)[:40].decode(errors="replace") for key in first]
                raise UserError(
                    f"{self.path}: expected an LMDB with the keys 'length' and, for example, '256-00000'; "
                    f"its first keys are {keys}"
                )
            self.count, self._number = int(length), max(numbers)
            halves = {times: self._number / (1 << times) for times in range(self._number.bit_length())}
            self._halved = [times for times, number in halves.items() if number in numbers]
            entries = self._env.stat()["entries"]
            if self.count * len(self._halved) >= entries:
                raise UserError(
                    f"{self.path}: is incomplete: {entries} entries, expected {self.count} images "
                    f"at {', '.join(str(self._number >> times) for times in self._halved)} and their number"
                )
            names = (self._name(index, times) for times in self._halved for index in range(self.count))
            missing = [f"{name}: is missing" for name in names if transaction.get(name.encode()) is None]
        report(self.path, listed(missing, _MAX_LISTED))

    def _problems_of_size(self) -> list[str]:
        sides = dict.fromkeys((self.resolution.height, self.resolution.width))
        expected = " or ".join(f"{side}-" for side in sides)
        fits = self._number in sides
        return [] if fits else [f"but their keys begin with {self._number}-, expected {expected}"]

    def _name(self, index: int, times: int) -> str:
        return f"{self._number >> times}-{index:05d}"

    def name(self, index: int, level: int | None = None) -> str:
        return self._name(index, 0 if level is None else self.resolution.log2 - level)

    def _key(self, index: int, level: int | None) -> bytes:
        return self.name(index, level).encode()

    def open_image(self, index: int, level: int | None = None) -> BinaryIO:
        with self._env.begin(buffers=True) as transaction:
            return io.BytesIO(transaction.get(self._key(index, level)))

    def checksum(self, index: int, level: int) -> int:
        with self._env.begin(buffers=True) as transaction:
            content = transaction.get(self._key(index, level))
            return sampled_checksum(len(content), lambda begin, size: content[begin : begin + size])

    def files(self) -> list[str]:
        return [os.path.join(self.path, "data.mdb")]

    def close(self) -> None:
        super().close()
        self._env.close()
