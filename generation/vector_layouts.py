"""The vectors in a file, whoever wrote it: of our projector, StyleGAN2-ADA's, encoders, scripts. Nothing is unpickled.

- `.npz`: one of the arrays `NAMES`, or the only array; `noise0`, `noise1`, ..., all or none of them; `settings`.
- `.npy`: the array.
- `.pt` of PyTorch: a tensor, one for each image, or what rosinality's projector writes: for each image a dict of
  `latent` and `noise`.
"""

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from dnnlib.errors import UserError, enumerated, reason_of, short
from dnnlib.formats import torch_pickle, versions
from dnnlib.formats.arrays import ArrayFileError, load_npz, of_kind
from dnnlib.kinds import HEAD, kind_of

NAMES = ("dlatents", "w", "projected_w", "w_plus", "wp", "latents", "latent")
"""What arrays of W are called; the first of them that a file has counts."""
VERSION = 1  # of our own `.npz`; files without a number are of version 1, too
_Z = ("z", "zs")
_MAX_NOISES = 64
_Result = TypeVar("_Result")
_MOST_PACKED = 64 << 20  # bytes of all arrays of a small file, which can be compressed


@dataclass
class Found:
    """What is in a file, as it is there.

    vectors: of floating point numbers, any shape. noises: likewise, in order. settings: how the vectors came about.
    name: of the array of vectors, where it is none of `NAMES`.
    """

    vectors: np.ndarray
    noises: list[np.ndarray] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    name: str | None = None


def read(path: str) -> Found:
    """What a file holds. Raises UserError if it has no vectors; the message says what it has."""
    return read_as(path, lambda array: Found(floats(array, "of the file")), _of_npz, _of_torch)


def read_as(
    path: str,
    of_array: Callable[[np.ndarray], _Result],
    of_npz: Callable[[Any], _Result],
    of_torch: Callable[[Any], _Result],
    what: str = "W vectors",
) -> _Result:
    """What a function makes of the content of a file, after the kind of the file.

    Args:
        path: of a `.npy`, `.npz` or `.pt`.
        of_array, of_npz, of_torch: given the array of a `.npy`; an open `.npz`, arrays by name, each of which is read
            when it is asked for; the object in a `.pt`, with arrays in place of tensors. They raise ArrayFileError.
        what: the file should hold, for messages.

    Raises UserError for everything that is wrong with the file.
    """
    if not os.path.isfile(path):
        there = "is a folder" if os.path.isdir(path) else "no such file"
        raise UserError(f"{path}: {there}, expected a .npz, .npy or .pt file")
    try:
        return _read_as(path, of_array, of_npz, of_torch, what)
    except ArrayFileError as error:
        raise UserError(f"{path}: {error}") from None
    except pickle.UnpicklingError as error:  # which names the file
        raise UserError(str(error)) from None
    except UserError:
        raise
    except Exception as error:  # zip files and headers break in many ways
        raise UserError(f"{path}: is damaged, or no file of {what} ({reason_of(error, 100)})") from None


def _read_as(path: str, of_array: Any, of_npz: Any, of_torch: Any, what: str) -> Any:
    with open(path, "rb") as file:
        kind = kind_of(file.read(HEAD))
        file.seek(0)
        if kind == "torch legacy" or (kind == "zip" and _is_torch_zip(path)):
            return of_torch(torch_pickle.load(file, path))
        if zipfile.is_zipfile(file):
            file.seek(0)
            with load_npz(file, _MOST_PACKED) as npz:
                return of_npz(npz)
        file.seek(0)
        if file.read(6) != b"\x93NUMPY":
            raise ArrayFileError(f"is none of the files with {what.removeprefix('W ')}: .npz, .npy, or .pt of PyTorch")
        file.seek(0)
        if _dtype_in_header(file).hasobject:
            raise ArrayFileError("has Python objects, such as a dict of arrays, in it; save the array of vectors alone")
    return of_array(np.load(path, mmap_mode="r", allow_pickle=False))  # mapped: a huge size in the header does no harm


def _is_torch_zip(path: str) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/data.pkl") for name in archive.namelist())


# ----------------------------------------------------------------------------
# NumPy.


def _dtype_in_header(file: Any) -> np.dtype:
    first = np.lib.format.read_magic(file) == (1, 0)
    return (np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0)(file)[2]


