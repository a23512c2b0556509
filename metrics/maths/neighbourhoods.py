"""Improved precision and recall of two sets of feature vectors, from balls around samples. NumPy only.

Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (2019).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from .arrays import BLOCK_ROWS, checked_pair

_GROUP_SIZE = 32  # of distances whose minimum is looked at first
_Block = tuple[slice, slice, np.ndarray]  # some samples, others, and squared distances [N, M] from each to each


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
        row_batch_size, col_batch_size: distances to have in memory at once, at most 4096 by 4096. They do not change
            the result.
        official_numerics: distances in float16, as the official code has them. The squares must stay below 65504.
        progress: called with (blocks of distances done, blocks in all).

    Raises ValueError for shapes that do not fit together, values that are not finite, or too few samples.
    """
    real, fake = checked_pair(real_features, fake_features)
    if nhood_size < 1 or min(len(real), len(fake)) <= nhood_size:
        raise ValueError(f"nhood_size={nhood_size} needs more samples than that, got {len(real)} and {len(fake)}")
    if min(row_batch_size, col_batch_size) < 1:
        raise ValueError(f"expected batches of 1 or more, got {row_batch_size} and {col_batch_size}")
    # In float16 the distance from a to b is rounded to another number than that from b to a: each is computed.
    both_ways = not official_numerics
    distances_of = squared_distances_float16 if official_numerics else _float32_distances(real, fake)
    pairs = [(real, real), (fake, fake), (real, fake), (fake, real)][: 3 if both_ways else 4]
    sizes = [min(size, BLOCK_ROWS) for size in (row_batch_size, col_batch_size)]
    places = [_places(len(a), len(b), *sizes, half=both_ways and number < 2) for number, (a, b) in enumerate(pairs)]
    total, done = sum(map(len, places)), itertools.count(1)

    def blocks(number: int) -> Iterator[_Block]:
        a, b = pairs[number]
        for rows, columns in places[number]:
            yield rows, columns, distances_of(a[rows], b[columns])
            if progress:
                progress(next(done), total)

    radii_real = squared_radii(len(real), nhood_size, blocks(0), both_ways)
    radii_fake = squared_radii(len(fake), nhood_size, blocks(1), both_ways)
    real_inside, fake_inside = _inside(radii_real, radii_fake, blocks(2))
    if not both_ways:
        fake_inside, _ = _inside(radii_fake, radii_real, blocks(3))
    return PrecisionRecall(precision=float(fake_inside.mean()), recall=float(real_inside.mean()))


def squared_radii(count: int, nhood_size: int, blocks: Iterable[_Block], both_ways: bool) -> np.ndarray:
    """Squared distance [count] of each sample to its nhood_size-th nearest neighbour, itself being number 0.

    both_ways: blocks stand for the distances from columns to rows, too.
    """
    nearest = np.full([count, nhood_size + 1], np.inf, np.float32)
    for rows, columns, distances in blocks:
        nearest[rows] = _smallest(nearest[rows], distances)
        if both_ways and rows != columns:
            nearest[columns] = _smallest(nearest[columns], distances.T)
    return nearest[:, -1]


def _smallest(known: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The K smallest in each row of known [N, K] and more [N, M], sorted.

    They are in those K groups of numbers whose minima are smallest. To look only there is ten times as fast.
    """
    count, kept = known.shape
    groups = -(-(kept + more.shape[1]) // _GROUP_SIZE)
    numbers = np.full([count, _GROUP_SIZE * groups], np.inf, known.dtype)
    numbers[:, :kept], numbers[:, kept : kept + more.shape[1]] = known, more
    numbers = numbers.reshape(count, _GROUP_SIZE, groups)
    chosen = np.argsort(numbers.min(axis=1), axis=1)[:, np.newaxis, :kept]  # [N, 1, K]
    return np.sort(np.take_along_axis(numbers, chosen, axis=2).reshape(count, -1), axis=1)[:, :kept]


def _inside(radii_a: np.ndarray, radii_b: np.ndarray, blocks: Iterable[_Block]) -> tuple[np.ndarray, np.ndarray]:
    """Which samples a lie in the ball of any b, and which b in that of any a; from squared radii [N], [M]."""
    a_inside, b_inside = np.zeros(len(radii_a), bool), np.zeros(len(radii_b), bool)
    for rows, columns, distances in blocks:
        a_inside[rows] |= (distances <= radii_b[columns]).any(axis=1)
        b_inside[columns] |= (distances <= radii_a[rows, np.newaxis]).any(axis=0)
    return a_inside, b_inside


def _float32_distances(real: np.ndarray, fake: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of samples a [N, F] and b [M, F] of these sets to their squared distances, float32 [N, M].

    They are in units of the largest number, and 0 where rounding may be all that there is: so it is between copies of
    a sample, such as a data set with too few images has.
    """
    center = real.mean(axis=0, dtype=np.float64)
    unit = max(max(x.max(), -x.min()) for x in (real, fake)) or 1
    noise = 4 * real.shape[1] ** 0.5 * 2.0**-24  # of a float32 sum of F products

    def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = (((x - center.astype(x.dtype)) / unit).astype(np.float32, copy=False) for x in (a, b))
        lengths = np.add.outer(*(np.einsum("nf,nf->n", x, x, dtype=np.float64).astype(np.float32) for x in (a, b)))
        distances = a @ b.T
        distances *= -2
        distances += lengths
        lengths *= noise
        distances[distances <= lengths] = 0
        return distances

    return squared_distances


def squared_distances_float16(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [N, M] of a [N, F] and b [M, F] with features, products and sums rounded to float16.

    That of a sample to itself may come out above 0, and counts as officially. Raises ValueError where the square of a
    length is too large: what follows from that means nothing.
    """
    with np.errstate(over="ignore"):
        a, b = (array.astype(np.float16).astype(np.float32) for array in (a, b))
        squares_a, squares_b = (np.sum(array * array, axis=1).astype(np.float16) for array in (a, b))
        if not (np.isfinite(squares_a).all() and np.isfinite(squares_b).all()):
            raise ValueError("the features are too large for squared distances in float16, which end at 65504")
        products = (a @ b.T).astype(np.float16)
        return np.maximum(squares_a[:, np.newaxis] - np.float16(2) * products + squares_b, np.float16(0))


def _places(
    num_rows: int, num_columns: int, row_batch_size: int, col_batch_size: int, half: bool
) -> list[tuple[slice, slice]]:
    """Blocks that cover all pairs of rows and columns; half: squares, without those below the diagonal."""
    if half:
        row_batch_size = col_batch_size = min(row_batch_size, col_batch_size)
    rows, columns = (
        [slice(start, min(start + size, count)) for start in range(0, count, size)]
        for count, size in ((num_rows, row_batch_size), (num_columns, col_batch_size))
    )
    return [(a, b) for a in rows for b in columns if not half or a.start <= b.start]
