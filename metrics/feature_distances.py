"""Distances between two sets of feature vectors: Fréchet distance, improved precision and recall. NumPy only.

Fréchet distance: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017). Precision and recall:
Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (2019).
"""

from typing import NamedTuple

import numpy as np

_ROUNDING = 16  # squared distances below so many rounding errors of their terms are 0


class PrecisionRecall(NamedTuple):
    """Both from 0 to 1, more is better."""

    precision: float  # how many of the generated samples lie among the real ones: quality
    recall: float  # how many of the real samples lie among the generated ones: variety


# ----------------------------------------------------------------------------
# Fréchet distance.


def feature_statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [F] and covariance [F, F] (divided by N - 1) of features [N, F], both float64.

    Raises ValueError for fewer than two samples, or values that are not finite.
    """
    features = _check_features("features", features).astype(np.float64)
    if len(features) < 2:
        raise ValueError("a covariance needs two samples or more")
    mu = features.mean(axis=0)
    centered = features - mu
    return mu, centered.T @ centered / (len(features) - 1)


def frechet_distance(mu_a: np.ndarray, sigma_a: np.ndarray, mu_b: np.ndarray, sigma_b: np.ndarray) -> float:
    """The Fréchet distance, squared as is usual, of two normal distributions.

    |mu_a - mu_b|^2 + trace(sigma_a + sigma_b - 2 (sigma_a sigma_b)^(1/2)). The trace of the root is found from the
    symmetric product A sigma_b A with A = sigma_a^(1/2): its eigenvalues are those of sigma_a sigma_b, and it stays
    real for covariances of low rank, where a general matrix root does not.

    Args:
        mu_a, mu_b: means [F].
        sigma_a, sigma_b: covariances [F, F], symmetric.

    Raises ValueError for shapes that do not fit together, or values that are not finite.
    """
    mu_a, sigma_a, mu_b, sigma_b = (np.asarray(array, np.float64) for array in (mu_a, sigma_a, mu_b, sigma_b))
    shapes = [array.shape for array in (mu_a, sigma_a, mu_b, sigma_b)]
    size = mu_a.size
    if size == 0 or shapes != [(size,), (size, size)] * 2:
        raise ValueError(f"expected means [F] and covariances [F, F], got shapes {shapes}")
    if not all(np.isfinite(array).all() for array in (mu_a, sigma_a, mu_b, sigma_b)):
        raise ValueError("means and covariances must be finite")
    values, vectors = np.linalg.eigh(sigma_a)
    root = (vectors * _roots(values)) @ vectors.T
    product = root @ sigma_b @ root
    trace = np.sum(_roots(np.linalg.eigvalsh((product + product.T) / 2)))
    distance = np.sum((mu_a - mu_b) ** 2) + np.trace(sigma_a) + np.trace(sigma_b) - 2 * trace
    return max(float(distance), 0.0)


def _roots(eigenvalues: np.ndarray) -> np.ndarray:
    """Square roots, 0 for what rounding has left of zeros: the root of 1e-16 would be 1e-8, and there are many."""
    least = eigenvalues.max() * len(eigenvalues) * np.finfo(np.float64).eps
    return np.sqrt(np.where(eigenvalues > least, eigenvalues, 0))


# ----------------------------------------------------------------------------
# Precision and recall.


def precision_recall(
    real_features: np.ndarray, fake_features: np.ndarray, nhood_size: int = 3, block_size: int = 4096
) -> PrecisionRecall:
    """Improved precision and recall.

    Around each sample of a set is a ball that reaches to its `nhood_size`-th nearest neighbour in the same set.
    Precision is the share of generated samples in the ball of any real one; recall is the reverse.

    Args:
        real_features: [N, F].
        fake_features: [M, F].
        nhood_size: which neighbour; each set must have more samples than that.
        block_size: rows and columns of distances to have in memory at once. Does not change the result.

    Raises ValueError for shapes that do not fit together, values that are not finite, or too few samples.
    """
    real = _check_features("real_features", real_features)
    fake = _check_features("fake_features", fake_features)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"{real.shape[1]} real features, {fake.shape[1]} generated ones")
    if nhood_size < 1 or min(len(real), len(fake)) <= nhood_size:
        raise ValueError(f"nhood_size={nhood_size} needs more samples than that, got {len(real)} and {len(fake)}")
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


def _check_features(name: str, features: np.ndarray) -> np.ndarray:
    """Features as float32 or float64."""
    features = np.asarray(features)
    if features.dtype not in (np.float32, np.float64):
        features = features.astype(np.float64)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"{name} must be [N, F], got shape {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError(f"{name} must be finite")
    return features
