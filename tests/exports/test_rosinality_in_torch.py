"""Checkpoints of rosinality's layout in PyTorch: loaded strictly as the output says, they compute what ours do."""

import io
import re
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import golden
import numpy as np
import pytest

import pretrained_networks
from dnnlib.formats import checkpoint_formats, torch_writer
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import converter, network_files
from dnnlib.tflib.checkpoints.rosinality import fit

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
layout = pytest.importorskip("rosinality_torch")
STYLEGAN2, ADA = "training.networks_stylegan2", "training.networks"
SIZES = {"resolution": 16, "num_channels": 3, "fmap_base": 64, "fmap_max": 12}
G_SIZES = {"latent_size": 10, "dlatent_size": 10, "mapping_fmaps": 10, "mapping_layers": 3}
CASES = {
    "config f": {"resolution": 64, "fmap_base": 16 << 10, "fmap_max": 512},
    "config e": {"resolution": 64, "fmap_base": 8 << 10, "fmap_max": 512},
    "smallest": {"resolution": 4},
    "box": {"resample_kernel": None},
    "asymmetric": {"resample_kernel": [1, 2, 5]},
    "long": {"resample_kernel": [1, 4, 7, 9, 3, 1]},
    "RGBA": {"num_channels": 4, "resolution": 32},
    "gray": {"num_channels": 1},
    "feature maps": {"fmap_base": 30, "fmap_max": 100, "fmap_decay": 0.7, "fmap_min": 3},
}
OF_G = {"config f": {"mapping_layers": 8}, "gray": {"mapping_layers": 1, "mapping_lrmul": 0.5}}
OF_D = {"gray": {"mbstd_group_size": 2, "mbstd_num_features": 3}, "box": {"mbstd_group_size": 8}}


def build(name, func_name, **kwargs):
    net = Network(name, func_name, **kwargs)
    golden.set_variables(net.vars, name)
    return net


def arguments(lines, role):
    """How the class is called, and what the lines say is to be changed in it."""
    text = "\n".join(line for line in lines if role in line.split(": ")[0].split(", "))  # "G, Gs: ..." is of both
    kwargs = eval(f"dict({re.search(r'is of [A-Z][a-z]+[(](.*)[)]', text)[1]})")
    changes = {
        "channels": r"channels = (\{.*\}),",
        "colours": r"(?:makes|takes) (\d) channels",
        "stddev_group": r"stddev_group = (\d+)",
        "stddev_feat": r"stddev_feat = (\d)",
        "last": r"final_linear has (\d+)",
    }
    found = {key: re.search(pattern, text) for key, pattern in changes.items()}
    return kwargs | {key: eval(match[1]) for key, match in found.items() if match}


