"""Metric networks from every kind of file: equal outputs, clear refusals, and where files are looked for."""

import hashlib
import os
import pickle

import metric_net_files as files
import numpy as np
import pytest
import tensorflow as tf
import weight_writers as writers

from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib import Network, network_state
from metrics.nets import builders, catalog, loading
from metrics.nets.matching import WeightsMismatchError
from metrics.nets.weight_files import WeightFile
from training import misc

pytestmark = pytest.mark.one_stack
GRAPH = "classify_image_graph_def.pb"
PTH = "pt_inception-2015-12-05-6726825d.pth"


def images(size, num=2):
    return np.random.RandomState(size).randint(0, 256, [num, 3, size, size]).astype(np.uint8)


# ----------------------------------------------------------------------------
# Inception.


@pytest.fixture(scope="module")
def inception_weights():
    return files.inception_weights()


@pytest.fixture(scope="module")
def inception_folder(inception_weights, tmp_path_factory):
    """The same weights in all kinds of files."""
    weights, softmax = inception_weights
    folder = tmp_path_factory.mktemp("inception")
    pickled = files.inception_of_pickle(weights)
    writers.write_official_pickle(folder / "inception_v3_features.pkl", "InceptionV3", pickled, "inception_v3")
    pickled["softmax/w"] = softmax["softmax/weight"]
    writers.write_official_pickle(folder / "inception_v3_softmax.pkl", "InceptionV3", pickled, "inception_v3")
    writers.write_frozen_graph(folder / GRAPH, files.inception_of_graph(weights, softmax))
    in_torch = files.inception_of_torch(weights, softmax)
    writers.write_pth_legacy(folder / PTH, in_torch)
    writers.write_pth_zip(folder / "zip.pth", in_torch)
    return folder


@pytest.fixture(scope="module")
def expected(inception_folder):
    return loading.load(str(inception_folder / "inception_v3_features.pkl")).run(images(75))


@pytest.mark.parametrize("name", ["inception_v3_features.pkl", GRAPH, PTH, "zip.pth"])
def test_every_file_gives_the_same_features(inception_folder, expected, name):
    net = loading.load(str(inception_folder / name))
    assert net.name == catalog.FEATURES
    assert name in net.source
    np.testing.assert_array_equal(net.run(images(75)), expected)
    official = loading.load(str(inception_folder / "inception_v3_features.pkl"))
    assert net.digest == official.digest


def test_every_file_gives_the_same_probabilities(inception_folder):
    names = ("inception_v3_softmax.pkl", GRAPH, PTH)
    nets = [loading.load(str(inception_folder / name), as_=catalog.SOFTMAX) for name in names]
    first, *others = [net.run(images(75)) for net in nets]
    assert len({net.digest for net in nets}) == 1
    for other in others:
        np.testing.assert_array_equal(other, first)
    features = loading.load(str(inception_folder / "inception_v3_features.pkl"))
    assert nets[0].trunk_digest == features.trunk_digest


@pytest.mark.parametrize("missing", [(), ("inception_v3_features.pkl",), ("inception_v3_features.pkl", GRAPH)])
def test_files_of_a_folder_by_their_usual_names(inception_folder, tmp_path, missing):
    names = [name for name in ("inception_v3_features.pkl", GRAPH, PTH) if name not in missing]
    for name in names:
        os.symlink(inception_folder / name, tmp_path / name)
    net = loading.load("inception_v3_features.pkl", str(tmp_path), offline=True)
    assert net.source.startswith(str(tmp_path / names[0]))


def test_copies_in_caches_of_old_code(inception_folder, tmp_path):
    md5 = "d34ea558c58121a13cf0659514f18217"  # of the first URL of inception_v3_features.pkl
    cached = tmp_path / f"{md5}_http___d36zk2xti64re0_cloudfront_net_inception_v3_features.pkl"
    os.symlink(inception_folder / "inception_v3_features.pkl", cached)
    assert str(cached) in loading.load(catalog.FEATURES, cache_dir=str(tmp_path), offline=True).source
    assert str(cached) in loading.load(catalog.FEATURES, folder=str(tmp_path), offline=True).source


