"""State dicts of NVIDIA's PyTorch networks: names and values are the official ones, and every bit comes back."""

import json
import re
import sys

import golden
import numpy as np
import pytest

import run_convert
import training
from dnnlib.errors import UserError
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


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("cifar", "r32"))])
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


# ----------------------------------------------------------------------------
# What cannot be.


@pytest.mark.parametrize(
    ("func_name", "kwargs", "problems"),
    [
        (f"{STYLEGAN2}.G_main", {"label_size": 3, "dtype": "float16"}, ["label_size=3: labels are", "dtype=float16: "]),
        (f"{STYLEGAN2}.D_stylegan2", {"label_size": 3}, ["label_size=3: labels are those of StyleGAN2-ADA there"]),
        (f"{STYLEGAN2}.G_main", {"synthesis_func": "G_synthesis_stylegan_revised"}, ["growing generators"]),
        (f"{STYLEGAN2}.D_stylegan", {}, ["D_stylegan is neither of StyleGAN2 .* nor of StyleGAN2-ADA"]),
        ("training.networks_stylegan.G_style", {}, ["G_style is neither"]),
        (f"{ADA}.G_mapping", {}, ["G_mapping is neither"]),
        (f"{ADA}.G_main", {"resolution": [24, 20]}, ["resolution=24x20, base=6x5: images are square"]),
        (f"{ADA}.G_main", {"resolution": 24}, ["base=3x3"]),
        (f"{ADA}.D_main", {"resolution": 4}, ["resolution=4: discriminators are of 8x8 or more there"]),
        (
            f"{ADA}.G_main",
            {"fmap_const": 3, "normalize_latents": False, "fmap_decay": 2.0, "fmap_max": 20},
            ["fmap_const=3: .* feature maps as 4x4 there, 8", "normalize_latents=False", "do not fall with resolution"],
        ),
        (
            f"{ADA}.D_main",
            {"score_max": 2, "fmap_max": 20},
            ["has 20 features, there .* the convolution: 16", "score_max"],
        ),
    ],
)
def test_what_does_not_fit_is_named(func_name, kwargs, problems, tmp_path):
    net = build(func_name, **kwargs)
    with pytest.raises(UserError, match="(?s)a state dict of NVIDIA's PyTorch networks cannot hold this:") as error:
        convert(net, tmp_path / "a.pytorch.safetensors")
    for problem in problems:
        assert re.search(problem, str(error.value)), error.value
    assert str(error.value).count("\n") == len(problems) and list(tmp_path.iterdir()) == []


def test_files_that_are_none(tmp_path):
    """Of these, of PyTorch's own, and of anybody: read or refused, never more."""
    path = tmp_path / "a.pytorch.safetensors"
    convert(build(f"{ADA}.G_main"), path)
    with safetensors.safe_open(path, "np") as file:
        notes = file.metadata()
    tensors = save.load_file(path)
    described = json.loads(notes["stylegan2_networks"])
    entry = described["networks"]["Gs"]

    def problem(tensors=tensors, **changes):
        save.save_file(tensors, path, {key: text for key, text in {**notes, **changes}.items() if text is not None})
        with pytest.raises(network_files.NetworkFileError) as error:
            network_files.load_pkl(path)
        return str(error.value)

    def of(*entries):
        return json.dumps({**described, "networks": dict(zip(("Gs", "G"), entries, strict=False))})

    nothing = {"class_name": None, "stylegan2_networks": None}
    assert "without the metadata of the file" in problem(**nothing)
    assert "no description of networks" in problem({"x": np.zeros(3, np.float32)}, **nothing)
    assert "is no description of networks" in problem(stylegan2_networks=None)
    assert "of one network, its description of 2" in problem(stylegan2_networks=of(entry, entry))
    for func_name, message in (
        ("os.system", "is no network of the official code"),
        ("training.networks_stylegan.G_style", "describe"),
    ):
        assert message in problem(stylegan2_networks=of({**entry, "func_name": func_name}))
    wider = {**entry, "static_kwargs": {**entry["static_kwargs"], "mapping_fmaps": 7}}
    assert "mapping.fc0.weight: has shape [6, 6], the network needs [7, 6]" in problem(stylegan2_networks=of(wider))
    growing = {**entry["static_kwargs"], "synthesis_func": "G_synthesis_stylegan_revised"}
    growing = {**entry, "func_name": f"{STYLEGAN2}.G_main", "static_kwargs": growing}
    assert "is described as what no state dict is of" in problem(stylegan2_networks=of(growing))
    assert "mapping.w_avg: missing" in problem({key: x for key, x in tensors.items() if key != "mapping.w_avg"})
    box = {"synthesis.b8.resample_filter": np.full([4, 4], 1 / 16, np.float32)}
    assert "b8.resample_filter is another filter than its description says" in problem(tensors | box)
    assert "other: not part of the network" in problem({**tensors, "other": np.zeros(3, np.float32)})
    for text in ("", "[]", "[1]", "{]", '{"lod": 3}', '{"lod": [[], "?"]}', '{"lod": [[2], "AAAA"]}', "[" * 10**5):
        assert "rounded variables cannot be read" in problem(rounded_variables=text)
    save.save_file(tensors, path, {**notes, "rounded_variables": '{"lod": [[1], "AAAAAA=="], "x": [[0], ""]}'})
    read(path)


