"""Files of named arrays with notes: `.npz`, and `.safetensors` (https://huggingface.co/docs/safetensors).

Notes are texts by name. A `.npz` has them as JSON in an array of text, `__metadata__`; a `.safetensors` in the part of
its header that is called so. Files are hostile until proven otherwise: nothing is executed, and nothing is allocated
that the file has no bytes for.
"""

import ast
import json
import math
import os
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

Arrays = dict[str, np.ndarray]
Notes = dict[str, str]
_METADATA = "__metadata__"
_MAX_ARRAYS = 100_000
_MAX_HEADER = 1 << 24  # bytes of names, shapes and notes
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}  # as safetensors calls them


class ArrayFileError(ValueError):
    """What is wrong with a file of arrays, in one line, without its name."""


def is_npz(head: bytes) -> bool:
    """Whether a file that begins so, with 512 bytes, may be a `.npz`: a zip file, the first in it a `.npy`."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return head.startswith(b"PK\x03\x04") and name.endswith(b".npy")


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so, with 9 bytes or more, may be a `.safetensors`."""
    return head[8:9] == b"{" and (head[9:10] == b'"' or int.from_bytes(head[:8], "little") < 1 << 32)


# ----------------------------------------------------------------------------
# .npz


def write_npz(file: BinaryIO, arrays: Mapping[str, np.ndarray], notes: Notes) -> None:
    """Writes arrays and notes to an open file, uncompressed."""
    np.savez(file, **arrays, **{_METADATA: np.asarray(json.dumps(notes))})


def read_npz(file: BinaryIO) -> tuple[Arrays, Notes]:
    """The arrays, all of floating point numbers, and the notes of an open file.

    Raises ArrayFileError for what is damaged or holds anything else.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_members(archive, _size(file))
    except (ArrayError, ArrayFileError) as error:
        raise ArrayFileError(str(error)) from None
    except Exception as error:  # zip files and headers of arrays break in many ways
        raise ArrayFileError(_damaged(error)) from None


def _read_members(archive: zipfile.ZipFile, size: int) -> tuple[Arrays, Notes]:
    members = archive.infolist()
    if len(members) > _MAX_ARRAYS:
        raise ArrayFileError(f"it has {len(members)} arrays, expected {_MAX_ARRAYS} at most")
    for info in members:
        if info.compress_type != zipfile.ZIP_STORED:  # could be any number of times as large as the file
            raise ArrayFileError(f"{info.filename!r:.80} is compressed; np.savez writes arrays as they are")
    if sum(info.file_size for info in members) > size:
        raise ArrayFileError("its arrays have more bytes than the file")
    arrays: Arrays = {}
    notes: Notes = {}
    for info in members:
        name = info.filename.removesuffix(".npy")
        if name in arrays:
            raise ArrayFileError(f"array {name!r:.80} occurs twice")
        with archive.open(info) as file:
            if name == _METADATA:
                text = read_array(file, name, info.file_size, "U", 4 * _MAX_HEADER)
                notes = _checked_notes(json.loads(str(text[()])))
            else:
                arrays[name] = read_array(file, name, info.file_size, "f", info.file_size)
    return arrays, notes


# ----------------------------------------------------------------------------
# .safetensors


def write_safetensors(file: BinaryIO, arrays: Mapping[str, np.ndarray], notes: Notes) -> None:
    """Writes arrays of floating point numbers and notes to an open file."""
    names = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
    header: dict[str, Any] = {_METADATA: dict(notes)} if notes else {}
    begin = 0
    for name, array in arrays.items():
        end = begin + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8 bytes, for those who map the file
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        file.write(array.tobytes())


def read_safetensors(file: BinaryIO) -> tuple[Arrays, Notes]:
    """The arrays, all of floating point numbers, and the notes of an open file.

    Raises ArrayFileError for what is damaged or holds anything else.
    """
    try:
        header, data_size = _read_header(file)
        notes = _checked_notes(header.pop(_METADATA, {}))
        arrays: Arrays = {}
        position = 0
        for name, dtype, shape, begin, end in sorted(map(_entry, header.items()), key=lambda entry: entry[3:]):
            if begin != position or end > data_size:
                where = "is cut off" if end > data_size else "does not begin where the one before it ends"
                raise ArrayFileError(f"array {name!r:.80} {where}: bytes {begin} to {end} of {data_size}")
            arrays[name] = np.frombuffer(file.read(end - begin), dtype).reshape(shape)
            position = end
        if position != data_size:
            raise ArrayFileError(f"{data_size - position} bytes at its end belong to no array")
        return {name: arrays[name] for name in header}, notes
    except ArrayFileError:
        raise
    except Exception as error:
        raise ArrayFileError(_damaged(error)) from None


def _read_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header, and the number of bytes after it."""
    length, size = int.from_bytes(file.read(8), "little"), _size(file)
    if not 2 <= length <= min(size - 8, _MAX_HEADER):
        raise ArrayFileError(f"its header is to have {length} bytes; the file has {size}")
    header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
    if not isinstance(header, dict) or len(header) > _MAX_ARRAYS:
        raise ArrayFileError("its header is no JSON object of names of arrays")
    return header, size - 8 - length


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ArrayFileError("its header has a name twice")
    return result


