"""Augmentation against the official pipeline (PyTorch), its gradients, and what p does."""

import dataclasses
import re

import golden
import lane
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib import random_stream
from training.augmentation.filter import filter_bank
from training.augmentation.geometry import SYM6
from training.augmentation.pipeline import AUGPIPE_SPECS, AugmentPipe

FOLDER = str(golden.ADA_GOLDENS / "augment")
CASES = golden.index(FOLDER, "index.json")
ARRAYS = golden.arrays(FOLDER, "random.npz") | golden.arrays(FOLDER, "percentile.npz")
STRENGTHS = tuple(AUGPIPE_SPECS["bgcfnc"])


class GivenDraws:
    """Call k, counted over both kinds, has the numbers RandomState(seed + k)."""

    def __init__(self, seed, calls):
        self.seed, self.calls, self.number = seed, calls, 0

    def _next(self, kind, shape):
        golden_kind, golden_shape = self.calls[self.number]
        state = np.random.RandomState(self.seed + self.number)
        self.number += 1
        assert golden_kind == kind and np.prod(golden_shape) == np.prod([int(n) for n in shape])
        return tf.constant(getattr(state, kind)(*shape).astype(np.float32))

    def normal(self, shape, dtype):
        return self._next("randn", shape)

    def uniform(self, shape, minval, maxval, dtype):
        assert (minval, maxval) == (0, 1)
        return self._next("rand", shape)


def augmented(case, images):
    """The images that a golden case augments."""
    stream = GivenDraws(case["seed"], case["calls"])
    with random_stream.using(stream):
        y = AugmentPipe(**case["kwargs"])(images, case.get("p", 1.0), case.get("percentile"))
    assert stream.number == len(case["calls"])
    return y


def check_golden(name, case, y_name, gradient_name):
    lane.only_float32()
    images = ARRAYS["image/" + name.split("/")[0]].astype(np.float32)[: case.get("batch")]
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = augmented(case, x)
        total = tf.reduce_sum(y * golden.rnd(case["seed"] + 500, *y.shape))
    gradient = tape.gradient(total, x).numpy().astype(np.float64)
    step = images.shape[2] // ARRAYS[y_name].shape[2]  # of large images every step-th pixel is stored
    np.testing.assert_allclose(y[:, :, ::step, ::step], ARRAYS[y_name], rtol=0, atol=lane.values(2e-4))
    if "grad_l2" in case:
        bound = lane.gradients(1e-3) * case["grad_l2"]
        assert abs(np.linalg.norm(gradient) - case["grad_l2"]) <= bound
        projection = np.sum(gradient * golden.rnd(case["seed"] + 501, *gradient.shape))
        assert abs(projection - case["grad_proj"]) <= bound
    if gradient_name in ARRAYS:
        expected = ARRAYS[gradient_name]
        assert np.linalg.norm(gradient[:, :, ::step, ::step] - expected) <= lane.gradients(1e-3) * np.linalg.norm(
            expected
        )


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES["percentile"])
def test_percentiles(name):
    check_golden(name, CASES["percentile"][name], f"pct/{name}", f"pctgrad/{name}")


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES["random"])
def test_random_parameters(name):
    check_golden(name, CASES["random"][name], f"rand/{name}", f"randgrad/{name}")


