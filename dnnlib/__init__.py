"""The official `dnnlib`: run folders, downloads, small helpers, and `tflib` on TensorFlow 2.

`dnnlib.tflib` is imported when it is first used, so that command lines can answer without waiting for TensorFlow.
"""

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


def __getattr__(name: str) -> Any:
    if name == "tflib":
        import importlib

        return importlib.import_module("dnnlib.tflib")
    if name == "submit_config":  # of the run in progress
        return submission.submit.submit_config
    raise AttributeError(f"module 'dnnlib' has no attribute {name!r}")