def test_a_file_is_loaded_once_while_it_is_used(inception_folder):
    path = str(inception_folder / GRAPH)
    net = loading.load(path)
    assert loading.load(path) is net
    assert loading.load(path, as_="inception_v3_softmax.pkl") is not net


def test_other_files_than_the_published_are_reported(inception_folder, capsys):
    loading._loaded.clear()
    loading.load(str(inception_folder / PTH))
    digest = hashlib.sha256((inception_folder / PTH).read_bytes()).hexdigest()
    error = capsys.readouterr().err
    assert f"is not the published file of this name: its sha256 is {digest}, expected {catalog.SHA256[PTH]}" in error
    loading.load(str(inception_folder / "zip.pth"))
    assert capsys.readouterr().err == ""


# ----------------------------------------------------------------------------
# Names and shapes.


def inception_from(arrays, kind="frozen graph"):
    return builders.inception_features(WeightFile("my.file", kind, arrays))


def refusal(arrays, kind="frozen graph"):
    with pytest.raises(WeightsMismatchError) as caught:
        inception_from(arrays, kind)
    return str(caught.value)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: "InceptionV3/" + name,
        lambda name: name.replace("/", "_", name.count("/") - 1),
        lambda name: name.replace("/weight", "/w").replace("/var", "/moving_variance:0"),
        lambda name: "layers." + name.replace("/", ".", 1),
        lambda name: (
            "/".join(name.split("/")[:-1]).replace("mixed", "Mixed") + "/batchnorm/" + name.split("/")[-1]
            if not name.endswith("weight")
            else name
        ),
    ],
)
def test_names_are_tolerated(inception_weights, expected, rename):
    arrays = {rename(name): value for name, value in files.inception_of_pickle(inception_weights[0]).items()}
    net = inception_from(arrays, "official pickle")
    assert "by order" not in net.source


def test_unknown_names_are_matched_by_order(inception_weights, inception_folder):
    pickled = files.inception_of_pickle(inception_weights[0])
    renamed = {f"layer{number // 4}/{name.split('/')[-1]}": v for number, (name, v) in enumerate(pickled.items())}
    net = inception_from(renamed, "official pickle")
    assert net.source == "my.file (official pickle, matched by order)"
    assert net.digest == loading.load(str(inception_folder / "inception_v3_features.pkl")).digest
    assert "v0: unexpected" in refusal({f"v{number}": v for number, v in enumerate(pickled.values())})
    swapped = list(renamed.items())
    swapped[:4], swapped[4:8] = swapped[4:8], swapped[:4]
    assert "unexpected" in refusal(dict(swapped))
    assert "unexpected" in refusal(renamed, "torch zip")  # where order means nothing
    assert "unexpected" in refusal({**renamed, "more/weight": np.zeros([3, 3, 8, 8])})


def test_every_difference_is_listed(inception_weights):
    arrays = files.inception_of_torch(*inception_weights)
    del arrays["Mixed_5b.branch1x1.bn.running_mean"]
    arrays["Mixed_7c.branch_pool.conv.weight"] = np.zeros([192, 2048, 3, 1], np.float32)
    arrays["AuxLogits.conv0.conv.weight"] = np.zeros([128, 768, 1, 1], np.float32)
    arrays["fc.weight"] = np.zeros([1000, 2048], np.float32)  # as of torchvision, which has the same names
    message = refusal(arrays, "torch zip")
    assert "my.file: the weights in this torch zip do not fit Inception-v3 of 2015-12-05:" in message
    assert "mixed/conv/mean: missing, of shape [64]" in message
    assert "Mixed_7c.branch_pool.conv.weight: has shape [192, 2048, 3, 1], expected [192, 2048, 1, 1]" in message
    assert "AuxLogits.conv0.conv.weight: unexpected, of shape [128, 768, 1, 1]" in message
    assert "fc.weight: has shape [1000, 2048], expected [1008, 2048]" in message
    assert GRAPH in message


