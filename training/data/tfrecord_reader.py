"""Reads images from tfrecords by position: an index of records, made once and kept beside the file, and `pread`.

Files are not mapped into memory: a file that is cut short during training is then an error with a message instead of a
signal that ends the process, and opening 200 GB takes no more memory than its index.
"""

import contextlib
import errno
import math
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from dnnlib.errors import UserError, listed
from dnnlib.files import atomic_write
from dnnlib.formats.arrays import load_npz
from dnnlib.kinds import HEAD, mistaken
from dnnlib.network_drives import persistently
from dnnlib.parallel import parallel_map

from .image_encoding import decoded
from .tfrecord_parser import FOOTER, HEADER, DamagedError, Record, checksum, pread, read_length, read_record

MAX_CHECKED_AT_OPENING = 256 << 20  # bytes; of larger files only a sample of the data is checked when they are opened
_SAMPLE = 18  # records
_SAMPLE_OF_INDEX = 64  # records whose checksums are compared when an index is found
_MAX_PROBLEMS = 10  # told per file
_BLOCK = 16 << 20  # bytes read at once to check them
_CHUNK = 1 << 14  # records indexed at once
_WINDOW = 128  # bytes; around the pixels of a record are about 60
_AHEAD = 256  # bytes read at once where records are parsed
_MAX_LAYOUTS = 8
_ZLIB = tuple(bytes([0x78, level]) for level in (0x01, 0x5E, 0x9C, 0xDA))
_WRONG_CHECKSUM = "has a wrong checksum of its data"
_VERSION = 3  # of the file of the index

# ----------------------------------------------------------------------------
# The index: where the pixels of every record are.


class RecordIndex(NamedTuple):
    """Places of all records of a file, in bytes."""

    shape: tuple[int, int, int]  # [C, H, W], of all records
    count: int
    stride: int  # from record to record if all have one length and hold pixels, else 0
    starts: np.ndarray  # of records, int64 [count] if stride is 0, else empty
    sizes: np.ndarray  # of their pixels or image files, uint32 [count] if stride is 0, else empty
    offsets: np.ndarray  # of these in their record, uint32 [count]
    checksums: np.ndarray  # of the data, as the records have them, uint32 [count]

    @property
    def is_raw(self) -> bool:
        """Whether all records hold pixels."""
        return bool((self.sizes == math.prod(self.shape)).all())


def build_index(fd: int, size: int) -> RecordIndex:
    """Finds all records of a file of `size` bytes. Raises DamagedError with one line per problem."""
    if size == 0:
        raise DamagedError("is empty")
    if other := _other_kind(fd, size):
        raise DamagedError(f"is no tfrecord file: {other}")
    with open(fd, "rb", buffering=_AHEAD, closefd=False) as file:
        return _index_by_stride(file, size) or _index_by_walking(file, size)


def _other_kind(fd: int, size: int) -> str | None:
    """What a file is that does not begin with a record, if that can be told."""
    with contextlib.suppress(DamagedError):
        read_length(fd, 0, size)
        return None
    head = os.pread(fd, HEAD, 0)
    for how, begin in (("gzip", b"\x1f\x8b"), ("zlib", _ZLIB)):  # the two that TensorFlow offers
        if head.startswith(begin):
            return f"it is compressed by {how}; unpack it first, images are read from anywhere in it"
    return mistaken(head)


