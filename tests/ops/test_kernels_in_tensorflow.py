"""The compiled ops beside 'ref': values and gradients of three orders, types, layouts, inside functions."""

import subprocess
import sys

import lane
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib.ops import build, implementation, upfirdn_2d
from dnnlib.tflib.ops.fused_bias_act import activation_funcs, fused_bias_act
from dnnlib.tflib.ops.synthesis_epilogue import synthesis_epilogue

IMPL = "cuda" if tf.config.get_visible_devices("GPU") else "cpu"
DEVICE = {"cuda": "GPU", "cpu": "CPU"}[IMPL]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        any((DEVICE, "float32") not in found for found in build.kernels(build.load()).values()),
        reason="no compiled ops here",
    ),
    pytest.mark.skipif(
        (lane.PRECISION, lane.LAYOUT) != ("fp32", "nhwc") or lane.IMPL == "ref",
        reason="compiled ops beside those of TensorFlow, which is done once",
    ),
]


NONE = tf.zeros([0])


def randn(seed, *shape):
    return tf.constant(np.random.RandomState(seed).randn(*shape).astype(np.float32))


def derivatives(func, inputs, orders):
    """The value of func and, order by order, the gradients of a random projection of what came before."""
    inputs = [tf.identity(t) for t in inputs]
    results = []

    def run(order):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = [func(*inputs)] if order == 0 else run(order - 1)
            projections = [tf.cast(t, tf.float32) * randn(order + i, *t.shape) for i, t in enumerate(y)]
            total = tf.add_n([tf.reduce_sum(t) for t in projections])
        results.append(y)
        return tape.gradient(total, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    results.append(run(orders))
    return results


def assert_same(func, inputs, orders=2, tolerance=2e-5, function=lambda func: func):
    """func takes an implementation and the inputs; function: what is put around the compiled one."""
    actual = function(lambda *args: derivatives(lambda *t: func(IMPL, *t), args, orders))(*inputs)
    expected = derivatives(lambda *t: func("ref", *t), inputs, orders)
    for order, (ys, refs) in enumerate(zip(actual, expected, strict=True)):
        for y, ref in zip(ys, refs, strict=True):
            y, ref = np.asarray(tf.cast(y, tf.float32)), np.asarray(tf.cast(ref, tf.float32))
            atol = tolerance * max(np.abs(ref).max(), 1)
            np.testing.assert_allclose(y, ref, rtol=0, atol=atol, err_msg=f"order {order}")


RESAMPLING = ("upsample_2d", "downsample_2d", "filter_2d", "upsample_conv_2d", "conv_downsample_2d")


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", RESAMPLING)
def test_resampling(name, data_format):
    func = getattr(upfirdn_2d, name)
    x = randn(0, *((2, 3, 6, 10) if data_format == "NCHW" else (2, 6, 10, 3)))
    inputs = [x, randn(1, 3, 3, 3, 4)] if "conv" in name else [x]
    assert_same(lambda impl, *t: func(*t, k=[1, 3, 3, 1], data_format=data_format, impl=impl), inputs)


def test_upfirdn():
    x, k = randn(0, 2, 7, 9, 3), np.random.RandomState(1).randn(5, 3)
    factors = {"upx": 2, "upy": 3, "downx": 3, "downy": 1, "padx0": -2, "padx1": 4, "pady0": 5, "pady1": -1}
    assert_same(lambda impl, x: upfirdn_2d.upfirdn_2d(x, k, **factors, impl=impl), [x])


@pytest.mark.parametrize("act", activation_funcs)
def test_bias_act(act):
    """With a nonlinear function behind it, so that every order of derivative counts."""
    options = {"act": act, "alpha": 0.3, "gain": 1.2}
    cases = ((-1, (3, 4, 5, 8), None), (1, (3, 8, 4, 5), 0.9), (1, (6, 8), 0.9), (2, (2, 3, 8, 5), None))
    for axis, shape, clamp in cases:

        def func(impl, x, b, axis=axis, clamp=clamp):
            return tf.square(fused_bias_act(x, b, axis, **options, clamp=clamp, impl=impl))

        assert_same(func, [randn(0, *shape), randn(1, 8)], orders=3 if axis == -1 else 1)
    assert_same(lambda impl, x: fused_bias_act(x, **options, impl=impl), [randn(0, 4, 7)])


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("act", ["lrelu", "swish"])
@pytest.mark.parametrize("noise_n", [1, 3])
def test_epilogue(act, data_format, noise_n):
    x = randn(0, *((3, 8, 4, 6) if data_format == "NCHW" else (3, 4, 6, 8)))
    parts = {"scale": randn(1, 3, 8), "noise": randn(2, noise_n, 1, 4, 6), "b": randn(3, 8)}
    for names in (("scale", "noise", "b"), ("noise",), ("scale",), ("b",), ()):

        def func(impl, x, *values, names=names):
            given = dict(zip(names, values, strict=True))
            y = synthesis_epilogue(x, **given, act=act, clamp=1.5, data_format=data_format, impl=impl)
            return tf.square(y)

        every = len(names) == 3
        function = tf.function if every and data_format == "NHWC" else lambda func: func
        assert_same(func, [x, *(parts[name] for name in names)], orders=3 if every else 1, function=function)


@pytest.mark.parametrize("act", activation_funcs)
def test_second_gradient_of_epilogue(act):
    """What is absent, or 0 because F'' is, and odd sizes."""
    x, parts = randn(0, 2, 3, 5, 7), {"scale": randn(1, 2, 7), "noise": randn(2, 1, 1, 3, 5), "b": randn(3, 7)}
    for data_format, names in (("NHWC", ("scale", "b")), ("NCHW", ("noise", "b")), ("NHWC", ()), ("NCHW", ("scale",))):
        values = [parts[name] for name in names]
        last = data_format == "NHWC"

        def func(impl, x, *values, names=names, data_format=data_format):
            given = dict(zip(names, values, strict=True))
            return synthesis_epilogue(x, **given, act=act, clamp=1.1, data_format=data_format, impl=impl)

        assert_same(func, [x if last else tf.transpose(x, [0, 3, 1, 2]), *values], orders=1)


@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_gradients_through_branches(act):
    """Gradients of three orders of what is computed in a branch."""
    parts = [randn(1, 2, 8), randn(2, 2, 1, 4, 6), randn(3, 8)]

    def func(impl, x, *parts):
        def branch():
            return synthesis_epilogue(x, *parts, act=act, impl=impl) ** 2

        return branch() if impl == "ref" else tf.cond(tf.reduce_sum(x) < 1e9, branch, lambda: x)

    assert_same(func, [randn(0, 2, 4, 6, 8), *parts], orders=2, function=tf.function)


def test_zeros_are_not_written():
    """Of a piecewise linear function without a scale, the second gradient is one tensor."""
    x, b = randn(0, 2, 4, 4, 8), randn(1, 8)
    given = {"dy": x, "x": x, "scale": NONE, "noise": NONE, "b": b, "a": x, "p": NONE, "q": NONE, "r": b}
    for act, shapes in (("lrelu", [x.shape, [0], [0], [0], [0]]), ("tanh", [x.shape, x.shape, [0], [0], [8]])):
        outputs = build.load().stylegan_epilogue_grad_grad(**given, act=act, channels_last=True)
        assert [t.shape for t in outputs] == shapes


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit(dtype):
    """Within a few roundings of the type, of 'ref' in float32."""
    tolerance = {"float16": 2e-3, "bfloat16": 1.6e-2}[dtype]
    x, scale, noise, b = randn(0, 2, 8, 8, 16), randn(1, 2, 16), randn(2, 2, 1, 16, 16), randn(3, 16)

    def func(impl, x, *parts):
        x = tf.cast(x, dtype) if impl != "ref" else x
        x = upfirdn_2d.upsample_2d(x, [1, 3, 3, 1], data_format="NHWC", impl=impl)
        y = synthesis_epilogue(x, *parts, act="swish", impl=impl)  # of no kinks, where roundings would matter more
        assert y.dtype == x.dtype
        return y

    assert_same(func, [x, scale, noise, b], orders=2, tolerance=tolerance)


def test_shapes_of_graphs():
    """Static shapes with an unknown batch."""

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 4])])
    def func(x):
        y = upfirdn_2d.upfirdn_2d(x, [[1.0, 1.0]] * 2, downx=2, padx1=1, impl=IMPL)
        assert y.shape.as_list() == [None, 5, 3, 4]
        y = synthesis_epilogue(y, b=tf.ones(4), impl=IMPL)
        assert y.shape.as_list() == [None, 5, 3, 4]
        return tf.gradients(fused_bias_act(y, tf.ones(4), axis=-1, act="swish", impl=IMPL), x)[0]

    assert func(tf.ones([3, 6, 6, 4])).shape == (3, 6, 6, 4)
    assert func(tf.ones([0, 6, 6, 4])).shape == (0, 6, 6, 4)


