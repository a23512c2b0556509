"""Walks from vector to vector, linear in W, spherical in Z; what lies between four of them; where the frames go."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dnnlib.errors import Problems
from dnnlib.parallel import parallel_map
from dnnlib.pictures import save_image

from .video import WRITERS, GifWriter


@dataclass
class Walk:
    """A walk through some vectors, in the order given.

    points: the vectors, `[P, ...]`; two at least.
    frames: steps from one to the next.
    loop: go on from the last to the first; the walk then ends one step before where it began.
    spherical: along great circles, for Z (`[P, latent_size]`), whose lengths matter little and whose middle is empty.
    smooth: slow down at each vector.
    """

    points: np.ndarray
    frames: int
    loop: bool = False
    spherical: bool = False
    smooth: bool = False

    def __len__(self) -> int:
        """How many vectors there are along the way."""
        return len(self.points) * self.frames if self.loop else (len(self.points) - 1) * self.frames + 1

    def between(self, begin: int, end: int) -> np.ndarray:
        """Vectors number `begin` to `end`, which is not included or may be past the last: `[M, ...]`."""
        leg, step = np.divmod(np.arange(begin, min(end, len(self))), self.frames)
        t = step / self.frames
        if self.smooth:
            t = t * t * (3 - 2 * t)
        t = t.reshape([-1] + [1] * (self.points.ndim - 1))
        first, second = self.points[leg], self.points[(leg + 1) % len(self.points)]
        return slerp(first, second, t) if self.spherical else first + (second - first) * t


def slerp(first: np.ndarray, second: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Spherical interpolation of vectors `[M, size]`; t: 0 to 1, `[M, 1]`. Linear where both point the same way."""
    lengths = np.linalg.norm(first, axis=1, keepdims=True) * np.linalg.norm(second, axis=1, keepdims=True)
    angle = np.arccos(np.clip(np.sum(first * second, axis=1, keepdims=True) / lengths, -1, 1))  # [M, 1]
    straight = np.sin(angle) < 1e-6
    angle = np.where(straight, 1, angle)
    curved = (first * np.sin((1 - t) * angle) + second * np.sin(t * angle)) / np.sin(angle)
    return np.where(straight, first + (second - first) * t, curved)


def bilinear(corners: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """Vectors between four corners (top left, top right, bottom left, bottom right), row by row.

    corners: `[4, ...]`. Returns `[rows * columns, ...]`.
    """
    across = np.linspace(0, 1, columns).reshape([1, columns] + [1] * (corners.ndim - 1))
    down = np.linspace(0, 1, rows).reshape([rows, 1] + [1] * (corners.ndim - 1))
    return place(corners, across, down).reshape([rows * columns, *corners.shape[1:]])


def place(corners: np.ndarray, x: float | np.ndarray, y: float | np.ndarray) -> np.ndarray:
    """What lies between four corners `[4, ...]`, x of the way across and y of the way down."""
    top, bottom = (corners[i] + (corners[i + 1] - corners[i]) * x for i in (0, 2))
    return top + (bottom - top) * y


@contextlib.contextmanager
def frame_writer(
    folder: str, suffix: str, num: int, fps: float, size: tuple[int, int]
) -> Iterator[Callable[[Iterator[np.ndarray]], Iterator[None]]]:
    """Gives the function that saves the frames of a walk, uint8 `[H, W, C]`: it yields once for each that is saved.

    folder: where `interpolation.mp4` or `.gif`, or images `frame0000.png` and so on, are saved. suffix: of the video or
    the images. num: how many frames there will be. fps: of a video. size: height and width
    of the frames.

    Raises UserError where it cannot work.
    """
    if suffix not in WRITERS:
        digits = max(4, len(str(num - 1)))
        paths = (os.path.join(folder, f"frame{idx:0{digits}d}.{suffix}") for idx in range(num))
        yield lambda frames: parallel_map(lambda item: save_image(*item), zip(frames, paths, strict=True))
        return
    problems = Problems()
    with problems.gather("--video=gif"):
        if suffix == "gif":
            GifWriter.check_size(num, *size)
    problems.report()
    with WRITERS[suffix](os.path.join(folder, f"interpolation.{suffix}"), fps) as writer:
        yield functools.partial(map, writer.add)
