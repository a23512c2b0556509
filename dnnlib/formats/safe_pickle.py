"""Reads pickles of plain data without executing anything in them.

Unpickling is running a small program that may call any function by name. Here it may name only what the caller allows,
and even that is replaced by stand-ins which check their arguments: arrays become NumPy arrays of plain numbers.
Everything else is refused by module and name.
"""

import contextlib
import mmap
import pickle
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, ClassVar

import numpy as np


class UnsafePickleError(pickle.UnpicklingError):
    """A pickle asks for something outside of the allow-list."""


class DamagedPickleError(pickle.UnpicklingError):
    """A file that is no complete, consistent network pickle."""


# What a pickle may name, by module and name: a stand-in, or a text that says why it is refused.
Allowed = dict[str, dict[str, Any]]


def load(file: BinaryIO, name: str, kind: str, allowed: Allowed) -> Any:
    """The object in a pickle: containers, numbers and strings as they are, sets as tuples, arrays as NumPy arrays.

    Args:
        file: an open binary file.
        name: the file's name, for messages.
        kind: what is expected, for messages: 'pickle of arrays'.
        allowed: `ARRAYS`, or these and what else the pickle may name.

    Raises:
        UnsafePickleError: it asks for something that is not allowed; the message names it.
        DamagedPickleError: truncated, altered, or not a pickle at all.
    """
    with readable_errors(name, kind):
        content = Content(file)
        return Finisher(len(content.buffer)).finish(Unpickler(content, kind, allowed).load())


@contextlib.contextmanager
def readable_errors(name: str, kind: str) -> Iterator[None]:
    """Around everything that touches the content of a file: whatever happens, it raises one of the two errors here.

    Args:
        name: the file's name, for messages.
        kind: what is expected, for messages.
    """
    try:
        yield
    except UnsafePickleError as error:
        raise type(error)(f"{name}: {error}") from None
    except OSError as error:
        raise DamagedPickleError(f"{name}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # the content is hostile until proven otherwise: any exception means damage
        reason = " ".join(str(error).split())[:200]
        raise DamagedPickleError(
            f"{name}: damaged or not a {kind} ({type(error).__name__}{': ' + reason if reason else ''}). "
            "If it was downloaded, delete it and download it again."
        ) from None


class Content:
    """A file in memory, mapped if possible. Large pieces are given as views: the data of arrays is copied only once."""

    def __init__(self, file: BinaryIO):
        self._whole: Any
        try:
            self._whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # no file on disk, or an empty one
            self._whole = file.read()
        self.buffer = memoryview(self._whole)
        self.position = 0

    def read(self, size: int) -> Any:
        begin, self.position = self.position, self.position + size
        if size < 0 or self.position > len(self.buffer):
            raise EOFError("the file ends early")
        piece = self.buffer[begin : self.position]
        return piece if size > 4096 else bytes(piece)

    def readinto(self, target: Any) -> int:
        target[:] = self.read(len(target))
        return len(target)

    def readline(self) -> bytes:
        end = self._whole.find(b"\n", self.position) + 1
        if end == 0:
            raise EOFError("the file ends early")
        begin, self.position = self.position, end
        return bytes(self.buffer[begin:end])


class Budget:
    """How much all of something in a file may have together, lest a small file fill the memory."""

    def __init__(self, left: int, what: str):
        self.left, self.what = left, what

    def take(self, count: int) -> None:
        """Counts some. Raises ValueError where all is used up."""
        self.left -= count
        if self.left < 0:
            raise ValueError(f"the {self.what} are larger than the file")


# ----------------------------------------------------------------------------
# Stand-ins for what a pickle may name.


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

    def finished(self, finish: Callable[[Any], Any]) -> Any:
        """What it becomes; `finish` does this for its parts."""
        raise NotImplementedError


class OrderedItems(dict):
    """Stands for an OrderedDict. What it has besides items, such as versions of PyTorch's modules, is left out."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("unexpected state of a dict")


class _Array:
    """An array under construction: pickles create it empty and then set its state."""

    __slots__ = ("value",)

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran_order, data = state
        self.value = _array(shape, dtype, data, fortran_order)


class _Dtype:
    """A data type under construction."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_flags: Any):
        if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise ValueError(f"arrays of type {code!r:.40} are not read")
        self.code = code
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"unknown byte order {state[1]!r:.40}")
        self.order = state[1]

    def make(self) -> np.dtype:
        return np.dtype(self.order + self.code)


def _array(shape: Any, dtype: Any, data: Any, fortran_order: Any) -> np.ndarray:
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape) or len(shape) > 8:
        raise ValueError(f"impossible array shape {shape!r:.80}")
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


