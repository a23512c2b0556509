"""The kernels that update all variables of a network at once, against NumPy, bit by bit.

The CUDA kernels' source runs on the CPU here (see cuda_on_cpu/cuda_runtime.h).
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tools.cuda_kernels import SOURCES

pytestmark = [
    pytest.mark.one_stack,
    pytest.mark.skipif(shutil.which("g++") is None, reason="the kernels' sources are compiled with g++"),
]
P, I64, F32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
# Empty tensors, vectors and what is left of them, several parts, and more tensors than fit into a launch.
SIZES = [1, 0, 3, 4, 4095, 4096, 4097, 9001, *[5] * 130, 0, 12288, 0]


class AdamTensor(ctypes.Structure):
    _fields_ = [("var", P), ("m", P), ("v", P), ("grad", P), ("size", I64)]


class AdamArgs(ctypes.Structure):
    _fields_ = [
        *[("tensors", P), ("count", I64), ("beta1_power", P), ("beta2_power", P), ("finite", P)],
        *[("lr", F32), ("beta1", F32), ("beta2", F32), ("epsilon", F32)],
    ]


class AverageTensor(ctypes.Structure):
    _fields_ = [("average", P), ("value", P), ("size", I64)]


class AverageArgs(ctypes.Structure):
    _fields_ = [("tensors", P), ("count", I64), ("weight", F32)]


class CopyArgs(ctypes.Structure):
    _fields_ = [("to", P), ("from_", P), ("size", I64)]


class RandomKeyArgs(ctypes.Structure):
    _fields_ = [("key", P), ("counter", P), ("key_value", ctypes.c_uint64), ("counter_value", ctypes.c_uint64)]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("kernels") / "variables.so"
    include = Path(__file__).parent / "cuda_on_cpu"
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    command = ["g++", *flags, "-I", include, "-x", "c++", SOURCES / "variables.cu", "-o", path]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(path))


def at_odd_places(arrays, shift):
    """Copies that begin `shift` floats after an address that 16 divides; what surrounds them is NaN."""
    result = []
    for array in arrays:
        raw = np.full(array.size + 16, np.nan, np.float32)
        start = (-raw.ctypes.data // 4) % 4 + 4 + shift
        raw[start : start + array.size] = array
        result.append((raw, raw[start : start + array.size]))
    return result


def table(kind, *lists):
    rows = zip(*lists, strict=True)
    return (kind * len(SIZES))(*[kind(*(view.ctypes.data for _, view in row), row[0][1].size) for row in rows])


def is_framed(pairs):
    return all(np.isnan(raw).sum() >= raw.size - view.size for raw, view in pairs)


def draw(state):
    return [state.standard_normal(size).astype(np.float32) for size in SIZES]


@pytest.mark.parametrize(("shift", "bad"), [(0, None), (1, None), (0, np.nan), (0, -np.inf), (0, 3e19)])
def test_adam(library, shift, bad):
    """A step; or none at all, because of one bad element, wherever it is."""
    state = np.random.default_rng(0)
    values = [draw(state), draw(state), [np.square(x) for x in draw(state)], draw(state)]  # var, m, v, grad
    if bad is not None:
        values[3][-2][int(state.integers(SIZES[-2]))] = bad
    lists = [at_odd_places(arrays, shift) for arrays in values]
    tensors = table(AdamTensor, *lists)
    powers, finite = np.array([0.5, 0.9], np.float32), np.array([77], np.uint8)
    lr, beta1, beta2, epsilon = (np.float32(x) for x in (0.002, 0.1, 0.99, 1e-8))
    places = powers.ctypes.data, powers.ctypes.data + 4, finite.ctypes.data
    args = AdamArgs(ctypes.addressof(tensors), len(SIZES), *places, lr, beta1, beta2, epsilon)
    expected = [[x.copy() for x in arrays] for arrays in values]
    new_powers = powers.copy()
    if bad is None:
        rate = lr * np.sqrt(1 - powers[1]) / (1 - powers[0])
        for var, m, v, grad in zip(*expected, strict=True):
            m += (grad - m) * (1 - beta1)
            v += (grad * grad - v) * (1 - beta2)
            var -= m * rate / (np.sqrt(v) + epsilon)
        new_powers *= [beta1, beta2]
    library.cuda_on_cpu_seed(ctypes.c_uint64(7))
    assert library.stylegan2_adam(ctypes.byref(args), None) == 0
    assert finite[0] == (bad is None)
    np.testing.assert_array_equal(powers, new_powers)
    for pairs, arrays in zip(lists, expected, strict=True):
        assert is_framed(pairs)
        for (_, view), array in zip(pairs, arrays, strict=True):
            np.testing.assert_array_equal(view, array)


@pytest.mark.parametrize("shift", [0, 3])
def test_average(library, shift):
    state = np.random.default_rng(0)
    averages, values = draw(state), draw(state)
    of_average, of_value = at_odd_places(averages, shift), at_odd_places(values, shift)
    tensors = table(AverageTensor, of_average, of_value)
    args = AverageArgs(ctypes.addressof(tensors), len(SIZES), 0.99)
    assert library.stylegan2_average(ctypes.byref(args), None) == 0
    assert is_framed(of_average)
    for (_, view), average, value in zip(of_average, averages, values, strict=True):
        np.testing.assert_array_equal(view, value + (average - value) * np.float32(0.99))


def test_copy_and_random_key(library):
    x = np.random.default_rng(0).integers(0, 256, 1001).astype(np.uint8)
    y, numbers = np.zeros_like(x), np.full(4, 7, np.uint64)
    assert library.stylegan2_copy(ctypes.byref(CopyArgs(y.ctypes.data, x.ctypes.data, 1000)), None) == 0
    np.testing.assert_array_equal(y, [*x[:1000], 0])
    args = RandomKeyArgs(numbers.ctypes.data, numbers.ctypes.data + 8, 2**64 - 1, 2**63 + 5)
    assert library.stylegan2_random_key(ctypes.byref(args), None) == 0
    assert numbers.tolist() == [2**64 - 1, 0, 2**63 + 5, 7]
