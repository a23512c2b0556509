"""Networks in checkpoints of PyTorch: those of StyleGAN2-ADA as the official code wrote them, and what they compute."""

import golden
import numpy as np
import pytest

from dnnlib.tflib import convert_images_to_uint8, network_files

FOLDER = golden.ADA_GOLDENS / "pt_pickles"
CASES = golden.read_index(FOLDER / "index.json")


def load(name):
    return network_files.load_pkl(FOLDER / CASES[name]["pkl"])


def arrays(path):
    with np.load(path) as npz:
        return dict(npz)


# ----------------------------------------------------------------------------
# Official pickles.


@pytest.mark.parametrize("name", CASES)
def test_official_pickle(name):
    """W, images and scores of the official networks; only what the goldens have is compared."""
    case, data = CASES[name], arrays(FOLDER / CASES[name]["npz_file"])
    G, D, Gs = load(name)
    assert [net.name for net in (G, D, Gs)] == ["G", "D", "Gs"]
    z, labels = data["z"], data.get("labels")
    fixed = {"randomize_noise": False, "num_fp16_res": 0}
    mapping, synthesis = Gs.components.mapping, Gs.components.synthesis
    x = golden.rnd(int(data["D_x_seed"]), len(z), *D.input_shape[1:])
    scores = {"labels": data.get("D_labels"), "num_fp16_res": 0}
    cut = {"truncation_psi": 0.5, "truncation_cutoff": 4}

    def score(images, labels, minibatch_size):
        return D.run(images, labels, minibatch_size=minibatch_size, num_fp16_res=0)

    computed = {
        "G_ws": lambda: G.components.mapping.run(z, labels),
        "Gema_ws": lambda: mapping.run(z, labels),
        "Gema_ws_psi0.7": lambda: Gs.run(z, labels, truncation_psi=0.7, return_dlatents=True)[1],
        "Gema_ws_psi0.5_cut4": lambda: Gs.run(z, labels, return_dlatents=True, **cut)[1],
        "Gema_img_const": lambda: Gs.run(z, labels, **fixed),  # without truncation, unless asked for
        "Gema_img_const_psi0.7": lambda: Gs.run(z, labels, truncation_psi=0.7, **fixed),
        "Gema_img_const_psi0.5_cut4": lambda: Gs.run(z, labels, **cut, **fixed),
        "Gema_img_none": lambda: Gs.run(z, labels, use_noise=False, **fixed),
        "G_img_const": lambda: G.run(z, labels, **fixed),
        "Gema_img_from_w_random": lambda: synthesis.run(
            golden.rnd(int(data["w_random_seed"]), len(z), *synthesis.input_shape[1:]), **fixed
        ),
        "D_logits_x": lambda: score(x, scores["labels"], len(z)),
        "D_logits_x_batch1": lambda: score(x, scores["labels"], 1),
        "D_logits_on_G_img": lambda: score(data["G_img_const"], labels, len(z)),
    }
    compared = data.keys() & computed.keys()
    assert len(compared) >= 4
    for key in compared:
        golden.close(computed[key](), data[key], 1e-4)
    if "Gema_uint8_const" in data:
        uint8 = {"func": convert_images_to_uint8, "nchw_to_nhwc": True}
        found = Gs.run(z, labels, output_transform=uint8, **fixed)
        difference = np.abs(found.astype(int) - data["Gema_uint8_const"])
        assert difference.max() <= 1  # truncated there, rounded here
    p = case["augment_p"]
    assert D.augment_p == (None if p is None else pytest.approx(p))


