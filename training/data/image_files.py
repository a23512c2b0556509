"""Sources of images that are stored as files of an image format: folders, zip files, LMDB folders.

All images are looked at when a source is opened (their headers only), and all that do not fit are listed by name.
"""

import collections
import io
import itertools
import os
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
import PIL.Image

from dnnlib.errors import UserError, shorten
from dnnlib.files import list_files
from dnnlib.pictures import CHANNELS, describe, mode_of
from dnnlib.progress import Progress

from .image_sources import ImageSource, level_of, problems_error
from .labels import labels_of_images

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_MAX_ENCODED = 1 << 30  # bytes of one image file


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

    # Looking at all images.

    def _scan(self) -> None:
        """Finds out shape and level. Raises UserError that lists all images that cannot be used."""
        level = self.levels[0] if self.levels else None
        found = self._for_all(self._look, [(index, level) for index in range(self.count)])
        usable = collections.Counter(look for look in found if not isinstance(look, str))
        expected = usable.most_common(1)[0][0] if usable else None
        problems = []
        for index, look in enumerate(found):
            if isinstance(look, str):
                problems.append(f"{self.name(index, level)}: {look}")
            elif look != expected:
                problems.append(f"{self.name(index, level)}: {_describe(look)}, most are {_describe(expected)}")
        problems = shorten(problems)
        if expected is not None:
            (width, height), mode = expected
            self.channels = CHANNELS[mode]
            if width != height or level_of(width) is None or level not in (None, level_of(width)):
                wanted = "square with a power of two from 4" if level is None else f"{1 << level}x{1 << level}"
                problems.append(f"images are {_describe(expected)}, expected {wanted}")
            elif level is None:
                self.levels = [level_of(width)]
        if problems:
            hint = (
                "`dataset_tool.py create_from_images` makes a data set of such images, too: --resolution and "
                "--crop=center change their sizes, --convert=rgb or --convert=gray their kinds"
            )
            raise UserError(f"{problems_error(self.path, problems)}\n({hint})")

    def _for_all(self, function: Callable[[int, int | None], Any], images: list[tuple[int, int | None]]) -> list:
        progress = Progress(len(images), "images")
        results = []
        for result in self._executor.map(lambda image: function(*image), images):
            results.append(result)
            progress.update(1)
        return results

    def _look(self, index: int, level: int | None) -> "tuple[tuple[int, int], str] | str":
        """Size and mode of an image, or what is wrong with it."""
        try:
            with self.open_image(index, level) as file, PIL.Image.open(file) as image:
                mode = mode_of(image)
                if mode in CHANNELS:
                    return image.size, mode
                return f"{describe(*image.size, mode)}, expected RGB or grayscale with 8 bits"
        except Exception as error:  # decoders raise all sorts
            return f"cannot be read ({str(error) or type(error).__name__})"

    # Reading.

    def read_stored(self, indices: np.ndarray, level: int) -> np.ndarray:
        images = np.empty([len(indices), self.channels, 1 << level, 1 << level], np.uint8)

        def decode(item: tuple[int, int]) -> None:
            images[item[0]] = self._decode(item[1], level)

        # All results are asked for, so that an exception of a thread is raised here.
        list((self._executor.map if len(indices) > 1 else map)(decode, enumerate(indices.tolist())))
        return images

    def _decode(self, index: int, level: int) -> np.ndarray:
        """An image, uint8 [C, H, W]. Raises UserError."""
        name = self.name(index, level)
        try:
            with self.open_image(index, level) as file, PIL.Image.open(file) as image:
                size, mode = image.size, mode_of(image)
                channels = CHANNELS.get(mode)
                pixels = np.asarray(image) if (size, channels) == ((1 << level, 1 << level), self.channels) else None
        except Exception as error:
            raise UserError(f"{self.path}: {name}: cannot be read ({str(error) or type(error).__name__})") from None
        if pixels is None:
            raise UserError(f"{self.path}: {name}: {describe(*size, mode)}, unlike the other images")
        return pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)  # HWC to CHW

    def verify_images(self, progress: Callable[[int], None]) -> None:
        problems = []

        def check(image: tuple[int, int]) -> None:
            try:
                self._decode(*image)
            except UserError as error:
                problems.append(str(error).removeprefix(f"{self.path}: "))

        for _ in self._executor.map(check, [(index, level) for level in self.levels for index in range(self.count)]):
            progress(1)
        if problems:
            raise problems_error(self.path, shorten(problems))


def _describe(look: tuple[tuple[int, int], str]) -> str:
    return describe(*look[0], look[1])


# ----------------------------------------------------------------------------
# Kinds of storage.