def _index_by_stride(file: BinaryIO, size: int) -> RecordIndex | None:
    """The index of a file in which all records have one length; None for other or damaged files.

    Protobuf leaves the order of the two features open, and files of the official tool have both, record by record. So
    there are a few layouts, and all bytes of a record that are not pixels or their checksum must be those of one.
    """
    fd = file.fileno()
    try:
        first = read_record(file, 0, read_length(fd, 0, size))
    except DamagedError:
        return None
    stride = first.end
    if size % stride or not first.is_raw:
        return None
    count = size // stride
    window = min(stride, _WINDOW)  # bytes looked at, at both ends of a record
    offsets = np.zeros(count, np.uint32)  # 0 where not known yet
    checksums = np.empty(count, np.uint32)
    layouts = []  # which columns of `ends` are neither pixels nor their checksum, what is in them, and the offset
    for begin in range(0, count, _CHUNK):
        numbers = range(begin, min(begin + _CHUNK, count))
        ends = b"".join(_ends(fd, number * stride, stride, window) for number in numbers)
        if len(ends) != len(numbers) * 2 * window:
            return None
        ends = np.frombuffer(ends, np.uint8).reshape(-1, 2 * window)
        checksums[begin : begin + _CHUNK] = np.ascontiguousarray(ends[:, -FOOTER:]).view("<u4")[:, 0]
        placed = offsets[begin : begin + _CHUNK]
        while True:
            for columns, content, offset in layouts:
                placed[(ends[:, columns] == content).all(axis=1)] = offset
            if placed.all():
                break
            number = int(np.argmin(placed))
            layout = _layout_of(file, (begin + number) * stride, size, first, ends[number])
            if layout is None or len(layouts) == _MAX_LAYOUTS:
                return None
            layouts.append(layout)
    return RecordIndex(first.shape, count, stride, np.zeros(0, np.int64), np.zeros(0, np.uint32), offsets, checksums)


def _ends(fd: int, start: int, stride: int, window: int) -> bytes:
    if stride <= 16 * _WINDOW:  # one read instead of two
        record = os.pread(fd, stride, start)
        return record[:window] + record[-window:]
    return os.pread(fd, window, start) + os.pread(fd, window, start + stride - window)


def _layout_of(
    file: BinaryIO, start: int, size: int, first: Record, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int] | None:
    try:
        record = read_record(file, start, read_length(file.fileno(), start, size))
    except DamagedError:
        return None
    head, tail = record.data - start, record.end - record.data - record.size
    if (record.length, record.size, record.shape) != (first.length, first.size, first.shape) or max(head, tail) > len(
        ends
    ) // 2:
        return None
    columns = np.r_[:head, len(ends) - tail : len(ends) - FOOTER]
    return columns, ends[columns], head


def _is_intact(fd: int, start: int, length: int) -> bool:
    """Whether the checksum of the data of a record is right, or too much to look at."""
    if length > _BLOCK:
        return True
    data = pread(fd, length + FOOTER, start + HEADER)
    return data[length:] == checksum(data[:length]).to_bytes(4, "little")


def _index_by_walking(file: BinaryIO, size: int) -> RecordIndex:
    """Parses the records one by one: for files whose records differ in length, or are damaged."""
    fd, starts, sizes, offsets, checksums, problems = file.fileno(), [], [], [], [], []
    first: Record | None = None
    position = 0
    while position < size and len(problems) < _MAX_PROBLEMS:
        length = None
        try:
            length = read_length(fd, position, size)
            record = read_record(file, position, length)
            first = first or record
            if record.shape != first.shape:
                raise DamagedError(f"has the shape {list(record.shape)}, the first one {list(first.shape)}")
            sizes.append(record.size)
            offsets.append(record.data - record.start)
            checksums.append(int.from_bytes(pread(fd, FOOTER, position + HEADER + length), "little"))
        except DamagedError as error:
            intact = length is None or _is_intact(fd, position, length)
            what = error if intact else _WRONG_CHECKSUM
            problems.append(f"record {len(starts)} (at byte {position}) {what}")
            if length is None:
                break  # where the next one starts is not known
        starts.append(position)
        position += HEADER + length + FOOTER
    if problems:
        raise DamagedError("\n".join(problems))
    of_records = (np.array(numbers, np.uint32) for numbers in (sizes, offsets, checksums))
    return RecordIndex(first.shape, len(starts), 0, np.array(starts, np.int64), *of_records)


# ----------------------------------------------------------------------------
# The index kept beside the file.


_ARRAYS = ("starts", "sizes", "offsets", "checksums")


def _index_path(path: str) -> str:
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.index")


