"""The CUDA kernels against NumPy in float64. Their sources run on the CPU here (see cuda_on_cpu/cuda_runtime.h)."""

import concurrent.futures
import contextlib
import ctypes
import itertools
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tools import check_cuda_kernels, kernel_speeds
from tools import kernel_reference as reference
from tools.cuda_kernels import SOURCES, Kernels
from tools.kernel_reference import ACTIVATIONS, DTYPES, Cotangents, Epilogue, Pointwise

pytestmark = [
    pytest.mark.one_stack,
    pytest.mark.skipif(shutil.which("g++") is None, reason="the kernels' sources are compiled with g++"),
]
GUARD = 64  # elements before and after each tensor: not to be written, and NaN when read


class HostMemory:
    """Memory of the host, between guards."""

    def __init__(self):
        self.guarded = []
        self.misaligned = 0  # elements by which tensors begin after what is aligned

    def put(self, array):
        size, item = array.size, array.dtype.itemsize
        raw = np.full(size * item + 3 * GUARD * item + 16, 0xFF, np.uint8)  # all ones are NaN in the three types
        start = (-(raw.ctypes.data + GUARD * item)) % 16 + (
            GUARD + self.misaligned
        ) * item  # as aligned as memory of a GPU
        raw[start : start + size * item] = array.reshape(-1).view(np.uint8)
        handle = (raw, start, size * item)
        self.guarded.append(handle)
        return handle

    def pointer(self, handle):
        raw, start, _ = handle
        return raw.ctypes.data + start

    def get(self, handle, array):
        raw, start, size = handle
        array[...] = raw[start : start + size].view(array.dtype).reshape(array.shape)

    def synchronize(self):
        for raw, start, size in self.guarded:
            assert np.all(raw[:start] == 0xFF) and np.all(raw[start + size :] == 0xFF), "written outside of a tensor"
        self.guarded.clear()


def build(folder, name, *options):
    sources = sorted(SOURCES.glob("*.cu"))
    include = Path(__file__).parent / "cuda_on_cpu"
    flags = ["g++", "-std=c++17", "-O1", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", *options]

    def compile_one(source):
        target = folder / f"{name}-{source.name}.o"
        subprocess.run([*flags, "-I", include, "-c", "-x", "c++", source, "-o", target], check=True)
        return target

    with concurrent.futures.ThreadPoolExecutor() as pool:
        objects = list(pool.map(compile_one, sources))
    library = folder / f"{name}.so"
    subprocess.run(["g++", "-shared", *objects, "-o", library], check=True)
    return Kernels(str(library), HostMemory())


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    """A block adds up few rows, so that there are several rounds of it."""
    return build(tmp_path_factory.mktemp("kernels"), "kernels", "-DSTYLEGAN2_ROWS=10")


@pytest.fixture(scope="session")
def large_kernels(tmp_path_factory):
    """Every tensor is taken for one of more than 2^32 elements, and grids have few blocks."""
    return build(tmp_path_factory.mktemp("kernels"), "large", "-DSTYLEGAN2_LARGE=10", "-DSTYLEGAN2_MAX_BLOCKS=2")


def randn(state, *shape):
    return state.standard_normal(shape).astype(np.float32)


def images(state, n, c, h, w, channels_last, dtype):
    return reference.round_to(randn(state, *((n, h, w, c) if channels_last else (n, c, h, w))), dtype)


def close(actual, expected, dtype, size=1.0):
    bound = reference.allowed_error(expected, dtype, size)
    wrong = ~(np.abs(actual - expected) <= bound)
    assert actual.shape == expected.shape
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size} wrong: {actual[wrong][:5]} instead of {expected[wrong][:5]}"


