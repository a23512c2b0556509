"""Averages of whatever the code wants to report, between one report and the next.

`autosummary("Loss/scores/real", scores)` anywhere in a computation counts the numbers in, and returns them unchanged.
Outside of graphs they are added up at once. Inside a `tf.function` the caller opens `collected()` and returns what it
gathered, and gives the results to `add`: a graph has no place for side effects that a resumed run could repeat.
"""

import contextlib
import contextvars
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

_collector: contextvars.ContextVar[dict[str, tf.Tensor] | None] = contextvars.ContextVar("collector", default=None)
_moments: "OrderedDict[str, Any]" = OrderedDict()  # name -> [count, sum, sum of squares]
_last: dict[str, float] = {}  # the averages last reported


def autosummary(name: str, value: Any, passthru: Any = None, condition: Any = True) -> Any:
    """Counts all finite elements of `value` into the average reported as `name`.

    Args:
        name: tag, such as 'Loss/scores/real'.
        value: tensor, array or number.
        passthru: what to return in place of `value`.
        condition: count only where true.
    """
    collector = _collector.get()
    if isinstance(value, int | float) and condition is True and collector is None and tf.executing_eagerly():
        with np.errstate(over="ignore"):  # in NumPy: a GPU would first have to do all that it was given
            x = np.float32(value)
            add({name: np.array([1, x, x * x], np.float64) if np.isfinite(x) else np.zeros(3)})
        return value if passthru is None else passthru
    x = tf.stop_gradient(tf.reshape(tf.cast(value, tf.float32), [-1]))
    usable = tf.logical_and(tf.math.is_finite(x), condition)
    x = tf.where(usable, x, 0.0)
    moments = tf.stack([tf.reduce_sum(tf.cast(usable, tf.float32)), tf.reduce_sum(x), tf.reduce_sum(x * x)])  # [3]
    if collector is not None:
        collector[name] = collector[name] + moments if name in collector else moments
    elif tf.executing_eagerly():
        add({name: moments})
    else:
        tf.numpy_function(lambda values: add({name: values}), [moments], [])
    return value if passthru is None else passthru


@contextlib.contextmanager
def collected() -> Iterator[dict[str, tf.Tensor]]:
    """Inside, `autosummary` adds to the dict that this context gives: name -> moments `[3]`."""
    collector: dict[str, tf.Tensor] = {}
    token = _collector.set(collector)
    try:
        yield collector
    finally:
        _collector.reset(token)


def add(moments: Mapping[str, Any]) -> None:
    """Counts in what `collected` gathered, tensors or arrays: count, sum, sum of squares."""
    for name, value in moments.items():
        value = tf.cast(value, tf.float64) if tf.is_tensor(value) else np.asarray(value, np.float64)
        _moments[name] = _moments[name] + value if name in _moments else value


def state() -> dict[str, np.ndarray]:
    """Everything that has been counted since the last report, and the averages before, by name: float64 `[4]` each."""
    moments = {name: np.asarray(value) for name, value in _moments.items()}
    names = {**_last, **moments}
    return {name: np.append(moments.get(name, np.zeros(3)), _last.get(name, np.nan)) for name in names}


def restore(values: Mapping[str, np.ndarray]) -> None:
    """Goes back to what `state` returned."""
    _moments.clear()
    _last.clear()
    add({name: value[:3] for name, value in values.items() if value[0] > 0})
    _last.update({name: float(value[3]) for name, value in values.items() if not np.isnan(value[3])})


def averages() -> dict[str, float]:
    """The averages since the last report, of everything that has been counted."""
    moments = {name: np.asarray(value) for name, value in _moments.items()}
    return {name: float(total / count) for name, (count, total, _squares) in moments.items() if count > 0}


def last_averages() -> dict[str, float]:
    """The newest average of every tag in earlier reports."""
    return dict(_last)


def save_summaries(file_writer: Any, global_step: int | None = None) -> dict[str, float]:
    """Writes all averages as scalars to a TensorBoard event file, starts over, and returns them.

    Tags that were not counted since the last report are written with their last value, so that every report has every
    tag, as officially (where such values are not numbers).

    file_writer: anything with the methods of TensorBoard's `EventFileWriter`, or None.
    """
    result = averages()
    _moments.clear()
    _last.update(result)
    if file_writer is not None and _last:
        import time

        from tensorboard.compat.proto import event_pb2, summary_pb2

        values = [summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in _last.items()]
        event = event_pb2.Event(wall_time=time.time(), summary=summary_pb2.Summary(value=values))
        event.step = int(global_step or 0)
        file_writer.add_event(event)
        file_writer.flush()
    return result
