"""All networks against numbers computed by the official TensorFlow 1 code: outputs, first and second gradients."""

import golden
import lane
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import Network

CASES = golden.index("nets", "index.json")
GENERATORS = [name for name, case in CASES.items() if case["kind"] == "G"]
DISCRIMINATORS = [name for name, case in CASES.items() if case["kind"] == "D"]


def build(case):
    static = {key: case[key] for key in ("num_channels", "resolution", "label_size")}
    net = Network(
        case["kind"], func_name=case["func"], **static, **case["kwargs"], **lane.kwargs(case["func"], case["kwargs"])
    )
    assert [
        {"name": name, "shape": list(var.shape), "dtype": "float32", "trainable": bool(var.trainable)}
        for name, var in net.vars.items()
    ] == case["variables"]
    assert list(net.trainables) == case["trainables"]
    golden.set_variables(net.vars, case["salt"])
    return net


def lod_prefixes(case):
    return [(None, "") if lod is None else (lod, f"lod{lod:g}/") for lod in case["lods"]]


@pytest.mark.gpu
@pytest.mark.parametrize("name", GENERATORS)
def test_generator_images(name):
    case, data = CASES[name], golden.arrays("nets", name + ".npz")
    net = build(case)
    z, labels = data["z"], data.get("labels")
    mapping, synthesis = net.components.mapping, net.components.synthesis
    golden.close(mapping.run(z, labels), data["w"], 1e-4)
    if "w_nolabel" in data:
        golden.close(mapping.run(z, None), data["w_nolabel"], 1e-4)
    for number, (lod, prefix) in enumerate(lod_prefixes(case)):
        golden.set_lod(net.vars, lod or 0)
        fixed = {"randomize_noise": False}
        golden.close(net.run(z, labels, truncation_psi=1, **fixed), data[prefix + "img_psi1"], 1e-4)
        golden.close(synthesis.run(data["w_random"], **fixed), data[prefix + "img_from_w_random"], 1e-4)
        if number:
            continue
        golden.close(net.run(z, labels, **fixed), data["img_default"], 1e-4)
        cut2 = net.run(z, labels, truncation_psi=0.4, truncation_cutoff=2, **fixed)
        golden.close(cut2, data["img_psi0.4_cut2"], 1e-4)
        uncut = net.run(z, labels, truncation_psi=0.4, truncation_cutoff=None, **fixed)
        golden.close(uncut, data["img_psi0.4_cutNone"], 1e-4)
        golden.close(net.run(z, labels, is_validation=True, **fixed), data["img_validation"], 1e-4)
        golden.close(synthesis.run(data["w"], **fixed), data["img_from_w"], 1e-4)
        if "dlatents_psi0.4_cut2" in data:
            kwargs = {"truncation_psi": 0.4, "truncation_cutoff": 2, "return_dlatents": True}
            images, dlatents = net.run(z, labels, **kwargs, **fixed)
            golden.close(images, data["img_psi0.4_cut2"], 1e-4)
            golden.close(dlatents, data["dlatents_psi0.4_cut2"], 1e-4)
        kwargs = {"is_training": True, "style_mixing_prob": None, "dlatent_avg_beta": 0.9}
        golden.close(net.run(z, labels, **kwargs, **fixed), data["img_training_nomix"], 1e-4)
        golden.close(net.get_var("dlatent_avg"), data["dlatent_avg_after_training_beta0.9"], 1e-4)
        net.set_var("dlatent_avg", golden.variable_value(case["salt"], "dlatent_avg", data["w"].shape[2:]))


# Grev takes half a minute, and Grev-cond2 has the same layers; the others are G1 with arguments that no config has.
LONG = {"Grev", "G1-dense-noblur", "G1-nonoise-fused", "G1-pixelnorm"}


@pytest.mark.gpu
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in GENERATORS])
def test_generator_gradients(name):
    case, data = CASES[name], golden.arrays("nets", name + ".npz")
    net = build(case)
    golden.set_lod(net.vars, case["grad_lod"] or 0)
    z, labels = tf.constant(data["z"]), data.get("labels")
    names, variables = list(net.trainables), list(net.trainables.values())
    shape = [len(data["z"]), *net.output_shape[1:]]
    noise = golden.rnd(int(data["ny_seed"]), *shape)

    @tf.function
    def gradients():
        with tf.GradientTape() as outer:
            with tf.GradientTape(persistent=True) as inner:
                inner.watch(z)
                dlatents = net.components.mapping.get_output_for(z, labels)
                inner.watch(dlatents)
                outer.watch(dlatents)
                images = net.components.synthesis.get_output_for(dlatents, randomize_noise=False)
                loss = tf.reduce_sum(images * noise)
            first = inner.gradient(loss, [dlatents, z, *variables])
            penalty = 0.5 * tf.reduce_sum(tf.square(first[0]))
        return first, penalty, outer.gradient(penalty, [dlatents, *variables])

    first, penalty, second = gradients()
    shapes = [tuple(var.shape) for var in variables]
    golden.close_relative(first[0], data["grad1/dlatents"], lane.gradients(1e-3))
    golden.close_relative(first[1], data["grad1/z"], lane.gradients(1e-3))
    golden.check_gradients(names, first[2:], shapes, data, "grad1/")
    assert float(penalty) == pytest.approx(float(data["grad2/value"]), rel=lane.gradients(1e-3))
    # One unit of Grev is so near the kink of its activation that moving z by 1e-6 of itself changes these by 1.4e-3.
    tolerance = 5e-3 if name == "Grev" else 1e-3
    golden.close_relative(second[0], data["grad2/dlatents"], lane.gradients(tolerance))
    if lane.DTYPE == "float16":  # the gradients of a penalty of this size by weights go beyond 65504, in 'ref' as well
        return
    golden.check_gradients(names, second[1:], shapes, data, "grad2/", tolerance)


