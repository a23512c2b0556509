"""The formats that checkpoints are written in: what is known of them without TensorFlow."""

import importlib.util
import os
from dataclasses import dataclass

from dnnlib.errors import UserError

SAVED_MODEL_FILE = "saved_model.pb"  # what each folder of a SavedModel has


@dataclass(frozen=True)
class Format:
    """A format.

    name: of --format. extensions: that tell it; of folders, '' for none. title: for messages. networks: that it can
    hold. holds_all: holds several of them; else one, Gs unless told otherwise. package: of Python, that it needs.
    """

    name: str
    extensions: tuple[str, ...]
    title: str
    networks: tuple[str, ...] = ("G", "D", "Gs")
    holds_all: bool = True
    package: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder rather than a file."""
        return "" in self.extensions


PKL = Format("pkl", (".pkl",), "official pickle of TensorFlow")
NPZ = Format("npz", (".npz",), "arrays of NumPy")
SAFETENSORS = Format("safetensors", (".safetensors",), "arrays as safetensors", package="safetensors")
KERAS = Format("weights.h5", (".weights.h5",), "weights of a Keras model", holds_all=False, package="h5py")
SAVED_MODEL = Format(
    "savedmodel", (".savedmodel", ""), "SavedModel of a generator, a folder", ("G", "Gs"), holds_all=False
)
FORMATS = {format_.name: format_ for format_ in (PKL, NPZ, SAFETENSORS, KERAS, SAVED_MODEL)}
"""All formats by name."""


def format_of(path: str, name: str | None = None) -> Format:
    """The format that the extension of a path tells, or the one of this name.

    Raises UserError where neither tells, with all there are, and for a name that a format cannot have.
    """
    lower = path.lower()
    found = FORMATS[name] if name is not None else None
    for format_ in FORMATS.values():
        if found is None and lower.endswith(tuple(filter(None, format_.extensions))):
            found = format_
    if found is KERAS and not path.endswith(KERAS.extensions):
        raise UserError(f"{path}: Keras reads weights from files that end in {KERAS.extensions[0]}, and no others")
    if found is not None:
        return found
    extension = os.path.splitext(os.path.basename(lower))[1]
    if not extension or path.endswith("/"):
        return SAVED_MODEL
    known = ", ".join(extension for format_ in FORMATS.values() for extension in filter(None, format_.extensions))
    better = path[: -len(extension)] + KERAS.extensions[0]
    hint = f" (did you mean {better}?)" if extension in (".h5", ".hdf5", ".keras") else ""
    raise UserError(
        f"{path}: {extension} is no format that is written{hint}; expected {known}, no extension at all for a "
        f"{SAVED_MODEL.title}, or --format={'|'.join(FORMATS)}"
    )


@dataclass(frozen=True)
class Output:
    """What is to be written: a path, a format, and the networks of 'G', 'D', 'Gs' that go in, where they are there."""

    path: str
    format: Format
    networks: tuple[str, ...]


def check_output(path: str, format_name: str | None, network: str | None, overwrite: bool) -> Output:
    """An output that can be written.

    Args:
        path: of the file or folder.
        format_name: name of its format; None: as its extension tells.
        network: 'G', 'D', 'Gs' or 'all'; None: all where the format holds several, else Gs.
        overwrite: whether something may be there already.

    Raises:
        UserError: an unknown format, a network that it cannot hold, a place that cannot be written.
    """
    if not path:
        raise UserError("the name is empty")
    path = os.path.expanduser(path)
    format_ = format_of(path, format_name)
    path = path.rstrip("/") or path
    networks = (network,)
    if network in (None, "all"):
        networks = format_.networks if format_.holds_all else ("Gs",)
    if (network == "all" and not format_.holds_all) or not set(networks) <= set(format_.networks):
        choices = " or ".join(f"--network={name}" for name in format_.networks)
        raise UserError(f"{path}: is to be a {format_.title}; expected {choices}, got --network={network}")
    if format_.package and importlib.util.find_spec(format_.package) is None:
        raise UserError(f"{path}: needs {format_.package}; install it with: pip install {format_.package}")
    _check_place(path, format_, overwrite)
    return Output(path, format_, networks)


def _check_place(path: str, format_: Format, overwrite: bool) -> None:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UserError(f"{path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path}: the folder {folder} is not writable")
    if not os.path.lexists(path):
        return
    is_folder = os.path.isdir(path)
    if is_folder != format_.is_folder:
        raise UserError(f"{path}: is a {'folder' if is_folder else 'file'}, expected a name for a {format_.title}")
    if is_folder and os.listdir(path) and not os.path.exists(os.path.join(path, SAVED_MODEL_FILE)):
        raise UserError(f"{path}: is a folder with other files, which is not overwritten; give another name")
    if not overwrite:
        raise UserError(f"{path}: exists; give another name, or --overwrite")
