"""Checkpoints of rosinality/stylegan2-pytorch that are written here: nothing is lost, what does not fit is refused."""

import errno
import io
import json
import os
import zipfile

import golden
import numpy as np
import pytest
import weight_writers as writers

from dnnlib.errors import UserError
from dnnlib.formats import checkpoint_formats, torch_pickle
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import converter, network_files
from dnnlib.tflib.checkpoints.rosinality import fit

STYLEGAN2, ADA = "training.networks_stylegan2", "training.networks"
pytestmark = pytest.mark.exports
SIZES = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 4}
G_SIZES = {**SIZES, "latent_size": 6, "dlatent_size": 6, "mapping_fmaps": 6, "mapping_layers": 2}


def build(name, func_name, seed=0, **kwargs):
    is_generator = "G_" in func_name
    net = Network(name, func_name, **{**(G_SIZES if is_generator else SIZES), **kwargs})
    golden.set_variables(net.vars, f"{name}{seed}")
    for key, var in net.vars.items():
        if key.endswith("mod_bias"):  # 1 is added in the file: these lose most of their bits
            var.assign(1e-6 * golden.rnd(seed, *var.shape))
    return net


def tiny(module=STYLEGAN2, D="D_stylegan2", of_g=None, of_d=None, **kwargs):
    G, Gs = (build(name, f"{module}.G_main", idx, **kwargs, **(of_g or {})) for idx, name in enumerate(("G", "Gs")))
    return {"G": G, "D": build("D", f"{module}.{D}", **kwargs, **(of_d or {})), "Gs": Gs}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def nets():
    return tiny(of_g={"architecture": "skip", "mapping_lrmul": 0.02, "truncation_psi": 0.6})


def convert(nets, path, network=None, overwrite=False):
    return converter.Converter(nets).convert(checkpoint_formats.check_output(path, None, network, overwrite))


def read(path):
    return converter.networks_of(network_files.load_pkl(path), path)


def content_of(path):
    with open(path, "rb") as file:
        return torch_pickle.load(file, path)


def read_changed(content):
    data = writers.pth_zip(content)
    return dict(zip(["G", "D", "Gs"], network_files.read(io.BytesIO(data), "changed.pt"), strict=True))


@pytest.mark.parametrize("family", ["StyleGAN2", "ADA"])
def test_nothing_is_lost(here, family, nets):
    """Not even the pickle's bytes."""
    if family == "ADA":
        kwargs = {"num_fp16_res": 1, "conv_clamp": 256, "resample_kernel": [1, 2, 1]}
        nets = tiny(ADA, "D_main", of_d={"mbstd_group_size": 2}, **kwargs)
        nets["D"].augment_p = 0.3
    convert(nets, "before.pkl")
    lines = convert(nets, "nets.pt")
    assert [line for line in lines if "differ" in line and "differ by 0 at most" not in line] == []
    again = read("nets.pt")
    convert(again, "after.pkl")
    assert (here / "before.pkl").read_bytes() == (here / "after.pkl").read_bytes()
    convert(again, "again.pt")
    assert (here / "nets.pt").read_bytes() == (here / "again.pt").read_bytes()
    assert again["D"].augment_p == nets["D"].augment_p
    content = content_of("nets.pt")
    assert list(content)[:4] == ["g", "d", "g_ema", "latent_avg"]
    np.testing.assert_array_equal(content["latent_avg"], nets["Gs"].get_var("dlatent_avg"))


def test_official_pickles(here):
    """Their source text is lost, as in every other format, and nothing else."""
    official = read(str(golden.GOLDENS / "pickles" / "cfgf-r16-gray.pkl"))
    for name in ("a.pt", "a.npz"):
        convert(official, name)
        convert(read(name), f"{name}.pkl")
    assert (here / "a.pt.pkl").read_bytes() == (here / "a.npz.pkl").read_bytes()


