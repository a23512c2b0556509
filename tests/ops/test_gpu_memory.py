"""Memory of the GPU through CUDA's driver, for which a library stands in that keeps it on the host."""

import shutil
import subprocess

import numpy as np
import pytest

from tools import gpu_memory
from tools.cuda_kernels import Filled

STAND_IN = """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
static long now, kept;
int cuInit(unsigned flags) { return flags; }
int cuDeviceGet(int* device, int i) { return *device = 7, i; }
int cuDevicePrimaryCtxRetain(void** context, int device) { return *context = &now, device - 7; }
int cuCtxSetCurrent(void* context) { return context != &now; }
int cuDeviceGetName(char* name, int size, int device) { return memcpy(name, "Stand-in", 9), size - 256 + device - 7; }
int cuDeviceTotalMem_v2(size_t* size, int device) { return *size = 5ul << 32, device - 7; }
int cuDriverGetVersion(int* version) { return *version = 13010, 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) { return *value = attribute == 75 ? 9 : 0, device - 7; }
int cuMemAlloc_v2(uint64_t* at, size_t size) {
    if (size == 0 || size > 1l << 40) return 2;
    return *at = (uint64_t)malloc(size), kept++, 0;
}
int cuMemFree_v2(uint64_t at) { return free((void*)at), kept--, 0; }
int cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t size) { return memcpy((void*)to, from, size), 0; }
int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t size) { return memcpy(to, (void*)from, size), 0; }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t size, void* stream) {
    return memcpy((void*)to, (void*)from, size), stream != 0;
}
int cuCtxSynchronize(void) { return 0; }
int cuEventCreate(void** event, unsigned flags) { return *event = malloc(sizeof(long)), flags; }
int cuEventRecord(void* event, void* stream) { return *(long*)event = now += 3, stream != 0; }
int cuEventSynchronize(void* event) { return event == 0; }
int cuEventElapsedTime(float* time, void* start, void* end) { return *time = *(long*)end - *(long*)start, 0; }
int cuEventDestroy_v2(void* event) { return free(event), 0; }
long still_kept(void) { return kept; }
"""


@pytest.fixture
def memory(monkeypatch, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    (tmp_path / "cuda.c").write_text(STAND_IN)
    monkeypatch.setattr(gpu_memory, "DRIVER", str(tmp_path / "cuda.so"))
    subprocess.run(["gcc", "-shared", "-fPIC", tmp_path / "cuda.c", "-o", gpu_memory.DRIVER], check=True)
    return gpu_memory.find_memory("driver")


def test_memory_through_the_driver(memory):
    assert (memory.name, memory.arch, memory.memory) == ("Stand-in", 90, 5 << 32)
    assert memory.versions == "driver for CUDA 13.1"
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    there, copy, y = memory.put(x.T), memory.empty(x.nbytes), np.zeros_like(x.T)
    memory.copy(copy[: x.nbytes // 2], there[x.nbytes // 2 :])
    memory.copy(copy[x.nbytes // 2 :], there[: x.nbytes // 2])
    memory.synchronize()
    memory.get(copy, y)
    np.testing.assert_array_equal(y, np.roll(x.T, 3, axis=0))
    assert memory.milliseconds(memory.event(), memory.event()) == 3
    filled, z = Filled(3, 1 << 19).put(memory, "float16"), np.zeros([3, 1 << 19], np.float16)
    memory.get(filled, z)
    np.testing.assert_array_equal(z[0], z[2])
    assert 0.99 < z.astype(np.float32).std() < 1.01 and len(memory.empty(0)) == 0
    part = there[4:]
    del there, copy, filled
    assert memory.driver.still_kept() == 1  # of `part`
    del part
    assert memory.driver.still_kept() == 0


def test_driver_that_fails(memory):
    with pytest.raises(gpu_memory.Unable, match="^CUDA's driver: cuMemAlloc_v2 failed with error 2$"):
        memory.empty(1 << 41)


def test_no_driver(monkeypatch):
    monkeypatch.setattr(gpu_memory, "DRIVER", "libno-cuda.so.1")
    with pytest.raises(gpu_memory.Unable, match=r"^no GPU: CUDA's driver \(libno-cuda.so.1\) is not installed\. "):
        gpu_memory.find_memory("driver")
