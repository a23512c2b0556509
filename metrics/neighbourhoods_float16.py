"""Precision and recall with distances in float16, as the official code computes them. NumPy only.

Features, products and sums of squares are rounded to float16, and a sample's distance to itself counts as one of the
neighbours although rounding may leave it above 0.
"""

import numpy as np


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
