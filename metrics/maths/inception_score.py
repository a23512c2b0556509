"""The Inception score of class probabilities. NumPy only.

Salimans et al., "Improved Techniques for Training GANs" (2016).
"""

from typing import NamedTuple

import numpy as np


class InceptionScore(NamedTuple):
    """More is better, from 1 to the number of classes."""

    mean: float  # over the splits
    std: float


def inception_score(probabilities: np.ndarray, num_splits: int = 10) -> InceptionScore:
    """exp of the mean divergence of the classes of one image from the classes of all, in nats, per split.

    Args:
        probabilities: [N, K], rows that sum to 1.
        num_splits: of the samples, in their order, as even as possible.

    Raises ValueError for another shape, values that are negative or not finite, or fewer samples than splits.
    """
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or probabilities.shape[1] == 0:
        raise ValueError(f"probabilities must be [N, K], got shape {probabilities.shape}")
    count = len(probabilities)
    if not 1 <= num_splits <= count:
        raise ValueError(f"num_splits={num_splits} needs as many samples or more, got {count}")
    scores = []
    for index in range(num_splits):
        part = probabilities[index * count // num_splits : (index + 1) * count // num_splits].astype(np.float64)
        if not (np.isfinite(part).all() and (part >= 0).all()):
            raise ValueError("probabilities must be finite and not negative")
        # The divergences of the rows share the logarithm of their mean: their sum needs it only once.
        own = np.sum(part * np.log(np.where(part > 0, part, 1)))
        mean = part.mean(axis=0)
        shared = len(part) * np.sum(mean * np.log(np.where(mean > 0, mean, 1)))
        scores.append(np.exp((own - shared) / len(part)))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))
