"""Seeds and vectors of files in one list: what the commands of the generator show, mix and walk between.

A point is a seed (int), or text: on the command line the name of a file, folder or pattern, and later the name of one
vector, after which its images are called.
"""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dnnlib import files
from dnnlib.errors import Problems, UserError, listed

from . import vector_files

Point = int | str
SUFFIXES = (".npz", ".npy", ".pt")
_SAMPLES = 1000  # of W, to compare vectors with


def title(point: Point) -> str:
    """What logs and figures call a point: 'seed 85', 'anna'."""
    return f"seed {point}" if isinstance(point, int) else point


def file_name(point: Point) -> str:
    """How names of its images begin: 'seed0085', 'anna'."""
    return f"seed{point:04d}" if isinstance(point, int) else point


def locate(points: Sequence[Point]) -> list[Point]:
    """A list with the files of folders and patterns in place of them, sorted by name. Needs no TensorFlow.

    Raises UserError for everything that is not there.
    """
    problems = Problems()
    result: list[Point] = []
    for point in points:
        with problems.gather():
            result.extend([point] if isinstance(point, int) else find_files(point))
    problems.report()
    return result


def check_space(points: Sequence[Point], space: str | None) -> None:
    """Raises UserError for files of vectors that are to be mixed in Z."""
    if space == "z" and any(isinstance(point, str) for point in points):
        raise UserError("--space=z: the vectors of --dlatents are W; use --space=w, or --seeds alone")


def find_files(name: str) -> list[str]:
    """The files of vectors that the name of a file, folder or pattern stands for. Errors as of `files.find`."""
    return files.find(name, lambda file: file.lower().endswith(SUFFIXES), "files of vectors (.npz)")


@dataclass
class Vectors:
    """Vectors of files by name.

    dlatents: W [layers, dlatent_size] of each.
    noises: its noise images [1, 1, H, W]; none where the file has none: the network's own.
    """

    dlatents: dict[str, np.ndarray] = field(default_factory=dict)
    noises: dict[str, list[np.ndarray]] = field(default_factory=dict)


def load_vectors(points: Mapping[str, Sequence[Point]], net: Any) -> tuple[dict[str, list[Point]], Vectors]:
    """Reads the files of some lists.

    Args:
        points: lists by the flag that gives files to each.
        net: the generator (a `Network` such as Gs) that the vectors must fit.

    Returns:
        The lists, with the names of a file's vectors in place of the file; and the vectors.

    Raises:
        UserError: what is wrong with any of the files.
    """
    problems = Problems()
    seeds = [point for items in points.values() for point in items if isinstance(point, int)]
    taken = {"grid", *(str(seed) for seed in seeds), *map(file_name, seeds)}
    vectors = Vectors()
    names: dict[str, list[str]] = {}  # of the vectors of each file
    result: dict[str, list[Point]] = {}
    for flag, items in points.items():
        result[flag] = []
        for item in items:
            if isinstance(item, int):
                result[flag].append(item)
                continue
            key = os.path.realpath(item)
            if key not in names:
                with problems.gather(flag):
                    names[key] = _add(vectors, vector_files.load(item, net), taken)
            result[flag].extend(names.get(key, ()))
    problems.report()
    _say_unusual(vectors, net)
    return result, vectors


def _say_unusual(vectors: Vectors, net: Any) -> None:
    """Says which vectors are farther from the average W than those that the network makes itself."""
    if not vectors.dlatents:
        return
    rnd = np.random.RandomState(0)
    latents, labels = (rnd.randn(_SAMPLES, *shape[1:]).astype(np.float32) for shape in net.input_shapes[:2])
    labels = (labels == labels.max(axis=1, keepdims=True, initial=0)).astype(np.float32)  # a class for each
    samples = net.components.mapping.run(latents, labels, minibatch_size=_SAMPLES)  # [N, layers, dlatent_size]
    average = samples.mean(axis=(0, 1))

    def distance(dlatents: np.ndarray) -> np.ndarray:
        return np.sqrt(np.mean(np.sum((dlatents - average) ** 2, axis=-1), axis=-1))

    largest = distance(samples).max()
    far = {name: distance(dlatents) for name, dlatents in vectors.dlatents.items()}
    shown = listed([f"{name} ({value:.3g})" for name, value in far.items() if value > largest], 5)
    if shown:
        print(
            f"Farther from the average W than {_SAMPLES} of the network's own are ({largest:.3g} at most): "
            f"{', '.join(shown)}. Edited, projected freely, Z, or directions in place of images?"
        )


def _add(vectors: Vectors, file: vector_files.DlatentFile, taken: set[str]) -> list[str]:
    """Names the vectors after the file: `anna`, or `anna-00`, `anna-01`, ... of a file that has several."""
    stem = stem_of(file.path)
    num = len(file.dlatents)
    digits = max(2, len(str(num - 1)))
    wanted = [stem] if num == 1 else [f"{stem}-{idx:0{digits}d}" for idx in range(num)]
    names = [unique(name, taken) for name in wanted]
    if names != wanted:
        print(f"{file.path}: its images are called {names[0]}{'' if num == 1 else ', ...'}; {wanted[0]} is taken.")
    for idx, name in enumerate(names):
        vectors.dlatents[name] = file.dlatents[idx]
        vectors.noises[name] = file.noises_of(idx)
    return names


def stem_of(path: str) -> str:
    """How names of what is made of a file begin: as the file's does, cut, with `_` for what cannot be decoded."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return files.short_name(re.sub("[\ud800-\udfff]", "_", stem))


def unique(name: str, taken: set[str]) -> str:
    """The name, or name_2, ... if it is taken, whatever its case; from now on it is. taken: names in lower case."""
    variants = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    free = next(variant for variant in variants if variant.lower() not in taken)
    taken.add(free.lower())
    return free
