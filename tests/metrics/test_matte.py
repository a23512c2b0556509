"""Metrics of images with transparency, which are laid over one colour, and of images that are not square."""

import metric_stubs
import numpy as np
import pytest
import tensorflow as tf

from dnnlib import flags, tflib
from dnnlib.pictures import composited as composited_arrays
from metrics.features.evaluation import DataSource, Evaluating, Evaluation
from metrics.features.image_features import RealImages
from metrics.frechet_inception_distance import FID
from metrics.metric_base import DummyMetric
from metrics.nets.images import composited, prepare_images, reduction_of
from metrics.perceptual_path_length import PPL
from training import misc

SIZE = 8


def rgba(num_images, seed=0):
    """Images of which about a third of the pixels are transparent, and a third opaque."""
    rnd = np.random.RandomState(seed)
    images = rnd.randint(0, 256, [num_images, 4, SIZE, SIZE]).astype(np.uint8)
    images[:, 3] = (images[:, 3].astype(int) * 3 - 255).clip(0, 255)
    return images


def with_hidden_colours(images, seed):
    """The same images to look at, with other colours where nothing is to be seen."""
    other = np.random.RandomState(seed).randint(0, 256, images.shape).astype(np.uint8)
    hidden = (images[:, 3:] == 0) & (np.arange(4) < 3)[:, np.newaxis, np.newaxis]
    return np.where(hidden, other, images)


class Images:
    """A data set that holds arrays."""

    tfrecord_dir = "images"

    def __init__(self, images):
        self._images, self.num_images, self.shape = images, len(images), images.shape[1:]

    def digest(self):
        return "the same"  # so that nothing but the features differs

    def read(self, indices):
        return self._images[indices], None


def features_of(folder, images, matte=(255, 255, 255)):
    passes = RealImages(folder, Images(images), "images", False, ["/cpu:0"], 4, matte)
    return passes.features(metric_stubs.Detector(), len(images))


@pytest.mark.parametrize("matte", [(255, 255, 255), (0, 0, 0), (255, 128, 3)])
def test_the_rule(matte):
    images = rgba(50)
    colours, alpha = images[:, :3].astype(float), images[:, 3:] / 255.0
    exact = colours * alpha + np.reshape(matte, [3, 1, 1]) * (1 - alpha)
    result = composited(tf.constant(images), matte)
    assert result.dtype == tf.uint8 and result.shape == [50, 3, SIZE, SIZE]
    assert np.abs(result.numpy() - exact).max() <= 0.5 + 1e-4
    np.testing.assert_array_equal(result, composited_arrays(images, matte))
    floats = composited(tf.constant(images / np.float32(127.5) - 1), matte, (-1, 1))
    np.testing.assert_allclose((floats + 1) * 127.5, exact, atol=1e-3)
    opaque = images.copy()
    opaque[:, 3] = 255
    np.testing.assert_array_equal(composited(tf.constant(opaque), matte), images[:, :3])
    for channels in (1, 3):
        others = tf.constant(images[:, :channels])
        assert composited(others, matte) is others


