"""Parameters of augmentation have the distributions that they should have.

Each check is of a fixed sample: bounds are five standard errors of what is measured.
"""

import math

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import random_stream
from training.augmentation.draws import Draws
from training.augmentation.filter import BAND_POWER, gains
from training.augmentation.geometry import blit_map, geometric_map
from training.augmentation.pipeline import AugmentPipe

SIZE = 20000
P = 0.6


@pytest.fixture(autouse=True)
def stream():
    with random_stream.using(random_stream.StatelessStream(random_stream.seed_of(7))):
        yield


def check_fraction(found, expected):
    assert abs(np.mean(found) - expected) <= 5 * math.sqrt(expected * (1 - expected) / len(found))


def check_normal(values, std):
    assert abs(np.mean(values)) <= 5 * std / math.sqrt(len(values))
    assert abs(np.std(values) / std - 1) <= 5 / math.sqrt(2 * len(values))
    check_fraction(np.abs(values) < std, 0.6827)


def check_uniform(values, low, high):
    assert low - 1e-4 <= np.min(values) and np.max(values) <= high + 1e-4
    for quantile in (0.1, 0.5, 0.9):
        check_fraction(values < low + quantile * (high - low), quantile)


def maps(height=64, width=32, **strengths):
    """Inverse maps `[SIZE, 3, 3]`, and which images have a transform."""
    pipe, draws = AugmentPipe(**strengths), Draws(SIZE)
    inverse = geometric_map(blit_map(draws, tf.constant(P), pipe, height, width), draws, P, pipe, height, width)
    return inverse.numpy(), draws.applied.numpy()


def test_xflip():
    inverse, applied = maps(xflip=1)
    check_fraction(applied, P)
    check_fraction(inverse[:, 0, 0] == -1, P / 2)
    assert set(inverse[:, 0, 0]) == {-1, 1}
    assert np.all(inverse[:, 1:] == np.eye(3)[1:])


def test_rotate90():
    inverse, applied = maps(rotate90=0.5)
    check_fraction(applied, P / 2)
    turns = np.round(np.arctan2(inverse[:, 1, 0], inverse[:, 0, 0]) / (math.pi / 2)) % 4
    for turn in (1, 2, 3):
        check_fraction(turns == turn, P / 8)


def test_xint():
    inverse, applied = maps(xint=1)
    check_fraction(applied, P)
    for axis, size in enumerate((32, 64)):
        shift = inverse[applied, axis, 2]
        assert np.all(shift == np.round(shift)) and np.max(np.abs(shift)) == size / 8
        check_fraction(shift < 0, 0.5 * (1 - 4 / size))  # 0 is as wide as the others; uniform in +-size / 8
    assert np.all(inverse[~applied] == np.eye(3))


def test_scale():
    inverse, applied = maps(scale=1, scale_std=0.3)
    check_fraction(applied, P)
    check_normal(np.log2(inverse[applied, 0, 0]), 0.3)
    assert np.all(inverse[:, 0, 0] == inverse[:, 1, 1])


def test_rotate():
    inverse, applied = maps(rotate=1, rotate_max=0.25)
    check_fraction(applied, P)  # by either rotation
    angles = np.arctan2(inverse[applied, 1, 0], inverse[applied, 0, 0]) / math.pi
    each = 1 - math.sqrt(1 - P)
    check_fraction(np.abs(angles) > 0.25, each**2 / P / 4)  # both: the sum of two, triangular in +-0.5
    inverse, applied = maps(rotate=1)
    check_uniform(np.arctan2(inverse[applied, 1, 0], inverse[applied, 0, 0]), -math.pi, math.pi)


def test_aniso():
    inverse, applied = maps(aniso=1)
    check_fraction(applied, P)
    check_normal(np.log2(inverse[applied, 0, 0]), 0.2)
    np.testing.assert_allclose(inverse[:, 0, 0] * inverse[:, 1, 1], 1, atol=1e-6)


def test_xfrac():
    inverse, applied = maps(xfrac=1)
    check_fraction(applied, P)
    check_normal(inverse[applied, 0, 2], 0.125 * 32)
    check_normal(inverse[applied, 1, 2], 0.125 * 64)
    assert abs(np.corrcoef(inverse[applied, 0, 2], inverse[applied, 1, 2])[0, 1]) < 5 / math.sqrt(SIZE * P)