def _load_index(path: str, size: int, mtime_ns: int) -> RecordIndex | None:
    """The index kept for a file of this size and time; None if there is none."""
    try:
        with open(_index_path(path), "rb") as file, load_npz(file) as arrays:
            version, index_size, index_mtime_ns, count, stride, *shape = map(int, arrays["facts"])
            starts, sizes, offsets, checksums = (arrays[name] for name in _ARRAYS)
    except Exception:  # of any kind: a file that is missing or damaged is written anew
        return None
    if (version, index_size, index_mtime_ns) != (_VERSION, size, mtime_ns) or len(shape) != 3 or min(count, *shape) < 1:
        return None
    if {starts.shape, sizes.shape} != {(0 if stride else count,)} or {offsets.shape, checksums.shape} != {(count,)}:
        return None
    of_records = (numbers.astype(np.uint32) for numbers in (sizes, offsets, checksums))
    return RecordIndex(tuple(shape), count, stride, starts.astype(np.int64), *of_records)


def _is_of(fd: int, size: int, index: RecordIndex) -> bool:
    """Whether an index is that of a file, by some checksums: a file of another content may have the same time."""
    which = np.unique(np.linspace(0, index.count - 1, _SAMPLE_OF_INDEX).astype(np.int64))
    ends = (which + 1) * index.stride if index.stride else np.append(index.starts[1:], size)[which]
    found = [int.from_bytes(pread(fd, FOOTER, end - FOOTER), "little") for end in ends.tolist()]
    return found == index.checksums[which].tolist()


def _save_index(path: str, size: int, mtime_ns: int, index: RecordIndex) -> None:
    """Keeps the index. A folder that cannot be written is passed over: the index is made again next time."""
    facts = [_VERSION, size, mtime_ns, index.count, index.stride, *index.shape]
    with contextlib.suppress(OSError), atomic_write(_index_path(path)) as file:
        arrays = {name: getattr(index, name) for name in _ARRAYS}
        np.savez(file, facts=np.array(facts, np.int64), **arrays)


# ----------------------------------------------------------------------------
# A file.


