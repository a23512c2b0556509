"""Networks and trainings that XLA compiles as a whole, beside 'ref'."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib import Network, devices
from dnnlib.tflib.ops import implementation
from dnnlib.tflib.ops.upfirdn_2d import upfirdn_2d, upsample_2d
from training import training_loop
from training.loop.options import LoopOptions
from training.loop.step import Piece, TrainingStep

SMALL = {"resolution": 8, "num_channels": 3, "label_size": 0, "fmap_base": 32, "fmap_max": 8}
LATENT = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}


@pytest.fixture
def ops(monkeypatch):
    """Sets $STYLEGAN2_OPS."""

    def choose(name):
        monkeypatch.setenv(implementation.VARIABLE, name)

    return choose


def generator(name="G"):
    return Network(name, func_name="training.networks_stylegan2.G_main", **SMALL, **LATENT)


def test_upfirdn_as_shifts():
    """Random factors, pads and filters: values and gradients."""
    state = np.random.RandomState(0)

    def values(x, impl, **kwargs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = upfirdn_2d(x, **kwargs, impl=impl)
            total = tf.reduce_sum(y**3)
        return y, tape.gradient(total, x)

    compared = 0
    for number in range(60):
        x, k = state.randn(2, *state.randint(1, 9, size=2), 3), state.randn(*state.randint(1, 6, size=2))
        names = ("upx", "upy", "downx", "downy")
        kwargs = dict(zip(names, state.randint(1, 5, size=4).tolist(), strict=True))
        kwargs |= dict(zip(("padx0", "padx1", "pady0", "pady1"), state.randint(-4, 9, size=4).tolist(), strict=True))
        try:
            expected = values(tf.constant(x), "ref", k=k, **kwargs)
        except ValueError:  # nothing is left
            continue
        actual = [values(tf.constant(x), "xla", k=k, **kwargs)]
        if number % 20 == 0:
            func = functools.partial(values, impl="xla", k=k, **kwargs)
            actual.append(tf.function(func, autograph=False, jit_compile=True)(tf.constant(x)))
        for pair in actual:
            for y, ref in zip(pair, expected, strict=True):
                assert y.shape == ref.shape
                np.testing.assert_allclose(y, ref, rtol=0, atol=1e-9 * max(1, np.abs(ref).max(initial=0)))
        compared += 1
    assert compared > 40


def test_sums_of_16_bit():
    """They are taken in float32: nothing is rounded before the result."""
    x = np.random.RandomState(0).randn(2, 8, 8, 4).astype(np.float16)
    expected = upsample_2d(tf.constant(x, tf.float64), [1, 3, 3, 1], data_format="NHWC", impl="ref")
    y = upsample_2d(tf.constant(x), [1, 3, 3, 1], data_format="NHWC", impl="xla")
    assert y.dtype == tf.float16
    np.testing.assert_array_equal(y, tf.cast(expected, tf.float16))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_generating(ops, dtype):
    kwargs = {"num_fp16_res": 1, "fp16_dtype": dtype} if dtype != "float32" else {}
    kwargs |= {"randomize_noise": False, "truncation_psi": 0.7}
    G, latents = generator(), np.random.RandomState(1).randn(3, 8)
    ops("ref")
    expected = G.run(latents, None, **kwargs)
    ops("xla")
    twin = G.clone("twin")
    actual = twin.run(latents, None, minibatch_size=2, **kwargs)
    error = np.sqrt(np.mean((actual - expected) ** 2)) / np.std(expected)
    assert error < (1e-6 if dtype == "float32" else 0.02)
    assert all(function._jit_compile for function in twin._runner.functions.values())


class ConstantStream:
    """Numbers that do not depend on who draws them: under XLA the same seeds give others."""

    def __init__(self, _seed):
        self.state = np.random.RandomState(3)

    def _of(self, values, shape, dtype):
        return tf.constant(values(tf.get_static_value(tf.convert_to_tensor(shape, tf.int32))), dtype)

    def normal(self, shape, dtype):
        return self._of(lambda shape: self.state.normal(size=shape), shape, dtype)

    def uniform(self, shape, minval, maxval, dtype):
        numbers = self._of(lambda shape: self.state.uniform(size=shape), shape, tf.float32)
        return tf.cast(numbers * tf.cast(maxval - minval, tf.float32), dtype) + minval


@pytest.mark.one_stack
@pytest.mark.parametrize("phases", [["TrainG"], pytest.param(["RegG", "TrainD", "RegD"], marks=pytest.mark.slow)])
def test_training(ops, phases):
    """Gradients, as the moments of the optimizers know them, and averages."""
    results = []
    for name in ("ref", "xla"):
        ops(name)
        G, D = generator(), Network("D", func_name="training.networks_stylegan2.D_stylegan2", **SMALL)
        for net in (G, D):
            for number, var in enumerate(net.vars.values()):
                var.assign(np.random.RandomState(number).randn(*var.shape))

        class Set:
            dynamic_range = (0, 255)

            def get_random_labels_tf(self, n):
                return tf.zeros([n, 0])

        args = {"beta1": 0.0, "beta2": 0.99, "epsilon": 1e-8}
        options = LoopOptions(
            G_loss_args={"func_name": "training.loss.G_logistic_ns_pathreg"},
            D_loss_args={"func_name": "training.loss.D_logistic_r1"},
            G_opt_args=args,
            D_opt_args=args,
        )
        step = TrainingStep(G, D, G.clone("Gs"), Set(), options, make_stream=ConstantStream)
        reals = np.random.RandomState(2).randint(256, size=[4, 3, 8, 8]).astype(np.uint8)
        piece = Piece(np.array([1, 2]), np.array([3, 4]), reals, np.zeros([4, 0], np.float32))
        for phase in phases:
            result = step.run(phase, [piece], 0.0)
            assert bool(result.finite)
        step.update_average(0.5)
        results.append({key: var.numpy() for key, var in step.variables().items()})
    for key, value in results[0].items():
        np.testing.assert_allclose(
            results[1][key], value, rtol=1e-3, atol=1e-4 * max(1, np.abs(value).max()), err_msg=key
        )


def test_augmentation(ops):
    ops("xla")
    with pytest.raises(UserError, match="STYLEGAN2_OPS=xla cannot compile augmentations that move images"):
        training_loop._make_augment({"apply_args": {"xflip": 1}}, [3, 8, 8])
    assert training_loop._make_augment({"apply_args": {"brightness": 1}}, [3, 8, 8]) is not None


def test_one_device(ops):
    ops("xla")
    with pytest.raises(UserError, match="STYLEGAN2_OPS=xla computes on one device, got 2"):
        devices.check_devices(2, 2, 0)
    devices.check_devices(1, None, 0)