def coloured(pixel, **strengths):
    """The colours `[SIZE, 3]` that one becomes."""
    images = tf.tile(tf.reshape(tf.constant(pixel, tf.float32), [1, 3, 1, 1]), [SIZE, 1, 1, 1])
    return AugmentPipe(**strengths)(images, P).numpy()[:, :, 0, 0]


def test_brightness():
    colours = coloured([0.0, 0.5, 1.0], brightness=1)
    added = colours[:, 0]
    check_fraction(added != 0, P)
    check_normal(added[added != 0], 0.2)
    np.testing.assert_allclose(colours, added[:, np.newaxis] + [0, 0.5, 1], atol=1e-6)


def test_contrast():
    factor = coloured([1.0, 0.5, -1.0], contrast=1)
    np.testing.assert_allclose(factor / factor[:, :1], np.tile([1, 0.5, -1], [SIZE, 1]), atol=1e-6)
    factor = factor[factor[:, 0] != 1, 0]
    assert abs(len(factor) / SIZE - P) < 0.02
    check_normal(np.log2(factor), 0.5)


def test_lumaflip():
    colours = coloured([0.1, 0.5, 0.9], lumaflip=1)
    flipped = colours[:, 0] < 0
    check_fraction(flipped, P / 2)
    np.testing.assert_allclose(np.mean(colours, axis=1), np.where(flipped, -0.5, 0.5), atol=1e-6)
    np.testing.assert_allclose(colours[:, 2] - colours[:, 0], 0.8, atol=1e-6)


def test_hue():
    colours = coloured([1.0, 0.0, 0.0], hue=1)
    np.testing.assert_allclose(np.sum(colours, axis=1), 1, atol=1e-5)  # luma and chroma stay
    np.testing.assert_allclose(np.linalg.norm(colours, axis=1), 1, atol=1e-5)
    changed = colours[colours[:, 0] != 1]
    assert abs(len(changed) / SIZE - P) < 0.02
    angles = np.arctan2((changed[:, 1] - changed[:, 2]) / math.sqrt(2), (3 * changed[:, 0] - 1) / math.sqrt(6))
    check_uniform(angles, -math.pi, math.pi)


def test_saturation():
    colours = coloured([0.25, 0.5, 0.75], saturation=1)
    np.testing.assert_allclose(np.mean(colours, axis=1), 0.5, atol=1e-5)
    factor = (colours[:, 2] - colours[:, 0]) * 2
    check_fraction(factor != 1, P)
    check_normal(np.log2(factor[factor != 1]), 1.0)


def test_imgfilter():
    draws = Draws(SIZE)
    of_bands = gains(draws, tf.constant(P), AugmentPipe(imgfilter=1, imgfilter_bands=(0, 0, 0.5, 0))).numpy()
    applied = draws.applied.numpy()
    check_fraction(applied, P / 2)
    check_normal(np.log2(of_bands[applied, 2] / of_bands[applied, 0]), 1.0)
    np.testing.assert_allclose(np.sum(of_bands**2 * BAND_POWER, axis=1), 1, rtol=1e-5)
    assert np.all(of_bands[~applied] == 1)


def test_noise():
    y = AugmentPipe(noise=1, noise_std=0.3)(tf.zeros([SIZE // 10, 1, 16, 16]), P).numpy()
    deviations = np.std(y, axis=(1, 2, 3))
    check_fraction(deviations > 0, P)
    scales = deviations[deviations > 0] / 0.3  # half normal
    for limit, fraction in ((0.6745, 0.5), (1.0, 0.6827), (2.0, 0.9545)):
        check_fraction(scales < limit, fraction)


def test_cutout():
    size = 32
    y = AugmentPipe(cutout=1)(tf.ones([SIZE // 10, 3, size, size]), P).numpy()
    cut = np.min(y, axis=(1, 2, 3)) == 0
    check_fraction(cut, P)
    assert np.all(y[:, 0] == y[:, 2])
    rows, columns = (np.sum(np.min(y[cut, 0], axis=axis) == 0, axis=1) for axis in (2, 1))
    np.testing.assert_array_equal(rows * columns, np.sum(y[cut, 0] == 0, axis=(1, 2)))  # a rectangle
    for sides in (rows, columns):  # whole unless the centre, which is uniform, is within a quarter of the edge
        assert np.max(sides) == size // 2 and np.min(sides) >= size // 4
        assert abs(np.mean(sides) / size - 0.4375) < 5 * 0.09 / math.sqrt(len(sides))