def check(nets, path, z_size):
    """Writes networks, evaluates them in PyTorch, and returns the largest differences of images and scores."""
    lines = converter.Converter(nets).convert(checkpoint_formats.check_output(str(path), None, None, True))
    content = torch.load(path, weights_only=True, mmap=True)
    generator = layout.Generator(**arguments(lines, "Gs"))
    assert not any(generator.load_state_dict(content["g_ema"], strict=True))
    z = golden.rnd(3, 4, z_size)
    with torch.no_grad():
        w = content["latent_avg"] + 0.7 * (generator.style(torch.tensor(z)) - content["latent_avg"])
        images = generator(w).numpy()
    expected = nets["Gs"].run(z, None, truncation_psi=0.7, randomize_noise=False)
    assert np.abs(images - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
    if "D" in nets:
        discriminator = layout.Discriminator(**arguments(lines, "D"))
        assert not any(discriminator.load_state_dict(content["d"], strict=True))
        with torch.no_grad():
            scores = discriminator(torch.tensor(images)).numpy()
        expected = nets["D"].run(images, None, minibatch_size=4)
        assert expected.std() > 0
        assert np.abs(scores - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_what_is_computed(tmp_path, name):
    kwargs = SIZES | CASES[name]
    of_g = kwargs | G_SIZES | OF_G.get(name, {})
    nets = {
        "D": build("D", f"{STYLEGAN2}.D_stylegan2", **kwargs, **OF_D.get(name, {})),
        "Gs": build("Gs", f"{STYLEGAN2}.G_main", **of_g),
    }
    check(nets, tmp_path / "nets.pt", 10)


def test_networks_of_pytorch(tmp_path):
    """Of StyleGAN2-ADA, with 16 bit and clamping, read from an official pickle."""
    folder = golden.ADA_GOLDENS / "pt_pickles"
    tried = []
    for name, case in golden.read_index(folder / "index.json").items():
        nets = converter.networks_of(pretrained_networks.read(str(folder / case["pkl"])), name)
        nets = {key: nets[key] for key in ("D", "Gs")}
        if any(map(fit.problems_of, nets.values())):
            continue
        check(nets, tmp_path / "nets.pt", nets["Gs"].input_shape[1])
        tried.append(name)
    assert tried == ["r16-gray"]


def test_what_torch_saves_again(tmp_path):
    """The entry of ours survives, and believes what was changed there."""
    nets = {"Gs": build("Gs", f"{STYLEGAN2}.G_main", **SIZES, **G_SIZES, mapping_lrmul=0.03)}
    path = tmp_path / "nets.pt"
    converter.Converter(nets).convert(checkpoint_formats.check_output(str(path), None, None, True))
    content = torch.load(path, weights_only=True)
    content["g_ema"]["convs.1.conv.weight"] *= 2
    torch.save(content, path)
    read = network_files.load_pkl(path)[2]
    for name, var in nets["Gs"].vars.items():
        np.testing.assert_array_equal(read.get_var(name), var.numpy() * (2 if "8x8/Conv1/weight" in name else 1))
    assert read.static_kwargs["mapping_lrmul"] == 0.03


STEP = """
import sys
import torch
import rosinality_torch as layout
content = torch.load(sys.argv[1], weights_only=True)
for key, module, inputs, ratio in (
    ("g", layout.Generator(**eval(sys.argv[2])), (2, 10), 4 / 5),
    ("d", layout.Discriminator(**eval(sys.argv[3])), (2, 3, 16, 16), 16 / 17),
):
    module.load_state_dict(content[key])
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    optimizer.load_state_dict(content[key + "_optim"])
    (group,) = optimizer.param_groups
    before = [parameter.detach().clone() for parameter in module.parameters()]
    x = torch.ones(inputs)
    module(x if key == "d" else module.style(x)).square().sum().backward()
    optimizer.step()
    steps = [float((a - b).abs().max()) for a, b in zip(before, module.parameters())]
    print(group["lr"] / ratio, *group["betas"], max(steps) / ratio)
"""


def test_a_training_goes_on(tmp_path):
    """With new optimizers, of the learning rates that trainings there have. In a process without TensorFlow."""
    nets = {name: build(name, f"{STYLEGAN2}.G_main", **SIZES, **G_SIZES) for name in ("G", "Gs")}
    nets["D"] = build("D", f"{STYLEGAN2}.D_stylegan2", **SIZES)
    path = tmp_path / "nets.pt"
    lines = converter.Converter(nets).convert(checkpoint_formats.check_output(str(path), None, None, True))
    args = [sys.executable, "-c", STEP, str(path), *(repr(arguments(lines, role)) for role in ("G", "D"))]
    helpers = Path(layout.__file__).parent
    said = subprocess.run(args, cwd=helpers, check=True, capture_output=True, text=True).stdout.split()
    of_g, of_d = np.array(said, np.float64).reshape(2, 4)
    np.testing.assert_allclose(of_g, [0.002, 0, 0.99**0.8, 0.002], rtol=0.01)
    np.testing.assert_allclose(of_d, [0.002, 0, 0.99 ** (16 / 17), 0.002], rtol=0.01)


def test_the_file_is_as_torch_writes_it():
    """The pickle to the byte; the tensors; and the parts of the zip, but for those that newer versions added."""
    arrays = {"a.weight": golden.rnd(1, 4, 3, 2), "scalar": golden.rnd(2, 1)[0]}
    rest = {"text": "some", "number": 1.5, "nested": {"list": [1, None, (True, "some")]}}
    ours, theirs = io.BytesIO(), io.BytesIO()
    tensors = OrderedDict((name, torch_writer.Tensor(np.shape(x), lambda x=x: x)) for name, x in arrays.items())
    torch_writer.save({"g": tensors, **rest}, ours)
    torch.save({"g": OrderedDict((name, torch.tensor(x)) for name, x in arrays.items()), **rest}, theirs)
    with zipfile.ZipFile(ours) as a, zipfile.ZipFile(theirs) as b:
        assert set(a.namelist()) <= set(b.namelist())
        for name in a.namelist():
            assert a.read(name) == b.read(name)
    ours.seek(0)
    loaded = torch.load(ours, weights_only=True)
    assert {key: loaded[key] for key in rest} == rest
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded["g"][name].numpy(), array)
