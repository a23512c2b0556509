"""What the official PyTorch code was given when it made goldens: values of parameters, and random draws.

Names of parameters are those of PyTorch; `dnnlib.tflib.checkpoints.nvidia_torch` tells how our variables are made of
them.
"""

import re
from collections.abc import Iterable
from typing import Any

import golden
import numpy as np
import tensorflow as tf

from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import nvidia_torch
from dnnlib.tflib.checkpoints.foreign_variables import Stored

_SCALES = (  # and offset; the first that matches
    (r"w_avg$", 0.5, 0),
    (r"noise_const$", 1, 0),
    (r"noise_strength$", 0.1, 0),
    (r"const$", 1, 0),
    (r"affine\.bias$", 0.1, 1),
    (r"affine\.weight$", 1, 0),
    (r"^mapping\.fc\d+\.weight$", 100, 0),
    (r"^mapping\.fc\d+\.bias$", 10, 0),
    (r"bias$", 0.1, 0),
    (r"weight$", 1, 0),
)


def value(salt: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of a parameter or buffer."""
    scale, offset = next(numbers for pattern, *numbers in _SCALES if re.search(pattern, name))
    return np.float32(offset) + golden.seeded(salt + name, shape) * np.float32(scale)


def stored(net: Network) -> dict[str, Stored]:
    """How PyTorch stores the variables of a network, by their names here."""
    is_generator = len(net.output_shape) == 4
    how = nvidia_torch.stored_in_generator if is_generator else nvidia_torch.stored_in_discriminator
    return {name: how(name, tuple(variable.shape)) for name, variable in net.vars.items()}


def set_variables(net: Network, salt: str) -> None:
    """Gives all variables of a network their golden values."""
    for name, of in stored(net).items():
        net.vars[name].assign(of.value(value(salt, of.name, of.shape), tuple(net.vars[name].shape)))


def as_ours(of: Stored, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A gradient, or anything else that has the axes of a parameter, with the axes that it has here."""
    return of.value(tensor, shape) + np.float32(of.offset)


class Draws:
    """A stream of the numbers that PyTorch drew, in the order in which they are drawn here.

    seed, calls: call k of `calls` has the numbers of RandomState(seed + k). latents: of each run of the generator,
    `[N, C]`, which PyTorch's losses are given; the first ones are used if there are more. Where styles are mixed,
    PyTorch draws the layer, the probability and the second latents, in this order; here they come in the opposite
    order, the layer only if styles are mixed.
    """

    def __init__(self, seed: int, calls: list[list[Any]], latents: Iterable[np.ndarray]):
        self.queue: list[tuple[str, np.ndarray]] = []
        self.cutoffs: list[int] = []
        latents = iter(latents)

        def array(k: int) -> tuple[str, np.ndarray]:
            kind, shape = calls[k]
            return kind, np.asarray(getattr(np.random.RandomState(seed + k), kind)(*shape)).astype(np.float32)

        for k, (kind, shape, *given) in enumerate(calls):
            kinds_before = [call[0] for call in calls[max(k - 3, 0) : k]][::-1]
            if kind == "randint":
                self.cutoffs.append(*given)
            elif kinds_before[:1] == ["randint"]:
                continue
            elif kinds_before[1:2] == ["randint"]:
                self.queue += [("randn", next(latents)[: shape[0]]), array(k), array(k - 1)]
            elif shape[1:] == [1, 4, 4] and kinds_before[2:] != ["randint"]:
                self.queue += [("randn", next(latents)[: shape[0]]), array(k)]
            else:
                self.queue.append(array(k))

    def _next(self, kind: str, shape: Any) -> tf.Tensor:
        golden_kind, array = self.queue.pop(0)
        shape = [int(n) for n in shape]
        assert golden_kind == kind and array.size == np.prod(shape), (golden_kind, array.shape, kind, shape)
        return tf.constant(array.reshape(shape))

    def normal(self, shape: Any, dtype: Any) -> tf.Tensor:
        return self._next("randn", shape)

    def uniform(self, shape: Any, minval: Any, maxval: Any, dtype: Any) -> tf.Tensor:
        if dtype == tf.int32:
            return tf.constant(self.cutoff)
        drawn = self._next("rand", shape)
        if not drawn.shape.rank:
            self.cutoff = self.cutoffs.pop(0)
        return drawn
