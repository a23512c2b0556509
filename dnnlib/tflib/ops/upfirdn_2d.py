"""Padding, upsampling, FIR filtering and downsampling of images (upfirdn), alone or around a convolution.

The public functions carry the names, arguments and defaults of the official StyleGAN2 ops. They take `NCHW` or
`NHWC` tensors; the work itself is done in NHWC, the one layout whose convolutions TensorFlow runs on every device.
Every function can be differentiated any number of times: the gradient of upfirdn is another upfirdn, with the filter
mirrored and the roles of up and down exchanged, so the gradient is written in terms of the function itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from . import compiled, linear, shifts
from .implementation import COMPILED, choose

_Pair = tuple[int, int]  # for y and x
KERNELS = ("StyleganUpfirdn2D",)
Kernel = Sequence[float] | Sequence[Sequence[float]] | np.ndarray

# ----------------------------------------------------------------------------
# The general operation.


def upfirdn_2d(
    x: tf.Tensor,
    k: Kernel,
    upx: int = 1,
    upy: int = 1,
    downx: int = 1,
    downy: int = 1,
    padx0: int = 0,
    padx1: int = 0,
    pady0: int = 0,
    pady1: int = 0,
    impl: str = "auto",
) -> tf.Tensor:
    """Upsamples by inserting zeros, pads, filters, and keeps every downx-th / downy-th sample.

    Args:
        x: images `[majorDim, inH, inW, minorDim]`, any float type; minorDim must be static, and so must be the sizes
            along which it downsamples.
        k: filter `[firH, firW]`, a constant. It is convolved (not correlated) with the image.
        upx, upy: upsampling factors: each sample is followed by up - 1 zeros.
        downx, downy: downsampling factors.
        padx0, padx1, pady0, pady1: samples added before and after, counted in upsampled pixels; negative ones crop.
        impl: see `implementation`.

    Returns:
        `[majorDim, outH, outW, minorDim]` with `outH = (inH * upy + pady0 + pady1 - firH) // downy + 1`.

    Raises:
        ValueError: arguments out of range, a size that is not static, or an output without pixels.
    """
    x = tf.convert_to_tensor(x)
    k = np.asarray(k, dtype=np.float64)
    unknown = x.shape.rank != 4 or x.shape[3] is None
    if unknown or (downy > 1 and x.shape[1] is None) or (downx > 1 and x.shape[2] is None):
        raise ValueError(
            "upfirdn_2d: x must be [majorDim, inH, inW, minorDim], minorDim and the sizes along which it downsamples "
            f"static, got {x.shape}"
        )
    if k.ndim != 2 or k.size == 0:
        raise ValueError(f"upfirdn_2d: k must be a filter [firH, firW], got shape {k.shape}")
    if min(upx, upy, downx, downy) < 1:
        raise ValueError(f"upfirdn_2d: factors must be 1 or more, got up {upx}, {upy} and down {downx}, {downy}")
    return _upfirdn(x, k, (upy, upx), (downy, downx), ((pady0, pady1), (padx0, padx1)), "NHWC", impl)


def _upfirdn(
    x: tf.Tensor,
    k: np.ndarray,
    up: _Pair,
    down: _Pair,
    pads: tuple[_Pair, _Pair],
    data_format: str,
    impl: str,
) -> tf.Tensor:
    """upfirdn of either layout. k: NumPy [firH, firW]; up, down: (y, x) factors; pads: ((y0, y1), (x0, x1))."""
    impl = choose(impl, KERNELS, x.dtype, _kernel_problem(k))
    row = data_format.find("H")
    in_size = x.shape[row : row + 2]
    padded = [None if n is None else n * u + p0 + p1 for n, u, (p0, p1) in zip(in_size, up, pads, strict=True)]
    out_size = [None if n is None else (n - f) // d + 1 for n, f, d in zip(padded, k.shape, down, strict=True)]
    if any(n is not None and n < 1 for n in out_size):
        raise ValueError(f"upfirdn_2d: a filter of {k.shape} does not fit into the padded image of {tuple(padded)}")

    # Positions covered by the transposed operation, from out[i] = sum_f k[f] * padded[i * down + firSize - 1 - f].
    grad_pads = tuple(
        (f - p0 - 1, f - p1 - u if d == 1 else n * u - o * d + p0 - u + 1)
        for n, o, f, u, d, (p0, p1) in zip(in_size, out_size, k.shape, up, down, pads, strict=True)
    )
    y = linear.apply(_Upfirdn(tuple(map(tuple, k.tolist())), up, down, pads, grad_pads, data_format, impl), x)
    y.set_shape([*x.shape[:row], *out_size, *x.shape[row + 2 :]])
    return y


@dataclass(frozen=True)
class _Upfirdn:
    """upfirdn as a linear map. `grad_pads` are the pads of its adjoint, `impl` is not 'auto'."""

    k: tuple[tuple[float, ...], ...]
    up: _Pair
    down: _Pair
    pads: tuple[_Pair, _Pair]
    grad_pads: tuple[_Pair, _Pair]
    data_format: str
    impl: str

    @property
    def adjoint(self) -> "_Upfirdn":
        mirrored = tuple(row[::-1] for row in self.k[::-1])
        return _Upfirdn(mirrored, self.down, self.up, self.grad_pads, self.pads, self.data_format, self.impl)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        k = np.array(self.k)
        args = x, k, self.up, self.down, self.pads
        if self.impl in COMPILED:
            return compiled.upfirdn(*args, self.data_format)
        if self.impl == "xla" and k.size <= shifts.LARGEST_FILTER and None not in x.shape[1:]:
            return shifts.upfirdn(*args, self.data_format)
        nhwc = x if self.data_format == "NHWC" else _to_nhwc(x, self.data_format)
        return _from_nhwc(_upfirdn_ref(nhwc, *args[1:]), self.data_format)


def _kernel_problem(k: np.ndarray) -> str | None:
    """Why the compiled kernels do not take a filter."""
    return f"filters up to 32x32, got {k.shape}; impl='ref' takes every size" if max(k.shape) > 32 else None


def _upfirdn_ref(x: tf.Tensor, k: np.ndarray, up: _Pair, down: _Pair, pads: tuple[_Pair, _Pair]) -> tf.Tensor:
    height, width = (tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis] for axis in (1, 2))
    channels = x.shape[3]
    pads = [list(p) for p in pads]
    if up != (1, 1):  # by a single pad of rank 4, which LiteRT has as well: a row gets others, a pixel more channels
        x = tf.reshape(x, [-1, 1, width, channels])
        x = tf.pad(x, [[0, 0], [0, up[0] - 1], [0, 0], [0, (up[1] - 1) * channels]])
        x = tf.reshape(x, [-1, height * up[0], width * up[1], channels])  # [N, H * upy, W * upx, C]
    crop = [(max(-p0, 0), max(-p1, 0)) for p0, p1 in pads]
    (y0, y1), (x0, x1) = [(max(p0, 0), max(p1, 0)) for p0, p1 in pads]
    if any(c != (0, 0) for c in crop):
        x = tf.pad(x, [[0, 0], [y0, y1], [x0, x1], [0, 0]])  # first: what is cropped may be padding
        y0 = y1 = x0 = x1 = 0
        (top, bottom), (left, right) = crop
        x = x[:, top : -bottom or None, left : -right or None, :]
    if k.size == 1 and not (y0 or y1 or x0 or x1):
        x = x * tf.constant(k[0, 0], x.dtype)
        return x[:, :: down[0], :: down[1], :] if down != (1, 1) else x
    # Depthwise convolution strides must be equal in x and y; otherwise filter densely and pick samples afterwards.
    stride = down[0] if down[0] == down[1] else 1
    fir = np.tile(k[::-1, ::-1, np.newaxis, np.newaxis], [1, 1, channels, 1])  # [firH, firW, C, 1], for correlation
    padding = [[0, 0], [y0, y1], [x0, x1], [0, 0]]
    if stride > 1:  # explicit padding with strides is not available everywhere
        x, padding = tf.pad(x, padding), "VALID"
    x = tf.nn.depthwise_conv2d(x, tf.constant(fir, x.dtype), [1, stride, stride, 1], padding)
    return x[:, :: down[0], :: down[1], :] if stride == 1 and down != (1, 1) else x


# ----------------------------------------------------------------------------
# Resampling of images.


def filter_2d(x: tf.Tensor, k: Kernel, gain: float = 1, data_format: str = "NCHW", impl: str = "auto") -> tf.Tensor:
    """Filters images `[N, C, H, W]` or `[N, H, W, C]` with the FIR filter k, keeping their size.

    k: `[firH, firW]` or separable `[firN]`; it is normalised to sum 1, so pixels keep their scale times gain.
    """
    k = _setup_kernel(k) * gain
    p = k.shape[0] - 1
    return _simple_upfirdn(x, k, 1, 1, ((p + 1) // 2, p // 2), data_format, impl)


def upsample_2d(
    x: tf.Tensor,
    k: Kernel | None = None,
    factor: int = 2,
    gain: float = 1,
    data_format: str = "NCHW",
    impl: str = "auto",
) -> tf.Tensor:
    """Enlarges images by an integer factor, interpolating with the filter k.

    k: as in `filter_2d`; None is `[1] * factor`, nearest-neighbour. The result has factor times the height and width.
    """
    _check_factor(factor)
    k = _setup_kernel([1] * factor if k is None else k) * (gain * factor**2)
    p = k.shape[0] - factor
    pads = (p + 1) // 2 + factor - 1, p // 2
    return _simple_upfirdn(x, k, factor, 1, pads, data_format, impl)


def downsample_2d(
    x: tf.Tensor,
    k: Kernel | None = None,
    factor: int = 2,
    gain: float = 1,
    data_format: str = "NCHW",
    impl: str = "auto",
) -> tf.Tensor:
    """Reduces images by an integer factor after filtering them with k; None is `[1] * factor`, the box average."""
    _check_factor(factor)
    k = _setup_kernel([1] * factor if k is None else k) * gain
    p = k.shape[0] - factor
    return _simple_upfirdn(x, k, 1, factor, ((p + 1) // 2, p // 2), data_format, impl)


# ----------------------------------------------------------------------------
# Resampling joined with a convolution.


def upsample_conv_2d(
    x: tf.Tensor,
    w: tf.Tensor,
    k: Kernel | None = None,
    factor: int = 2,
    gain: float = 1,
    data_format: str = "NCHW",
    impl: str = "auto",
    is_mirrored: bool = False,
) -> tf.Tensor:
    """`upsample_2d()` followed by a convolution with zero padding, computed as a strided transposed convolution.

    w: weights `[convH, convW, inC, outC]`, convH = convW; what `mirrored` makes of them where `is_mirrored`. The result
    has factor times the height and width.
    """
    _check_factor(factor)
    x, w = tf.convert_to_tensor(x), tf.convert_to_tensor(w)
    size = int(w.shape[0]) if is_mirrored else _check_weight(x, w, data_format, "upsample_conv_2d")
    k = _setup_kernel([1] * factor if k is None else k) * (gain * factor**2)
    p = (k.shape[0] - factor) - (size - 1)
    x = _to_nhwc(x, data_format)
    height, width = x.shape[1:3]
    w = w if is_mirrored else mirrored(w)
    out_shape = [tf.shape(x)[0], (height - 1) * factor + size, (width - 1) * factor + size, w.shape[2]]
    x = tf.nn.conv2d_transpose(x, w, out_shape, strides=factor, padding="VALID")
    pads = ((p + 1) // 2 + factor - 1, p // 2 + 1)
    return _from_nhwc(_upfirdn(x, k, (1, 1), (1, 1), (pads, pads), "NHWC", impl), data_format)


def mirrored(w: tf.Tensor) -> tf.Tensor:
    """Weights `[convH, convW, inC, outC]` for a transposed convolution: mirrored `[convH, convW, outC, inC]`."""
    w = tf.reverse(w, [0, 1])  # slices with steps of -1 take 20 times as long
    return tf.transpose(w, [0, 1, 3, 2])  # transposed = correlation


def conv_downsample_2d(
    x: tf.Tensor,
    w: tf.Tensor,
    k: Kernel | None = None,
    factor: int = 2,
    gain: float = 1,
    data_format: str = "NCHW",
    impl: str = "auto",
) -> tf.Tensor:
    """A convolution with zero padding followed by `downsample_2d()`, computed as FIR and strided convolution."""
    _check_factor(factor)
    x, w = tf.convert_to_tensor(x), tf.convert_to_tensor(w)
    size = _check_weight(x, w, data_format, "conv_downsample_2d")
    k = _setup_kernel([1] * factor if k is None else k) * gain
    p = (k.shape[0] - factor) + (size - 1)
    pads = ((p + 1) // 2, p // 2)
    # A 1x1 convolution looks at the pixels that stay only: no others are filtered.
    down, stride = (factor, 1) if size == 1 else (1, factor)
    x = _upfirdn(_to_nhwc(x, data_format), k, (1, 1), (down, down), (pads, pads), "NHWC", impl)
    return _from_nhwc(tf.nn.conv2d(x, w, strides=stride, padding="VALID"), data_format)


# ----------------------------------------------------------------------------
# Helpers.


def _setup_kernel(k: Kernel) -> np.ndarray:
    """Makes a square filter of sum 1 from `[n]` (separable: outer product with itself) or `[n, n]`."""
    k = np.asarray(k, dtype=np.float64)
    if k.ndim == 1:
        k = np.outer(k, k)
    if k.ndim != 2 or k.shape[0] != k.shape[1] or k.size == 0:
        raise ValueError(f"resampling filter: expected shape [n] or [n, n], got {list(k.shape)}")
    total = np.sum(k)
    if not np.isfinite(total) or total == 0:
        raise ValueError("resampling filter: its values must be finite and must not sum to 0")
    return k / total


def _check_factor(factor: int) -> None:
    if isinstance(factor, bool) or not isinstance(factor, (int, np.integer)) or factor < 1:
        raise ValueError(f"resampling factor must be an integer of 1 or more, got {factor!r}")


def _check_weight(x: tf.Tensor, w: tf.Tensor, data_format: str, op: str) -> int:
    if w.shape.rank != 4 or w.shape[0] != w.shape[1]:
        raise ValueError(f"{op}: w must be [conv, conv, inC, outC] with a square kernel, got {w.shape}")
    if x.shape.rank == 4 and x.shape[data_format.find("C")] != w.shape[2]:
        raise ValueError(f"{op}: w of shape {w.shape} does not fit x of shape {x.shape} ({data_format})")
    return w.shape[0]


def _simple_upfirdn(
    x: tf.Tensor, k: np.ndarray, up: int, down: int, pads: _Pair, data_format: str, impl: str
) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    _check_images(x, data_format)
    return _upfirdn(x, k, (up, up), (down, down), (pads, pads), data_format, impl)


def _check_images(x: tf.Tensor, data_format: str) -> None:
    if data_format not in ("NCHW", "NHWC"):
        raise ValueError(f"data_format must be 'NCHW' or 'NHWC', got {data_format!r}")
    if x.shape.rank != 4 or None in x.shape[1:]:
        raise ValueError(f"expected images {list(data_format)}, all but N static, got shape {x.shape}")


def _to_nhwc(x: tf.Tensor, data_format: str) -> tf.Tensor:
    _check_images(x, data_format)
    return tf.transpose(x, [0, 2, 3, 1]) if data_format == "NCHW" else x  # [N, H, W, C]


def _from_nhwc(x: tf.Tensor, data_format: str) -> tf.Tensor:
    return tf.transpose(x, [0, 3, 1, 2]) if data_format == "NCHW" else x  # [N, C, H, W]
