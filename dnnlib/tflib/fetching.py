"""Results of functions as NumPy arrays, which leave a GPU while it computes the next ones.

`tensor.numpy()` of a tensor on a GPU waits for all that was given to the GPU, also later, and copies to memory that
the GPU cannot reach by itself. Within a function, what is placed on the CPU is copied as soon as it has been computed,
at the full speed of the bus. Such a function returns when that is done, so it is called in a thread.
"""

import collections
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from dnnlib.parallel import parallel_map

_Result = TypeVar("_Result")
_IN_FLIGHT = 2  # minibatches that are computed or fetched while another one is started on a GPU
_LARGE = 16 << 20  # bytes that are copied by several threads
_COPIERS = 4  # threads


def copied(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays of one's own."""
    result = [np.empty_like(array) for array in arrays]
    for target, source in zip(result, arrays, strict=True):
        copy(target, source)
    return result


def copy(target: np.ndarray, source: np.ndarray) -> None:
    """Copies an array into another of its shape, whose memory is contiguous. Large ones by several threads."""
    if source.nbytes < _LARGE:
        target[...] = source
        return
    pairs = zip(np.array_split(target.reshape(-1), _COPIERS), np.array_split(source.reshape(-1), _COPIERS), strict=True)
    for _ in parallel_map(lambda pair: np.copyto(*pair), pairs, _COPIERS):
        pass


def fetched(
    started: Iterable[Sequence[tf.Tensor]], use: Callable[[list[np.ndarray]], _Result] = copied
) -> Iterator[_Result]:
    """What `use` makes of the arrays of each of some lists of tensors, in order.

    Args:
        started: the lists. Taking the next one starts its computation. A few are taken ahead.
        use: is called with the arrays of a list, one list after the other. It must not keep or change them.
    """
    waiting: collections.deque[Callable[[], _Result]] = collections.deque()
    with contextlib.ExitStack() as stack:
        pool: Any = None
        for tensors in started:
            if on_gpu(tensors):
                pool = pool or stack.enter_context(ThreadPoolExecutor(1))
                waiting.append(pool.submit(_use, use, tensors).result)
            else:
                waiting.append(functools.partial(_use, use, tensors))
            while len(waiting) > (_IN_FLIGHT if pool else 1):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


def on_gpu(tensors: Sequence[tf.Tensor]) -> bool:
    """Whether any tensor is in the memory of a GPU."""
    return any("GPU" in tensor.device for tensor in tensors)


def _use(use: Callable[[list[np.ndarray]], _Result], tensors: Sequence[tf.Tensor]) -> _Result:
    if on_gpu(tensors):
        tensors = _on_host(list(tensors))
    return use([np.asarray(tensor) for tensor in tensors])  # without a copy


@tf.function(autograph=False, reduce_retracing=True)
def _on_host(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    with tf.device("/CPU:0"):
        return [tf.identity(tensor) for tensor in tensors]


class Joined:
    """Arrays of minibatches, joined along their first axis.

    num_items: of all minibatches. minibatch_size: of all but the last.
    """

    def __init__(self, num_items: int, minibatch_size: int):
        self._num_items = num_items
        self._minibatch_size = minibatch_size
        self._begin = 0
        self._wholes: dict[int, np.ndarray] = {}
        self._parts: dict[int, list[np.ndarray]] = {}

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        """Adds copies of the arrays of the next minibatch."""
        end = min(self._begin + self._minibatch_size, self._num_items)
        for idx, array in enumerate(arrays):
            alone = end == self._num_items and not self._begin
            if idx in self._parts or alone or array.shape[:1] != (end - self._begin,):
                self._parts.setdefault(idx, []).extend(copied([array]))  # all there is, or no result of each item
                continue
            if idx not in self._wholes:
                self._wholes[idx] = np.empty((self._num_items, *array.shape[1:]), array.dtype)
            copy(self._wholes[idx][self._begin : end], array)
        self._begin = end

    def arrays(self) -> list[np.ndarray]:
        """The whole arrays; numbers where there is but one."""
        joined = {idx: np.concatenate(parts) if len(parts) > 1 else parts[0] for idx, parts in self._parts.items()}
        return [array[()] for _idx, array in sorted((joined | self._wholes).items(), key=lambda item: item[0])]
