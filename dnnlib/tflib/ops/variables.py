"""Updates of all variables of a network at once: a step of Adam, and the moving average; and keys of random numbers.

As compiled kernels they are a few launches on a GPU, and the host waits for none of them: whether a step is made is
decided where the gradients are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from . import build, implementation


def adam(
    variables: Sequence[tf.Variable],
    m: Sequence[tf.Variable],
    v: Sequence[tf.Variable],
    powers: Sequence[tf.Variable],
    gradients: Sequence[tf.Tensor],
    learning_rate: Any,
    *,
    betas: tuple[float, float],
    epsilon: float,
    impl: str = "auto",
) -> tf.Tensor:
    """Makes one step of Adam, unless a gradient is not finite: then nothing changes.

    Args:
        variables, m, v: float32; this replica's own copies are updated, without communication.
        powers: of beta1 and beta2, scalars.
        gradients: of the shapes of the variables.
        learning_rate: a number or a scalar; the host should have it.
        impl: see `implementation`.

    Returns:
        Whether the step was made, bool [].
    """
    chosen = implementation.choose(impl, ("StyleganAdam",), tf.float32, _problem([*variables, *m, *v, *powers]))
    if chosen in implementation.COMPILED:
        return build.load().stylegan_adam(
            **{"var": _handles(variables), "m": _handles(m), "v": _handles(v), "grad": list(gradients)},
            **{"beta1_power": powers[0].handle, "beta2_power": powers[1].handle, "lr": _on_host(learning_rate)},
            **{"beta1": betas[0], "beta2": betas[1], "epsilon": epsilon},
        )
    # A sum is finite if and only if all its terms are, short of overflow, which counts as not finite, too. Of
    # squares, because those are what `v` remembers.
    finite = tf.reduce_all([tf.math.is_finite(tf.reduce_sum(tf.square(gradient))) for gradient in gradients])

    def step() -> tf.Tensor:
        # The kernel that TensorFlow 1's AdamOptimizer calls.
        for var, m_of_var, v_of_var, gradient in zip(variables, m, v, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=var.handle,
                m=m_of_var.handle,
                v=v_of_var.handle,
                beta1_power=_read(powers[0]),
                beta2_power=_read(powers[1]),
                lr=tf.cast(learning_rate, tf.float32),
                beta1=np.float32(betas[0]),
                beta2=np.float32(betas[1]),
                epsilon=np.float32(epsilon),
                grad=gradient,
            )
        for power, beta in zip(powers, betas, strict=True):
            tf.raw_ops.AssignVariableOp(resource=power.handle, value=_read(power) * np.float32(beta))
        return tf.constant(True)

    tf.cond(finite, step, lambda: tf.constant(False))
    return finite


def move_average(
    averages: Sequence[tf.Variable], values: Sequence[tf.Variable], weight: Any, impl: str = "auto"
) -> None:
    """Moves variables towards others: average = value + (average - value) * weight.

    Args:
        averages, values: of one device, not distributed.
        weight: a number or a scalar; the host should have it.
        impl: see `implementation`.
    """
    if not averages:
        return
    chosen = implementation.choose(impl, ("StyleganAverage",), tf.float32, _problem([*averages, *values]))
    if chosen in implementation.COMPILED:
        handles = _handles(averages), _handles(values)
        build.load().stylegan_average(average=handles[0], value=handles[1], weight=_on_host(weight))
        return
    for average, value in zip(averages, values, strict=True):
        old, new = tf.convert_to_tensor(average), tf.convert_to_tensor(value)
        average.assign(new + (old - new) * tf.cast(weight, old.dtype))


def random_key(seed: tf.Tensor, draw: int, impl: str = "auto") -> tuple[tf.Tensor, tf.Tensor] | None:
    """Key uint64 [1] and counter uint64 [2] of the Philox generator for seed + [0, draw], hashed as TensorFlow does it.

    None as 'ref' and 'xla': TensorFlow's functions for random numbers hash seeds themselves, in ten small operations.

    Args:
        seed: int64 [2]; the host should have it.
        draw: the number of the draw.
        impl: see `implementation`.
    """
    if implementation.choose(impl, ("StyleganRandomKey",), tf.float32) not in implementation.COMPILED:
        return None
    return build.load().stylegan_random_key(seed=seed, draw=draw)


def _problem(variables: Sequence[tf.Variable]) -> str | None:
    others = {variable.dtype.name for variable in variables} - {"float32"}
    return f"variables of {', '.join(sorted(others))}" if others else None


def _on_host(number: Any) -> tf.Tensor:
    """A scalar, in the memory of the host unless it is a tensor elsewhere."""
    if tf.is_tensor(number):
        return tf.cast(number, tf.float32)
    with tf.device("/CPU:0"):
        return tf.convert_to_tensor(number, tf.float32)


def _handles(variables: Sequence[tf.Variable]) -> list[tf.Tensor]:
    return [variable.handle for variable in variables]


def _read(variable: tf.Variable) -> tf.Tensor:
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=tf.float32)
