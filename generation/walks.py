"""Walks from vector to vector, straight or curved, spherical in Z; what lies between four of them."""

import functools
from dataclasses import dataclass

import numpy as np


@dataclass
class Walk:
    """A walk through some vectors, in the order given.

    points: the vectors, `[P, ...]`; two at least, or one that a loop stays at.
    frames: steps from one to the next.
    loop: go on from the last to the first; the walk then ends one step before where it began.
    spherical: of Z (`[P, ..., latent_size]`), whose lengths matter little and whose middle is empty: along great
        circles; cubic curves have lengths between those of the points.
    smooth: slow down at each vector.
    curve: 'linear'; or 'cubic': the spline of `scipy.interpolate.CubicSpline`, periodic in a loop, else 'not-a-knot'.
    """

    points: np.ndarray
    frames: int
    loop: bool = False
    spherical: bool = False
    smooth: bool = False
    curve: str = "linear"

    @property
    def steps(self) -> int:
        """Steps of the whole way."""
        return (len(self.points) if self.loop else len(self.points) - 1) * self.frames

    def __len__(self) -> int:
        """How many vectors there are along the way."""
        return self.steps if self.loop else self.steps + 1

    def between(self, begin: int, end: int) -> np.ndarray:
        """Vectors number `begin` to `end`, which is not included or may be past the last: `[M, ...]`."""
        return self.at(np.arange(begin, min(end, len(self))))

    def at(self, index: np.ndarray, steps: int | None = None, of: np.ndarray | None = None) -> np.ndarray:
        """Vectors along the way, `[M, ...]`; of a loop also before its begin and after its end.

        Args:
            index: their numbers, `[M]`.
            steps: of the whole way, if it is to take another number of them.
            of: where points are `[P, N, ...]`: which of the N ways each is on, `[M]`.
        """
        legs = len(self.points) - (not self.loop)
        leg, step = np.divmod(index * legs, self.steps if steps is None else steps)
        t = step / (self.steps if steps is None else steps)
        if self.smooth:
            t = t * t * (3 - 2 * t)
        t = t.reshape([-1] + [1] * (self.points.ndim - 1 - (of is not None)))

        def ends(points: np.ndarray, number: np.ndarray) -> np.ndarray:
            return points[number] if of is None else points[number, of]

        first, second = (ends(self.points, number % len(self.points)) for number in (leg, leg + 1))
        if self.curve == "cubic":
            cubic, square, slope, start = (ends(of_power, leg % len(of_power)) for of_power in self._cubic)
            curved = ((cubic * t + square) * t + slope) * t + start
            return _of_length(curved, first, second, t) if self.spherical else curved
        return slerp(first, second, t) if self.spherical else first + (second - first) * t

    @functools.cached_property
    def _cubic(self) -> np.ndarray:
        """The coefficients of each leg by falling powers, `[4, legs, ...]`; one more that stays at the end of a way."""
        from scipy.interpolate import CubicSpline

        points = np.asarray(self.points, np.float64)
        if self.loop:
            points = np.concatenate([points, points[:1]])
            return CubicSpline(np.arange(len(points)), points, bc_type="periodic").c
        spline = CubicSpline(np.arange(len(points)), points)
        return np.concatenate([spline.c, [[np.zeros_like(points[0])]] * 3 + [[points[-1]]]], axis=1)


def slerp(first: np.ndarray, second: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Spherical interpolation of vectors `[M, size]`; t: 0 to 1, `[M, 1]`. Linear where both point the same way."""
    lengths = np.linalg.norm(first, axis=1, keepdims=True) * np.linalg.norm(second, axis=1, keepdims=True)
    angle = np.arccos(np.clip(np.sum(first * second, axis=1, keepdims=True) / lengths, -1, 1))  # [M, 1]
    straight = np.sin(angle) < 1e-6
    angle = np.where(straight, 1, angle)
    curved = (first * np.sin((1 - t) * angle) + second * np.sin(t * angle)) / np.sin(angle)
    return np.where(straight, first + (second - first) * t, curved)


def _of_length(vectors: np.ndarray, first: np.ndarray, second: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Vectors `[M, size]`, made as long as what lies between two others is, t of the way: lengths are interpolated."""
    length, begin, end = (np.linalg.norm(some, axis=-1, keepdims=True) for some in (vectors, first, second))
    return vectors * (begin + (end - begin) * t) / np.where(length, length, 1)


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
