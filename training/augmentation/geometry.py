"""Pixel blitting and geometric transformations of augmentation, as one resampling (arXiv:2006.06676, appendix B).

Transforms are gathered as inverse maps, from output to input pixels about the centre of the image. Then images are
padded by reflection as far as the maps reach, enlarged twice with a smooth wavelet filter, sampled bilinearly, and
reduced by the same filter, mirrored. So the gradient is the exact adjoint, of any order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.ops import linear
from dnnlib.tflib.ops.upfirdn_2d import upfirdn_2d

from .draws import Draws
from .matrices import product, rotate2d, scale2d, translate2d

# The low-pass filter of the wavelet sym6 (Daubechies 1992).
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
_FILTER = np.array(SYM6) / np.sum(SYM6)  # [12]
_REACH = len(SYM6) // 4  # of the filter, in pixels


# ----------------------------------------------------------------------------
# The maps.


def blit_map(draws: Draws, p: tf.Tensor, pipe: Any, height: int, width: int) -> tf.Tensor:
    """Inverse map, `[N, 3, 3]`, of pixel blitting: what moves pixels without blending them."""
    inverse = translate2d(tf.zeros([draws.size]), 0)
    if pipe.xflip > 0:
        flip = draws.uniform(pipe.xflip * p, 0.0, lambda u: tf.floor(u * 2))
        inverse = product(inverse, scale2d(1 - 2 * flip, 1))
    if pipe.rotate90 > 0:
        turns = draws.uniform(pipe.rotate90 * p, 0.0, lambda u: tf.floor(u * 4))
        inverse = product(inverse, rotate2d(turns * (math.pi / 2)))
    if pipe.xint > 0:
        shift = draws.uniform(pipe.xint * p, 0.0, lambda u: (u * 2 - 1) * pipe.xint_max, 2)
        shift = tf.round(shift * tf.constant([width, height], tf.float32))  # [N, 2]
        inverse = product(inverse, translate2d(-shift[:, 0], -shift[:, 1]))
    return inverse


def geometric_map(inverse: tf.Tensor, draws: Draws, p: tf.Tensor, pipe: Any, height: int, width: int) -> tf.Tensor:
    """`inverse`, `[N, 3, 3]`, followed by the general geometric transforms."""
    # Two rotations, of which at least one is made with probability rotate * p.
    p_rotate = 1 - tf.sqrt(tf.clip_by_value(1 - pipe.rotate * p, 0.0, 1.0))

    def angle(u: tf.Tensor) -> tf.Tensor:
        return (u * 2 - 1) * (math.pi * pipe.rotate_max)

    if pipe.scale > 0:
        factor = draws.normal(pipe.scale * p, 1.0, lambda z: 2 ** (z * pipe.scale_std))
        inverse = product(inverse, scale2d(1 / factor, 1 / factor))
    if pipe.rotate > 0:
        inverse = product(inverse, rotate2d(draws.uniform(p_rotate, 0.0, angle)))
    if pipe.aniso > 0:
        factor = draws.normal(pipe.aniso * p, 1.0, lambda z: 2 ** (z * pipe.aniso_std))
        inverse = product(inverse, scale2d(1 / factor, factor))
    if pipe.rotate > 0:
        turned = draws.uniform(p_rotate, 0.0, angle)
        if draws.percentile is None:  # else the first rotation shows the percentile
            inverse = product(inverse, rotate2d(turned))
    if pipe.xfrac > 0:
        shift = draws.normal(pipe.xfrac * p, 0.0, lambda z: z * pipe.xfrac_std, 2)
        inverse = product(inverse, translate2d(-shift[:, 0] * width, -shift[:, 1] * height))
    return inverse


# ----------------------------------------------------------------------------
# Resampling.


def resample(images: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    """Moves the pixels of images.

    Args:
        images: float32 `[N, C, H, W]`, all but N static.
        inverse: `[N, 3, 3]`, from (x, y, 1) of the output to those of the input, in pixels from the centre.

    Returns:
        `[N, C, H, W]`.
    """
    height, width = images.shape[2:]
    (x0, x1), (y0, y1) = _margins(inverse, height, width)
    x = tf.transpose(images, [0, 2, 3, 1])  # [N, H, W, C]
    x = tf.pad(x, [[0, 0], [y0, y1], [x0, x1], [0, 0]], "REFLECT")
    x.set_shape([images.shape[0], None, None, images.shape[1]])
    x = _enlarge(x)
    # The centre of the enlarged image: half the difference of the margins away from that of the image, and half an
    # enlarged pixel more, because an enlarged pixel lies on each pixel and one after it.
    inverse = product(translate2d(tf.cast(x0 - x1, tf.float32) / 2, tf.cast(y0 - y1, tf.float32) / 2), inverse)
    inverse = product(scale2d(2.0, 2.0), product(inverse, scale2d(0.5, 0.5)))
    inverse = product(product(translate2d(-0.5, -0.5), inverse), translate2d(0.5, 0.5))
    x = _sample(x, inverse, (height + 2 * _REACH) * 2, (width + 2 * _REACH) * 2)
    return tf.transpose(_reduce(x), [0, 3, 1, 2])


def _margins(inverse: tf.Tensor, height: int, width: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """How far the maps of all images reach beyond the edges: ((left, right), (top, bottom)), in pixels, int32."""
    half = ((width - 1) / 2, (height - 1) / 2)
    margins = []
    for axis, size in enumerate((width, height)):
        extent = tf.abs(inverse[:, axis, 0]) * half[0] + tf.abs(inverse[:, axis, 1]) * half[1]
        shift = inverse[:, axis, 2]
        sides = [tf.reduce_max(extent - shift), tf.reduce_max(extent + shift)]
        # Reflection gives size - 1 more pixels at most; beyond them images are 0.
        beyond = [tf.clip_by_value(side + (2 * _REACH - half[axis]), 0, size - 1) for side in sides]
        margins.append(tuple(tf.cast(tf.math.ceil(side), tf.int32) for side in beyond))
    return margins


def _enlarge(x: tf.Tensor) -> tf.Tensor:
    """`[N, H, W, C]` to `[N, 2H, 2W, C]`."""
    before, after = len(_FILTER) // 2, len(_FILTER) // 2 - 1
    x = upfirdn_2d(x, 2 * _FILTER[:, np.newaxis], upy=2, pady0=before, pady1=after)
    return upfirdn_2d(x, 2 * _FILTER[np.newaxis, :], upx=2, padx0=before, padx1=after)


def _reduce(x: tf.Tensor) -> tf.Tensor:
    """`[N, 2H + 4 * _REACH, 2W + 4 * _REACH, C]` to `[N, H, W, C]`: the adjoint of `_enlarge`, but for its gain."""
    pad = len(_FILTER) // 2 - 1 - 2 * _REACH
    mirrored = _FILTER[::-1]
    x = upfirdn_2d(x, mirrored[np.newaxis, :], downx=2, padx0=pad, padx1=pad)
    return upfirdn_2d(x, mirrored[:, np.newaxis], downy=2, pady0=pad, pady1=pad)


def _sample(x: tf.Tensor, inverse: tf.Tensor, out_height: int, out_width: int) -> tf.Tensor:
    """Bilinear samples of `[N, H, W, C]`, zeros outside, as `[N, out_height, out_width, C]`."""
    shape = tf.shape(x)
    columns = tf.range(out_width, dtype=tf.float32) - (out_width - 1) / 2
    rows = tf.range(out_height, dtype=tf.float32)[:, tf.newaxis] - (out_height - 1) / 2
    entry = inverse[:, :, :, tf.newaxis, tf.newaxis]

    def place(axis: int, size: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The two nearest pixels along an axis, and their weights, `[N, out_height, out_width]`."""
        size = tf.cast(size, tf.float32)
        at = entry[:, axis, 0] * columns + entry[:, axis, 1] * rows + (entry[:, axis, 2] + (size - 1) / 2)
        first = tf.clip_by_value(tf.floor(at), -2, size)  # further out is no integer any more
        pixels, weights = [first, first + 1], [1 - (at - first), at - first]
        inside = [(pixel >= 0) & (pixel < size) for pixel in pixels]
        weights = [tf.where(is_in, weight, 0.0) for is_in, weight in zip(inside, weights, strict=True)]
        # int64, because TensorFlow computes with int32 on the CPU even where there is a GPU.
        return [tf.cast(tf.clip_by_value(pixel, 0, size - 1), tf.int64) for pixel in pixels], weights

    (left, right), (of_left, of_right) = place(0, shape[2])
    (top, bottom), (of_top, of_bottom) = place(1, shape[1])
    count, height, width = (tf.cast(shape[k], tf.int64) for k in range(3))
    start = tf.range(count)[:, tf.newaxis, tf.newaxis] * height
    top, bottom = (start + top) * width, (start + bottom) * width
    pixels = [top + left, top + right, bottom + left, bottom + right]
    weights = [of_top * of_left, of_top * of_right, of_bottom * of_left, of_bottom * of_right]
    return linear.apply(_Gather(), x, shape, *pixels, *[weight[..., tf.newaxis] for weight in weights])


