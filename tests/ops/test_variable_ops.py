"""Compiled updates of all variables, and keys of random numbers, against TensorFlow's ops, bit by bit on CPUs."""

import functools

import lane
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import Network, random_stream
from dnnlib.tflib.ops import build, implementation
from dnnlib.tflib.optimizer import Optimizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(build.load() is None, reason=f"no compiled ops: {build.reason()}"),
    pytest.mark.skipif(
        (lane.PRECISION, lane.LAYOUT) != ("fp32", "nhwc") or lane.IMPL == "ref",
        reason="compiled ops beside those of TensorFlow, which is done once",
    ),
]
SHAPES = {"weight": [3, 3, 33, 70], "bias": [33], "number": [], "nothing": [0, 4], "large": [200, 301]}
IMPLS = ["ref", "cuda" if tf.config.list_physical_devices("GPU") else "cpu"]
near = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)  # GPUs fuse multiplications and additions
exact = np.testing.assert_array_equal if IMPLS[1] == "cpu" else near


def draws(seed, scale=1.0):
    state = np.random.default_rng(seed)
    return [np.array(scale * state.standard_normal(shape), np.float32) for shape in SHAPES.values()]


def optimizers(**kwargs):
    """The same one twice."""
    values = dict(zip(SHAPES, draws(0), strict=True))
    return [Optimizer("Adam", {key: tf.Variable(x) for key, x in values.items()}, **kwargs) for _ in IMPLS]


def everything(optimizer):
    return [x.numpy() for x in (*optimizer.trainables.values(), *optimizer.variables().values())]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("betas", [{}, {"beta1": 0.0, "beta2": 0.99}])
def test_adam(betas, compiled):
    """Several steps, in which large gradients meet small ones."""
    both = optimizers(**betas)
    applies = [tf.function(both[k].apply, autograph=False) if compiled else both[k].apply for k in range(2)]
    for number in range(6):
        for impl, apply in zip(IMPLS, applies, strict=True):
            with implementation.using(impl):
                gradients = [tf.constant(x) for x in draws(number + 1, 10.0 ** (3 * number - 12))]
                assert bool(apply(gradients, tf.constant(0.002 * (number + 1))))
        for ref, other in zip(*map(everything, both), strict=True):
            exact(other, ref)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e19])
def test_a_bad_gradient_changes_nothing(bad):
    for impl, optimizer in zip(IMPLS, optimizers(), strict=True):
        with implementation.using(impl):
            optimizer.apply([tf.constant(x) for x in draws(1)], 0.1)
            before = everything(optimizer)
            for number in (0, 2, 4):
                gradients = draws(2)
                gradients[number].reshape(-1)[-1:] = bad
                assert not bool(optimizer.apply([tf.constant(x) for x in gradients], 0.1))
            for old, new in zip(before, everything(optimizer), strict=True):
                np.testing.assert_array_equal(new, old)
            assert bool(optimizer.apply([tf.constant(x) for x in draws(2)], 0.1))


def test_what_was_read_before_an_update_stays():
    """And what is read after it is new, in the order of the program."""
    with implementation.using(IMPLS[1]):
        optimizer = optimizers()[0]
        variable = optimizer.trainables["weight"]

        @tf.function(autograph=False)
        def step(gradients):
            before = tf.identity(variable)
            finite = optimizer.apply(gradients, 0.1)
            return before, tf.identity(variable), finite

        old = variable.numpy()
        kept = variable.read_value()
        before, after, finite = step([tf.constant(x) for x in draws(1)])
        assert finite
        for value in (before, kept):
            np.testing.assert_array_equal(value, old)
        np.testing.assert_array_equal(after, variable)
        assert (after.numpy() != old).any()


def test_average():
    kwargs = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 8, "latent_size": 6, "dlatent_size": 8}
    func_name = "training.networks_stylegan2.G_main"
    source = Network("G", func_name=func_name, mapping_fmaps=8, mapping_layers=2, **kwargs)
    averages = [source.clone("Gs") for _ in IMPLS]
    for impl, average in zip(IMPLS, averages, strict=True):
        state = np.random.default_rng(0)
        for net in (source, average):
            for variable in net.vars.values():
                variable.assign(state.standard_normal(variable.shape).astype(np.float32))
        with implementation.using(impl):
            for beta in (0.9, 0.99):
                tf.function(average.setup_as_moving_average_of(source, beta=tf.constant(beta)), autograph=False)()
    for name, variable in averages[0].vars.items():
        exact(averages[1].vars[name], variable)
        assert name in averages[0].trainables or np.array_equal(variable, source.vars[name])


def test_random_numbers():
    """Keys that the host has hashed give the numbers of TensorFlow's functions."""
    for seed in (random_stream.seed_of(3, 4), np.array([-1, 2**62]), np.array([0, -2])):
        with tf.device("/CPU:0"):
            seed = tf.constant(seed, tf.int64)
        with implementation.using(IMPLS[1]):
            pair = [random_stream.StatelessStream(seed, on_host) for on_host in (False, True)]
            for args in (([3, 7], tf.float32), ([5], tf.float16)):
                ref, other = (stream.normal(*args) for stream in pair)
                np.testing.assert_array_equal(other, ref)
            for args in (
                *(([7], 0, 1, tf.float32), ([], 0, 1, tf.float32), ([4, 3], -0.5, 2, tf.float32)),
                *(([50], 1, 15, tf.int32), ([50], 0, tf.constant(9), tf.int32), ([5], 0, 1, tf.bfloat16)),
            ):
                ref, other = (stream.uniform(*args) for stream in pair)
                np.testing.assert_array_equal(other, ref)
                assert other.dtype == ref.dtype