def test_long_lists_are_cut():
    message = refusal({"conv/weight": np.zeros([3, 3, 3, 32])})
    assert "conv/bias: missing, of shape [32]" in message
    assert "... and 355 more; 'run_metrics.py inspect FILE'" in message
    assert len(message.splitlines()) < 30


def test_unknown_names_are_listed():
    message = refusal({f"x{number}": np.zeros([3, 3, 64, 64]) for number in range(3)})
    assert message.count("unexpected, of shape [3, 3, 64, 64]") == 3
    assert "missing" not in message


def test_a_weight_that_occurs_twice(inception_weights):
    pickled = files.inception_of_pickle(inception_weights[0])
    pickled["Conv2d_1a_3x3/weight"] = pickled["conv/weight"]
    assert "Conv2d_1a_3x3/weight: unexpected, conv/weight is the weight of conv already" in refusal(pickled)


@pytest.mark.parametrize(("name", "value"), [("conv/weight", np.nan), ("conv/var", -1)])
def test_impossible_numbers(inception_weights, name, value):
    pickled = files.inception_of_pickle(inception_weights[0])
    pickled[name] = np.full_like(pickled[name], value)
    assert f"impossible numbers in {name}" in refusal(pickled)


# ----------------------------------------------------------------------------
# LPIPS and VGG-16.


@pytest.fixture(scope="module")
def lpips_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lpips")
    weights = files.lpips_weights()
    writers.write_official_pickle(
        folder / "vgg16_zhang_perceptual.pkl",
        "vgg16_perceptual_distance",
        files.lpips_of_pickle(weights),
        "lpips_network",
    )
    writers.write_pth_legacy(folder / "vgg.pth", files.lpips_of_torch(weights))
    writers.write_pth_zip(folder / "vgg16-397923af.pth", files.vgg_of_torch(weights, builders.VGG_CONVS))
    return folder


def test_every_file_gives_the_same_lpips(lpips_folder, tmp_path):
    nets = [loading.load(str(lpips_folder / "vgg16_zhang_perceptual.pkl"))]
    nets += [loading.load(str(lpips_folder / "vgg.pth"))]
    nets += [loading.load(str(lpips_folder / "vgg16-397923af.pth"), as_=catalog.LPIPS)]
    for name in ("vgg.pth", "vgg16-397923af.pth"):
        os.symlink(lpips_folder / name, tmp_path / name)
    nets += [loading.load(catalog.LPIPS, str(tmp_path), offline=True)]
    a, b = images(32), images(33)[:, :, :32, :32]
    first, *others = [net.run(a, b) for net in nets]
    assert {net.name for net in nets} == {catalog.LPIPS}
    assert len({net.digest for net in nets}) == 1
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_pickles_as_scripts_load_and_call_them(lpips_folder, inception_folder, monkeypatch):
    """As official metrics and projectors do, and other people's scripts."""
    path = str(lpips_folder / "vgg16_zhang_perceptual.pkl")
    a, b = images(32), images(33)[:, :, :32, :32]
    expected = loading.load(path).run(a, b)
    monkeypatch.chdir(lpips_folder)
    monkeypatch.setattr("dnnlib.tflib.network_run._unknown_arguments", set())
    with open(path, "rb") as file:
        nets = [pickle.load(file), misc.load_pkl(path), misc.load_pkl("vgg16_zhang_perceptual.pkl")]
    for lpips in nets:
        assert lpips.name == catalog.LPIPS and lpips.num_inputs == 2
        np.testing.assert_array_equal(lpips.run(a, b, num_gpus=1, assume_frozen=True), expected)
        np.testing.assert_array_equal(lpips.run(a, b, return_as_list=True, print_progress=False)[0], expected)
    found = nets[0].clone("copy").get_output_for(tf.cast(a, tf.float32), tf.cast(b, tf.float32))
    np.testing.assert_allclose(tflib.run(found), expected, rtol=1e-5)
    with pytest.warns(UserWarning, match="unknown argument 'impl' is ignored"):
        nets[0].get_output_for(a, b, impl="cuda")
    with pytest.raises(ValueError, match="num_gpus=7: this machine has"):
        nets[0].run(a, b, num_gpus=7)
    for name, columns in (("inception_v3_features", 2048), ("inception_v3_softmax", 1008)):
        with open(inception_folder / f"{name}.pkl", "rb") as file:
            net = pickle.load(file)
        assert net.name == misc.load_pkl(str(inception_folder / f"{name}.pkl")).name == name
        assert net.output_shape == [None, columns] and net.input_shape == [None, 3, None, None]
    assert misc.load_pkl(str(inception_folder / PTH)).name == catalog.FEATURES


