"""What follows from variables alone, computed once and kept, for networks that are run and not trained.

Scaled, cast and mirrored weights are the same in every minibatch. On a GPU, where starting a kernel costs as much as a
small image layer, they are computed when weights change. In a function that is traced inside `Kept.in_use`, layers ask
for such values by `Scoped.kept`: each is a variable, which `Kept.refresh` computes anew. Everywhere else they are
computed where they are used.

On CPUs nothing is kept: there it would save little, and results stay the same to the last bit.
"""

import contextlib
import contextvars
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import tensorflow as tf

_current: contextvars.ContextVar["Kept | None"] = contextvars.ContextVar("kept", default=None)
_forced: contextvars.ContextVar[bool | None] = contextvars.ContextVar("keep_values", default=None)
_changes = 0  # how often this library changed weights


def weights_changed() -> None:
    """Is called by what changes weights: what is kept of any network is computed anew before it is used again."""
    global _changes
    _changes += 1


def wanted() -> bool:
    """Whether values are kept here: where there is a GPU."""
    forced = _forced.get()
    return not tf.distribute.has_strategy() and (
        bool(tf.config.get_visible_devices("GPU")) if forced is None else forced
    )


@contextlib.contextmanager
def forced(value: bool) -> Iterator[None]:
    """Inside, values are kept or not as it says, whatever the device: for tests and tools."""
    token = _forced.set(value)
    try:
        yield
    finally:
        _forced.reset(token)


def current() -> "Kept | None":
    """The store of the function that is being traced; None: nothing is kept."""
    return _current.get()


class Kept:
    """A store of values that follow from variables, by key."""

    def __init__(self) -> None:
        self._values: dict[Hashable, tuple[tf.Variable, Callable[[], tf.Tensor]]] = {}
        self._changes = -1  # of weights, when the values were computed
        self._traced = 0  # values that `_update` computes
        self._update: Any = None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, `Scoped.kept` takes values from this store, if they are wanted here at all."""
        token = _current.set(self if wanted() else None)
        try:
            yield
        finally:
            _current.reset(token)

    def value(self, key: Hashable, compute: Callable[[], tf.Tensor]) -> tf.Tensor:
        """The value of a key. compute: how it follows from variables alone; is called in the same way ever again."""
        if key not in self._values:
            with tf.init_scope():  # outside of the function that is being traced
                token = _current.set(None)
                try:
                    self._values[key] = tf.Variable(compute(), trainable=False), compute
                finally:
                    _current.reset(token)
        return tf.convert_to_tensor(self._values[key][0])

    def refresh(self, frozen: bool = False) -> None:
        """Computes all values anew. frozen: unless this library has not changed weights since it was done last."""
        if frozen and self._changes == _changes:
            return
        self._changes = _changes
        if self._traced != len(self._values):
            self._update = tf.function(self._assign, autograph=False)
            self._traced = len(self._values)
        if self._values:
            self._update()

    def _assign(self) -> None:
        for variable, compute in self._values.values():
            variable.assign(compute())