def is_image_name(path: str) -> bool:
    """Whether a path, with `/`, looks like that of an image and no part of it is hidden."""
    return path.lower().endswith(EXTENSIONS) and not any(p.startswith((".", "__MACOSX")) for p in path.split("/"))


class _NamedSource(EncodedSource):
    """Images with names, in alphabetical order; labels from `dataset.json` or from class folders."""

    names: list[str]

    def _open(self, names: Iterable[str]) -> None:
        self.names = sorted(name for name in names if is_image_name(name))
        self.count = len(self.names)
        if not self.names:
            raise UserError(f"{self.path}: has no images ({', '.join(EXTENSIONS)})")
        self._scan()
        self.labels = labels_of_images(self.path, self.names, self._read_text)

    def name(self, index: int, level: int | None) -> str:
        return self.names[index]

    def _read_text(self, name: str) -> bytes | None:
        """A file besides the images, or None if there is none."""
        raise NotImplementedError


class FolderSource(_NamedSource):
    """A folder of images, sub-folders included."""

    kind = "folder"

    def __init__(self, path: str, num_threads: int):
        super().__init__(path, num_threads)
        self._open(list_files(path))

    def open_image(self, index: int, level: int | None) -> BinaryIO:
        return open(os.path.join(self.path, self.names[index]), "rb")

    def files(self) -> list[str]:
        return [os.path.join(self.path, name) for name in self.names]

    def _read_text(self, name: str) -> bytes | None:
        path = os.path.join(self.path, name)
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            return file.read()


class ZipSource(_NamedSource):
    """A zip file of images."""

    kind = "zip"

    def __init__(self, path: str, num_threads: int):
        super().__init__(path, num_threads)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UserError(f"{path}: cannot be read as a zip file ({error})") from None
        self._open(info.filename for info in self._zip.infolist() if not info.is_dir())

    def open_image(self, index: int, level: int | None) -> BinaryIO:
        return self._open_file(self.names[index])

    def files(self) -> list[str]:
        return [self.path]

    def _open_file(self, name: str) -> BinaryIO:
        info = self._zip.getinfo(name)
        if info.file_size > _MAX_ENCODED:
            raise ValueError(f"{info.file_size} bytes are too many")
        return self._zip.open(info)

    def _read_text(self, name: str) -> bytes | None:
        if name not in self._zip.NameToInfo:
            return None
        try:
            with self._open_file(name) as file:
                return file.read()
        except Exception as error:
            raise UserError(f"{self.path}: {name}: cannot be read ({error})") from None

    def close(self) -> None:
        super().close()
        if hasattr(self, "_zip"):
            self._zip.close()


class LmdbSource(EncodedSource):
    """An LMDB folder with images under `RESOLUTION-NUMBER` (`256-00042`) and their number under `length`."""

    kind = "lmdb"

    def __init__(self, path: str, num_threads: int):
        super().__init__(path, num_threads)
        try:
            import lmdb
        except ImportError:
            raise UserError(f"{path}: reading LMDB needs the package lmdb: pip install lmdb") from None
        try:
            self._env = lmdb.open(path, readonly=True, lock=False, readahead=False, meminit=False)
            self._check_keys()
        except lmdb.Error as error:
            raise UserError(f"{path}: cannot be read as LMDB ({error})") from None
        self._scan()

    def _check_keys(self) -> None:
        used = self._env.stat()["psize"] * (self._env.info()["last_pgno"] + 1)
        size = os.path.getsize(os.path.join(self.path, "data.mdb"))
        if size < used:  # it is mapped into memory: reading on would end the process
            raise UserError(f"{self.path}/data.mdb: is cut off: {size} bytes, expected {used}")
        with self._env.begin(buffers=True) as transaction:
            length = bytes(transaction.get(b"length") or b"")
            levels = [level for level in range(16, 1, -1) if transaction.get(self._key(0, level)) is not None]
            if not levels or not length.isdigit() or not 0 < len(length) < 12 or int(length) < 1:
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
        if missing:
            raise problems_error(self.path, shorten(missing))

    def _key(self, index: int, level: int) -> bytes:
        return self.name(index, level).encode()

    def name(self, index: int, level: int | None) -> str:
        return f"{1 << level}-{index:05d}"

    def open_image(self, index: int, level: int | None) -> BinaryIO:
        with self._env.begin(buffers=True) as transaction:
            return io.BytesIO(transaction.get(self._key(index, level)))

    def files(self) -> list[str]:
        return [os.path.join(self.path, "data.mdb")]

    def close(self) -> None:
        super().close()
        if hasattr(self, "_env"):
            self._env.close()
