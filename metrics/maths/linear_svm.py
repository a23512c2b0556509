"""The plane of a linear support vector machine, to full precision. NumPy only.

Keerthi and DeCoste, "A Modified Finite Newton Method for Fast Solution of Large Scale Linear SVMs" (2005).
"""

import numpy as np

from .arrays import BLOCK_ROWS

_MAX_STEPS = 100  # about ten are needed
_PRECISION = 1e-12  # of the objective


def fit_plane(samples: np.ndarray, targets: np.ndarray, penalty: float = 1.0) -> np.ndarray:
    """The plane that tells samples [N, F] with target 1 from those with target 0.

    The optimum that `sklearn.svm.LinearSVC(C=penalty)` looks for: half the squared length of the plane's coefficients,
    offset included, plus `penalty` times the squared hinge losses. The objective is a quadratic function in pieces, so
    Newton steps end at the optimum, in a time that does not depend on how correlated the features are.

    Returns the coefficients [F + 1], the last one is the offset. Raises ValueError for samples without the optimum in
    reach, which are those that are not finite.
    """
    signs = np.where(targets == 1, 1.0, -1.0)
    samples = np.concatenate([samples, np.ones([len(samples), 1])], axis=1, dtype=np.float64)
    plane = np.zeros(samples.shape[1])
    margins = np.zeros(len(samples))

    def objective(plane: np.ndarray, margins: np.ndarray) -> float:
        return plane @ plane / 2 + penalty * np.sum(np.maximum(1 - signs * margins, 0) ** 2)

    for _ in range(_MAX_STEPS):
        value = objective(plane, margins)
        inside = signs * margins < 1  # the samples that the plane is not yet far enough from
        residuals = np.where(inside, margins - signs, 0)
        gradient = plane + 2 * penalty * (residuals @ samples)
        curvature = np.eye(len(plane))
        for start in range(0, len(samples), BLOCK_ROWS):
            block = samples[start : start + BLOCK_ROWS][inside[start : start + BLOCK_ROWS]]
            curvature += 2 * penalty * (block.T @ block)
        step = -np.linalg.solve(curvature, gradient)
        slope = gradient @ step
        if -slope <= _PRECISION * value:
            return plane
        change = samples @ step
        size = 1.0
        while objective(plane + size * step, margins + size * change) > value + 1e-4 * size * slope and size > 1e-9:
            size /= 2
        plane = plane + size * step
        margins = margins + size * change
    raise ValueError("no plane could be fitted; are all samples finite?")


def side_of_plane(samples: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """1 for samples [N, F] on the side of target 1, else 0."""
    return (samples @ plane[:-1] + plane[-1] > 0).astype(np.int64)
