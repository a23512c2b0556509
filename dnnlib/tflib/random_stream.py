"""Random numbers of networks and losses, from TensorFlow's global generator or from a stream that can be repeated.

Training draws everything from streams keyed by seed, iteration and purpose: there is no generator whose state a resumed
run would have to restore, and the numbers do not depend on how the work is divided between devices.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from .ops.variables import random_key

_raw, _PHILOX = tf.raw_ops, int(tf.random.Algorithm.PHILOX.value)


class Stream(Protocol):
    """A source of random numbers."""

    def normal(self, shape: Any, dtype: Any) -> tf.Tensor:
        """Normal numbers of mean 0 and standard deviation 1."""

    def uniform(self, shape: Any, minval: Any, maxval: Any, dtype: Any) -> tf.Tensor:
        """Uniform numbers from `minval` to `maxval`, which is excluded."""


class GlobalStream:
    """TensorFlow's global generator, which `tflib.init_tf` seeds."""

    def normal(self, shape: Any, dtype: Any) -> tf.Tensor:
        return tf.random.normal(shape, dtype=dtype)

    def uniform(self, shape: Any, minval: Any, maxval: Any, dtype: Any) -> tf.Tensor:
        return tf.random.uniform(shape, minval, maxval, dtype=dtype)


class StatelessStream:
    """Numbers that depend on a seed and on how many draws came before, and on nothing else.

    Args:
        seed: two integers, an array or a tensor; `seed_of` makes them.
        on_host: the seed is a tensor in the memory of the host. The same numbers take fewer operations of a GPU then.
    """

    def __init__(self, seed: Any, on_host: bool = False):
        self.seed = tf.cast(seed, tf.int64)
        self.on_host = on_host
        self.draws = 0

    def _next_seed(self) -> tf.Tensor:
        return self.seed + tf.constant([0, self.draws], tf.int64)

    def _next_key(self) -> tuple[tf.Tensor, tf.Tensor] | None:
        self.draws += 1
        return random_key(self.seed, self.draws) if self.on_host else None

    def normal(self, shape: Any, dtype: Any) -> tf.Tensor:
        if (key := self._next_key()) is not None:
            return _raw.StatelessRandomNormalV2(shape=shape, key=key[0], counter=key[1], dtype=dtype, alg=_PHILOX)
        # The algorithm is fixed: 'auto' gives other numbers under XLA and on TPUs.
        return tf.random.stateless_normal(shape, self._next_seed(), dtype=dtype, alg="philox")

    def uniform(self, shape: Any, minval: Any, maxval: Any, dtype: Any) -> tf.Tensor:
        if (key := self._next_key()) is None:
            return tf.random.stateless_uniform(shape, self._next_seed(), minval, maxval, dtype=dtype, alg="philox")
        kwargs = {"shape": shape, "key": key[0], "counter": key[1], "alg": _PHILOX}
        if tf.as_dtype(dtype).is_integer:
            limits = tf.cast(minval, dtype), tf.cast(maxval, dtype)
            return _raw.StatelessRandomUniformIntV2(minval=limits[0], maxval=limits[1], **kwargs)
        drawn = _raw.StatelessRandomUniformV2(dtype=dtype, **kwargs)  # [0, 1)
        if isinstance(minval, int) and isinstance(maxval, int) and (minval, maxval) == (0, 1):
            return drawn
        minval, maxval = tf.cast(minval, dtype), tf.cast(maxval, dtype)
        return drawn * (maxval - minval) + minval


_stream: contextvars.ContextVar[Stream | None] = contextvars.ContextVar("random_stream", default=None)
_global = GlobalStream()


@contextlib.contextmanager
def using(stream: Stream) -> Iterator[Stream]:
    """Inside, `normal` and `uniform` draw from this stream."""
    token = _stream.set(stream)
    try:
        yield stream
    finally:
        _stream.reset(token)


def normal(shape: Any, dtype: Any = tf.float32) -> tf.Tensor:
    """Normal numbers of mean 0 and standard deviation 1 from the stream in use."""
    return (_stream.get() or _global).normal(shape, dtype)


def uniform(shape: Any, minval: Any = 0, maxval: Any = 1, dtype: Any = tf.float32) -> tf.Tensor:
    """Uniform numbers in [minval, maxval) from the stream in use."""
    return (_stream.get() or _global).uniform(shape, minval, maxval, dtype)


def seed_of(*key: int) -> np.ndarray:
    """The seed, int64 `[2]`, of the stream with a key of integers of 0 or more, such as (seed, iteration, purpose)."""
    # With the length, because a sequence is continued by zeros: (1, 2) and (1, 2, 0) would be the same.
    words: Sequence[int] = np.random.SeedSequence((len(key), *key)).generate_state(2)
    return np.asarray(words, np.int64)
