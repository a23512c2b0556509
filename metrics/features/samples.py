"""A generator with the random inputs that metrics give it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .random_inputs import RandomInputs


@dataclass
class Samples:
    """A network beside seed, labels, arguments and devices: what its samples depend on.

    Args:
        name: of the network, for file names.
        Gs: the network.
        Gs_kwargs: its arguments.
        label_table: labels of the data set, [images, label_size], from which labels are drawn.
        seed: of latents, labels and noise.
        devices: names of devices that share the work.

    Attributes besides:
        random: random inputs by number of the sample.
        facts: what the samples are, in JSON.
    """

    name: str
    Gs: Any
    Gs_kwargs: Mapping[str, Any]
    label_table: np.ndarray
    seed: int
    devices: Sequence[str]

    def __post_init__(self) -> None:
        self.random = RandomInputs(self.seed)
        labels = np.ascontiguousarray(self.label_table)
        self.facts = {
            "generator": _digest_of(self.Gs),
            "arguments": repr(sorted(self.Gs_kwargs.items())),
            "labels": hashlib.sha256(labels.tobytes()).hexdigest() if labels.size else None,
            "seed": self.seed,
        }

    def inputs(self, begin: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Latents [count, latent_size] and labels [count, label_size] of samples from number `begin`."""
        latents = self.random.latents(begin, count, self.Gs.input_shape[1])
        return latents, self.labels(begin, count)

    def labels(self, begin: int, count: int) -> np.ndarray:
        """Random labels of the data set, [count, label_size]."""
        if self.label_table.shape[1] == 0:
            return np.zeros([count, 0], np.float32)
        return self.random.labels(begin, count, self.label_table)


def _digest_of(net: Any) -> str:
    """Hash of what a network computes: its class, its arguments, its variables."""
    facts = repr((type(net.model).__name__, sorted(net.static_kwargs.items())))
    digest = hashlib.sha256(facts.encode())
    for name, variable in net.vars.items():
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
