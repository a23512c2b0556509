"""Checkpoints of rosinality/stylegan2-pytorch: images and scores are those of their definition (`torch_reference`)."""

import io

import golden
import numpy as np
import pytest
import torch_reference as reference
import weight_writers as writers

from dnnlib.tflib.checkpoints import network_files

CHANNELS = {4: 12, 8: 12, 16: 6}
CONTAINERS = {"legacy": writers.pth_legacy, "zip": writers.pth_zip}


def read(content, container="zip"):
    return network_files.read(io.BytesIO(CONTAINERS[container](content)), "file.pt")


def problems_of(content):
    with pytest.raises(network_files.NetworkFileError) as error:
        read(content)
    return str(error.value)


def images_of(net, z, **kwargs):
    return net.run(z, None, randomize_noise=False, **kwargs)


@pytest.mark.parametrize(
    ("channels", "blur_kernel"),
    [(CHANNELS, (1, 3, 3, 1)), ({4: 8, 8: 4}, (1, 2, 1)), ({4: 5, 8: 5, 16: 5}, (1, 2, 3, 1))],
    ids=["usual", "unclipped", "asymmetric"],
)
def test_images_and_scores(channels, blur_kernel):
    """The orientation of every kernel shows: all values are random, one filter is not symmetric."""
    g = reference.generator_tensors(channels, blur_kernel=blur_kernel)
    d = reference.discriminator_tensors(channels, blur_kernel=blur_kernel)
    latent_avg = golden.rnd(3, 8)
    G, D, Gs = read({"g": g, "d": d, "g_ema": g, "latent_avg": latent_avg})
    z = golden.rnd(1, 4, 8)
    w = reference.mapping(g, z.astype(np.float64))
    golden.close(Gs.components.mapping.run(z, None)[:, 0], w, 1e-5)
    images = reference.generate(g, w)
    assert images.std() > 0.5
    for net in (G, Gs):
        golden.close(images_of(net, z), images, 1e-5)
    golden.close(images_of(Gs, z, truncation_psi=0.6), reference.generate(g, latent_avg + 0.6 * (w - latent_avg)), 1e-5)
    golden.close(D.run(images.astype(np.float32), None, minibatch_size=4), reference.discriminate(d, images), 1e-5)
    golden.close(
        D.run(images.astype(np.float32), None, minibatch_size=1)[:1], reference.discriminate(d, images[:1]), 1e-5
    )
    assert {net.source_format for net in (G, D, Gs)} == {"pytorch"}
    whole = list(blur_kernel)
    assert G.static_kwargs["resample_kernel"] == D.static_kwargs["resample_kernel"] == whole


def test_sizes_follow_from_shapes():
    for channels, base, colours in (({4: 16, 8: 16, 16: 16}, 16 << 10, 1), (CHANNELS, 48, 4)):
        for layers in (1, 8):
            g = reference.generator_tensors(channels, style_dim=6, n_mlp=layers, image_channels=colours)
            _, _, Gs = read({"g_ema": g})
            assert Gs.output_shape == [None, colours, max(channels), max(channels)]
            assert Gs.input_shape == [None, 6]
            kwargs = Gs.static_kwargs
            assert (kwargs["mapping_layers"], kwargs["fmap_base"], kwargs["fmap_max"]) == (layers, base, channels[4])


@pytest.mark.parametrize("container", CONTAINERS)
def test_parts_of_checkpoints(container):
    """Whole training states, single networks, and bare state dicts."""
    g, d = reference.generator_tensors(CHANNELS), reference.discriminator_tensors(CHANNELS)
    optimizer = {
        "state": {0: {"step": 3, "exp_avg": g["conv1.conv.weight"]}},
        "param_groups": [{"lr": 0.1, "betas": (0, 0.9)}],
    }
    options = writers.Instance(writers.Name("argparse", "Namespace"), {"size": 16, "path": "data", "augment": True})
    state = {"g": g, "d": d, "g_ema": g, "g_optim": optimizer, "d_optim": optimizer, "args": options, "ada_aug_p": 0.25}
    G, D, Gs = read(state, container)
    assert D.augment_p == 0.25
    assert [net.name for net in (G, D, Gs)] == ["G", "D", "Gs"]
    for content, there in (
        ({"g_ema": g}, (False, False, True)),
        (g, (False, False, True)),
        (d, (False, True, False)),
        ({"d": d}, (False, True, False)),
        ({"g": g}, (True, False, True)),
    ):
        nets = read(content, container)
        assert tuple(net is not None for net in nets) == there


