"""Finds out what kind of data set a path is, and opens it."""

import contextlib
import os
import zipfile

from dnnlib.errors import UserError, did_you_mean, listed
from dnnlib.files import short_name
from dnnlib.kinds import HEAD, kind_of, mistaken
from dnnlib.resolutions import Resolution

from .containers import is_hidden
from .encoded_sources import FileSource, LmdbSource
from .image_files import AS_USUAL, Reading, is_image_name
from .image_listing import has_images
from .image_sources import ImageSource
from .tfrecord_folder import TFRecordSource

_IN_FOLDERS = "tfrecords (*.tfrecords), images (PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF...), LMDB (data.mdb)"
_MAX_NAMES = 10
_MAX_THREADS = 8


def open_source(path: str, num_threads: int | None = None, reading: Reading = AS_USUAL) -> ImageSource:
    """The images of a data set. Raises UserError if there is none, or if it cannot be used.

    num_threads: threads that decode images; None: one for each core, up to 8. reading: how image files are read.
    """
    num_threads = min(os.cpu_count() or 1, _MAX_THREADS) if num_threads is None else num_threads
    kind = check_kind(path)
    try:
        return kind(path, num_threads, reading)
    except OSError as error:
        raise UserError(f"{error.filename or path}: {error.strerror}") from None


def full_resolution(path: str, reading: Reading = AS_USUAL) -> Resolution:
    """The resolution of a data set by its first image: `open_source` looks at them all. Raises UserError as that does.

    Of tfrecords, what was found when they were first opened lies beside them.
    """

    class First(check_kind(path)):
        def _scan(self) -> None:
            self.count = 1
            super()._scan()

    with contextlib.suppress(OSError, UserError), contextlib.closing(First(path, 1, reading)) as source:
        return source.resolution
    with contextlib.closing(open_source(path, reading=reading)) as source:  # to hear of all images that cannot be used
        return source.resolution


def check_kind(path: str) -> type[ImageSource]:
    """The class that reads a path. Raises UserError, with the reason and what is near, if there is no data set."""
    try:
        names = os.listdir(path) if os.path.isdir(path) else []
        if any(name.endswith(".tfrecords") for name in names):
            return TFRecordSource
        if "data.mdb" in names:
            return LmdbSource
        if zipfile.is_zipfile(path) if os.path.isfile(path) else has_images(path):
            return FileSource
        raise UserError(_explain(path))
    except OSError as error:
        raise UserError(f"{error.filename or path}: {error.strerror}") from None


def _explain(path: str) -> str:
    """Why a path is no data set, and what would be."""
    if os.path.isfile(path):
        return (
            f"{path}: is there, but is no data set: {_why_not(path)}. "
            f"Expected a zip file of images, or a folder of {_IN_FOLDERS}"
        )
    lines = [f"{path}: there is no data set; looked for a folder of {_IN_FOLDERS}, or a zip file of images"]
    folder = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        lines.append(f"(there is no folder {folder})")
        folder = os.path.dirname(folder)
    names = _names_in(folder)
    there = f"In {folder} there are: {', '.join(listed(names, _MAX_NAMES))}" if names else f"{folder} is empty"
    lines.append(there + did_you_mean(os.path.basename(path), names, most=3))
    return "\n".join(lines)


def _names_in(folder: str) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not is_hidden(name))


def _why_not(path: str) -> str:
    """Why a file is no data set."""
    folder = os.path.dirname(path) or "."
    if path.endswith(".tfrecords"):
        return f"it is a file of one resolution; give its folder, {folder}"
    if os.path.basename(path) == "data.mdb":
        return f"it is a file of an LMDB; give its folder, {folder}"
    if is_image_name(os.path.basename(path)):
        return f"it is one image; give its folder, {folder}"
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if kind_of(head) in ("zip", "npz"):
        return "the zip file is damaged or cut off"
    return mistaken(head) or "it is no zip file"


def find_dataset(dataset: str, data_dir: str) -> tuple[str, str]:
    """What --dataset names: a data set in --data-dir, as officially, or else a path of any kind of data set.

    Returns:
        `tfrecord_dir` (as given, or an absolute path), and the name for the run folder, cut.
    """
    path = os.path.expanduser(dataset)
    if not os.path.exists(os.path.join(data_dir, dataset)) and os.path.exists(path):
        dataset = os.path.abspath(path)
    elif path != dataset:
        dataset = path
    desc = os.path.basename(os.path.normpath(dataset))
    root, extension = os.path.splitext(desc)
    return dataset, short_name(root if extension.lower() in (".zip", ".lmdb") else desc)


def check_dataset(data_dir: str, dataset: str) -> None:
    """Raises UserError if a data set does not exist, with the nearest that does, or is no data set."""
    path = os.path.join(data_dir, dataset)
    if os.path.exists(path):
        check_kind(path)
        return
    folder = os.path.dirname(os.path.normpath(path))
    there = _names_in(folder) if os.path.isdir(folder) else []
    close = did_you_mean(os.path.basename(os.path.normpath(path)), there)
    have = f"; {folder} has {', '.join(listed(there, _MAX_NAMES))}" if there and not close else ""
    raise UserError(f"--dataset={dataset}: there is no {path}{close}{have}")
