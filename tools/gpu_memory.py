"""Memory and clocks of the GPU, by torch or CuPy, whichever is installed, else by CUDA's driver."""

import ctypes
from typing import Any

import numpy as np


class Unable(Exception):
    """The check cannot run here. The message says what is missing."""


class TorchMemory:
    """Tensors of bytes on the GPU, by torch."""

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available():
            raise Unable("torch finds no GPU that CUDA can use: this check needs one")
        self.torch = torch
        properties = torch.cuda.get_device_properties(0)
        self.name, self.memory = properties.name, properties.total_memory
        self.arch = properties.major * 10 + properties.minor
        self.versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
        torch.cuda.set_device(0)

    def put(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(array.reshape(-1).view(np.uint8)).cuda()

    def get(self, handle: Any, array: np.ndarray) -> None:
        array[...] = handle.cpu().numpy().view(array.dtype).reshape(array.shape)

    def pointer(self, handle: Any) -> int:
        return handle.data_ptr()

    def empty(self, size: int) -> Any:
        """Bytes on the GPU."""
        return self.torch.empty(size, dtype=self.torch.uint8, device="cuda")

    def copy(self, to: Any, source: Any) -> None:
        """Starts a copy on the device."""
        to.copy_(source)

    def synchronize(self) -> None:
        self.torch.cuda.synchronize()

    def event(self) -> Any:
        """A point in time on the GPU, from now."""
        event = self.torch.cuda.Event(enable_timing=True)
        event.record(self.torch.cuda.default_stream())
        return event

    def milliseconds(self, start: Any, end: Any) -> float:
        end.synchronize()
        return start.elapsed_time(end)


class CupyMemory:
    """Arrays of bytes on the GPU, by CuPy."""

    def __init__(self) -> None:
        import cupy

        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise Unable(f"CuPy finds no GPU that CUDA can use: {error}") from None
        if count == 0:
            raise Unable("CuPy finds no GPU that CUDA can use: this check needs one")
        self.cupy = cupy
        properties = cupy.cuda.runtime.getDeviceProperties(0)
        self.name, self.memory = properties["name"].decode(), properties["totalGlobalMem"]
        self.arch = properties["major"] * 10 + properties["minor"]
        self.versions = f"CuPy {cupy.__version__}, CUDA {cupy.cuda.runtime.runtimeGetVersion()}"

    def put(self, array: np.ndarray) -> Any:
        return self.cupy.asarray(array.reshape(-1).view(np.uint8))

    def get(self, handle: Any, array: np.ndarray) -> None:
        array[...] = self.cupy.asnumpy(handle).view(array.dtype).reshape(array.shape)

    def pointer(self, handle: Any) -> int:
        return handle.data.ptr

    def empty(self, size: int) -> Any:
        return self.cupy.empty(size, dtype=np.uint8)

    def copy(self, to: Any, source: Any) -> None:
        to.data.copy_from_device_async(source.data, source.nbytes, self.cupy.cuda.Stream.null)

    def synchronize(self) -> None:
        self.cupy.cuda.Device().synchronize()

    def event(self) -> Any:
        event = self.cupy.cuda.Event()
        event.record(self.cupy.cuda.Stream.null)
        return event

    def milliseconds(self, start: Any, end: Any) -> float:
        end.synchronize()
        return self.cupy.cuda.get_elapsed_time(start, end)


DRIVER = "libcuda.so.1"  # installed wherever a GPU can be used


class DriverBytes:
    """Bytes on the GPU, or some of those of a `base`, with which they live."""

    def __init__(self, memory: "DriverMemory", address: int, size: int, base: "DriverBytes | None" = None):
        self.memory, self.address, self.size, self.base = memory, address, size, base

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> "DriverBytes":
        start, stop, _ = part.indices(self.size)
        return DriverBytes(self.memory, self.address + start, max(stop - start, 0), self.base or self)

    def __del__(self) -> None:
        if self.base is None:
            self.memory.driver.cuMemFree_v2(ctypes.c_uint64(self.address))


class DriverMemory:
    """Bytes on the GPU, by CUDA's driver, in the context that CUDA's run time uses."""

    def __init__(self) -> None:
        try:
            self.driver = ctypes.CDLL(DRIVER)
        except OSError:
            raise ImportError(f"CUDA's driver ({DRIVER})") from None
        device, context, version = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_int()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        name, size = ctypes.create_string_buffer(256), ctypes.c_size_t()
        self._call("cuDeviceGetName", name, ctypes.c_int(256), device)
        self._call("cuDeviceTotalMem_v2", ctypes.byref(size), device)
        self._call("cuDriverGetVersion", ctypes.byref(version))
        capability = [ctypes.c_int(), ctypes.c_int()]
        for value, attribute in zip(capability, (75, 76), strict=True):  # major, minor
            self._call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(attribute), device)
        self.name, self.memory = name.value.decode(), size.value
        self.arch = capability[0].value * 10 + capability[1].value
        self.versions = f"driver for CUDA {version.value // 1000}.{version.value % 1000 // 10}"

    def _call(self, name: str, *args: Any) -> None:
        error = getattr(self.driver, name)(*args)
        if error:
            raise Unable(f"CUDA's driver: {name} failed with error {error}")

    def put(self, array: np.ndarray) -> DriverBytes:
        array = np.ascontiguousarray(array)
        there = self.empty(array.nbytes)
        source = ctypes.c_void_p(array.ctypes.data)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(there.address), source, ctypes.c_size_t(array.nbytes))
        return there

    def get(self, handle: DriverBytes, array: np.ndarray) -> None:
        raw = np.empty(handle.size, np.uint8)
        source, size = ctypes.c_uint64(handle.address), ctypes.c_size_t(handle.size)
        self._call("cuMemcpyDtoH_v2", ctypes.c_void_p(raw.ctypes.data), source, size)
        array[...] = raw.view(array.dtype).reshape(array.shape)

    def pointer(self, handle: DriverBytes) -> int:
        return handle.address

    def empty(self, size: int) -> DriverBytes:
        """Bytes on the GPU."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return DriverBytes(self, address.value, size)

    def copy(self, to: DriverBytes, source: DriverBytes) -> None:
        """Starts a copy on the device."""
        addresses = ctypes.c_uint64(to.address), ctypes.c_uint64(source.address)
        self._call("cuMemcpyDtoDAsync_v2", *addresses, ctypes.c_size_t(source.size), ctypes.c_void_p(0))

    def synchronize(self) -> None:
        self._call("cuCtxSynchronize")

    def event(self) -> ctypes.c_void_p:
        """A point in time on the GPU, from now."""
        event = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(0))
        self._call("cuEventRecord", event, ctypes.c_void_p(0))
        return event

    def milliseconds(self, start: ctypes.c_void_p, end: ctypes.c_void_p) -> float:
        """Of two events, once."""
        time = ctypes.c_float()
        self._call("cuEventSynchronize", end)
        self._call("cuEventElapsedTime", ctypes.byref(time), start, end)
        for event in (start, end):
            self._call("cuEventDestroy_v2", event)
        return time.value


def find_memory(library: str | None) -> Any:
    """The memory of the GPU through torch or CuPy, whichever is installed and finds one, else through CUDA's driver.

    Raises:
        Unable: none is installed, or none finds a GPU.
    """
    problems = []
    for name, memory in (("torch", TorchMemory), ("cupy", CupyMemory), ("driver", DriverMemory)):
        if library in (None, name):
            try:
                return memory()
            except ImportError as error:
                problems.append(f"{error.name or error} is not installed")
            except Unable as error:
                problems.append(str(error))
    raise Unable(f"no GPU: {'; '.join(problems)}. The CUDA kernels were not checked.")
