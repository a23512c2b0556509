"""The official `dnnlib`: run folders, downloads, small helpers, and `tflib` on TensorFlow 2.

`dnnlib.tflib` is imported when it is first used, so that command lines can answer without waiting for TensorFlow.
"""

import sys
import types
from typing import Any

from . import submission, util
from .submission.run_context import RunContext
from .submission.submit import (
    PathType,
    SubmitConfig,
    SubmitTarget,
    convert_path,
    get_path_from_template,
    make_run_dir_path,
    submit_run,
)
from .util import EasyDict


class _Dnnlib(types.ModuleType):
    """This module, where `submit_config` is that of `submission.submit` for whoever reads or sets it."""

    @property
    def submit_config(self) -> SubmitConfig | None:
        """Of the run in progress."""
        return submission.submit.submit_config

    @submit_config.setter
    def submit_config(self, value: SubmitConfig | None) -> None:
        submission.submit.submit_config = value


sys.modules[__name__].__class__ = _Dnnlib


def __getattr__(name: str) -> Any:
    if name == "tflib":
        import importlib

        return importlib.import_module("dnnlib.tflib")
    raise AttributeError(f"module 'dnnlib' has no attribute {name!r}")
