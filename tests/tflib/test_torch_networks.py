"""Networks in checkpoints of PyTorch: those of StyleGAN2-ADA as the official code wrote them, and what they compute."""

import copy
import io

import golden
import numpy as np
import pytest
import torch_files as files
import torch_reference as reference
import weight_writers as writers

from dnnlib.tflib import convert_images_to_uint8
from dnnlib.tflib.checkpoints import network_files

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
    nets = _, D, Gs = load(name)
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


# ----------------------------------------------------------------------------
# Other networks than the goldens, compared with their definition.

CHANNELS = {4: 12, 8: 12, 16: 6}
CONTAINERS = {
    "pickle": writers.pickle_of_modules,
    "protocol 4": lambda obj: writers.pickle_of_modules(obj, protocol=4),
    "protocol 2": lambda obj: writers.pickle_of_modules(obj, protocol=2),
    "torch.save": writers.pth_zip,
    "torch.save until 1.5": writers.pth_legacy,
}


def read(content, container="pickle"):
    return network_files.read(io.BytesIO(CONTAINERS[container](content)), "file.pkl")


def problems_of(content):
    with pytest.raises(network_files.NetworkFileError) as error:
        read(content)
    return str(error.value)


@pytest.fixture(scope="module")
def small():
    """Tensors and modules of a small generator and discriminator."""
    g, d = reference.generator_tensors(CHANNELS), reference.discriminator_tensors(CHANNELS)
    average = golden.rnd(3, 8)
    return {"g": g, "d": d, "average": average, "G": files.generator(g, average), "D": files.discriminator(d)}


def test_images_and_scores(small):
    networks = {"G": small["G"], "D": small["D"], "G_ema": small["G"]}
    G, D, Gs = read({**networks, "augment_pipe": files.augment_pipe(0.5)})
    assert D.augment_p == 0.5
    z, x = golden.rnd(1, 4, 8), golden.rnd(2, 4, 3, 16, 16)
    images = reference.generate(small["g"], reference.mapping(small["g"], z.astype(np.float64)))
    golden.close(Gs.run(z, None, randomize_noise=False), images, 1e-5)
    golden.close(D.run(x, None), reference.discriminate(small["d"], x), 1e-5)
    assert all(net.source_format == "pytorch" for net in (G, D, Gs))


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers(small, container):
    """The same networks however they are written, whole or in part."""
    for content, there in (
        ({"G": small["G"], "D": small["D"], "G_ema": small["G"]}, (True, True, True)),
        ({"G": None, "D": None, "G_ema": small["G"], "augment_pipe": None}, (False, False, True)),
        (small["G"], (False, False, True)),
        (small["D"], (False, True, False)),
        ({"D": small["D"], "G": small["G"]}, (True, True, True)),
    ):
        nets = read(content, container)
        assert tuple(net is not None for net in nets) == there
    G, D, _ = nets
    for name, net in (("G", G), ("D", D)):
        expected = read({name: small[name]})["GD".index(name)]
        assert net.static_kwargs == expected.static_kwargs
        for key in expected.vars:
            np.testing.assert_array_equal(net.get_var(key), expected.get_var(key))


def test_networks_of_stylegan3s_config_stylegan2(small):
    """Blocks that have an attribute more, and clamp everywhere."""
    G = files.generator(small["g"], small["average"], clamp=256, fp16_from=8, fused_modconv_default="inference_only")
    _, _, Gs = read({"G_ema": G})
    assert Gs.static_kwargs["num_fp16_res"] == 2 and Gs.static_kwargs["conv_clamp"] == 256
    z = golden.rnd(1, 2, 8)
    w = reference.mapping(small["g"], z.astype(np.float64))
    golden.close(Gs.run(z, None, randomize_noise=False, num_fp16_res=0), reference.generate(small["g"], w), 1e-5)
    w = small["average"] + 0.4 * (w - small["average"])
    truncated = Gs.run(z, None, randomize_noise=False, num_fp16_res=0, truncation_psi=0.4)
    golden.close(truncated, reference.generate(small["g"], w), 1e-5)


