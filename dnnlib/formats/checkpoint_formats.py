"""The formats that checkpoints are written in: what is known of them without TensorFlow."""

import importlib.util
import os
from dataclasses import dataclass

from dnnlib.errors import Problems, UserError

from . import program_options
from .program_options import ProgramOptions

SAVED_MODEL_FILE = "saved_model.pb"  # what each folder of a SavedModel has


@dataclass(frozen=True)
class Format:
    """A format.

    name: of --format. extensions: that tell it; '' for none. title: for messages. networks: that it can hold.
    holds_all: holds several of them; else one, Gs unless told otherwise. packages: of Python, that it needs.
    marked_by: of a format that is a folder, the file by which one is recognised. options: those of `ProgramOptions`
    that it takes. weights: how it can store them.
    """

    name: str
    extensions: tuple[str, ...]
    title: str
    networks: tuple[str, ...] = ("G", "D", "Gs")
    holds_all: bool = True
    packages: tuple[str, ...] = ()
    marked_by: str | None = None
    options: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder rather than a file."""
        return self.marked_by is not None

    @property
    def is_program(self) -> bool:
        """Whether it is a generator that runs elsewhere, and is not read again as a network."""
        return self.networks == _GENERATORS


_GENERATORS = ("G", "Gs")
PKL = Format("pkl", (".pkl",), "official pickle of TensorFlow")
NPZ = Format("npz", (".npz",), "arrays of NumPy")
SAFETENSORS = Format("safetensors", (".safetensors",), "arrays as safetensors", packages=("safetensors",))
PYTORCH = Format(
    "pytorch",
    (".pytorch.safetensors",),
    "state dict of NVIDIA's PyTorch networks",
    holds_all=False,
    packages=("safetensors",),
)
PT = Format("pt", (".pt",), "checkpoint of rosinality/stylegan2-pytorch")
KERAS = Format("weights.h5", (".weights.h5",), "weights of a Keras model", holds_all=False, packages=("h5py",))
SAVED_MODEL = Format(
    "savedmodel", (".savedmodel", ""), "SavedModel of a generator", _GENERATORS, False, (), SAVED_MODEL_FILE
)
_PROGRAM = ("entry", "noise_mode", "image", "weights")
ONNX = Format(
    "onnx",
    (".onnx",),
    "ONNX model of a generator",
    _GENERATORS,
    holds_all=False,
    packages=("tf2onnx", "onnx", "onnxruntime"),
    options=(*_PROGRAM, "opset"),
    weights=("float32", "float16"),
)
LITERT = Format(
    "litert",
    (".tflite",),
    "LiteRT model of a generator",
    _GENERATORS,
    holds_all=False,
    options=_PROGRAM,
    weights=("float32", "float16", "int8"),
)
WEB = Format(
    "web",
    (".web",),
    "web page of a generator",
    _GENERATORS,
    holds_all=False,
    packages=ONNX.packages,
    marked_by="synthesis.onnx",
    options=("weights",),
    weights=ONNX.weights,
)
_ALL = (PKL, NPZ, PYTORCH, SAFETENSORS, KERAS, PT, SAVED_MODEL, ONNX, LITERT, WEB)
FORMATS = {format_.name: format_ for format_ in _ALL}
"""All formats by name."""
_SIMILAR = {KERAS: (".h5", ".hdf5", ".keras"), PT: (".pth", ".ckpt"), PKL: (".pickle",), LITERT: (".lite", ".litert")}
"""Extensions that others have for files like these."""


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
    better = next((format_.extensions[0] for format_, others in _SIMILAR.items() if extension in others), None)
    hint = f" (did you mean {path[: -len(extension)]}{better}?)" if better else ""
    raise UserError(
        f"{path}: {extension} is no format that is written{hint}; expected {known}, no extension at all for a "
        f"{SAVED_MODEL.title}, a folder, or --format={'|'.join(FORMATS)}"
    )


@dataclass(frozen=True)
class Output:
    """What is to be written: a path, a format, and the networks of 'G', 'D', 'Gs' that go in, where they are there.

    options: of a program. runtime: of a web page, the package of `onnxruntime_web`; None: is to be fetched.
    """

    path: str
    format: Format
    networks: tuple[str, ...]
    options: ProgramOptions = program_options.DEFAULT
    runtime: str | None = None


def check_output(
    path: str,
    format_name: str | None,
    network: str | None,
    overwrite: bool,
    options: ProgramOptions = program_options.DEFAULT,
) -> Output:
    """An output that can be written.

    Args:
        path: of the file or folder.
        format_name: name of its format; None: as its extension tells.
        network: 'G', 'D', 'Gs' or 'all'; None: all where the format holds several, else Gs.
        overwrite: whether something may be there already.
        options: of programs.

    Raises:
        UserError: an unknown format, a network that it cannot hold, a name or place that cannot be written.
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
        raise UserError(f"{path}: is to be the {format_.title}; expected {choices}, got --network={network}")
    problems = Problems()
    missing = [package for package in format_.packages if importlib.util.find_spec(package) is None]
    if missing:
        packages = " ".join(missing)
        problems.messages.append(f"{path}: needs {packages}; install with: pip install {packages}")
    with problems.gather():
        program_options.check(options, format_.options, format_.weights, format_.extensions[0])
    if format_.is_program and not _is_utf8(path):
        problems.messages.append(f"{path}: has bytes that are no UTF-8, which the packages for programs do not open")
    with problems.gather():
        _check_place(path, format_, overwrite)
    problems.report()
    return Output(path, format_, networks, options)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


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
        raise UserError(f"{path}: is a {'folder' if is_folder else 'file'}, expected a name for the {format_.title}")
    if is_folder and os.listdir(path) and not os.path.exists(os.path.join(path, format_.marked_by)):
        raise UserError(f"{path}: is a folder with other files, which is not overwritten; give another name")
    if not overwrite:
        raise UserError(f"{path}: exists; give another name, or --overwrite")
