"""Names of files as command lines give them: with commas between, of files, folders and patterns (`*.npz`)."""

import argparse
import difflib
import glob
import os
from collections.abc import Callable

from dnnlib.errors import UserError

from .encoded_images import list_files


def split(text: str) -> list[str]:
    """The names in an argument with commas between; a file whose name has commas is one name."""
    names = [text] if os.path.exists(os.path.expanduser(text)) else [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected names of files with commas between, got {text!r}")
    return names


def find(name: str, wanted: Callable[[str], bool], what: str, recursive: bool = False) -> list[str]:
    """The files that a name stands for: of folders those that are wanted, of patterns all, both sorted.

    Args:
        name: of a file, folder or pattern.
        wanted: whether a file of a folder is meant, by its name.
        what: what they are, for messages.
        recursive: look into folders of folders, too.

    Raises UserError for what is not there, with the nearest name that is.
    """
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        inside = sorted(file for file in (list_files(path) if recursive else os.listdir(path)) if wanted(file))
        if not inside:
            raise UserError(f"{name}: there are no {what} in this folder")
        return [os.path.join(path, file) for file in inside]
    if os.path.exists(path):
        return [path]
    if glob.has_magic(path):
        matching = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
        if not matching:
            raise UserError(f"{name}: no file has such a name")
        return matching
    folder = os.path.dirname(path) or "."
    there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    known = [other for other in there if wanted(other) or os.path.isdir(os.path.join(folder, other))]
    close = difflib.get_close_matches(os.path.basename(path), known, n=1)
    raise UserError(f"{name}: no such file" + (f"; did you mean {close[0]}?" if close else ""))