# ----------------------------------------------------------------------------
# The reference.


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_reference_derivatives(act):
    """The derivatives of the reference agree with differences of its values."""
    u = np.concatenate([np.linspace(-6, 6, 1001), [-30, 30]])
    u = u[np.abs(u) > 1e-2]
    step = 1e-5
    for clamp, order in itertools.product((-1, 1.5), (0, 1)):
        f = Pointwise(act, 0.3, 1.7, clamp)
        smooth = np.abs(np.abs(f.gain * reference.activation(act, 0.3, u)[0]) - clamp) > 1e-3
        numeric = (reference.pointwise(f, u + step, order) - reference.pointwise(f, u - step, order)) / (2 * step)
        np.testing.assert_allclose(reference.pointwise(f, u, order + 1)[smooth], numeric[smooth], atol=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounding_of_the_stand_in(kernels, dtype):
    """The 16-bit types of the header that stands in for CUDA's round as NumPy does, at every exponent."""
    state = np.random.default_rng(0)
    bits = state.integers(0, 2**32, 60000, dtype=np.uint32)
    x = bits.view(np.float32)
    x = x[np.isfinite(x)]
    x = np.concatenate([x, np.ldexp(state.standard_normal(4000), state.integers(-30, 17, 4000)).astype(np.float32)])
    x = np.concatenate([x, [65519.99, 65520, -65520, 65504, 5.9e-8, 2.98e-8, 2.99e-8, 0, -0.0, np.inf, -np.inf]])
    x = x.astype(np.float32)
    with np.errstate(over="ignore"):
        expected = reference.round_to(x, dtype)
        # gain 1 and a scale: x is made inside the kernel, in float32, so that only the result is rounded
        ones = reference.round_to(np.ones([1, 1, 1, x.size], np.float32), dtype)
        e = Epilogue(None, x.reshape(1, 1, -1), None, Pointwise("linear"))
        y = kernels.epilogue(ones * 0, e, channels_last=False, dtype=dtype).run()["y"]
    np.testing.assert_array_equal(y.reshape(-1), expected)


# ----------------------------------------------------------------------------
# upfirdn.

STYLEGAN2_CASES = [  # up, down, pads (both axes alike)
    pytest.param(2, 1, (2, 1), id="up2"),
    pytest.param(1, 2, (1, 1), id="down2"),
    pytest.param(1, 1, (1, 1), id="after-transposed-conv"),
    pytest.param(1, 1, (2, 2), id="before-strided-conv"),
]


BINOMIAL = np.array([1, 3, 3, 1], np.float32) / 8


def random_filter(state, firh, firw):
    """Half of them are products of two, which have a faster path."""
    return randn(state, firh, firw) if state.integers(2) else np.outer(randn(state, firh), randn(state, firw))


def check_upfirdn(
    kernels, state, n, c, h, w, firh, firw, up, down, pads, channels_last, dtype, flip=False, gain=1.0, k=None
):
    padded = h * up[0] + pads[0] + pads[1], w * up[1] + pads[2] + pads[3]
    if padded[0] < firh or padded[1] < firw:
        return False
    x = images(state, n, c, h, w, channels_last, dtype)
    k = random_filter(state, firh, firw) if k is None else k
    kwargs = {"flip": flip, "gain": gain, "channels_last": channels_last}
    y = kernels.upfirdn(x, k, up, down, pads, dtype=dtype, **kwargs).run()["y"]
    expected = reference.upfirdn(x, k, up, down, pads, **kwargs)
    size = reference.upfirdn(np.abs(x), np.abs(k), up, down, pads, **{**kwargs, "gain": abs(gain)})
    close(y, expected, dtype, size)
    return True


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("up", "down", "pads"), STYLEGAN2_CASES)
def test_upfirdn_of_stylegan2(kernels, up, down, pads, dtype, channels_last):
    state = np.random.default_rng(1)
    filters = np.outer(BINOMIAL, BINOMIAL), randn(state, 4, 4), np.outer(randn(state, 4), randn(state, 4))
    sizes = (2, 8, 20, 36), (1, 3, 37, 19), (2, 1, 4, 4), (1, 80, 9, 5), (1, 128, 5, 7), (1, 2, 150, 6)
    for k, (n, c, h, w) in itertools.product(filters, sizes):
        factors = (up, up), (down, down), pads * 2
        assert check_upfirdn(kernels, state, n, c, h, w, 4, 4, *factors, channels_last, dtype, gain=up**2, k=k)


@pytest.mark.parametrize("channels_last", [False, True])
def test_upfirdn_of_misaligned_tensors(kernels, channels_last):
    """Tensors that start anywhere: no vectors then."""
    state = np.random.default_rng(12)
    kernels.memory.misaligned = 1
    try:
        for dtype, (up, down, pads) in itertools.product(DTYPES, ((2, 1, (2, 1)), (1, 2, (1, 1)), (1, 1, (2, 2)))):
            assert check_upfirdn(
                kernels, state, 2, 128, 5, 6, 4, 4, (up, up), (down, down), pads * 2, channels_last, dtype
            )
    finally:
        kernels.memory.misaligned = 0


