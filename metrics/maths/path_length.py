"""From distances along paths to the perceptual path length. NumPy only.

Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks" (2019).
"""

import numpy as np


def without_outliers(distances: np.ndarray, low: float = 1, high: float = 99) -> np.ndarray:
    """The distances from one percentile to the other, both included, in their order.

    A percentile between two values is the lower one at `low` and the higher one at `high`.
    """
    distances = np.asarray(distances).ravel()
    if distances.size == 0 or not np.isfinite(distances).all():
        raise ValueError("needs distances, all of them finite")
    least = np.percentile(distances, low, method="lower")
    most = np.percentile(distances, high, method="higher")
    return distances[(least <= distances) & (distances <= most)]


def path_length_score(distances: np.ndarray) -> float:
    """The mean of distances [N], the lowest and highest percent left out.

    Raises ValueError where there are none, or some are not finite.
    """
    return float(np.mean(without_outliers(distances), dtype=np.float64))
