"""What the CUDA kernels take of a GPU, as nvcc compiles them: held where nvcc is installed."""

import re
import shutil

import pytest

from tools import cuda_resources
from tools.cuda_kernels import SOURCES
from tools.cuda_resources import Kernel

needs_nvcc = pytest.mark.skipif(
    cuda_resources.toolchain.find_nvcc() is None or cuda_resources.toolchain.find_cxx() is None, reason="no nvcc"
)
# Kernels that may fit fewer threads than half of an SM's: what begins their names, and the part that must fit.
LEAST = {"nhwc_second_kernel": 0.25, "nchw_second_kernel": 0.25, "strips_kernel": 0.25}


def check(arch):
    kernels = cuda_resources.all_resources(sorted(SOURCES.glob("*.cu")), [arch])
    assert len(kernels) > 100
    # Divisions of 64 bits, of single elements of tensors beyond 2^32, may save a few registers on Ampere.
    assert [kernel for kernel in kernels if kernel.spilled and "uint64, 1," not in kernel.name] == []
    least = {kernel: LEAST.get(kernel.name.partition("<")[0], 0.5) for kernel in kernels}
    assert [(kernel, kernel.occupancy) for kernel in kernels if kernel.occupancy < least[kernel]] == []
    strips = [kernel for kernel in kernels if re.match(r"strips_kernel<.*, [48], 2, false>", kernel.name)]
    assert len(strips) == 9 and all(kernel.loads >= 3 and kernel.stores >= 2 for kernel in strips)


@needs_nvcc
@pytest.mark.slow
def test_kernels_fit_on_hopper():
    """No registers are spilled, and half of an SM's threads fit at a time, so that others work while some wait."""
    check(90)


@needs_nvcc
@pytest.mark.slow
def test_kernels_fit_on_ampere():
    check(80)


def test_occupancy():
    """By NVIDIA's rules: registers by 8 for a thread and by 4 warps, shared memory with 1 KiB more for each block."""

    def part(arch, threads, registers, shared):
        return Kernel("", arch, threads, registers, 0, shared).occupancy

    assert part(90, 256, 32, 0) == 1
    assert part(90, 256, 33, 0) == 0.75  # 40 registers: 51 warps, 48 by fours
    assert part(90, 256, 64, 0) == 0.5
    assert part(90, 256, 107, 16384) == 0.25
    assert part(80, 128, 168, 0) == 0.1875
    assert part(80, 256, 32, 40 << 10) == 0.5  # 4 blocks have room
    assert part(86, 256, 40, 0) == 1
    assert part(90, 32, 32, 0) == 0.5  # 32 blocks at most


def test_report_is_read():
    report = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1fIfLi4EEvPf' for 'sm_90'
ptxas info    : Function properties for _Z1fIfLi4EEvPf
    40 bytes stack frame, 36 bytes spill stores, 44 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 40 bytes cumulative stack size, 2048 bytes smem, 400 bytes cmem[0]
"""
    ptx = ".entry _Z1fIfLi4EEvPf(\n.param .u64 p\n)\n.maxntid 128, 1, 1\n{\nld.global.nc.v4.u32 {} st.global.v2.f32\n"
    (kernel,) = cuda_resources.parse(report, ptx, 90)
    assert kernel == Kernel(kernel.name, 90, 128, 255, 80, 2048, 1, 0)
    assert kernel.name == ("f<float, 4>" if shutil.which("c++filt") else "_Z1fIfLi4EEvPf")
