"""Files of directions: `.npz` as this project writes them, and what others have. Nothing is unpickled.

Ours: `directions` float32 [K, 1 or layers, dlatent_size], or for style space [K, numbers of all styles]; `names` and
`layers` (such as '0-3,7'), text [K]; `spread` float32 [K]; `format_version`; `settings`, JSON as text, with `space`, of
style space the `styles`, [name, width] of each affine layer in order, and how the directions were found.

Of others: one array in a `.npy`, `.npz` or `.pt`: [dlatent_size], [layers, dlatent_size], [n, dlatent_size], or
[n, 1 or layers, dlatent_size]; several such arrays by name; or a list among other arrays: `boundaries` of SeFa and
InterFaceGAN, GANSpace's `lat_comp` with `lat_stdev`, rosinality's `eigvec`, whose columns are directions.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dnnlib.errors import UserError, counted, enumerated, printable, short
from dnnlib.files import atomic_write
from dnnlib.flags import num_list
from dnnlib.formats import versions
from dnnlib.formats.arrays import ArrayFileError, of_kind

from .vector_layouts import check_version, floats, read_as, settings_of

VERSION = 1
_MAX_DIRECTIONS = 10_000
_LISTS = {
    **dict.fromkeys(("directions", "boundaries", "eigvec", "eigen_vectors", "eigenvectors", "components")),
    "lat_comp": "lat_stdev",
}
"""Arrays of others that hold one direction after the other, and what has their spreads."""
_COLUMNS = "eigvec"


@dataclass
class DirectionFile:
    """What a file of directions holds.

    names: of each direction. vectors: float32 [K, 1 or layers, dlatent_size]; of style space [K, numbers].
    layers: which each moves; None: all. spreads: how far a strength of 1 goes, in lengths of the vector.
    styles: of style space, name and width of each affine layer; None: the vectors are of W.
    ambiguous: whether there is [n, dlatent_size], which are n directions, or one if the network has n layers, and the
        network is not known. They are taken for n.
    """

    path: str
    names: list[str]
    vectors: np.ndarray
    layers: list[list[int] | None]
    spreads: list[float]
    settings: dict[str, Any] = field(default_factory=dict)
    styles: list[tuple[str, int]] | None = None
    ambiguous: bool = False

    def __len__(self) -> int:
        return len(self.names)


def save(
    path: str | os.PathLike,
    names: Sequence[str],
    vectors: np.ndarray,
    layers: Sequence[Sequence[int]],
    spreads: Sequence[float],
    styles: Sequence[tuple[str, int]] | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: np.ndarray,
) -> None:
    """Writes a `.npz` file, which appears whole or not at all. Arguments as the fields of `DirectionFile`.

    more: other arrays, for other programs. Raises OSError if it cannot be written.
    """
    notes = {"space": "w" if styles is None else "s", **(settings or {})}
    if styles is not None:
        notes["styles"] = [[name, int(width)] for name, width in styles]
    arrays = {
        "directions": np.asarray(vectors, np.float32),
        "names": np.asarray(list(names), np.str_),
        "layers": np.asarray([layers_text(numbers) for numbers in layers], np.str_),
        "spread": np.asarray(spreads, np.float32),
        versions.KEY: np.asarray(VERSION),
    }
    with atomic_write(path) as file:
        np.savez(file, **arrays, **more, settings=np.asarray(json.dumps(notes)))


def layers_text(layers: Sequence[int]) -> str:
    """'0-3,7' of [0, 1, 2, 3, 7], as flags have it."""
    parts: list[list[int]] = []
    for number in sorted(layers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def read(path: str | os.PathLike, num_layers: int | None = None) -> DirectionFile:
    """What a file holds. num_layers: of the network, if it is known. Raises UserError for all that is wrong with it."""
    path = os.path.expanduser(os.fspath(path))
    return read_as(
        path,
        lambda array: _of_arrays(path, {"": array}, num_layers),
        lambda npz: _of_npz(path, npz, num_layers),
        lambda content: _of_arrays(path, _arrays_of_torch(content), num_layers),
        "directions",
    )


def _of_npz(path: str, npz: Any, num_layers: int | None) -> DirectionFile:
    settings = settings_of(npz)
    if versions.KEY in npz.files:
        check_version(npz, VERSION)
        return _own(path, npz, settings)
    known = next((name for name in _LISTS if name in npz.files), None)
    wanted = [known, _LISTS[known], "names"] if known else npz.files
    return _of_arrays(path, {name: npz[name] for name in wanted if name in npz.files}, num_layers, settings)


def _own(path: str, npz: Any, settings: dict[str, Any]) -> DirectionFile:
    if "directions" not in npz.files:
        raise ArrayFileError(f"has no directions, but {enumerated(npz.files, 5)}")
    space = settings.get("space")
    vectors, spreads = floats(npz["directions"], "directions"), floats(npz["spread"], "spread")
    texts = {name: [str(text) for text in of_kind(npz[name], name, "U").ravel()] for name in ("names", "layers")}
    styles = None
    if space == "s":
        styles = [(str(name), int(width)) for name, width in settings["styles"]]
        if vectors.ndim != 2 or vectors.shape[1] != sum(width for _, width in styles):
            raise ArrayFileError(f"has directions {list(vectors.shape)}, which its styles do not have")
    elif space != "w" or vectors.ndim != 3:
        raise ArrayFileError(f"has directions {list(vectors.shape)} of space {short(space)}, expected w or s")
    if not len(vectors) == spreads.size == len(texts["names"]) == len(texts["layers"]) or len(vectors) < 1:
        raise ArrayFileError("has not as many names, layers and spreads as directions")
    layers = [num_list(text) for text in texts["layers"]]
    return _checked(DirectionFile(path, texts["names"], vectors, layers, spreads.tolist(), settings, styles))


# ----------------------------------------------------------------------------
# Files of others.


def _of_arrays(
    path: str, arrays: Mapping[str, Any], num_layers: int | None, settings: dict[str, Any] | None = None
) -> DirectionFile:
    """Of arrays by name: those of known names, or else all that are of floating point numbers."""
    known = next((name for name in _LISTS if name in arrays), None)
    if known:
        return _of_list(path, known, arrays, settings or {})
    found = {name: floats(array, name or "of the file") for name, array in arrays.items() if _is_vector(array)}
    if not found:
        kinds = [f"{short(name, 40)} {_kind(array)}" if name else _kind(array) for name, array in arrays.items()]
        have, shapes = enumerated(kinds, 5) or "none", "[dlatent_size] or [n, dlatent_size]"
        raise ArrayFileError(f"has no directions: expected arrays {shapes} of floating point numbers; it has {have}")
    if len({array.shape[-1] for array in found.values()}) > 1:
        shapes = enumerated([f"{short(name, 40)} {list(array.shape)}" for name, array in found.items()], 5)
        raise ArrayFileError(f"has arrays of different sizes, and none says which are directions: {shapes}")
    names, vectors, ambiguous = [], [], False
    for name, array in found.items():
        while array.ndim > 3 and len(array) == 1:
            array = array[0]
        if array.ndim > 3:
            raise ArrayFileError(f"has an array {list(array.shape)}, expected [n, layers, dlatent_size] at most")
        of_layers = array.ndim == 2 and len(array) == num_layers
        ambiguous |= array.ndim == 2 and len(array) > 1 and num_layers is None
        if array.ndim == 2 and not of_layers:
            array = array[:, np.newaxis]
        elif array.ndim == 2 and num_layers > 1:
            print(f"{path}: its {len(array)} x {array.shape[1]} numbers are taken for one direction, layer by layer.")
        array = np.array(array, ndmin=3)  # [n, 1 or layers, dlatent_size]
        stem = name if name and len(found) > 1 else _stem(path)
        names += _numbered(stem, len(array))
        vectors.append(array)
    if len({array.shape[1] for array in vectors}) > 1:
        most = max(array.shape[1] for array in vectors)
        vectors = [np.repeat(array, most, axis=1) if array.shape[1] == 1 else array for array in vectors]
        if len({array.shape[1] for array in vectors}) > 1:
            raise ArrayFileError("has directions of different numbers of layers")
    together = np.concatenate(vectors)
    several = {"layers": [None] * len(names), "spreads": [1.0] * len(names), "settings": settings or {}}
    return _checked(DirectionFile(path, names, together, **several, ambiguous=ambiguous))


def _of_list(path: str, known: str, arrays: Mapping[str, Any], settings: dict[str, Any]) -> DirectionFile:
    vectors = floats(arrays[known], known)
    if vectors.ndim == 2:
        vectors = (vectors.T if known == _COLUMNS else vectors)[:, np.newaxis]
    if vectors.ndim != 3 or not vectors.size:
        raise ArrayFileError(f"has {known} {list(vectors.shape)}, expected [n, dlatent_size]")
    spread = _LISTS[known]
    spreads = floats(arrays[spread], spread).ravel() if spread in arrays else np.ones(len(vectors), np.float32)
    if len(spreads) != len(vectors):
        raise ArrayFileError(f"has {len(vectors)} vectors in {known}, but {len(spreads)} numbers in {spread}")
    names = _numbered(_stem(path), len(vectors))
    if "names" in arrays and np.asarray(arrays["names"]).dtype.kind == "U" and np.size(arrays["names"]) == len(names):
        names = [str(name) for name in np.ravel(arrays["names"])]
    return _checked(DirectionFile(path, names, vectors, [None] * len(names), spreads.tolist(), settings))


def _arrays_of_torch(content: Any) -> dict[str, Any]:
    if isinstance(content, dict):
        return {str(name): value for name, value in content.items() if isinstance(value, np.ndarray)}
    if isinstance(content, (list, tuple)):
        return {str(idx): value for idx, value in enumerate(content) if isinstance(value, np.ndarray)}
    return {"": content} if isinstance(content, np.ndarray) else {}


def _is_vector(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.ndim >= 1 and array.size > 0


def _kind(array: Any) -> str:
    return f"{np.asarray(array).dtype} {list(np.shape(array))}"


def _stem(path: str) -> str:
    return printable(os.path.splitext(os.path.basename(path))[0])


def _numbered(stem: str, num: int) -> list[str]:
    return [stem] if num == 1 else [f"{stem}{idx}" for idx in range(num)]


def _checked(file: DirectionFile) -> DirectionFile:
    """The same. Raises ArrayFileError for numbers that move nothing, or nobody knows where."""
    if len(file) > _MAX_DIRECTIONS:
        raise ArrayFileError(f"has {counted(len(file), 'direction')}, expected {_MAX_DIRECTIONS} at most")
    lengths = np.sqrt(np.sum(np.square(file.vectors, dtype=np.float64), axis=tuple(range(1, file.vectors.ndim))))
    for idx, (name, spread, length) in enumerate(zip(file.names, file.spreads, lengths, strict=True)):
        of = f"direction {idx} ({printable(name, 40)})"
        if not np.isfinite(length) or not np.isfinite(spread):
            raise ArrayFileError(f"{of} has numbers that are not finite")
        if length == 0 or spread < 0:
            raise ArrayFileError(f"{of} is all zeros" if length == 0 else f"{of} has the spread {spread:g}")
    return file


def fit(file: DirectionFile, num_layers: int, size: int, styles: Sequence[tuple[str, int]]) -> DirectionFile:
    """The same for a network, with a vector for each layer. Raises UserError for what does not fit, all of it.

    num_layers, size: of its W. styles: name and width of each of its affine layers.
    """
    problems = []
    for name, numbers in zip(file.names, file.layers, strict=True):
        wrong = [number for number in numbers or () if number >= num_layers]
        if wrong:
            problems.append(f"{printable(name, 40)} is of layers {layers_text(numbers)}, the network has {num_layers}")
    if file.styles is not None:
        differ = [f"{a[0]} of {a[1]} numbers" for a, b in zip(file.styles, styles, strict=False) if a != b]
        if differ or len(file.styles) != len(styles):
            first = f", first {printable(differ[0])}" if differ else ""
            problems.append(f"its styles are not those of the network{first}; style space is of one network alone")
    elif file.vectors.shape[2] != size or file.vectors.shape[1] not in (1, num_layers):
        layers, numbers = file.vectors.shape[1:]
        of = f"{numbers} numbers" if layers == 1 else f"{layers} layers of {numbers} numbers"
        problems.append(f"its directions have {of}, but W of the network has {num_layers} layers of {size}")
    elif file.vectors.shape[1] == 1:
        file.vectors = file.vectors.repeat(num_layers, axis=1)
    if problems:
        raise UserError("\n".join(f"{file.path}: {problem}" for problem in problems))
    return file
