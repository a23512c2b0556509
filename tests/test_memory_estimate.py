"""Tensors that are alive at the same time are added up without a GPU."""

import pytest
import tensorflow as tf

from tools import memory_estimate
from tools.benchmarks.table import Case

SIZE = 4 * 256 * 256


def alive(function, *specs):
    return memory_estimate.alive(tf.function(function, autograph=False).get_concrete_function(*specs))


def test_tensors_are_counted_as_long_as_they_are_needed():
    chain = alive(lambda x: tf.matmul(tf.matmul(tf.matmul(x, x), x), x), tf.TensorSpec([256, 256]))
    assert chain.bytes == 4 * SIZE

    def all_at_once(x):
        a, b, c, d = (tf.sin(x * number) for number in (2.0, 3.0, 4.0, 5.0))
        return tf.add_n([tf.matmul(a, b), tf.matmul(b, c), tf.matmul(c, d), tf.matmul(d, a)])

    assert alive(all_at_once, tf.TensorSpec([256, 256])).bytes >= 5 * SIZE


def test_a_phase():
    case = Case("config-f", 16, 4, "fp16", "auto")
    sizes = {"fmap_base": 128, "fmap_max": 8, "mapping_layers": 2}
    ((name, phase),) = memory_estimate.of_training(case, ["RegD"], **sizes)
    assert name == "RegD"
    assert phase.bytes > phase.by_op["variables"] > 0
    assert sum(phase.by_op.values()) == pytest.approx(phase.bytes, rel=0.01)
    # TensorFlow would compute large ones ahead, on the host, and keep them on the GPU: gradients of zeros, for example.
    assert phase.by_op["Const"] < 4 * 16 * 16 * 8 * 2
