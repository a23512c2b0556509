"""The law of transposition: transposed weights, noise and images give transposed images, the same scores and losses.

It holds for every configuration and base, and for gradients, too: heights and widths are nowhere exchanged or square.
"""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.resolutions import resolution_of, size_text
from dnnlib.tflib import Network, random_stream
from training.loss import D_logistic_r1, G_logistic_ns_pathreg

BASES = [(1, 1), (3, 2), (2, 3), (5, 3), (9, 16)]
STYLEGAN, STYLEGAN2, ADA = "training.networks_stylegan", "training.networks_stylegan2", "training.networks"
REVISED = {"synthesis_func": "G_synthesis_stylegan_revised"}
CONFIGS = {  # names of the networks, and arguments of G and D
    "a": (f"{STYLEGAN}.G_style", f"{STYLEGAN}.D_basic", {}, {}),
    "a, dense": (f"{STYLEGAN}.G_style", f"{STYLEGAN}.D_basic", {"const_input_layer": False}, {"fused_scale": True}),
    "b-d": (f"{STYLEGAN2}.G_main", f"{STYLEGAN2}.D_stylegan", REVISED, {}),
    "b-d, linear": (f"{STYLEGAN2}.G_main", f"{STYLEGAN2}.D_stylegan", REVISED, {"structure": "linear"}),
    "e-f": (f"{STYLEGAN2}.G_main", f"{STYLEGAN2}.D_stylegan2", {}, {}),
    "orig": (f"{STYLEGAN2}.G_main", f"{STYLEGAN2}.D_stylegan2", *[{"architecture": "orig"}] * 2),
    "resnet, skip": (
        *(f"{STYLEGAN2}.G_main", f"{STYLEGAN2}.D_stylegan2"),
        *({"architecture": "resnet"}, {"architecture": "skip"}),
    ),
    "ada": (f"{ADA}.G_main", f"{ADA}.D_main", {}, {"mapping_layers": 1}),
}
MINIBATCH, LABELS = 4, np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]


class TransposedStream:
    """The numbers of another stream; images and noise of them are transposed."""

    def __init__(self, stream):
        self.stream = stream

    def normal(self, shape, dtype):
        *others, height, width = shape
        if len(others) < 2:
            return self.stream.normal(shape, dtype)
        return tf.linalg.matrix_transpose(self.stream.normal([*others, width, height], dtype))

    def uniform(self, *args):
        return self.stream.uniform(*args)


class Labels:
    """In place of a data set."""

    def get_random_labels_tf(self, minibatch_size):
        return tf.constant(LABELS[:minibatch_size])


