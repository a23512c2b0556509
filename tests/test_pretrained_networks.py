"""Files that hold no generator, or no networks at all: what the tools say of them."""

import json
import os
import pickle
import shutil

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import pretrained_networks
import run_convert
import run_generator
import run_metrics
import run_projector
from dnnlib.errors import UserError
from dnnlib.submission.submit import SubmitConfig
from dnnlib.tflib import Network
from training import misc

SIZES = {"num_channels": 3, "resolution": 8, "fmap_base": 32, "fmap_max": 4}
G_SIZES = {**SIZES, "latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 1}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run folder with two snapshots and what lies beside them, and networks that are no whole generators."""
    folder = tmp_path_factory.mktemp("run")
    G = Network("G", func_name="training.networks_stylegan2.G_main", **G_SIZES)
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **SIZES)
    for name, content in {
        **{
            "network-snapshot-000001.pkl": (G, D, G),
            "network-final.pkl": (G, D, G),
            "D.pkl": D,
            "G_D.pkl": (G, D, None),
        },
        **{"D_alone.pkl": (None, D, None), "pair.pkl": (G, D), "synthesis.pkl": G.components.synthesis},
    }.items():
        misc.save_pkl(content, folder / name)
    (folder / "submit_config.pkl").write_bytes(pickle.dumps(SubmitConfig()))
    np.savez(folder / "training-state.npz", meta=np.array(json.dumps({"version": 2})))
    (folder / "training_options.json").write_text(json.dumps({"G_args": {}}, indent=1))
    (folder / "log.txt").write_text("Running training.training_loop() on localhost…\n" * 20)
    with tf.io.TFRecordWriter(str(folder / "x-r03.tfrecords")) as writer:
        writer.write(b"\x0a\x05hello")
    PIL.Image.new("RGB", (8, 8)).save(folder / "fakes.png")
    for age, name in enumerate(("network-final.pkl", "network-snapshot-000001.pkl")):
        os.utime(folder / name, (2e9 - age, 2e9 - age))
    return folder


NO_GENERATORS = {
    "D.pkl": r"network 'D' \(D_stylegan2\) is not a generator, which judges images",
    "D_alone.pkl": "holds no generator, only D, which judges images",
    "G_D.pkl": r"holds no Gs, .*; run_convert.py .*G_D.pkl --network=G --output=G.pkl",
    "pair.pkl": r"holds 2 networks, expected \(G, D, Gs\)",
    "synthesis.pkl": r"'G_synthesis' \(G_synthesis_stylegan2\) is not a generator$",
}
NO_NETWORKS = {
    "submit_config.pkl": "settings of a run",
    "training-state.npz": "state of a training, which goes on with --resume=FOLDER",
    "training_options.json": "this is text",
    "log.txt": "this is text",
    "x-r03.tfrecords": "damaged or not a network pickle",
    "fakes.png": "this is an image",
}
THERE = "networks there, newest first: .*network-final.pkl, .*network-snapshot-000001.pkl, "


@pytest.mark.parametrize("name", NO_GENERATORS)
@pytest.mark.parametrize("anew", [False, True])
def test_files_without_a_generator(name, anew, run_folder):
    with pytest.raises(UserError, match=NO_GENERATORS[name]):
        pretrained_networks.load_generator(str(run_folder / name), anew=anew)


@pytest.mark.parametrize("name", ["", *NO_NETWORKS])
def test_files_without_networks(name, run_folder):
    message = f"{NO_NETWORKS[name]}.*Expected" if name else "is a folder, expected"
    for function in (pretrained_networks.load_generator, pretrained_networks.read):
        with pytest.raises(UserError, match=f"{message} a network pickle; {THERE}"):
            function(str(run_folder / name))


def test_every_tool_says_it_before_it_works(run_folder, monkeypatch, capsys):
    monkeypatch.chdir(run_folder)
    for main, args in (
        (run_generator.main, ["generate-images", "--seeds=1", "--network={}"]),
        (run_projector.main, ["project-generated-images", "--network={}"]),
        (run_metrics.main, ["--metrics=fid50k", "--network={}"]),
        (run_convert.main, ["{}", "--output=a.npz"]),
    ):
        for name in (".", "submit_config.pkl", "training_options.json"):
            monkeypatch.setattr("sys.argv", ["script", *(arg.format(name) for arg in args)])
            with pytest.raises(SystemExit) as error:
                main()
            said = capsys.readouterr().err
            assert error.value.code and "network-final.pkl, " in said and "Traceback" not in said, (main, name, said)


def test_what_is_there_is_no_guess(run_folder, tmp_path, monkeypatch):
    """Only files that may hold networks are named, and nothing where there are none."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(run_folder / "submit_config.pkl", "submit_config.pkl")
    with pytest.raises(UserError, match="submit_config.pkl: .* Expected a network pickle$"):
        pretrained_networks.locate_networks("submit_config.pkl")
    os.rename("submit_config.pkl", "other.pkl")  # by its content, too
    with pytest.raises(UserError, match="other.pkl: these are the settings of a run, not networks"):
        pretrained_networks.load_generator("other.pkl")
    tf.saved_model.save(tf.Module(), "model")
    os.mkdir("page")
    open("page/synthesis.onnx", "wb").close()
    for folder, what in (("model", "SavedModel of a generator"), ("page", "web page of a generator")):
        with pytest.raises(UserError, match=f"{folder}: is a folder.*; this is a {what}, a program"):
            pretrained_networks.load_generator(folder)


def test_files_that_come_along_are_near(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no such file \(did you mean demo/symbols-32x32.pkl\?\)"):
        pretrained_networks.locate("demo/symbols-32x23.pkl")