def test_labels_and_filters():
    """Widths that training never chooses; an asymmetric filter; one sample per group."""
    line, labels = (1, 2, 3, 1), np.eye(3, dtype=np.float32)[[0, 2, 1, 1]]
    g = reference.generator_tensors(CHANNELS, n_mlp=2, blur_kernel=line)
    rnd = np.random.RandomState(5)

    def layer(fmaps, in_fmaps, scale):
        return (rnd.randn(fmaps, in_fmaps) * scale).astype(np.float32), (rnd.randn(fmaps) * scale / 10).astype(
            np.float32
        )

    g["style.0.weight"], g["style.0.bias"] = layer(5, 3, 1)  # embedding
    g["style.1.weight"], g["style.1.bias"] = layer(7, 6 + 5, 100)
    g["style.2.weight"], g["style.2.bias"] = layer(8, 7, 100)
    d = reference.discriminator_tensors(CHANNELS, blur_kernel=line, outputs=9)
    d["map.0.weight"], d["map.0.bias"] = layer(9, 3, 1)
    for idx in (1, 2):
        d[f"map.{idx}.weight"], d[f"map.{idx}.bias"] = layer(9, 9, 100)
    G = files.generator(g, golden.rnd(3, 8), c_dim=3, z_dim=6, line=line)
    for group_size in (1, 2, None):
        D = files.discriminator(d, c_dim=3, line=line, group_size=group_size, frozen=5)
        _, D, Gs = read({"G_ema": G, "D": D})
        z, x = golden.rnd(1, 4, 6), golden.rnd(2, 4, 3, 16, 16)
        mapped = reference.mapping(d, None, labels, "map.")
        scores = reference.discriminate(d, x, group_size or 4, mapped)
        golden.close(D.run(x, labels, minibatch_size=4), scores, 1e-5)
        assert [name for name in D.vars if name not in D.trainables] == [
            *("16x16/FromRGB/weight", "16x16/FromRGB/bias", "16x16/Conv0/weight", "16x16/Conv0/bias"),
            *("16x16/Conv1_down/weight", "16x16/Conv1_down/bias", "16x16/Skip/weight"),
            *("8x8/Conv0/weight", "8x8/Conv0/bias"),
        ]
    images = reference.generate(g, reference.mapping(g, z.astype(np.float64), labels))
    golden.close(Gs.run(z, labels, randomize_noise=False), images, 1e-5)
    assert Gs.static_kwargs["dlatent_avg_beta"] == 0.998


def test_without_noise_and_in_16_bit():
    """Values that are stored in 16 bit are read as they are."""
    g = {name: x.astype(np.float16).astype(np.float32) for name, x in reference.generator_tensors(CHANNELS).items()}
    halved = {name: x.astype(np.float16) for name, x in g.items()}
    average = np.zeros(8, np.float16)
    _, _, Gs = read({"G_ema": files.generator(halved, average, use_noise=False)})
    assert not [name for name in Gs.vars if "noise" in name]
    z = golden.rnd(1, 2, 8)
    silent = {name: np.zeros_like(x) if "noise" in name else x for name, x in g.items()}
    images = reference.generate(silent, reference.mapping(g, z.astype(np.float64)))
    golden.close(Gs.run(z, None), images, 1e-5)
    golden.close(Gs.get_var("G_mapping/Dense0/weight"), g["style.1.weight"].T, 0)


def test_labels_without_layers_after_their_embedding():
    """As in networks that NVIDIA's tool converted from TensorFlow."""
    labels = np.eye(3, dtype=np.float32)[[0, 2]]
    d = reference.discriminator_tensors(CHANNELS, outputs=12)
    d["map.0.weight"], d["map.0.bias"] = golden.rnd(4, 12, 3), golden.rnd(5, 12)
    _, D, _ = read({"D": files.discriminator(d, c_dim=3)})
    x = golden.rnd(2, 2, 3, 16, 16)
    golden.close(D.run(x, labels), reference.discriminate(d, x, 4, reference.mapping(d, None, labels, "map.")), 1e-5)


def test_everything_that_does_not_fit_is_listed(small):
    g = dict(small["g"])
    g["convs.1.activate.bias"] = np.zeros([5], np.float32)
    G = files.generator(g, small["average"].astype(np.int32))
    d = small["d"] | {"convs.2.skip.1.weight": np.zeros([12, 12, 3, 3], np.float32)}
    D = files.discriminator(d)
    D.args[0]["state"]["_modules"]["extra"] = files.module(
        "Linear", parameters={"weight": np.zeros([2, 2], np.float32)}
    )
    message = problems_of({"G_ema": G, "D": D})
    for line in (
        "file.pkl: ",
        "G_ema: its tensors do not fit the network",
        "synthesis.b8.conv1.bias: has shape [5], the network needs [12]",
        "mapping.w_avg: holds int32, expected floating-point numbers",
        "D: its tensors do not fit the network",
        "b8.skip.weight: has shape [12, 12, 3, 3], the network needs [12, 12, 1, 1]",
        "extra.weight: not part of the network",
    ):
        assert line in message


