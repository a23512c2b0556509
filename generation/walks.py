"""Walks from vector to vector: linear in W, spherical in Z."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.errors import Problems
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


# ----------------------------------------------------------------------------
# Where the images go.


class FrameFiles:
    """Saves frames as numbered images, with the interface of the writers of videos.

    folder: where `frame0000.png`, ... are saved. suffix: their format. num: how many there will be.
    """

    def __init__(self, folder: str, suffix: str, num: int):
        self.folder = folder
        self.suffix = suffix
        self.digits = max(4, len(str(num - 1)))
        self.count = 0

    def __enter__(self) -> "FrameFiles":
        return self

    def add(self, frame: np.ndarray) -> None:
        """Saves a uint8 image `[H, W, C]`."""
        name = f"frame{self.count:0{self.digits}d}.{self.suffix}"
        save_image(frame, os.path.join(self.folder, name))
        self.count += 1

    def __exit__(self, *error: Any) -> None:
        pass


def frame_writer(folder: str, suffix: str, num: int, fps: float, resolution: int) -> Any:
    """A context manager whose method `add` takes the frames of a walk: of `interpolation.mp4` or `.gif`, or of images.

    Raises UserError where it cannot work.
    """
    if suffix not in WRITERS:
        return FrameFiles(folder, suffix, num)
    problems = Problems()
    with problems.gather("--video=gif"):
        if suffix == "gif":
            GifWriter.check_size(num, resolution, resolution)
    problems.report()
    return WRITERS[suffix](os.path.join(folder, f"interpolation.{suffix}"), fps)


def bilinear(corners: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """Vectors between four corners (top left, top right, bottom left, bottom right), row by row.

    corners: `[4, ...]`. Returns `[rows * columns, ...]`.
    """
    across = np.linspace(0, 1, columns).reshape([1, columns] + [1] * (corners.ndim - 1))
    down = np.linspace(0, 1, rows).reshape([rows, 1] + [1] * (corners.ndim - 1))
    top, bottom = (corners[i] + (corners[i + 1] - corners[i]) * across for i in (0, 2))  # [1, columns, ...]
    return (top + (bottom - top) * down).reshape([rows * columns, *corners.shape[1:]])