def test_average_of_w_that_is_not_in_the_file():
    """That of the mapping network itself, near enough for truncation."""
    g = reference.generator_tensors(CHANNELS)
    _, _, Gs = read({"g_ema": g})
    w = reference.mapping(g, golden.rnd(5, 20000, 8).astype(np.float64))
    assert np.abs(Gs.get_var("dlatent_avg") - w.mean(axis=0)).max() < 5 * w.std() / np.sqrt(4096)
    row = read({"g_ema": g, "latent_avg": golden.rnd(3, 1, 8)})[2]
    np.testing.assert_array_equal(row.get_var("dlatent_avg"), golden.rnd(3, 8))


def test_files_without_noise():
    """The first ones: images are of another noise, but always of the same."""
    g = reference.generator_tensors(CHANNELS)
    old = {name: x for name, x in g.items() if not name.startswith("noises.")}
    z = golden.rnd(1, 2, 8)
    images = images_of(read({"g_ema": old})[2], z)
    np.testing.assert_array_equal(images, images_of(read({"g_ema": old})[2], z))
    assert np.abs(images - images_of(read({"g_ema": g})[2], z)).max() > 1e-3


def test_everything_that_does_not_fit_is_listed():
    g, d = reference.generator_tensors(CHANNELS), reference.discriminator_tensors(CHANNELS)
    del g["convs.1.activate.bias"], g["noises.noise_2"]
    g["to_rgbs.0.bias"] = np.zeros([3], np.float32)
    g["style.2.bias"] = np.zeros([8], np.int64)
    g["dwt.ll"] = np.zeros([2, 2], np.float32)
    d["final_linear.2.weight"] = np.zeros([1], np.float32)
    message = problems_of({"g_ema": g, "d": d})
    for line in (
        "file.pt: ",
        "g_ema: its tensors do not fit the network",
        "convs.1.activate.bias: missing, the network needs shape [12]",
        "noises.noise_2: missing, the network needs shape [1, 1, 8, 8]",
        "to_rgbs.0.bias: has shape [3], the network needs [1, 3, 1, 1]",
        "style.2.bias: holds int64, expected floating-point numbers",
        "dwt.ll: not part of the network",
        "final_linear.2.weight: not part of the network",
    ):
        assert line in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.conv.weight": np.zeros([3, 3], np.float32)}, "conv1.conv.weight has shape [3, 3], expected 5 axes"),
        ({"convs.3.conv.weight": np.zeros([1, 20, 6, 3, 3], np.float32)}, "4x4: 12, 8x8: 12, 16x16: 20"),
        ({"to_rgbs.0.upsample.kernel": np.ones([2, 2], np.float32)}, "resampling filters differ from each other"),
        (
            {"to_rgbs.0.upsample.kernel": np.zeros([4, 4], np.float32)},
            "a resampling filter of shape [4, 4] cannot be used",
        ),
        ({"convs.0.conv.blur.kernel": np.eye(4, dtype=np.float32)}, "not the product of one filter with itself"),
        ({f"style.{n}.weight": np.zeros([8, 8], np.float32) for n in range(1, 40)}, "expected 28 or fewer"),
    ],
)
def test_impossible_networks(change, message):
    assert message in problems_of({"g_ema": reference.generator_tensors(CHANNELS) | change})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"lin0.model.1.weight": np.ones([1, 4, 1, 1], np.float32)}, "weights of LPIPS"),
        ({"state_dict": {"decoder.input.input": np.ones(3, np.float32)}}, "an encoder with its generator"),
        ({"synthesis.b4.const": np.ones(3, np.float32)}, "a state dict of a generator of StyleGAN2-ADA"),
        ({"model": np.ones(3, np.float32), "epoch": 3}, "a dict of 'model' (an array [3]), 'epoch' (int)"),
        ({}, "an empty dict"),
        ([1], "a list"),
    ],
)
def test_other_files_are_named(content, message):
    assert f"the file holds {message}" in problems_of(content)
