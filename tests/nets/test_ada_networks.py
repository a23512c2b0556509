"""Networks of StyleGAN2-ADA: pickles of the official TensorFlow code in and out, and what the networks compute."""

import golden
import lane
import numpy as np
import pytest

from dnnlib.formats import network_pickle
from dnnlib.tflib import Network, convert_images_to_uint8, network_report
from dnnlib.tflib.checkpoints import network_files
from training import networks_stylegan2

FOLDER = golden.ADA_GOLDENS / "tf_pickles"
CASES = golden.read_index(FOLDER / "index.json")
TINY = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 8}
TINY_G = {**TINY, "latent_size": 6, "dlatent_size": 8, "mapping_layers": 2}


def load(name):
    return network_files.load_pkl(FOLDER / CASES[name]["pkl"])


def build(func, **kwargs):
    sizes = TINY_G if func.startswith("G_") else TINY
    net = Network(func[0], func_name=f"training.networks.{func}", **{**sizes, **kwargs})
    golden.set_variables(net.vars, f"ada.{func}:")
    return net


def raw_states(path):
    """The states in a pickle, as they were written."""
    with open(path, "rb") as file:
        return [net.state for net in network_pickle.load(file, path.name)]


# ----------------------------------------------------------------------------
# Official pickles.


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_official_pickle(name):
    lane.only_float32()
    case = CASES[name]
    with np.load(FOLDER / case["npz_file"]) as npz:
        data = dict(npz)
    G, D, Gs = load(name)
    for net, key in ((G, "G"), (Gs, "G"), (D, "D")):
        variables = [
            {"name": n, "shape": list(v.shape), "dtype": "float32", "trainable": bool(v.trainable)}
            for n, v in net.vars.items()
        ]
        assert variables == case["variables"][key]
    for net, key in ((D, "D"), (Gs, "Gs")):
        for n, var in net.vars.items():
            np.testing.assert_array_equal(var.numpy(), golden.variable_value(case["salts"][key], n, var.shape))
    names = case["names"]
    assert G.static_kwargs == names["static_kwargs"]["G"]
    assert D.static_kwargs == names["static_kwargs"]["D"]
    assert [G.input_names, G.input_shapes, G.output_shapes] == [
        *(names["inputs"], names["G_input_shapes"], names["G_output_shapes"])
    ]
    assert [D.input_names, D.input_shapes, D.output_shapes, D.output_names] == [
        *(names["D_inputs"], names["D_input_shapes"], names["D_output_shapes"], names["D_output_names"])
    ]

    z, labels = data["z"], data.get("labels")
    fixed = {"randomize_noise": False, "num_fp16_res": 0}
    uint8 = {"func": convert_images_to_uint8, "nchw_to_nhwc": True}
    images = {
        "Gs_img_psi1": {"truncation_psi": 1},
        "Gs_img_default": {},
        "Gs_img_psi0.7_cut4": {"truncation_psi": 0.7, "truncation_cutoff": 4},
        "Gs_img_psi1_nonoise": {"truncation_psi": 1, "use_noise": False},
        "Gs_uint8_default": {"output_transform": uint8},
    }
    golden.close(G.components.mapping.run(z, labels), data["G_w"], 1e-4)
    golden.close(Gs.components.mapping.run(z, labels), data["Gs_w"], 1e-4)
    for key in images.keys() & data.keys():
        found = Gs.run(z, labels, **images[key], **fixed)
        if found.dtype == np.uint8:
            golden.check_pixels(found, data[key])
        else:
            golden.close(found, data[key], 1e-4)

    x = golden.rnd(int(data["D_x_seed"]), len(z), *D.input_shape[1:])
    for key, batch in (("D_scores_x", len(z)), ("D_scores_x_batch1", 1)):
        golden.close(D.run(x, data.get("D_labels"), minibatch_size=batch, num_fp16_res=0), data[key], 1e-4)
    if "G_img_psi1" in data:
        golden.close(G.run(z, labels, truncation_psi=1, **fixed), data["G_img_psi1"], 1e-4)
        scores = D.run(data["G_img_psi1"], labels, minibatch_size=len(z), num_fp16_res=0)
        golden.close(scores, data["D_scores_on_G_img_psi1"], 1e-4)
    if "native_fp16/Gs_img_psi1" in data:  # rounding differs: the root mean square is what counts
        found = Gs.run(z, labels, truncation_psi=1, randomize_noise=False, fp16_dtype="float16")
        assert np.sqrt(np.mean((found - data["native_fp16/Gs_img_psi1"]) ** 2)) < 3e-3
        scores = D.run(x, data.get("D_labels"), minibatch_size=len(z), fp16_dtype="float16")
        assert np.abs(scores - data["native_fp16/D_scores_x"]).max() < 1e-3


