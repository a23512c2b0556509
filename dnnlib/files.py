"""Files that appear whole or not at all, logs, digests and sizes, work of one process at a time, and finding files."""

import contextlib
import errno
import glob
import hashlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from .errors import UserError, did_you_mean


def sha256_of(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's content, in hex digits. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def format_size(num_bytes: float) -> str:
    """'12.3 GB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def short_name(name: str, most: int = 100) -> str:
    """The beginning of a name, of at most so many bytes in UTF-8: file systems allow 255, with all that is added."""
    name = name[:most]
    while len(name.encode(errors="surrogatepass")) > most:
        name = name[:-1]
    return name


def _check_name(path: str) -> None:
    """Raises OSError for a path that no file can have, such as one that is too long, before anything is made for it."""
    with contextlib.suppress(FileNotFoundError):
        os.lstat(path)


def free_space(folder: str | os.PathLike) -> int | None:
    """Bytes that can be written to the disk of a folder. None: some network file systems do not know."""
    usage = shutil.disk_usage(folder)
    return usage.free if usage.total else None


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file that takes its name when the block ends without an exception; before, it has a temporary one.

    Raises OSError with the final name for an unwritable folder or a full disk; nothing is left behind then.
    """
    path = os.fspath(path)
    _check_name(path)
    name = f".{short_name(os.path.basename(path))}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
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
            raise OSError(error.errno, error.strerror or str(error), path) from None  # NumPy's have a text only
        raise


class Log:
    """A file that grows piece by piece, and is not worth ending work for: what a full disk does not take is lost.

    Args:
        path: of the file. It is opened for each piece: network drives may lose files that are open.
        tell: called with a line when nothing can be added to the file, and when it can be again.
        mode: 'a' adds to a file that is there, 'w' starts a new one.

    Raises OSError where the file cannot be made.
    """

    def __init__(self, path: str | os.PathLike, tell: Callable[[str], None], mode: str = "a"):
        self.path = os.fspath(path)
        self._tell = tell
        self._lost = 0  # pieces since nothing can be added
        with open(self.path, f"{mode}b"):
            pass

    def add(self, data: bytes) -> None:
        """Adds a piece. One that does not fit is left out as a whole."""
        try:
            append(self.path, data)
        except OSError as error:
            self._lost += 1
            if self._lost == 1:
                self._tell(f"{self.path}: {error.strerror}; nothing is added to it until that is over")
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self._tell(f"{self.path} can be written again; {lost} {'piece is' if lost == 1 else 'pieces are'} missing")


def append(path: str | os.PathLike, data: bytes) -> None:
    """Adds data to the end of a file, all of it or nothing. Raises OSError with the file's name."""
    with open(path, "ab", buffering=0) as file:
        length = os.fstat(file.fileno()).st_size
        left = memoryview(data)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(path, length)
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[str]:
    """A path to write a file or folder at, which takes its name when the block ends without an exception.

    It replaces what has the name then, a folder, too. Raises OSError with the final name where it cannot be written;
    nothing is left behind then, and what had the name keeps it.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    _check_name(path)
    try:
        room = tempfile.mkdtemp(prefix=f".{short_name(name)}.", suffix=".tmp", dir=folder or ".")
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


def existing_part(path: str) -> str:
    """An absolute path, or of the folders that it lies in the nearest that is there."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def check_can_be_made(name: str, folder: str) -> None:
    """Raises UserError, which begins with `name`, unless files can be made in a folder, given by its absolute path.

    It may be that it has to be made first.
    """
    existing = existing_part(folder)
    if not os.path.isdir(existing):
        raise UserError(f"{name}: {existing} is a file, expected a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{name}: {existing} is not writable")


def take_place(new: str, folder: str, old: str) -> None:
    """Gives a folder the name of another, which is called `old` meanwhile and then removed. Raises OSError."""
    os.rename(folder, old)
    try:
        os.rename(new, folder)
    except BaseException:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: str) -> None:
    """Brings a file, or all files of a folder, to the disk."""
    paths = [path]
    if os.path.isdir(path):
        paths = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    for name in paths:
        with open(name, "rb") as file:
            os.fsync(file.fileno())


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what file systems without locks answer


@contextlib.contextmanager
def only_one(
    lock: str | os.PathLike, waiting: str | None = None, busy: str | None = None, patience: float = 0.0
) -> Iterator[bool]:
    """Inside, this process is the only one that holds the lock file. The file is removed at the end.

    Where a process is killed, its lock ends, and the next one takes the file over.

    Args:
        lock: path of the file.
        waiting: what to print while another process has it.
        busy: what to raise in place of waiting.
        patience: seconds to wait nevertheless before that is raised.

    Yields whether it is locked: on file systems without locks nothing is, and work goes on; nor where filelock is not
    installed and there is nothing to refuse, so that networks and ops need TensorFlow and NumPy alone.

    Raises UserError with the text `busy` where another process has the lock; OSError where the file cannot be made.
    """
    try:
        import filelock  # takes as long as the rest of a script's --help
    except ModuleNotFoundError:
        if busy is not None:
            raise
        yield False
        return
    file_lock = filelock.FileLock(lock)
    locked = True
    try:
        file_lock.acquire(blocking=False)
    except filelock.Timeout:
        if waiting:
            print(waiting, file=sys.stderr)
        try:
            file_lock.acquire(timeout=-1 if busy is None else patience)
        except filelock.Timeout:
            raise UserError(busy) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        locked = False
    try:
        yield locked
    finally:
        with contextlib.suppress(OSError):
            os.unlink(lock)  # before others can lock it: they see that it is gone, and make another
        file_lock.release()


# ----------------------------------------------------------------------------
# Finding files.


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
    raise UserError(f"{name}: no such file{did_you_mean(os.path.basename(path), known)}")


def list_files(path: str, denied: list[str] | None = None) -> Iterable[str]:
    """All files below a folder, relative to it, with `/`. Links to folders are followed, each folder once.

    denied: gets the folders below that this user may not look into; None: they are an error.

    Raises OSError for folders that cannot be read.
    """

    def failed(error: OSError) -> None:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return  # there is nothing, or nothing any more
        inside = _inside(path, error.filename)
        if isinstance(error, PermissionError) and denied is not None and inside != ".":
            denied.append(inside)
        else:
            raise error

    seen = set()
    for root, folders, files in os.walk(path, onerror=failed, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        prefix = _inside(path, root) + "/"
        yield from (prefix.removeprefix("./") + name for name in files)


def _inside(path: str, name: str) -> str:
    """A path relative to a folder, with `/`."""
    return os.path.relpath(name, path).replace(os.sep, "/")


class SpecialFileError(OSError):
    """What is to be read as a file is a pipe, socket or device."""


def open_file(path: str | os.PathLike) -> BinaryIO:
    """A file, opened for reading.

    Raises SpecialFileError where reading may never end, OSError where it cannot be opened.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise SpecialFileError(errno.EINVAL, "pipe, socket or device", os.fspath(path))
    return open(path, "rb")
