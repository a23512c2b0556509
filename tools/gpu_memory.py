"""Memory and clocks of the GPU, by torch or CuPy, whichever is installed."""

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


def find_memory(library: str | None) -> Any:
    """The memory of the GPU through torch or CuPy, whichever is installed and finds one.

    Raises:
        Unable: neither is installed, or neither finds a GPU.
    """
    problems = []
    for name, memory in (("torch", TorchMemory), ("cupy", CupyMemory)):
        if library in (None, name):
            try:
                return memory()
            except ImportError:
                problems.append(f"{name} is not installed")
            except Unable as error:
                problems.append(str(error))
    raise Unable(f"no GPU: {'; '.join(problems)}. The CUDA kernels were not checked.")
