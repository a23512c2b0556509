"""What replicas of a `tf.distribute` strategy see of each other. Without a strategy there is one replica."""

from typing import Any

import tensorflow as tf


def num_replicas() -> int:
    """How many replicas run the code that asks; 1 outside of `strategy.run`."""
    if tf.distribute.in_cross_replica_context():
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_index() -> tf.Tensor | int:
    """The number of this replica among all, over all workers."""
    if num_replicas() == 1:
        return 0
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def gather(value: tf.Tensor) -> list[tf.Tensor]:
    """The values of all replicas in their order, without gradients."""
    value = tf.stop_gradient(value)
    count = num_replicas()
    if count == 1:
        return [value]
    gathered = tf.distribute.get_replica_context().all_gather(value[tf.newaxis], axis=0)  # [replicas, ...]
    return [gathered[index] for index in range(count)]


def sum_over(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """The sums of tensors over all replicas."""
    if num_replicas() == 1 or not values:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def copies(value: Any) -> list[Any]:
    """A variable on each device of this process that has a copy of it; whatever else there is, by itself."""
    strategy = getattr(value, "distribute_strategy", None)
    return [value] if strategy is None else list(strategy.experimental_local_results(value))
