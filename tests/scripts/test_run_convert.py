"""Conversion of networks between formats: what is written, read again, compared, refused, downloaded."""

import http.server
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import golden
import numpy as np
import pytest
import tensorflow as tf

import pretrained_networks
import run_convert
from dnnlib.errors import UserError
from dnnlib.formats import arrays as array_files
from dnnlib.formats import checkpoint_formats, network_pickle
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import converter, network_files

ROOT = Path(__file__).parent.parent.parent
ADA = golden.ADA_GOLDENS
SIZES = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 4}
G_SIZES = {**SIZES, "latent_size": 6, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
FILES = ("net.pkl", "net.npz", "net.safetensors", "net.weights.h5")


def build(func_name, name, **kwargs):
    sizes = SIZES if func_name.split(".")[-1].startswith("D") else G_SIZES
    net = Network(name, func_name=func_name, **{**sizes, **kwargs})
    golden.set_variables(net.vars, name)
    return net


def tiny(module="training.networks", G="G_main", D="D_main", **kwargs):
    nets = {"G": build(f"{module}.{G}", "G", **kwargs), "D": build(f"{module}.{D}", "D", **kwargs)}
    return {**nets, "Gs": build(f"{module}.{G}", "Gs", **kwargs)}


@pytest.fixture(scope="module")
def nets():
    """Networks of StyleGAN2-ADA with three classes."""
    return tiny(label_size=3, num_fp16_res=1, conv_clamp=256)


@pytest.fixture(scope="module")
def pickle(nets, tmp_path_factory):
    path = tmp_path_factory.mktemp("pickle") / "source.pkl"
    network_files.save_pkl((nets["G"], nets["D"], nets["Gs"]), path)
    return str(path)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(nets, path, network=None, overwrite=False):
    return converter.Converter(nets).convert(checkpoint_formats.check_output(path, None, network, overwrite))


def main(monkeypatch, *args):
    """The exit status of the script."""
    monkeypatch.setattr(sys, "argv", ["run_convert.py", *map(str, args)])
    try:
        run_convert.main()
    except SystemExit as error:
        return error.code
    return 0


def check_same(read, nets):
    assert read.keys() == nets.keys()
    for role, net in nets.items():
        assert read[role].name == net.name and type(read[role].model) is type(net.model)
        assert read[role].build_kwargs.items() >= net.build_kwargs.items()
        assert list(read[role].vars) == list(net.vars)
        for name, var in net.vars.items():
            np.testing.assert_array_equal(read[role].get_var(name), var.numpy())


# ----------------------------------------------------------------------------
# Formats.


@pytest.mark.parametrize("name", FILES)
def test_files_are_read_again(here, nets, name):
    lines = convert(nets, name)
    roles = ["Gs"] if name.endswith(".h5") else ["G", "D", "Gs"]
    of_pytorch = lines[len(roles) :]
    assert (" find no label_fmaps=6 in such a pickle" in "".join(of_pytorch)) == name.endswith(
        ".pkl"
    )  # W has 8 dimensions
    assert [line.split(":")[0] for line in lines] == roles + ["note"] * len(of_pytorch)
    assert all(" differ by 0 at most" in line and "variables are equal" in line for line in lines[: len(roles)])
    G, D, Gs = pretrained_networks.load_networks(name)
    if roles == ["Gs"]:
        assert G is D is None
    check_same(dict(zip(roles, filter(None, (G, D, Gs)), strict=True)), {role: nets[role] for role in roles})


@pytest.mark.parametrize(
    "family",
    [
        ("training.networks_stylegan2", "G_main", "D_stylegan2", {"architecture": "orig"}),
        ("training.networks_stylegan2", "G_main", "D_stylegan", {"synthesis_func": "G_synthesis_stylegan_revised"}),
        ("training.networks_stylegan", "G_style", "D_basic", {"label_size": 2}),
    ],
)
def test_families(here, family):
    module, G, D, kwargs = family
    nets = {"D": build(f"{module}.{D}", "D"), "Gs": build(f"{module}.{G}", "Gs", **kwargs)}
    if G == "G_style":
        convert(nets, "model")
    for name, network in (("a.safetensors", None), ("a.pkl", None), ("d.weights.h5", "D")):
        convert(nets, name, network)
        roles = [network] if network else ["D", "Gs"]
        check_same(converter.networks_of(network_files.load_pkl(name), name), {role: nets[role] for role in roles})
    G, *others = pickled("a.pkl")
    assert G is None and [net.state["version"] for net in others] == [4, 4]


def pickled(path):
    with open(path, "rb") as file:
        return list(network_pickle.load(file, path))


def test_images_of_any_shape(here):
    """Not square, of another base, with alpha: the PyTorch versions know nothing of such."""
    nets = tiny(resolution=[24, 20], base=[12, 10], num_channels=4)
    refused = "note: the PyTorch versions of StyleGAN2-ADA and StyleGAN3 refuse pickles of TensorFlow with "
    for name in FILES:
        lines = convert(nets, name)
        assert all(line.startswith(("G", "D", "Gs", refused + "base=[12, 10], resolution=[24, 20]")) for line in lines)
        assert (refused in "".join(lines)) == name.endswith(".pkl")
        read = converter.networks_of(pretrained_networks.read(name), name)
        for role, net in read.items():
            assert net.model.resolution == nets[role].model.resolution and net.static_kwargs["base"] == [12, 10]


def test_arguments_that_a_pickle_declares_are_kept(here):
    """Defaults of a file's own source become arguments where there is no source."""
    source = golden.GOLDENS / "pickles" / "cfge-Gresnet-Dorig-r32.pkl"
    _, D, Gs = network_files.load_pkl(source)
    convert({"D": D, "Gs": Gs}, "a.npz")
    check_same(converter.networks_of(network_files.load_pkl("a.npz"), "a"), {"D": D, "Gs": Gs})


def test_official_pixels(here):
    """Of StyleGAN2-ADA, through files of arrays and back into a pickle."""
    folder = ADA / "tf_pickles"
    case = golden.read_index(folder / "index.json")["r16-gray"]
    name = str(folder / case["pkl"])
    for output in ("a.safetensors", "a.npz", "again.pkl"):
        convert(converter.networks_of(network_files.load_pkl(name), name), output)
        name = output
    assert [net.state["version"] for net in pickled("again.pkl")] == [5, 5, 5]
    _, D, Gs = network_files.load_pkl("again.pkl")
    with np.load(folder / case["npz_file"]) as data:
        z, x = data["z"], golden.rnd(int(data["D_x_seed"]), len(data["z"]), *D.input_shape[1:])
        golden.close(Gs.run(z, None, truncation_psi=1, randomize_noise=False), data["Gs_img_psi1"], 1e-4)
        golden.close(D.run(x, None), data["D_scores_x"], 1e-4)


def test_arrays_have_official_names(here, nets):
    convert(nets, "a.safetensors")
    data = (here / "a.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    note = json.loads(header.pop("__metadata__")["stylegan2_networks"])
    assert note["version"] == 1 and note["networks"]["Gs"]["func_name"] == "training.networks.G_main"
    assert note["networks"]["D"]["static_kwargs"]["resolution"] == 8
    assert set(header) == {f"{role}/{name}" for role, net in nets.items() for name in net.vars}
    entry = header["D/4x4/Conv/weight"]
    begin, end = (8 + length + offset for offset in entry["data_offsets"])
    weight = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    np.testing.assert_array_equal(weight, nets["D"].get_var("4x4/Conv/weight"))
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(data) - 8 - length

    convert(nets, "a.npz")
    with np.load("a.npz", allow_pickle=False) as npz:
        assert set(npz.files) == {*header, "__metadata__"}
        np.testing.assert_array_equal(npz["D/4x4/Conv/weight"], weight)


def test_keras_loads_weights(here, nets):
    convert(nets, "d.weights.h5", "D")
    other = nets["D"].clone("other")
    other.reset_vars()
    other.model.load_weights("d.weights.h5")
    for name, var in nets["D"].vars.items():
        np.testing.assert_array_equal(other.get_var(name), var.numpy())


def test_pytorch(here):
    """Files of arrays remember that a network comes from PyTorch; a pickle of TensorFlow is one."""
    content = network_files.load_pkl(ADA / "pt_pickles" / "r16-gray.pkl")
    nets = converter.networks_of(content, "")
    nets["D"].augment_p = 0.25
    assert not any("note:" in line for line in convert(nets, "a.npz"))
    read = converter.networks_of(network_files.load_pkl("a.npz"), "")
    check_same(read, nets)
    assert {net.source_format for net in read.values()} == {"pytorch"}
    assert read["D"].augment_p == 0.25 and read["G"].augment_p is None
    assert "--noise-mode=const --truncation-psi=1" in convert(read, "a.pkl")[-1]
    again = converter.networks_of(network_files.load_pkl("a.pkl"), "")
    check_same(again, nets)
    assert {net.source_format for net in again.values()} == {"tensorflow"}


# What a program without this repository does with a SavedModel.
_PROGRAM = """
import sys, numpy as np, tensorflow as tf
assert not any(name.split(".")[0] in ("dnnlib", "training") for name in sys.modules)
generator = tf.saved_model.load(sys.argv[1])
data = np.load(sys.argv[2])
z, label = data["z"], data["label"]
images = {"own": generator(z), "psi": generator(z, label, 0.3), "none": generator(z, label, psi=1)}
images["served"] = generator.signatures["serving_default"](
    z=tf.constant(z), label=tf.constant(label), psi=tf.constant(0.3))["image"]
images["one"] = generator(z[:1], label[:1], 0.3)
with tf.GradientTape() as tape:
    x = tf.constant(z)
    tape.watch(x)
    y = tf.reduce_sum(generator(x, label) ** 2)
np.savez(sys.argv[2], gradient=tape.gradient(y, x), bias=generator.vars["G_mapping/Dense0/bias"], **images)
"""


def test_saved_model_runs_without_the_repository(here, nets):
    lines = convert(nets, "generator")
    assert len(lines) == 2 and "in 32 bit" in lines[1]
    assert not any(b"Stylegan" in path.read_bytes() for path in Path("generator").glob("*.pb"))
    z, label = golden.rnd(1, 3, 6), np.eye(3, dtype=np.float32)[[1, 0, 2]]
    np.savez("data.npz", z=z, label=label)
    result = subprocess.run(
        [sys.executable, "-I", "-c", _PROGRAM, here / "generator", here / "data.npz"],
        **{"cwd": "/", "capture_output": True, "text": True, "check": False},
    )
    assert result.returncode == 0, result.stderr
    assert "custom gradient" not in result.stderr
    Gs = nets["Gs"]
    exact = {"randomize_noise": False, "num_fp16_res": 0}
    with np.load("data.npz") as found:
        golden.close(found["own"], Gs.run(z, None, **exact), 1e-5)
        golden.close(found["psi"], Gs.run(z, label, truncation_psi=0.3, **exact), 1e-5)
        golden.close(found["none"], Gs.run(z, label, truncation_psi=1, **exact), 1e-5)
        golden.close(found["served"], found["psi"], 1e-5)
        golden.close(found["one"], found["psi"][:1], 1e-5)
        np.testing.assert_array_equal(found["bias"], Gs.get_var("G_mapping/Dense0/bias"))
        x = tf.constant(z)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(Gs.get_output_for(x, label, **exact) ** 2)
        golden.close_relative(found["gradient"], tape.gradient(y, x).numpy(), 1e-3)


# ----------------------------------------------------------------------------
# Verification and places.


def test_what_is_not_the_same_is_removed(here, nets, monkeypatch):
    (here / "a.npz").write_bytes(b"from before")
    for change, difference in ((1.0, r"\d\.\d"), (1e-7, r"\d\.\de-0[678]")):

        def damaged(chosen, path, change=change):
            D = chosen["D"].clone()
            D.set_var("Output/bias", D.get_var("Output/bias") + change)
            converter.array_checkpoints.write_npz({"D": D}, path)

        monkeypatch.setitem(converter._WRITERS, "npz", damaged)
        said = f"a.npz: .*is not the same: D: scores differ by {difference} at most .*, 14 of 15 variables are equal"
        with pytest.raises(converter.VerificationError, match=said):
            convert({"D": nets["D"]}, "a.npz", overwrite=True)
        assert (here / "a.npz").read_bytes() == b"from before"
        assert os.listdir() == ["a.npz"]


@pytest.mark.parametrize("name", ["net.pkl", "net.npz", "net.safetensors", "model"])
def test_full_disk(here, nets, name):
    """One message, and nothing left behind."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(UserError, match=rf"^{name}: cannot be written: (?i:file too large)$"):
            convert(nets, name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir() == []


def test_keras_does_not_begin_on_a_full_disk(here, nets, monkeypatch):
    """HDF5 would crash."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 30, 1 << 30, 1 << 12))
    with pytest.raises(UserError, match="net.weights.h5: cannot be written: No space left on device"):
        convert(nets, "net.weights.h5")
    assert os.listdir() == []


def test_differences():
    difference = converter.largest_difference
    one, two = np.array([1, np.nan, np.inf]), np.array([1.5, np.nan, np.inf])
    assert difference(one, two) == 0.5
    assert difference(one, np.array([1, 0, np.inf])) == np.inf
    assert difference(one, np.array([1, np.nan, -np.inf])) == np.inf
    assert difference(one, one[:2]) == np.inf


def test_overwriting(here, nets):
    D = {"D": nets["D"]}
    convert(D, "a.npz")
    with pytest.raises(UserError, match=r"a.npz: exists; give another name, or --overwrite"):
        convert(D, "a.npz")
    convert(D, "a.npz", overwrite=True)
    (here / "photos").mkdir()
    (here / "photos" / "anna.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="a folder with other files, which is not overwritten"):
        convert(nets, "photos", overwrite=True)
    with pytest.raises(UserError, match="a.npz: is a file, expected a name for the SavedModel"):
        checkpoint_formats.check_output("a.npz", "savedmodel", None, True)
    (here / "model").mkdir()
    (here / "model" / "saved_model.pb").write_bytes(b"old")
    convert(nets, "model", overwrite=True)
    assert (here / "model" / "saved_model.pb").stat().st_size > 1000
    assert sorted(os.listdir()) == ["a.npz", "model", "photos"]


@pytest.mark.parametrize(
    ("path", "format_name", "network", "message"),
    [
        ("a.torch", None, None, r"\.torch is no format that is written; expected \.pkl, \.npz, .*--format=pkl\|npz"),
        ("a.h5", None, None, r"did you mean a\.weights\.h5\?"),
        ("a.pth", None, None, r"did you mean a\.pt\?"),
        ("a.h5", "weights.h5", None, "Keras reads weights from files that end in .weights.h5"),
        ("none/a.pkl", None, None, "there is no folder none"),
        ("a.weights.h5", None, "all", "expected --network=G or --network=D or --network=Gs, got --network=all"),
        ("model", None, "D", "expected --network=G or --network=Gs, got --network=D"),
        ("", None, None, "the name is empty"),
    ],
)
def test_outputs_that_cannot_be(here, path, format_name, network, message):
    with pytest.raises(UserError, match=message):
        checkpoint_formats.check_output(path, format_name, network, False)


def test_formats_by_name(here):
    names = {"a.PKL": "pkl", "a.npz": "npz", "x/": "savedmodel", "v1.savedmodel": "savedmodel", "a": "savedmodel"}
    for path, name in names.items():
        assert checkpoint_formats.format_of(path).name == name
    assert checkpoint_formats.format_of("weights.bin", "safetensors").name == "safetensors"


def test_networks_that_are_not_there(here, nets):
    with pytest.raises(UserError, match=r"a.npz: there is no Gs to write \(--network\), only D"):
        convert({"D": nets["D"]}, "a.npz", "Gs")
    with pytest.raises(UserError, match="holds 2 networks"):
        converter.networks_of((nets["G"], nets["Gs"]), "a.pkl")
    for content, role in ((("G", "Gs", "D"), "D"), (("D", "D", "Gs"), "G")):
        with pytest.raises(UserError, match=rf"a.pkl: expected \(G, D, Gs\); in the place of {role} is"):
            converter.networks_of(tuple(nets[name] for name in content), "a.pkl")
    parts = Network("Gs", func_name="training.networks.G_main", **{**SIZES, "label_size": 0}).components
    for part, message in (
        (parts.synthesis, "images_out of dlatents_in"),
        (parts.mapping, "dlatents_out of latents_in"),
    ):
        for path in ("model", "g.tflite"):
            with pytest.raises(UserError, match=f"{path}: Gs is no generator: it makes {message}"):
                convert({"Gs": part}, path)
    assert os.listdir() == []


def test_networks_that_are_not_finite_are_refused(here):
    nets = tiny(label_size=0)
    nets["Gs"].set_var("dlatent_avg", np.full(8, np.nan))
    with pytest.raises(UserError, match=r"a: is not written: NaN or infinity in 1 variable of Gs \(dlatent_avg\)$"):
        convert(nets, "a")
    with pytest.raises(UserError, match=r"a.npz: .*; --network=G or --network=D is possible"):
        convert(nets, "a.npz")
    for name in ("8x8/FromRGB/weight", "Output/weight"):
        nets["D"].set_var(name, np.full(nets["D"].vars[name].shape, 1e38))
    with pytest.raises(UserError, match="NaN or infinity in what D computes$"):
        convert(nets, "a.npz", "D")
    assert os.listdir() == []
    convert(nets, "a.npz", "G")


# ----------------------------------------------------------------------------
# The script.


def test_script(here, pickle, monkeypatch, capsys):
    args = [pickle, "--output=a.safetensors", "--output", "gs.npz", "--network=Gs"]
    assert main(monkeypatch, *args) == 0
    said = capsys.readouterr().out
    assert "D: D_main, images [N, 3, 8, 8], labels [N, 3] -> scores [N, 1]" in said
    assert "Gs: images differ by 0 at most" in said and "written and verified" in said
    with open("a.safetensors", "rb") as file:
        arrays, _notes = array_files.read_safetensors(file)
    assert {name.split("/")[0] for name in arrays} == {"Gs"}
    assert main(monkeypatch, *args) == 1
    assert capsys.readouterr().err.count("exists; give another name, or --overwrite") == 2
    assert main(monkeypatch, *args, "--overwrite") == 0


def test_safetensors_is_needed_for_its_files_alone(here, pickle, monkeypatch, capsys):
    assert main(monkeypatch, pickle, "--output=a.safetensors") == 0
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for args in ((pickle, "--output=b.safetensors"), ("a.safetensors", "--output=b.npz")):
        assert main(monkeypatch, *args) == 1
        assert (
            "need" in (err := capsys.readouterr().err) and "pip install safetensors" in err and "Traceback" not in err
        )
    assert main(monkeypatch, pickle, "--output=b.npz") == 0


def test_messages(here, pickle, monkeypatch, capsys):
    for args, messages in (
        ((), ["expected one of SOURCE, the checkpoint to convert, --download and --average; got none"]),
        ((pickle,), ["--output is missing"]),
        ((pickle, "--download=ffhq256"), ["got SOURCE and --download"]),
        (("none.pkl", "--output=a.pth"), ["none.pkl: no such file", "--output: a.pth: .pth is no format"]),
        ((pickle, "--output=a.npz", "--output=./a.npz"), ["./a.npz: is given twice"]),
        ((pickle, "--output=a", "--output=b", "--format=npz"), ["--format is for a single --output, got 2"]),
        (("--download=ffhq-config-g",), ["did you mean ffhq-config-f?", "--download=list"]),
        (("inception_v3_features.pkl", "--output=a.npz"), ["no such file"]),
    ):
        assert main(monkeypatch, *args) == 1
        said = capsys.readouterr().err
        assert all(message in said for message in messages), said
    for args, message in (
        ((f"--network={pickle}",), "the file to convert is given without an option"),
        ((pickle, "--format=pth"), f"expected one of {', '.join(checkpoint_formats.FORMATS)}, got 'pth'"),
        ((pickle, "--ouput=a.pkl"), "did you mean --output?"),
    ):
        assert main(monkeypatch, *args) == 2
        assert message in capsys.readouterr().err
    (here / "bad.npz").write_bytes(b"PK")
    assert main(monkeypatch, "bad.npz", "--output=a.pkl") == 1
    assert "bad.npz: " in capsys.readouterr().err
    assert os.listdir() == ["bad.npz"]


@pytest.fixture
def server(here, pickle, monkeypatch):
    """Serves the pickle as the network that is published as `ffhq-config-f`, and counts requests."""
    (here / "www").mkdir()
    (here / "www" / "stylegan2-ffhq-config-f.pkl").write_bytes(Path(pickle).read_bytes())
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(here / "www"))

        def log_message(self, *args):
            requests.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/stylegan2-ffhq-config-f.pkl"
    monkeypatch.setitem(pretrained_networks.short_names, "ffhq-config-f", url)
    yield requests
    server.shutdown()


def test_download(here, server, nets, monkeypatch, capsys):
    assert main(monkeypatch, "--download=ffhq-config-f", "--offline") == 1
    assert "stylegan2-ffhq-config-f.pkl is not in the cache" in capsys.readouterr().err
    assert main(monkeypatch, "--download=ffhq-config-f", "--cache-dir=cache") == 0
    (path,) = capsys.readouterr().out.split()
    assert path.startswith("cache/") and path.endswith("_stylegan2-ffhq-config-f.pkl")
    assert main(monkeypatch, "--download=ffhq-config-f", "--cache-dir=cache", "--offline", "--output=a.npz") == 0
    assert main(monkeypatch, "ffhq-config-f", "--cache-dir=cache", "--output=b.pkl", "--network=D") == 0
    assert len(server) == 1
    check_same(converter.networks_of(network_files.load_pkl("a.npz"), ""), nets)
    check_same(converter.networks_of(network_files.load_pkl("b.pkl"), ""), {"D": nets["D"]})


def test_list_of_published_networks(monkeypatch, capsys):
    assert main(monkeypatch, "--download=list") == 0
    said = capsys.readouterr().out.split()
    assert set(pretrained_networks.short_names) <= set(said)


@pytest.mark.one_stack
def test_help_is_in_docs():
    result = subprocess.run(
        [sys.executable, ROOT / "run_convert.py", "--help"],
        **{"env": {"COLUMNS": "100", "PATH": ""}, "capture_output": True, "text": True, "check": False},
    )
    documented = (ROOT / "docs" / "run_convert-help.txt").read_text()
    assert " ".join(result.stdout.split()) == " ".join(documented.split())
