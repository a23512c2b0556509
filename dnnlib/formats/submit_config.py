"""Reads `submit_config.pkl` of run folders, ours and those of the official code, without executing anything in it."""

from typing import Any, BinaryIO

from . import network_pickle, safe_pickle
from .safe_pickle import DamagedPickleError
from .stand_ins import Allowed, Call, Finisher, StandIn


class _Settings(StandIn):
    """Stands for an object that has nothing but attributes, which become a dict."""

    __slots__ = ("state",)

    def __new__(cls, *_args: Any) -> "_Settings":
        settings = super().__new__(cls)
        settings.state = {}
        return settings

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("unexpected state of settings")
        self.state = state

    def finished(self, finisher: Finisher) -> Any:
        return finisher.finish(self.state)


_EASY_DICT = network_pickle.ALLOWED[".dnnlib.util"]["EasyDict"]
_ENUM = Call(lambda value: value)
_ALLOWED: Allowed = network_pickle.ALLOWED | {
    "dnnlib.submission.submit": {
        "SubmitConfig": _EASY_DICT,
        "PlatformExtras": _EASY_DICT,
        "SubmitTarget": _ENUM,
        "PathType": _ENUM,
    },
    "dnnlib.submission.internal.local": {"TargetOptions": _Settings},
}


def load(file: BinaryIO, name: str) -> dict[str, Any]:
    """The settings of a run by name, `run_func_kwargs` among them. Enumerations are their values.

    Raises UnsafePickleError or DamagedPickleError for anything else.
    """
    settings = safe_pickle.load(file, name, "submit_config.pkl", _ALLOWED)
    if not isinstance(settings, dict):
        raise DamagedPickleError(f"{name}: expected the settings of a run, it holds a {type(settings).__name__}")
    return settings
