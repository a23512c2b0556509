"""Layers against the official ones: values, gradients and gradients of gradients. Goldens are NCHW, layers NHWC."""

import golden
import pytest
import tensorflow as tf

from dnnlib.tflib.ops import build, implementation
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from dnnlib.tflib.ops.synthesis_epilogue import synthesis_epilogue
from dnnlib.tflib.scope import KERAS_3
from training import networks_stylegan, networks_stylegan2
from training.nets import layers, stylegan_layers

LAYERS = golden.index("ops", "layers.json")["cases"]
FREE_FUNCTIONS = {
    **{f"networks_stylegan2.{name}": value for name, value in vars(networks_stylegan2).items()},
    **{f"networks_stylegan.{name}": value for name, value in vars(networks_stylegan).items()},
}


def nchw(func):
    """A function of NHWC tensors as one of NCHW tensors; its other arguments stay."""

    def wrapped(x, *args):
        y = func(tf.transpose(x, [0, 2, 3, 1]) if x.shape.rank == 4 else x, *args)
        return tf.transpose(y, [0, 3, 1, 2]) if y.shape.rank == 4 else y

    return wrapped


def make_layer(func, kwargs, x_shape, w_shape=None):
    """The layer of an official layer function, and its call."""
    kwargs = dict(kwargs)
    in_fmaps = x_shape[1]
    if func == "networks_stylegan2.modulated_conv2d_layer":
        layer = layers.ModulatedConv2D("L", in_fmaps=in_fmaps, dlatent_size=w_shape[1], **kwargs)
        return layer, nchw(layer)
    if func in ("networks_stylegan2.dense_layer", "networks_stylegan.dense"):
        kwargs.setdefault("gain", 2**0.5 if func.startswith("networks_stylegan.") else 1)
        layer = layers.Dense("L", in_fmaps=tf.TensorShape(x_shape[1:]).num_elements(), act=None, **kwargs)
        return layer, layer
    if func in ("networks_stylegan2.conv2d_layer", "networks_stylegan.conv2d"):
        layer = layers.Conv2D("L", in_fmaps=in_fmaps, act=None, **kwargs)
        return layer, nchw(layer)
    if func in ("networks_stylegan2.apply_bias_act", "networks_stylegan.apply_bias"):
        layer = layers.EqualizedLayer("L", lrmul=kwargs.get("lrmul", 1), act_gain=kwargs.get("gain"))
        layer.add_variable("bias", [in_fmaps])
        return layer, nchw(lambda x: layers.apply_bias_act(layer, x, kwargs.get("act", "linear")))
    if func == "networks_stylegan.style_mod":
        layer = stylegan_layers.StyleMod("StyleMod", dlatent_size=w_shape[1], fmaps=in_fmaps, **kwargs)
        return layer, nchw(layer)
    resampling = {
        "networks_stylegan.upscale2d_conv2d": stylegan_layers.upscale2d_conv2d,
        "networks_stylegan.conv2d_downscale2d": stylegan_layers.conv2d_downscale2d,
    }[func]
    layer = layers.EqualizedLayer("L", gain=2**0.5, use_wscale=kwargs["use_wscale"])
    coef = layer.add_equalized_variable("weight", [3, 3, in_fmaps, kwargs["fmaps"]])
    return layer, nchw(lambda x: resampling(x, tf.cast(layer.weight * coef, x.dtype), kwargs["fused_scale"]))


def tf_variable(variable):
    """The TensorFlow variable of a Keras variable."""
    return variable.value if KERAS_3 else variable


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "convert_images"])
def test_layer(name):
    case, data = LAYERS[name], golden.arrays("ops", "layers.npz")
    inputs = {key: data[f"{name}/in/{key}"] for key in ("x", "y", "w") if f"{name}/in/{key}" in data}
    if not case["variables"]:
        func = FREE_FUNCTIONS[case["func"]]
        # In groups of two samples, second gradients cancel down to the noise of float32, in the goldens as well.
        floor = 5e-6 if case["kwargs"].get("group_size") == 2 else 0
        golden.check_op(lambda x: func(x, **case["kwargs"]), inputs, case["seed_ny"], data, name, floor=floor)
        return
    second = [value.shape for key, value in inputs.items() if key != "x"]
    layer, call = make_layer(case["func"], case["kwargs"], inputs["x"].shape, *second)
    variables = {}
    for variable in case["variables"]:
        variables[variable] = tf_variable(layer.named_variables()[variable.split("/")[-1]])
        variables[variable].assign(data[f"{name}/var/{variable}"])
    golden.check_op(call, inputs, case["seed_ny"], data, name, variables)


