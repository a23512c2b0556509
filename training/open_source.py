"""Finds out what kind of data set a path is, and opens it."""

import difflib
import os

from dnnlib.errors import UserError

from .image_sources import ImageSource, TFRecordSource


def open_source(path: str, num_threads: int = 2) -> ImageSource:
    """The images of a data set. Raises UserError if there is none, or if it cannot be used.

    num_threads: threads that decode images.
    """
    if not os.path.exists(path):
        raise UserError(_missing(path))
    if os.path.isdir(path):
        names = os.listdir(path)
        if any(name.endswith(".tfrecords") for name in names):
            return TFRecordSource(path)
    raise UserError(f"{path}: found no data set")


def _missing(path: str) -> str:
    parent = os.path.abspath(path)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    return f"there is no data set {path}; " + str(difflib.get_close_matches(path, os.listdir(parent)))
