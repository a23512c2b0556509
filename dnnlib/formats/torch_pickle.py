"""Reads files of `torch.save` without PyTorch and without executing anything in them: tensors become NumPy arrays.

There are two containers. Since PyTorch 1.6, a zip: `<folder>/data.pkl` refers to storages `<folder>/data/<key>`.
Before, the legacy one: five pickles (magic number, protocol, system, object, keys of storages), then the storages.
Tensors are views of storages; those that share a storage share their memory here, too.

A plain pickle may hold tensors, too: each storage is then a legacy container of its own, as bytes.
"""

import io
import math
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided

from dnnlib.errors import UserError, short
from dnnlib.kinds import HEAD, TORCH_MAGIC, kind_of

from . import safe_pickle
from .safe_pickle import UnsafePickleError
from .stand_ins import Allowed, Budget, Call, Finisher, OrderedItems, StandIn, Unchangeable

_KIND = "PyTorch file"
_PROTOCOL = 1001
_CONTAINER = 512  # what a container of one storage costs besides its bytes: a few pickles are read
_TAR = "this is the tar container of PyTorch 0.1; write it again: torch.save(torch.load(file), new_file)"


class TorchScriptError(UnsafePickleError):
    """A file holds a compiled program instead of an object."""


def load(file: BinaryIO, name: str, allowed: Allowed | None = None) -> Any:
    """The object in a file of `torch.save`: containers, numbers and strings as they are, arrays in place of tensors.

    bfloat16 comes out as float32, everything else in its own type.

    Args:
        file: an open binary file.
        name: the file's name, for messages.
        allowed: what the pickle may name, if that is more than `ALLOWED`.

    Raises:
        TorchScriptError: it is a program (.pt), not an object.
        UnsafePickleError: it asks for something that is not allowed; the message names it.
        DamagedPickleError: truncated, altered, or no such file at all.
    """
    with safe_pickle.readable_errors(name, _KIND):
        content = safe_pickle.Content(file)
        kind = kind_of(bytes(content.buffer[:HEAD]))
        if kind in ("zip", "npz"):
            return _load_zip(file, len(content.buffer), allowed or ALLOWED)
        if kind == "torch legacy":
            budget = Budget(len(content.buffer))
            return Finisher(budget).finish(_read_legacy(content, allowed or ALLOWED, _Storages(budget)))
        raise ValueError(_TAR if kind == "tar" else "neither a zip nor a legacy container")


def load_pickle(file: BinaryIO, name: str, kind: str, allowed: Allowed) -> Any:
    """The object in a plain pickle that may hold tensors. See `safe_pickle.load` for arguments, result and errors.

    allowed: what the pickle may name besides storages.
    """
    with safe_pickle.readable_errors(name, kind):
        content = safe_pickle.Content(file)
        budget = Budget(len(content.buffer))
        storages = _Storages(budget)
        allowed = allowed | {"torch.storage": {"_load_from_bytes": Call(storages.of_bytes)}}
        return Finisher(budget).finish(safe_pickle.Unpickler(content, kind, allowed, budget).load())


def state_dict(loaded: Any, name: str) -> dict[str, np.ndarray]:
    """The arrays of a loaded state dict by name, as they are in the file. One that lies under 'state_dict' is found.

    Args:
        loaded: what `load` returned.
        name: the file's name, for messages.

    Raises UserError for anything but a dict of arrays; the message says what it is.
    """
    found = loaded
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict):
        raise UserError(f"{name}: expected a state dict of PyTorch, the file holds a {type(found).__name__}")
    others = [key for key, value in found.items() if not isinstance(key, str) or not isinstance(value, np.ndarray)]
    if others or not found:
        items = ", ".join(f"{short(str(key))} ({type(found[key]).__name__})" for key in others[:8])
        raise UserError(
            f"{name}: expected a state dict of PyTorch, a dict of tensors; "
            + (f"{len(others)} items are something else: {items}" if others else "the dict is empty")
        )
    return found


# ----------------------------------------------------------------------------
# Containers.