@pytest.mark.parametrize(
    "call",
    [
        lambda ops, x: ops.stylegan_upfirdn2d(x=x, k=tf.zeros([9, 9]), channels_last=True),
        lambda ops, x: ops.stylegan_upfirdn2d(x=x, k=tf.zeros([33, 1]), pady0=40, channels_last=True),
        lambda ops, x: ops.stylegan_epilogue(x=x, scale=tf.zeros([2, 7]), noise=NONE, b=NONE, act="lrelu"),
        lambda ops, x: ops.stylegan_epilogue(x=x, scale=NONE, noise=tf.zeros([3, 4, 8]), b=NONE, act="lrelu"),
        lambda ops, x: ops.stylegan_epilogue_grad(dy=x[:1], x=x, scale=NONE, noise=NONE, b=NONE, act="lrelu"),
        lambda ops, x: ops.stylegan_epilogue_grad_grad(
            dy=x, x=x, scale=NONE, noise=NONE, b=NONE, a=x[:1], p=NONE, q=NONE, r=NONE, act="lrelu"
        ),
        lambda ops, x: ops.stylegan_epilogue_grad_grad(
            dy=x, x=x, scale=NONE, noise=NONE, b=tf.zeros([4]), a=x, p=NONE, q=NONE, r=NONE, act="lrelu"
        ),
        lambda ops, x: ops.stylegan_bias_act(x=x, b=tf.zeros([7]), v=NONE, act="lrelu"),
        lambda ops, x: ops.stylegan_bias_act(x=x, b=NONE, v=x[0], act="lrelu", grad=1),
        lambda ops, x: ops.stylegan_bias_act(x=x, b=NONE, v=x, act="lrelu", grad=3),
    ],
)
def test_wrong_shapes(call):
    """The kernels themselves refuse what the Python functions never pass."""
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
        call(build.load(), tf.zeros([2, 4, 4, 8]))


