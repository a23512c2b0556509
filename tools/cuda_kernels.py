"""The CUDA kernels through ctypes, on NumPy arrays; tools/kernel_reference.py says what they compute.

They run wherever their library runs: on a GPU, or on the CPU in the tests, where `memory` is memory of the host.
Nothing here needs TensorFlow.
"""

import ctypes
import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np

from .kernel_reference import ACTIVATIONS, DTYPES, Cotangents, Epilogue, Pointwise, decode, encode

OPS = Path(__file__).parent.parent / "dnnlib" / "tflib" / "ops"
SOURCES = OPS / "kernels"


def load_toolchain() -> Any:
    """`dnnlib.tflib.ops.toolchain`, which finds the compilers. By its path: by its name TensorFlow would come along."""
    spec = importlib.util.spec_from_file_location("toolchain", OPS / "toolchain.py")
    toolchain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toolchain)
    return toolchain


# ----------------------------------------------------------------------------
# The structures of kernels.h.


def _structure(text: str, **nested: type[ctypes.Structure]) -> type[ctypes.Structure]:
    types = {"p": ctypes.c_void_p, "i": ctypes.c_int32, "l": ctypes.c_int64, "f": ctypes.c_float, **nested}
    fields = [(field, types[kind]) for kind, field in (item.split(":") for item in text.split())]
    return type("Args", (ctypes.Structure,), {"_fields_": fields})


_PointwiseArgs = _structure("i:act f:alpha f:gain f:clamp")
_UpfirdnArgs = _structure(
    "p:x p:k p:y i:dtype i:channels_last l:n l:c l:h l:w l:outh l:outw i:firh i:firw i:upx i:upy i:downx i:downy"
    " i:padx0 i:pady0 i:flip f:gain",
)
_BiasActArgs = _structure("p:x p:b p:v p:y i:dtype i:order l:size l:inner l:c F:f", F=_PointwiseArgs)
_EpilogueArgs = _structure(
    "p:x p:scale p:noise p:b p:y i:dtype i:channels_last l:n l:c l:pixels l:noise_n F:f", F=_PointwiseArgs
)
_EpilogueGradArgs = _structure("E:forward p:dy p:dx p:dscale p:dnoise p:db p:workspace", E=_EpilogueArgs)
_EpilogueSecondArgs = _structure(
    "E:forward p:dy p:a p:p p:q p:r p:d_dy p:d_x p:d_scale p:d_noise p:d_b p:workspace", E=_EpilogueArgs
)


def bias_act_args(size: int, c: int, inner: int, f: Pointwise, order: int, dtype: str) -> ctypes.Structure:
    """The arguments of stylegan2_bias_act, without pointers."""
    return _BiasActArgs(dtype=DTYPES.index(dtype), order=order, size=size, inner=inner, c=c, f=_pointwise(f))


def _pointwise(f: Pointwise) -> ctypes.Structure:
    return _PointwiseArgs(ACTIVATIONS.index(f.act), f.alpha, f.gain, f.clamp)


def _image_args(x: np.ndarray, channels_last: bool, dtype: str) -> tuple[dict[str, int], tuple[int, int]]:
    """What kernels must know of an image, and its height and width."""
    n, c, size = (x.shape[0], x.shape[3], x.shape[1:3]) if channels_last else (x.shape[0], x.shape[1], x.shape[2:4])
    return {"dtype": DTYPES.index(dtype), "channels_last": channels_last, "n": n, "c": c}, size


# ----------------------------------------------------------------------------
# The kernels.