def test_networks_that_are_no_metric_networks_are_refused_as_ever(tmp_path, classifier_weights):
    writers.write_official_pickle(tmp_path / "other.pkl", "Other", {"a/weight": np.ones(3, np.float32)}, "other_net")
    write_classifier(tmp_path / "progan.pkl", classifier_weights, PROGAN_SOURCE)
    for name, reason in (("other", "cannot build 'other_net'"), ("progan", "a ProGAN network")):
        with pytest.raises(UserError, match=reason):
            misc.load_pkl(str(tmp_path / f"{name}.pkl"))
    with open(tmp_path / "other.pkl", "rb") as file, pytest.raises(ValueError, match="cannot build 'other_net'"):
        pickle.load(file)


def test_half_of_lpips(lpips_folder, tmp_path):
    os.symlink(lpips_folder / "vgg.pth", tmp_path / "vgg.pth")
    with pytest.raises(UserError, match="expected the rest beside it as vgg16-397923af.pth or vgg16.pth"):
        loading.load(str(tmp_path / "vgg.pth"))
    with pytest.raises(UserError, match="vgg.pth or .* together with vgg16-397923af.pth or vgg16.pth"):
        loading.load(catalog.LPIPS, str(tmp_path), cache_dir=str(tmp_path / "cache"), offline=True)


def test_vgg16_lacks_its_matrices(lpips_folder):
    with pytest.raises(WeightsMismatchError, match=r"fc1/weight: missing, of shape \[4096, 25088\]"):
        loading.load(catalog.VGG16, str(lpips_folder), offline=True)


def test_vgg16_rows_of_pickles(monkeypatch):
    built = []
    monkeypatch.setattr(builders.VGG16, "with_weights", lambda weights: built.append(weights["fc1/weight"]))
    weights = files.random_weights(builders.VGG_CONVS)
    rows = np.arange(25088, dtype=np.float32)[:, np.newaxis]
    for name, shape in (("fc1", [25088, 4096]), ("fc2", [4096, 4096])):
        weights[f"{name}/weight"] = np.broadcast_to(rows[: shape[0]], shape)
        weights[f"{name}/bias"] = np.zeros(4096, np.float32)
    monkeypatch.setattr(builders, "digest_of", lambda *_args: "")
    for source in ("data_format='NCHW'", "data_format='NHWC'"):
        network = writers.official_network("vgg16", weights, "vgg16", source)
        state = network_state.from_dict(network.state)
        builders.vgg16_features(WeightFile("vgg16.pkl", "official pickle", weights, (state,)))
    channels_first, channels_last = (matrix[:, 0] for matrix in built)
    np.testing.assert_array_equal(channels_first.reshape(7, 7, 512)[1, 2], np.arange(512) * 49 + 9)
    np.testing.assert_array_equal(channels_last, rows[:, 0])
    with pytest.raises(UserError, match="not read from frozen graphs"):
        builders.vgg16_features(WeightFile("vgg16.pb", "frozen graph", weights))


