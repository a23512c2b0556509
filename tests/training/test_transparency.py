"""Images with transparency: what the discriminator sees of them, augmented or not, and their averages."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import Network, random_stream
from training import loss
from training.augmentation.adaptive import AdaptiveAugment
from training.augmentation.pipeline import AugmentPipe
from training.augmentation.transparency import as_seen, averaged
from training.loop.reals import process_reals


def sprites(seed=1, n=4, height=24, width=32):
    """Images of which about a third is transparent and a third opaque, `[N, 4, H, W]`, in [-1, 1]."""
    images = np.random.RandomState(seed).uniform(-1, 1, [n, 4, height, width]).astype(np.float32)
    images[:, 3] = np.clip(images[:, 3] * 3, -1, 1)
    return images


def other_hidden_colours(images):
    """Images that look the same."""
    return np.where(images[:, 3:] == -1, [[[[0.7]], [[-0.4]], [[0.1]], [[-1]]]], images).astype(np.float32)


def augmented(spec, images, p=0.8, seed=5):
    with random_stream.using(random_stream.StatelessStream(random_stream.seed_of(seed))):
        return AugmentPipe.of_spec(spec)(tf.constant(images), p).numpy()


# ----------------------------------------------------------------------------
# What the discriminator sees.


def test_as_seen():
    alpha = np.float32([-1.5, -1, -0.5, 1, 1.25])
    images = np.stack([np.full(5, 0.8, np.float32)] * 3 + [alpha])[np.newaxis, :, np.newaxis]  # [1, 4, 1, 5]
    seen = as_seen(tf.constant(images)).numpy()
    np.testing.assert_allclose(seen[0, :3, 0], [[0, 0, 0.2, 0.8, 0.8]] * 3, atol=1e-6)
    np.testing.assert_array_equal(seen[0, 3, 0], alpha)
    for channels in (1, 3):
        rgb = tf.constant(images[:, :channels])
        assert as_seen(rgb) is rgb


@pytest.fixture(scope="module")
def networks():
    sizes = {"resolution": 16, "num_channels": 4, "label_size": 0, "fmap_base": 64, "fmap_max": 8}
    G = Network("G", func_name="training.networks_stylegan2.G_main", latent_size=8, dlatent_size=8, **sizes)
    return G, Network("D", func_name="training.networks_stylegan2.D_stylegan2", **sizes)


class NoLabels:
    def get_random_labels_tf(self, n):
        return tf.zeros([n, 0])


@pytest.mark.parametrize("spec", [None, "bgc"])
def test_hidden_colours_do_not_train(networks, spec):
    """Neither the scores nor the penalty depend on colours under alpha 0, of which the gradient is 0."""
    pipe = None if spec is None else AugmentPipe.of_spec(spec)
    reals = sprites(height=16, width=16)
    found = []
    for images in (reals, other_hidden_colours(reals)):
        x = tf.constant(images)
        with random_stream.using(random_stream.StatelessStream(random_stream.seed_of(3))), tf.GradientTape() as tape:
            tape.watch(x)
            augment = AdaptiveAugment(pipe, p=0.7)
            value, reg = loss.D_logistic_r1(*networks, None, NoLabels(), 4, x, tf.zeros([4, 0]), augment=augment)
            total = tf.reduce_sum(value)
        gradient = tape.gradient(total, x).numpy()
        hidden = np.broadcast_to(images[:, 3:] == -1, images.shape).copy()
        hidden[:, 3] = False
        assert np.all(gradient[hidden] == 0) and np.mean(gradient[~hidden] != 0) > 0.9
        found.append([value, reg, gradient])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


# ----------------------------------------------------------------------------
# Augmentation.


@pytest.mark.parametrize("spec", ["color", "filter", "noise", "cutout", "blit", "bgcfnc"])
def test_opaque_images_are_augmented_as_rgb(spec):
    images = sprites()
    images[:, 3] = 1
    result = augmented(spec, images)
    np.testing.assert_allclose(result[:, :3], augmented(spec, images[:, :3]), atol=1e-4)


@pytest.mark.parametrize("spec", ["color", "filter", "noise"])
def test_colour_transforms_leave_alpha_alone(spec):
    images = as_seen(sprites()).numpy()
    result = augmented(spec, images)
    np.testing.assert_array_equal(result[:, 3], images[:, 3])
    assert np.all(np.any(result[:, :3] != images[:, :3], axis=(1, 2, 3)))
    if spec == "color":  # what is transparent stays colourless, and what is half transparent is as much darker
        assert np.all(result[:, :3].transpose(0, 2, 3, 1)[images[:, 3] == -1] == 0)
        over_white, over_black = (result[:, :3] + (1 - (images[:, 3:] + 1) / 2) * matte for matte in (1, -1))
        np.testing.assert_allclose(over_white - over_black, np.tile(1 - images[:, 3:], [1, 3, 1, 1]), atol=1e-5)


@pytest.mark.parametrize("spec", ["bg", "cutout"])
def test_geometry_moves_alpha(spec):
    images = as_seen(sprites()).numpy()
    result = augmented(spec, images)
    for channel in range(4):
        moved = augmented(spec, images[:, channel : channel + 1])
        np.testing.assert_allclose(result[:, channel : channel + 1], moved, atol=1e-6)
    assert np.any(result[:, 3] != images[:, 3])


def test_nothing_changes_without_p():
    images = as_seen(sprites()).numpy()
    np.testing.assert_array_equal(augmented("bgcfnc", images, p=0.0), images)


# ----------------------------------------------------------------------------
# Averages.


def halved(x):
    return tf.reduce_mean(tf.reshape(x, [x.shape[0], x.shape[1], x.shape[2] // 2, 2, x.shape[3] // 2, 2]), [3, 5])


def test_averages_weigh_colours_by_alpha():
    images = sprites()
    found = averaged(tf.constant(images), halved).numpy()
    blocks = images.astype(np.float64).reshape(4, 4, 12, 2, 16, 2)
    weight = (blocks[:, 3:] + 1) / 2
    total = weight.sum(axis=(3, 5))
    expected = np.where(
        total > 0,
        (blocks[:, :3] * weight).sum(axis=(3, 5)) / np.where(total > 0, total, 1),
        blocks[:, :3].mean(axis=(3, 5)),
    )
    assert np.any(total == 0)
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-5)
    np.testing.assert_allclose(found[:, 3], blocks[:, 3].mean(axis=(2, 4)), atol=1e-6)
    np.testing.assert_array_equal(averaged(tf.constant(images[:, :3]), halved), halved(images[:, :3]))


def reals_at(lod, images):
    process = tf.function(lambda x, lod: process_reals(x, None, lod, False, (0, 255), (-1, 1))[0], autograph=False)
    return process(tf.constant(images), tf.constant(lod, tf.float32)).numpy()


def test_growing_blurs_what_is_seen():
    """Between two levels, colours under alpha 0 do not bleed into what can be seen."""
    images = np.full([1, 4, 2, 4], 255, np.uint8)
    images[:, :, :, ::2] = [[[[10]], [[20]], [[30]], [[0]]]]  # transparent columns
    images[:, 3, :, :2] = 0  # two of them: no colour can be seen, so that it is the mean
    blurred = reals_at(0.75, images)
    np.testing.assert_allclose(blurred[:, :3, :, 2:], 1, atol=1e-5)
    np.testing.assert_allclose(blurred[0, 3, 0], [-1, -1, -0.25, 0.25], atol=1e-5)
    mean = (np.array([10, 20, 30]) + 255) / 255 - 1
    np.testing.assert_allclose(blurred[0, :3, 0, :2].mean(axis=1), mean, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(5, 3), (1, 1), (4, 9)])
def test_bases_are_not_blurred(size, channels):
    images = np.random.RandomState(1).randint(256, size=[2, channels, *size], dtype=np.uint8)
    found = reals_at(2.0, images)
    np.testing.assert_allclose(found, (images / 127.5 - 1).repeat(4, 2).repeat(4, 3), atol=1e-6)
