"""Files that appear whole or not at all, and work that one process at a time does."""

import contextlib
import difflib
import glob
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from dnnlib.errors import UserError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file that takes its name when the block ends without an exception; before, it has a temporary one.

    Raises OSError with the final name for an unwritable folder or a full disk; nothing is left behind then.
    """
    path = os.fspath(path)
    name = f".{os.path.basename(path)[:100]}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    temporary = os.path.join(os.path.dirname(path), name)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, temporary):
            raise OSError(error.errno, error.strerror, path) from None
        raise


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[str]:
    """A path to write a file or folder at, which takes its name when the block ends without an exception.

    It replaces what has the name then, a folder, too. Raises OSError with the final name where it cannot be written;
    nothing is left behind then, and what had the name keeps it.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    try:
        room = tempfile.mkdtemp(prefix=f".{name[:100]}.", suffix=".tmp", dir=folder or ".")
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    temporary, old = os.path.join(room, name), os.path.join(room, "old")
    try:
        yield temporary
        _sync(temporary)
        if os.path.isdir(path):
            os.rename(path, old)
        try:
            os.replace(temporary, path)
        except BaseException:
            if os.path.lexists(old):
                os.rename(old, path)
            raise
    except OSError as error:
        if error.errno is None or not str(error.filename or temporary).startswith(room):
            raise
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _sync(path: str) -> None:
    """Brings a file, or all files of a folder, to the disk."""
    paths = [path]
    if os.path.isdir(path):
        paths = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    for name in paths:
        with open(name, "rb") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def only_one(lock: str | os.PathLike, waiting: str | None = None) -> Iterator[None]:
    """Inside, this process is the only one that holds the lock file, where the system has file locks.

    waiting: what to print while another process has it. The file is removed at the end.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    while True:
        with open(lock, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting:
                    print(waiting, file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # file systems without locks
                yield
                return
            if not _is_file(lock, file):  # removed by the process that had it before
                continue
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(lock)
            return


def _is_file(path: str | os.PathLike, file: Any) -> bool:
    """Whether an open file is the one that a path names now."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except OSError:
        return False


# ----------------------------------------------------------------------------
# Names of files as command lines give them: with commas between, of files, folders and patterns (`*.npz`).


def find(name: str, wanted: Callable[[str], bool], what: str, recursive: bool = False) -> list[str]:
    """The files that a name stands for: of folders those that are wanted, of patterns all, both sorted.

    Args:
        name: of a file, folder or pattern.
        wanted: whether a file of a folder is meant, by its name.
        what: what they are, for messages.
        recursive: look into folders of folders, too.

    Raises UserError for what is not there, with the nearest name that is.
    """
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        inside = sorted(file for file in (list_files(path) if recursive else os.listdir(path)) if wanted(file))
        if not inside:
            raise UserError(f"{name}: there are no {what} in this folder")
        return [os.path.join(path, file) for file in inside]
    if os.path.exists(path):
        return [path]
    if glob.has_magic(path):
        matching = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
        if not matching:
            raise UserError(f"{name}: no file has such a name")
        return matching
    folder = os.path.dirname(path) or "."
    there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    known = [other for other in there if wanted(other) or os.path.isdir(os.path.join(folder, other))]
    close = difflib.get_close_matches(os.path.basename(path), known, n=1)
    raise UserError(f"{name}: no such file" + (f"; did you mean {close[0]}?" if close else ""))


def format_size(num_bytes: float) -> str:
    """'12.3 GB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def list_files(path: str) -> Iterable[str]:
    """All files below a folder, relative to it, with `/`. Links to folders are followed, each folder once."""
    seen = set()
    for root, folders, files in os.walk(path, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        prefix = os.path.relpath(root, path).replace(os.sep, "/") + "/"
        yield from (prefix.removeprefix("./") + name for name in files)
