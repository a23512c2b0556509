"""Files by name, in a folder or a zip file; and LMDB folders, opened with care."""

import contextlib
import errno
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from dnnlib.errors import UserError, listed, printable
from dnnlib.files import list_files, open_file
from dnnlib.kinds import mistaken_file
from dnnlib.network_drives import persistently

_MAX_UNPACKED = 1 << 30  # bytes of one file of a zip file
_MAX_SMALL = 1 << 28  # bytes that a small file may unpack to: an image without much in it
_MAX_TEXT = 1 << 25  # bytes that a small text may unpack to, which take 50 times the memory
_MAX_RATIO = 20  # bytes for one of the zip file, for larger ones
_MOST_NAMES = 5  # in a line
_PARTS, _PART = 4, 32 << 10  # of a file, in bytes each, that stand for its content


class Container:
    """The files of a folder, sub-folders included, or of a zip file. Reading is thread-safe.

    Attributes:
        path: of the folder or zip file.
        kind: 'folder' or 'zip'.
        names: of all files, hidden ones included, relative to the folder, as `member_name` spells them; sorted.
        notes: what is to be said of them.

    Given names of files of a folder, it has these alone. Raises UserError for a folder that cannot be listed, and for a
    file that cannot be read as a zip file.
    """

    def __init__(self, path: str, names: Iterable[str] | None = None):
        self.path = path
        self.notes: list[str] = []
        self._zip: zipfile.ZipFile | None = None
        self.kind = "zip" if os.path.isfile(path) else "folder"
        if self.kind == "folder":
            self._set_names(self._files() if names is None else names)
            return
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            what = f"it cannot be read as a zip file ({mistaken_file(path) or error})"
            raise UserError(f"{path}: expected a folder or a zip file, but {what}") from None
        self._set_names(info.filename for info in self._zip.infolist() if not info.filename.endswith(("/", "\\")))

    def _files(self) -> list[str]:
        """Those of the folder. Raises UserError if it cannot be listed."""
        denied: list[str] = []

        def attempt() -> list[str]:
            denied.clear()
            return list(list_files(self.path, denied))

        try:
            files = persistently(attempt)
        except OSError as error:
            raise UserError(f"{error.filename or self.path}: cannot be listed ({error.strerror or error})") from None
        if denied:
            folders = ", ".join(printable(name) for name in listed(denied, _MOST_NAMES))
            self.notes.append(f"Left out what this user may not look into: {folders}.")
        return files

    def _set_names(self, stored: Iterable[str]) -> None:
        self._stored: dict[str, str] = {}  # how they are spelt there, of those that are spelt otherwise
        names: set[str] = set()
        twice = 0
        for there in stored:
            name = member_name(there)
            twice += name in names
            if name == there:
                self._stored.pop(name, None)
                name = there  # the same text is kept once
            else:
                self._stored[name] = there
            names.add(name)
        self.names = sorted(names)
        if twice:
            self.notes.append(f"{twice} names are there twice; of each the last file is taken.")

    def open(self, name: str) -> BinaryIO:
        """A file, opened for reading. Any exception means that it cannot be read."""
        if self._zip is None:
            return open_file(self.path_of(name))
        return self._open_member(name, _MAX_SMALL)

    def _open_member(self, name: str, most: int) -> BinaryIO:
        info = self._zip.getinfo(self._stored.get(name, name))
        if info.file_size > min(_MAX_UNPACKED, max(most, _MAX_RATIO * info.compress_size)):
            raise ValueError(f"unpacks to {info.file_size} bytes")
        try:
            return self._zip.open(info)
        except OSError as error:
            if error.errno == errno.ESTALE:  # a file server was started again; who tries again finds the file again
                self._zip = zipfile.ZipFile(self.path)
            raise

    def read(self, name: str) -> bytes | None:
        """What is in a file of text; None if there is no such file. Raises UserError if it cannot be read."""
        if name not in self.names:
            return None
        try:
            with self.open(name) if self._zip is None else self._open_member(name, _MAX_TEXT) as file:
                return file.read()
        except Exception as error:  # of any kind: zip files may be damaged everywhere
            raise UserError(f"{self.path}: {name}: cannot be read ({error})") from None

    def checksum(self, name: str) -> int:
        """A number of 32 bits for what is in a file: its CRC-32 in a zip file, `sampled_checksum` in a folder."""
        if self._zip is not None:
            return self._zip.getinfo(self._stored.get(name, name)).CRC
        with self.open(name) as file:

            def part(begin: int, size: int) -> bytes:
                file.seek(begin)
                return file.read(size)

            return sampled_checksum(os.fstat(file.fileno()).st_size, part)

    def folders(self, inside: str) -> list[str]:
        """Names of the folders in one of the folders, given with `/` at its end, or '' for all of it; no hidden ones.

        A zip file may lack those that are empty.
        """
        if self._zip is None:
            with os.scandir(os.path.join(self.path, inside)) as entries:
                return [entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name)]
        stored = (info.filename for info in self._zip.infolist())
        paths = (member_name(name) + "/" * name.endswith(("/", "\\")) for name in stored)
        below = (path.removeprefix(inside) for path in paths if path.startswith(inside))
        return list(dict.fromkeys(path.split("/")[0] for path in below if "/" in path and not is_hidden(path)))

    def path_of(self, name: str) -> str:
        """The path on the disk of what holds a file: its own, or that of the zip file."""
        return os.path.join(self.path, self._stored.get(name, name)) if self._zip is None else self.path

    def close(self) -> None:
        """Closes the zip file."""
        if self._zip is not None:
            self._zip.close()


