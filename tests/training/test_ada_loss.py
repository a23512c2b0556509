"""Losses of StyleGAN2-ADA, with augmentation, and their gradients against those of PyTorch (goldens/ada/losses)."""

import functools
import itertools

import golden
import lane
import numpy as np
import pytest
import tensorflow as tf
import torch_golden

from dnnlib.tflib import Network, autosummary, random_stream
from training import loss
from training.augmentation.adaptive import AdaptiveAugment
from training.augmentation.pipeline import AugmentPipe

FOLDER = golden.ADA_GOLDENS / "losses"
CASES = golden.read_index(FOLDER / "index.json")
OFFICIAL_TAGS = {"Loss/gradient_penalty": "Loss/r1_penalty"}
PHASES = [(case, phase) for case in CASES for phase in CASES[case]["phases"]]


@functools.lru_cache(maxsize=1)
def networks(case_name):
    case = CASES[case_name]
    sizes = {"resolution": case["resolution"], "num_channels": case["channels"], "label_size": case["c_dim"]}
    sizes |= {"fmap_base": 128, "fmap_max": 16}
    G = Network(
        "G",
        func_name="training.networks.G_main",
        **{"latent_size": 16, "dlatent_size": 16, "mapping_layers": 2},
        style_mixing_prob=case["loss_kwargs"].get("style_mixing_prob", 0.9),
        **sizes,
        **case["synthesis_kwargs"],
    )
    D_kwargs = dict(case["D_extra"])
    D = Network(
        "D",
        func_name="training.networks.D_main",
        **{"mbstd_group_size": 4, "mapping_layers": 8, "mapping_lrmul": 0.01},
        **D_kwargs.pop("block_kwargs", {}),
        **sizes,
        **D_kwargs,
    )
    for net, key in ((G, "G"), (D, "D")):
        torch_golden.set_variables(net, case["salts"][key])
    return G, D


class Labels:
    """A data set that draws the labels of the goldens."""

    def __init__(self, labels):
        self.labels = labels

    def get_random_labels_tf(self, n):
        return tf.constant(self.labels[:n])


def arrays_of(case_name, phase_name):
    """Those of a phase, without its name, and the inputs of the case."""
    arrays = golden.arrays(str(FOLDER), f"{case_name}.npz")
    start = phase_name + "/"
    inputs = {key: array for key, array in arrays.items() if key.startswith("in/")}
    return inputs | {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}


def moments(array):
    """What `autosummary` collects of an array."""
    array = np.asarray(array, np.float64)
    return np.array([array.size, array.sum(), np.square(array).sum()])


