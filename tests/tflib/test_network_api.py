"""The official `Network` API."""

import collections
import copy
import warnings

import golden
import numpy as np
import pytest
import tensorflow as tf

from dnnlib import EasyDict, tflib
from dnnlib.tflib import Network

KWARGS = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 8, "label_size": 2}
G_KWARGS = {**KWARGS, "latent_size": 6, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}


@pytest.fixture(scope="module")
def G():
    net = Network("G", func_name="training.networks_stylegan2.G_main", **G_KWARGS)
    golden.set_variables(net.vars, "api.")
    return net


Z, LABELS = golden.rnd(1, 5, 6), np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1]]
FIXED = {"randomize_noise": False}


def test_fields(G):
    assert G.name == "G" and G.num_inputs == 2 and G.num_outputs == 1
    assert G.input_shape == [None, 6] and G.input_shapes == [[None, 6], [None, 2]]
    assert G.output_shape == [None, 3, 8, 8]
    assert list(G.components) == ["synthesis", "mapping"]
    assert G.components.mapping.name == "G_mapping"
    assert G.components.synthesis.input_shape == [None, 4, 8]
    assert list(G.own_vars) == ["lod", "dlatent_avg"]
    assert G.static_kwargs == G_KWARGS and isinstance(G.static_kwargs, EasyDict)
    assert all(isinstance(var, tf.Variable) for var in G.vars.values())
    for var in ("G/G_synthesis/noise0", "G/G_synthesis/noise0:0", G.vars["G_synthesis/noise0"]):
        assert G.get_var_local_name(var) == "G_synthesis/noise0"
    with pytest.raises(KeyError, match="did you mean G/G_synthesis/noise"):
        G.get_var_local_name("G/G_synthesis/noise")
    assert G.find_var("G_synthesis/noise0") is G.components.synthesis.vars["noise0"]
    with pytest.raises(KeyError, match="no variable 'G_synthesis/4x4/const' .did you mean G_synthesis/4x4/Const/const"):
        G.find_var("G_synthesis/4x4/const")


def test_run_in_minibatches(G):
    whole = G.run(Z, LABELS, **FIXED)
    assert whole.shape == (5, 3, 8, 8) and whole.dtype == np.float32
    golden.close(G.run(Z, LABELS, minibatch_size=2, **FIXED), whole, 1e-5)
    golden.close(G.run(Z.astype(np.float64), LABELS, assume_frozen=True, **FIXED), whole, 1e-6)
    assert isinstance(G.run(Z, LABELS, return_as_list=True, **FIXED), list)
    golden.close(G.run(Z, **FIXED), G.run(Z, np.zeros([5, 2]), **FIXED), 1e-6)


def test_run_with_transforms(G, capsys):
    pixels = G.run(
        Z,
        LABELS,
        input_transform={"func": lambda z, labels, scale: (z * scale, labels), "scale": 0.5},
        output_transform={"func": "dnnlib.tflib.convert_images_to_uint8", "nchw_to_nhwc": True},
        print_progress=True,
        minibatch_size=3,
        **FIXED,
    )
    assert pixels.shape == (5, 8, 8, 3) and pixels.dtype == np.uint8
    assert "5 / 5" in capsys.readouterr().out
    expected = tflib.convert_images_to_uint8(G.run(Z * 0.5, LABELS, **FIXED), nchw_to_nhwc=True)
    assert np.max(np.abs(pixels.astype(int) - np.asarray(expected, int))) <= 1


def test_arguments_of_one_call(G):
    """Every argument of the build function can be changed for one call."""
    relu = Network("R", func_name="training.networks_stylegan2.G_main", nonlinearity="relu", **G_KWARGS)
    relu.copy_vars_from(G)
    golden.close(G.run(Z, LABELS, nonlinearity="relu", **FIXED), relu.run(Z, LABELS, **FIXED), 1e-6)
    for psi in (0.3, 0.8):
        fresh = G.clone("fresh", truncation_psi=psi)
        golden.close(G.run(Z, LABELS, truncation_psi=psi, **FIXED), fresh.run(Z, LABELS, **FIXED), 1e-6)
    half = G.get_output_for(Z, LABELS, dtype="float16", **FIXED)
    assert half.dtype == tf.float16
    golden.close(tf.cast(half, tf.float32), G.run(Z, LABELS, **FIXED), 2e-2)
    images, dlatents = G.run(Z, LABELS, return_dlatents=True, **FIXED)
    golden.close(G.components.synthesis.run(dlatents, **FIXED), images, 1e-5)
    with pytest.raises(ValueError, match="do not fit"):
        G.run(Z, LABELS, resolution=16)