_MULTIARRAY = {"_reconstruct": Call(_reconstruct), "scalar": Call(_scalar)}
_NUMERIC = {"_frombuffer": Call(_frombuffer)}
_BUILTINS = {"bytes": Call(_empty_bytes)}
ARRAYS: Allowed = {
    "numpy": {"ndarray": Name(), "dtype": Call(_Dtype)},
    "numpy.core.multiarray": _MULTIARRAY,
    "numpy._core.multiarray": _MULTIARRAY,
    "numpy.core.numeric": _NUMERIC,
    "numpy._core.numeric": _NUMERIC,
    "_codecs": {"encode": None},  # a method of the unpickler, which counts
    "__builtin__": _BUILTINS,
    "builtins": _BUILTINS,
}


class Unpickler(pickle._Unpickler):
    """Python's unpickler in Python: unlike the one in C, it takes views of the file, and no file of a few bytes can
    make it reserve gigabytes. What it loads is to be given to a `Finisher`.

    persistent_load: makes objects of the references to objects outside of the pickle. Without it they are refused.
    """

    def __init__(
        self, content: Content, kind: str, allowed: Allowed, persistent_load: Callable[[Any], Any] | None = None
    ):
        super().__init__(content, encoding="latin1")
        self._kind = kind
        self._allowed = allowed
        self._persistent_load = persistent_load
        self._encoded = Budget(len(content.buffer), "contents")

    def _decode_string(self, value: Any) -> str:
        """Strings of Python 2, short ones as bytes and long ones as views."""
        return str(value, "latin1")

    def _load_bytearray(self) -> None:
        """Python's own method reserves whatever size the file claims before it reads."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: _load_bytearray,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == ("_codecs", "encode"):
            return Call(self._encode)
        try:
            allowed = self._allowed[module_name][global_name]
        except KeyError:
            asked = f"{module_name}.{global_name}"
            asked = asked if asked.isprintable() and len(asked) <= 200 else f"{asked!r:.200}"
            raise UnsafePickleError(
                f"refused: the pickle asks for {asked}, which no {self._kind} needs. Nothing in it was executed."
            ) from None
        if isinstance(allowed, str):
            raise UnsafePickleError(allowed)
        return allowed

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent_load is None:
            raise UnsafePickleError("refused: the pickle refers to objects outside of it")
        return self._persistent_load(pid)

    def _encode(self, text: Any, encoding: Any) -> bytes:
        """How protocols 0 to 2 write bytes. All of them together cannot be larger than the file."""
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("unexpected encoding")
        self._encoded.take(len(text))
        return text.encode("latin1")


_MAX_DEPTH = 50
_MAX_OBJECTS = 1_000_000


class Finisher:
    """Replaces stand-ins in what an `Unpickler` loaded by arrays of their own memory. Shared parts are visited once.

    Raises an exception for cycles, towers, and arrays that together are larger than the file.
    """

    def __init__(self, file_size: int):
        self.done: dict[int, Any] = {}
        self.kept: list[Any] = []  # keeps objects alive whose ids are noted
        self.bytes = Budget(file_size + 1024, "arrays")

    def finish(self, value: Any, depth: int = 0) -> Any:
        """The finished object for a loaded one."""
        if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
            return value
        if id(value) in self.done:
            if self.done[id(value)] is _UNFINISHED:
                raise ValueError("an object contains itself")
            return self.done[id(value)]
        if depth > _MAX_DEPTH or len(self.done) > _MAX_OBJECTS:
            raise ValueError("objects are nested too deeply")
        self.kept.append(value)
        self.done[id(value)] = _UNFINISHED
        self.done[id(value)] = result = self._finish(value, depth + 1)
        return result

    def _finish(self, value: Any, depth: int) -> Any:
        if isinstance(value, (_Array, np.ndarray)):
            array = value.value if isinstance(value, _Array) else value
            self.bytes.take(array.nbytes)
            return array.copy(order="K")
        if isinstance(value, StandIn):
            return value.finished(lambda part: self.finish(part, depth))
        if isinstance(value, dict):
            return {_key(key): self.finish(item, depth) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.finish(item, depth) for item in value)
        if isinstance(value, (set, frozenset)):
            return tuple(self.finish(item, depth) for item in value)
        raise ValueError(f"objects of type {type(value).__name__.strip('_')} do not belong here")


_UNFINISHED = object()


def _key(key: Any) -> Any:
    if not isinstance(key, (str, int)):
        raise ValueError("a key of a dict is neither a string nor a number")
    return key
