"""Improved precision and recall of two sets of feature vectors, from balls around samples. NumPy only.

Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (2019).

Distances come from float32 matrix products, in blocks. What is too close to call at that precision is computed again
from differences in float64, so that the counts are those of float64 throughout.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from metrics import neighbourhoods_float16
from metrics.feature_arrays import BLOCK_ROWS, checked_pair

_STRIP_ROWS = 128  # rows of a block of distances that are looked at together: they stay in the cache
_EXACT_PAIRS = 1024  # pairs whose differences are in memory together


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
        official_numerics: distances in float16, as the official code has them. They overflow above 65504.
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
            precision=neighbourhoods_float16.share_within(fake, real, *args),
            recall=neighbourhoods_float16.share_within(real, fake, *args),
        )
    reals, fakes = _Points(real), _Points(fake)
    block = min(row_batch_size, col_batch_size)
    pairs_of_reals, pairs_of_fakes = _triangle(len(reals), block), _triangle(len(fakes), block)
    pairs_of_both = [
        (rows, columns)
        for rows in _slices(len(reals), row_batch_size)
        for columns in _slices(len(fakes), col_batch_size)
    ]
    total = len(pairs_of_reals) + len(pairs_of_fakes) + len(pairs_of_both)
    done = 0

    def counted(pairs: list[tuple[slice, slice]]) -> Iterator[tuple[slice, slice]]:
        nonlocal done
        for pair in pairs:
            yield pair
            done += 1
            if progress:
                progress(done, total)

    radii_of_reals = _squared_radii(reals, nhood_size, counted(pairs_of_reals))
    radii_of_fakes = _squared_radii(fakes, nhood_size, counted(pairs_of_fakes))
    real_inside, fake_inside = np.zeros(len(reals), bool), np.zeros(len(fakes), bool)
    center = reals.center
    for rows, columns in counted(pairs_of_both):
        a, b = reals.block(rows, center), fakes.block(columns, center)
        products = -2 * a.values @ b.values.T
        _mark_inside(products, a, b, radii_of_fakes[columns], real_inside[rows])
        _mark_inside(products.T, b, a, radii_of_reals[rows], fake_inside[columns])
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

    exact: np.ndarray  # [N, F] as given
    values: np.ndarray  # [N, F] float32
    least: np.ndarray  # [N] float32
    most: np.ndarray  # [N] float32


class _Points:
    """The different ones among feature vectors, and how often each occurs.

    A data set that is smaller than the number of images repeats itself; a broken generator may give one image always.
    """

    def __init__(self, features: np.ndarray):
        first: dict[bytes, int] = {}
        groups = np.empty(len(features), np.int64)
        for index, row in enumerate(np.ascontiguousarray(features)):
            groups[index] = first.setdefault(hashlib.blake2b(row, digest_size=16).digest(), len(first))
        self.counts = np.bincount(groups)
        self.features = features if len(first) == len(features) else features[np.unique(groups, return_index=True)[1]]
        self.center = self.features.mean(axis=0, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.features)

    def block(self, rows: slice, center: np.ndarray) -> _Block:
        exact = self.features[rows]
        values = np.empty(exact.shape, np.float32)
        for start in range(0, len(exact), BLOCK_ROWS):
            values[start : start + BLOCK_ROWS] = exact[start : start + BLOCK_ROWS] - center
        squares = np.einsum("nf,nf->n", values, values, dtype=np.float64)
        # A float32 sum of F products is off by less than F units, of 2^-24 of the sum of the absolute products, which
        # is at most half the squares of both vectors. The rest covers what else is rounded.
        error = (exact.shape[1] + 16) * 2.0**-24 * squares
        return _Block(exact, values, (squares - error).astype(np.float32), (squares + error).astype(np.float32))


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _triangle(count: int, size: int) -> list[tuple[slice, slice]]:
    """Blocks of pairs of the same set, each pair once. Rows stay the same as long as possible."""
    slices = _slices(count, size)
    return [(rows, columns) for index, rows in enumerate(slices) for columns in slices[index:]]


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [N] of rows of a [N, F] and b [N, F], in float64."""
    differences = np.subtract(a, b, dtype=np.float64)
    return np.square(differences, out=differences).sum(axis=1)