def _entry(item: tuple[str, Any]) -> tuple[str, str, list[int], int, int]:
    """Name, type, shape, first byte and end of an array. Raises ArrayFileError unless they fit each other."""
    name, entry = item
    if not isinstance(entry, dict) or not entry.keys() >= {"dtype", "shape", "data_offsets"}:
        raise ArrayFileError(f"array {name!r:.80} has no dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in _DTYPES:
        raise ArrayFileError(f"array {name!r:.80} has dtype {dtype!r:.80}, expected one of {', '.join(_DTYPES)}")
    if not _are_counts(shape) or len(shape) > 8:
        raise ArrayFileError(f"array {name!r:.80} has the shape {shape!r:.80}")
    num_bytes = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != num_bytes:
        raise ArrayFileError(f"array {name!r:.80} of {num_bytes} bytes has data_offsets {offsets!r:.80}")
    return name, _DTYPES[dtype], shape, offsets[0], offsets[1]


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 48 for value in values)


# ----------------------------------------------------------------------------


def _checked_notes(notes: Any) -> Notes:
    if not isinstance(notes, dict) or not all(isinstance(text, str) for text in notes.values()):
        raise ArrayFileError("its notes (__metadata__) are no texts by name")
    return notes


def _size(file: BinaryIO) -> int:
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    return size


def _damaged(error: Exception) -> str:
    reason = " ".join(str(error).split())[:100]
    return f"damaged ({type(error).__name__}{': ' if reason else ''}{reason})"


# ----------------------------------------------------------------------------
# Reads arrays of the .npy format, which hostile files may contain, without unpickling anything.


_MAX_HEADER = 10_000  # bytes; arrays of numbers have about 100


class ArrayError(ValueError):
    """What is wrong with an array. The message names it."""


def read_array(file: BinaryIO, name: str, size: int, kinds: str, max_bytes: int) -> np.ndarray:
    """The array of an open .npy file of `size` bytes; nothing is allocated before its header is found to be true.

    Args:
        file: the file, at its beginning.
        name: of the array, for messages.
        size: of the file, in bytes.
        kinds: NumPy's letters of the kinds of types that are expected: 'f', or 'U' for text.
        max_bytes: that the array may have.

    Raises:
        ArrayError: another type, too large, cut off. Headers that cannot be parsed raise what parsing them does.
    """
    shape, fortran_order, dtype = _read_header(file, name)
    num_bytes = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or dtype.kind not in kinds:
        wanted = "text" if kinds == "U" else "floating point numbers"
        raise ArrayError(f"array '{name}' has type {'object' if dtype.hasobject else dtype}, expected {wanted}")
    if num_bytes > max_bytes:
        raise ArrayError(f"array '{name}' of shape {list(shape)} is too large")
    if file.tell() + num_bytes != size:
        raise ArrayError(f"array '{name}' of shape {list(shape)} is cut off")
    array = np.frombuffer(file.read(num_bytes), dtype)
    return array.reshape(shape, order="F" if fortran_order else "C")


def _read_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ArrayError(f"array '{name}' has format version {version[0]}.{version[1]}, expected 1.0 or 2.0")
    length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    if length > _MAX_HEADER:
        raise ArrayError(f"array '{name}' has a header of {length} bytes")
    header = ast.literal_eval(file.read(length).decode("latin1"))
    shape = header["shape"]
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape) or len(shape) > 8:
        raise ArrayError(f"array '{name}' has the shape {shape!r}")
    return shape, bool(header["fortran_order"]), np.lib.format.descr_to_dtype(header["descr"])