def test_numpy_scalars_are_arguments(G):
    """As officially, in calls and constructions. The cutoff may be a fraction."""
    numpy_kwargs = {name: np.int64(value) for name, value in G_KWARGS.items()}
    net = Network("G", func_name="training.networks_stylegan2.G_main", num_fp16_res=np.int32(0), **numpy_kwargs)
    assert net.static_kwargs == {**G_KWARGS, "num_fp16_res": 0}
    assert all(type(value) is int for value in net.static_kwargs.values())
    net = net.clone(randomize_noise=np.bool_(False), resample_kernel=np.array([1, 3, 3, 1]), conv_clamp=np.array(256.0))
    assert net.static_kwargs.conv_clamp == 256 and net.static_kwargs.resample_kernel == [1, 3, 3, 1]
    net.copy_vars_from(G)

    of_three = G.run(Z, LABELS, truncation_cutoff=3, **FIXED)
    for cutoff in (np.int64(3), 3.0, 2.5, np.float32(2.5), np.array(3), tf.constant(3), np.array([[[3]]])):
        golden.close(net.run(Z, LABELS, truncation_cutoff=cutoff, randomize_noise=np.bool_(False)), of_three, 1e-6)
        golden.close(net.get_output_for(Z, LABELS, truncation_cutoff=cutoff), of_three, 1e-6)
    assert np.abs(net.run(Z, LABELS, truncation_cutoff=np.float64(3.5)) - of_three).max() > 1e-3


def test_numpy_scalars_are_not_compiled_again_and_again(G):
    net = G.clone()

    def sweep():
        for layers in np.arange(2, 5):
            net.run(Z, LABELS, truncation_cutoff=layers, truncation_psi=np.float32(0.4))
        net.run(Z, LABELS, truncation_psi=np.float64(1), randomize_noise=np.bool_(True), fused_modconv=np.bool_(False))
        transform = {"func": tflib.convert_images_to_uint8, "drange": [np.float32(-1), 1], "shrink": np.int64(2)}
        net.run(Z, LABELS, minibatch_size=np.int64(5), num_gpus=np.int64(1), output_transform=transform)
        functions = net._runner.functions.values()
        return len(functions), sum(function.experimental_get_tracing_count() for function in functions)

    assert sweep() == sweep() == (3, 3)


def test_compiled_functions_are_told_apart_by_content(G):
    def add(images, value):
        return images + tf.reduce_sum(value)

    images = G.run(Z, LABELS, **FIXED)
    for total in (0.0, 7.0):
        value = np.zeros(5000, np.float32)
        value[2500] = total
        shifted = G.run(Z, LABELS, output_transform={"func": add, "value": value}, **FIXED)
        golden.close(shifted, images + total, 1e-5)


def test_arguments_of_other_networks_are_ignored(G):
    """As officially: losses hand `is_training` to all networks, arguments of a generator go to all its parts."""
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", mbstd_group_size=1, **KWARGS)
    images = golden.rnd(1, 5, 3, 8, 8)
    golden.close(D.get_output_for(images, LABELS, is_training=True), D.run(images, LABELS, minibatch_size=5), 1e-5)
    golden.close(G.components.mapping.run(Z, LABELS, truncation_psi=0.5), G.components.mapping.run(Z, LABELS), 1e-6)
    assert not G.components.mapping._variants and not D._variants


def test_unknown_arguments_are_ignored_with_one_warning_each(G, monkeypatch):
    """As officially, in calls and constructions; whoever misspells one is told what may have been meant."""
    monkeypatch.setattr("dnnlib.tflib.network_run._unknown_arguments", set())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        net = Network("N", func_name="training.networks_stylegan2.G_main", impl="cuda", fmap_maxx=3, **G_KWARGS)
        net = net.clone(init_res=[4, 4], truncation_psi=0.7).convert("training.networks_stylegan2.G_main", impl="ref")
        net.copy_vars_from(G)
        for verbose in (object(), object()):
            images = net.run(Z, LABELS, truncation_pzi=1, verbose=verbose, **FIXED)
            golden.close(net.get_output_for(Z, LABELS, nois=[], verbose=verbose, **FIXED), images, 1e-6)
        golden.close(images, G.run(Z, LABELS, truncation_psi=0.7, **FIXED), 1e-6)
    assert len(net._runner.functions) == 1 and net.static_kwargs == {**G_KWARGS, "truncation_psi": 0.7}
    assert [str(warning.message) for warning in warned] == [
        "N: unknown argument 'fmap_maxx' is ignored (did you mean fmap_max?)",
        "N: unknown argument 'impl' is ignored",
        "N: unknown argument 'init_res' is ignored",
        "N: unknown argument 'truncation_pzi' is ignored (did you mean truncation_psi?)",
        "N: unknown argument 'verbose' is ignored",
        "N: unknown argument 'nois' is ignored (did you mean noise?)",
    ]


