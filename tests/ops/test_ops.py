"""Custom ops against the official ones: values, gradients and gradients of gradients."""

import inspect

import golden
import lane
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import convert_images_from_uint8, convert_images_to_uint8
from dnnlib.tflib.ops import fused_bias_act as bias_act_module
from dnnlib.tflib.ops import upfirdn_2d as upfirdn_module
from dnnlib.tflib.ops.fused_bias_act import activation_funcs, fused_bias_act

UPFIRDN = golden.index("ops", "upfirdn.json")
BIAS_ACT = golden.index("ops", "fused_bias_act.json")


@pytest.mark.gpu
@pytest.mark.parametrize("name", UPFIRDN["cases"])
def test_upfirdn(name):
    case, data = UPFIRDN["cases"][name], golden.arrays("ops", "upfirdn.npz")
    func, kwargs = getattr(upfirdn_module, case["func"]), dict(case["kwargs"])
    if case["func"] == "upfirdn_2d":
        kwargs["k"] = UPFIRDN["kernels"][case["k"]]
    inputs = {"x": data[name + "/x"]}
    if name + "/w" in data:
        inputs["w"] = data[name + "/w"]
    golden.check_op(lambda *args: func(*args, **kwargs), inputs, case["seed_ny"], data, name)


@pytest.mark.gpu
@pytest.mark.parametrize("name", BIAS_ACT["cases"])
def test_fused_bias_act(name):
    case, data = BIAS_ACT["cases"][name], golden.arrays("ops", "fused_bias_act.npz")
    if case["act"] == "selu" and lane.DTYPE != "float32":
        pytest.skip("its slope jumps at 0, on whose other side roundings to 16 bit are")
    inputs = {key: data[f"{name}/{key}"] for key in ("x", "b") if f"{name}/{key}" in data}
    kwargs = {key: case[key] for key in ("axis", "act", "alpha", "gain")}
    golden.check_op(lambda x, b=None: fused_bias_act(x, b, **kwargs), inputs, case["seed_ny"], data, name)


def test_activation_table():
    for name, row in BIAS_ACT["defaults"].items():
        assert activation_funcs[name].def_alpha == row["def_alpha"]
        assert activation_funcs[name].def_gain == pytest.approx(row["def_gain"], rel=1e-12)
    assert list(activation_funcs) == list(BIAS_ACT["defaults"])


@pytest.mark.parametrize("impl", ["auto", "ref"])
def test_upfirdn_of_unknown_size(impl):
    """Height and width that are known only when the graph runs, where nothing is downsampled."""
    k = np.random.RandomState(0).randn(5, 4)
    x = np.random.RandomState(1).randn(2, 7, 6, 3).astype(np.float32)

    def values(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = upfirdn_module.upfirdn_2d(x, k, upx=2, upy=3, padx0=2, padx1=-1, pady0=-2, pady1=3, impl=impl)
                total = tf.reduce_sum(y**3)
            g1 = inner.gradient(total, x)
            total = tf.reduce_sum(g1**2)
        return y, g1, outer.gradient(total, x)

    expected = values(tf.constant(x))
    unknown = tf.function(values, input_signature=[tf.TensorSpec([None, None, None, 3])])
    for actual, known in zip(unknown(x), expected, strict=True):
        golden.close_relative(actual, known.numpy(), 1e-6)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 6, 3])])
    def downsampled(x):
        return upfirdn_module.upfirdn_2d(x, k, downx=2, downy=2, impl=impl)

    with pytest.raises(ValueError, match="along which it downsamples"):
        downsampled(x)


def test_upfirdn_of_low_rank():
    """The reference consists of tensors of rank 4 at most: more of them are not read by LiteRT."""

    @tf.function(input_signature=[tf.TensorSpec([None, 7, 6, 3])])
    def enlarged(x):
        return upfirdn_module.upfirdn_2d(x, np.ones([4, 4]), upx=2, upy=3, padx0=2, pady1=3, impl="ref")

    function = enlarged.get_concrete_function()
    ranks = [output.shape.rank for op in function.graph.get_operations() for output in op.outputs]
    assert max(ranks) == 4


def test_upfirdn_against_numpy():
    """Random arguments against the definition, written as plainly as possible."""
    state = np.random.RandomState(0)
    for _ in range(60):
        up, down = state.randint(1, 4, size=2), state.randint(1, 4, size=2)
        pads = state.randint(-9, 9, size=4)
        x, k = state.randn(2, 7, 6, 3), state.randn(*state.randint(1, 5, size=2))
        expected = plain_upfirdn(x, k, up, down, pads)
        if expected is None:
            continue
        kwargs = dict(zip(("pady0", "pady1", "padx0", "padx1"), (int(p) for p in pads), strict=True))
        y = upfirdn_module.upfirdn_2d(
            x, k, upy=int(up[0]), upx=int(up[1]), downy=int(down[0]), downx=int(down[1]), **kwargs
        )
        np.testing.assert_allclose(y, expected, atol=1e-10)


