"""The kernel Inception distance of two sets of feature vectors. NumPy only.

Binkowski et al., "Demystifying MMD GANs" (2018), with the subsets of Karras et al., "Training Generative Adversarial
Networks with Limited Data" (2020).
"""

import numpy as np

from .arrays import checked_pair


def kernel_distance(
    real_features: np.ndarray,
    fake_features: np.ndarray,
    num_subsets: int = 100,
    max_subset_size: int = 1000,
    seed: int | None = None,
) -> float:
    """Squared maximum mean discrepancy, unbiased, with the kernel (x . y / F + 1)^3, averaged over random subsets.

    Unbiased means that it is 0 on average for equal distributions, so single values may be negative.

    Args:
        real_features: [N, F].
        fake_features: [M, F].
        num_subsets: how many pairs of subsets are drawn, each without replacement.
        max_subset_size: samples in a subset, fewer where a set has fewer.
        seed: of the subsets. None: they come from the global generator of np.random, the generated subset first, as
            in the official code.

    Raises ValueError for shapes that do not fit together, values that are not finite, or fewer than two samples.
    """
    real, fake = checked_pair(real_features, fake_features)
    size = min(len(real), len(fake), max_subset_size)
    if num_subsets < 1 or size < 2:
        raise ValueError(f"needs one subset of two samples or more, got {num_subsets} of {size}")
    choice = np.random.choice if seed is None else np.random.RandomState(seed).choice
    total = 0.0
    for _ in range(num_subsets):
        fakes = fake[choice(len(fake), size, replace=False)].astype(np.float64)
        reals = real[choice(len(real), size, replace=False)].astype(np.float64)
        within = _kernel(reals, reals) + _kernel(fakes, fakes)
        across = _kernel(reals, fakes)
        pairs = within.sum() - np.trace(within)
        total += pairs / (size * (size - 1)) - 2 * across.mean()
    return float(total / num_subsets)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    products = a @ b.T / a.shape[1] + 1
    return products * products * products
