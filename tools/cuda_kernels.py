"""The CUDA kernels through ctypes, and what they compute in NumPy, in float64.

Both take and return NumPy arrays; images are of type 'float32', 'float16' or 'bfloat16', the last as float32 arrays of
values that have 8 bits. The kernels run wherever their library runs: on a GPU, or on the CPU in the tests, where
`Memory` is memory of the host. Nothing here needs TensorFlow.
"""

import ctypes
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

OPS = Path(__file__).parent.parent / "dnnlib" / "tflib" / "ops"
SOURCES = OPS / "kernels"
ACTIVATIONS = ("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")
DTYPES = ("float32", "float16", "bfloat16")
EPSILONS = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}  # of rounding to nearest


class Pointwise(NamedTuple):
    """F(u) = clamp(gain * act(u)); clamp -1 is no limit."""

    act: str = "lrelu"
    alpha: float = 0.2
    gain: float = 1.0
    clamp: float = -1.0


# ----------------------------------------------------------------------------
# Types of images.


def round_to(x: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values that `dtype` represents."""
    return decode(encode(x, dtype), dtype)


def encode(x: np.ndarray, dtype: str) -> np.ndarray:
    """The array that kernels get: float32, float16, or the upper 16 bits of float32, rounded to nearest even."""
    x = np.ascontiguousarray(x, np.float32)
    if dtype != "bfloat16":
        return x.astype(dtype)
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def decode(x: np.ndarray, dtype: str) -> np.ndarray:
    """The inverse of `encode`, as float32."""
    return (x.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else x.astype(np.float32)


# ----------------------------------------------------------------------------
# The kernels. The structures are those of kernels.h.


class _PointwiseArgs(ctypes.Structure):
    _fields_ = [("act", ctypes.c_int32), *((name, ctypes.c_float) for name in ("alpha", "gain", "clamp"))]


def _structure(name: str, text: str) -> type[ctypes.Structure]:
    types = {"p": ctypes.c_void_p, "i": ctypes.c_int32, "l": ctypes.c_int64, "f": ctypes.c_float, "F": _PointwiseArgs}
    fields = [(field, types[kind]) for kind, field in (item.split(":") for item in text.split())]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


_UpfirdnArgs = _structure(
    "UpfirdnArgs",
    "p:x p:k p:y i:dtype i:channels_last l:n l:c l:h l:w l:outh l:outw i:firh i:firw i:upx i:upy i:downx i:downy"
    " i:padx0 i:pady0 i:flip f:gain",
)
_BiasActArgs = _structure("BiasActArgs", "p:x p:b p:v p:y i:dtype i:order l:size l:inner l:c F:f")
_EpilogueArgs = _structure(
    "EpilogueArgs", "p:x p:scale p:noise p:b p:y i:dtype i:channels_last l:n l:c l:pixels l:noise_n F:f"
)


class _EpilogueGradArgs(ctypes.Structure):
    _fields_ = [
        ("forward", _EpilogueArgs),
        *((name, ctypes.c_void_p) for name in ("dy", "dx", "dscale", "dnoise", "db", "workspace")),
    ]


class Kernels:
    """The functions of a library of kernels on NumPy arrays.

    memory: has `put(array) -> handle`, `get(handle, array)`, `pointer(handle) -> int`, `synchronize()`.
    """

    def __init__(self, library: str, memory: Any):
        self.library, self.memory = ctypes.CDLL(library), memory
        self.library.stylegan2_epilogue_grad_workspace.restype = ctypes.c_int64
        self.library.stylegan2_cuda_error.restype = ctypes.c_char_p

    def upfirdn(
        self,
        x: np.ndarray,
        k: np.ndarray,
        up: tuple[int, int] = (1, 1),
        down: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        *,
        flip: bool = False,
        gain: float = 1.0,
        channels_last: bool,
        dtype: str,
    ) -> np.ndarray:
        """y of upfirdn. x `[N, C, H, W]` or `[N, H, W, C]`; up, down: (y, x); pads: (y0, y1, x0, x1)."""
        call = self.upfirdn_call(x, k, up, down, pads, flip=flip, gain=gain, channels_last=channels_last, dtype=dtype)
        return call.run()["y"]

    def upfirdn_call(
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
        """A call that can be repeated, for timing."""
        n, c, (h, w) = _sizes(x, channels_last)
        outh = (h * up[0] + pads[0] + pads[1] - k.shape[0]) // down[0] + 1
        outw = (w * up[1] + pads[2] + pads[3] - k.shape[1]) // down[1] + 1
        shape = (n, outh, outw, c) if channels_last else (n, c, outh, outw)
        args = _UpfirdnArgs(
            **{"dtype": DTYPES.index(dtype), "channels_last": channels_last, "n": n, "c": c, "h": h, "w": w},
            **{"outh": outh, "outw": outw, "firh": k.shape[0], "firw": k.shape[1]},
            **{"upy": up[0], "upx": up[1], "downy": down[0], "downx": down[1]},
            **{"pady0": pads[0], "padx0": pads[2], "flip": flip, "gain": gain},
        )
        call = Call(self, "stylegan2_upfirdn_2d", args)
        call.image(args, "x", x, dtype)
        call.parameter(args, "k", k)
        call.result(args, "y", shape, dtype)
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
    ) -> np.ndarray:
        """F(x + b), v * F'(x + b) or v * F''(x + b)."""
        return self.bias_act_call(x, b, v, f, order=order, inner=inner, dtype=dtype).run()["y"]

    def bias_act_call(
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
        """A call that can be repeated, for timing."""
        args = bias_act_args(x.size, 0 if b is None else b.size, inner, f, order, dtype)
        call = Call(self, "stylegan2_bias_act", args)
        call.image(args, "x", x, dtype)
        call.image(args, "v", v, dtype)
        call.parameter(args, "b", b)
        call.result(args, "y", x.shape, dtype)
        return call

    def epilogue(
        self,
        x: np.ndarray,
        scale: np.ndarray | None,
        noise: np.ndarray | None,
        b: np.ndarray | None,
        f: Pointwise,
        *,
        channels_last: bool,
        dtype: str,
    ) -> np.ndarray:
        """F(x * scale + noise + b). scale `[N, C]`, noise `[N or 1, H, W]`, b `[C]`."""
        return self.epilogue_call(x, scale, noise, b, f, channels_last=channels_last, dtype=dtype).run()["y"]

    def epilogue_call(
        self,
        x: np.ndarray,
        scale: np.ndarray | None,
        noise: np.ndarray | None,
        b: np.ndarray | None,
        f: Pointwise,
        *,
        channels_last: bool,
        dtype: str,
    ) -> "Call":
        """A call that can be repeated, for timing."""
        args = _epilogue_args(x, noise, f, channels_last, dtype)
        call = Call(self, "stylegan2_epilogue", args)
        call.image(args, "x", x, dtype)
        for name, value in (("scale", scale), ("noise", noise), ("b", b)):
            call.parameter(args, name, value)
        call.result(args, "y", x.shape, dtype)
        return call

    def epilogue_grad(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        scale: np.ndarray | None,
        noise: np.ndarray | None,
        b: np.ndarray | None,
        f: Pointwise,
        *,
        channels_last: bool,
        dtype: str,
    ) -> dict[str, np.ndarray]:
        """dx, dscale, dnoise, db, as far as they are wanted."""
        return self.epilogue_grad_call(dy, x, scale, noise, b, f, channels_last=channels_last, dtype=dtype).run()

    def epilogue_grad_call(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        scale: np.ndarray | None,
        noise: np.ndarray | None,
        b: np.ndarray | None,
        f: Pointwise,
        *,
        channels_last: bool,
        dtype: str,
    ) -> "Call":
        """A call that can be repeated, for timing."""
        args = _EpilogueGradArgs(forward=_epilogue_args(x, noise, f, channels_last, dtype))
        call = Call(self, "stylegan2_epilogue_grad", args)
        call.image(args.forward, "x", x, dtype)
        call.image(args, "dy", dy, dtype)
        for name, value in (("scale", scale), ("noise", noise), ("b", b)):
            call.parameter(args.forward, name, value)
            if value is not None:
                call.result(args, f"d{name}", value.shape, "float32")
        call.result(args, "dx", x.shape, dtype)
        size = self.library.stylegan2_epilogue_grad_workspace(ctypes.byref(args))
        call.result(args, "workspace", (size,), "float32")
        return call


class Call:
    """A kernel with its arguments in the device's memory."""

    def __init__(self, kernels: Kernels, function: str, args: ctypes.Structure):
        self.kernels, self.function, self.args = kernels, getattr(kernels.library, function), args
        self.kept: list[Any] = []
        self.results: dict[str, tuple[Any, np.ndarray, str]] = {}

    def image(self, args: ctypes.Structure, name: str, value: np.ndarray | None, dtype: str) -> None:
        """An argument of the type of images; None is a null pointer."""
        if value is not None:
            self._put(args, name, encode(value, dtype))

    def parameter(self, args: ctypes.Structure, name: str, value: np.ndarray | None) -> None:
        """An argument of type float32; None is a null pointer."""
        if value is not None:
            self._put(args, name, np.ascontiguousarray(value, np.float32))

    def result(self, args: ctypes.Structure, name: str, shape: tuple[int, ...], dtype: str) -> None:
        """An output. It starts as NaN, so that elements that are not written show."""
        array = encode(np.full(shape, np.nan, np.float32), dtype)
        self.results[name] = (self._put(args, name, array), array, dtype)

    def _put(self, args: ctypes.Structure, name: str, array: np.ndarray) -> Any:
        handle = self.kernels.memory.put(array)
        self.kept.append(handle)
        setattr(args, name, self.kernels.memory.pointer(handle))
        return handle

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


def bias_act_args(size: int, c: int, inner: int, f: Pointwise, order: int, dtype: str) -> ctypes.Structure:
    """The arguments of stylegan2_bias_act, without pointers."""
    return _BiasActArgs(dtype=DTYPES.index(dtype), order=order, size=size, inner=inner, c=c, f=_pointwise(f))


def _pointwise(f: Pointwise) -> _PointwiseArgs:
    return _PointwiseArgs(ACTIVATIONS.index(f.act), f.alpha, f.gain, f.clamp)


def _sizes(x: np.ndarray, channels_last: bool) -> tuple[int, int, tuple[int, int]]:
    return (x.shape[0], x.shape[3], x.shape[1:3]) if channels_last else (x.shape[0], x.shape[1], x.shape[2:4])


def _epilogue_args(
    x: np.ndarray, noise: np.ndarray | None, f: Pointwise, channels_last: bool, dtype: str
) -> _EpilogueArgs:
    n, c, (h, w) = _sizes(x, channels_last)
    return _EpilogueArgs(
        **{"dtype": DTYPES.index(dtype), "channels_last": channels_last, "n": n, "c": c, "pixels": h * w},
        noise_n=1 if noise is None else noise.shape[0],
        f=_pointwise(f),
    )


# ----------------------------------------------------------------------------
# The same in NumPy, in float64.


def allowed_error(expected: np.ndarray, dtype: str, size: Any = 1.0) -> np.ndarray:
    """The rounding of the result's type, and of float32 in sums of magnitude `size`."""
    smallest = 6e-8 if dtype == "float16" else 0  # float16's subnormal numbers
    return 1.01 * EPSILONS[dtype] * np.abs(expected) + 3e-6 * size + smallest


def upfirdn(
    x: np.ndarray,
    k: np.ndarray,
    up: tuple[int, int] = (1, 1),
    down: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    *,
    flip: bool = False,
    gain: float = 1.0,
    channels_last: bool,
) -> np.ndarray:
    """As `Kernels.upfirdn`: zeros inserted, padded or cropped, convolved tap by tap, thinned out."""
    x = np.asarray(x, np.float64)
    x = x if channels_last else x.transpose(0, 2, 3, 1)
    n, h, w, c = x.shape
    stuffed = np.zeros([n, h * up[0], w * up[1], c])
    stuffed[:, :: up[0], :: up[1]] = x
    y0, y1, x0, x1 = pads
    stuffed = np.pad(stuffed, [(0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0)), (0, 0)])
    stuffed = stuffed[:, max(-y0, 0) : stuffed.shape[1] - max(-y1, 0), max(-x0, 0) : stuffed.shape[2] - max(-x1, 0)]
    outh, outw = stuffed.shape[1] - k.shape[0] + 1, stuffed.shape[2] - k.shape[1] + 1
    taps = np.asarray(k if flip else k[::-1, ::-1], np.float64) * gain
    y = np.zeros([n, outh, outw, c])
    for i, row in enumerate(taps):
        for j, tap in enumerate(row):
            y += stuffed[:, i : i + outh, j : j + outw] * tap
    y = y[:, :: down[0], :: down[1]]
    return y if channels_last else y.transpose(0, 3, 1, 2)


def activation(act: str, alpha: float, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The activation, its first and its second derivative."""
    u = np.asarray(u, np.float64)
    zero, one = np.zeros_like(u), np.ones_like(u)
    below = np.exp(np.minimum(u, 0))
    s = 0.5 * (1 + np.tanh(u / 2))  # the sigmoid
    d1s = 0.25 / np.cosh(np.clip(u / 2, -300, 300)) ** 2
    d2s = -d1s * np.tanh(u / 2)
    if act == "linear":
        return u, one, zero
    if act in ("relu", "lrelu"):
        slope = alpha if act == "lrelu" else 0.0
        return np.where(u > 0, u, slope * u), np.where(u > 0, 1.0, slope), zero
    if act == "tanh":
        d1 = 1 / np.cosh(np.clip(u, -300, 300)) ** 2
        return np.tanh(u), d1, -2 * np.tanh(u) * d1
    if act == "sigmoid":
        return s, d1s, d2s
    if act in ("elu", "selu"):
        a, scale = (1.6732632423543772, 1.0507009873554805) if act == "selu" else (1.0, 1.0)
        derivatives = (np.where(u > 0, at, scale * a * below) for at in (scale, 0.0))
        return np.where(u > 0, scale * u, scale * a * np.expm1(np.minimum(u, 0))), *derivatives
    if act == "softplus":
        return np.logaddexp(0, u), s, d1s
    return u * s, s + u * d1s, 2 * d1s + u * d2s  # swish


def pointwise(f: Pointwise, u: np.ndarray, order: int = 0) -> np.ndarray:
    """F, F' or F''."""
    rows = activation(f.act, f.alpha, u)
    y = f.gain * rows[0]
    if order == 0:
        return y if f.clamp < 0 else np.clip(y, -f.clamp, f.clamp)
    d = f.gain * rows[order]
    return d if f.clamp < 0 else np.where(np.abs(y) < f.clamp, d, 0.0)


def is_near_kink(f: Pointwise, u: np.ndarray) -> np.ndarray:
    """Where a rounding error of float32 in u may choose the other branch of F' or F''."""
    y = np.abs(f.gain * activation(f.act, f.alpha, u)[0])
    near = np.abs(u) < 1e-5
    return near if f.clamp < 0 else near | (np.abs(y - f.clamp) < 1e-5 * max(f.clamp, 1))


def bias_act(
    x: np.ndarray, b: np.ndarray | None, v: np.ndarray | None, f: Pointwise, *, order: int, inner: int = 1
) -> np.ndarray:
    """As `Kernels.bias_act`."""
    u = bias_act_argument(x, b, inner)
    return pointwise(f, u, order) * (1 if order == 0 else np.asarray(v, np.float64))


def bias_act_argument(x: np.ndarray, b: np.ndarray | None, inner: int) -> np.ndarray:
    """x + b in float64."""
    x = np.asarray(x, np.float64)
    return (
        x if b is None else (x.reshape(-1, b.size, inner) + np.asarray(b, np.float64)[:, np.newaxis]).reshape(x.shape)
    )


def epilogue_argument(
    x: np.ndarray, scale: np.ndarray | None, noise: np.ndarray | None, b: np.ndarray | None, *, channels_last: bool
) -> np.ndarray:
    """u = x * scale + noise + b, in float64, `[N, H, W, C]` whatever the layout of x."""
    u = np.asarray(x, np.float64)
    u = u if channels_last else u.transpose(0, 2, 3, 1)
    u = u if scale is None else u * np.asarray(scale, np.float64)[:, np.newaxis, np.newaxis]
    u = u if noise is None else u + np.asarray(noise, np.float64)[..., np.newaxis]
    return u if b is None else u + np.asarray(b, np.float64)


def epilogue(
    x: np.ndarray,
    scale: np.ndarray | None,
    noise: np.ndarray | None,
    b: np.ndarray | None,
    f: Pointwise,
    *,
    channels_last: bool,
) -> np.ndarray:
    """As `Kernels.epilogue`."""
    y = pointwise(f, epilogue_argument(x, scale, noise, b, channels_last=channels_last))
    return y if channels_last else y.transpose(0, 3, 1, 2)


def epilogue_grad(
    dy: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray | None,
    noise: np.ndarray | None,
    b: np.ndarray | None,
    f: Pointwise,
    *,
    channels_last: bool,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """As `Kernels.epilogue_grad`; with each output the sum of the magnitudes that it would have if F' were gain."""
    u = epilogue_argument(x, scale, noise, b, channels_last=channels_last)
    x, dy = (np.asarray(t, np.float64) for t in (x, dy))
    x, dy = (t if channels_last else t.transpose(0, 2, 3, 1) for t in (x, dy))
    scale4 = 1.0 if scale is None else np.asarray(scale, np.float64)[:, np.newaxis, np.newaxis]
    du, size = dy * pointwise(f, u, 1), np.abs(dy * f.gain)
    dx = tuple(t if channels_last else t.transpose(0, 3, 1, 2) for t in (du * scale4, size * np.abs(scale4)))
    outputs = {"dx": dx}
    if scale is not None:
        outputs["dscale"] = np.sum(du * x, axis=(1, 2)), np.sum(size * np.abs(x), axis=(1, 2))
    if noise is not None:
        axes = (3,) if noise.shape[0] == x.shape[0] else (0, 3)
        outputs["dnoise"] = tuple(np.sum(t, axis=axes).reshape(noise.shape) for t in (du, size))
    if b is not None:
        outputs["db"] = tuple(np.sum(t, axis=(0, 1, 2)) for t in (du, size))
    return outputs
