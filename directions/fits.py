"""Linear and logistic fits of scores to points, with the penalty that does best for points that are left out."""

from typing import NamedTuple

import numpy as np

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 4
_STEPS = 15  # of Newton's method
LEAST = 10  # points


class Fit(NamedTuple):
    """A fit.

    normal: float64 `[D]`, of length 1, along which fitted scores rise the fastest: of logistic fits perpendicular to
        the plane between both classes. Zeros if all points are the same.
    quality: for points that are left out: of linear fits R^2, the share of the variance that is explained; of logistic
        ones the share of the points of either class, on average, that are told; half of them are by chance.
    penalty: which was best.
    """

    normal: np.ndarray
    quality: float
    penalty: float


def towards(points: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The way from points of low scores to those of high ones, `[D]`, of length 1; zeros if there is none.

    Of scores 0 and 1 that is from the mean of those to the mean of these; else the covariance with the scores. It goes
    where such points are, and takes along all that is with them more often; the normal of a fit takes along little.
    """
    scores = _scaled(scores)
    way = (points - points.mean(axis=0)).T @ (scores - scores.mean())
    return way / max(np.linalg.norm(way), 1e-30)


def fit(points: np.ndarray, scores: np.ndarray, logistic: bool) -> Fit:
    """Fits scores `[N]` (logistic: 0 and 1) to points `[N, D]`, of which there are `LEAST` or more."""
    centred = points - points.mean(axis=0)
    x = centred / max(np.sqrt(np.mean(np.square(centred))), 1e-30)
    scores = scores if logistic else _scaled(scores)
    weights_of = _logistic if logistic else _linear
    fold = np.random.RandomState(0).permutation(len(x)) % _FOLDS
    if logistic:  # as many of each class in each
        for value in (0, 1):
            members = np.flatnonzero(scores == value)
            fold[np.random.RandomState(0).permutation(members)] = np.arange(len(members)) % _FOLDS
    qualities = []
    for penalty in _PENALTIES:
        guesses = np.zeros(len(x))
        for number in range(_FOLDS):
            kept = fold != number
            weights, bias = weights_of(x[kept], scores[kept], penalty)
            guesses[~kept] = x[~kept] @ weights + bias
        qualities.append(_quality(guesses, scores, logistic))
    best = int(np.argmax(qualities))
    weights, _ = weights_of(x, scores, _PENALTIES[best])
    return Fit(weights / max(np.linalg.norm(weights), 1e-30), float(qualities[best]), _PENALTIES[best])


def _scaled(scores: np.ndarray) -> np.ndarray:
    """The same from -1 to 1, so that squares of huge or tiny ones are numbers. A power of two changes no digit."""
    _, exponent = np.frexp(np.abs(scores).max())
    return np.ldexp(scores, -exponent)


def _quality(guesses: np.ndarray, scores: np.ndarray, logistic: bool) -> float:
    if logistic:
        return float(np.mean([np.mean(guesses[scores == 1] > 0), np.mean(guesses[scores == 0] <= 0)]))
    return float(1 - np.mean(np.square(guesses - scores)) / np.var(scores))


def _linear(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Ridge regression: weights `[D]` and bias."""
    mean = x.mean(axis=0)
    centred = x - mean
    matrix = centred.T @ centred / len(x) + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(matrix, centred.T @ (y - y.mean()) / len(x))
    return weights, float(y.mean() - mean @ weights)


def _logistic(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Logistic regression by Newton's method, both classes of the same weight."""
    with_one = np.concatenate([x, np.ones([len(x), 1])], axis=1)
    importance = np.where(y == 1, 0.5 / max(np.sum(y == 1), 1), 0.5 / max(np.sum(y == 0), 1))
    ridge = np.append(np.full(x.shape[1], penalty / 10), 1e-9)
    weights = np.zeros(x.shape[1] + 1)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(with_one @ weights, -30, 30)))
        slope = with_one.T @ (importance * (chance - y)) + ridge * weights
        curvature = (with_one * (importance * chance * (1 - chance))[:, np.newaxis]).T @ with_one + np.diag(ridge)
        step = np.linalg.solve(curvature, slope)
        weights -= step
        if np.max(np.abs(step)) < 1e-4 * max(np.max(np.abs(weights)), 1):
            break
    return weights[:-1], float(weights[-1])
