"""The controller of augmentation against the official ones."""

import golden
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import autosummary
from training.augmentation.adaptive import AdaptiveAugment
from training.augmentation.pipeline import AugmentPipe
from training.run_folder import state

FOLDER = str(golden.ADA_GOLDENS / "ada")
RUNS = golden.index(FOLDER, "index.json")
PIPE = AugmentPipe.of_spec("color")


@pytest.mark.parametrize("name", RUNS)
def test_heuristic(name):
    run, data = RUNS[name], golden.arrays(FOLDER, "heuristic.npz")
    augment = AdaptiveAugment(PIPE, run["p0"], run["target"], run["kimg"], run["interval"])
    observe = tf.function(augment.observe, autograph=False)
    for iteration, signs in enumerate(data[f"{name}/signs"]):
        half = len(signs) // 2  # two rounds, of some scores
        observe(tf.constant(signs[:half] * 3.5, tf.float32))
        observe(tf.constant(signs[half:, np.newaxis] * 0.01, tf.float32))
        r_t = augment.after_iteration(iteration, run["batch"])
        golden_r_t = data[f"{name}/torch_rt"][iteration]
        assert (r_t is None) == np.isnan(golden_r_t)
        assert r_t is None or abs(r_t - golden_r_t) < 1e-6
        assert abs(float(augment.p) - data[f"{name}/torch_p"][iteration]) < 1e-6
        assert abs(float(augment.p) - data[f"{name}/tf_p"][iteration]) < 1e-6


def test_limits():
    """p has a floor of 0 and no ceiling; at the target, and where nothing was seen, it stays."""
    augment = AdaptiveAugment(PIPE, 0.0, 0.5, kimg=0.001, interval=1)
    for scores, expected in ([[-1.0], 0], [[1.0], 2], [[1.0], 4], [[1, 1, 1, -2.0], 4], [[np.nan], 4], [[0.0], 2]):
        augment.observe(tf.constant(scores))
        augment.after_iteration(0, 2)
        assert float(augment.p) == expected
    assert augment.after_iteration(0, 2) is None and float(augment.p) == 2


def test_fixed_and_none():
    x = tf.constant(golden.rnd(1, 4, 3, 8, 8))
    for augment in (AdaptiveAugment(PIPE, 0.7), AdaptiveAugment(None), AdaptiveAugment(None, target=0.6)):
        assert not augment.adaptive
        augment.observe(tf.ones([8]))
        assert augment.after_iteration(3, 8) is None
        assert float(augment.p) == pytest.approx(0.7 if augment.pipe else 0)
        assert bool(tf.reduce_any(augment(x) != x)) == (augment.pipe is not None)


def test_signs_are_reported():
    with autosummary.collected() as stats:
        AdaptiveAugment(PIPE, 0.7).observe(tf.constant([[3.0], [0.0], [-2.0], [1.0]]))
    np.testing.assert_array_equal(stats["Loss/signs/real"], [4, 1, 3])


def test_state(tmp_path):
    """In the middle between two changes."""
    runs = [AdaptiveAugment(PIPE, 0.5, target=0.4, kimg=1) for _ in range(2)]

    def train(augment, iterations):
        for iteration in iterations:
            augment.observe(tf.constant([1.0, -1.0, 1.0, 1.0, 1.0]) if iteration % 3 else tf.constant([-1.0]))
            augment.after_iteration(iteration, 8)
        return float(augment.p)

    train(runs[0], range(10))
    state.save(str(tmp_path), runs[0].variables(), {})
    state.load(str(tmp_path)).restore(runs[1].variables())
    assert train(runs[0], range(10, 40)) == train(runs[1], range(10, 40)) != 0.5


def test_inside_a_strategy():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        augment = AdaptiveAugment(PIPE, 0.5, 0.6, kimg=1, interval=1)

    @tf.function(autograph=False)
    def step(scores, images):
        def of_replica(scores, images):
            augment.observe(scores)
            return augment(images)

        return strategy.run(of_replica, (scores, images))

    y = step(tf.ones([4]), tf.ones([4, 3, 8, 8]))
    assert y.shape == (4, 3, 8, 8) and np.any(y != 1)
    assert augment.after_iteration(0, 4) == 1
    assert float(augment.p.numpy()) == pytest.approx(0.504)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"p": -0.1}, "p must be a number of 0 or more, got -0.1"),
        ({"p": float("inf")}, "p must be a number of 0 or more, got inf"),
        ({"target": 2}, "target must be a number from -1 to 1, got 2"),
        ({"kimg": 0}, "kimg must be above 0"),
        ({"interval": 0}, "interval must be an integer of 1 or more, got 0"),
        ({"interval": 2.0}, "interval must be an integer of 1 or more, got 2.0"),
    ],
)
def test_bad_numbers(kwargs, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveAugment(PIPE, **kwargs)
