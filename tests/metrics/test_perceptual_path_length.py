"""Perceptual path length against the official code, whole: network pickle, latents, noise, distances, score."""

import golden
import lane
import numpy as np
import pytest
import tensorflow as tf

import dnnlib
import pretrained_networks
from dnnlib import tflib
from dnnlib.tflib import Network
from dnnlib.tflib.random_stream import seed_of
from metrics import perceptual_path_length
from metrics.features.evaluation import DataSource, Evaluating, Evaluation
from metrics.features.random_inputs import RandomInputs
from metrics.metric_defaults import metric_defaults
from metrics.nets.images import prepare_images
from metrics.perceptual_path_length import PPL, slerp
from training import misc
from training.nets.generator import noise_variables

DATA = golden.arrays("metrics", "metrics.npz")
CASES = {name: case for name, case in golden.index("metrics", "metrics.json").items() if name.startswith("ppl/")}

SMALL_16_BIT = {"latent_size": 16, "dlatent_size": 16, "mapping_layers": 2, "fmap_base": 128, "fmap_max": 16}
SMALL_16_BIT |= {"num_fp16_res": 2, "conv_clamp": 256}


class SquaredDifference:
    """The distance of the goldens."""

    name, digest = "squared-difference", "0"

    def get_output_for(self, a, b):
        return tf.reduce_mean(tf.square(a - b), axis=[1, 2, 3]) / 255**2


def network(case):
    kwargs = {"num_channels": 3, "resolution": case["resolution"], "label_size": case["label_size"], **case["kwargs"]}
    Gs = tflib.Network("Gs", func_name="training.networks_stylegan2.G_main", **kwargs)
    golden.set_variables(Gs.vars, case["salt"])
    return Gs


def serve(case, monkeypatch, labels):
    """Makes the metric see the random numbers of the golden."""
    num = case["num_samples"]
    latents = golden.rnd(case["seed_latents"], 2 * num, case["kwargs"]["latent_size"])
    high = 1 if case["sampling"] == "full" else 0
    t = np.random.RandomState(case["seed_t"]).uniform(0, high, num).astype(np.float32)
    monkeypatch.setattr(RandomInputs, "latents", lambda self, begin, count, size: latents[begin : begin + count])
    monkeypatch.setattr(RandomInputs, "positions", lambda self, begin, count: t[begin : begin + count])
    monkeypatch.setattr(RandomInputs, "labels", lambda self, begin, count, table: labels[begin : begin + count])

    def noise_of(Gs, _seed):
        return [golden.rnd(4242 + var.shape[2], *var.shape) for var in noise_variables(Gs.components.synthesis)]

    monkeypatch.setattr(perceptual_path_length, "noise_of", noise_of)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_golden(name, tmp_path, monkeypatch, capsys):
    lane.only_float32()
    case = CASES[name]
    labels = DATA.get(f"{name}/labels", np.zeros([case["num_samples"], 0], np.float32))
    serve(case, monkeypatch, labels)
    misc.save_pkl(network(case), tmp_path / "network.pkl")
    metric = PPL(
        *(case["num_samples"], case["epsilon"], case["space"], case["sampling"], case["crop"]),
        minibatch_per_gpu=16,
        Gs_overrides={"dtype": "float32", "mapping_dtype": "float32"},
        distance=SquaredDifference(),
        name="ppl",
    )
    if case["label_size"]:

        class Data:
            _np_labels = labels

        monkeypatch.setattr(DataSource, "open", lambda self, with_labels: Data())
    kept = []
    monkeypatch.setattr(perceptual_path_length, "path_length_score", lambda d: kept.append(d) or _score(d))
    metric.run(str(tmp_path / "network.pkl"), settings=Evaluating(cache_dir=str(tmp_path / "cache")))
    tolerance = 1e-3 if case["epsilon"] >= 5e-3 else 2e-2
    assert metric.get_results()["ppl"] == pytest.approx(case["result"][""][0], rel=lane.gradients(tolerance))
    distances = DATA[f"{name}/distances"]
    np.testing.assert_allclose(
        kept[0], distances, rtol=20 * lane.gradients(tolerance), atol=lane.gradients(tolerance) * distances.mean()
    )
    assert f"ppl {metric.get_results()['ppl']:.4f}" in capsys.readouterr().out
    assert not list((tmp_path / "cache" / "metrics").glob("*.rows"))  # nothing is left of generated images


_score = perceptual_path_length.path_length_score


def test_slerp():
    a, b, t = (DATA[f"ppl/slerp_{which}"] for which in "abt")
    golden.close(slerp(a, b, t), DATA["ppl/slerp"], 1e-5)
    golden.close(perceptual_path_length.normalize(a), DATA["ppl/normalize_a"], 1e-6)
    golden.close(tflib.lerp(tf.constant(a), tf.constant(b), tf.constant(t)), DATA["ppl/lerp"], 1e-6)


