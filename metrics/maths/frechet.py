"""The Fréchet distance of two sets of feature vectors. NumPy and SciPy only.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017). Precision and recall are in `neighbourhoods`, the
kernel distance is in `kernel`.
"""

import numpy as np
import scipy.linalg

from .arrays import BLOCK_ROWS, checked_features


def feature_statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [F] and covariance [F, F] (divided by N - 1) of features [N, F], both float64.

    Sums are taken around the mean of the first block, so that nothing is lost to a mean far from 0.

    Raises ValueError for fewer than two samples, or values that are not finite.
    """
    features = checked_features("features", features)
    count, size = features.shape
    if count < 2:
        raise ValueError("a covariance needs two samples or more")
    origin = features[:BLOCK_ROWS].mean(axis=0, dtype=np.float64)
    total, products = np.zeros(size), np.zeros([size, size])
    for start in range(0, count, BLOCK_ROWS):
        centered = features[start : start + BLOCK_ROWS] - origin
        total += centered.sum(axis=0)
        products += centered.T @ centered
    mean = total / count
    return origin + mean, (products - count * np.outer(mean, mean)) / (count - 1)


def frechet_distance(
    mu_a: np.ndarray,
    sigma_a: np.ndarray,
    mu_b: np.ndarray,
    sigma_b: np.ndarray,
    official_numerics: bool = False,
) -> float:
    """The Fréchet distance, squared as is usual, of two normal distributions.

    |mu_a - mu_b|^2 + trace(sigma_a + sigma_b - 2 (sigma_a sigma_b)^(1/2)). With sigma_a = A A^T and sigma_b = B B^T,
    the trace of the root is the sum of the singular values of A^T B. That stays real and exact for covariances of low
    rank (fewer samples than features), where a general matrix root does not.

    Args:
        mu_a, mu_b: means [F].
        sigma_a, sigma_b: covariances [F, F], symmetric.
        official_numerics: take the real part of a general root of sigma_a sigma_b, as the official code does. Slower,
            not accurate for covariances of low rank, and may be NaN there.

    Raises ValueError for shapes that do not fit together, or values that are not finite.
    """
    mu_a, sigma_a, mu_b, sigma_b = (np.asarray(array, np.float64) for array in (mu_a, sigma_a, mu_b, sigma_b))
    shapes = [array.shape for array in (mu_a, sigma_a, mu_b, sigma_b)]
    size = mu_a.size
    if size == 0 or shapes != [(size,), (size, size)] * 2:
        raise ValueError(f"expected means [F] and covariances [F, F], got shapes {shapes}")
    if not all(np.isfinite(array).all() for array in (mu_a, sigma_a, mu_b, sigma_b)):
        raise ValueError("means and covariances must be finite")
    apart = np.sum((mu_a - mu_b) ** 2)
    traces = np.trace(sigma_a) + np.trace(sigma_b)
    if official_numerics:
        root = scipy.linalg.sqrtm(sigma_a @ sigma_b)
        return float(apart + traces - 2 * np.real(np.trace(root)))
    overlap = np.linalg.svd(_factor(sigma_a).T @ _factor(sigma_b), compute_uv=False).sum()
    return max(float(apart + traces - 2 * overlap), 0.0)


def _factor(sigma: np.ndarray) -> np.ndarray:
    """A matrix A [F, rank] with A A^T = sigma.

    What rounding has left of zeros is dropped: the root of 1e-16 would be 1e-8, and there are many.
    """
    values, vectors = np.linalg.eigh(sigma)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return vectors[:, kept] * np.sqrt(values[kept])
