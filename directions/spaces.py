"""The spaces that directions are found in: W, and the styles of some layers, which follow from W.

Styles of some layers are `W @ A.T + bias`, where `A` are the matrices of their affine layers, one above the other. Of
all styles only those are ever seen that come from some W, so there are orthonormal axes of them, no more than W has
numbers: both spaces are coordinates of W, and a direction in coordinates is one of the space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST = 1e-6
"""Singular values of style matrices that are none, in proportion to the largest."""


@dataclass
class Space:
    """A space.

    name: 'w' or 's'.
    to: float64 `[dlatent_size, R]`: differences of W times it are coordinates.
    axes: float64 `[numbers, R]`: coordinates times its transpose are vectors of the space.
    styles: of style space, name and width of each affine layer, which its numbers are of; None: of W.
    """

    name: str
    to: np.ndarray
    axes: np.ndarray
    styles: list[tuple[str, int]] | None = None


def style_matrix(affine: Sequence[Any], layers: Sequence[int]) -> np.ndarray:
    """A: the matrices of the affine layers of some layers, as the network uses them, float64 `[styles, dlatent_size]`.

    affine: all of the network, see `training.nets.style_space`. From the base up, ToRGB after the convolutions.
    """
    return np.concatenate([layer.matrix().T.astype(np.float64) for layer in affine if layer.layer in layers])


def space_w(size: int) -> Space:
    """W itself."""
    return Space("w", np.eye(size), np.eye(size))


def space_s(affine: Sequence[Any], layers: Sequence[int]) -> Space:
    """The styles of some layers, by falling effect of a step in W; numbers of other layers are 0."""
    left, scales, right = np.linalg.svd(style_matrix(affine, layers), full_matrices=False)
    there = scales > LEAST * scales[0]
    axes, rows, begin = [], left[:, there], 0
    for layer in affine:
        count = layer.width if layer.layer in layers else 0
        axes.append(rows[begin : begin + count] if count else np.zeros([layer.width, rows.shape[1]]))
        begin += count
    styles = [(layer.name, layer.width) for layer in affine]
    return Space("s", right[there].T * scales[there], np.concatenate(axes), styles)