def test_a_full_disk(here, nets, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(zipfile._ZipWriteFile, "write", full)
    with pytest.raises(UserError, match="nets.pt: cannot be written: No space left on device"):
        convert(nets, "nets.pt")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("role", ["G", "D", "Gs"])
def test_single_networks(here, nets, role):
    lines = convert(nets, "one.pt", role)
    assert set(content_of("one.pt")) >= {{"G": "g", "D": "d", "Gs": "g_ema"}[role]}
    assert ("note: there is no g_ema" in "".join(lines)) == (role == "G")
    net = read("one.pt")[role]
    for name, var in nets[role].vars.items():
        np.testing.assert_array_equal(net.get_var(name), var.numpy())


def test_files_of_others_come_back(here):
    """Without an entry of ours they have the arguments that tensors tell, and from then on those."""
    nets = tiny(of_g={"truncation_psi": 1})
    content = {}
    convert(nets, "nets.pt")
    for key, value in content_of("nets.pt").items():
        if key in ("g", "d", "g_ema", "latent_avg"):
            content[key] = value
    others = read_changed(content)
    convert(others, "again.pt")
    again = content_of("again.pt")
    for key in ("g", "d", "g_ema"):
        assert again[key].keys() == content[key].keys()
        for name, tensor in content[key].items():
            np.testing.assert_allclose(again[key][name], tensor, atol=1e-7 if "modulation.bias" in name else 0)


def test_tensors_that_were_changed_count(here, nets, capsys):
    """What is kept of a variable counts where the tensor is as it was; the arguments, where the shapes are."""
    convert(nets, "nets.pt")
    content = content_of("nets.pt")
    content["g_ema"]["conv1.conv.modulation.bias"] = np.full([4], 2, np.float32)
    Gs = read_changed(content)["Gs"]
    np.testing.assert_array_equal(Gs.get_var("G_synthesis/4x4/Conv/mod_bias"), np.ones(4))
    exact = "G_synthesis/4x4/ToRGB/mod_bias"
    np.testing.assert_array_equal(Gs.get_var(exact), nets["Gs"].get_var(exact))
    assert Gs.static_kwargs["truncation_psi"] == 0.6 and "description" not in capsys.readouterr().err

    for key in ("g_ema", "g"):
        content[key] |= {
            f"style.{n}.{leaf}": content[key][f"style.2.{leaf}"] for n in (3, 4) for leaf in ("weight", "bias")
        }
    Gs = read_changed(content)["Gs"]
    assert Gs.static_kwargs["mapping_layers"] == 4 and Gs.static_kwargs["truncation_psi"] == 1
    assert "Gs: left out is its description in the file, which does not fit the tensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (3, "is no description"),
        ({"description": "{}"}, "is no description"),
        ({"description": '{"version": 2, "networks": {"Gs": {}}}'}, "is of format version 2"),
        ({"description": '{"version": 1, "networks": {"Gs": {}}}', "variables": {}}, "is no network"),
    ],
)
def test_entries_that_are_none(here, nets, entry, reason, capsys):
    convert(nets, "gs.pt", "Gs")
    Gs = read_changed(content_of("gs.pt") | {"stylegan2_networks": entry})["Gs"]
    assert Gs.output_shape == [None, 3, 8, 8] and reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("role", "key", "value"),
    [("Gs", "nonlinearity", "relu"), ("Gs", "normalize_latents", False), ("D", "dtype", "float16")],
)
def test_entries_do_not_say_what_the_layout_cannot_be(here, nets, role, key, value, capsys):
    convert(nets, "nets.pt")
    content = content_of("nets.pt")
    described = json.loads(content["stylegan2_networks"]["description"])
    described["networks"][role]["static_kwargs"][key] = value
    content["stylegan2_networks"] |= {"description": json.dumps(described)}
    assert key not in read_changed(content)[role].static_kwargs
    assert f"{key}={value!r}, expected " in capsys.readouterr().err


def test_a_filter_of_one_tap(here):
    Gs = build("Gs", f"{STYLEGAN2}.G_main", resample_kernel=[1])
    assert "33 of 33 variables are equal" in convert({"Gs": Gs}, "gs.pt")[0]
    assert read("gs.pt")["Gs"].static_kwargs["resample_kernel"] == [1]


def test_damaged_entries_cost_no_network(here, nets):
    """The tensors are as they were: networks are read whatever becomes of what is said beside them."""
    convert(nets, "gs.pt", "Gs")
    content, random = content_of("gs.pt"), np.random.RandomState(0)
    entry = content["stylegan2_networks"]
    for _ in range(20):
        text = list(entry["description"])
        for place in random.randint(0, len(text), random.choice([1, 1, 4])):
            text[place] = random.choice(["", "0", "9", '"', "[", "}", ",", "N", text[place] * 2])
        name = random.choice(list(entry["variables"]))
        other = [entry["variables"][name], 3, np.zeros([3], np.float32), np.zeros([4])][random.randint(4)]
        changed = {"description": "".join(text), "variables": entry["variables"] | {name: other}}
        read = read_changed(content | {"stylegan2_networks": changed})
        weight = "G_synthesis/8x8/Conv1/weight"
        np.testing.assert_array_equal(read["Gs"].get_var(weight), nets["Gs"].get_var(weight))


