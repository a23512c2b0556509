"""Writes files of `torch.save` without PyTorch: its zip container, which PyTorch 1.6 and later read.

The zip has `archive/data.pkl`, a pickle of protocol 2 that refers to storages, and each storage as
`archive/data/<key>`, uncompressed, at a multiple of 64 bytes, so that it can be mapped into memory. The same content
gives the same bytes. What is written holds nothing but containers, numbers, strings and tensors: `torch.load` reads it
with `weights_only=True`, and `torch_pickle` here.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

_FOLDER = "archive"
_ALIGNMENT = 64
_LARGE = 1 << 30  # bytes from which on a part has the sizes of zip64
_PLAIN = (type(None), bool, int, float, str, list, tuple, dict)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of float32. Its values are asked for when they are written, so that only one is in memory.

    shape: its axes. values: gives an array of them.
    """

    shape: tuple[int, ...]
    values: Callable[[], np.ndarray]

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape, dtype=np.int64))


def save(obj: Any, file: BinaryIO) -> None:
    """Writes an object to a file that is open at its beginning and can seek.

    obj: None, numbers, strings, `Tensor`, and lists, tuples, dicts and ordered dicts of them.

    Raises TypeError for anything else, OSError.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        tensors: list[Tensor] = []
        pickled = _Stream()
        _Pickler(pickled, tensors).dump(obj)
        _add(archive, "data.pkl", b"".join(pickled.parts))
        _add(archive, "byteorder", b"little")
        for key, tensor in enumerate(tensors):
            values = np.asarray(tensor.values(), "<f4", order="C")
            assert values.shape == tensor.shape, (values.shape, tensor.shape)
            _add(archive, f"data/{key}", memoryview(values.reshape(-1)))
        _add(archive, "version", b"3\n")


def _add(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """Adds a part whose bytes begin at a multiple of the alignment."""
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}")
    size = memoryview(data).nbytes
    is_large = size >= _LARGE
    header = 30 + len(info.filename) + 4 + (20 if is_large else 0)
    padding = -(archive.fp.tell() + header) % _ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding  # as PyTorch fills the gap
    with archive.open(info, "w", force_zip64=is_large) as part:
        part.write(data)


# ----------------------------------------------------------------------------
# The pickle.


@dataclass(frozen=True)
class _Global:
    """A name of PyTorch, which a pickle holds in place of what bears it."""

    module: str
    name: str

    def __call__(self) -> None:
        """What is called while a pickle is read; Python's pickler wants to see that it can be."""


@dataclass(frozen=True)
class _Storage:
    """What the pickle refers to: the numbers of a tensor."""

    key: str
    count: int


_REBUILD = _Global("torch._utils", "_rebuild_tensor_v2")
_FLOAT_STORAGE = _Global("torch", "FloatStorage")
_ORDERED_DICT = _Global("collections", "OrderedDict")


class _Stream:
    """Takes what a pickler writes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.parts.append(data)


class _Pickler(pickle._Pickler):
    """Python's pickler in Python, since that in C finds names by importing them."""

    def __init__(self, stream: _Stream, tensors: list[Tensor]):
        """tensors: gets those of the object, in the order of their keys."""
        super().__init__(stream, protocol=2)
        self._tensors = tensors

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Storage):
            return "storage", _FLOAT_STORAGE, obj.key, "cpu", obj.count
        return None

    def reducer_override(self, obj: Any) -> Any:
        """How an object is made that is no plain one. A text: by its name."""
        if isinstance(obj, Tensor):
            storage = _Storage(str(len(self._tensors)), obj.count)
            self._tensors.append(obj)
            strides = tuple(int(np.prod(obj.shape[axis + 1 :], dtype=np.int64)) for axis in range(len(obj.shape)))
            return _REBUILD, (storage, 0, obj.shape, strides, False, OrderedDict())
        if isinstance(obj, OrderedDict):
            return _ORDERED_DICT, (), None, None, iter(obj.items())
        if isinstance(obj, _Global):
            return obj.name
        if not isinstance(obj, _PLAIN):
            raise TypeError(f"objects of type {type(obj).__name__} do not belong into a file of torch.save")
        return NotImplemented

    def save_global(self, obj: _Global, name: str | None = None) -> None:
        """Writes a name."""
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)
