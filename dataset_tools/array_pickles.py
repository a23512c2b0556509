"""Reads pickles of arrays, as CIFAR is published, without executing anything in them.

Networks have a reader of their own (`dnnlib.tflib.pickle_reader`), which would have to import TensorFlow.
"""

import pickle
from typing import Any

import numpy as np

from dnnlib.errors import UserError

_NUMPY_CODES = ("b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")


def read_array_pickle(path: str) -> Any:
    """The object in a pickle: dicts, lists and tuples of numbers, strings and, at the first level, NumPy arrays.

    Raises UserError for a file that is damaged, or asks for anything else.
    """
    try:
        with open(path, "rb") as file:
            return _with_arrays(_Unpickler(file, encoding="latin1").load())
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # of any kind: the content is hostile until proven otherwise
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{path}: damaged, or not a pickle of arrays ({reason})") from None


class _Unpickler(pickle._Unpickler):
    """Python's unpickler in Python: no file of a few bytes can make it reserve gigabytes."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise UserError(
                f"refused: the pickle asks for {module_name}.{global_name}, which arrays do not need. "
                "Nothing in it was executed."
            ) from None


# What a pickle may name are stand-ins that check their arguments. They are finished by their `__setstate__`.


class _DType:
    def __init__(self, code: Any, *_flags: Any):
        if code not in _NUMPY_CODES:
            raise ValueError(f"arrays of type {code!r:.40}")
        self.code = code
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("unknown byte order")
        self.order = state[1]


class _Array:
    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, data = state
        data = data.encode("latin1") if isinstance(data, str) else data  # of Python 2
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise ValueError("array without numbers")
        array = np.frombuffer(data, np.dtype(dtype.order + dtype.code))
        self.value = array.reshape(shape, order="F" if fortran_order else "C")


class _NDArray:
    """Stands for the class numpy.ndarray, which is only named."""

    def __new__(cls):
        raise ValueError("an array without a shape")


def _reconstruct(_cls: Any, _shape: Any, _type: Any) -> _Array:
    return _Array()


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 of Python 3 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("unexpected encoding")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy", "ndarray"): _NDArray,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode,
}


def _with_arrays(loaded: Any) -> Any:
    if isinstance(loaded, dict):
        return {key: _array(value) for key, value in loaded.items()}
    return [_array(value) for value in loaded] if isinstance(loaded, (list, tuple)) else loaded


def _array(value: Any) -> Any:
    return value.value if isinstance(value, _Array) else value
