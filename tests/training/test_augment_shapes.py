"""Augmentation of images of any shape: transposed images, and transforms with x and y exchanged, transpose results."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import random_stream
from training.augmentation.geometry import resample
from training.augmentation.pipeline import AugmentPipe

N = 5
SIZES = [(24, 40), (32, 24), (27, 48), (22, 88), *map(tuple, np.random.RandomState(3).randint(22, 64, [3, 2]).tolist())]
# Places of the draws of "bgcfnc". That of a value comes before that of its gate.
XFLIP, ROTATE90, XINT, TURN, ANISO, SECOND_TURN, XFRAC = 0, 2, 4, 8, 10, 12, 14
PIXELS, CENTRE = -3, -1


class Recorded:
    """Remembers the draws of a stream."""

    def __init__(self, seed):
        self.stream, self.draws = random_stream.StatelessStream(random_stream.seed_of(seed)), []

    def normal(self, shape, dtype):
        return self._remembered(self.stream.normal(shape, dtype))

    def uniform(self, shape, minval, maxval, dtype):
        return self._remembered(self.stream.uniform(shape, minval, maxval, dtype))

    def _remembered(self, drawn):
        self.draws.append(drawn.numpy())
        return drawn


class Replayed:
    """Gives draws again."""

    def __init__(self, draws):
        self.draws = iter(draws)

    def normal(self, shape, dtype):
        drawn = next(self.draws)
        assert drawn.shape == tuple(shape)
        return tf.constant(drawn)

    def uniform(self, shape, minval, maxval, dtype):
        return self.normal(shape, dtype)


def exchanged(draws):
    """The draws that do to transposed images what `draws` do to images, where every transform is applied."""
    result = list(draws)
    # What mirrors up and down is to mirror left and right and to turn by two more quarters.
    turns = np.floor(draws[ROTATE90] * 4)
    result[ROTATE90] = ((np.floor(draws[XFLIP] * 2) * 2 - turns) % 4 / 4).astype(np.float32)
    for place in (TURN, SECOND_TURN):  # the other way round
        result[place] = 1 - draws[place]
    result[ANISO] = -draws[ANISO]
    for place in (XINT, XFRAC, CENTRE):
        result[place] = draws[place][:, ::-1].copy()
    result[PIXELS] = draws[PIXELS].swapaxes(2, 3).copy()
    return result


def with_gradient(pipe, images, stream, weights):
    """Results, and the gradient of a product of theirs with `weights`."""
    x = tf.constant(images)
    with random_stream.using(stream), tf.GradientTape() as tape:
        tape.watch(x)
        y = pipe(x, 1.0)
        total = tf.reduce_sum(y * weights)
    return y.numpy(), tape.gradient(total, x).numpy()


@pytest.mark.parametrize(("size", "channels"), list(zip(SIZES, itertools.cycle([4, 3, 1]))))
def test_transposed(size, channels):
    state = np.random.RandomState(channels)
    images, weights = state.uniform(-1, 1, [2, N, channels, *size]).astype(np.float32)
    pipe, stream = AugmentPipe.of_spec("bgcfnc"), Recorded(sum(size))
    expected = with_gradient(pipe, images, stream, weights)
    found = with_gradient(pipe, images.swapaxes(2, 3), Replayed(exchanged(stream.draws)), weights.swapaxes(2, 3))
    for straight, of_transposed in zip(expected, found, strict=True):
        assert np.linalg.norm(of_transposed.swapaxes(2, 3) - straight) <= 1e-5 * np.linalg.norm(straight)


def test_turns_are_of_pixels():
    """A quarter turn of a wide image keeps the scale; what it has no pixels for is reflected."""
    image = tf.random.stateless_uniform([1, 4, 24, 64], [1, 2])
    square = tf.pad(image, [[0, 0], [0, 0], [20, 20], [0, 0]], "REFLECT")
    quarter = tf.constant([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    turned, expected = resample(image, quarter), resample(square, quarter)[:, :, 20:44]
    np.testing.assert_allclose(turned[..., 7:-7], expected[..., 7:-7], atol=1e-5)
