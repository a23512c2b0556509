"""Images that are stored as files of an image format, and sources of them: folders, zip files, LMDB folders.

All images are looked at when a source is opened (their headers only), and all that do not fit are listed by name.
"""

import collections
import io
import itertools
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import PIL.Image

from dnnlib.errors import UserError, listed
from dnnlib.pictures import CHANNELS, mode_name, mode_of, to_chw
from dnnlib.progress import Progress

from .containers import Container, is_hidden, lmdb_errors, open_lmdb, sampled_checksum
from .image_sources import ImageSource, level_of, report
from .labels import labels_of_images

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_MAX_LISTED = 20
_AT_ONCE = 1000  # images that threads are asked for


def is_image_name(path: str) -> bool:
    """Whether a path, with `/`, looks like that of an image and no part of it is hidden."""
    return path.lower().endswith(EXTENSIONS) and not is_hidden(path)


# ----------------------------------------------------------------------------
# One image.


@dataclass(frozen=True)
class ImageFacts:
    """What a file turned out to be: size in pixels, mode (of `dnnlib.pictures`), or why it is not a whole image."""

    width: int = 0
    height: int = 0
    mode: str = ""
    rotated: bool = field(default=False, compare=False)  # asks viewers to turn it, by its EXIF orientation
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {mode_name(self.mode)}"


def look_at(open_file: Callable[[], BinaryIO]) -> ImageFacts:
    """What an image file is by its header; a PNG file may say only after its pixels that it is rotated."""
    try:
        with open_file() as file:
            image = _open(file)
            return _facts(image, mode_of(image))
    except Exception as error:  # of any kind: decoders meet hostile files
        return ImageFacts(problem=_reason(error))


def decode(open_file: Callable[[], BinaryIO]) -> tuple[ImageFacts, PIL.Image.Image | None]:
    """What an image file is, and the image with its pixels; None if they are not whole."""
    try:
        with open_file() as file:
            image = _open(io.BytesIO(file.read()))
        mode = mode_of(image)
        image.load()
        return _facts(image, mode), image
    except Exception as error:
        return ImageFacts(problem=_reason(error)), None


def _open(file: BinaryIO) -> PIL.Image.Image:
    if not file.read(1):
        raise ValueError("the file is empty")
    file.seek(0)
    return PIL.Image.open(file)


def _facts(image: PIL.Image.Image, mode: str) -> ImageFacts:
    orientation = PIL.Image.Image.getexif(image).get(0x0112, 1)  # that of PNG images would decode them
    return ImageFacts(*image.size, mode, orientation != 1)


def _reason(error: Exception) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"cannot be read ({' '.join(str(error).split())[:100] or type(error).__name__})"


# ----------------------------------------------------------------------------
# Many images.


class EncodedSource(ImageSource):
    """Images in files. A subclass sets `path`, `count` and `levels` (None: as found), then calls `_scan`.

    num_threads: threads that decode images.
    """

    levels: list[int] | None = None

    def __init__(self, path: str, num_threads: int):
        self.path = path
        self._executor = ThreadPoolExecutor(max(1, num_threads), "decode")

    def name(self, index: int, level: int | None) -> str:
        """The name of an image in messages."""
        raise NotImplementedError

    def open_image(self, index: int, level: int | None) -> BinaryIO:
        """The file of an image. Any exception means that it cannot be read."""
        raise NotImplementedError

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def checksum(self, index: int, level: int) -> int:
        """A number of 32 bits for the content of the file of an image. Any exception means that it cannot be read."""
        raise NotImplementedError

    # Looking at all images.

    def _scan(self) -> None:
        """Finds out shape and level. Raises UserError that lists all images that cannot be used."""
        level = self.levels[0] if self.levels else None
        facts = self._look_at_all(level)
        usable = collections.Counter(fact for fact in facts if fact.mode in CHANNELS)
        expected = usable.most_common(1)[0][0] if usable else None
        problems = []
        for index, fact in enumerate(facts):
            if fact.mode not in CHANNELS:
                problem = fact.problem or f"{fact}, expected RGB or grayscale with 8 bits"
                problems.append(f"{self.name(index, level)}: {problem}")
            elif fact != expected:
                problems.append(f"{self.name(index, level)}: {fact}, most are {expected}")
        problems = listed(problems, _MAX_LISTED)
        if expected is not None:
            width = expected.width
            self.channels = CHANNELS[expected.mode]
            if width != expected.height or level_of(width) is None or level not in (None, level_of(width)):
                wanted = "square with a power of two from 4" if level is None else f"{1 << level}x{1 << level}"
                problems.append(f"images are {expected}, expected {wanted}")
            elif level is None:
                self.levels = [level_of(width)]
        hint = (
            "`dataset_tool.py create_from_images` makes a data set of such images, too: --resolution and "
            "--crop=center change their sizes, --convert=rgb or --convert=gray their kinds"
        )
        report(self.path, problems, hint)

    def _look_at_all(self, level: int | None) -> list[ImageFacts]:
        facts = []
        with Progress(self.count, "images") as progress:
            look = self._executor.map(lambda index: look_at(lambda: self.open_image(index, level)), range(self.count))
            for fact in look:
                facts.append(fact)
                progress.update(1)
        return facts

    def checksums(self, count: int) -> np.ndarray:
        """Of samples of each file where it has no checksum. Raises UserError."""

        def of_image(index: int) -> int:
            try:
                full, *lower = (self.checksum(index, level) for level in self.levels)
            except Exception as error:
                raise UserError(f"{self.path}: {self.name(index, self.levels[0])}: {_reason(error)}") from None
            return full << 32 | (zlib.crc32(repr(lower).encode()) if lower else 0)

        numbers = np.empty(count, np.uint64)
        with Progress(count, "checksums of images") as progress:
            for begin in range(0, count, _AT_ONCE):  # all at once would take 2 kB of memory each
                part = range(begin, min(begin + _AT_ONCE, count))
                numbers[begin : part.stop] = list(self._executor.map(of_image, part))
                progress.update(len(part))
        return numbers

    # Reading.

    def read_stored(self, indices: np.ndarray, level: int) -> np.ndarray:
        images = np.empty([len(indices), self.channels, 1 << level, 1 << level], np.uint8)

        def store(item: tuple[int, int]) -> None:
            images[item[0]] = self._decode(item[1], level)

        # All results are asked for, so that an exception of a thread is raised here.
        list((self._executor.map if len(indices) > 1 else map)(store, enumerate(indices.tolist())))
        return images

    def _decode(self, index: int, level: int) -> np.ndarray:
        """An image, uint8 [C, H, W]. Raises UserError."""
        facts, image = decode(lambda: self.open_image(index, level))
        problem = facts.problem
        if image and (image.size, CHANNELS.get(facts.mode)) != ((1 << level, 1 << level), self.channels):
            problem = f"{facts}, unlike the other images"
        if problem:
            raise UserError(f"{self.path}: {self.name(index, level)}: {problem}")
        return to_chw(image)

    def verify_images(self, progress: Callable[[int], None]) -> None:
        problems = []

        def check(image: tuple[int, int]) -> None:
            try:
                self._decode(*image)
            except UserError as error:
                problems.append(str(error).removeprefix(f"{self.path}: "))

        for _ in self._executor.map(check, [(index, level) for level in self.levels for index in range(self.count)]):
            progress(1)
        report(self.path, listed(problems, _MAX_LISTED))