def test_labels_of_unconditional_networks():
    kwargs = {**G_KWARGS, "label_size": 0}
    G = Network("G", func_name="training.networks_stylegan2.G_main", **kwargs)
    D = Network(
        "D", func_name="training.networks_stylegan2.D_stylegan2", **{**KWARGS, "label_size": 0}, mbstd_group_size=1
    )
    for net, inputs, fixed in ((G, Z, FIXED), (D, golden.rnd(2, 5, 3, 8, 8), {})):
        expected = net.run(inputs, minibatch_size=2, **fixed)
        of_no_columns = [np.zeros([n, 0]) for n in (0, 1, 5)]
        for labels in (None, [None], [None] * 5, np.array(None), [], [[]] * 5, *of_no_columns):
            golden.close(net.run(inputs, labels, minibatch_size=2, **fixed), expected, 1e-6)
        whole = net.run(inputs, **fixed)
        for labels in ([None], [], tf.zeros([1, 0]), tf.zeros([5, 0])):
            golden.close(net.get_output_for(inputs, labels, **fixed), whole, 1e-5)
        with pytest.raises(ValueError, match=r"labels must have shape .N, 0., got"):
            net.run(inputs, np.zeros([5, 2]))


def test_numbers_in_other_arrays(G):
    """As TensorFlow 1 took them: of objects, and as texts."""
    expected = G.run(Z, LABELS, **FIXED)
    for kind in (object, str):
        np.testing.assert_array_equal(G.run(Z.astype(kind), LABELS.astype(kind), **FIXED), expected)
    with pytest.raises(ValueError, match="could not convert string to float"):
        G.run(np.full([5, 6], "x"), LABELS)


def test_wrong_inputs(G):
    for args, message in (
        ((), "expected inputs latents_in, labels_in"),
        ((Z, LABELS, Z), "expected inputs"),
        ((Z, LABELS[:3]), "labels_in has 3 items"),
        ((Z[:0], None), "no items"),
        ((Z, []), "labels_in has 0 items"),
        ((Z, np.zeros([5, 3])), "labels must have shape"),
        ((np.zeros([5, 12]), LABELS), r"latents must have shape .N, 6."),
        ((np.zeros([6]), None), r"latents must have shape .N, 6."),
        ((np.zeros([]), None), "first axis"),
    ):
        with pytest.raises(ValueError, match=message):
            G.run(*args)
    with pytest.raises(ValueError, match="minibatch_size must be 1 or more"):
        G.run(Z, LABELS, minibatch_size=-1)
    with pytest.raises(ValueError, match="num_gpus=9: this machine has"):
        G.run(Z, LABELS, num_gpus=9)


def test_clone_and_copy(G):
    other = G.clone("Gs")
    assert other.name == "Gs" and other.static_kwargs == G.static_kwargs
    other.set_var("dlatent_avg", np.full(8, 7.0))
    assert not np.any(G.get_var("dlatent_avg") == 7)
    other.copy_trainables_from(G)
    assert np.all(other.get_var("dlatent_avg") == 7)
    other.copy_own_vars_from(G)
    np.testing.assert_array_equal(other.get_var("dlatent_avg"), G.get_var("dlatent_avg"))
    other.reset_trainables()
    assert np.any(other.get_var("G_mapping/Dense0/weight") != G.get_var("G_mapping/Dense0/weight"))
    other.copy_vars_from(G)
    golden.close(other.run(Z, LABELS, **FIXED), G.run(Z, LABELS, **FIXED), 1e-6)
    bigger = Network("B", func_name="training.networks_stylegan2.G_main", **{**G_KWARGS, "dlatent_size": 9})
    with pytest.raises(ValueError, match="dlatent_avg: .8. -> .9."):
        bigger.copy_vars_from(G)


def test_convert(G):
    revised = G.convert("training.networks_stylegan2.G_main", synthesis_func="G_synthesis_stylegan_revised")
    name = "G_synthesis/4x4/Conv/weight"
    np.testing.assert_array_equal(revised.get_var(name), G.get_var(name))
    assert "G_synthesis/ToRGB_lod0/weight" in revised.vars


def test_copies_are_of_the_same_source(G):
    net = G.clone("of-PyTorch")
    net.source_format, net.augment_p = "pytorch", 0.25
    same = net.convert("training.networks_stylegan2.G_main")
    for again in (net.clone(), net.clone(truncation_psi=0.5), copy.copy(net), copy.deepcopy([net, net])[1], same):
        assert again is not net and again.name == net.name
        assert again.source_format == again.components.mapping.source_format == "pytorch" and again.augment_p == 0.25
        np.testing.assert_array_equal(again.get_var("dlatent_avg"), net.get_var("dlatent_avg"))
    copies = copy.deepcopy({"a": net, "b": net})
    assert copies["a"] is copies["b"]