def _for_each_strip(count: int, work: Callable[[slice], None]) -> None:
    """Does the work for strips of rows, several at a time: NumPy's threads do only matrix products."""
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(work, _slices(count, _STRIP_ROWS)):
            pass


def _pairs(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the True values of an array [N, M], row by row. Faster than np.nonzero."""
    return np.divmod(np.flatnonzero(chosen), chosen.shape[1])


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


def _squared_radii(points: _Points, nhood_size: int, pairs: Iterator[tuple[slice, slice]]) -> np.ndarray:
    """Squared distance [N] from each point to its nhood_size-th nearest neighbour, itself left out once."""
    nearest = _Nearest(len(points), nhood_size)
    for rows, columns in pairs:
        a = points.block(rows, points.center)
        b = a if rows == columns else points.block(columns, points.center)
        products = -2 * (a.values @ b.values.T)
        _find_nearest(products, a, b, rows.start, points.counts[columns], nearest, same=rows == columns)
        if rows != columns:
            _find_nearest(products.T, b, a, columns.start, points.counts[rows], nearest, same=False)
    # Copies of a point are its nearest neighbours.
    rank = nhood_size + 1 - points.counts
    reached = np.cumsum(nearest.counts, axis=1) >= rank[:, np.newaxis]
    radii = np.take_along_axis(nearest.distances, reached.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
    return np.where(rank > 0, radii, 0)


def _find_nearest(
    products: np.ndarray,
    a: _Block,
    b: _Block,
    first_row: int,
    counts: np.ndarray,
    nearest: _Nearest,
    same: bool,
) -> None:
    """Looks among points b for neighbours of points a, given -2 a b [N, M]. `same`: b is a."""
    kept = min(nearest.distances.shape[1], products.shape[1] - same)

    def work(strip: slice) -> None:
        least = products[strip] + b.least
        rows = np.arange(strip.start, strip.stop)
        if same:
            least[rows - strip.start, rows] = np.inf
        reach = nearest.distances[first_row + rows, -1]
        if kept and np.isinf(reach).any():
            near = np.argpartition(least, kept - 1, axis=1)[:, :kept]
            most = np.take_along_axis(products[strip], near, axis=1) + b.most[near]
            if kept == nearest.distances.shape[1]:
                reach = np.minimum(reach, most.max(axis=1) + a.most[strip])
        chosen = least <= (reach - a.least[strip])[:, np.newaxis].astype(np.float32)
        if same:
            chosen[rows - strip.start, rows] = False
        row, column = _pairs(chosen)
        for start in range(0, len(row), _EXACT_PAIRS):
            r, c = row[start : start + _EXACT_PAIRS], column[start : start + _EXACT_PAIRS]
            distances = _squared_distances(a.exact[strip][r], b.exact[c])
            nearest.merge(first_row + strip.start + r, distances, counts[c])

    _for_each_strip(len(products), work)


# ----------------------------------------------------------------------------
# Who is inside.


def _mark_inside(products: np.ndarray, a: _Block, b: _Block, squared_radii: np.ndarray, inside: np.ndarray) -> None:
    """Sets inside [N] for points a in the ball around any of the points b, given -2 a b [N, M]."""
    outside = (b.least - squared_radii).astype(np.float32)

    def work(strip: slice) -> None:
        open_rows = strip.start + np.flatnonzero(~inside[strip])
        least = products[open_rows] + outside
        row, column = _pairs(least <= -a.least[open_rows, np.newaxis])
        row = open_rows[row]
        most = products[row, column] + b.most[column] + a.most[row]
        inside[row[most <= squared_radii[column]]] = True
        unclear = ~inside[row]
        row, column = row[unclear], column[unclear]
        for start in range(0, len(row), _EXACT_PAIRS):
            r, c = row[start : start + _EXACT_PAIRS], column[start : start + _EXACT_PAIRS]
            r, c = r[~inside[r]], c[~inside[r]]
            inside[r[_squared_distances(a.exact[r], b.exact[c]) <= squared_radii[c]]] = True

    _for_each_strip(len(products), work)