class Filled:
    """Stands for an array of random values that is made on the device, to be quick, and only for timing."""

    def __init__(self, *shape: int):
        self.shape, self.size = shape, math.prod(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def put(self, memory: Any, dtype: str) -> Any:
        """The array in the device's memory: one block of normal numbers over and over."""
        block = encode(np.random.default_rng(0).standard_normal(1 << 20, np.float32), dtype)
        to, source = memory.empty(self.size * block.itemsize), memory.put(block)
        for start in range(0, self.size * block.itemsize, block.nbytes):
            part = to[start : start + block.nbytes]
            memory.copy(part, source[: len(part)])
        return to


class Kernels:
    """The functions of a library of kernels: calls on NumPy arrays, that can be repeated for timing.

    memory: has `put(array) -> handle`, `get(handle, array)`, `pointer(handle) -> int`, `synchronize()`, and for arrays
    that are `Filled` also `empty(bytes) -> handle`, `copy(to, source)`.
    """

    def __init__(self, library: str, memory: Any):
        self.library, self.memory = ctypes.CDLL(library), memory
        self.library.stylegan2_epilogue_grad_workspace.restype = ctypes.c_int64
        self.library.stylegan2_epilogue_second_workspace.restype = ctypes.c_int64
        self.library.stylegan2_cuda_error.restype = ctypes.c_char_p

    def upfirdn(
        self,
        x: np.ndarray,
        k: np.ndarray,
        up: tuple[int, int],
        down: tuple[int, int],
        pads: tuple[int, int, int, int],
        *,
        flip: bool = False,
        gain: float = 1.0,
        channels_last: bool,
        dtype: str,
    ) -> "Call":
        """y of upfirdn. x `[N, C, H, W]` or `[N, H, W, C]`; up, down: (y, x); pads: (y0, y1, x0, x1)."""
        image, (h, w) = _image_args(x, channels_last, dtype)
        n, c = image["n"], image["c"]
        outh = (h * up[0] + pads[0] + pads[1] - k.shape[0]) // down[0] + 1
        outw = (w * up[1] + pads[2] + pads[3] - k.shape[1]) // down[1] + 1
        args = _UpfirdnArgs(
            **image,
            **{"h": h, "w": w, "outh": outh, "outw": outw, "firh": k.shape[0], "firw": k.shape[1]},
            **{"upy": up[0], "upx": up[1], "downy": down[0], "downx": down[1]},
            **{"pady0": pads[0], "padx0": pads[2], "flip": flip, "gain": gain},
        )
        call = Call(self, "stylegan2_upfirdn_2d", args)
        call.argument(args, "x", x, dtype)
        call.argument(args, "k", k)
        call.result("y", (n, outh, outw, c) if channels_last else (n, c, outh, outw), dtype)
        return call

    def bias_act(
        self,
        x: np.ndarray,
        b: np.ndarray | None,
        v: np.ndarray | None,
        f: Pointwise,
        *,
        order: int,
        inner: int = 1,
        dtype: str,
    ) -> "Call":
        """y = F(x + b), v * F'(x + b) or v * F''(x + b)."""
        args = bias_act_args(x.size, 0 if b is None else b.size, inner, f, order, dtype)
        call = Call(self, "stylegan2_bias_act", args)
        call.argument(args, "x", x, dtype)
        call.argument(args, "v", v, dtype)
        call.argument(args, "b", b)
        call.result("y", x.shape, dtype)
        return call

    def epilogue(self, x: np.ndarray, e: Epilogue, *, channels_last: bool, dtype: str) -> "Call":
        """y = F(x * scale + noise + b)."""
        args = _epilogue_args(x, e, channels_last, dtype)
        call = Call(self, "stylegan2_epilogue", args)
        call.epilogue(args, x, e, dtype)
        call.result("y", x.shape, dtype)
        return call

    def epilogue_grad(self, dy: np.ndarray, x: np.ndarray, e: Epilogue, *, channels_last: bool, dtype: str) -> "Call":
        """dx, dscale, dnoise, db, as far as they are wanted."""
        args = _EpilogueGradArgs(forward=_epilogue_args(x, e, channels_last, dtype))
        call = Call(self, "stylegan2_epilogue_grad", args)
        call.epilogue(args.forward, x, e, dtype)
        call.argument(args, "dy", dy, dtype)
        call.result("dx", x.shape, dtype)
        for name in ("scale", "noise", "b"):
            if (value := getattr(e, name)) is not None:
                call.result(f"d{name}", value.shape)
        call.result("workspace", (self.library.stylegan2_epilogue_grad_workspace(ctypes.byref(args)),))
        return call

    def epilogue_second(
        self, given: Cotangents, dy: np.ndarray, x: np.ndarray, e: Epilogue, *, channels_last: bool, dtype: str
    ) -> "Call":
        """d_dy, d_x, d_scale, d_noise, d_b, as far as they are not 0 everywhere."""
        args = _EpilogueSecondArgs(forward=_epilogue_args(x, e, channels_last, dtype))
        call = Call(self, "stylegan2_epilogue_second", args)
        call.epilogue(args.forward, x, e, dtype)
        call.argument(args, "dy", dy, dtype)
        call.argument(args, "a", given.a, dtype)
        for name in ("p", "q", "r"):
            call.argument(args, name, getattr(given, name))
        call.result("d_dy", x.shape, dtype)
        smooth = e.f.act not in ("linear", "relu", "lrelu")
        if smooth or e.scale is not None:
            call.result("d_x", x.shape, dtype)
        for name in ("scale", "noise", "b") if smooth else ("scale",):
            if (value := getattr(e, name)) is not None:
                call.result(f"d_{name}", value.shape)
        call.result("workspace", (self.library.stylegan2_epilogue_second_workspace(ctypes.byref(args)),))
        return call


def _epilogue_args(x: np.ndarray, e: Epilogue, channels_last: bool, dtype: str) -> ctypes.Structure:
    image, (h, w) = _image_args(x, channels_last, dtype)
    return _EpilogueArgs(**image, pixels=h * w, noise_n=1 if e.noise is None else len(e.noise), f=_pointwise(e.f))


class Call:
    """A kernel with its arguments in the device's memory."""

    def __init__(self, kernels: Kernels, function: str, args: ctypes.Structure):
        self.kernels, self.function, self.args = kernels, getattr(kernels.library, function), args
        self.kept: list[Any] = []
        self.timed = False
        self.results: dict[str, tuple[Any, np.ndarray, str]] = {}

    def argument(self, args: ctypes.Structure, name: str, value: Any, dtype: str = "float32") -> None:
        """An array of some type; None is a null pointer."""
        if isinstance(value, Filled):
            self.timed = True  # nobody reads the results
            self._keep(args, name, value.put(self.kernels.memory, dtype))
        elif value is not None:
            self._put(args, name, encode(value, dtype))

    def epilogue(self, args: ctypes.Structure, x: np.ndarray, e: Epilogue, dtype: str) -> None:
        """The arrays of an epilogue."""
        self.argument(args, "x", x, dtype)
        for name in ("scale", "noise", "b"):
            self.argument(args, name, getattr(e, name))

    def result(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> None:
        """An output. It starts as NaN, so that elements that are not written show."""
        if self.timed:
            size = math.prod(shape) * (4 if dtype == "float32" else 2)
            return self._keep(self.args, name, self.kernels.memory.empty(size))
        array = encode(np.full(shape, np.nan, np.float32), dtype)
        self.results[name] = (self._put(self.args, name, array), array, dtype)

    def _put(self, args: ctypes.Structure, name: str, array: np.ndarray) -> Any:
        handle = self.kernels.memory.put(array)
        self._keep(args, name, handle)
        return handle

    def _keep(self, args: ctypes.Structure, name: str, handle: Any) -> None:
        self.kept.append(handle)
        setattr(args, name, self.kernels.memory.pointer(handle))

    def launch(self) -> None:
        """Starts the kernel; raises RuntimeError if CUDA refuses."""
        error = self.function(ctypes.byref(self.args), None)
        if error:
            raise RuntimeError(f"CUDA error {error}: {self.kernels.library.stylegan2_cuda_error(error).decode()}")

    def run(self) -> dict[str, np.ndarray]:
        """The outputs, as float32, by name."""
        self.launch()
        self.kernels.memory.synchronize()
        outputs = {}
        for name, (handle, array, dtype) in self.results.items():
            self.kernels.memory.get(handle, array)
            if name != "workspace":
                outputs[name] = decode(array, dtype)
        return outputs