def transposed(name, value, base):
    """The value of a variable, or its gradient, in the network for transposed images. base: of the other one."""
    value = np.asarray(value)
    if name.endswith("/const") or (name.split("/")[-1].startswith("noise") and value.ndim == 4):
        return value.swapaxes(2, 3)
    if value.ndim == 4:  # convolution
        return value.swapaxes(0, 1)
    if name.endswith("/Dense0/weight") and "G_mapping" not in name:  # of D: rows are in C, H, W order
        return value.reshape(-1, *base, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
    if name.endswith("/Dense/weight"):  # of config a without a constant
        return value.reshape(len(value), -1, *base).swapaxes(2, 3).reshape(value.shape)
    return value


def networks(config, resolution, num_channels):
    """G and D. Few feature maps, of all levels so many."""
    G_name, D_name, G_args, D_args = CONFIGS[config]
    common = {
        "num_channels": num_channels,
        "resolution": resolution.argument,
        "base": list(resolution.base),
        "label_size": 2,
    }
    common |= {"fmap_base": 1 << 16, "fmap_max": 6}
    sizes = {"latent_size": 6, "dlatent_size": 6, "mapping_fmaps": 6, "mapping_layers": 2}
    G = Network("G", func_name=G_name, **sizes, **common, **G_args)
    return G, Network("D", func_name=D_name, mbstd_group_size=2, **common, **D_args)


def set_variables(nets, resolution):
    """Random values, the same for all networks of a test but for their transposition. resolution: of the first two."""
    for index, net in enumerate(nets):
        random = np.random.RandomState(7)
        for name, variable in net.vars.items():
            shape = nets[index % 2].vars[name].shape
            value = np.asarray(random.randn(*shape), np.float32) * (1 if name.endswith("weight") else 0.5)
            if name.endswith("lod"):
                value = np.float32(0.5 if len(resolution.levels) > 1 else 0)
            variable.assign(transposed(name, value, resolution.base) if index >= 2 else value)


def close(a, b, what, tolerance=1e-5):
    """Within the tolerance, of the largest where that is more than 1."""
    scale = max(1, np.abs(a).max(initial=0))
    np.testing.assert_allclose(np.asarray(b) / scale, np.asarray(a) / scale, atol=tolerance, rtol=0, err_msg=what)


def everything(G, D, stream, reals):
    """Images, noise of the variables and drawn; scores; and losses with their gradients by name."""
    with random_stream.using(stream):
        latents = random_stream.normal([MINIBATCH, 6], tf.float32)
        images = G.run(latents.numpy(), LABELS, randomize_noise=False, truncation_psi=0.7)
        scores = D.run(reals, LABELS)
        losses = {
            "G": (G, lambda: G_logistic_ns_pathreg(G, D, None, Labels(), MINIBATCH, pl_mean=tf.Variable(0.0))),
            "D": (D, lambda: D_logistic_r1(G, D, None, Labels(), MINIBATCH, tf.constant(reals), tf.constant(LABELS))),
        }
        results = {}
        for key, (net, loss_and_reg) in losses.items():
            with tf.GradientTape() as tape:
                loss, reg = loss_and_reg()
                total = tf.reduce_mean(loss) + tf.reduce_mean(reg)
            gradients = tape.gradient(total, net.trainables, unconnected_gradients="zero")
            results[key] = loss, reg, gradients
    return images, scores, results


def check(config, resolution, seed, num_channels=3):
    """The law, of networks of a configuration."""
    flipped = resolution_of((resolution.width, resolution.height), resolution.base[::-1])
    nets = [net for size in (resolution, flipped) for net in networks(config, size, num_channels)]
    set_variables(nets, resolution)
    reals = np.random.RandomState(seed).uniform(-1, 1, [MINIBATCH, num_channels, *resolution[:2]]).astype(np.float32)
    images, scores, results = everything(*nets[:2], random_stream.StatelessStream([seed, 0]), reals)
    stream = TransposedStream(random_stream.StatelessStream([seed, 0]))
    others = everything(*nets[2:], stream, reals.swapaxes(2, 3).copy())
    assert images.shape == (MINIBATCH, num_channels, *resolution[:2]) and np.std(images) > 0.01
    close(images, others[0].swapaxes(2, 3), "images")
    close(scores, others[1], "scores")
    # Instance normalisation of 1 and 2x2 pixels: the last bit of the weights moves gradients by 3e-5.
    tolerance = 5e-5 if config in ("a", "a, dense") and resolution.base == (1, 1) else 1e-5
    for key, (loss, reg, gradients) in results.items():
        close(loss, others[2][key][0], f"loss of {key}")
        close(reg, others[2][key][1], f"regularizer of {key}")
        assert any(np.abs(gradient).max() > 1e-3 for gradient in gradients.values())
        for name, gradient in gradients.items():
            expected = transposed(name, gradient, resolution.base)
            close(expected, others[2][key][2][name], f"gradient of {key} by {name}", tolerance)


def drawn_size(base, random, most_pixels=400):
    """A base times a power of two, at random."""
    most = max(times for times in range(4) if base[0] * base[1] << 2 * times <= max(most_pixels, base[0] * base[1]))
    times = random.randint(min(1, most), most + 1)
    return resolution_of((base[0] << times, base[1] << times), base)


QUICK = [("a, dense", (3, 2)), ("b-d, linear", (5, 3)), ("e-f", (9, 16)), ("ada", (1, 1))]


@pytest.mark.parametrize(("config", "base"), QUICK)
def test_transposition(config, base):
    check(config, drawn_size(base, np.random.RandomState(len(config)), 100), 1)


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES, ids=size_text)
@pytest.mark.parametrize("config", CONFIGS)
def test_transposition_of_all_bases(config, base):
    random = np.random.RandomState([*base, len(config)])
    check(config, drawn_size(base, random), 2, num_channels=random.choice([1, 3, 4]))


def test_networks_are_of_the_level_of_their_images():
    G, D = networks("e-f", resolution_of([640, 384]), 3)
    assert G.model.resolution == resolution_of([640, 384]) and D.model.resolution_log2 == 9
    assert G.input_shape == [None, 6] and G.components.synthesis.input_shape == [None, 16, 6]
    assert G.output_shape == [None, 3, 640, 384] == D.input_shapes[0]
    square = networks("e-f", resolution_of(512), 3)
    for net, other in zip((G, D), square, strict=True):
        assert list(net.vars) == list(other.vars)
        differing = {name: var.shape for name, var in net.vars.items() if var.shape != other.vars[name].shape}
        assert {name for name in differing if "noise" not in name} <= {
            "G_synthesis/4x4/Const/const",
            "4x4/Dense0/weight",
        }
    assert G.vars["G_synthesis/4x4/Const/const"].shape[2:] == [5, 3]
    assert [tuple(G.vars[f"G_synthesis/noise{idx}"].shape[2:]) for idx in (0, 1, 14)] == [(5, 3), (10, 6), (640, 384)]


def test_sizes_that_no_network_can_have():
    for kwargs, message in (
        ({"resolution": [650, 390]}, "G_synthesis: resolution: 650x390: .*nearest is 640x384"),
        (
            {"resolution": [640, 384], "base": [4, 3]},
            "640x384 is not 4x3 times a power of two; 640x384 has the bases 5x3",
        ),
        ({"resolution": [128, 128], "base": [64, 64]}, "base 64x64: expected one of fewer than 512 pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            Network("G", func_name=f"{STYLEGAN2}.G_main", **kwargs)
