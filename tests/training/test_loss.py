"""Losses, regularizers and their gradients against the official ones (goldens/losses)."""

import golden
import lane
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import Network, random_stream
from dnnlib.tflib.optimizer import Optimizer
from training import loss

CASES = golden.index("losses", "index.json")
LOSSES = [
    *("G_logistic", "G_logistic_ns", "G_wgan", "G_logistic_ns_pathreg"),
    *("D_logistic", "D_logistic_r1", "D_logistic_r2", "D_wgan", "D_wgan_gp"),
]


class GoldenStream:
    """The random numbers that the official code was given: call k has the values rnd(seed + k)."""

    def __init__(self, seed: int, calls: list[dict], first: int = 0, scalars=None):
        self.seed, self.calls, self.next, self.scalars = seed, calls, first, scalars

    def _take(self, kind: str, shape) -> tuple[int, dict]:
        k = self.next
        self.next += 1
        call = self.calls[k]
        return k, call

    def normal(self, shape, dtype):
        k, call = self._take("normal", shape)
        assert call["kind"] == "normal"
        return tf.constant(golden.rnd(self.seed + k, *call["shape"]), dtype)

    def uniform(self, shape, minval, maxval, dtype):
        k, call = self._take("uniform", shape)
        if call["kind"] == "scalar":
            return tf.cast(call["value"], dtype)
        state = np.random.RandomState(self.seed + k)
        return tf.constant(state.uniform(call["lo"], call["hi"], size=call["shape"]).astype(np.float32))


class GoldenLabels:
    """Draws the labels that the official code was given."""

    def __init__(self, seed: int, label_size: int):
        self.seed, self.label_size = seed, label_size

    def get_random_labels_tf(self, n):
        labels = one_hot(self.seed, n, self.label_size)
        self.seed += 1
        return tf.constant(labels)


def one_hot(seed, n, label_size):
    if not label_size:
        return np.zeros([n, 0], np.float32)
    return np.eye(label_size, dtype=np.float32)[np.random.RandomState(seed).randint(label_size, size=n)]


def networks(case):
    sizes = {key: case[key] for key in ("resolution", "num_channels", "label_size")}
    G = Network(
        "G", func_name=case["G_func"], **sizes, **case["G_kwargs"], **lane.kwargs(case["G_func"], case["G_kwargs"])
    )
    D = Network("D", func_name=case["D_func"], **sizes, **case["D_kwargs"], **lane.kwargs(case["D_func"]))
    for net, salt in ((G, case["salts"]["G"]), (D, case["salts"]["D"])):
        golden.set_variables(net.vars, salt, case["lod"] or 0.0)
    return G, D


@pytest.mark.gpu
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case_name", CASES)
def test_official_values(case_name, name):
    case = CASES[case_name]
    info = case["losses"].get(name)
    if info is None:
        pytest.skip("not in the goldens")
    data = golden.arrays("losses", f"{case_name}.npz")
    if f"{name}/loss" not in data and f"{name}/reg" not in data:
        pytest.skip("not in the goldens")
    G, D = networks(case)
    trained = G if name.startswith("G_") else D
    seed = case["seed0"] + 20 * LOSSES.index(name)
    minibatch = case["minibatch"]
    kwargs = dict(info["kwargs"])
    if name.startswith("D_"):
        shape = [minibatch, case["num_channels"], case["resolution"], case["resolution"]]
        kwargs["reals"] = tf.constant(golden.rnd(case["reals_seed"], *shape))
        kwargs["labels"] = tf.constant(one_hot(case["labels_seed_D"], minibatch, case["label_size"]))
    start = {key: var.numpy() for key, var in G.vars.items()}

    def evaluate(parts):
        for key, var in G.vars.items():
            var.assign(start[key])
        first = label_call = 0
        if parts == "reg" and name == "G_logistic_ns_pathreg" and kwargs.get("pl_minibatch_shrink", 2) > 1:
            first = next(k for k, call in enumerate(info["calls"]) if "PathReg" in call["scope"])
            label_call = 1

        def gradients():
            stream = GoldenStream(seed, info["calls"], first)
            labels = GoldenLabels(case["labels_seed_G"] + label_call, case["label_size"])
            variables = list(trained.trainables.values())
            with random_stream.using(stream), tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                values = getattr(loss, name)(
                    G=G, D=D, opt=None, training_set=labels, minibatch_size=minibatch, parts=parts, **kwargs
                )
                value = values[0] if parts == "loss" else values[1]
                mean = tf.reduce_mean(value)
            return value, tape.gradient(mean, variables)

        return gradients()

    names = list(trained.trainables)
    shapes = [tuple(var.shape) for var in trained.trainables.values()]
    value, gradients = evaluate("loss")
    golden.close_relative(tf.reshape(value, data[f"{name}/loss"].shape), data[f"{name}/loss"], 1e-4)
    golden.check_gradients(names, gradients, shapes, data, f"{name}/grad_loss/")
    if f"{name}/dlatent_avg_after_loss" in data:
        golden.close(G.get_var("dlatent_avg"), data[f"{name}/dlatent_avg_after_loss"], 1e-5)
    if f"{name}/reg" not in data:
        return
    if name == "G_logistic_ns_pathreg":
        value, _ = evaluate("reg")
        golden.close_relative(value, data[f"{name}/reg"], lane.gradients(1e-3))
        value, _ = evaluate("reg")
        golden.close_relative(value, data[f"{name}/reg_second_eval"], lane.gradients(1e-3))
        loss.path_length_mean(G).assign(0.3)
        value, gradients = evaluate("reg")
        golden.close_relative(value, data[f"{name}/reg_with_pl_mean_0.3"], lane.gradients(1e-3))
    else:
        value, gradients = evaluate("reg")
        golden.close_relative(value, data[f"{name}/reg"], lane.gradients(1e-3))
    golden.check_gradients(names, gradients, shapes, data, f"{name}/grad_reg/")
    if f"{name}/dlatent_avg_after_reg" in data:
        golden.close(G.get_var("dlatent_avg"), data[f"{name}/dlatent_avg_after_reg"], 1e-5)


def test_averages_take_finite_numbers_only():
    """One bad minibatch is skipped by the optimizer; what it would leave behind stays as it was, too."""
    G, D = networks(CASES[next(iter(CASES))])
    mean, before = tf.Variable(1.0), G.get_var("dlatent_avg")
    for lengths in ([np.inf, 2.0], [np.nan, 2.0], [-np.inf, np.inf]):
        assert not np.isfinite(loss._track_mean(mean, tf.constant(lengths), 0.5))  # of this minibatch
    latents = np.full([2, *G.input_shape[1:]], np.nan, np.float32)
    G.get_output_for(latents, None, is_training=True)
    assert mean.numpy() == 1 and np.array_equal(G.get_var("dlatent_avg"), before)
    loss._track_mean(mean, tf.constant([2.0, 4.0]), 0.5)
    assert mean.numpy() == 2

    optimizer = Optimizer("Adam", {"x": tf.Variable([1.0, 2.0])})
    for gradient in ([np.nan, 0.0], [0.0, np.inf], [1e25, 0.0]):  # the square of the last is not finite
        assert not optimizer.apply([tf.constant(gradient, tf.float32)], 0.1)
    assert optimizer.apply([tf.constant([1.0, 1.0])], 0.1)
    assert all(np.isfinite(variable.numpy()).all() for variable in optimizer.variables().values())