def test_face_crop_and_average():
    images = np.random.RandomState(0).uniform(-1, 1, [2, 3, 1024, 1024]).astype(np.float32)
    expected = (images + 1) * 127.5
    whole = expected.reshape(2, 3, 256, 4, 256, 4).mean(axis=(3, 5))
    golden.close(prepare_images(images), whole, 1e-6)
    face = expected[:, :, 384:896, 256:768].reshape(2, 3, 256, 2, 256, 2).mean(axis=(3, 5))
    golden.close(prepare_images(images, crop=True), face, 1e-6)
    golden.close(prepare_images(images[:, :, :32, :32], crop=True), expected[:, :, 12:28, 8:24], 1e-6)
    assert prepare_images(images[:, :, :511, :511]).shape == (2, 3, 511, 511)


def test_noise_is_that_of_the_step():
    Gs = network(CASES["ppl/0"])
    shapes = [var.shape for var in noise_variables(Gs.components.synthesis)]
    first, second, again = (perceptual_path_length.noise_of(Gs, seed_of(3, begin)) for begin in (0, 16, 0))
    for shape, a, b, same in zip(shapes, first, second, again, strict=True):
        assert a.shape == shape and np.abs(a - b).max() > 0
        np.testing.assert_array_equal(a, same)


def ppl(path, folder, **kwargs):
    """The path length `ppl2_wend` of a pickle with short steps, as in the table."""
    table = {**metric_defaults["ppl2_wend"], "num_samples": 8, "distance": SquaredDifference()}
    metric = dnnlib.util.call_func_by_name(**{**table, **kwargs})
    metric.run(str(path), settings=Evaluating(cache_dir=str(folder)))
    return metric.get_results()["ppl2_wend"]


@pytest.mark.parametrize("source", ["16 bit", "16 bit of PyTorch", "config a"])
def test_steps_are_computed_in_32_bit(tmp_path, source):
    """Steps of 1e-4 are lost in 16 bit. Networks that know no 16 bit are left alone."""
    if source == "config a":
        assert ppl(golden.GOLDENS / "pickles" / "cfga-r32.pkl", tmp_path) > 0
        return
    if source == "16 bit":
        Gs = Network("Gs", func_name="training.networks.G_main", num_channels=3, resolution=16, **SMALL_16_BIT)
        golden.set_variables(Gs.vars, "ppl16:")
    else:
        Gs = pretrained_networks.read(golden.ADA_GOLDENS / "pt_pickles" / "fp32-r32-noaug.pkl")[2]
        Gs = Gs.clone(num_fp16_res=2, conv_clamp=256)
    misc.save_pkl(Gs, tmp_path / "16.pkl")
    misc.save_pkl(Gs.clone(num_fp16_res=0), tmp_path / "32.pkl")
    of_16, of_32 = (ppl(tmp_path / f"{bits}.pkl", tmp_path) for bits in (16, 32))
    assert of_16 == pytest.approx(of_32, rel=1e-3)
    in_16 = ppl(tmp_path / "16.pkl", tmp_path, Gs_overrides={"num_fp16_res": 2})  # asked for
    assert in_16 > 2 * of_32


@pytest.mark.one_stack
def test_the_network_keeps_its_noise(tmp_path):
    """Other metrics of the same run see the noise of the pickle, whatever the order."""
    Gs = network(CASES["ppl/2"])
    before = {name: var.numpy() for name, var in Gs.vars.items()}
    evaluation = Evaluation("Gs", Gs, {"is_validation": True}, None, False, Evaluating(cache_dir=str(tmp_path)))
    metric = PPL(8, 1e-2, "w", "end", False, 4, distance=SquaredDifference(), name="ppl")
    metric.run(None, evaluation=evaluation)
    for name, value in before.items():
        np.testing.assert_array_equal(Gs.vars[name].numpy(), value, err_msg=name)


@pytest.mark.parametrize("name", [name for name in metric_defaults if name.startswith("ppl")])
def test_of_the_table(name, tmp_path):
    """Without anything replaced but the distance."""
    misc.save_pkl(network(CASES["ppl/2"]), tmp_path / "network.pkl")
    kwargs = {**metric_defaults[name], "num_samples": 10, "epsilon": 1e-2, "distance": SquaredDifference()}
    results = []
    for size in (4, 5):
        metric = dnnlib.util.call_func_by_name(**kwargs)
        metric.run(
            str(tmp_path / "network.pkl"), settings=Evaluating(minibatch_size=size, cache_dir=str(tmp_path / "cache"))
        )
        results.append(metric.get_results()[name])
    assert 0 < results[0] == pytest.approx(results[1], rel=0.5)  # other noise


@pytest.mark.one_stack
def test_arguments():
    with pytest.raises(ValueError, match="space must be"):
        PPL(10, 1e-4, "x", "end", False, 4, name="ppl")
