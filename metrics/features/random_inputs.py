"""Latents, labels and other random inputs by the number of the sample.

They depend on the seed and on the sample's number only: not on the minibatch size, on the number of GPUs, or on
where an interrupted pass goes on.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

_LATENTS, _LABELS, _POSITIONS, _MIRRORS = range(4)  # what numbers are for; each has a stream of its own


class RandomInputs:
    """Random inputs of samples `begin` to `begin + count - 1`, for a seed of 0 or more."""

    def __init__(self, seed: int):
        self.seed = seed

    def latents(self, begin: int, count: int, latent_size: int) -> np.ndarray:
        """Normal numbers, float32 [count, latent_size]."""
        return self._draw(_LATENTS, begin, count, lambda rnd: rnd.standard_normal(latent_size, np.float32))

    def labels(self, begin: int, count: int, labels: np.ndarray) -> np.ndarray:
        """Labels [count, label_size] of random images of a data set, `labels` [images, label_size]."""
        return labels[self._draw(_LABELS, begin, count, lambda rnd: rnd.integers(len(labels)))]

    def positions(self, begin: int, count: int) -> np.ndarray:
        """Uniform numbers from 0 to 1, float32 [count]."""
        return self._draw(_POSITIONS, begin, count, lambda rnd: rnd.random(dtype=np.float32)).astype(np.float32)

    def mirrors(self, begin: int, count: int) -> np.ndarray:
        """Which images to mirror: half of them, bool [count]."""
        return self._draw(_MIRRORS, begin, count, lambda rnd: rnd.random()) < 0.5

    def _draw(self, purpose: int, begin: int, count: int, draw: Callable[[np.random.Generator], Any]) -> np.ndarray:
        key = np.random.SeedSequence([self.seed, purpose]).generate_state(2, np.uint64)
        # The second word of the counter is the sample's number: streams of 2**64 blocks that never meet.
        streams = (np.random.Philox(key=key, counter=[0, begin + i, 0, 0]) for i in range(count))
        return np.stack([draw(np.random.Generator(stream)) for stream in streams])