@pytest.mark.parametrize("channels_last", [False, True])
def test_upfirdn_knows_products(kernels, channels_last):
    """Filters that are nearly a product, that have zeros, rows only, or nothing."""
    state = np.random.default_rng(13)
    nearly = np.outer(BINOMIAL, BINOMIAL)
    nearly[3, 0] *= 1.0001
    sparse = np.zeros([4, 4], np.float32)
    sparse[1, 2] = sparse[2, 1] = 1
    rounded = np.outer(randn(state, 4), randn(state, 4) * 1e-3) / 49
    corner = np.pad(np.float32([[-2]]), ((3, 0), (0, 3)))
    for k in (
        nearly,
        sparse,
        rounded,
        corner,
        corner * 0,
        corner * 1e-30,
        BINOMIAL[:, np.newaxis],
        BINOMIAL[np.newaxis, 1:],
    ):
        for c, up, down in ((8, 1, 1), (3, 2, 1), (8, 1, 2)):
            factors = (up, up), (down, down), (2, 1, 3, 1)
            assert check_upfirdn(kernels, state, 1, c, 9, 12, *k.shape, *factors, channels_last, "float32", k=k)


def random_upfirdn(kernels, state, count):
    done = 0
    while done < count:
        up, down = state.integers(1, 4, 2), state.integers(1, 4, 2)
        if state.random() < 0.6:  # most often what has a kernel of its own
            up = down = np.array([1, 1])
            which = state.integers(3)
            up, down = (up * 2, down) if which == 0 else (up, down * 2) if which == 1 else (up, down)
        fir = state.integers(1, 5, 2) if state.random() < 0.7 else state.integers(1, 33, 2)
        n, c = state.integers(1, 3), state.choice([1, 2, 3, 4, 8, 40])
        h, w = state.integers(1, 30), state.integers(1, 44)
        pads = state.integers(-7, 12, 4)
        dtype, channels_last = DTYPES[state.integers(3)], bool(state.integers(2))
        ints = [tuple(int(i) for i in t) for t in (up, down, pads)]
        sizes = [int(i) for i in (n, c, h, w, *fir)]
        done += check_upfirdn(
            kernels, state, *sizes, *ints, channels_last, dtype, bool(state.integers(2)), state.choice([1.0, -2.5])
        )


def test_upfirdn_random(kernels):
    random_upfirdn(kernels, np.random.default_rng(2), 60)


def test_upfirdn_largest_filter(kernels):
    state = np.random.default_rng(3)
    for channels_last, dtype in itertools.product((False, True), DTYPES):
        assert check_upfirdn(kernels, state, 1, 2, 9, 8, 32, 32, (2, 3), (1, 2), (20, 21, 19, 22), channels_last, dtype)


# ----------------------------------------------------------------------------
# Bias and activation.


def check_bias_act(kernels, state, outer, c, inner, has_bias, f, dtype):
    x = reference.round_to(randn(state, outer, c, inner) * 2, dtype)
    v = reference.round_to(randn(state, outer, c, inner), dtype)
    b = randn(state, c) if has_bias else None
    for order in range(3):
        y = kernels.bias_act(x, b, v, f, order=order, inner=inner, dtype=dtype).run()["y"]
        expected = reference.bias_act(x, b, v, f, order=order, inner=inner)
        if order:
            unsure = reference.is_near_kink(f, reference.bias_act_argument(x, b, inner))
            assert unsure.mean() < 0.02
            y, expected = (np.where(unsure, 0, t) for t in (y, expected))
        close(y, expected, dtype, 1 + np.abs(v))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_bias_act(kernels, act, dtype):
    """Channels last and first, vectors and single elements, with and without bias and clamp."""
    state = np.random.default_rng(4)
    for shape in ((37, 16, 1), (40, 3, 1), (41, 3, 1), (2, 5, 24), (2, 5, 7), (4, 4, 6), (300, 8, 1)):
        for clamp, has_bias in ((-1, True), (1.25, True), (0.6, False)):
            check_bias_act(kernels, state, *shape, has_bias, Pointwise(act, 0.3, 1.5, clamp), dtype)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_bias_act_far_out(kernels, act):
    """Large and infinite arguments, as TensorFlow's activations take them; NaN stays NaN, through the clamp, too."""
    x = np.array([-200, -90, -20, 20, 90, 200, 1e30, np.inf], np.float32)
    f = Pointwise(act, 0.2, 1.0, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = reference.pointwise(f, x)
    y = kernels.bias_act(x, None, None, f, order=0, dtype="float32").run()["y"]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-37)
    nan = np.full(8, np.nan, np.float32)
    y = kernels.bias_act(nan, None, None, Pointwise(act, clamp=1.0), order=0, dtype="float32").run()["y"]
    assert np.isnan(y).all()


