"""Reads arrays of the .npy format, which hostile files may contain, without unpickling anything."""

import ast
import math
from typing import BinaryIO

import numpy as np

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