@pytest.mark.parametrize("name", CASES)
def test_round_trip_keeps_everything(name, tmp_path):
    nets = load(name)
    network_files.save_pkl(nets, tmp_path / "again.pkl")
    for net, again in zip(nets, network_files.load_pkl(tmp_path / "again.pkl"), strict=True):
        assert type(again.model) is type(net.model)
        assert list(again.vars) == list(net.vars)
        for key in net.vars:
            np.testing.assert_array_equal(again.get_var(key), net.get_var(key))

    def same(ours, official):
        assert list(ours) == list(official)
        for key in set(ours) - {"components", "variables"}:
            assert ours[key] == official[key], key
        assert [key for key, _ in ours["variables"]] == [key for key, _ in official["variables"]]
        for key, component in ours["components"].items():
            same(component.state, official["components"][key].state)

    for ours, official in zip(raw_states(tmp_path / "again.pkl"), raw_states(FOLDER / CASES[name]["pkl"]), strict=True):
        same(ours, official)


# ----------------------------------------------------------------------------
# New networks.


@pytest.mark.parametrize("label_size", [0, 3])
def test_new_networks_are_written_as_those_of_ada(label_size, tmp_path):
    nets = build("G_main", label_size=label_size), build("D_main", label_size=label_size, mapping_layers=1)
    network_files.save_pkl(nets, tmp_path / "new.pkl")
    G_state, D_state = raw_states(tmp_path / "new.pkl")
    for state in (G_state, D_state, G_state["components"]["mapping"].state):
        assert state["version"] == 5
        assert "from training.networks import *" in state["build_module_src"]
    assert G_state["build_func_name"] == "G_main"
    assert G_state["components"]["synthesis"].state["build_func_name"] == "G_synthesis"
    assert G_state["components"]["synthesis"].state["input_shapes"] == [[None, 4, 8]]
    assert D_state["build_func_name"] == "D_main"
    assert (D_state["input_shapes"], D_state["output_names"]) == ([[None, 3, 8, 8], [None, label_size]], ["scores_out"])
    assert [key for key, _ in G_state["variables"]] == ["dlatent_avg"]
    G, D = network_files.load_pkl(tmp_path / "new.pkl")
    labels = np.eye(3, dtype=np.float32) if label_size else None
    z = golden.rnd(1, 3, 6)
    images = G.run(z, labels, randomize_noise=False)
    np.testing.assert_array_equal(images, nets[0].run(z, labels, randomize_noise=False))
    np.testing.assert_array_equal(D.run(images, labels), nets[1].run(images, labels))


def test_networks_of_stylegan2_stay_version_4(tmp_path):
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **TINY)
    network_files.save_pkl((D,), tmp_path / "D.pkl")
    (state,) = raw_states(tmp_path / "D.pkl")
    assert state["version"] == 4
    assert "input_shapes" not in state


def test_without_labels_they_are_networks_of_stylegan2():
    """The same variables but `lod`, the same images and scores."""
    sizes = {**TINY_G, "mapping_fmaps": 8}
    G2 = Network("G", func_name="training.networks_stylegan2.G_main", **sizes)
    D2 = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **TINY)
    G, D = build("G_main"), build("D_main", mbstd_group_size=4)
    assert list(G2.vars) == ["lod", *G.vars]
    G2.copy_vars_from(G)
    D2.copy_vars_from(D)
    z = golden.rnd(1, 4, 6)
    images = G.run(z, None, randomize_noise=False)
    golden.close(G2.run(z, None, randomize_noise=False), images, 1e-5)
    golden.close(D2.run(images, None), D.run(images, None), 1e-5)


def test_defaults():
    """Sizes that are None follow others."""
    G = build("G_main", label_size=3)
    assert G.vars["G_mapping/LabelEmbed/weight"].shape == [3, 6]  # latent_size
    assert G.vars["G_mapping/Dense0/weight"].shape == [12, 8]  # to dlatent_size
    wide = build("G_main", label_size=3, label_fmaps=5, mapping_fmaps=7, fmap_const=2)
    assert wide.vars["G_mapping/Dense0/weight"].shape == [11, 7]
    assert wide.vars["G_synthesis/4x4/Const/const"].shape == [1, 2, 4, 4]
    assert wide.run(golden.rnd(1, 2, 6), np.eye(3)[:2]).shape == (2, 3, 8, 8)
    D = build("D_main", label_size=3, mapping_layers=1, mapping_fmaps=5)
    assert [D.vars[key].shape[1] for key in ("LabelEmbed/weight", "Mapping0/weight", "Output/weight")] == [5, 5, 5]


def test_labels_are_normalised_by_themselves():
    """The scale of embedded labels does not matter, nor that of Z."""
    net = build("G_main", label_size=3).components.mapping
    z, labels = golden.rnd(1, 3, 6), np.eye(3, dtype=np.float32)
    net.set_var("LabelEmbed/bias", np.zeros(6))
    w = net.run(z, labels)
    golden.close(net.run(z * 7, labels * 5), w, 1e-4)
    assert np.abs(net.run(z, labels[::-1]) - w).max() > 0.01


