"""Linear separability: how well a plane in a latent space tells images with an attribute from those without.

Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks" (2019).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import sklearn.svm


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
    return float(-np.sum(p * np.log2(np.where(p > 0, p, 1))))


def mutual_information(p: np.ndarray) -> float:
    """I(X; Y) in bits."""
    p = prob_normalize(p)
    return entropy(p.sum(axis=1, keepdims=True)) + entropy(p.sum(axis=0, keepdims=True)) - entropy(p)


def conditional_entropy(p: np.ndarray) -> float:
    """H(Y | X) in bits."""
    p = prob_normalize(p)
    return max(entropy(p) - entropy(p.sum(axis=1, keepdims=True)), 0.0)


def separability(
    spaces: Mapping[str, np.ndarray],
    predictions: Sequence[np.ndarray],
    num_keep: int = 100000,
    seed: int = 0,
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
        seed: of the machines.
        official_numerics: what `sklearn.svm.LinearSVC()` meant in 2019: the dual problem, at most 1000 iterations,
            random numbers from np.random. It rarely converges, so that the score comes out higher.
        progress: called with (machines fitted, machines in all).

    Raises ValueError for shapes that do not fit together.
    """
    spaces = {name: np.asarray(latents) for name, latents in spaces.items()}
    entropies: dict[str, list[float]] = {name: [] for name in spaces}
    for scores in predictions:
        scores = np.asarray(scores)
        shapes = {name: latents.shape for name, latents in spaces.items()}
        if (
            scores.ndim != 2
            or scores.shape[1] != 2
            or any(s[:1] != scores.shape[:1] or len(s) != 2 for s in shapes.values())
        ):
            raise ValueError(f"expected predictions [N, 2] and latents [N, F], got shapes {scores.shape} and {shapes}")
        kept = np.argsort(scores.max(axis=1), kind="stable")[::-1][:num_keep]
        targets = scores[kept].argmax(axis=1)
        for name, latents in spaces.items():
            answers = _fit_and_predict(latents[kept], targets, seed, official_numerics)
            table = [[np.mean((answers == x) & (targets == y)) for y in (0, 1)] for x in (0, 1)]
            entropies[name].append(conditional_entropy(table))
    return {name: Separability(float(2 ** sum(values)), values) for name, values in entropies.items()}


def _fit_and_predict(samples: np.ndarray, targets: np.ndarray, seed: int, official_numerics: bool) -> np.ndarray:
    if targets.min() == targets.max():
        return targets
    svm = (
        sklearn.svm.LinearSVC(dual=True)
        if official_numerics
        else sklearn.svm.LinearSVC(dual=samples.shape[1] > len(samples), random_state=seed)
    )
    return svm.fit(samples, targets).predict(samples)
