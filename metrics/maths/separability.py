"""Linear separability: how well a plane in a latent space tells images with an attribute from those without.

Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks" (2019).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .arrays import checked_features


class Separability(NamedTuple):
    """How separable a latent space is."""

    score: float  # 2 to the sum of the entropies: 1 is best
    entropies: list[float]  # bits that remain unknown of each attribute


def prob_normalize(p: np.ndarray) -> np.ndarray:
    """Probabilities [2, 2] of two variables (axis 0: X, axis 1: Y) in proportion to p."""
    p = np.asarray(p, np.float64)
    if p.ndim != 2 or (p < 0).any() or p.sum() <= 0:
        raise ValueError(f"expected a table of counts or probabilities, got {p.tolist()}")
    return p / p.sum()


def entropy(p: np.ndarray) -> float:
    """H(X, Y) in bits."""
    p = prob_normalize(p)
    return max(0.0, float(-np.sum(p * np.log2(np.where(p > 0, p, 1)))))


def mutual_information(p: np.ndarray) -> float:
    """I(X; Y) in bits."""
    p = prob_normalize(p)
    return entropy(p.sum(axis=1, keepdims=True)) + entropy(p.sum(axis=0, keepdims=True)) - entropy(p)


def conditional_entropy(p: np.ndarray) -> float:
    """H(Y | X) in bits."""
    p = prob_normalize(p)
    return max(0.0, entropy(p) - entropy(p.sum(axis=1, keepdims=True)))


def separability(
    spaces: Mapping[str, np.ndarray],
    predictions: Sequence[np.ndarray],
    num_keep: int = 100000,
    official_numerics: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Separability]:
    """The separability of latent spaces.

    Per attribute, the most confidently classified samples are kept, a linear support vector machine is fitted to them
    in each space, and what its answer leaves unknown of the attribute is measured.

    Args:
        spaces: for each space, such as 'z' and 'w', the latents [N, F] of the same samples.
        predictions: for each attribute, the probabilities [N, 2] that samples do not have it and have it.
        num_keep: how many samples are kept.
        official_numerics: fit with what `sklearn.svm.LinearSVC()` meant in 2019: the dual problem, at most 1000
            rounds, random numbers from np.random. On real latents it stops before the optimum (scikit-learn warns),
            so that entropies come out higher. Otherwise the optimum is found, and nothing is random.
        progress: called with (machines fitted, machines in all).

    Raises ValueError for shapes that do not fit together, or values that are not finite.
    """
    spaces = {name: checked_features(f"latents {name}", latents) for name, latents in spaces.items()}
    predictions = [checked_features(f"predictions {index}", scores) for index, scores in enumerate(predictions)]
    shapes = [array.shape for array in (*spaces.values(), *predictions)]
    if len({shape[0] for shape in shapes}) != 1 or any(scores.shape[1] != 2 for scores in predictions):
        raise ValueError(f"expected latents [N, F] and predictions [N, 2] of the same samples, got shapes {shapes}")
    if num_keep < 1:
        raise ValueError(f"num_keep={num_keep} keeps nothing")
    entropies: dict[str, list[float]] = {name: [] for name in spaces}
    total = len(predictions) * len(spaces)
    for scores in predictions:
        kept = np.argsort(scores.max(axis=1), kind="stable")[::-1][:num_keep]
        targets = scores[kept].argmax(axis=1)
        for name, latents in spaces.items():
            answers = targets  # of one class: nothing to fit, nothing unknown
            if targets.min() < targets.max():
                answers = fit_plane(latents[kept], targets, official_numerics).predict(latents[kept])
            table = [[np.mean((answers == x) & (targets == y)) for y in (0, 1)] for x in (0, 1)]
            entropies[name].append(conditional_entropy(table))
            if progress:
                progress(sum(map(len, entropies.values())), total)
    return {name: Separability(float(2 ** np.sum(values)), values) for name, values in entropies.items()}


def fit_plane(samples: np.ndarray, targets: np.ndarray, official_numerics: bool = False) -> Any:
    """The `sklearn.svm.LinearSVC` that tells samples [N, F] with target 1 from those with target 0. See `separability`.

    Its optimum is the least of half the squared length of the plane's coefficients, offset included, plus the squared
    hinge losses.
    """
    from sklearn.svm import LinearSVC  # takes seconds

    machine = LinearSVC(dual=True) if official_numerics else LinearSVC(dual=False, tol=1e-8)
    return machine.fit(samples, targets)