def test_unknown_sizes_run_as_ref():
    """Sizes that the kernels must know: then 'auto' has gradients all the same."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 4, 4, 3]), tf.TensorSpec([None])])
    def gradient(x, b):
        with tf.GradientTape() as tape:
            tape.watch(b)
            y = tf.reduce_sum(fused_bias_act(x, b, axis=-1, act="swish") ** 2)
        return tape.gradient(y, b)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([2, 3, None, None]), tf.TensorSpec([None, 1, 4, 4])])
    def second(x, noise):
        with tf.GradientTape() as outer:
            outer.watch([x, noise])
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = tf.reduce_sum(synthesis_epilogue(x, None, noise, None, act="swish", data_format="NCHW") ** 2)
            total = tf.reduce_sum(inner.gradient(y, x) ** 2)
        return outer.gradient(total, [x, noise])

    assert gradient(randn(1, 2, 4, 4, 3), randn(2, 3)).shape == [3]
    for samples in (1, 2):
        assert second(randn(1, 2, 3, 4, 4), randn(2, samples, 1, 4, 4))[1].shape == [samples, 1, 4, 4]


@pytest.mark.parametrize("clamp", [0, -1.0, float("nan")])
def test_clamp_that_makes_no_sense(clamp):
    with pytest.raises(ValueError, match="clamp must be a number above 0, or None"):
        fused_bias_act(randn(1, 2, 3), None, clamp=clamp)


def test_the_library_is_loaded_where_a_function_is_traced():
    """By a program that has used no op before, in a function that AutoGraph rewrites."""
    program = "import tensorflow as tf; from dnnlib.tflib.ops.fused_bias_act import fused_bias_act as op; "
    program += f"print(tf.function(lambda x: op(x, act='relu', impl='{IMPL}'))(tf.constant([[-1.0, 2.0]])).numpy())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "[[0." in done.stdout, done.stderr


def test_using_and_environment(monkeypatch):
    assert implementation.choose("auto", build.OPS, tf.float32) == IMPL
    with implementation.using("ref"):
        assert implementation.choose("auto", build.OPS, tf.float32) == "ref"
    monkeypatch.setenv("STYLEGAN2_OPS", "fast")
    with pytest.raises(UserError, match="STYLEGAN2_OPS: expected one of auto, ref, cuda, cpu, xla, got 'fast'"):
        implementation.check_environment()