# Two linear maps, each the adjoint of the other. shape: of the images x, `[N, H, W, C]`; corners: the four pixels,
# int64 `[N, h, w]`, counted over all images, and their four weights, `[N, h, w, 1]`.


@dataclass(frozen=True)
class _Gather:
    """Weighted sums of pixels of x, `[N, h, w, C]`."""

    @property
    def adjoint(self) -> "_Scatter":
        return _Scatter()

    def __call__(self, x: tf.Tensor, shape: tf.Tensor, *corners: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(x, [-1, x.shape[3]])
        return tf.add_n([tf.gather(flat, pixel) * weight for pixel, weight in _pairs(corners)])


@dataclass(frozen=True)
class _Scatter:
    """Images that hold the sums of what goes to each pixel, `[N, H, W, C]`."""

    @property
    def adjoint(self) -> _Gather:
        return _Gather()

    def __call__(self, dy: tf.Tensor, shape: tf.Tensor, *corners: tf.Tensor) -> tf.Tensor:
        channels = dy.shape[3]
        pixels = tf.concat([tf.reshape(pixel, [-1]) for pixel, _ in _pairs(corners)], axis=0)
        values = tf.concat([tf.reshape(dy * weight, [-1, channels]) for _, weight in _pairs(corners)], axis=0)
        summed = tf.math.unsorted_segment_sum(values, pixels, tf.reduce_prod(shape[:3]))
        return tf.ensure_shape(tf.reshape(summed, shape), [None, None, None, channels])


def _pairs(corners: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, tf.Tensor]]:
    return list(zip(corners[:4], corners[4:], strict=True))
