"""Where values are kept, as on GPUs, networks give the same images with fewer operations, also when weights change."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import tflib
from dnnlib.tflib import Network, kept
from generation.conventions import Rendering
from generation.image_generator import ImageGenerator
from tools import virtual_gpu

SIZES = {"resolution": 32, "fmap_base": 512, "fmap_max": 32, "num_channels": 3, "latent_size": 16, "mapping_layers": 2}
HALF = {"num_fp16_res": 2, "conv_clamp": 256, "fp16_dtype": "float16"}
Z = np.random.RandomState(0).randn(3, 16)


def generator(**kwargs):
    """A network in which bias and noise make a difference."""
    module = "training.networks_stylegan2"
    G = Network("G", func_name=f"{module}.G_main", dlatent_size=24, mapping_fmaps=16, **{**SIZES, **kwargs})
    random = np.random.RandomState(1)
    for name, variable in G.vars.items():
        if name.endswith(("noise_strength", "bias", "dlatent_avg")):
            variable.assign(random.randn(*variable.shape))
    return G


def images(G, keep, **kwargs):
    """What a new function computes. keep: whether values are kept."""
    G._runner.functions.clear()
    with kept.forced(keep):
        return G.run(Z, None, **{"randomize_noise": False, "truncation_psi": 0.7, **kwargs})


@pytest.mark.parametrize("minibatch_size", [1, 3])
@pytest.mark.parametrize(
    "kwargs",
    [{}, {"architecture": "resnet", "fused_modconv": False}, {"architecture": "orig", "use_noise": False}],
    ids=["skip", "resnet", "orig"],
)
def test_images_are_the_same(kwargs, minibatch_size):
    G = generator(**kwargs)
    expected = images(G, False, minibatch_size=minibatch_size)
    np.testing.assert_allclose(images(G, True, minibatch_size=minibatch_size), expected, rtol=1e-4, atol=1e-4)
    assert G._runner.kept._values


@pytest.mark.parametrize("minibatch_size", [1, 3])
def test_16_bit_is_as_accurate(minibatch_size):
    """Nearly: weights are rounded before a sample's style multiplies them, and after it."""
    tf.random.set_seed(1)
    G = generator(**HALF)
    exact = images(G, False, num_fp16_res=0)
    errors = [np.abs(images(G, keep, num_fp16_res=2, minibatch_size=minibatch_size) - exact) for keep in (False, True)]
    assert np.mean(errors[1]) < 1.4 * np.mean(errors[0]) < 0.01 * exact.std()


@pytest.mark.parametrize("minibatch_size", [1, 3])
def test_large_styles_of_images_do_not_overflow(minibatch_size):
    G = generator(**HALF)
    for block in ("G_synthesis/16x16", "G_synthesis/32x32"):
        weight = G.vars[f"{block}/ToRGB/weight"]
        weight.assign(weight * 1e-3)
        for name, value in (("ToRGB/mod_bias", 500.0), ("Conv1/bias", 150.0)):
            variable = G.vars[f"{block}/{name}"]
            variable.assign(tf.fill(variable.shape, value))
    found, expected = (images(G, keep, num_fp16_res=2, minibatch_size=minibatch_size) for keep in (True, False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02 * expected.std())


def test_noise_is_that_of_the_call():
    G = generator()
    shapes = [variable.shape for name, variable in G.components.synthesis.vars.items() if name.startswith("noise")]
    random = np.random.RandomState(2)
    for nums in ([1] * len(shapes), [3] * len(shapes), [1, *[3] * (len(shapes) - 1)]):
        noise = [random.randn(num, *shape[1:]).astype(np.float32) for num, shape in zip(nums, shapes, strict=True)]
        expected = images(G, False, noise=noise)
        np.testing.assert_allclose(images(G, True, noise=noise), expected, rtol=1e-4, atol=1e-4)
    expected = images(G, False, noise=[np.zeros(shapes[0], np.float32), *noise[1:]])
    for are_kept in (False, True):
        with kept.forced(are_kept):
            without_first = G.get_output_for(Z, None, truncation_psi=0.7, noise=[None, *noise[1:]])
        np.testing.assert_allclose(without_first, expected, rtol=1e-4, atol=1e-4)
    tf.random.set_seed(1)
    same_w = np.repeat(Z[:1], 3, axis=0)
    with kept.forced(True):
        first, second, third = G.run(same_w, None, randomize_noise=True)
    spread = [np.abs(a - b).mean() for a, b in itertools.combinations((first, second, third), 2)]
    expected = images(G, False, randomize_noise=True)
    assert min(spread) > 0.1 * expected.std()


def test_weights_that_change_are_noticed():
    G = generator()
    name = "G_synthesis/8x8/Conv1/weight"
    before = images(G, True)
    with kept.forced(True):
        G.vars[name].assign(G.vars[name] * -1)
        changed = G.run(Z, None, randomize_noise=False, truncation_psi=0.7)
        assert np.abs(changed - before).max() > 0.1
        frozen = {"randomize_noise": False, "truncation_psi": 0.7, "assume_frozen": True}
        G.vars[name].assign(G.vars[name] * -1)
        np.testing.assert_array_equal(G.run(Z, None, **frozen), changed)  # as promised
        tflib.set_vars({G.vars[name]: G.get_var(name)})
        np.testing.assert_array_equal(G.run(Z, None, **frozen), before)
        G.set_var(name, -G.get_var(name))
        np.testing.assert_array_equal(G.run(Z, None, **frozen), changed)


def test_images_of_seeds():
    G = generator()
    rendering = Rendering(truncation_psi=0.7)
    expected = ImageGenerator(G, rendering).from_seeds([1, 2, 3]).astype(int)
    with kept.forced(True):
        images = ImageGenerator(G, rendering)
        assert np.abs(images.from_seeds([1, 2, 3]) - expected).max() <= 1
        in_turn = [image for batch in images.rendered([[1], [2, 3]]) for image in batch]
    assert np.abs(np.stack(in_turn) - expected).max() <= 1


@pytest.mark.parametrize(("precision", "most"), [("fp32", 190), ("fp16", 205)])
def test_few_kernels_are_started_for_an_image(precision, most):
    function = virtual_gpu.generating("config-f", 1024, 1, precision)
    work = virtual_gpu.work_of(function, layout_optimizer=False)
    assert work.num_launches <= most
    assert not work.waits
    assert not work.uploads
