"""What a GPU would be asked to do is counted without one."""

import pytest
import tensorflow as tf

from dnnlib.tflib.ops.implementation import using
from dnnlib.tflib.ops.upfirdn_2d import upsample_2d
from tools import virtual_gpu


def work_of(function, *specs, **kwargs):
    return virtual_gpu.work_of(tf.function(function, autograph=False).get_concrete_function(*specs), **kwargs)


def test_kernels_and_bytes_are_counted_by_op():
    variable = tf.Variable(tf.ones([4, 8]))
    work = work_of(lambda x: tf.reshape(tf.matmul(x, variable * 2.0), [-1]), tf.TensorSpec([2, 4]))
    assert work.launches == {"MatMul": 1, "Mul": 1}  # handing tensors on and constants cost nothing
    assert work.bytes == {"MatMul": 4 * (2 * 4 + 4 * 8 + 2 * 8), "Mul": 4 * (4 * 8 + 1 + 4 * 8)}
    assert work.elementwise_bytes == work.bytes["Mul"]
    assert not work.waits
    assert not work.host
    assert next(work.lines()) == "2 kernels, 0 transposes, 0 casts"


def test_layout_optimizer_can_be_switched_off():
    def upsample(x, w):
        return tf.nn.conv2d_transpose(x, w, [1, 16, 16, 8], 2, "SAME")

    shapes = tf.TensorSpec([1, 8, 8, 8]), tf.TensorSpec([3, 3, 8, 8])
    assert work_of(upsample, *shapes).launches["Transpose"]
    assert not work_of(upsample, *shapes, layout_optimizer=False).launches["Transpose"]


def test_what_the_host_waits_for():
    def conditional(x):
        return tf.cond(tf.reduce_all(tf.math.is_finite(x)), lambda: x * 2, lambda: tf.sin(x))

    work = work_of(conditional, tf.TensorSpec([8]))
    assert work.waits
    assert all(wait.startswith("All -> ") for wait in work.waits)
    assert not work_of(lambda x: tf.reshape(x, [tf.shape(x)[0] * 2, -1]), tf.TensorSpec([None, 8])).waits


def test_what_the_gpu_waits_for():
    rows = tf.TensorSpec([8, 2])
    assert len(work_of(lambda x: tf.gather(x, tf.constant([3, 1])), rows).uploads) == 1
    assert not work_of(lambda x: tf.gather(x, tf.constant([3, 1], tf.int64)), rows).uploads


def test_compiled_ops_are_kernels_of_the_gpu():
    try:
        with using("cpu"):
            work = work_of(lambda x: upsample_2d(x, k=[1, 3, 3, 1]), tf.TensorSpec([1, 3, 8, 8]))
    except RuntimeError as error:
        pytest.skip(str(error))
    assert work.launches == {"StyleganUpfirdn2D": 1}
    assert work.bytes == {"StyleganUpfirdn2D": 4 * (3 * 64 + 16 + 3 * 256)}


def test_command(capsys):
    virtual_gpu.main(["--resolution=16", "--minibatch=2", "--precision=fp16"])
    assert "| Conv2D |" in capsys.readouterr().out
