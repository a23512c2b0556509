"""Improved precision and recall of two sets of feature vectors, from balls around samples. NumPy only.

Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (2019).

Distances come from float32 matrix products, in blocks. What is too close to call at that precision is computed again
from differences in float64, so that the counts are those of float64 throughout.
"""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from .arrays import BLOCK_ROWS, checked_pair

_STRIP_ROWS = 128  # rows of a block of distances that are looked at together: they stay in the cache
_EXACT_PAIRS = 256  # pairs whose differences are in memory together
_LARGEST_SQUARE = 1e37  # sums of several stay below the end of float32
_MAX_THREADS = 16  # each has some MB of distances of its own


class PrecisionRecall(NamedTuple):
    """Both from 0 to 1, more is better."""

    precision: float  # how many of the generated samples lie among the real ones: quality
    recall: float  # how many of the real samples lie among the generated ones: variety


def precision_recall(
    real_features: np.ndarray,
    fake_features: np.ndarray,
    nhood_size: int = 3,
    row_batch_size: int = 10000,
    col_batch_size: int = 10000,
    official_numerics: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PrecisionRecall:
    """Improved precision and recall.

    Around each sample of a set is a ball that reaches to its `nhood_size`-th nearest neighbour in the same set.
    Precision is the share of generated samples in the ball of any real one; recall is the reverse.

    Args:
        real_features: [N, F].
        fake_features: [M, F].
        nhood_size: which neighbour; each set must have more samples than that.
        row_batch_size, col_batch_size: distances to have in memory at once. They do not change the result.
        official_numerics: distances in float16, as the official code has them. The squares must stay below 65504.
        progress: called with (blocks of distances done, blocks in all).

    Raises ValueError for shapes that do not fit together, values that are not finite, or too few samples.
    """
    real, fake = checked_pair(real_features, fake_features)
    if nhood_size < 1 or min(len(real), len(fake)) <= nhood_size:
        raise ValueError(f"nhood_size={nhood_size} needs more samples than that, got {len(real)} and {len(fake)}")
    if min(row_batch_size, col_batch_size) < 1:
        raise ValueError(f"expected batches of 1 or more, got {row_batch_size} and {col_batch_size}")
    if official_numerics:
        args = (nhood_size, row_batch_size, col_batch_size)
        return PrecisionRecall(
            precision=share_within(fake, real, *args),
            recall=share_within(real, fake, *args),
        )
    reals, fakes = _different_points(real), _different_points(fake)
    within_reals, within_fakes = (_Pairs(points, points, row_batch_size, col_batch_size) for points in (reals, fakes))
    across = _Pairs(reals, fakes.around(reals.center), row_batch_size, col_batch_size)
    total = len(within_reals) + len(within_fakes) + len(across)
    done = itertools.count(1)

    def blocks_of(pairs: _Pairs) -> Iterator[tuple[_Block, _Block, np.ndarray]]:
        for blocks in pairs:
            yield blocks
            if progress:
                progress(next(done), total)

    radii_of_reals = _squared_radii(reals, nhood_size, blocks_of(within_reals))
    radii_of_fakes = _squared_radii(fakes, nhood_size, blocks_of(within_fakes))
    real_inside, fake_inside = np.zeros(len(reals), bool), np.zeros(len(fakes), bool)
    for a, b, products in blocks_of(across):
        _mark_inside(products, a, b, radii_of_fakes[b.rows], real_inside[a.rows])
        _mark_inside(products.T, b, a, radii_of_reals[a.rows], fake_inside[b.rows])
    return PrecisionRecall(
        precision=float(fakes.counts @ fake_inside / len(fake)),
        recall=float(reals.counts @ real_inside / len(real)),
    )


# ----------------------------------------------------------------------------
# Points, and blocks of them for matrix products.


class _Block(NamedTuple):
    """Some points in float32 around a center, and how far squared distances from products of them may be off.

    |a - b|^2 lies between a.least + b.least - 2 a b and a.most + b.most - 2 a b.
    """

    rows: slice
    exact: np.ndarray  # [N, F] as given
    values: np.ndarray  # [N, F] float32
    least: np.ndarray  # [N] float32
    most: np.ndarray  # [N] float32
    counts: np.ndarray  # [N] how often each occurs


class _Points:
    """Different points, how often each occurs, and blocks of them around a center."""

    def __init__(self, features: np.ndarray, counts: np.ndarray, center: np.ndarray | None = None):
        self.features = features
        self.counts = counts
        center = features.mean(axis=0, dtype=np.float64) if center is None else center
        self.center = center.astype(features.dtype)
        squares = np.empty(len(features))
        for rows in _slices(len(features), BLOCK_ROWS):
            values = self._centered(rows)
            squares[rows] = np.einsum("nf,nf->n", values, values, dtype=np.float64)
        if squares.max() > _LARGEST_SQUARE:
            raise ValueError("the features are too large for squared distances in float32")
        # A float32 sum of F products is off by less than F units, of 2^-24 of the sum of the absolute products, which
        # is at most half the squares of both vectors. The rest covers what else is rounded, and what underflows.
        error = (features.shape[1] + 16) * (2.0**-24 * squares + np.finfo(np.float32).tiny)
        self._least, self._most = (squares - error).astype(np.float32), (squares + error).astype(np.float32)

    def __len__(self) -> int:
        return len(self.features)

    def around(self, center: np.ndarray) -> "_Points":
        return _Points(self.features, self.counts, center)

    def _centered(self, rows: slice) -> np.ndarray:
        return (self.features[rows] - self.center).astype(np.float32, copy=False)

    def block(self, rows: slice) -> _Block:
        bounds = self._least[rows], self._most[rows]
        return _Block(rows, self.features[rows], self._centered(rows), *bounds, self.counts[rows])


def _different_points(features: np.ndarray) -> _Points:
    """Without repetitions: a data set that is smaller than the number of images has them, a broken generator too."""
    first: dict[bytes, int] = {}
    groups = np.empty(len(features), np.int64)
    for index, row in enumerate(features):
        digest = hashlib.blake2b(np.ascontiguousarray(row), digest_size=16).digest()
        groups[index] = first.setdefault(digest, len(first))
    if len(first) < len(features):
        features = features[np.unique(groups, return_index=True)[1]]
    return _Points(features, np.bincount(groups))


class _Pairs:
    """Iterates over blocks of points a, blocks of points b, and the products -2 a b of both.

    If a is b, the blocks are the same for both, and each pair of different blocks comes once.
    """

    def __init__(self, a: _Points, b: _Points, row_batch_size: int, col_batch_size: int):
        self.a, self.b = a, b
        if a is b:
            row_batch_size = col_batch_size = min(row_batch_size, col_batch_size)
        self._rows, self._columns = _slices(len(a), row_batch_size), _slices(len(b), col_batch_size)

    def __len__(self) -> int:
        count = len(self._rows)
        return count * (count + 1) // 2 if self.a is self.b else count * len(self._columns)

    def __iter__(self) -> Iterator[tuple[_Block, _Block, np.ndarray]]:
        for index, rows in enumerate(self._rows):
            block_a = self.a.block(rows)
            for columns in self._columns[index:] if self.a is self.b else self._columns:
                block_b = block_a if self.a is self.b and columns == rows else self.b.block(columns)
                products = block_a.values @ block_b.values.T
                products *= -2
                yield block_a, block_b, products


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [N] of rows of a [N, F] and b [N, F], in float64."""
    differences = a.astype(np.float64)
    differences -= b
    return np.einsum("nf,nf->n", differences, differences)


def _for_each_strip(count: int, work: Callable[[slice], None]) -> None:
    """Does the work for strips of rows, several at a time: NumPy's threads do only matrix products."""
    strips = _slices(count, _STRIP_ROWS)
    if len(strips) == 1:
        return work(strips[0])
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS)) as pool:
        list(pool.map(work, strips))  # raises what a strip has raised


