"""What the tools that take checkpoints of rosinality/stylegan2-pytorch find in a `.pt` that is written here.

Each makes its own Generator and Discriminator of a few numbers and loads entries of the file into them, half of them
strictly: each name must be there, in its shape, and no other.
"""

import re
from dataclasses import dataclass

import numpy as np
import pytest

from dnnlib.formats import checkpoint_formats, torch_pickle
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints.converter import Converter

pytestmark = pytest.mark.exports
SIZE = 8  # of the images here, in place of 256 or 1024
LINE = np.array([1, 3, 3, 1])
KERNEL = np.outer(LINE, LINE) / 64


@dataclass(frozen=True)
class Tool:
    """What a tool takes of a file.

    entries: of state dicts, loaded into classes for config f: 512 feature maps of these sizes, W of 512, 8 layers of
    mapping. strict: whether names beyond those, or missing, stop it. latent_avg: whether it takes the average of W.
    """

    entries: tuple[str, ...] = ("g_ema",)
    strict: bool = True
    latent_avg: bool = False


TOOLS = {
    "rosinality, generate.py": Tool(),
    "rosinality, train.py --ckpt": Tool(("g", "d", "g_ema")),
    "rosinality, projector.py": Tool(strict=False),
    "pixel2style2pixel": Tool(strict=False, latent_avg=True),
    "encoder4editing": Tool(strict=False, latent_avg=True),
    "ReStyle": Tool(latent_avg=True),
    "StyleCLIP, optimization and mapper": Tool(strict=False),
    "StyleGAN-NADA": Tool(("g_ema", "d")),
    "GANSpace": Tool(strict=False, latent_avg=True),
    "DragGAN of OpenGVLab": Tool(strict=False),
}


def generator_shapes(size):
    """Names and shapes that a Generator has, of 512 feature maps everywhere."""
    shapes = {
        f"style.{idx}.{what}": shape
        for idx in range(1, 9)
        for what, shape in (("weight", (512, 512)), ("bias", (512,)))
    }
    shapes["input.input"] = (1, 512, 4, 4)
    shapes |= styled("conv1") | to_rgb("to_rgb1") | {"noises.noise_0": (1, 1, 4, 4)}
    res, idx = 8, 0
    while res <= size:
        shapes |= (
            styled(f"convs.{2 * idx}") | {f"convs.{2 * idx}.conv.blur.kernel": (4, 4)} | styled(f"convs.{2 * idx + 1}")
        )
        shapes |= to_rgb(f"to_rgbs.{idx}") | {f"to_rgbs.{idx}.upsample.kernel": (4, 4)}
        shapes |= {f"noises.noise_{2 * idx + k}": (1, 1, res, res) for k in (1, 2)}
        res, idx = res * 2, idx + 1
    return shapes


def modulated(name, fmaps, kernel):
    shapes = {"weight": (1, fmaps, 512, kernel, kernel), "modulation.weight": (512, 512), "modulation.bias": (512,)}
    return {f"{name}.conv.{key}": shape for key, shape in shapes.items()}


def styled(name):
    return modulated(name, 512, 3) | {f"{name}.noise.weight": (1,), f"{name}.activate.bias": (512,)}


def to_rgb(name):
    return modulated(name, 3, 1) | {f"{name}.bias": (1, 3, 1, 1)}


def discriminator_shapes(size):
    """Names and shapes that a Discriminator has."""
    shapes = {"convs.0.0.weight": (512, 3, 1, 1), "convs.0.1.bias": (512,)}
    idx = 1
    while size > 4:
        block = {"conv1.0.weight": (512, 512, 3, 3), "conv1.1.bias": (512,)}
        block |= {"conv2.0.kernel": (4, 4), "conv2.1.weight": (512, 512, 3, 3), "conv2.2.bias": (512,)}
        block |= {"skip.0.kernel": (4, 4), "skip.1.weight": (512, 512, 1, 1)}
        shapes |= {f"convs.{idx}.{key}": shape for key, shape in block.items()}
        size, idx = size // 2, idx + 1
    shapes |= {"final_conv.0.weight": (512, 513, 3, 3), "final_conv.1.bias": (512,)}
    shapes |= {"final_linear.0.weight": (512, 8192), "final_linear.0.bias": (512,)}
    return shapes | {"final_linear.1.weight": (1, 512), "final_linear.1.bias": (1,)}


SHAPES = {"g": generator_shapes(SIZE), "g_ema": generator_shapes(SIZE), "d": discriminator_shapes(SIZE)}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """What is in a file of config f."""
    path = str(tmp_path_factory.mktemp("file") / "config-f.pt")
    sizes = {"num_channels": 3, "resolution": SIZE}
    networks = "training.networks_stylegan2"
    nets = {"G": Network("G", f"{networks}.G_main", **sizes), "D": Network("D", f"{networks}.D_stylegan2", **sizes)}
    nets["Gs"] = nets["G"].clone("Gs")
    nets["Gs"].set_var("dlatent_avg", np.random.RandomState(0).randn(512).astype(np.float32))
    lines = Converter(nets).convert(checkpoint_formats.check_output(path, None, None, False))
    assert f"Gs: g_ema is of Generator(size={SIZE}, style_dim=512, n_mlp=8, channel_multiplier=2)" in lines
    with open(path, "rb") as file:
        content = torch_pickle.load(file, path)
    return content | {"nets": nets}


@pytest.mark.parametrize("name", TOOLS)
def test_tools_find_what_they_take(content, name):
    tool = TOOLS[name]
    for entry in tool.entries:
        shapes = {key: tuple(tensor.shape) for key, tensor in content[entry].items()}
        assert shapes == SHAPES[entry] if tool.strict else shapes.items() >= SHAPES[entry].items()
        assert all(np.asarray(tensor).dtype == np.float32 for tensor in content[entry].values())
    if tool.latent_avg:
        latent_avg = np.asarray(content["latent_avg"])
        assert latent_avg.shape == (512,)  # which `repeat(18, 1)` makes [18, 512], and each sample takes as it is
        assert np.array_equal(latent_avg, content["nets"]["Gs"].get_var("dlatent_avg"))


def test_filters(content):
    """Those of the classes, which strict loading replaces: 4 times as much where feature maps or images grow."""
    for entry in SHAPES:
        for key, kernel in content[entry].items():
            if key.endswith("kernel"):
                gain = 4 if entry.startswith("g") else 1
                assert np.allclose(kernel, KERNEL * gain, rtol=1e-7), key


def test_directions(content):
    """closed_form_factorization.py: the weights of all modulations but those of to_rgbs, one below the other."""
    weights = [
        np.asarray(tensor)
        for key, tensor in content["g_ema"].items()
        if re.search(r"modulation.*weight", key) and "to_rgbs" not in key
    ]
    assert np.concatenate(weights).shape == (4 * 512, 512)