def test_relu_of_minus_infinity(kernels):
    x = np.full(8, -np.inf, np.float32)
    assert not kernels.bias_act(x, None, None, Pointwise("relu"), order=0, dtype="float32").run()["y"].any()


# ----------------------------------------------------------------------------
# The epilogue.

EPILOGUE_SIZES = [  # n, c, h, w
    (2, 16, 8, 8),
    (2, 3, 5, 7),
    (1, 40, 16, 12),
    (3, 8, 33, 16),
]


def check_epilogue(kernels, state, n, c, h, w, parts, noise_n, f, channels_last, dtype):
    x = images(state, n, c, h, w, channels_last, dtype)
    dy = images(state, n, c, h, w, channels_last, dtype)
    e = Epilogue(
        scale=randn(state, n, c) if "s" in parts else None,
        noise=randn(state, noise_n, h, w) if "n" in parts else None,
        b=randn(state, c) if "b" in parts else None,
        f=f,
    )
    expected = reference.epilogue(x, e, channels_last=channels_last)
    y = kernels.epilogue(x, e, channels_last=channels_last, dtype=dtype).run()["y"]
    close(y, expected, dtype, 3)

    # Near kinks of F a rounding error may choose the other branch: no gradient comes from there.
    unsure = reference.is_near_kink(f, reference.epilogue_argument(x, e, channels_last=channels_last))
    dy = np.where(reference.from_nhwc(unsure, channels_last), 0, dy).astype(np.float32)
    outputs = kernels.epilogue_grad(dy, x, e, channels_last=channels_last, dtype=dtype).run()
    expected = reference.epilogue_grad(dy, x, e, channels_last=channels_last)
    assert outputs.keys() == expected.keys()
    for name, (value, size) in expected.items():
        close(outputs[name], value, dtype if name == "dx" else "float32", size)
    again = kernels.epilogue_grad(dy, x, e, channels_last=channels_last, dtype=dtype).run()
    assert all(np.array_equal(outputs[name], again[name]) for name in outputs)
    check_second(kernels, state, dy, x, e, unsure, channels_last, dtype)


def check_second(kernels, state, dy, x, e, unsure, channels_last, dtype):
    """The gradient of the epilogue's gradient; dy is 0 where the branch of F is unsure."""
    a = reference.round_to(randn(state, *x.shape), dtype)
    given = Cotangents(a, *(None if t is None else randn(state, *t.shape) for t in (e.scale, e.noise, e.b)))
    expected = reference.epilogue_second(given, dy, x, e, channels_last=channels_last)
    outputs = kernels.epilogue_second(given, dy, x, e, channels_last=channels_last, dtype=dtype).run()
    for name, (value, size) in expected.items():
        if name not in outputs:  # not computed because it is 0
            assert e.f.act in ("linear", "relu", "lrelu") and not value.any()
            continue
        at = dtype if name in ("d_dy", "d_x") else "float32"
        sure = ~reference.from_nhwc(unsure, channels_last) if name == "d_dy" else True
        close(np.where(sure, outputs[name], 0), np.where(sure, value, 0), at, size)
    again = kernels.epilogue_second(given, dy, x, e, channels_last=channels_last, dtype=dtype).run()
    assert all(np.array_equal(outputs[name], again[name]) for name in outputs)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_epilogue(kernels, act, dtype, channels_last):
    state = np.random.default_rng(5)
    for i, sizes in enumerate(EPILOGUE_SIZES):
        f = Pointwise(act, 0.2, 1.5, 1.5 if i % 2 else -1)
        check_epilogue(kernels, state, *sizes, "snb", sizes[0] if i % 2 else 1, f, channels_last, dtype)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("parts", ["", "s", "n", "b", "sn", "sb", "nb"])
