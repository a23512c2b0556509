"""Files of W vectors, as the projector writes them: `.npz` with vectors, noise images and how they came about.

Arrays: `dlatents` float32 [N, layers, dlatent_size]; `noise0`, `noise1`, ... float32 [N or 1, 1, H, W], all or none of
them; `settings`, JSON as text. Read besides: `w` or `projected_w` in place of `dlatents`, as StyleGAN2-ADA's projectors
write them, and a plain `.npy` of vectors. Nothing is unpickled.
"""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import atomic_write
from dnnlib.formats.arrays import ArrayFileError, load_npz, of_kind

_NAMES = ("dlatents", "w", "projected_w")
_MAX_NOISES = 64
_MOST_PACKED = 256 << 20  # bytes of all arrays of a small file, which can be compressed


@dataclass
class DlatentFile:
    """What a file of vectors holds.

    dlatents: float32 [N, layers, dlatent_size].
    noises: float32 [N or 1, 1, H, W] for each noise variable of the network; empty: the network's own.
    settings: how the vectors came about; may be empty.
    """

    path: str
    dlatents: np.ndarray
    noises: list[np.ndarray] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def noises_of(self, index: int) -> list[np.ndarray]:
        """The noise images of one vector, [1, 1, H, W] each; empty if the file has none."""
        return [noise if len(noise) == 1 else noise[index : index + 1] for noise in self.noises]


def save(
    path: str | os.PathLike,
    dlatents: np.ndarray,
    noises: Sequence[np.ndarray] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes a `.npz` file, which appears whole or not at all. Arguments as the fields of `DlatentFile`.

    Raises OSError if it cannot be written.
    """
    arrays = {"dlatents": np.asarray(dlatents, np.float32)}
    arrays |= {f"noise{idx}": np.asarray(noise, np.float32) for idx, noise in enumerate(noises)}
    with atomic_write(path) as file:
        np.savez(file, **arrays, settings=np.asarray(json.dumps(dict(settings or {}))))


def load(path: str | os.PathLike, net: Any = None) -> DlatentFile:
    """Reads a `.npz` or `.npy` file of vectors.

    net: the generator (a `Network` such as Gs) that they must fit; None: any.

    Raises UserError for what is no such file, has values that are not finite, or does not fit, with all problems.
    """
    path = os.path.expanduser(os.fspath(path))
    if not os.path.isfile(path):
        raise UserError(f"{path}: {'is a folder' if os.path.isdir(path) else 'no such file'}, expected a .npz file")
    try:
        result = _read_zip(path) if zipfile.is_zipfile(path) else _read_plain(path)
    except ArrayFileError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # zip files and headers break in many ways
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{path}: is damaged, or no file of W vectors ({reason})") from None
    problems = list(_problems(result))
    if net is not None and not problems:
        of = f" (made with {result.settings['network']})" if isinstance(result.settings.get("network"), str) else ""
        problems = [f"{problem}{of}" for problem in _misfits(result, net)]
    if problems:
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    return result


def _misfits(file: DlatentFile, net: Any) -> Iterator[str]:
    """Everything by which vectors and noise images do not fit a generator network."""
    synthesis = net.components.synthesis
    wanted = list(synthesis.input_shape[1:])
    if list(file.dlatents.shape[1:]) != wanted:
        layers, size = file.dlatents.shape[1:]
        yield f"{layers} layers of {size} numbers, but the network has {wanted[0]} of {wanted[1]}"
    if file.noises:
        from training.nets.generator import noise_variables

        sizes = [tuple(variable.shape[2:]) for variable in noise_variables(synthesis)]
        given = [noise.shape[2:] for noise in file.noises]
        if given != sizes:
            yield f"noise images of {_listed(given)}, but the network has {_listed(sizes)}"


def _listed(sizes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, size)) for size in sizes) or "none"


# ----------------------------------------------------------------------------
# Reading.


def _read_zip(path: str) -> DlatentFile:
    with open(path, "rb") as file, load_npz(file, _MOST_PACKED) as npz:
        found = [name for name in _NAMES if name in npz.files]
        if not found:
            have = ", ".join(sorted(npz.files)[:5]) or "nothing"
            raise ArrayFileError(f"has no array 'dlatents' (or {' or '.join(_NAMES[1:])}), only {have}")
        dlatents, *noises = [_float32(npz[name], name) for name in [found[0], *_noise_names(npz.files)]]
        settings = _settings(of_kind(npz["settings"], "settings", "U")) if "settings" in npz.files else {}
    return DlatentFile(path, dlatents, noises, settings)


def _read_plain(path: str) -> DlatentFile:
    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise ArrayFileError("is neither a .npz nor a .npy file")
    array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a huge size in the header does no harm
    return DlatentFile(path, _float32(array, "dlatents"))


def _noise_names(members: Sequence[str]) -> list[str]:
    """noise0, noise1, ... without a gap."""
    there = {name for name in members if name.startswith("noise") and name[5:].isdigit()}
    names = [f"noise{idx}" for idx in range(len(there))]
    if set(names) != there or len(names) > _MAX_NOISES:
        raise ArrayFileError(f"has {len(there)} noise images, expected them as {', '.join(names[:2])}, ...")
    return names


def _settings(array: np.ndarray) -> dict[str, Any]:
    try:
        settings = json.loads(str(array[()]))
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise ArrayFileError("its settings are not JSON of an object")
    return settings


def _float32(array: Any, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        return np.array(of_kind(array, name, "f"), np.float32, order="C")


def _problems(file: DlatentFile) -> Iterator[str]:
    """What is wrong with arrays whatever the network."""
    if file.dlatents.ndim == 2:  # a single vector
        file.dlatents = file.dlatents[np.newaxis]
    if file.dlatents.ndim != 3 or 0 in file.dlatents.shape:
        yield f"dlatents have the shape {list(file.dlatents.shape)}, expected [N, layers, dlatent_size]"
        return
    if not np.isfinite(file.dlatents).all():
        yield "dlatents have values that are not finite"
    num = len(file.dlatents)
    for idx, noise in enumerate(file.noises):
        if noise.ndim != 4 or len(noise) not in (1, num) or noise.shape[1] != 1 or noise.size == 0:
            expected = "[1, 1, H, W]" if num == 1 else f"[{num} or 1, 1, H, W]"
            yield f"noise{idx} has the shape {list(noise.shape)}, expected {expected}"
        elif not np.isfinite(noise).all():
            yield f"noise{idx} has values that are not finite"