@pytest.mark.parametrize("name", CASES)
def test_native_float16(name):
    """Rounding differs: the root mean square is what counts, of images of a standard deviation of 1 or 2."""
    everything = arrays(FOLDER / "native_fp16.npz").items()
    native = {key.split("/")[1]: array for key, array in everything if key.split("/")[0] == name}
    if not native:
        pytest.skip("no golden of this network")
    data = arrays(FOLDER / CASES[name]["npz_file"])
    _, D, Gs = load(name)
    options = {"fp16_dtype": "float16", "minibatch_size": len(data["z"])}
    expected = native["Gema_img_const_fp16"]
    found = Gs.run(data["z"], data.get("labels"), randomize_noise=False, **options)
    assert np.sqrt(np.mean((found - expected) ** 2)) < 3e-3 * max(1, expected.std() / 2)
    x = golden.rnd(int(data["D_x_seed"]), len(data["z"]), *D.input_shape[1:])
    found = D.run(x, data.get("D_labels"), **options)
    assert np.abs(found - native["D_logits_x_fp16"]).max() < 7e-4


@pytest.mark.parametrize("name", CASES)
def test_variables(name):
    """They have the names and shapes that they have in TensorFlow; the goldens' rule tells the values in the file."""
    case = CASES[name]
    G, D, Gs = load(name)
    conditional = case["c_dim"] > 0
    for net in (G, Gs):
        assert next(iter(net.vars)) == "dlatent_avg"
        assert ("G_mapping/LabelEmbed/weight" in net.vars) == conditional
    assert ("Mapping7/weight" in D.vars) == conditional  # eight layers, where TensorFlow has none
    frozen = case["D_kwargs"]["block_kwargs"].get("freeze_layers", 0)
    assert len(D.vars) - len(D.trainables) == sum([2, 2, 2, 1][:frozen])  # FromRGB, Conv0, Conv1_down, Skip
    salts = case["salts"]

    def value(salt, name, shape, scale, offset=0):
        return golden.seeded(salts[salt] + name, shape) * np.float32(scale) + np.float32(offset)

    channels = Gs.get_var("G_synthesis/4x4/Const/const").shape[1]
    expected = {
        "dlatent_avg": value("G_ema", "mapping.w_avg", Gs.get_var("dlatent_avg").shape, 0.5),
        "G_synthesis/noise1": value("G_ema", "synthesis.b8.conv0.noise_const", [8, 8], 1)[np.newaxis, np.newaxis],
        "G_synthesis/4x4/Conv/mod_bias": value("G_ema", "synthesis.b4.conv1.affine.bias", [channels], 0.1),
        "G_synthesis/4x4/Const/const": value("G_ema", "synthesis.b4.const", [channels, 4, 4], 1)[np.newaxis],
    }
    for key, array in expected.items():
        golden.close(Gs.get_var(key), array, 1e-6)
    kernel = value("G_ema", "synthesis.b8.conv0.weight", [channels, channels, 3, 3], 1)
    golden.close(Gs.get_var("G_synthesis/8x8/Conv0_up/weight"), kernel.transpose(2, 3, 1, 0)[::-1, ::-1], 1e-6)


def test_source_format_and_pickles_of_tensorflow(tmp_path):
    """They are networks like others: cloned, trained, and written as pickles of TensorFlow."""
    name = min(CASES, key=lambda name: (FOLDER / CASES[name]["pkl"]).stat().st_size)
    nets = G, D, Gs = load(name)
    assert {net.source_format for net in nets} == {"pytorch"}
    assert Gs.components.mapping.source_format == "pytorch"
    assert Gs.clone("copy").source_format == Gs.clone("other", truncation_psi=0.5).source_format == "pytorch"
    assert D.clone("D", freeze_layers=1).augment_p == D.augment_p
    network_files.save_pkl(nets, tmp_path / "again.pkl")
    again = network_files.load_pkl(tmp_path / "again.pkl")
    assert {net.source_format for net in again} == {"tensorflow"}
    for net, other in zip(nets, again, strict=True):
        assert net.static_kwargs == other.static_kwargs
        for key in net.vars:
            np.testing.assert_array_equal(net.get_var(key), other.get_var(key))
    z = golden.rnd(1, 2, G.input_shape[1])
    np.testing.assert_array_equal(Gs.run(z, None, randomize_noise=False), again[2].run(z, None, randomize_noise=False))