def _read_legacy(content: safe_pickle.Content, allowed: Allowed, storages: "_Storages") -> Any:
    """What is to be given to a `Finisher`."""

    def read(persistent_load: Callable[[Any], Any] | None = None) -> Any:
        return safe_pickle.Unpickler(content, _KIND, allowed, storages.budget, persistent_load).load()

    if read() != TORCH_MAGIC or read() != _PROTOCOL:
        raise ValueError("another protocol of PyTorch")
    read()  # what the system was like; storages are little endian everywhere
    loaded = read(storages.refer)
    keys = read()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("the list of storages is none")
    if len(set(keys)) != len(keys) or set(keys) != set(storages.by_key):
        raise ValueError("the list of storages does not fit the tensors")
    for key in keys:
        storage = storages.by_key[key]
        count = int.from_bytes(content.read(8), "little")
        if count != storage.count:
            raise ValueError(f"a storage of {storage.count} numbers has {count}")
        storage.set_data(content.read(count * storage.item_size))
    return loaded


def _load_zip(file: BinaryIO, size: int, allowed: Allowed) -> Any:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if len(members) != len(archive.infolist()):
            raise ValueError("two parts have the same name")
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"this zip was not written by torch.save{_zip_kind(members)}")
        folder = pickles[0].split("/")[0]
        if f"{folder}/constants.pkl" in members or any(name.startswith(f"{folder}/code/") for name in members):
            raise TorchScriptError(
                "this is a TorchScript program, which only PyTorch can read; give the state dict (.pth) of its network"
            )
        budget = Budget(size)

        def read(name: str) -> bytes:  # the checksum is compared as well
            info = members[f"{folder}/{name}"]
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise ValueError("a part is compressed, which torch.save never does")
            budget.take_bytes(info.file_size)
            return archive.read(info)

        storages = _Storages(budget)
        content = safe_pickle.Content(io.BytesIO(read("data.pkl")))
        loaded = safe_pickle.Unpickler(content, _KIND, allowed, budget, storages.refer).load()
        byte_order = read("byteorder") if f"{folder}/byteorder" in members else b"little"
        if byte_order not in (b"little", b"big"):
            raise ValueError("unknown byte order")
        for key, storage in storages.by_key.items():
            storage.set_data(read(f"data/{key}"), byte_order == b"big")
        return Finisher(budget).finish(loaded)


def _zip_kind(names: Iterable[str]) -> str:
    """What a zip of something else is, by the names in it."""
    kinds = {".weights.h5": "a Keras model", ".png": "a data set of images"}
    for ending, kind in kinds.items():
        if any(name.endswith(ending) for name in names):
            return f": it is {kind}"
    return ""


# ----------------------------------------------------------------------------
# Stand-ins: storages, views of them, parameters.


@dataclass(slots=True, eq=False)
class _StorageType(Unchangeable):
    """A class such as torch.FloatStorage. Pickles mention it only in references to storages."""

    type: str


@dataclass(slots=True, eq=False)
class _Storage:
    """The numbers that tensors are views of. They come after the pickle."""

    type: str
    count: int
    data: Any = None

    @property
    def item_size(self) -> int:
        return 2 if self.type == "bf16" else np.dtype(self.type).itemsize

    def set_data(self, data: Any, big_endian: bool = False) -> None:
        """Takes a copy of the bytes."""
        if len(data) != self.count * self.item_size:
            raise ValueError(f"a storage of {self.count} numbers has {len(data)} bytes")
        stored = np.frombuffer(data, "<u2" if self.type == "bf16" else self.type)
        stored = stored.byteswap() if big_endian else stored
        if self.type == "bf16":  # the upper half of float32
            self.data = (stored.astype("<u4") << 16).view("<f4")
        else:
            self.data = stored.copy()


