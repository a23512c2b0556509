"""Improved precision and recall of two sets of feature vectors, from balls around samples. NumPy only.

Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (2019).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from metrics.feature_arrays import checked_pair

_ROUNDING = 16


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
    block_size = min(row_batch_size, col_batch_size)
    center = real.mean(axis=0)  # distances stay the same, their rounding errors become small
    real, fake = real - center, fake - center
    return PrecisionRecall(
        precision=_share_within(fake, real, _neighbour_distances(real, nhood_size, block_size), block_size),
        recall=_share_within(real, fake, _neighbour_distances(fake, nhood_size, block_size), block_size),
    )


def _neighbour_distances(features: np.ndarray, nhood_size: int, block_size: int) -> np.ndarray:
    """Squared distance [N] from each sample to its nhood_size-th nearest neighbour, itself left out."""
    result = np.empty(len(features), features.dtype)
    for start in range(0, len(features), block_size):
        rows = features[start : start + block_size]
        nearest = np.empty([len(rows), 0], features.dtype)
        for other in range(0, len(features), block_size):
            distances = _squared_distances(rows, features[other : other + block_size])
            if other == start:
                np.fill_diagonal(distances, np.inf)
            candidates = np.concatenate([nearest, distances], axis=1)
            kept = min(nhood_size, candidates.shape[1])
            nearest = np.partition(candidates, kept - 1, axis=1)[:, :kept]
        result[start : start + len(rows)] = nearest.max(axis=1)
    return result


def _share_within(points: np.ndarray, centers: np.ndarray, squared_radii: np.ndarray, block_size: int) -> float:
    """The share of points that lie in the ball around any of the centers."""
    inside = np.zeros(len(points), bool)
    for start in range(0, len(points), block_size):
        rows = slice(start, start + block_size)
        for other in range(0, len(centers), block_size):
            columns = slice(other, other + block_size)
            distances = _squared_distances(points[rows], centers[columns])
            inside[rows] |= (distances <= squared_radii[columns]).any(axis=1)
    return float(inside.mean())


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [N, M] of a [N, F] and b [M, F]."""
    terms = np.sum(a * a, axis=1)[:, np.newaxis] + np.sum(b * b, axis=1)
    distances = terms - 2 * (a @ b.T)
    distances[distances <= _ROUNDING * np.finfo(distances.dtype).eps * terms] = 0  # equal samples
    return distances