def plain_upfirdn(x, k, up, down, pads):
    n, h, w, c = x.shape
    if h * up[0] + pads[0] + pads[1] < k.shape[0] or w * up[1] + pads[2] + pads[3] < k.shape[1]:
        return None
    stuffed = np.zeros([n, h * up[0], w * up[1], c])
    stuffed[:, :: up[0], :: up[1]] = x
    stuffed = np.pad(stuffed, [(0, 0), (max(pads[0], 0), max(pads[1], 0)), (max(pads[2], 0), max(pads[3], 0)), (0, 0)])
    stuffed = stuffed[:, max(-pads[0], 0) : stuffed.shape[1] - max(-pads[1], 0)]
    stuffed = stuffed[:, :, max(-pads[2], 0) : stuffed.shape[2] - max(-pads[3], 0)]
    out_h, out_w = stuffed.shape[1] - k.shape[0] + 1, stuffed.shape[2] - k.shape[1] + 1
    if out_h < 1 or out_w < 1:
        return None
    y = np.zeros([n, out_h, out_w, c])
    for i in range(k.shape[0]):
        for j in range(k.shape[1]):
            tap = k[k.shape[0] - 1 - i, k.shape[1] - 1 - j]
            y += stuffed[:, i : i + out_h, j : j + out_w] * tap
    return y[:, :: down[0], :: down[1]]


def test_third_order_gradient():
    """Ops can be differentiated any number of times: d3/dx3 of sum(softplus(fir(x)) ^ 2), by finite differences."""
    v = tf.constant(golden.rnd(2, 1, 5, 5, 2).astype(np.float64))

    def third(x):
        def value(x):
            y = upfirdn_module.upsample_2d(x, k=[1, 3, 3, 1], data_format="NHWC")
            return tf.reduce_sum(fused_bias_act(y, act="softplus") ** 2)

        def along(func):
            def derivative(x):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = func(x)
                return tf.reduce_sum(tape.gradient(y, x) * v)

            return derivative

        return along(along(value))(x), along(along(along(value)))(x)

    x = tf.constant(golden.rnd(1, 1, 5, 5, 2).astype(np.float64))
    step = 1e-5
    numeric = (third(x + step * v)[0] - third(x - step * v)[0]) / (2 * step)
    assert float(third(x)[1]) == pytest.approx(float(numeric), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes(dtype):
    x = tf.constant(golden.rnd(1, 1, 8, 8, 4))
    w = tf.constant(golden.rnd(2, 3, 3, 4, 4) * 0.2)
    for func in (upfirdn_module.upsample_conv_2d, upfirdn_module.conv_downsample_2d):
        y = func(tf.cast(x, dtype), tf.cast(w, dtype), k=[1, 3, 3, 1], data_format="NHWC")
        assert y.dtype == dtype
        reference = func(x, w, k=[1, 3, 3, 1], data_format="NHWC")
        golden.close(tf.cast(y, tf.float32), reference.numpy(), 5e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: upfirdn_module.upsample_2d(x, k=[[1, 2]]), "resampling filter"),
        (lambda x: upfirdn_module.upsample_2d(x, k=[1, -1]), "sum to 0"),
        (lambda x: upfirdn_module.upsample_2d(x, factor=0), "factor"),
        (lambda x: upfirdn_module.filter_2d(x, [1, 1], data_format="CHWN"), "data_format"),
        (lambda x: upfirdn_module.filter_2d(x, [1, 1], impl="gpu"), "one of .auto., .ref."),
        (lambda x: upfirdn_module.filter_2d(x[0], [1, 1]), "expected images"),
        (lambda x: upfirdn_module.upsample_conv_2d(x, tf.zeros([3, 3, 2, 4])), "does not fit x of shape"),
        (lambda x: upfirdn_module.conv_downsample_2d(x, tf.zeros([3, 1, 4, 4])), "square kernel"),
        (lambda x: upfirdn_module.upfirdn_2d(x, [[1.0] * 9] * 9, padx0=-3), "does not fit"),
        (lambda x: fused_bias_act(x, act="gelu"), "linear, relu, lrelu"),
        (lambda x: fused_bias_act(x, tf.zeros([7])), "does not fit axis 1"),
        (lambda x: fused_bias_act(x, tf.zeros([4]), axis=4), "out of range"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(tf.zeros([1, 4, 4, 4]))


def test_official_signatures():
    names = {
        upfirdn_module.upfirdn_2d: "x k upx upy downx downy padx0 padx1 pady0 pady1 impl",
        upfirdn_module.filter_2d: "x k gain data_format impl",
        upfirdn_module.upsample_2d: "x k factor gain data_format impl",
        upfirdn_module.downsample_2d: "x k factor gain data_format impl",
        upfirdn_module.upsample_conv_2d: "x w k factor gain data_format impl is_mirrored",
        upfirdn_module.conv_downsample_2d: "x w k factor gain data_format impl",
        bias_act_module.fused_bias_act: "x b axis act alpha gain impl clamp",
    }
    for func, expected in names.items():
        assert " ".join(inspect.signature(func).parameters) == expected


@pytest.mark.gpu
def test_image_conversion():
    data = golden.arrays("ops", "layers.npz")
    x, u, ties = (data[f"convert_images/{key}"] for key in ("x", "u", "ties"))
    assert np.array_equal(convert_images_to_uint8(x), data["convert_images/uint8_default"])
    assert np.array_equal(convert_images_to_uint8(x, nchw_to_nhwc=True), data["convert_images/uint8_nhwc"])
    assert np.array_equal(convert_images_to_uint8(x, shrink=2), data["convert_images/uint8_shrink2"])
    assert np.array_equal(convert_images_to_uint8(x, drange=[0, 1]), data["convert_images/uint8_drange01"])
    assert np.array_equal(convert_images_to_uint8(ties), data["convert_images/uint8_ties"])
    golden.close(convert_images_from_uint8(u), data["convert_images/from_uint8"], 1e-6)
    golden.close(convert_images_from_uint8(u, drange=[0, 1]), data["convert_images/from_uint8_drange01"], 1e-6)
