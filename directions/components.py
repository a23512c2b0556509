"""Directions without labels: closed-form factorization of style matrices, and principal components."""

from typing import NamedTuple

import numpy as np

from .spaces import LEAST, Space


class Components(NamedTuple):
    """Directions in coordinates of a space, the strongest first.

    coordinates: float64 `[K, R]`, of length 1. values: float64 `[K]`, how strong each is.
    """

    coordinates: np.ndarray
    values: np.ndarray


def sefa(matrix: np.ndarray, space: Space, num: int) -> Components:
    """The directions in W that change styles the most, by closed-form factorization (SeFa, arXiv:2007.06600).

    They are the eigenvectors of `A.T @ A` with the largest eigenvalues, which are the values. In style space, the
    changes of styles that they make. Those that change no style are left out, so there may be fewer than `num`.

    matrix: A, float64 `[styles, dlatent_size]`.
    """
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    num = min(num, int(np.sum(values > LEAST**2 * values[-1])))
    vectors, values = vectors.T[::-1][:num], values[::-1][:num]
    if space.name == "s":
        vectors = vectors @ space.to
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Components(with_sign(vectors), values)


def pca(covariance: np.ndarray, space: Space, num: int) -> Components:
    """Principal components of a space (GANSpace, arXiv:2004.02546); values: the variance along each.

    covariance: of W, float64 `[dlatent_size, dlatent_size]`.
    """
    values, vectors = np.linalg.eigh(space.to.T @ covariance @ space.to)
    return Components(with_sign(vectors.T[::-1][:num]), np.maximum(values[::-1][:num], 0))


def with_sign(vectors: np.ndarray) -> np.ndarray:
    """The same vectors, or their opposites, so that of each the number of largest size is positive."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, np.newaxis], axis=1)
    return vectors * np.where(largest < 0, -1, 1)


def spreads(coordinates: np.ndarray, covariance: np.ndarray, space: Space) -> np.ndarray:
    """The standard deviation of a space along directions of length 1, `[K]`. covariance: of W."""
    within = space.to.T @ covariance @ space.to
    return np.sqrt(np.maximum(np.einsum("ki,ij,kj->k", coordinates, within, coordinates), 0))