# ----------------------------------------------------------------------------
# Attribute classifiers.

_ARGUMENTS = "images_in, labels_in, num_channels=1, resolution=32, label_size=0, fmap_base=8192, mbstd_group_size=4"
STYLEGAN_SOURCE = f"def D_basic({_ARGUMENTS}, fused_scale='auto', blur_filter=[1,2,1], **_kwargs):\n    pass\n"
PROGAN_SOURCE = f"def D_paper({_ARGUMENTS}, fused_scale=True, **kwargs):\n    pass\n"
CLASSIFIER = {"num_channels": 3, "resolution": 32, "fmap_base": 256, "mbstd_group_size": 0}


@pytest.fixture(scope="module")
def discriminator():
    return Network("D", func_name="training.networks_stylegan.D_basic", **CLASSIFIER, structure="linear")


@pytest.fixture(scope="module")
def classifier_weights(discriminator):
    rng = np.random.default_rng(3)
    weights = {name: rng.standard_normal(var.shape, np.float32) for name, var in discriminator.vars.items()}
    return {**weights, "lod": np.float32(0)}


def write_classifier(path, weights, source, **kwargs):
    version = {"version": 2, "module": "tfutil", "protocol": 2} if "D_paper" in source else {"version": 3}
    func_name = "D_paper" if "D_paper" in source else "D_basic"
    writers.write_official_pickle(path, "D", weights, func_name, source, {**CLASSIFIER, **kwargs}, **version)
    return str(path)


def expected_logits(weights, x, **kwargs):
    net = Network("D", func_name="training.networks_stylegan.D_basic", **CLASSIFIER, structure="linear", **kwargs)
    for name, value in weights.items():
        net.set_var(name, value)
    return net.run(x, None)


