"""Files of W vectors, as the projector writes them: `.npz` with vectors, noise images and how they came about.

Arrays: `dlatents` float32 [N, layers, dlatent_size]; `noise0`, `noise1`, ... float32 [N or 1, 1, H, W], all or none of
them; `settings`, JSON as text; `format_version`. What else is read, of other projects, is in `vector_layouts`.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from dnnlib.errors import UserError, printable, short
from dnnlib.files import atomic_write
from dnnlib.formats import versions

from . import vector_layouts


@dataclass
class DlatentFile:
    """What a file of vectors holds.

    dlatents: float32 [N, layers, dlatent_size].
    noises: float32 [N or 1, 1, H, W] for each noise variable of the network; empty: the network's own.
    settings: how the vectors came about; may be empty.
    ambiguous: whether the file has [n, dlatent_size], which is one vector of n layers, or n vectors of which each is
        for all layers; the network tells. Here they are taken for layers.
    """

    path: str
    dlatents: np.ndarray
    noises: list[np.ndarray] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    ambiguous: bool = False

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
    with atomic_write(path) as file:
        write(file, dlatents, noises, settings)


def write(
    file: BinaryIO,
    dlatents: np.ndarray,
    noises: Sequence[np.ndarray] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes the content of such a file."""
    arrays = {"dlatents": np.asarray(dlatents, np.float32)}
    arrays |= {f"noise{idx}": np.asarray(noise, np.float32) for idx, noise in enumerate(noises)}
    text = np.asarray(json.dumps(dict(settings or {})))
    np.savez(file, **arrays, settings=text, **{versions.KEY: vector_layouts.VERSION})


def load(path: str | os.PathLike, net: Any = None, frames: bool = False) -> DlatentFile:
    """Reads a file of vectors. What is not as this project writes it is told.

    A W that is for all layers, `[dlatent_size]`, `[1, dlatent_size]` or `[N, 1, dlatent_size]`, is repeated for each.

    Args:
        path: of a `.npz`, `.npy` or `.pt`.
        net: the generator (a `Network` such as Gs) that they must fit; None: any.
        frames: they are those of a film: `[n, dlatent_size]` are n, each for all layers.

    Raises UserError for what is no such file, has values that are not finite, or does not fit, with all problems.
    """
    path = os.path.expanduser(os.fspath(path))
    found = vector_layouts.read(path)
    notes = [] if found.name is None else [f"its array {short(found.name, 40)} is taken for W"]
    vectors = found.vectors
    while vectors.ndim > 3 and len(vectors) == 1:
        vectors = vectors[0]
    if frames and vectors.ndim == 2:
        vectors = vectors[:, np.newaxis]
    result = DlatentFile(path, vectors, found.noises, found.settings, ambiguous=vectors.ndim == 2 and len(vectors) > 1)
    if vectors.size and vectors.ndim:
        result.dlatents = np.array(vectors, ndmin=3)  # [dlatent_size] and [n, dlatent_size] are of one vector here
    if net is not None and result.dlatents.ndim == 3:
        _fit(result, net.components.synthesis.input_shape[1], notes)
    problems = list(_problems(result))
    if net is not None and not problems:
        network = result.settings.get("network")
        of = f" (made with {printable(network)})" if isinstance(network, str) else ""
        problems = [f"{problem}{of}" for problem in _misfits(result, net)]
    if problems:
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    if net is not None:
        for note in notes:
            print(f"{path}: {note}.")
    return result


def _fit(file: DlatentFile, num_layers: int, notes: list[str]) -> None:
    """Decides what is ambiguous, and repeats vectors that are for all layers."""
    num, size = file.dlatents.shape[1:]
    if file.ambiguous and num != num_layers:
        file.dlatents = file.dlatents[0][:, np.newaxis]
        notes.append(f"its {num} vectors are each for all layers")
    elif file.ambiguous and (file.dlatents != file.dlatents[:, :1]).any():
        single = f"{num} vectors for all layers would have the shape [{num}, 1, {size}]"
        notes.append(f"its {num} x {size} numbers are taken for one vector of {num} layers; {single}")
    file.ambiguous = False
    if file.dlatents.shape[1] == 1:
        file.dlatents = file.dlatents.repeat(num_layers, axis=1)


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


def _problems(file: DlatentFile) -> Iterator[str]:
    """What is wrong with arrays whatever the network."""
    if file.dlatents.ndim != 3 or 0 in file.dlatents.shape:
        yield f"dlatents have the shape {list(file.dlatents.shape)}, expected [N, layers, dlatent_size]"
        return
    if not np.isfinite(file.dlatents).all():
        yield "dlatents have values that are not finite"
    num = file.dlatents.shape[1] if file.ambiguous else len(file.dlatents)
    for idx, noise in enumerate(file.noises):
        if noise.ndim != 4 or len(noise) not in (1, num) or noise.shape[1] != 1 or noise.size == 0:
            expected = "[1, 1, H, W]" if num == 1 else f"[{num} or 1, 1, H, W]"
            yield f"noise{idx} has the shape {list(noise.shape)}, expected {expected}"
        elif not np.isfinite(noise).all():
            yield f"noise{idx} has values that are not finite"
