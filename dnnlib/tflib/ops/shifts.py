"""upfirdn as a sum of shifted images: many small operations, which XLA makes one loop of.

The depthwise convolution of 'ref' is a library call for XLA, with passes over whole images for the zeros between and
around their samples.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_Pair = tuple[int, int]  # for y and x
LARGEST_FILTER = 64  # taps; each is an operation, several times if it upsamples


class _Axis(NamedTuple):
    """One axis of upfirdn.

    Output q * phases + r is made of the inputs q * step + offset of the taps of phase r, for q < length.
    """

    phases: list[list[_Pair]]  # taps of each: (position in the filter, offset of the input)
    step: int
    length: int
    before: int  # zeros that the input needs around it, for all to exist
    after: int


def upfirdn(
    x: tf.Tensor, k: np.ndarray, up: _Pair, down: _Pair, pads: tuple[_Pair, _Pair], data_format: str
) -> tf.Tensor:
    """upfirdn as in `upfirdn_2d.py`. Sums are float32 at least.

    x: `[N, H, W, C]` or `[N, C, H, W]`, all but N static; k `[firH, firW]`; factors and pads: (y, x).
    """
    row = data_format.find("H")
    sizes = x.shape[row : row + 2]
    y, x_axis = (_axis(*args) for args in zip(sizes, k.shape, up, down, pads, strict=True))
    out = [(n * u + sum(p) - f) // d + 1 for n, u, p, f, d in zip(sizes, up, pads, k.shape, down, strict=True)]  # sizes
    padding = [[0, 0]] * 4
    padding[row : row + 2] = [[y.before, y.after], [x_axis.before, x_axis.after]]
    padded = tf.pad(x, padding)
    k = k[::-1, ::-1]  # for correlation
    total = tf.float32 if x.dtype.size < 4 else x.dtype

    def taken(iy: int, ix: int) -> tf.Tensor:
        begin, end, strides = [0] * 4, [0] * 4, [1] * 4
        for axis, first, of in ((row, iy, y), (row + 1, ix, x_axis)):
            begin[axis], strides[axis] = first + of.before, of.step
            end[axis] = begin[axis] + (of.length - 1) * of.step + 1
        whole = 0b1111 ^ (0b11 << row)
        return tf.cast(tf.strided_slice(padded, begin, end, strides, begin_mask=whole, end_mask=whole), total)

    def phase(rows: list[_Pair], columns: list[_Pair]) -> tf.Tensor:
        terms = [
            taken(iy, ix) * tf.constant(k[fy, fx], total) for fy, iy in rows for fx, ix in columns if k[fy, fx] != 0
        ]
        if not terms:  # only zeros of the upsampled image meet the filter
            return tf.zeros_like(taken(-y.before, -x_axis.before))
        result = terms[0]
        for term in terms[1:]:
            result = result + term
        return result

    if len(y.phases) == len(x_axis.phases) == 1:
        return tf.cast(phase(y.phases[0], x_axis.phases[0]), x.dtype)
    parts = [tf.stack([phase(rows, columns) for columns in x_axis.phases], axis=row + 2) for rows in y.phases]
    result = tf.stack(parts, axis=row + 1)  # [N, length, phases, length, phases, C] or [N, C, length, ...]
    shape = [-1, *x.shape[1:]]
    shape[row : row + 2] = y.length * len(y.phases), x_axis.length * len(x_axis.phases)
    result = tf.cast(tf.reshape(result, shape), x.dtype)
    end = [0] * 4
    end[row : row + 2] = out
    return tf.strided_slice(result, [0] * 4, end, end_mask=0b1111 ^ (0b11 << row))


def _axis(size: int, taps: int, up: int, down: int, pads: _Pair) -> _Axis:
    # Output o reads the positions o * down + f - pads[0] of the upsampled image; those that are multiples of `up` are
    # inputs. The pattern repeats where o * down does.
    number = up // math.gcd(up, down)
    step = number * down // up
    out = (size * up + sum(pads) - taps) // down + 1
    length = -(-out // number)
    positions = [[(f, r * down + f - pads[0]) for f in range(taps)] for r in range(number)]
    phases = [[(f, p // up) for f, p in phase if p % up == 0] for phase in positions]
    offsets = [offset for phase in phases for _, offset in phase] or [0]
    before = max(-min(offsets), 0)
    after = max(max(offsets) + (length - 1) * step + 1 - size, 0)
    return _Axis(phases, step, length, before, after)