def test_epilogue_parts(kernels, parts, channels_last):
    state = np.random.default_rng(6)
    for noise_n, dtype in ((1, "float32"), (2, "float16")):
        check_epilogue(kernels, state, 2, 24, 6, 8, parts, noise_n, Pointwise("lrelu", gain=1.4), channels_last, dtype)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_epilogue_many_channels(kernels, dtype, channels_last):
    """More channels than a warp of NHWC holds, in vectors or not; several steps of it."""
    state = np.random.default_rng(7)
    for c in (264, 530, 1048):
        check_epilogue(kernels, state, 2, c, 3, 4, "snb", 1 if c == 530 else 2, Pointwise(), channels_last, dtype)


@pytest.mark.parametrize("channels_last", [False, True])
def test_epilogue_many_pixels(kernels, channels_last):
    """Sums in several rounds."""
    state = np.random.default_rng(8)
    check_epilogue(kernels, state, 2, 4, 80, 130, "snb", 1, Pointwise(), channels_last, "float32")


@pytest.mark.parametrize("dtype", DTYPES)
def test_epilogue_of_images(kernels, dtype):
    """3 channels, which are taken together with those of neighbouring pixels where there is no noise."""
    state = np.random.default_rng(12)
    for parts, n, h in itertools.product(("", "s", "b", "sb", "nb"), (1, 3), (40, 41)):
        check_epilogue(kernels, state, n, 3, h, 36, parts, 1, Pointwise("linear", clamp=1.5), True, dtype)


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradient_over_its_argument(kernels, channels_last):
    """dx may be where dy is, as TensorFlow lets it be; also where threads have nothing to do."""
    state = np.random.default_rng(13)
    for sizes, dtype in itertools.product(((2, 24, 9, 7), (1, 40, 16, 16), (3, 6, 5, 3)), DTYPES):
        x, dy = (images(state, *sizes, channels_last, dtype) for _ in range(2))
        e = Epilogue(randn(state, *sizes[:2]), randn(state, 1, *sizes[2:]), randn(state, sizes[1]), Pointwise())
        calls = [kernels.epilogue_grad(dy, x, e, channels_last=channels_last, dtype=dtype) for _ in range(2)]
        expected = calls[0].run()
        over = calls[1]
        (there,) = (handle for handle in over.kept if over.kernels.memory.pointer(handle) == over.args.dy)
        over.args.dx, over.results["dx"] = over.args.dy, (there, *over.results["dx"][1:])
        outputs = over.run()
        assert all(np.array_equal(outputs[name], expected[name]) for name in expected)


def test_epilogue_of_nothing(kernels):
    """Sums over an empty batch are 0."""
    x, b = np.zeros([0, 4, 4, 8], np.float32), np.ones(8, np.float32)
    e = Epilogue(None, None, b, Pointwise())
    outputs = kernels.epilogue_grad(x, x, e, channels_last=True, dtype="float32").run()
    assert outputs["dx"].shape == x.shape and not outputs["db"].any()
    check_second(
        kernels, np.random.default_rng(0), x, x, Epilogue(None, None, b, Pointwise("swish")), x > 0, True, "float32"
    )


# ----------------------------------------------------------------------------
# What kernels must not depend on.


@contextlib.contextmanager
def shuffled_threads(kernels, value):
    """Threads run in a random order."""
    seed = ctypes.CDLL(kernels.library._name).cuda_on_cpu_seed
    seed.argtypes = [ctypes.c_uint64]
    seed(value)
    try:
        yield
    finally:
        seed(0)


def test_order_of_threads(kernels):
    """The same results whatever the order of the threads: no barrier is missing."""
    state = np.random.default_rng(9)
    with shuffled_threads(kernels, 12345):
        random_upfirdn(kernels, state, 12)
        for channels_last in (False, True):
            check_epilogue(kernels, state, 2, 24, 9, 8, "snb", 1, Pointwise(), channels_last, "float16")


@pytest.mark.slow
def test_large(large_kernels):
    """64-bit indices and loops over blocks."""
    state = np.random.default_rng(10)
    random_upfirdn(large_kernels, state, 60)
    with shuffled_threads(large_kernels, 678910):
        random_upfirdn(large_kernels, state, 60)
        check_epilogue(large_kernels, state, 2, 8, 40, 40, "snb", 1, Pointwise(), False, "float32")
    for dtype, channels_last in itertools.product(DTYPES, (False, True)):
        check_bias_act(large_kernels, state, 90, 16, 24, True, Pointwise("swish"), dtype)
        check_bias_act(large_kernels, state, 900, 24, 1, True, Pointwise("lrelu"), dtype)
        for sizes in EPILOGUE_SIZES:
            check_epilogue(large_kernels, state, *sizes, "snb", 1, Pointwise(), channels_last, dtype)