def test_moving_average(G):
    average = G.clone("Gs")
    source = G.clone("G2")
    golden.set_variables(source.vars, "other.")
    before = average.get_var("G_mapping/Dense0/weight")
    update = average.setup_as_moving_average_of(source, beta=0.75)
    tflib.run(update)
    after = average.get_var("G_mapping/Dense0/weight")
    np.testing.assert_allclose(after, 0.75 * before + 0.25 * source.get_var("G_mapping/Dense0/weight"), rtol=1e-5)
    np.testing.assert_array_equal(average.get_var("dlatent_avg"), source.get_var("dlatent_avg"))


def test_style_mixing_takes_later_layers_from_another_latent(G):
    tf.random.set_seed(1)
    dlatents = G.run(Z, LABELS, is_training=True, style_mixing_prob=1.0, return_dlatents=True, **FIXED)[1]
    unmixed = G.components.mapping.run(Z, LABELS)
    same = np.all(np.abs(dlatents - unmixed) < 1e-6, axis=(0, 2))  # per layer
    assert same[0] and not same[-1]
    assert list(same) == sorted(same, reverse=True)
    none = G.run(Z, LABELS, is_training=True, style_mixing_prob=None, return_dlatents=True, **FIXED)[1]
    golden.close(none, unmixed, 1e-6)


def test_noise_given_for_each_sample(G):
    shapes = [var.shape for name, var in G.components.synthesis.vars.items() if name.startswith("noise")]
    noise = [golden.rnd(i, 5, *shape[1:]) for i, shape in enumerate(shapes)]
    together = G.get_output_for(Z, LABELS, noise=noise)
    for i in range(5):
        alone = G.get_output_for(Z[i : i + 1], LABELS[i : i + 1], noise=[n[i : i + 1] for n in noise])
        golden.close(alone, together[i : i + 1].numpy(), 1e-4)
    with pytest.raises(ValueError, match="list of 3 tensors"):
        G.get_output_for(Z, LABELS, noise=noise[:2])


def test_wrong_networks():
    for func_name, message in (
        (None, "func_name must name"),
        ("training.networks_stylegan2.feature", "has no 'feature'"),
        ("nowhere.G", "no module"),
        ("dnnlib.util.EasyDict", "is not a network"),
    ):
        with pytest.raises((ValueError, ImportError), match=message):
            Network("G", func_name=func_name)


def test_variables_as_official_scripts_use_them(G):
    net = G.clone("H")
    noise_vars = [var for name, var in net.components.synthesis.vars.items() if name.startswith("noise")]
    rnd = np.random.RandomState(1)
    values = {var: rnd.randn(*var.shape.as_list()) for var in noise_vars}
    tflib.set_vars(values)
    for var, value in values.items():
        np.testing.assert_allclose(tflib.run(var), value, rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(noise_vars)
        loss = tf.reduce_sum(tf.square(net.get_output_for(Z, LABELS, **FIXED)))
    assert all(np.any(gradient) for gradient in tape.gradient(loss, noise_vars))


def test_tfutil():
    tflib.init_tf({"rnd.np_random_seed": 1000})
    draw = golden.index("config", "rng_order.json") if (golden.GOLDENS / "config").exists() else None
    first = np.random.randn(3, 4)
    if draw is not None:
        np.testing.assert_array_equal(first, draw["draws"]["1000"]["then_np_randn_3x4"])
    tflib.init_tf({"rnd.np_random_seed": 1000})
    np.testing.assert_array_equal(first, np.random.randn(3, 4))
    variable = tf.Variable([1.0, 2.0])
    pair = collections.namedtuple("Pair", "a b")
    assert tflib.run(pair(tf.constant(1), [None, lambda: tf.constant(2)])) == pair(1, [None, 2])
    for other in (b"Gs/lod:0", object(), {"a": [b"lod"]}):
        with pytest.raises(TypeError, match="has no value"):
            tflib.run(other)
    tflib.set_vars([(variable, [3, 4])])
    tflib.set_vars({variable.ref(): [5, 6]})
    np.testing.assert_array_equal(tflib.run({"a": [variable, tf.constant(1)]})["a"][0], [5, 6])
    assert tflib.is_tf_expression(variable) and not tflib.is_tf_expression(np.zeros(1))
    np.testing.assert_allclose(tflib.log2(tflib.exp2(tf.constant([3.0]))), [3.0], rtol=1e-5)
    np.testing.assert_allclose(tflib.lerp_clip(0.0, 2.0, tf.constant([-1.0, 0.25, 3.0])), [0, 0.5, 2])
    assert tflib.shape_to_list(tf.TensorShape([None, 3])) == [None, 3]
