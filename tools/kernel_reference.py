"""What the CUDA kernels compute, in NumPy, in float64, and the types of images that they take.

Images are of type 'float32', 'float16' or 'bfloat16', the last as float32 arrays of values that have 8 bits.
"""

from typing import Any, NamedTuple

import numpy as np

ACTIVATIONS = ("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")
DTYPES = ("float32", "float16", "bfloat16")
EPSILONS = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}  # of rounding to nearest


class Pointwise(NamedTuple):
    """F(u) = clamp(gain * act(u)); clamp -1 is no limit."""

    act: str = "lrelu"
    alpha: float = 0.2
    gain: float = 1.0
    clamp: float = -1.0


class Epilogue(NamedTuple):
    """F(x * scale + noise + b). scale `[N, C]`, noise `[N or 1, H, W]`, b `[C]`; None where there is none."""

    scale: np.ndarray | None
    noise: np.ndarray | None
    b: np.ndarray | None
    f: Pointwise


class Cotangents(NamedTuple):
    """What is given of the gradient's outputs: a like x, and p, q, r like scale, noise, b; None where those are."""

    a: np.ndarray
    p: np.ndarray | None
    q: np.ndarray | None
    r: np.ndarray | None


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


def allowed_error(expected: np.ndarray, dtype: str, size: Any = 1.0) -> np.ndarray:
    """The rounding of the result's type, and of float32 in sums of magnitude `size`."""
    smallest = 6e-8 if dtype == "float16" else 0  # float16's subnormal numbers
    return 1.01 * EPSILONS[dtype] * np.abs(expected) + 3e-6 * size + smallest


def _to_nhwc(x: np.ndarray, channels_last: bool) -> np.ndarray:
    """In float64, `[N, H, W, C]` whatever the layout of x."""
    x = np.asarray(x, np.float64)
    return x if channels_last else x.transpose(0, 2, 3, 1)


def from_nhwc(x: np.ndarray, channels_last: bool) -> np.ndarray:
    """In the layout asked for."""
    return x if channels_last else x.transpose(0, 3, 1, 2)


# ----------------------------------------------------------------------------
# The kernels. Arguments are those of the methods of `Kernels`.