def test_whole_minibatch_is_one_group():
    D = build("D_main")
    x = golden.rnd(1, 6, 3, 8, 8)
    golden.close(D.run(x, None, minibatch_size=6), D.run(x, None, minibatch_size=6, mbstd_group_size=6), 1e-6)
    assert np.abs(D.run(x, None, minibatch_size=6) - D.run(x, None, minibatch_size=6, mbstd_group_size=3)).max() > 1e-5
    assert "4x4/Conv/weight" in D.vars and D.vars["4x4/Conv/weight"].shape[2] == 9
    assert build("D_main", mbstd_num_features=0).vars["4x4/Conv/weight"].shape[2] == 8


def test_several_scores():
    D = build("D_main", score_size=2, score_max=4)
    x = golden.rnd(1, 3, 3, 8, 8)
    assert D.output_shape == [None, 2]
    assert D.vars["Output/weight"].shape == [8, 4]
    scores = D.run(x, None, minibatch_size=3, score_size=4)
    np.testing.assert_allclose(D.run(x, None, minibatch_size=3), scores[:, :2], atol=1e-6)


def test_without_noise():
    G = build("G_main", use_noise=False)
    assert not [name for name in G.vars if "noise" in name]
    z = golden.rnd(1, 2, 6)
    np.testing.assert_array_equal(G.run(z, None), G.run(z, None))


def test_training_mode_mixes_styles_and_moves_the_average():
    G = build("G_main")
    before = G.get_var("dlatent_avg")
    kwargs = {"is_training": True, "randomize_noise": False, "dlatent_avg_beta": 0.9, "return_dlatents": True}
    _, dlatents = G.run(golden.rnd(1, 8, 6), None, style_mixing_prob=1.0, minibatch_size=8, **kwargs)
    assert np.all(np.any(dlatents[:, 0] != dlatents[:, -1], axis=1))
    golden.close(G.get_var("dlatent_avg"), 0.9 * before + 0.1 * dlatents[:, 0].mean(axis=0), 1e-5)


@pytest.mark.parametrize(
    ("architecture", "count", "frozen"),
    [
        ("resnet", 5, ["8x8/FromRGB", "8x8/Conv0", "8x8/Conv1_down", "8x8/Skip"]),
        ("resnet", 2, ["8x8/FromRGB", "8x8/Conv0"]),
        ("skip", 3, ["8x8/FromRGB", "8x8/Conv0", "8x8/Conv1_down"]),
        ("orig", 0, []),
    ],
)
def test_frozen_layers(architecture, count, frozen):
    """They are not trained, whether the network is new or a clone; their scores stay."""
    D = build("D_main", architecture=architecture)
    still = D.clone("D", freeze_layers=count)
    assert [name for name in still.vars if name not in still.trainables] == [
        name for name in D.vars if name.rsplit("/", 1)[0] in frozen
    ]
    assert list(still.trainables) == list(build("D_main", architecture=architecture, freeze_layers=count).trainables)
    assert len(still.model.trainable_variables) == len(still.trainables)
    x = golden.rnd(1, 2, 3, 8, 8)
    np.testing.assert_array_equal(still.run(x, None), D.run(x, None))


def test_table_of_layers():
    table = network_report.format_layers(build("D_main", label_size=3, mapping_layers=1))
    for layer in ("LabelEmbed", "Mapping0", "8x8/Conv0", "Output"):
        assert layer in table


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"use_pagan": True}, r"D: StyleGAN2-ADA networks with use_pagan=True \(PA-GAN.* are not supported"),
        ({"use_spectral_norm": True, "adaptive_dropout": 0.1}, "use_spectral_norm=True .* and adaptive_dropout=0.1"),
        ({"score_size": 2}, "score_size must be score_max=1 or less"),
        ({"score_size": 2, "score_max": 2, "label_size": 3}, "score_size must be 1, because there are labels"),
        ({"mapping_lrmul": 0}, "mapping_lrmul must be"),
        ({"mapping_fmaps": 0, "label_size": 3}, "mapping_fmaps must be an integer of 1 or more"),
        ({"freeze_layers": -1}, "freeze_layers must be"),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build("D_main", **kwargs)


def test_wrong_arguments_of_generators():
    for kwargs, message in (
        ({"label_fmaps": 0, "label_size": 3}, "label_fmaps must be an integer of 1 or more"),
        ({"fmap_const": 0}, "fmap_const must be an integer of 1 or more"),
        ({"synthesis_func": "G_synthesis_stylegan2"}, "synthesis_func must be one of 'G_synthesis'"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            build("G_main", **kwargs)
    with pytest.raises(TypeError, match="unknown argument 'label_fmaps'"):  # a model, which ignores nothing
        networks_stylegan2.G_main("G", label_fmaps=3, **TINY)