def test_classifiers_with_and_without_blur(tmp_path, classifier_weights):
    x = np.random.RandomState(0).rand(3, 3, 32, 32).astype(np.float32) * 2 - 1
    name = catalog.CLASSIFIERS[0]
    a, b, c = (str(tmp_path / f"{key}.pkl") for key in "abc")
    write_classifier(a, classifier_weights, STYLEGAN_SOURCE)
    write_classifier(b, classifier_weights, STYLEGAN_SOURCE, blur_filter=None)
    write_classifier(c, classifier_weights, PROGAN_SOURCE)
    cases = {
        "a": (a, {}),
        "b": (b, {"blur_filter": None}),
        "c": (c, {"blur_filter": None, "fused_scale": True}),
    }
    nets = {}
    for key, (path, kwargs) in cases.items():
        net = nets[key] = loading.load(path)
        assert net.name == key
        assert net.input_shapes == [[None, 3, 32, 32]] and net.output_shape == [None, 1]
        logits = net.run(x, None)
        np.testing.assert_allclose(logits, expected_logits(classifier_weights, x, **kwargs), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(net.get_output_for(x, None), logits, rtol=1e-4, atol=1e-5)
    assert len({net.digest for net in nets.values()}) == 3
    assert "D_basic with blur" in nets["a"].source and "D_paper without blur" in nets["c"].source
    os.symlink(tmp_path / "a.pkl", tmp_path / f"{name}.pkl")
    assert loading.load(name, str(tmp_path), offline=True).name == name


def test_classifiers_of_a_fixed_structure(tmp_path, classifier_weights):
    fixed = {name: v for name, v in classifier_weights.items() if "FromRGB" not in name or "lod0" in name}
    del fixed["lod"]
    fixed = {name.replace("Conv1_down", "Conv1"): value for name, value in fixed.items()}
    net = loading.load(write_classifier(tmp_path / "x.pkl", fixed, PROGAN_SOURCE, fused_scale=False))
    x = np.random.RandomState(0).rand(1, 3, 32, 32).astype(np.float32) * 2 - 1
    wanted = expected_logits(classifier_weights, x, blur_filter=None, fused_scale=False)
    np.testing.assert_allclose(net.run(x), wanted, rtol=1e-4, atol=1e-5)


def test_classifiers_that_do_not_fit(tmp_path, classifier_weights):
    weights = dict(classifier_weights)
    del weights["4x4/Dense1/bias"]
    with pytest.raises(UserError, match="4x4/Dense1/bias: missing"):
        loading.load(write_classifier(tmp_path / "x.pkl", weights, STYLEGAN_SOURCE))
    path = write_classifier(tmp_path / "y.pkl", classifier_weights, STYLEGAN_SOURCE, mbstd_group_size=4)
    with pytest.raises(UserError, match="4x4/Conv/weight: has shape"):
        loading.load(path)
    weights = {**classifier_weights, "lod": np.float32(np.nan)}
    with pytest.raises(UserError, match="impossible numbers in lod"):
        loading.load(write_classifier(tmp_path / "w.pkl", weights, STYLEGAN_SOURCE))
    net = loading.load(write_classifier(tmp_path / "z.pkl", classifier_weights, STYLEGAN_SOURCE))
    with pytest.raises(ValueError, match=r"expected images of shape \[N, 3, 32, 32\], got \[1, 3, 64, 64\]"):
        net.run(np.zeros([1, 3, 64, 64], np.float32))
    with pytest.raises(ValueError, match="expected images of float numbers from -1 to 1, got uint8"):
        net.run(np.zeros([1, 3, 32, 32], np.uint8))


# ----------------------------------------------------------------------------
# Names of networks.


def test_official_names():
    assert len(catalog.CLASSIFIERS) == 40
    assert catalog.CLASSIFIERS[5] == "celebahq-classifier-05-5-o-clock-shadow"
    assert catalog.CLASSIFIERS[39] == "celebahq-classifier-39-wearing-necktie"
    md5s = {name: hashlib.md5(catalog.OFFICIAL[name].url.encode()).hexdigest() for name in catalog.OFFICIAL}
    assert md5s[catalog.FEATURES] == "eddea278bf91d59eb094b162709edc6c"
    assert md5s[catalog.SOFTMAX] == "22632f92a1ce567211fdb28e9a6176d9"
    assert md5s[catalog.VGG16] == "963ae56300441f7907b012470ac1eeb9"
    assert md5s[catalog.LPIPS] == "a127757435a24e039b8983857d213f5b"


def test_what_cannot_be_had(tmp_path):
    with pytest.raises(UserError) as caught:
        loading.load(catalog.FEATURES, str(tmp_path), cache_dir=str(tmp_path / "cache"), offline=True)
    message = str(caught.value)
    assert catalog.OFFICIAL[catalog.FEATURES].url in message
    assert GRAPH in message and PTH in message and "--metric-networks=DIR" in message
    assert f"{tmp_path} has none of them" in message
    with pytest.raises(UserError, match="did you mean inception_v3_features"):
        loading.load("inception_v3_feature")
    with pytest.raises(UserError, match="'vgg19' is no metric network .did you mean vgg16"):
        loading.load("x.pth", as_="vgg19")
    with pytest.raises(UserError, match="no such folder"):
        loading.load(catalog.FEATURES, str(tmp_path / "other"))


def test_files_of_other_networks(tmp_path):
    writers.write_pth_zip(tmp_path / "x.pth", {"layer1.weight": np.zeros([64, 3, 3, 3], np.float32)})
    with pytest.raises(UserError, match="is none of the metric networks as far as its names tell"):
        loading.load(str(tmp_path / "x.pth"))
    with pytest.raises(UserError, match="a torch zip, expected the official pickle"):
        loading.load(str(tmp_path / "x.pth"), as_=catalog.CLASSIFIERS[3])
