"""Reads official network pickles without executing anything in them: networks become dicts."""

from typing import Any, BinaryIO

from dnnlib.kinds import HEAD, kind_of, mistaken

from . import safe_pickle
from .safe_pickle import DamagedPickleError, UnsafePickleError
from .stand_ins import ARRAYS, Allowed, Call, Finisher, Name, OrderedItems, StandIn

__all__ = ["ALLOWED", "DamagedPickleError", "PickledNetwork", "UnsafePickleError", "load"]


def load(file: BinaryIO, name: str) -> Any:
    """Reads a pickle. Networks in it come out as `PickledNetwork`, arrays as NumPy arrays, containers as they are.

    Args:
        file: an open binary file.
        name: the file's name, for messages.

    Raises:
        UnsafePickleError: it asks for something that network pickles do not need; the message names it.
        DamagedPickleError: truncated, altered, or not a pickle at all.
    """
    with safe_pickle.readable_errors(name, "network pickle"):
        head = file.read(HEAD)
        file.seek(0)
    check_kind(head, name)
    return safe_pickle.load(file, name, "network pickle", ALLOWED)


def check_kind(head: bytes, name: str) -> None:
    """Raises DamagedPickleError for files that by their first bytes are something else; the message says what."""
    is_zip = kind_of(head) in ("zip", "npz")
    problem = "this is a zip file (a PyTorch checkpoint?)" if is_zip else mistaken(head)
    if problem:
        raise DamagedPickleError(f"{name}: {problem}. Expected a network pickle")


# ----------------------------------------------------------------------------
# Stand-ins for what network pickles name besides arrays.


class PickledNetwork(StandIn):
    """A network object of a pickle: its state and nothing else."""

    __slots__ = ("state",)

    def __new__(cls, *args: Any) -> "PickledNetwork":
        if args:
            raise ValueError("a network is created with arguments")
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("the state of a network is not a dict")
        self.state = state

    def finished(self, finisher: Finisher) -> "PickledNetwork":
        self.state = finisher.finish(self.state)
        return self


def _reconstructor(cls: Any, base: Any, _state: Any) -> Any:
    if isinstance(base, Name) and cls in (PickledNetwork, _EasyDict):
        return cls()
    raise ValueError("unexpected object")


class _EasyDict(OrderedItems):
    """Stands for dnnlib.util.EasyDict. It has nothing but items."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self.update(state)


_RECONSTRUCTOR = {"_reconstructor": Call(_reconstructor)}
_OBJECT = {"object": Name()}
ALLOWED: Allowed = ARRAYS | {
    ".tflib.network": {"Network": PickledNetwork},  # StyleGAN, StyleGAN2, StyleGAN2-ADA, in whatever package
    "tfutil": {"Network": PickledNetwork},  # ProGAN
    "network": {"Network": "a network of the Theano version of ProGAN, which this version cannot build"},
    ".dnnlib.util": {"EasyDict": _EasyDict},
    "dnnlib.submission.submit": {"SubmitConfig": "these are the settings of a run, not networks"},
    "copy_reg": _RECONSTRUCTOR,
    "copyreg": _RECONSTRUCTOR,
    "__builtin__": ARRAYS["__builtin__"] | _OBJECT,
    "builtins": ARRAYS["builtins"] | _OBJECT,
    "collections": {"OrderedDict": OrderedItems},
}
