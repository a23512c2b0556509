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

from dnnlib.errors import printable, reason_of

from .stand_ins import Allowed, Budget, Finisher, OrderedItems, Unchangeable, checked_key


class UnsafePickleError(pickle.UnpicklingError):
    """A pickle asks for something outside of the allow-list."""


class DamagedPickleError(pickle.UnpicklingError):
    """A file that is no complete, consistent network pickle."""


def load(file: BinaryIO, name: str, kind: str, allowed: Allowed) -> Any:
    """The object in a pickle: containers, numbers and strings as they are, sets as tuples, arrays as NumPy arrays.

    Args:
        file: an open binary file.
        name: the file's name, for messages.
        kind: what is expected, for messages: 'pickle of arrays'.
        allowed: `stand_ins.ARRAYS`, or these and what else the pickle may name.

    Raises:
        UnsafePickleError: it asks for something that is not allowed; the message names it.
        DamagedPickleError: truncated, altered, or not a pickle at all.
    """
    with readable_errors(name, kind):
        content = Content(file)
        budget = Budget(len(content.buffer))
        return Finisher(budget).finish(Unpickler(content, kind, allowed, budget).load())


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
        raise DamagedPickleError(
            f"{name}: damaged or not a {kind} ({reason_of(error, with_kind=True)}). "
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


class Unpickler(pickle._Unpickler):
    """Python's unpickler in Python: unlike the one in C, it takes views of the file, and no file of a few bytes can
    make it reserve gigabytes. What it loads is to be given to a `Finisher`.

    Sets come out as lists and tuples, and keys are strings and integers: to hash a tuple can take for ever.

    persistent_load: makes objects of the references to objects outside of the pickle. Without it they are refused.
    """

    def __init__(
        self,
        content: Content,
        kind: str,
        allowed: Allowed,
        budget: Budget,
        persistent_load: Callable[[Any], Any] | None = None,
    ):
        super().__init__(content, encoding="latin1")
        self._kind = kind
        self._allowed = allowed
        self._budget = budget
        self._persistent_load = persistent_load

    def _decode_string(self, value: Any) -> str:
        """Strings of Python 2, short ones as bytes and long ones as views."""
        return str(value, "latin1")

    # What opcodes do, where it is not what Python does.

    def _load_bytearray(self) -> None:
        """Python's own method reserves whatever size the file claims before it reads."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def _load_long(self) -> None:
        size = int.from_bytes(self.read(4), "little", signed=True)
        if not 0 <= size <= _MAX_DIGITS:
            raise ValueError(f"an integer of {size} bytes")
        self.append(pickle.decode_long(bytes(self.read(size))))

    def _load_digits(self) -> None:
        """Integers as text, also the two truth values."""
        digits = self.readline()[:-1]
        if len(digits) > _MAX_DIGITS:
            raise ValueError(f"an integer of {len(digits)} digits")
        truth = {pickle.FALSE[1:-1]: False, pickle.TRUE[1:-1]: True}
        self.append(truth[digits] if digits in truth else int(digits.rstrip(b"L"), 0))

    def _load_append(self) -> None:
        self._extend([self.stack.pop()])

    def _load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def _load_setitems(self) -> None:
        items = self.pop_mark()
        self._fill(self.stack[-1], items)

    def _load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._fill(self.stack[-1], items)

    def _extend(self, items: list) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("items are added to something else than a list")
        self.stack[-1].extend(items)

    def _fill(self, target: Any, items: list) -> None:
        if not isinstance(target, dict):
            raise ValueError("items are set in something else than a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def _load_reduce(self) -> None:
        self._check_arguments(self.stack[-1])
        self.load_reduce()

    def _load_newobj(self) -> None:
        self._check_arguments(self.stack[-1])
        self.load_newobj()

    def _load_newobj_ex(self) -> None:
        raise UnsafePickleError("refused: the pickle makes an object by keywords")

    def _load_build(self) -> None:
        state = self.stack[-1]
        if not isinstance(self.stack[-2], (Unchangeable, OrderedItems)):
            raise ValueError("something is given a state that has none")
        self._check_arguments(state if isinstance(state, tuple) else (state,))
        self.load_build()

    def _instantiate(self, cls: Any, args: Any) -> None:
        self._check_arguments(args)
        super()._instantiate(cls, args)  # type: ignore[misc]

    def _check_arguments(self, args: Any) -> None:
        """Counts what a function or class may copy of what it is given."""
        if not isinstance(args, (tuple, list)) or len(args) > _MAX_ARGUMENTS:
            raise ValueError("a function is not called as expected")
        for arg in args:
            self._budget.take(arg)

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: _load_bytearray,
        pickle.INT[0]: _load_digits,
        pickle.LONG[0]: _load_digits,
        pickle.LONG4[0]: _load_long,
        pickle.EMPTY_SET[0]: pickle._Unpickler.load_empty_list,
        pickle.FROZENSET[0]: pickle._Unpickler.load_tuple,
        pickle.APPEND[0]: _load_append,
        pickle.APPENDS[0]: _load_appends,
        pickle.ADDITEMS[0]: _load_appends,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.DICT[0]: _load_dict,
        pickle.REDUCE[0]: _load_reduce,
        pickle.NEWOBJ[0]: _load_newobj,
        pickle.NEWOBJ_EX[0]: _load_newobj_ex,
        pickle.BUILD[0]: _load_build,
    }

    # What a pickle may name.

    def find_class(self, module_name: str, global_name: str) -> Any:
        endings = (module for module in self._allowed if module[0] == "." and f".{module_name}".endswith(module))
        module = module_name if module_name in self._allowed else next(endings, None)
        try:
            allowed = self._allowed[module][global_name]
        except KeyError:
            asked = printable(f"{module_name}.{global_name}")
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


_MAX_DIGITS = 255  # of an integer
_MAX_ARGUMENTS = 20  # of a function