@pytest.mark.parametrize(
    ("kwargs", "wanted"),
    [
        ({"label_size": 3}, ["\n  G, D, Gs: label_size=3, expected 0"]),
        ({"resolution": [8, 6]}, ["G, D, Gs: resolution 8x6 (base 4x3)"]),
        ({"nonlinearity": "relu"}, ["G, D, Gs: nonlinearity='relu', expected 'lrelu'"]),
        (
            {"architecture": "orig"},
            ["G, Gs: architecture='orig', expected 'skip'", "D: architecture='orig', expected 'resnet'"],
        ),
        ({"architecture": "skip"}, ["D: architecture='skip'", "--network=G or --network=Gs is possible"]),
        ({"architecture": "resnet"}, ["Gs: architecture='resnet'", "--network=D is possible"]),
    ],
)
def test_what_does_not_fit_is_refused(here, kwargs, wanted):
    with pytest.raises(UserError) as error:
        convert(tiny(**kwargs), "nets.pt")
    assert str(error.value).startswith("nets.pt: a checkpoint of rosinality/stylegan2-pytorch cannot hold this:")
    assert all(line in str(error.value) for line in wanted)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("func_name", "kwargs", "wanted"),
    [
        (
            f"{STYLEGAN2}.G_main",
            {"latent_size": 5, "mapping_fmaps": 7, "fmap_const": 3, "use_noise": False, "normalize_latents": False},
            [
                *("latent_size=5, dlatent_size=6", "mapping_fmaps=7", "fmap_const=3", "use_noise=False"),
                "normalize_latents=False",
            ],
        ),
        (f"{STYLEGAN2}.G_main", {"mapping_layers": 0}, ["mapping_layers=0: the mapping network has a layer"]),
        (f"{STYLEGAN2}.G_main", {"conv_clamp": 0.01}, ["conv_clamp=0.01: the layout does not clamp"]),
        (f"{STYLEGAN2}.G_main", {"synthesis_func": "G_synthesis_stylegan_revised"}, ["G_synthesis_stylegan_revised: "]),
        ("training.networks_stylegan.G_style", {}, ["G_style: the layout has networks of StyleGAN2"]),
        (f"{STYLEGAN2}.D_stylegan", {}, ["D_stylegan: the layout has networks of StyleGAN2"]),
        (f"{STYLEGAN2}.D_stylegan2", {"mbstd_group_size": 1}, ["mbstd_group_size=1, mbstd_num_features=1: the layout"]),
        (f"{ADA}.D_main", {"score_max": 2, "score_size": 2}, ["score_size=2", "score_max=2"]),
    ],
)
def test_single_networks_are_refused(here, func_name, kwargs, wanted):
    with pytest.raises(UserError) as error:
        convert({"D" if ".D_" in func_name else "Gs": build("net", func_name, **kwargs)}, "net.pt")
    assert all(line in str(error.value) for line in wanted)


def test_how_the_classes_are_called(here):
    nets = tiny(resolution=8, num_channels=4, resample_kernel=[1, 2, 1], of_g={"mapping_lrmul": 0.1})
    nets["D"] = build("D", f"{ADA}.D_main", resolution=8, mbstd_num_features=2, fmap_max=20)
    lines = [line for line in convert(nets, "nets.pt") if "differ" not in line]
    channels = "to be changed in the class: channels = {4: 4, 8: 4}, as no channel_multiplier gives these"
    call = "Generator(size=8, style_dim=6, n_mlp=2, blur_kernel=[1, 2, 1], lr_mlp=0.1)"
    of_generators = [
        channels,
        "to be changed in the class: ToRGB makes 4 channels in place of 3",
        "to be changed in the class: each ToRGB is given blur_kernel",
    ]
    assert [line for line in lines if line.startswith("G")] == [
        f"G: g is of {call}",
        *[f"G, Gs: {line}" for line in of_generators],
        f"Gs: g_ema is of {call}",
    ]
    assert [line for line in lines if line.startswith("D:")] == [
        "D: d is of Discriminator(size=8)",
        "D: to be changed in the class: channels = {8: 8, 4: 16}, as no channel_multiplier gives these",
        "D: to be changed in the class: stddev_group = the minibatch",
        "D: to be changed in the class: stddev_feat = 2, and final_conv takes in_channel + 2",
        "D: to be changed in the class: final_linear has 20 features in place of channels[4]",
    ]


@pytest.mark.parametrize(("fmap_base", "multiplier"), [(16 << 10, 2), (8 << 10, 1)])
def test_channel_multipliers(fmap_base, multiplier):
    """Of configs f and e; without making such networks, only the shapes that tell."""
    shapes = {"style.1.weight": [512, 512], "conv1.conv.weight": [1, 512, 512, 3, 3], "to_rgb1.bias": [1, 3, 1, 1]}
    for idx in range(16):
        shapes[f"convs.{idx}.conv.weight"] = [1, min(fmap_base // (4 << idx // 2), 512), 0, 3, 3]
    tensors = {
        name: np.lib.stride_tricks.as_strided(np.zeros(1), shape, [0] * len(shape)) for name, shape in shapes.items()
    }
    args = {"resample_kernel": [1, 3, 3, 1], "mapping_lrmul": 0.01, "conv_clamp": None}
    line = f"g_ema is of Generator(size=1024, style_dim=512, n_mlp=1, channel_multiplier={multiplier}"
    assert fit.describe("Gs", "g_ema", args, tensors) == [f"{line})"]