# ----------------------------------------------------------------------------
# Kinds of storage.


class FileSource(EncodedSource):
    """Images of a folder or zip file in order of their names; labels from `dataset.json` or from class folders."""

    def __init__(self, path: str, num_threads: int):
        super().__init__(path, num_threads)
        self._container = Container(path)
        self.kind = self._container.kind
        self.names = [name for name in self._container.names if is_image_name(name)]
        self.count = len(self.names)
        if not self.names:
            raise UserError(f"{path}: has no images ({', '.join(EXTENSIONS)})")
        self._scan()
        self.labels, self.label_names = labels_of_images(self._container, self.names)

    def name(self, index: int, level: int | None) -> str:
        return self.names[index]

    def open_image(self, index: int, level: int | None) -> BinaryIO:
        return self._container.open(self.names[index])

    def checksum(self, index: int, level: int) -> int:
        return self._container.checksum(self.names[index])

    def files(self) -> list[str]:
        return list(dict.fromkeys(map(self._container.path_of, self.names)))

    def close(self) -> None:
        super().close()
        self._container.close()


class LmdbSource(EncodedSource):
    """An LMDB folder with images under `RESOLUTION-NUMBER` (`256-00042`) and their number under `length`."""

    kind = "lmdb"

    def __init__(self, path: str, num_threads: int):
        super().__init__(path, num_threads)
        with lmdb_errors(path):
            self._env = open_lmdb(path)
            self._check_keys()
        self._scan()

    def _check_keys(self) -> None:
        with self._env.begin(buffers=True) as transaction:
            length = bytes(transaction.get(b"length") or b"")
            levels = [level for level in range(16, 1, -1) if transaction.get(self._key(0, level)) is not None]
            if not levels or not length.isdigit() or len(length) > 11 or int(length) < 1:
                with transaction.cursor() as cursor:
                    first = itertools.islice(cursor.iternext(values=False), 3)
                    keys = [bytes(key)[:40].decode(errors="replace") for key in first]
                raise UserError(
                    f"{self.path}: expected an LMDB with the keys 'length' and, for example, '256-00000'; "
                    f"its first keys are {keys}"
                )
            self.count, self.levels = int(length), levels
            entries = self._env.stat()["entries"]
            if self.count * len(levels) >= entries:
                raise UserError(
                    f"{self.path}: is incomplete: {entries} entries, expected {self.count} images "
                    f"at {', '.join(str(1 << level) for level in levels)} and their number"
                )
            missing = [
                f"{self.name(index, level)}: is missing"
                for level in levels
                for index in range(self.count)
                if transaction.get(self._key(index, level)) is None
            ]
        report(self.path, listed(missing, _MAX_LISTED))

    def _key(self, index: int, level: int) -> bytes:
        return self.name(index, level).encode()

    def name(self, index: int, level: int | None) -> str:
        return f"{1 << level}-{index:05d}"

    def open_image(self, index: int, level: int | None) -> BinaryIO:
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