@pytest.mark.parametrize("resampling", [{}, {"up": True}, {"down": True}])
@pytest.mark.parametrize("demodulate", [True, False])
def test_one_sample_is_computed_by_weights_and_several_by_feature_maps(resampling, demodulate):
    x, w, style = golden.rnd(1, 3, 8, 8, 5), golden.rnd(2, 3, 3, 5, 4), 1 + 0.3 * golden.rnd(3, 3, 5)
    kwargs = {"demodulate": demodulate, "resample_kernel": [1, 3, 3, 1], **resampling}
    together = synthesis_epilogue(*layers.modulated_conv2d(x, w, style, **kwargs), act="linear")
    for i in range(3):
        alone, factor = layers.modulated_conv2d(tf.constant(x[i : i + 1]), w, style[i : i + 1], **kwargs)
        assert factor is None
        golden.close(alone, together[i : i + 1].numpy(), 1e-5)


def test_layers_rebuild_from_their_configuration():
    epilogue = {"dlatent_size": 6, "use_noise": True, "use_pixel_norm": False, "use_instance_norm": True}
    config_a = {"act": "lrelu", "use_wscale": True, "epilogue": {**epilogue, "use_styles": True}}
    synthesis = {"dlatent_size": 6, "act": "lrelu", "resample_kernel": [1, 3, 3, 1], "fused_modconv": True}
    for layer in (
        layers.Dense("Dense0", in_fmaps=4, fmaps=3, act="lrelu", lrmul=0.01),
        layers.Conv2D("Conv0", in_fmaps=4, fmaps=3, kernel=3, up=True, resample_kernel=[1, 2, 1]),
        layers.SynthesisLayer("Conv1", in_fmaps=4, fmaps=3, up=False, **synthesis),
        layers.ToRGB("ToRGB", in_fmaps=4, fmaps=3, dlatent_size=6, fused_modconv=True),
        stylegan_layers.ConvLayer("Conv", in_fmaps=4, fmaps=3, **config_a),
        stylegan_layers.ConvUpLayer("Up", in_fmaps=4, fmaps=3, fused_scale="auto", blur_filter=[1, 2, 1], **config_a),
    ):
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
        assert {k: tuple(v.shape) for k, v in again.named_variables().items()} == {
            k: tuple(v.shape) for k, v in layer.named_variables().items()
        }


def test_minibatch_stddev_refuses_groups_that_do_not_fit():
    with pytest.raises(ValueError, match="minibatch size 6 must be a multiple of mbstd_group_size=4"):
        layers.minibatch_stddev_layer(tf.zeros([6, 3, 4, 4]))
    with pytest.raises(ValueError, match="mbstd_num_features=2 must divide"):
        layers.minibatch_stddev_layer(tf.zeros([4, 3, 4, 4]), num_new_features=2)


def test_bias_act_of_a_layer_is_the_op():
    layer = layers.Dense("Dense", in_fmaps=3, fmaps=2, act="swish", lrmul=0.5)
    layer.bias.assign([1.0, -2.0])
    x = golden.rnd(1, 4, 3)
    expected = fused_bias_act(tf.matmul(x, layer.weight * layer.runtime_coef), [0.5, -1.0], axis=1, act="swish")
    golden.close(layer(x), expected.numpy(), 1e-6)


@pytest.mark.skipif(implementation.choose("auto", build.OPS, tf.float32) == "ref", reason="no compiled ops here")
def test_feature_maps_are_passed_over_by_our_ops_only():
    """In both gradients of path length regularisation: no products, sums or casts between convolutions."""

    def two_layers(x, w1, w2, style1, style2, noise, b):
        x, scale = layers.modulated_conv2d(x, w1, style1)
        x = synthesis_epilogue(x, scale, noise, b, act="lrelu", clamp=2.0)
        return layers.modulated_conv2d(x, w2, style2, demodulate=False)[0]

    @tf.function(autograph=False)
    def gradients(x, target, w1, w2, style1, style2, noise, b):
        with tf.GradientTape() as outer:
            outer.watch([w1, w2, style1, style2, noise, b])
            with tf.GradientTape() as inner:
                inner.watch([style1, style2])
                y = two_layers(x, w1, w2, style1, style2, noise, b)
            slopes = inner.gradient(y, [style1, style2], target)
            penalty = tf.add_n([tf.reduce_sum(slope**2) for slope in slopes])
        return outer.gradient(penalty, [w1, w2, style1, style2, noise, b], unconnected_gradients="zero")

    maps, w, style = [2, 8, 8, 24], tf.ones([3, 3, 24, 24]), tf.ones([2, 24])
    x = tf.ones(maps, tf.bfloat16)
    call = gradients.get_concrete_function(x, x, w, w, style, style, tf.ones([2, 1, 8, 8]), tf.ones([24]))
    needed, left = set(), [tensor.op for tensor in call.graph.outputs]
    while left:
        op = left.pop()
        if op not in needed:
            needed.add(op)
            left += [tensor.op for tensor in op.inputs]
    passes = {op.type for op in needed if any(t.shape == maps for t in [*op.inputs, *op.outputs])}
    ours = {"StyleganEpilogue", "StyleganEpilogueGrad", "StyleganEpilogueGradGrad"}
    convolutions = {"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"}
    zeros = {"Fill", "ShapeN"}  # for the first layer, where nothing depends on the gradient by x
    assert passes - {"Placeholder", "Identity", "Shape", "AddN"} - zeros == ours | convolutions