class _Storages:
    """The storages that a pickle refers to, by key.

    Those of a plain pickle, which refers to none, have been given the bytes.
    """

    def __init__(self, budget: Budget):
        self.by_key: dict[str, _Storage] = {}
        self.budget = budget

    def of_bytes(self, data: Any) -> "_View":
        """The storage in the bytes of a legacy container."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ValueError("a storage is not made of bytes")
        self.budget.take_bytes(len(data) + _CONTAINER)
        allowed = {module: ALLOWED[module] for module in ("torch", "collections")}
        content = safe_pickle.Content(io.BytesIO(data))
        view = _read_legacy(content, allowed, _Storages(self.budget))
        if not isinstance(view, _View) or content.position != len(data):
            raise ValueError("bytes hold something else than one storage")
        return view

    def refer(self, reference: Any) -> "_View":
        """The storage, or part of one, that a persistent id means."""
        if not isinstance(reference, tuple) or not 5 <= len(reference) <= 6 or reference[0] != "storage":
            raise UnsafePickleError("refused: the file holds a module with its source code; give its state dict")
        _kind, storage_type, key, _location, count, *view = reference
        if not isinstance(storage_type, _StorageType) or not isinstance(key, str) or not _is_count(count):
            raise ValueError("a reference to a storage is not as expected")
        storage = self.by_key.setdefault(key, _Storage(storage_type.type, count))
        if (storage.type, storage.count) != (storage_type.type, count):
            raise ValueError("a storage is said to be of two kinds")
        if not view or view[0] is None:
            return _View(storage, 0, count)
        _key, offset, size = view[0]
        if not (_is_count(offset) and _is_count(size) and offset + size <= count):
            raise ValueError("part of a storage lies outside of it")
        return _View(storage, offset, size)


@dataclass(slots=True, eq=False)
class _View(Unchangeable):
    """A storage as tensors refer to it: all of it, or in very old files a part."""

    storage: _Storage
    offset: int
    count: int


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


class _Tensor(StandIn):
    """A tensor: a strided view of a storage."""

    __slots__ = ("_offset", "_sizes", "_strides", "_view")

    def __init__(self, view: Any, offset: Any, sizes: Any, strides: Any, *_others: Any):
        lists = isinstance(sizes, tuple) and isinstance(strides, tuple) and len(sizes) == len(strides) <= 16
        if not lists or not isinstance(view, _View) or not all(map(_is_count, (offset, *sizes, *strides))):
            raise ValueError("a tensor is not made as expected")
        self._view, self._offset, self._sizes, self._strides = view, offset, sizes, strides

    def finished(self, finisher: Finisher) -> np.ndarray:
        view, data = self._view, self._view.storage.data
        if 0 in self._sizes:
            return np.zeros(self._sizes, data.dtype)
        last = self._offset + sum((n - 1) * stride for n, stride in zip(self._sizes, self._strides, strict=True))
        if last >= view.count:
            raise ValueError("a tensor lies outside of its storage")
        finisher.budget.take_bytes(math.prod(self._sizes) * data.itemsize)  # tensors may overlap and repeat elements
        begin = data[view.offset + self._offset :]
        return as_strided(begin, self._sizes, [stride * data.itemsize for stride in self._strides])


class _Parameter(StandIn):
    """torch.nn.Parameter as PyTorch 0.1 wrote it: an object made of a tensor. Its state is about training."""

    __slots__ = ("_data",)

    def __init__(self, data: Any):
        self._data = data

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 3:
            raise ValueError("unexpected state of a parameter")

    def finished(self, finisher: Finisher) -> Any:
        return finisher.finish(self._data)


def _rebuild_parameter(data: Any, _requires_grad: Any, _hooks: Any) -> Any:
    return data


_STORAGE_TYPES = {
    "Float": "<f4",
    "Double": "<f8",
    "Half": "<f2",
    "BFloat16": "bf16",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}
ALLOWED: Allowed = {
    "collections": {"OrderedDict": OrderedItems},
    "torch": {f"{name}Storage": _StorageType(dtype) for name, dtype in _STORAGE_TYPES.items()},
    "torch._utils": {
        "_rebuild_tensor": Call(_Tensor),  # PyTorch 0.1 to 0.3
        "_rebuild_tensor_v2": Call(_Tensor),
        "_rebuild_parameter": Call(_rebuild_parameter),
    },
    "torch.nn.parameter": {"Parameter": _Parameter},
}