@pytest.mark.slow
def test_random_at_length(kernels):
    state = np.random.default_rng(11)
    random_upfirdn(kernels, state, 600)
    for _ in range(150):
        sizes = [int(i) for i in (state.integers(1, 4), state.integers(1, 70), *state.integers(1, 24, 2))]
        f = Pointwise(str(state.choice(ACTIVATIONS)), 0.1, 2.0, float(state.choice([-1, 1.0])))
        noise_n = sizes[0] if state.integers(2) else 1
        channels_last, dtype = bool(state.integers(2)), DTYPES[state.integers(3)]
        check_epilogue(kernels, state, *sizes, "snb", noise_n, f, channels_last, dtype)
        check_bias_act(kernels, state, *sizes[:3], True, f, dtype)


# ----------------------------------------------------------------------------
# tools/check_cuda_kernels.py.


def test_tool_without_gpu():
    """It says what is missing, in one line, without TensorFlow."""
    tool = Path(check_cuda_kernels.__file__)
    block = "import sys; sys.modules.update(torch=None, cupy=None, tensorflow=None)"
    code = f"{block}; import runpy; sys.argv = ['tool']; runpy.run_path({str(tool)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    expected = (
        "Error: no GPU: torch is not installed; cupy is not installed; CUDA's driver (libcuda.so.1) is not installed."
        " The CUDA kernels were not checked.\n"
    )
    assert done.stderr == expected


def test_tool_finds_wrong_results(kernels):
    checker = check_cuda_kernels.Checker(kernels, 0)
    checker.bias_act(50, 16, 1, Pointwise(), "float16")
    assert 0 < checker.worst["bias_act", "float16"] <= 1
    y = np.ones(4, np.float32)
    checker.compare("bias_act", "", y, y * 1.001, 1, "float32")
    assert checker.worst["bias_act", "float32"] > 1
    checker.compare("epilogue", "", y * np.nan, y, 1, "float32")
    assert checker.worst["epilogue", "float32"] > 1


class ClockedMemory:
    """Arrays of the host, and its clock in place of the GPU's."""

    def put(self, array):
        return array.reshape(-1).view(np.uint8).copy()

    def pointer(self, handle):
        return handle.ctypes.data

    def empty(self, size):
        return np.zeros(size, np.uint8)

    def copy(self, to, source):
        to[...] = source

    def event(self):
        return time.perf_counter()

    def milliseconds(self, start, end):
        return (end - start) * 1e3


def test_tool_table(kernels, monkeypatch, capsys):
    """The table of speeds, of small images, on the CPU, which is not as fast as a copy."""
    monkeypatch.setattr(kernel_speeds, "SIZES", ((8, 8),))
    monkeypatch.setattr(kernel_speeds, "SMALL", 0)
    monkeypatch.setattr(kernel_speeds, "GROUPS", [("float16", True), ("float32", False)])
    clocked = Kernels(kernels.library._name, ClockedMemory())
    assert not kernel_speeds.measure(clocked, 100)
    rows = capsys.readouterr().out.strip().splitlines()
    assert len(rows) == 2 + 2 * (11 + 2) and all(row.count("|") == 8 for row in rows)
    assert "| epilogue_grad | 8x8x8 NHWC float16 by styles |" in rows[6] and "| NO |" in rows[6]
    kernel_speeds.measure(clocked, -1)  # no time at all
    assert "26 cases were not measured within -1 s." in capsys.readouterr().out


@pytest.mark.parametrize("seconds", [3, pytest.param(1000, marks=pytest.mark.slow)])
def test_tool_checks(kernels, capsys, seconds):
    """The comparisons of the tool, as many as there is time for."""
    checker = check_cuda_kernels.Checker(kernels, 12)
    left_out = check_cuda_kernels.check(checker, seconds)
    assert len(checker.worst) >= 5 and max(checker.worst.values()) <= 1
    assert capsys.readouterr().err == "" and ("checks were left out" in left_out) == (seconds < 1000)
