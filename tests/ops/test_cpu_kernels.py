"""The CPU kernels by themselves: they compile for every processor, and convert numbers as its instructions do."""

import concurrent.futures
import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from dnnlib.tflib.ops import build

pytestmark = [
    pytest.mark.one_stack,
    pytest.mark.skipif(shutil.which("g++") is None, reason="the kernels are compiled with g++"),
]
SOURCES = sorted(build.SOURCES.glob("cpu_*.cc"))
BETWEEN = [pytest.param(arch, marks=pytest.mark.slow) for arch in ("icelake-server", "znver3")]  # in their instructions


def understands(compiler, option):
    command = [compiler, option, "-fsyntax-only", "-x", "c++", "/dev/null"]
    return shutil.which(compiler) and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("arch", ["sapphirerapids", "x86-64", *BETWEEN])
def test_kernels_compile(tmp_path, compiler, arch):
    """Without a warning, without TensorFlow's headers, and without functions that other code could be linked to."""
    if not understands(compiler, f"-march={arch}"):
        pytest.skip(f"no {compiler} that knows {arch}")

    def compile_one(source):
        options = [*build.CPU_OPTIONS, "-O1", f"-march={arch}", "-Wall", "-Wextra", "-Werror"]
        target = tmp_path / f"{source.name}.o"
        subprocess.run([compiler, *options, "-c", source, "-o", target], check=True)
        symbols = subprocess.run(["nm", "--defined-only", target], capture_output=True, text=True, check=True).stdout
        return {tuple(line.split()[-2:]) for line in symbols.splitlines()}

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for source, symbols in zip(SOURCES, pool.map(compile_one, SOURCES), strict=True):
            functions = {name for kind, name in symbols if kind in "TWu"}
            assert functions and all(name.startswith("stylegan2_cpu_") for name in functions), source


CONVERSIONS = """
#include "cpu_common.h"
#ifdef __SSE__
#include <xmmintrin.h>
#endif
template <typename T>
void convert(const float* from, uint16_t* bits, long n, const uint16_t* from_bits, float* to) {
    for (long i = 0; i < n; i++) bits[i] = T::store(from[i]);
    for (long i = 0; i < 65536; i++) to[i] = T::load(from_bits[i]);
}
extern "C" void run(bool half, bool flush, const float* from, uint16_t* bits, long n, const uint16_t* all, float* to) {
#ifdef __SSE__
    const unsigned mode = _mm_getcsr();
    if (flush) _mm_setcsr(mode | 0x8040);  // as TensorFlow sets it in its threads
#endif
    half ? convert<Float16>(from, bits, n, all, to) : convert<BFloat16>(from, bits, n, all, to);
#ifdef __SSE__
    _mm_setcsr(mode);
#endif
}
"""


@pytest.fixture(scope="module")
def conversions(tmp_path_factory):
    """By options of the compiler: (half, flush to zero, float32 values) -> their 16 bits, all 65536 numbers."""
    folder = tmp_path_factory.mktemp("conversions")
    (folder / "conversions.cc").write_text(CONVERSIONS)
    every = np.arange(65536, dtype=np.uint16)
    functions = {}
    for option in ("", "-mf16c"):
        if option and not understands("g++", option):
            continue
        library = folder / f"conversions{option}.so"
        options = [*build.CPU_OPTIONS, *([option] if option else []), "-shared", "-I", build.SOURCES]
        subprocess.run(["g++", *options, folder / "conversions.cc", "-o", library], check=True)
        run = ctypes.CDLL(str(library)).run

        def call(half, flush, x, run=run):
            bits, values = np.empty(x.size, np.uint16), np.empty(65536, np.float32)
            pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (x, bits, every, values))
            x, bits_pointer, all_bits, to = pointers
            run(half, flush, x, bits_pointer, ctypes.c_long(bits.size), all_bits, to)
            return bits, values

        functions[option] = call
    if "-mf16c" in functions and "f16c" not in build.toolchain.cpu_name():
        functions.pop("-mf16c")
    return functions


def hostile_numbers():
    state = np.random.default_rng(0)
    x = state.integers(0, 2**32, 500_000, dtype=np.uint32).view(np.float32)
    near = np.ldexp(state.standard_normal(100_000), state.integers(-30, 18, 100_000)).astype(np.float32)
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[1:] + halves[:-1]) / 2
    beside = [np.nextafter(ties, np.float32(side)) for side in (-np.inf, np.inf)]
    rest = np.array([65519.99, 65520, 65536, np.inf, np.nan, 0, 1e-40, 2**-126, 2**-25, 2**-24], np.float32)
    x = np.concatenate([x, near, halves, ties, *beside, rest])
    return np.concatenate([x, -x])


@pytest.mark.parametrize("flush", [False, True])
def test_float16(conversions, flush):
    """As NumPy, and the portable code as the instructions, bit by bit, NaN included."""
    x = hostile_numbers()
    results = [call(True, flush, x) for call in conversions.values()]
    for bits, values in results:
        for ours, theirs in zip((bits, values), results[0], strict=True):
            np.testing.assert_array_equal(ours.view(f"u{ours.itemsize}"), theirs.view(f"u{theirs.itemsize}"))
        with np.errstate(over="ignore"):
            expected = x.astype(np.float16)
        number = ~np.isnan(x)
        np.testing.assert_array_equal(bits[number], expected[number].view(np.uint16))
        assert np.isnan(bits[~number].view(np.float16)).all()
        every = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
        number = ~np.isnan(every)
        np.testing.assert_array_equal(values[number].view(np.uint32), every[number].view(np.uint32))
        assert np.isnan(values[~number]).all()


def test_bfloat16(conversions):
    """As TensorFlow's type."""
    import tensorflow as tf

    dtype = tf.bfloat16.as_numpy_dtype
    x = hostile_numbers()
    number = ~np.isnan(x)
    for call in conversions.values():
        bits, values = call(False, False, x)
        np.testing.assert_array_equal(bits[number], x[number].astype(dtype).view(np.uint16))
        assert np.isnan(bits[~number].view(dtype).astype(np.float32)).all()
        every = np.arange(65536, dtype=np.uint16).view(dtype).astype(np.float32)
        np.testing.assert_array_equal(values.view(np.uint32), every.view(np.uint32))