def member_name(name: str) -> str:
    """The name of a file of a folder or zip file, of `dataset.json` too, as all of them are compared: with `/` alone.

    Programs of Windows write `\\` into zip files, and others `./` or `/` in front.
    """
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def sampled_checksum(size: int, read: Callable[[int, int], bytes]) -> int:
    """The CRC-32 of so many bytes; of many, of their number and some parts from the first to the last.

    To read all of a large data set would take too long whenever a training goes on. Images of another content differ
    in all parts, if they are compressed.

    read: (begin, size) -> bytes.
    """
    if size <= _PARTS * _PART:
        return zlib.crc32(read(0, size))
    result = zlib.crc32(str(size).encode())
    for number in range(_PARTS):
        result = zlib.crc32(read((size - _PART) * number // (_PARTS - 1), _PART), result)
    return result


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it is in, is hidden, or of those that macOS and Synology add."""
    return any(part.startswith(".") or part in ("__MACOSX", "@eaDir") for part in name.split("/"))


# ----------------------------------------------------------------------------
# LMDB.


@contextlib.contextmanager
def lmdb_errors(path: str) -> Iterator[None]:
    """Inside, errors of LMDB are UserErrors; so is, before, that the package is missing."""
    try:
        import lmdb
    except ImportError:
        raise UserError(f"{path}: reading LMDB needs the package lmdb: pip install lmdb") from None
    try:
        yield
    except lmdb.Error as error:
        raise UserError(f"{path}: cannot be read as LMDB ({error})") from None


def open_lmdb(path: str) -> Any:
    """The `lmdb.Environment` of a folder. Raises UserError if it is cut off, lmdb.Error if it is no LMDB."""
    import lmdb

    env = lmdb.open(path, readonly=True, lock=False, readahead=False, meminit=False)
    used = env.stat()["psize"] * (env.info()["last_pgno"] + 1)
    size = os.path.getsize(os.path.join(path, "data.mdb"))
    if size < used:  # it is mapped into memory: reading on would end the process
        env.close()
        raise UserError(f"{path}/data.mdb: is cut off: {size} bytes, expected {used}")
    return env