@pytest.mark.gpu
def test_second_gradient():
    """Of a penalty on gradients through everything."""
    lane.only_float32()
    case = CASES["second_order"]
    weights = golden.rnd(case["seed"] + 500, *ARRAYS["image/rgb32"].shape)

    @tf.function(autograph=False)
    def second(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                total = tf.reduce_sum(tf.tanh(augmented(case, x)) * weights)
            penalty = tf.reduce_sum(tf.square(inner.gradient(total, x))) / 2
        return outer.gradient(penalty, x)

    expected = ARRAYS["second/g2"]
    error = np.linalg.norm(second(tf.constant(ARRAYS["image/rgb32"])) - expected)
    assert error <= lane.gradients(1e-3) * np.linalg.norm(expected)


def test_constants():
    constants = golden.index(FOLDER, "constants.json")
    np.testing.assert_allclose(np.array(SYM6) / np.sum(SYM6), constants["Hz_geom"], atol=1e-7)
    np.testing.assert_allclose(filter_bank(), constants["Hz_fbank"], atol=1e-9)
    defaults = {f.name: getattr(AugmentPipe(), f.name) for f in dataclasses.fields(AugmentPipe)}
    assert defaults == constants["defaults"] | {"imgfilter_bands": (1, 1, 1, 1)}


# ----------------------------------------------------------------------------
# Gradients. For given draws augmentation is affine: a difference of any length is a directional derivative.


def drawn(pipe, images, p, seed=1):
    with random_stream.using(random_stream.StatelessStream(random_stream.seed_of(seed))):
        return pipe(images, p)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_gradients_against_differences(strength, channels):
    scale = 0.1 if channels == 4 else 1  # alpha between -1 and 1, where what is added to colours is linear in it
    x, along = (tf.constant(golden.rnd(seed, 3, channels, 24, 22) * np.float32(scale)) for seed in (1, 2))
    weights = golden.rnd(3, *x.shape)
    pipe = AugmentPipe(**{strength: 1})
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = drawn(pipe, x, 0.9)
        total = tf.reduce_sum(y * weights)
    difference = np.sum((drawn(pipe, x + along, 0.9) - y).numpy().astype(np.float64) * weights)
    derivative = np.sum(tape.gradient(total, x).numpy().astype(np.float64) * along.numpy())
    assert abs(difference - derivative) <= 1e-4 * scale * np.linalg.norm(weights)
    assert channels == 1 or np.any(y != x)


@pytest.mark.parametrize("spec", ["bg", "color", "filter", "noise", "cutout"])
def test_second_gradients_against_differences(spec):
    pipe = AugmentPipe.of_spec(spec)
    weights = golden.rnd(3, 2, 3, 24, 24)

    def penalty(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.tanh(drawn(pipe, x, 0.9)) * weights)
        return tf.reduce_sum(tf.square(tape.gradient(total, x)))

    @tf.function(input_signature=[tf.TensorSpec([None, 3, 24, 24])] * 2, autograph=False)
    def both(x, along):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = penalty(x)
        difference = (penalty(x + along * 0.01) - penalty(x - along * 0.01)) / 0.02
        return difference, tf.reduce_sum(tape.gradient(value, x) * along), value

    difference, derivative, value = both(*(tf.constant(golden.rnd(seed, 2, 3, 24, 24)) for seed in (1, 2)))
    assert abs(difference - derivative) <= 2e-3 * value
    assert abs(derivative) > 1e-2 * value


# ----------------------------------------------------------------------------
# p, graphs, random numbers.


@pytest.mark.parametrize("spec", AUGPIPE_SPECS)
def test_nothing_changes_without_p(spec):
    x = golden.rnd(1, 3, 3, 32, 24)
    x[0, :, 0, :2] = [-0.0, 1e-42]
    for channels in (1, 3):
        y = drawn(AugmentPipe.of_spec(spec), tf.constant(x[:, :channels]), 0.0)
        assert y.numpy().tobytes() == x[:, :channels].tobytes()


def test_graph_of_any_minibatch():
    """The same images from graphs, whose minibatch is unknown; and where p is a variable."""
    pipe, p = AugmentPipe.of_spec("bgcfnc"), tf.Variable(0.0)
    signature = [tf.TensorSpec([None, 3, 32, 32])]
    graph = tf.function(lambda x: drawn(pipe, x, p), input_signature=signature, autograph=False)
    for minibatch in (1, 4):
        x = golden.rnd(1, minibatch, 3, 32, 32)
        for value in (0.0, 0.5, 1.5):
            p.assign(value)
            np.testing.assert_allclose(graph(x), drawn(pipe, tf.constant(x), value), atol=2e-5)
    assert graph(x).shape == x.shape


def test_types():
    x = tf.constant(golden.rnd(1, 2, 3, 32, 32))
    y = drawn(AugmentPipe.of_spec("bgc"), tf.cast(x, tf.float16), 0.8)
    assert y.dtype == tf.float16
    np.testing.assert_allclose(tf.cast(y, tf.float32), drawn(AugmentPipe.of_spec("bgc"), x, 0.8), atol=0.02)


def test_draws_do_not_depend_on_p():
    """The stream is left at the same place."""
    for p in (0.0, 0.3, 1.0):
        stream = random_stream.StatelessStream(random_stream.seed_of(1))
        with random_stream.using(stream):
            AugmentPipe.of_spec("bgcfnc")(tf.zeros([2, 3, 24, 24]), p)
        assert stream.draws == len(CASES["second_order"]["calls"])


def test_far_moves():
    """What is further away than reflection reaches is 0, and nothing fails."""
    x = tf.ones([4, 3, 16, 16])
    y = drawn(AugmentPipe(xint=1, xint_max=9), x, 1.0).numpy()
    assert np.all(np.isfinite(y)) and np.min(np.max(np.abs(y), axis=(1, 2, 3))) < 1e-6
    for std in (4, 40):
        y = drawn(AugmentPipe(scale=1, scale_std=std), x, 1.0).numpy()
        assert np.max(np.abs(y)) < 1.5


# ----------------------------------------------------------------------------
# Mistakes.


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"xflip": -1}, "xflip must be a number of 0 or more, got -1"),
        ({"noise_std": float("nan")}, "noise_std must be a number of 0 or more, got nan"),
        ({"hue": "1"}, "hue must be a number of 0 or more, got '1'"),
        ({"imgfilter_bands": (1, 1)}, "imgfilter_bands must be 4 numbers, got [1, 1]"),
        ({"imgfilter_bands": (1, 1, True, 1)}, "imgfilter_bands must be a number of 0 or more, got True"),
    ],
)
def test_bad_values(kwargs, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        AugmentPipe(**kwargs)


def test_bad_spec():
    with pytest.raises(UserError, match="expected one of blit geom .* bgcfnc, got 'bgcx' .did you mean bgc"):
        AugmentPipe.of_spec("bgcx")


def test_bad_images():
    with pytest.raises(ValueError, match=re.escape("must be [N, C, H, W] of 1, 3 or 4 channels, got (2, 2, 32, 32)")):
        AugmentPipe(xflip=1)(tf.zeros([2, 2, 32, 32]), 1.0)
    with pytest.raises(ValueError, match="of 22x22 pixels or more, got 21x32; --augpipe=bgc does without it"):
        AugmentPipe(imgfilter=1)(tf.zeros([2, 3, 21, 32]), 1.0)