class TFRecordFile:
    """The images of one tfrecord file. Reading is thread-safe.

    Attributes: path, shape `(C, H, W)`, count, is_raw (whether all records hold pixels, and none an image file).

    Raises UserError, with one line per problem, for a file that is damaged.
    """

    def __init__(self, path: str):
        self.path = path
        with self._user_errors():
            self.fd = os.open(path, os.O_RDONLY)
            self._close = weakref.finalize(self, os.close, self.fd)
            status = os.fstat(self.fd)
            self._size, self._mtime_ns = status.st_size, status.st_mtime_ns
            kept = _load_index(path, self._size, status.st_mtime_ns)
            kept = kept if kept is not None and _is_of(self.fd, self._size, kept) else None
            self.index = kept or build_index(self.fd, self._size)
            self.shape, self.count, self.is_raw = self.index.shape, self.index.count, self.index.is_raw
            if not kept:
                number = self.count if self._size <= MAX_CHECKED_AT_OPENING else _SAMPLE
                self._check_data(np.unique(np.linspace(0, self.count - 1, number).astype(np.int64)))
                _save_index(path, self._size, status.st_mtime_ns, self.index)

    def close(self) -> None:
        """Closes the file."""
        self._close()
        self.fd = -1

    def read(self, indices: np.ndarray, map_function: Callable[..., Iterable] = map) -> np.ndarray:
        """The images, uint8 [N, C, H, W], of the records `indices`, integers [N].

        map_function: by which image files are decoded, such as that of an executor.

        Raises UserError if the file has changed since it was opened, or an image cannot be decoded.
        """
        images = np.empty([len(indices), *self.shape], np.uint8)
        rows = images.reshape(len(indices), -1)  # [N, C*H*W]
        indices, index = np.asarray(indices, np.int64), self.index
        positions = (indices * index.stride if index.stride else index.starts[indices]) + index.offsets[indices]
        with self._user_errors():
            if self.is_raw:
                persistently(lambda: self._read_rows(rows, positions.tolist()))
            else:
                items = zip(images, rows, indices.tolist(), positions.tolist(), strict=True)
                for _ in map_function(lambda item: self._read_file(*item), items):
                    pass  # all results are asked for, so that an exception of a thread is raised here
        return images

    def read_content(self, index: int) -> bytes:
        """The pixels or the image file of a record, as they are. Raises UserError if the file has changed."""
        start = index * self.index.stride if self.index.stride else int(self.index.starts[index])
        with self._user_errors():
            return self._read_content(index, start + int(self.index.offsets[index]))

    def _read_content(self, index: int, position: int) -> bytes:
        size = math.prod(self.shape) if self.index.stride else int(self.index.sizes[index])

        def attempt() -> bytes:
            with self._reopened_next_time():
                return pread(self.fd, size, position)

        return persistently(attempt)

    def problem_of(self, index: int) -> str | None:
        """Why a record is not whole: its checksum is wrong, or its image file cannot be decoded; None if it is."""
        which = np.array([index])
        try:
            with self._user_errors():
                self._check_data(which)
            self.read(which)
        except UserError as error:
            return str(error).removeprefix(f"{self.path}: ")
        return None

    def _read_rows(self, rows: np.ndarray, positions: list[int]) -> None:
        fd, size = self.fd, rows.shape[1]
        with self._reopened_next_time():
            for row, position in zip(rows, positions, strict=True):
                if os.preadv(fd, (row,), position) != size:
                    row[:] = np.frombuffer(pread(fd, size, position), np.uint8)

    def _read_file(self, image: np.ndarray, row: np.ndarray, index: int, position: int) -> None:
        """Fills in an image, [C, H, W], which is `row`, too, from a record that may hold an image file."""

        content = self._read_content(index, position)
        if len(content) == len(row):
            row[:] = np.frombuffer(content, np.uint8)
            return
        try:
            image[:] = decoded(content, self.shape)
        except ValueError as error:
            raise DamagedError(f"record {index} {error}") from None

    @contextlib.contextmanager
    def _reopened_next_time(self) -> Iterator[None]:
        """Opens the file again where a file server was started again; who tries again finds it."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.ESTALE:
                self._reopen()
            raise

    def _reopen(self) -> None:
        """Opens the file again under the descriptor that it has. Raises DamagedError if it is another one."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            status = os.fstat(fd)
            if (status.st_size, status.st_mtime_ns) != (self._size, self._mtime_ns):
                raise DamagedError("has changed since it was opened")
            os.dup2(fd, self.fd)
        finally:
            os.close(fd)

    def verify(self, progress: Callable[[int], None] | None = None) -> None:
        """Checks the data of all records, and decodes image files. Raises UserError.

        progress: is called with the number of further records that are done.
        """
        with self._user_errors():
            if self.is_raw:
                self._check_data(np.arange(self.count), progress)
                return
            problems = []
            for problem in parallel_map(self.problem_of, range(self.count)):
                problems += [problem] if problem else []
                if progress is not None:
                    progress(1)
            if problems:
                raise DamagedError("\n".join(listed(problems, _MAX_PROBLEMS)))

    def _check_data(self, which: np.ndarray, progress: Callable[[int], None] | None = None) -> None:
        """Compares the data of records, ascending, with their checksums. Raises DamagedError."""
        problems = []
        for first, count, start, size in self._runs(which):
            block = np.frombuffer(pread(self.fd, count * size, start), np.uint8).reshape(count, size)
            stored = np.ascontiguousarray(block[:, -FOOTER:]).view("<u4")[:, 0]
            found = [checksum(record[HEADER:-FOOTER].tobytes()) for record in block]
            wrong = np.flatnonzero(np.asarray(found, np.uint32) != stored)
            problems += [f"record {first + i} {_WRONG_CHECKSUM}" for i in wrong]
            if progress is not None:
                progress(count)
        if problems:
            raise DamagedError("\n".join(listed(problems, _MAX_PROBLEMS)))

    def _runs(self, which: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
        """Neighbours among records, read at once: (first, how many, start in bytes, size of each with framing)."""
        if not self.index.stride:
            for record in which.tolist():
                start = int(self.index.starts[record])
                yield record, 1, start, HEADER + read_length(self.fd, start, self._size) + FOOTER
            return
        stride = self.index.stride
        most = max(1, _BLOCK // stride)
        for run in np.split(which, np.flatnonzero(np.diff(which) != 1) + 1):
            for begin in range(0, len(run), most):
                part = run[begin : begin + most]
                yield int(part[0]), len(part), int(part[0]) * stride, stride

    @contextlib.contextmanager
    def _user_errors(self) -> Iterator[None]:
        try:
            yield
        except DamagedError as error:
            raise UserError("\n".join(f"{self.path}: {line}" for line in str(error).split("\n"))) from None
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}") from None