@pytest.mark.gpu
@pytest.mark.parametrize(("case_name", "phase_name"), PHASES)
def test_official_values(case_name, phase_name):
    lane.only_float32()
    case = CASES[case_name]
    phase = case["phases"][phase_name]
    data = arrays_of(case_name, phase_name)
    G, D = networks(case_name)
    G.set_var("dlatent_avg", torch_golden.value(case["salts"]["G"], "mapping.w_avg", (16,)))
    n, seed, options = case["N"], case["seed"], case["loss_kwargs"]
    stream = torch_golden.Draws(phase["seed"], phase["calls"], itertools.repeat(data["in/z"]))
    pl_mean = tf.Variable(phase["pl_mean_before"])
    spec, p = case["augment"] or (None, 0.0)
    augment = AdaptiveAugment(AugmentPipe.of_spec(spec) if spec else None, p, target=0.6)
    common = {"G": G, "D": D, "opt": None, "training_set": Labels(data["in/gen_c"]), "minibatch_size": n}
    common["augment"] = augment

    def compute(parts):
        if phase["module"] == "G":
            pl = {"pl_minibatch_shrink": options.get("pl_batch_shrink", 2), "pl_weight": options.get("pl_weight", 2)}
            return loss.G_logistic_ns_pathreg(**common, **pl, pl_mean=pl_mean, parts=parts)
        reals = np.tanh(golden.rnd(seed + 901, n, case["channels"], case["resolution"], case["resolution"]))
        of_reals = {"reals": tf.constant(reals), "labels": tf.constant(data["in/real_c"])}
        gamma = options["r1_gamma"]
        return loss.D_logistic_r1(**common, **of_reals, gamma=gamma, random_fake_labels=True, parts=parts)

    trained = G if phase["module"] == "G" else D
    variables = trained.trainables
    wanted = {"main": ["loss"], "reg": ["reg"], "both": ["both"]}[phase["phase"][1:]]
    if phase["phase"] == "Gboth" and options.get("pl_batch_shrink") == 1:
        wanted = ["loss", "reg"]  # together both would have the same images, as in TensorFlow officially
    with (
        random_stream.using(stream),
        autosummary.collected() as stats,
        tf.GradientTape(watch_accessed_variables=False) as tape,
    ):
        tape.watch(list(variables.values()))
        results = [compute(parts) for parts in wanted]
        values = [next((result[i] for result in results if result[i] is not None), None) for i in (0, 1)]
        total = tf.add_n([tf.reduce_mean(value) for value in values if value is not None])
    assert not stream.queue and not stream.cutoffs

    for name, computed in zip(("loss", "reg"), values, strict=True):
        expected = data.get(f"stat/Loss/{phase['module']}/{name}")
        assert (computed is None) == (expected is None)
        if computed is not None:
            golden.close_relative(tf.reshape(computed, expected.shape), expected, 1e-4)
    for tag, collected in stats.items():
        official = OFFICIAL_TAGS.get(tag, tag)
        if tag != "Loss/pl_lengths":  # not reported there
            golden.close_relative(collected, moments(data[f"stat/{official}"]), 1e-4)
    signs = data.get("stat/Loss/signs/real")
    assert ("Loss/signs/real" in stats) == (signs is not None)
    if signs is not None and augment.adaptive:
        counted = [float(augment.variables()[f"augment/{name}"]) for name in ("signs", "count")]
        assert counted == [signs.sum(), signs.size]
    golden.close(G.get_var("dlatent_avg"), data["w_avg_after"], 1e-5)
    golden.close(pl_mean.numpy(), data["pl_mean_after"], 1e-5)

    gradients = dict(zip(variables, tape.gradient(total, list(variables.values())), strict=True))
    check_gradients(torch_golden.stored(trained), gradients, case["variables"][phase["module"]], data)


def check_gradients(stored, gradients, names_and_shapes, data):
    """As golden.check_gradients does, after the axes have been made ours."""
    ours = {stored[name].name: name for name in gradients}
    assert sorted(ours) == sorted(name for name, _ in names_and_shapes)
    largest = data["grad/norm"].max()
    for i, (torch_name, shape) in enumerate(names_and_shapes):
        name, norm = ours[torch_name], data["grad/norm"][i]
        gradient = gradients[name]
        gradient = np.zeros([]) if gradient is None else np.asarray(tf.convert_to_tensor(gradient), np.float64)
        if norm < 1e-4 * largest:
            assert np.linalg.norm(gradient) <= lane.gradients(2e-4) * largest
            continue

        def with_axes(tensor, gradient=gradient, name=name):
            return torch_golden.as_ours(stored[name], tensor, gradient.shape).astype(np.float64)

        bound = lane.gradients(1e-3) * lane.unit_of_gradients(norm, data["grad/norm"])
        along = with_axes(golden.seeded("proj:" + torch_name, shape))
        assert abs(np.linalg.norm(gradient) - norm) <= bound, (name, np.linalg.norm(gradient), norm)
        assert abs(np.sum(gradient * along) - data["grad/proj"][i]) <= bound, name
        if f"grad/full/{torch_name}" in data:
            assert np.linalg.norm(gradient - with_axes(data[f"grad/full/{torch_name}"])) <= bound, name