def test_command_line(tmp_path, monkeypatch, capsys):
    """What is said is what can be pasted."""
    monkeypatch.chdir(tmp_path)
    network_files.save_pkl(build(f"{ADA}.D_main", label_size=2), "d.pkl")
    monkeypatch.setattr(sys, "argv", ["run_convert.py", "d.pkl", "--network=D", "--output=d.pytorch.safetensors"])
    run_convert.main()
    said = capsys.readouterr().out
    assert "D = training.networks.Discriminator(c_dim=2, img_resolution=16, img_channels=3, channel_base=64, " in said
    assert "D.load_state_dict(safetensors.torch.load_file('d.pytorch.safetensors'))" in said
    with pytest.raises(UserError, match="expected --network=G or --network=D or --network=Gs, got --network=all"):
        checkpoint_formats.check_output("a.pytorch.safetensors", None, "all", False)


# ----------------------------------------------------------------------------
# What PyTorch computes.

TWO_PARTS = [(f"{STYLEGAN2}.G_main", {"architecture": name}) for name in ("orig", "skip", "resnet")]
TWO_PARTS += [(f"{STYLEGAN2}.D_stylegan2", {"architecture": name}) for name in ("orig", "skip", "resnet")]
OTHERS = [
    (f"{ADA}.G_main", {"label_size": 3, "latent_size": 5, "mapping_fmaps": 7, "mapping_layers": 8}),
    (f"{ADA}.G_main", {"label_size": 3, "label_fmaps": 4, "mapping_layers": 1, "use_noise": False}),
    (f"{ADA}.G_main", {"mapping_layers": 0, "num_channels": 4, "resample_kernel": None, "resolution": 8}),
    (f"{ADA}.G_main", {"resample_kernel": [1, 2, 4, 3, 1], "nonlinearity": "swish", "mapping_nonlinearity": "relu"}),
    (f"{ADA}.G_main", {"resample_kernel": [1, 2, 3, 4, 5, 6, 7, 8], "architecture": "resnet", "conv_clamp": 0.5}),
    (f"{ADA}.G_main", {"num_fp16_res": 2, "conv_clamp": 0.7, "num_channels": 1, "dlatent_avg_beta": None}),
    (f"{ADA}.G_main", {"fmap_base": 6, "fmap_max": 64, "fmap_decay": 0.0, "mapping_lrmul": 0.02, "resolution": 32}),
    (f"{ADA}.D_main", {"label_size": 3, "mapping_layers": 2, "mapping_fmaps": 5, "mapping_lrmul": 0.3}),
    (f"{ADA}.D_main", {"label_size": 3, "mbstd_group_size": 2, "mbstd_num_features": 2, "freeze_layers": 3}),
    (f"{ADA}.D_main", {"mbstd_num_features": 0, "resample_kernel": [1, 2, 1], "nonlinearity": "elu"}),
    (f"{ADA}.D_main", {"mbstd_group_size": 1, "conv_clamp": 0.5, "num_channels": 1, "resample_kernel": None}),
    (f"{ADA}.D_main", {"mbstd_group_size": 1, "architecture": "skip", "conv_clamp": 0.5, "pytorch_details": True}),
]


