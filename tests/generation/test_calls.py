"""Images by a call from Python: those that the command saves."""

import os

import numpy as np
import PIL.Image
import pytest

import generation
import pretrained_networks
import run_generator
from dnnlib.errors import UserError
from dnnlib.tflib import Network
from training import misc

D_SIZES = {"num_channels": 3, "resolution": 8, "fmap_base": 32, "fmap_max": 4}
SIZES = {**D_SIZES, "latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 1, "label_size": 3}


@pytest.fixture(scope="module")
def conditional():
    return Network("Gs", func_name="training.networks_stylegan2.G_main", **SIZES)


def test_images_are_those_of_the_command(tmp_path, monkeypatch, conditional):
    monkeypatch.chdir(tmp_path)
    misc.save_pkl(conditional, "net.pkl")
    args = ["generate-images", "--network=net.pkl", "--seeds=7,3,7000", "--truncation-psi=0.7", "--class-idx=1"]
    monkeypatch.setattr("sys.argv", ["run_generator.py", *args])
    run_generator.main()
    alone = generation.images(pretrained_networks.load("net.pkl"), [7, 3, np.int64(7000)], 0.7, 1, minibatch_size=1)
    assert alone.shape == (3, 8, 8, 3) and alone.dtype == np.uint8
    for image, name in zip(alone, ("seed0007", "seed0003", "seed7000"), strict=True):
        saved = PIL.Image.open(tmp_path / "results" / "00000-generate-images" / f"{name}.png")
        np.testing.assert_array_equal(image, saved)


def test_batches_and_single_seeds(conditional):
    alone = generation.images(conditional, range(5), minibatch_size=1)
    together = generation.images(conditional, range(5), minibatch_size=2)
    assert np.abs(alone.astype(int) - together).max() <= 1
    np.testing.assert_array_equal(generation.images(conditional, 3), alone[3:4])
    assert generation.images(conditional, []).shape == (0, 8, 8, 3)


def test_classes_and_labels(conditional):
    by_class = generation.images(conditional, [1, 2], class_idx=1)
    np.testing.assert_array_equal(by_class, generation.images(conditional, [1, 2], label=[0, 1, 0]))
    assert by_class.shape == (2, 8, 8, 3)


def test_weights_that_change(conditional):
    """What is kept from call to call is no image."""
    before = generation.images(conditional, 1)
    bias = next(name for name in conditional.vars if name.startswith("G_synthesis/8x8/ToRGB/bias"))
    conditional.set_var(bias, conditional.get_var(bias) + 1)
    assert np.mean(generation.images(conditional, 1)) > np.mean(before) + 30
    conditional.set_var(bias, conditional.get_var(bias) - 1)
    np.testing.assert_array_equal(generation.images(conditional, 1), before)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"seeds": -1}, "seeds: expected integers from 0 to 4294967295, got -1"),
        ({"seeds": [2**32]}, "got 4294967296"),
        ({"seeds": [0.5]}, "got 0.5"),
        ({"seeds": 1, "class_idx": 3}, "^class_idx=3: expected 0 to 2, the classes of the network"),
        ({"seeds": 1, "label": [1]}, "^label of 1 numbers: expected 3"),
        ({"seeds": 1, "truncation_cutoff": 9}, "^truncation_cutoff=9: expected 0 to 4"),
        ({"seeds": 1, "noise_mode": "konst"}, "noise_mode='konst': expected one of seed, const, random, none"),
        ({"seeds": 1, "minibatch_size": 0}, "minibatch_size=0: expected 1 or more"),
    ],
)
def test_what_cannot_be(kwargs, message, conditional):
    with pytest.raises(UserError, match=message):
        generation.images(conditional, **kwargs)


def test_networks_of_a_run_folder(tmp_path, conditional):
    """The newest that is one, of whatever time the others are."""
    G, D = conditional.clone("G"), Network("D", func_name="training.networks_stylegan2.D_stylegan2", **D_SIZES)
    misc.save_pkl((G, D, conditional), tmp_path / "network-snapshot-000002.pkl")
    misc.save_pkl((G, D, conditional), tmp_path / "network-snapshot-000001.pkl")
    os.utime(tmp_path / "network-snapshot-000001.pkl", (1e9, 1e9))
    np.savez(tmp_path / "training-state.npz", x=1)
    (tmp_path / "broken.pkl").write_bytes(b"")
    assert pretrained_networks.newest(tmp_path) == str(tmp_path / "network-snapshot-000002.pkl")
    for name, network in (("Gs", "Gs"), ("G", "G"), ("D", "D")):
        assert pretrained_networks.load(tmp_path, network).name == name
    assert pretrained_networks.load(tmp_path).name == "Gs"
    misc.save_pkl(D, tmp_path / "D.pkl")
    assert pretrained_networks.load(tmp_path / "D.pkl", "D").name == "D"
    with pytest.raises(UserError, match="holds no G$"):
        pretrained_networks.load(tmp_path / "D.pkl", "G")
    with pytest.raises(UserError, match="'D' .* is not a generator"):
        pretrained_networks.load(tmp_path / "D.pkl")
    with pytest.raises(UserError, match="network='both': expected 'Gs', 'G' or 'D'"):
        pretrained_networks.load(tmp_path, "both")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: there is no network in this folder"):
        pretrained_networks.load(tmp_path / "empty")