def _pairs(chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the True values of an array [N, M], row by row, some at a time."""
    indices = np.flatnonzero(chosen)
    for start in range(0, len(indices), _EXACT_PAIRS):
        yield np.divmod(indices[start : start + _EXACT_PAIRS], chosen.shape[1])


# ----------------------------------------------------------------------------
# Radii.


class _Nearest:
    """The nearest neighbours found so far of points: squared distances and counts, [N, nhood_size]."""

    def __init__(self, num_points: int, nhood_size: int):
        self.distances = np.full([num_points, nhood_size], np.inf)
        self.counts = np.zeros([num_points, nhood_size], np.int64)

    def merge(self, rows: np.ndarray, distances: np.ndarray, counts: np.ndarray) -> None:
        """Takes further neighbours in; `rows` must be sorted."""
        present, starts, numbers = np.unique(rows, return_index=True, return_counts=True)
        kept = self.distances.shape[1]
        places = np.repeat(np.arange(len(present)), numbers), np.arange(len(rows)) - np.repeat(starts, numbers) + kept
        shape = [len(present), kept + numbers.max(initial=0)]
        all_distances, all_counts = np.full(shape, np.inf), np.zeros(shape, np.int64)
        all_distances[:, :kept], all_counts[:, :kept] = self.distances[present], self.counts[present]
        all_distances[places], all_counts[places] = distances, counts
        order = np.argsort(all_distances, axis=1)[:, :kept]
        self.distances[present] = np.take_along_axis(all_distances, order, axis=1)
        self.counts[present] = np.take_along_axis(all_counts, order, axis=1)


def _squared_radii(points: _Points, nhood_size: int, blocks: Iterable[tuple[_Block, _Block, np.ndarray]]) -> np.ndarray:
    """Squared distance [N] from each point to its nhood_size-th nearest neighbour, itself left out once."""
    nearest = _Nearest(len(points), nhood_size)
    for a, b, products in blocks:
        _find_nearest(products, a, b, nearest)
        if a is not b:
            _find_nearest(products.T, b, a, nearest)
    # Copies of a point are its nearest neighbours.
    rank = nhood_size + 1 - points.counts
    reached = np.cumsum(nearest.counts, axis=1) >= rank[:, np.newaxis]
    radii = np.take_along_axis(nearest.distances, reached.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
    return np.where(rank > 0, radii, 0)


def _find_nearest(products: np.ndarray, a: _Block, b: _Block, nearest: _Nearest) -> None:
    """Looks among points b for neighbours of points a, given -2 a b [N, M]."""
    nhood_size = nearest.distances.shape[1]
    num_candidates = len(b.exact) - (a is b)

    def work(strip: slice) -> None:
        rows = np.arange(strip.start, strip.stop)
        least = products[strip] + b.least
        if a is b:
            least[rows - strip.start, rows] = np.inf
        reach = nearest.distances[a.rows.start + rows, -1]
        if num_candidates >= nhood_size and np.isinf(reach).any():
            near = np.argpartition(least, nhood_size - 1, axis=1)[:, :nhood_size]
            most = np.take_along_axis(products[strip], near, axis=1) + b.most[near]
            reach = np.minimum(reach, most.max(axis=1) + a.most[strip])
        chosen = least <= (reach - a.least[strip])[:, np.newaxis].astype(np.float32)
        if a is b:
            chosen[rows - strip.start, rows] = False
        for row, column in _pairs(chosen):
            distances = _squared_distances(a.exact[rows[row]], b.exact[column])
            nearest.merge(a.rows.start + rows[row], distances, b.counts[column])

    _for_each_strip(len(products), work)


# ----------------------------------------------------------------------------
# Who is inside.


def _mark_inside(products: np.ndarray, a: _Block, b: _Block, squared_radii: np.ndarray, inside: np.ndarray) -> None:
    """Sets inside [N] for points a in the ball around any of the points b, given -2 a b [N, M]."""
    least_beyond = (b.least - squared_radii).astype(np.float32)
    most_beyond = (b.most - squared_radii).astype(np.float32)

    def work(strip: slice) -> None:
        rows = strip.start + np.flatnonzero(~inside[strip])
        beyond = products[rows] + least_beyond
        possible = beyond.min(axis=1) <= -a.least[rows]
        rows, beyond = rows[possible], beyond[possible]
        certain = (products[rows] + most_beyond).min(axis=1) <= -a.most[rows]
        inside[rows[certain]] = True
        rows, beyond = rows[~certain], beyond[~certain]
        for row, column in _pairs(beyond <= -a.least[rows, np.newaxis]):
            row, column = row[~inside[rows[row]]], column[~inside[rows[row]]]
            distances = _squared_distances(a.exact[rows[row]], b.exact[column])
            inside[rows[row[distances <= squared_radii[column]]]] = True

    _for_each_strip(len(products), work)


# ----------------------------------------------------------------------------
# Precision and recall with distances in float16, as the official code computes them. NumPy only.
#
# Features, products and sums of squares are rounded to float16, and a sample's distance to itself counts as one of the
# neighbours although rounding may leave it above 0.


def share_within(
    points: np.ndarray, centers: np.ndarray, nhood_size: int, row_batch_size: int, col_batch_size: int
) -> float:
    """The share of points [N, F] in the ball of any center [M, F], which reaches to its nhood_size-th neighbour."""
    radii = squared_radii(centers, nhood_size, row_batch_size, col_batch_size)
    inside = np.zeros(len(points), bool)
    for start in range(0, len(points), row_batch_size):
        rows = slice(start, start + row_batch_size)
        for other in range(0, len(centers), col_batch_size):
            columns = slice(other, other + col_batch_size)
            inside[rows] |= (squared_distances(points[rows], centers[columns]) <= radii[columns]).any(axis=1)
    return float(inside.mean())


def squared_radii(features: np.ndarray, nhood_size: int, row_batch_size: int, col_batch_size: int) -> np.ndarray:
    """Squared distance [N] of each sample [N, F] to its nhood_size-th nearest neighbour, itself being number 0."""
    radii = np.empty(len(features), np.float16)
    for start in range(0, len(features), row_batch_size):
        rows = features[start : start + row_batch_size]
        nearest = np.empty([len(rows), 0], np.float16)
        for other in range(0, len(features), col_batch_size):
            distances = squared_distances(rows, features[other : other + col_batch_size])
            nearest = np.concatenate([nearest, distances], axis=1)
            kept = min(nhood_size + 1, nearest.shape[1])
            nearest = np.partition(nearest, kept - 1, axis=1)[:, :kept]
        radii[start : start + len(rows)] = nearest.max(axis=1)
    return radii


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [N, M], float16, of a [N, F] and b [M, F].

    Raises ValueError where the square of a length is too large: what follows from that means nothing.
    """
    with np.errstate(over="ignore"):
        a, b = (array.astype(np.float16).astype(np.float32) for array in (a, b))
        squares_a, squares_b = (np.sum(array * array, axis=1).astype(np.float16) for array in (a, b))
        if not (np.isfinite(squares_a).all() and np.isfinite(squares_b).all()):
            raise ValueError("the features are too large for squared distances in float16, which end at 65504")
        products = (a @ b.T).astype(np.float16)
        return np.maximum(squares_a[:, np.newaxis] - np.float16(2) * products + squares_b, np.float16(0))
