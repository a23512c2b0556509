"""State dicts of NVIDIA's PyTorch networks: names and values are the official ones, and every bit comes back."""

import golden
import numpy as np
import pytest

from dnnlib.formats import checkpoint_formats, torch_pickle
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import converter, network_files, nvidia_state_dict, torch_modules

safetensors = pytest.importorskip("safetensors")
save = pytest.importorskip("safetensors.numpy")
OFFICIAL = golden.ADA_GOLDENS / "pt_pickles"
CASES = golden.read_index(OFFICIAL / "index.json")
TINY = {"resolution": 16, "num_channels": 3, "fmap_base": 32, "fmap_max": 6}
TINY_G = {**TINY, "latent_size": 6, "dlatent_size": 6, "mapping_fmaps": 6, "mapping_layers": 2}
ADA, STYLEGAN2 = "training.networks", "training.networks_stylegan2"


def build(func_name, **kwargs):
    role = "D" if ".D_" in func_name else "G"
    net = Network(role, func_name=func_name, **{**(TINY if role == "D" else TINY_G), **kwargs})
    golden.set_variables(net.vars, role)
    return net


def convert(net, path):
    role = "D" if "images_in" in net.input_names else "Gs"
    return converter.Converter({role: net}).convert(checkpoint_formats.check_output(str(path), None, role, True))


def read(path):
    return next(net for net in network_files.load_pkl(path)[::-1] if net is not None)


def check_same(net, other):
    assert type(other.model) is type(net.model) and list(other.vars) == list(net.vars) and other.name == net.name
    assert other.build_kwargs.items() >= net.build_kwargs.items()
    for name, var in net.vars.items():
        assert other.get_var(name).tobytes() == var.numpy().tobytes(), name


# ----------------------------------------------------------------------------
# What the official code has.


@pytest.mark.parametrize("case", CASES)
def test_official_tensors(case, tmp_path):
    """The networks of an official pickle, as they are in it: names, shapes, values, filters, arguments."""
    path = OFFICIAL / CASES[case]["pkl"]
    with open(path, "rb") as file:
        modules = torch_pickle.load_pickle(file, case, "network pickle", torch_modules.ALLOWED)
    G, D, Gs = network_files.load_pkl(path)
    for key, role, net in (("G_ema", "Gs", Gs), ("D", "D", D)):
        file = tmp_path / f"{key}.pytorch.safetensors"
        nvidia_state_dict.write({role: net}, file)
        official, tensors = modules[key].tensors(), save.load_file(file)
        assert tensors.keys() == official.keys()
        for name, tensor in tensors.items():
            assert tensor.shape == official[name].shape and tensor.dtype == np.float32, name
            golden.close(tensor, official[name], 1e-7 if name.endswith("affine.bias") else 0)
        check_same(net, read(file))


def test_rounded_bits_come_back(tmp_path):
    """1 + 1e-9 is 1; what people changed in the file stays changed."""
    net = build(f"{STYLEGAN2}.G_main")
    bias = np.array([1e-9, -0.0, 0.1, 3e-8, -0.9, 123.4567], np.float32)
    net.set_var("G_synthesis/8x8/Conv1/mod_bias", bias)
    net.set_var("lod", 0.5)
    path = tmp_path / "a.pytorch.safetensors"
    assert "variables are equal" in convert(net, path)[0]
    check_same(net, read(path))
    with safetensors.safe_open(path, "np") as file:
        tensors, notes = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    tensors["synthesis.b8.conv1.affine.bias"] = tensors["synthesis.b8.conv1.affine.bias"] * np.float32(2)
    tensors["synthesis.b8.conv1.bias"] += 1
    save.save_file(tensors, path, notes)
    other = read(path)
    golden.close(other.get_var("G_synthesis/8x8/Conv1/mod_bias"), 2 * bias + 1, 1e-7)
    for name in ("G_synthesis/8x8/Conv0_up/mod_bias", "lod"):
        assert other.get_var(name).tobytes() == net.get_var(name).tobytes()
    golden.close(other.get_var("G_synthesis/8x8/Conv1/bias"), net.get_var("G_synthesis/8x8/Conv1/bias") + 1, 0)