def _of_npz(npz: Any) -> Found:
    check_version(npz, VERSION)
    noises = _noise_names(npz.files)
    others = [name for name in npz.files if name not in (*noises, "settings", versions.KEY)]
    name = next((name for name in NAMES if name in others), None)
    if name is None and len(others) == 1 and others[0].lower() not in _Z:
        name = others[0]
    if name is None:
        have = enumerated(sorted(npz.files), 5) or "nothing"
        of_z = "; Z vectors are inputs of the mapping network, which gives W" if set(others) & set(_Z) else ""
        raise ArrayFileError(f"has no array '{NAMES[0]}' (or {' or '.join(NAMES[1:])}), only {have}{of_z}")
    vectors, *noise = [floats(npz[key], key) for key in [name, *noises]]
    return Found(vectors, noise, settings_of(npz), None if name in NAMES else name)


def check_version(npz: Any, version: int) -> None:
    """Raises ArrayFileError for a `.npz` of a later version than this one. Without a number it is of version 1."""
    if problem := versions.problem_of(npz[versions.KEY].tolist() if versions.KEY in npz.files else 1, version):
        raise ArrayFileError(f"is of {problem}")


def _noise_names(members: Sequence[str]) -> list[str]:
    """noise0, noise1, ... without a gap."""
    there = {name for name in members if name.startswith("noise") and name[5:].isdigit()}
    names = [f"noise{idx}" for idx in range(len(there))]
    if set(names) != there or len(names) > _MAX_NOISES:
        raise ArrayFileError(f"has {len(there)} noise images, expected them as {', '.join(names[:2])}, ...")
    return names


def settings_of(npz: Any) -> dict[str, Any]:
    """How the vectors of a `.npz` came about: its JSON text `settings`. Empty without. Raises ArrayFileError."""
    if "settings" not in npz.files:
        return {}
    text = str(of_kind(npz["settings"], "settings", "U")[()])
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise ArrayFileError("its settings are not JSON of an object")
    return settings


def floats(array: Any, name: str) -> np.ndarray:
    """An array of a file as float32. Raises ArrayFileError for one of no floating point numbers."""
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        return np.array(of_kind(array, name, "f"), np.float32, order="C")


# ----------------------------------------------------------------------------
# PyTorch.


def _of_torch(content: Any) -> Found:
    found = _of_value(content)
    if found is None:
        values = list(content.values()) if isinstance(content, dict) else content
        images = [_of_value(value) for value in values] if isinstance(values, (list, tuple)) else []
        if not images or None in images:
            raise ArrayFileError(
                f"has no vectors: expected a tensor, or tensors of images by name; it has {_kind(content)}"
            )
        found = _joined(images)
    return found


def _of_value(value: Any) -> Found | None:
    """The vectors of a tensor, or of a dict with one and perhaps noise images; None for anything else."""
    if isinstance(value, np.ndarray):
        return Found(floats(value, "of the file"))
    if not isinstance(value, dict):
        return None
    name = next((name for name in NAMES if isinstance(value.get(name), np.ndarray)), None)
    noises = value.get("noise", [])
    if name is None or not isinstance(noises, list) or not all(isinstance(noise, np.ndarray) for noise in noises):
        return None
    found = Found(floats(value[name], name), [floats(noise, "noise") for noise in noises])
    return _joined([found]) if "noise" in value else found


def _joined(images: Sequence[Found]) -> Found:
    """The vectors of several images, of which each has its own."""
    if len({len(image.noises) for image in images}) > 1 or len(images[0].noises) > _MAX_NOISES:
        raise ArrayFileError("has not as many noise images for each of its vectors")
    one_by_one = [np.array(image.vectors, ndmin=3) for image in images]
    noises = zip(*(image.noises for image in images), strict=True)
    return Found(_concatenated(one_by_one), [_concatenated(layer) for layer in noises])


def _concatenated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise ArrayFileError(
            f"has images of different shapes: {', '.join(sorted(str(list(shape)) for shape in shapes))}"
        )
    return np.concatenate(arrays)


def _kind(content: Any) -> str:
    names = ", ".join(short(str(name), 40) for name in list(content)[:5]) if isinstance(content, dict) else ""
    return f"a {type(content).__name__}{' of ' if names else ''}{names}"