def upfirdn(
    x: np.ndarray,
    k: np.ndarray,
    up: tuple[int, int],
    down: tuple[int, int],
    pads: tuple[int, int, int, int],
    *,
    flip: bool = False,
    gain: float = 1.0,
    channels_last: bool,
) -> np.ndarray:
    """Zeros inserted, padded or cropped, convolved, thinned out."""
    x = _to_nhwc(x, channels_last)
    n, h, w, c = x.shape
    stuffed = np.zeros([n, h * up[0], w * up[1], c])
    stuffed[:, :: up[0], :: up[1]] = x
    y0, y1, x0, x1 = pads
    stuffed = np.pad(stuffed, [(0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0)), (0, 0)])
    stuffed = stuffed[:, max(-y0, 0) : stuffed.shape[1] - max(-y1, 0), max(-x0, 0) : stuffed.shape[2] - max(-x1, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(stuffed, k.shape, (1, 2))[:, :: down[0], :: down[1]]
    taps = np.asarray(k if flip else k[::-1, ::-1], np.float64) * gain
    return from_nhwc(np.einsum("nhwcij,ij->nhwc", windows, taps), channels_last)


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
    """F(x + b), v * F'(x + b) or v * F''(x + b)."""
    u = bias_act_argument(x, b, inner)
    return pointwise(f, u, order) * (1 if order == 0 else np.asarray(v, np.float64))


def bias_act_argument(x: np.ndarray, b: np.ndarray | None, inner: int) -> np.ndarray:
    """x + b in float64."""
    x = np.asarray(x, np.float64)
    if b is None:
        return x
    return (x.reshape(-1, b.size, inner) + np.asarray(b, np.float64)[:, np.newaxis]).reshape(x.shape)


def epilogue_argument(x: np.ndarray, e: Epilogue, *, channels_last: bool) -> np.ndarray:
    """u = x * scale + noise + b, in float64, `[N, H, W, C]` whatever the layout of x."""
    u = _to_nhwc(x, channels_last)
    u = u if e.scale is None else u * np.asarray(e.scale, np.float64)[:, np.newaxis, np.newaxis]
    u = u if e.noise is None else u + np.asarray(e.noise, np.float64)[..., np.newaxis]
    return u if e.b is None else u + np.asarray(e.b, np.float64)


def epilogue(x: np.ndarray, e: Epilogue, *, channels_last: bool) -> np.ndarray:
    """F(x * scale + noise + b)."""
    return from_nhwc(pointwise(e.f, epilogue_argument(x, e, channels_last=channels_last)), channels_last)


def epilogue_grad(
    dy: np.ndarray, x: np.ndarray, e: Epilogue, *, channels_last: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """dx, dscale, dnoise, db; with each the sum of the magnitudes that it would have if F' were gain."""
    u = epilogue_argument(x, e, channels_last=channels_last)
    x, dy = (_to_nhwc(t, channels_last) for t in (x, dy))
    scale = 1.0 if e.scale is None else np.asarray(e.scale, np.float64)[:, np.newaxis, np.newaxis]
    du, size = dy * pointwise(e.f, u, 1), np.abs(dy * e.f.gain)
    outputs = {"dx": tuple(from_nhwc(t, channels_last) for t in (du * scale, size * np.abs(scale)))}
    if e.scale is not None:
        outputs["dscale"] = np.sum(du * x, axis=(1, 2)), np.sum(size * np.abs(x), axis=(1, 2))
    return outputs | _noise_and_bias_sums(e, "d", (du, size))


def epilogue_second(
    given: Cotangents, dy: np.ndarray, x: np.ndarray, e: Epilogue, *, channels_last: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """d_dy, d_x, d_scale, d_noise, d_b; with each the sum of the magnitudes that are added up, or a bound of it."""
    u = epilogue_argument(x, e, channels_last=channels_last)
    d1, d2 = pointwise(e.f, u, 1), pointwise(e.f, u, 2)
    x, dy, a = (_to_nhwc(t, channels_last) for t in (x, dy, given.a))

    def of(p: np.ndarray | None, absent: float) -> Any:  # [N, 1, 1, C]
        return absent if p is None else np.asarray(p, np.float64)[:, np.newaxis, np.newaxis]

    scale, p = of(e.scale, 1.0), of(given.p, 0.0)
    q = 0.0 if given.q is None else np.asarray(given.q, np.float64)[..., np.newaxis]
    r = 0.0 if given.r is None else np.asarray(given.r, np.float64)
    w, size = a * scale + p * x + q + r, np.abs(a * scale) + np.abs(p * x) + np.abs(q) + np.abs(r)
    du, d_u = dy * d1, dy * d2 * w
    size_du, size_d_u = np.abs(dy * e.f.gain), 2 * np.abs(dy * e.f.gain) * size
    outputs = {
        "d_dy": (d1 * w, np.abs(2 * e.f.gain) * size),
        "d_x": (du * p + d_u * scale, size_du * np.abs(p) + size_d_u * np.abs(scale)),
    }
    outputs = {name: tuple(from_nhwc(t, channels_last) for t in pair) for name, pair in outputs.items()}
    if e.scale is not None:
        pair = du * a + d_u * x, size_du * np.abs(a) + size_d_u * np.abs(x)
        outputs["d_scale"] = tuple(np.sum(t, axis=(1, 2)) for t in pair)
    return outputs | _noise_and_bias_sums(e, "d_", (d_u, size_d_u))


def _noise_and_bias_sums(e: Epilogue, prefix: str, pair: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """The gradients by noise and b, where they are: sums of a gradient by u `[N, H, W, C]`, and of its size."""
    sums = {}
    if e.noise is not None:
        axes = (3,) if e.noise.shape[0] == len(pair[0]) else (0, 3)
        sums[f"{prefix}noise"] = tuple(np.sum(t, axis=axes).reshape(e.noise.shape) for t in pair)
    if e.b is not None:
        sums[f"{prefix}b"] = tuple(np.sum(t, axis=(0, 1, 2)) for t in pair)
    return sums
