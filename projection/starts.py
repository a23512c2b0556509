"""Where projections start from: vectors and noise images of files, one for all images or one for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.errors import Problems, UserError
from generation import vector_files


@dataclass(frozen=True)
class Start:
    """Where the projection of one image starts.

    path: of the file. dlatents: [1, layers, dlatent_size]. noises: [1, 1, H, W] each; none: random ones.
    source: the image that the file says it was made of; may be empty.
    """

    path: str
    dlatents: np.ndarray
    noises: list[np.ndarray]
    source: str


def load(paths: Sequence[str], w_plus: bool, net: Any = None) -> list[Start]:
    """The vectors of some files, in order.

    Args:
        paths: the files, as `vector_files` reads them.
        w_plus: whether layers may differ.
        net: the generator (a `Network` such as Gs) that they must fit; None: any, and files of which only the network
            tells how many vectors they have are left out.

    Raises UserError with everything that is wrong with any of the files.
    """
    problems = Problems()
    starts = []
    for path in paths:
        with problems.gather():
            file = vector_files.load(path, net)
            if file.ambiguous and net is None:
                continue
            if not w_plus and (file.dlatents != file.dlatents[:, :1]).any():
                problems.messages.append(f"{file.path}: has a W of its own for each layer; add --w-plus")
            source = file.settings.get("target")
            for idx in range(len(file.dlatents)):
                one = file.dlatents[idx : idx + 1]
                starts.append(Start(file.path, one, file.noises_of(idx), source if isinstance(source, str) else ""))
    without = [start.path for start in starts if not start.noises]
    if without and len(without) < len(starts):
        problems.messages.append(f"{without[0]}: has no noise images, others have; expected all or none with them")
    problems.report()
    return starts


def check_count(starts: Sequence[Start], num_images: int) -> None:
    """Raises UserError unless there is a start for all images, or one for each."""
    if len(starts) not in (1, num_images):
        wanted = "1" if num_images == 1 else f"1 or {num_images}"
        raise UserError(f"{len(starts)} vectors for {num_images} image{'s'[: num_images > 1]}; expected {wanted}")


def by_images(starts: Sequence[Start], sources: Sequence[str]) -> list[str] | None:
    """The files of starts in the order of the images that they were made of; None unless they name exactly these.

    sources: of the images, as the files name them.
    """
    by_source = {start.source: start.path for start in starts}
    if len(by_source) == len(starts) == len(sources) and by_source.keys() == set(sources):
        return [by_source[source] for source in sources]
    return None


def arguments(starts: Sequence[Start]) -> dict[str, Any]:
    """Arguments of `Projector.start` for images with these starts; none without any."""
    if not starts:
        return {}
    layers = zip(*(start.noises for start in starts), strict=True)
    return {
        "dlatents": np.concatenate([start.dlatents for start in starts]),
        "noises": [np.concatenate(layer) for layer in layers],
    }