def test_hidden_colours_change_no_feature(tmp_path):
    images = rgba(9)
    hidden = with_hidden_colours(images, 1)
    assert (images != hidden).any()
    first = features_of(tmp_path / "a", images)
    np.testing.assert_array_equal(features_of(tmp_path / "b", hidden), first)
    seen = composited_arrays(images, (255, 255, 255))
    np.testing.assert_allclose(metric_stubs.Detector().get_output_for(tf.constant(seen)), first, rtol=1e-5)
    # Features are kept by matte.
    black = features_of(tmp_path / "a", images, (0, 0, 0))
    assert np.abs(black - first).max() > 0.01
    np.testing.assert_array_equal(features_of(tmp_path / "a", hidden, (0, 0, 0)), black)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A generator of four channels, whose images are transparent in places."""
    path = tmp_path_factory.mktemp("rgba") / "network.pkl"
    tf.random.set_seed(0)
    sizes = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2, "fmap_base": 64}
    Gs = tflib.Network(
        "Gs", func_name="training.networks_stylegan2.G_main", resolution=SIZE, num_channels=4, fmap_max=8, **sizes
    )
    misc.save_pkl(Gs, path)
    return str(path)


def test_networks_that_hide_other_colours_measure_equal(network, tmp_path, monkeypatch):
    """Where alpha is 0 throughout, colours do not matter; elsewhere they do."""
    monkeypatch.chdir(tmp_path)
    Gs = misc.load_pkl(network)
    results = {}
    for alpha in (-9.0, 0.0):
        for red in (0.0, 3.0):
            for name, variable in Gs.vars.items():
                if name.endswith("ToRGB/bias"):
                    variable.assign([red, 0, 0, alpha] if f"{SIZE}x{SIZE}" in name else [0, 0, 0, 0])
                elif name.endswith("ToRGB/weight"):
                    weight = variable.numpy()
                    weight[..., 3] = 0
                    variable.assign(weight)
            misc.save_pkl(Gs, "changed.pkl")
            metric = FID(num_images=12, minibatch_per_gpu=4, detector=metric_stubs.Detector(), name="fid")
            evaluation = Evaluation.open("changed.pkl", DataSource(), Evaluating(cache_dir="cache"))
            evaluation.dataset = Images(rgba(12))
            metric.run("changed.pkl", evaluation=evaluation)
            results[alpha, red] = metric.get_results()["fid"]
    assert results[-9.0, 0.0] == results[-9.0, 3.0]
    assert abs(results[0.0, 0.0] - results[0.0, 3.0]) > 1e-6


def test_path_lengths_ignore_what_is_hidden(network):
    Gs = misc.load_pkl(network)

    class Distance:
        name, digest = "distance", "distance"

        def get_output_for(self, a, b):
            assert a.shape[1] == 3
            return tf.reduce_mean(tf.math.squared_difference(a, b), axis=[1, 2, 3])

    ppl = PPL(name="ppl", num_samples=4, epsilon=1e-2, space="w", sampling="end", crop=False, minibatch_per_gpu=4)
    rnd = np.random.RandomState(0)
    latents = [tf.constant(rnd.randn(4, 8).astype(np.float32)) for _ in range(2)]
    noise = [variable for name, variable in Gs.components.synthesis.vars.items() if name.startswith("noise")]
    arguments = Distance(), latents, tf.zeros([4]), tf.zeros([4, 0]), noise, {}
    assert ppl.path_distances(Gs, *arguments).numpy().min() > 0
    for name, variable in Gs.vars.items():
        if name.endswith("ToRGB/bias"):
            variable.assign([0, 0, 0, -90])
    np.testing.assert_array_equal(ppl.path_distances(Gs, *arguments), np.zeros(4))


@pytest.mark.parametrize("has_alpha", [False, True])
def test_rows_are_kept_by_matte_where_there_is_transparency(network, tmp_path, has_alpha):
    """What was kept about other networks does not depend on it: a run of earlier versions goes on, too."""
    path = network if has_alpha else metric_stubs.make_network(tmp_path / "rgb.pkl")

    def rows_with(matte):
        evaluation = Evaluation.open(path, DataSource(), Evaluating(cache_dir=str(tmp_path), matte=matte))
        first = tf.constant([[float(matte[0])]])
        inputs = lambda begin, count: [np.zeros([count, 1], np.float32)]  # noqa: E731
        return (
            evaluation.rows("rows", 1, 3, lambda x: [x + first], inputs, 2, "rows", {"of": "a test"}).ravel().tolist()
        )

    assert rows_with((7, 8, 9)) == [7, 7, 7]
    assert rows_with((1, 8, 9)) == ([1, 1, 1] if has_alpha else [7, 7, 7])


def test_own_metrics_are_given_opaque_images(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metric = DummyMetric(name="own")
    metric._evaluation = Evaluation.open(network, DataSource(), Evaluating(cache_dir="cache", matte=(9, 8, 7)))
    images = rgba(5)
    dataset = Images(images)
    dataset.get_minibatch_np = lambda count: (images[:count], None)
    metric._dataset_obj = dataset
    np.testing.assert_array_equal(next(metric._iterate_reals(5)), composited_arrays(images, (9, 8, 7)))
    assert next(metric._iterate_fakes(metric._evaluation.Gs, 4, 1)).shape == (4, 3, SIZE, SIZE)


def test_reduction_is_that_of_the_square_of_as_many_pixels():
    squares = {side: reduction_of(side, side) for side in (4, 128, 256, 512, 1024)}
    assert squares == {4: 1, 128: 1, 256: 1, 512: 2, 1024: 4}
    for size, factor in {(640, 384): 2, (288, 512): 2, (1280, 768): 4, (320, 192): 1, (511, 511): 1}.items():
        assert reduction_of(*size) == reduction_of(*size[::-1]) == factor
    images = np.random.RandomState(0).uniform(-1, 1, [2, 3, 640, 384]).astype(np.float32)
    whole = ((images + 1) * 127.5).reshape(2, 3, 320, 2, 192, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(prepare_images(images), whole, atol=1e-3)
    face = ((images + 1) * 127.5)[:, :, 240:560, 96:288]
    np.testing.assert_allclose(prepare_images(images, crop=True), face, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "colour"), [("white", (255, 255, 255)), ("#FF8000", (255, 128, 0)), ("Black", (0, 0, 0))]
)
def test_flag(text, colour):
    assert flags.colour(text) == colour
