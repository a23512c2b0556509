"""What stands for the objects that a pickle may name, while it is read, and how it becomes plain data afterwards."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dnnlib.errors import short

Allowed = dict[str, dict[str, Any]]
"""What a pickle may name, by module and name: a stand-in, or a text that says why it is refused.

A module that begins with a dot stands for all that end so: nothing is imported, and people move packages into others.
"""


class Unchangeable:
    """What pickles may name or make, and give no state: otherwise they could set any attribute."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f"unexpected state of a {type(self).__name__.strip('_')}")


class Name(Unchangeable):
    """A name that pickles mention only as an argument (`ndarray`, `object`). It cannot be called, either."""

    __slots__ = ()


class Call(Unchangeable):
    """A function that pickles may call."""

    __slots__ = ("_func",)

    def __init__(self, func: Callable[..., Any]):
        self._func = func

    def __call__(self, *args: Any) -> Any:
        return self._func(*args)


class StandIn(Unchangeable):
    """An object that stands for another until everything is read. Those that are given a state check it."""

    __slots__ = ()

    def finished(self, finisher: "Finisher") -> Any:
        """What it becomes; the finisher does this for its parts."""
        raise NotImplementedError


class OrderedItems(dict):
    """Stands for an OrderedDict. What it has besides items, such as versions of PyTorch's modules, is left out."""

    __slots__ = ()

    def __init__(self, items: Any = ()):
        super().__init__()
        for key, value in items.items() if isinstance(items, dict) else items:
            self[checked_key(key)] = value

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("unexpected state of a dict")


def checked_key(key: Any) -> Any:
    """A key of a dict, if it is a string or an integer. Raises ValueError."""
    if not isinstance(key, (str, int)):
        raise ValueError("a key of a dict is neither a string nor a number")
    return key


# ----------------------------------------------------------------------------
# Plain data.


class Budget:
    """How much a file may cause altogether, lest a small one fill the memory or take for ever.

    Whatever is made of bytes of the file for the first time is as large as these at most. What may be made of the same
    bytes again and again is counted here: items of containers, and bytes.
    """

    def __init__(self, file_size: int):
        self.items = 2 * file_size + 10_000
        self.bytes = 4 * file_size + 100_000

    def take_items(self, count: int) -> None:
        """Counts some. Raises ValueError where all are used up."""
        self.items -= count
        if self.items < 0:
            raise ValueError("it makes more objects than the file can hold")

    def take_bytes(self, count: int) -> None:
        """Counts some. Raises ValueError where all are used up."""
        self.bytes -= count
        if self.bytes < 0:
            raise ValueError("what it makes is larger than the file")

    def take(self, value: Any) -> None:
        """Counts what can be copied of a value: the items of a container, or the characters of a string."""
        if isinstance(value, str):
            self.take_bytes(len(value))
        elif isinstance(value, (tuple, list, dict)):
            self.take_items(len(value))


_MAX_DEPTH = 50
_MAX_OBJECTS = 200_000


class Finisher:
    """Replaces stand-ins in what an `Unpickler` loaded by arrays of their own memory.

    Shared parts are visited once, but counted each time: whoever goes through the result is soon done.

    Raises an exception for cycles, towers, and what exceeds the budget.
    """

    def __init__(self, budget: Budget):
        self.budget = budget
        self._done: dict[int, tuple[Any, int, int]] = {}  # by id: the finished object, its items and bytes
        self._kept: list[Any] = []  # keeps objects alive whose ids are noted
        self._depth = 0

    def finish(self, value: Any) -> Any:
        """The finished object for a loaded one."""
        if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
            return value
        if id(value) in self._done:
            result, items, size = self._done[id(value)]
            if result is _UNFINISHED:
                raise ValueError("an object contains itself")
            self.budget.take_items(items)
            self.budget.take_bytes(size)
            return result
        if self._depth > _MAX_DEPTH:
            raise ValueError("objects are nested too deeply")
        if len(self._kept) > _MAX_OBJECTS:
            raise ValueError(f"it has more than {_MAX_OBJECTS} objects")
        self._kept.append(value)
        self._done[id(value)] = _UNFINISHED, 0, 0
        items, size = self.budget.items, self.budget.bytes
        self.budget.take_items(1)
        self._depth += 1
        result = self._finish(value)
        self._depth -= 1
        self._done[id(value)] = result, items - self.budget.items, size - self.budget.bytes
        return result

    def own(self, array: np.ndarray) -> np.ndarray:
        """A copy of an array, which does not keep the file in memory."""
        self.budget.take_bytes(array.nbytes)
        return array.copy(order="K")

    def _finish(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return self.own(value)
        if isinstance(value, StandIn):
            return value.finished(self)
        self.budget.take(value)
        if isinstance(value, dict):
            return {key: self.finish(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.finish(item) for item in value)
        raise ValueError(f"objects of type {type(value).__name__.strip('_')} do not belong here")


_UNFINISHED = object()


# ----------------------------------------------------------------------------
# Arrays.


class _Array(StandIn):
    """An array under construction: pickles create it empty and then set its state."""

    __slots__ = ("value",)

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran_order, data = state
        self.value = _array(shape, dtype, data, fortran_order)

    def finished(self, finisher: "Finisher") -> np.ndarray:
        return finisher.own(self.value)


class _Dtype(Unchangeable):
    """A data type under construction."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_flags: Any):
        if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise ValueError(f"arrays of type {short(code)} are not read")
        self.code = code
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"unknown byte order {short(state[1])}")
        self.order = state[1]

    def make(self) -> np.dtype:
        return np.dtype(self.order + self.code)


def _array(shape: Any, dtype: Any, data: Any, fortran_order: Any) -> np.ndarray:
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape) or len(shape) > 8:
        raise ValueError(f"impossible array shape {short(shape)}")
    if not isinstance(dtype, _Dtype):
        raise ValueError("array without a data type")
    if isinstance(data, str):  # pickles of Python 2
        data = data.encode("latin1")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ValueError("array without data")
    return np.frombuffer(data, dtype.make()).reshape(shape, order="F" if fortran_order else "C")


def _reconstruct(cls: Any, _shape: Any, _type: Any) -> _Array:
    if not isinstance(cls, Name):
        raise ValueError("unknown kind of array")
    return _Array()


def _scalar(dtype: Any, data: Any) -> np.generic:
    return _array((), dtype, data, False)[()]


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return _array(shape, dtype, data, order == "F")


def _empty_bytes(*args: Any) -> bytes:
    if args:
        raise ValueError("bytes of something")
    return b""  # the data of empty arrays in pickles for Python 2


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocols 0 to 2 write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("unexpected encoding")
    return text.encode("latin1")


_MULTIARRAY = {"_reconstruct": Call(_reconstruct), "scalar": Call(_scalar)}
_NUMERIC = {"_frombuffer": Call(_frombuffer)}
_BUILTINS = {"bytes": Call(_empty_bytes)}
ARRAYS: Allowed = {
    "numpy": {"ndarray": Name(), "dtype": Call(_Dtype)},
    "numpy.core.multiarray": _MULTIARRAY,
    "numpy._core.multiarray": _MULTIARRAY,
    "numpy.core.numeric": _NUMERIC,
    "numpy._core.numeric": _NUMERIC,
    "_codecs": {"encode": Call(_encode)},
    "__builtin__": _BUILTINS,
    "builtins": _BUILTINS,
}