@pytest.mark.torch
@pytest.mark.parametrize(("func_name", "kwargs"), TWO_PARTS + OTHERS)
def test_pytorch_computes_the_same(func_name, kwargs, tmp_path, monkeypatch):
    """The lines that are printed, executed where `training.networks` is an evaluation of its own; in 32 bit."""
    torch = pytest.importorskip("torch")
    import nvidia_reference

    net = build(func_name, **kwargs)
    path = tmp_path / "a.pytorch.safetensors"
    lines = [line.removeprefix("in PyTorch: ") for line in convert(net, path) if line.startswith("in PyTorch: ")]
    there = {}
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "training.networks", nvidia_reference)
        patched.setattr(training, "networks", nvidia_reference, raising=False)
        exec("\n".join(lines), there)
    n, label_size = 4, kwargs.get("label_size", 0)
    labels = np.eye(label_size, dtype=np.float32)[np.arange(n) % label_size] if label_size else None
    inputs = golden.rnd(1, n, *net.input_shapes[0][1:])
    arguments = [None if x is None else torch.tensor(x) for x in (inputs, labels)]
    exact = net.model.float32_kwargs()
    with torch.no_grad():
        if "D" in there:
            golden.close(there["D"](*arguments), net.run(inputs, labels, minibatch_size=n, **exact), 1e-5)
            return
        for options in ({}, {"truncation_psi": 0.6}, {"truncation_psi": -0.5, "truncation_cutoff": 3}):
            ours = net.run(inputs, labels, **{"truncation_psi": 1, **options}, randomize_noise=False, **exact)
            golden.close(there["Gs"](*arguments, **options), ours, 1e-5)
    assert ours.std() > 0.1


@pytest.mark.torch
@pytest.mark.parametrize("case", CASES)
def test_pytorch_computes_what_the_official_code_computes(case, tmp_path):
    """Official pickles, through our files, in the evaluation: it is right, too."""
    torch = pytest.importorskip("torch")
    import nvidia_reference
    import safetensors.torch

    _, D, Gs = network_files.load_pkl(OFFICIAL / CASES[case]["pkl"])
    nets = {}
    for role, net in (("Gs", Gs), ("D", D)):
        path = tmp_path / f"{role}.pytorch.safetensors"
        convert(net, path)
        with safetensors.safe_open(path, "np") as file:
            notes = file.metadata()
        tensors = safetensors.torch.load_file(path)
        nets[role] = nvidia_reference.built(notes["class_name"], json.loads(notes["init_kwargs"]), tensors)
    with np.load(OFFICIAL / CASES[case]["npz_file"]) as npz:
        data = {key: torch.tensor(npz[key]) for key in npz.files}
    z, labels = data["z"], data.get("labels")
    compared = 0
    for key, options in (("", {}), ("_psi0.7", {"truncation_psi": 0.7})):
        if f"Gema_img_const{key}" in data:
            golden.close(nets["Gs"](z, labels, **options), data[f"Gema_img_const{key}"].numpy(), 1e-5)
            compared += 1
    for key, inputs, given in (
        ("D_logits_x", golden.rnd(int(data["D_x_seed"]), len(z), *D.input_shape[1:]), data.get("D_labels")),
        ("D_logits_on_G_img", data.get("G_img_const"), labels),
    ):
        if key in data:
            golden.close(nets["D"](torch.as_tensor(inputs), given), data[key].numpy(), 1e-5)
            compared += 1
    assert compared >= 2
