"""Errors of TensorFlow because a worker of the cluster is gone."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from dnnlib.clusters.watch import SILENCE_SECONDS, Watch
from dnnlib.errors import TryAgainError, UserError, reason_of

_UNREACHABLE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_PERHAPS = (tf.errors.InternalError, tf.errors.UnknownError)  # or something is wrong on this machine
_NOTICE_SECONDS = 3.0  # in which the watch notices a process that has ended


@contextlib.contextmanager
def explained(watch: Watch) -> Iterator[None]:
    """Inside, what TensorFlow raises because a worker is gone is a UserError that names it and says how to go on."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if watch.cluster is None:
            raise
        if isinstance(error, _UNREACHABLE):
            watch.check(SILENCE_SECONDS + _NOTICE_SECONDS)
        else:
            watch.check(_NOTICE_SECONDS if isinstance(error, _PERHAPS) else 0.0)
        if not isinstance(error, (*_UNREACHABLE, *_PERHAPS)):
            raise
        kind = TryAgainError if isinstance(error, _UNREACHABLE) else UserError
        raise kind(
            f"another worker cannot be reached, or TensorFlow has failed ({reason_of(error)}); {watch.advice}"
        ) from error
