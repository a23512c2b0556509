"""Perceptual path length against the official code, whole: network pickle, latents, noise, distances, score."""

import golden
import numpy as np
import pytest
import tensorflow as tf

import dnnlib
from dnnlib import tflib
from metrics import perceptual_path_length
from metrics.features.evaluation import DataSource, Evaluating
from metrics.features.random_inputs import RandomInputs
from metrics.metric_defaults import metric_defaults
from metrics.nets.images import average_down, prepare_images
from metrics.perceptual_path_length import PPL, slerp
from training import misc

DATA = golden.arrays("metrics", "metrics.npz")
CASES = {name: case for name, case in golden.index("metrics", "metrics.json").items() if name.startswith("ppl/")}


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

    def set_noise(Gs, seed, number):
        for name, variable in Gs.components.synthesis.vars.items():
            if name.startswith("noise"):
                variable.assign(golden.rnd(4242 + variable.shape[2], *variable.shape))

    monkeypatch.setattr(perceptual_path_length, "set_noise", set_noise)


@pytest.mark.parametrize("name", CASES)
def test_golden(name, tmp_path, monkeypatch, capsys):
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
    assert metric.get_results()["ppl"] == pytest.approx(case["result"][""][0], rel=tolerance)
    distances = DATA[f"{name}/distances"]
    np.testing.assert_allclose(kept[0], distances, rtol=20 * tolerance, atol=tolerance * distances.mean())
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
    assert average_down(images[:, :, :511, :511], 256).shape == (2, 3, 511, 511)


def test_noise_is_that_of_the_pair():
    Gs = network(CASES["ppl/0"])
    noise = [variable for name, variable in Gs.components.synthesis.vars.items() if name.startswith("noise")]
    before = [variable.numpy() for variable in noise]
    strengths = {name: var.numpy() for name, var in Gs.vars.items() if name.endswith("noise_strength")}
    perceptual_path_length.set_noise(Gs, 3, 0)
    first = [variable.numpy() for variable in noise]
    perceptual_path_length.set_noise(Gs, 3, 16)
    second = [variable.numpy() for variable in noise]
    perceptual_path_length.set_noise(Gs, 3, 0)
    for old, a, b, again in zip(before, first, second, noise, strict=True):
        assert np.abs(a - old).max() > 0 and np.abs(a - b).max() > 0
        np.testing.assert_array_equal(a, again.numpy())
    assert {name: Gs.vars[name].numpy() for name in strengths} == strengths


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
