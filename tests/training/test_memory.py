"""What is not used any more is freed: graphs, and with them the weights of networks."""

import gc

import numpy as np
import pytest
import tensorflow as tf
from small_trainings import OPTIONS
from tensorflow.python.framework import ops
from test_training_loop import symbols, train  # noqa: F401, a fixture

from dnnlib.tflib import Network
from dnnlib.tflib.ops import upfirdn_2d
from training.augmentation.pipeline import AugmentPipe
from training.loop.step import TrainingStep

SIZES = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 4}
OF_GENERATORS = {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 1}


def alive():
    """The number of graphs, and of gradients that TensorFlow knows by name."""
    gc.collect()
    graphs = sum(isinstance(item, ops.Graph) and hasattr(item, "captures") for item in gc.get_objects())
    return graphs, len(ops.gradient_registry._registry)


def generate(func_name):
    net = Network("G", func_name=func_name, **SIZES, **OF_GENERATORS)
    net.run(np.zeros([2, 4]), None)


def second_gradient(function, shape):
    """By way of functions in functions and of a branch, where TensorFlow finds gradients by name."""

    @tf.function(autograph=False)
    def compute(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = tf.cond(tf.reduce_sum(x) > -1e9, lambda: tf.function(function, autograph=False)(x), lambda: x[:1])
                total = tf.reduce_sum(tf.square(y))
            squares = tf.reduce_sum(tf.square(inner.gradient(total, x)))
        return outer.gradient(squares, x)

    assert np.isfinite(compute(tf.ones(shape)).numpy()).all()


def discriminate():
    net = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **SIZES)
    images = tf.Variable(tf.ones([4, 3, 8, 8]))
    with tf.GradientTape() as tape:
        scores = tf.function(net.get_output_for, autograph=False)(images)
    assert np.isfinite(tape.gradient(scores, images)).all()


def augment():
    pipe = AugmentPipe(scale=1)
    second_gradient(lambda x: pipe(x, tf.constant(0.7)), [4, 3, 8, 8])


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda: generate("training.networks_stylegan2.G_main"), id="G_main"),
        pytest.param(lambda: generate("training.networks_stylegan.G_style"), id="G_style", marks=pytest.mark.slow),
        pytest.param(discriminate, id="D_stylegan2", marks=pytest.mark.slow),
        pytest.param(augment, id="augmentation"),
    ],
)
def test_networks_that_are_dropped(use):
    use()
    count = alive()
    use()
    assert alive() == count


def test_stages_of_growing_networks(tmp_path, symbols, monkeypatch):  # noqa: F811
    """When one begins, there are no graphs of the one before."""
    graphs = {}
    set_lod = TrainingStep.set_lod

    def counting(step, lod):
        set_lod(step, lod)
        if step._stage not in graphs:
            graphs[step._stage] = alive()[0]

    monkeypatch.setattr(TrainingStep, "set_lod", counting)
    sched = {**OPTIONS["sched_args"], "lod_initial_resolution": 4, "lod_training_kimg": 0.016}
    sched |= {name: {} for name in ("minibatch_size_dict", "minibatch_gpu_dict", "G_lrate_dict", "D_lrate_dict")}
    short = {"total-kimg": 0.096, "D_reg_interval": 100, "minibatch_repeats": 2, "resolution": 8}
    options = {"sched_args": {**sched, "lod_transition_kimg": 0.048}, **short}
    train(tmp_path, f"--dataset={symbols}", "--config=config-c", **options)
    assert list(graphs) == [1.0, 0.5, 0.0]
    assert graphs[0.5] == graphs[0.0]


@pytest.mark.parametrize("impl", ["ref", "auto"])
def test_equal_filters_share_their_gradients(impl):
    """Whatever the images are: sizes, numbers, graphs."""

    def use(size):
        @tf.function(autograph=False)
        def compute(x):
            return upfirdn_2d.upsample_2d(x, [1, 3, 3, 1], impl=impl)

        with tf.GradientTape() as tape:
            x = tf.Variable(tf.ones([1, 2, size, size]))
            y = compute(x)
        tape.gradient(y, x)

    use(4)
    known = len(ops.gradient_registry._registry)
    for size in (5, 6, 7):
        use(size)
    assert len(ops.gradient_registry._registry) == known
