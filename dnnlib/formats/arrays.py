"""Files of named arrays with notes: `.npz`, and `.safetensors` (https://huggingface.co/docs/safetensors).

Notes are texts by name. A `.npz` has them as JSON in an array of text, `__metadata__`; a `.safetensors` in the part of
its header that is called so. Files are hostile until proven otherwise: nothing is executed, and nothing is allocated
that the file has no bytes for.
"""

import json
import os
import zipfile
from collections import Counter
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from dnnlib.errors import UserError, printable, reason_of, short

Arrays = dict[str, np.ndarray]
Notes = dict[str, str]
_METADATA = "__metadata__"
_MAX_ARRAYS = 100_000
_MOST_RATIO = 20  # bytes of compressed arrays for one of the file
_MAX_HEADER = 1 << 24  # bytes of names, shapes and notes of a .safetensors
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}  # as safetensors calls them


class ArrayFileError(ValueError):
    """What is wrong with a file of arrays, in one line, without its name."""


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
        with load_npz(file) as npz:
            arrays = {name: of_kind(npz[name], name, "U" if name == _METADATA else "f") for name in npz.files}
        notes = _checked_notes(json.loads(str(arrays.pop(_METADATA)[()]))) if _METADATA in arrays else {}
        return arrays, notes
    except ArrayFileError:
        raise
    except Exception as error:  # zip files and headers of arrays break in many ways
        raise ArrayFileError(_damaged(error)) from None


def load_npz(file: BinaryIO, most_packed: int = 0) -> Any:
    """An open `.npz` as `np.load` gives it: arrays by name, of which each is read when it is asked for.

    Nothing is unpickled. All arrays together have no more bytes than the file, whatever it claims; where they may be
    compressed, not many times as many.

    Args:
        file: the file, open at its beginning.
        most_packed: bytes that all arrays of a small file may have, if some are compressed; 0: none may be.

    Raises:
        ArrayFileError: too many arrays, two of the same name, compressed or larger than they may be. Damaged files
            raise, here or when an array is read, what `zipfile` and NumPy do: of many types, also MemoryError.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    if len(members) > _MAX_ARRAYS:
        raise ArrayFileError(f"it has {len(members)} arrays, expected {_MAX_ARRAYS} at most")
    for info in members:
        if info.compress_type != zipfile.ZIP_STORED and not most_packed:
            raise ArrayFileError(f"{short(info.filename)} is compressed; np.savez writes arrays as they are")
    size, unpacked = file.seek(0, os.SEEK_END), sum(info.file_size for info in members)
    if unpacked > (max(_MOST_RATIO * size, most_packed) if most_packed else size):
        raise ArrayFileError(f"its arrays have more bytes than the file: {unpacked}, it has {size}")
    for name, count in Counter(info.filename.removesuffix(".npy") for info in members).items():
        if count > 1:
            raise ArrayFileError(f"array {short(name)} occurs twice")
    file.seek(0)
    return np.load(file, allow_pickle=False)


def of_kind(array: Any, name: str, kind: str) -> np.ndarray:
    """An array of a file, if it has a type of this kind, 'f' (floating point) or 'U' (text). Raises ArrayFileError."""
    dtype = np.asarray(array).dtype  # of what does not begin as arrays do, the bytes are given
    if dtype.kind != kind:
        expected = {"f": "floating point numbers", "U": "text"}[kind]
        raise ArrayFileError(f"array {short(name)} has type {dtype}, expected {expected}")
    return array


# ----------------------------------------------------------------------------
# .safetensors


def write_safetensors(file: BinaryIO, arrays: Mapping[str, np.ndarray], notes: Notes) -> None:
    """Writes arrays of floating point numbers and notes to an open file."""
    _import_safetensors()
    from safetensors.numpy import save

    in_order = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # the library copies memory
    file.write(save(in_order, dict(notes)))


def read_safetensors(file: BinaryIO) -> tuple[Arrays, Notes]:
    """The arrays, all of floating point numbers, and the notes of an open file.

    Raises ArrayFileError for what is damaged or holds anything else.
    """
    safetensors = _import_safetensors()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, _MAX_HEADER):
        raise ArrayFileError(f"its header is to have {length} bytes; the file has {size}")
    file.seek(0)
    data = file.read()
    try:
        views = safetensors.deserialize(data)  # which checks the header
    except Exception as error:
        raise ArrayFileError(_damaged(error)) from None
    arrays: Arrays = {}
    for name, view in views:
        if view["dtype"] not in _DTYPES:
            raise ArrayFileError(
                f"array {short(name)} has dtype {printable(view['dtype'])}, expected one of {', '.join(_DTYPES)}"
            )
        arrays[name] = np.frombuffer(view["data"], _DTYPES[view["dtype"]]).reshape(view["shape"])
    return arrays, _checked_notes(json.loads(data[8 : 8 + length]).get(_METADATA, {}))


def _import_safetensors() -> Any:
    """The module. Raises UserError where it is not installed."""
    try:
        import safetensors
    except ImportError:
        raise UserError(".safetensors files need safetensors; install it with: pip install safetensors") from None
    return safetensors


# ----------------------------------------------------------------------------


def _checked_notes(notes: Any) -> Notes:
    if not isinstance(notes, dict) or not all(isinstance(text, str) for text in notes.values()):
        raise ArrayFileError("its notes (__metadata__) are no texts by name")
    return notes


def _damaged(error: Exception) -> str:
    return f"damaged ({reason_of(error, 100, with_kind=True)})"