def _changed(module, path, **attributes):
    """Sets attributes of a part of a module."""
    for name in path.split(".") if path else ():
        module = module.args[0]["state"]["_modules"][name]
    module.args[0]["state"].update(attributes)


@pytest.mark.parametrize(
    ("path", "attributes", "message"),
    [
        ("synthesis.b8.conv1", {"conv_clamp": 3}, "its layers have different values of conv_clamp"),
        ("synthesis.b4", {"architecture": "resnet"}, "different values of architecture"),
        ("synthesis.b8", {"use_fp16": True}, "its 16-bit blocks are not the highest ones"),
        ("synthesis", {"img_channels": -3}, "num_channels must be an integer of 1 or more, got -3"),
        ("mapping", {"num_layers": 10**9}, "has not the 1000000000 layers"),
        ("mapping", {"num_layers": None}, "has not the None layers"),
        ("mapping", {"z_dim": "eight"}, "latent_size must be an integer"),
        ("mapping", {"w_dim": [8]}, "different values of w_dim"),
        ("mapping", {"w_dim": 10**6}, "mapping.w_avg: has shape [8], the network needs [1000000]"),
        ("synthesis", {"_modules": {}}, "blocks of the resolutions [], expected 4, 8, 16"),
        ("synthesis", {"_modules": {"input": files.module("SynthesisInput")}}, "alias-free generator of StyleGAN3"),
        ("", {"_modules": {}}, "this is a Generator of PyTorch, expected a Generator"),
    ],
)
def test_impossible_generators(small, path, attributes, message):
    G = files.generator(small["g"], small["average"])
    _changed(G, path, **attributes)
    text = problems_of({"G_ema": G})
    assert text.startswith("file.pkl: G_ema: ") or "num_channels" in text or "latent_size" in text
    assert message in text


@pytest.mark.parametrize(
    ("path", "attributes", "message"),
    [
        ("b4.mbstd", {"group_size": 0}, "has groups of 0 samples"),
        ("b4.mbstd", {"num_channels": 5}, "must divide the feature maps, 12, got 5"),
        ("b4.conv", {"activation": "relu"}, "different values of activation"),
        ("b16.conv1", {"activation": "tanh"}, "different values of activation"),
        ("b4", {"_modules": {}}, "lacks a layer"),
    ],
)
def test_impossible_discriminators(small, path, attributes, message):
    D = files.discriminator(small["d"])
    _changed(D, path, **attributes)
    assert message in problems_of({"D": D})


def test_other_modules_are_named(small):
    assert "the file holds a dict of 'ema' (a EDMPrecond)" in problems_of({"ema": files.module("EDMPrecond")})
    assert "G_ema: this is a TriPlaneGenerator of PyTorch" in problems_of(files.module("TriPlaneGenerator"))
    assert "G_ema: expected a network, got an array [2]" in problems_of(
        {"G": small["G"], "G_ema": np.zeros(2, np.float32)}
    )


def test_mapping_networks_without_layers(small):
    """W is Z, normalized. 'mapping_fmaps' and the like do not exist then."""
    G = copy.deepcopy(small["G"])
    mapping = G.args[0]["state"]["_modules"]["mapping"].args[0]["state"]
    mapping["num_layers"], mapping["_modules"] = 0, {}
    net = read({"G_ema": G})[2]
    z = golden.rnd(1, 2, 8)
    golden.close(net.run(z, None, randomize_noise=False), reference.generate(small["g"], reference.normalize(z)), 1e-5)


def test_mapping_networks_without_an_average(small, capsys):
    """There, they cannot be truncated; here, the average of random Z stands in."""
    G = copy.deepcopy(small["G"])
    mapping = G.args[0]["state"]["_modules"]["mapping"].args[0]["state"]
    mapping["w_avg_beta"] = None
    del mapping["_buffers"]["w_avg"]
    net = read({"G_ema": G})[2]
    assert "Gs: has no average of W (w_avg_beta=None)" in capsys.readouterr().err
    w = reference.mapping(small["g"], golden.rnd(7, 4096, 8).astype(np.float64))
    assert np.abs(net.get_var("dlatent_avg") - w.mean(axis=0)).max() < 5 * w.std() / 64
    assert net.static_kwargs["dlatent_avg_beta"] is None


def test_images_that_are_not_square(small):
    G = copy.deepcopy(small["G"])
    block = G.args[0]["state"]["_modules"]["synthesis"].args[0]["state"]["_modules"]["b4"].args[0]["state"]
    block["_parameters"]["const"] = writers.Parameter(np.zeros([12, 6, 4], np.float32))
    assert "for images that are not square: it begins with 6x4" in problems_of({"G_ema": G})