# D1-cond3 takes 20 seconds in both lanes; D1 has its layers, Dsg-cond4 its labels.
@pytest.mark.gpu
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "D1-cond3" else n for n in DISCRIMINATORS]
)
def test_discriminator(name):
    case, data = CASES[name], golden.arrays("nets", name + ".npz")
    net = build(case)
    shape = net.input_shape[1:]
    for lod, prefix in lod_prefixes(case):
        golden.set_lod(net.vars, lod or 0)
        for batch in case["batches"]:
            x, labels = golden.rnd(case["seed"] + batch, batch, *shape), data.get(f"labels_b{batch}")
            golden.close(net.run(x, labels, minibatch_size=batch), data[f"{prefix}scores_b{batch}"], 1e-4)
            nolabel = data.get(f"{prefix}scores_nolabel_b{batch}")
            if nolabel is not None:
                golden.close(net.run(x, None, minibatch_size=batch), nolabel, 1e-4)

    golden.set_lod(net.vars, case["grad_lod"] or 0)
    batch = case["batches"][0]
    x = tf.constant(golden.rnd(case["seed"] + batch, batch, *shape))
    names, variables = list(net.trainables), list(net.trainables.values())

    @tf.function
    def gradients():
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                scores = net.get_output_for(x, data.get(f"labels_b{batch}"))
                loss = tf.reduce_sum(scores * data["sy"])
            first = inner.gradient(loss, [x, *variables])
            penalty = 0.5 * tf.reduce_sum(tf.square(first[0]))
        return first, penalty, outer.gradient(penalty, variables)

    first, penalty, second = gradients()
    shapes = [tuple(var.shape) for var in variables]
    golden.close_relative(first[0], data["grad1/x"], lane.gradients(1e-3))
    golden.check_gradients(names, first[1:], shapes, data, "grad1/")
    assert float(penalty) == pytest.approx(float(data["grad2/value"]), rel=lane.gradients(1e-3))
    golden.check_gradients(names, second, shapes, data, "grad2/")


def test_structures_agree():
    """Fixed, linear and recursive networks with the same variables render the same images."""
    kwargs = {"resolution": 16, "num_channels": 3, "fmap_base": 64, "fmap_max": 8, "dlatent_size": 8}
    dlatents = golden.rnd(1, 2, 6, 8)
    for func in ("networks_stylegan2.G_synthesis_stylegan_revised", "networks_stylegan.G_synthesis"):
        net = Network("S", func_name="training." + func, randomize_noise=False, **kwargs)
        golden.set_variables(net.vars, func)
        for lod in (0.0, 0.3, 1.0, 1.6, 2.0):
            net.set_var("lod", lod)
            recursive = net.run(dlatents, structure="recursive")
            golden.close(net.run(dlatents, structure="linear"), recursive, 1e-5)
            if lod == 0:
                golden.close(net.run(dlatents, structure="fixed"), recursive, 1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_types(dtype):
    """Every kind of network runs in other float types, close to float32."""
    kwargs = {"resolution": 16, "num_channels": 3, "fmap_base": 64, "fmap_max": 8}
    for func in (
        *("networks_stylegan2.G_synthesis_stylegan2", "networks_stylegan2.G_synthesis_stylegan_revised"),
        *("networks_stylegan.G_synthesis", "networks_stylegan2.D_stylegan2", "networks_stylegan2.D_stylegan"),
        "networks_stylegan.D_basic",
    ):
        net = Network("N", func_name="training." + func, **kwargs)
        golden.set_variables(net.vars, func, lod=0.5)
        x = golden.rnd(1, 4, *net.input_shape[1:])
        fixed = {"randomize_noise": False} if "G_" in func else {}
        for structure in ("linear", "recursive") if "lod" in net.vars else (None,):
            options = {**fixed, "structure": structure} if structure else fixed
            result = net.get_output_for(x, dtype=dtype, **options)
            assert result.dtype == dtype
            golden.close(tf.cast(result, tf.float32), net.get_output_for(x, **options).numpy(), 0.1)


def test_without_styles():
    kwargs = {"resolution": 8, "num_channels": 1, "fmap_base": 16, "fmap_max": 4, "use_styles": False}
    net = Network("G", func_name="training.networks_stylegan.G_style", **kwargs)
    assert net.run(golden.rnd(1, 2, 512), None).shape == (2, 1, 8, 8)


def test_random_noise_differs_between_calls():
    net = Network(
        "G", func_name="training.networks_stylegan2.G_main", resolution=8, fmap_max=8, latent_size=8, dlatent_size=8
    )
    golden.set_variables(net.vars, "noise")
    z = golden.rnd(1, 1, 8)
    assert np.any(net.run(z, None) != net.run(z, None))
    assert np.all(net.run(z, None, randomize_noise=False) == net.run(z, None, randomize_noise=False))
