"""Image-space filtering of augmentation: four frequency bands, amplified at random (arXiv:2006.06676, appendix B)."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from .draws import Draws

# The low-pass filter of the wavelet sym2 (Daubechies 1992).
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
NUM_BANDS = 4
BAND_POWER = np.array([10, 1, 1, 1], np.float32) / 13  # of the bands of natural images, which fall as 1/f


@functools.cache
def filter_bank() -> np.ndarray:
    """The filters of the bands, low frequencies first, `[4, 43]`; they add up to the identity."""
    low = np.array(SYM2)
    high = low * (-1.0) ** np.arange(len(low))
    low, high = (np.convolve(f, f[::-1]) / 2 for f in (low, high))  # [7], without phase
    bank = np.eye(NUM_BANDS, 1)
    for band in range(1, NUM_BANDS):  # each step halves the frequencies of what is there and adds a band above
        spread = np.zeros([NUM_BANDS, 2 * bank.shape[1] - 1])
        spread[:, ::2] = bank
        bank = np.stack([np.convolve(f, low) for f in spread])
        middle = bank.shape[1] // 2
        bank[band, middle - 3 : middle + 4] += high
    return bank.astype(np.float32)


@functools.cache
def _matrices(size: int) -> np.ndarray:
    """The filters as matrices, `[4, size, size]`, that multiply a column of pixels, continued by reflection."""
    bank = filter_bank()
    taps = bank.shape[1]
    at = np.arange(size)[:, np.newaxis] + np.arange(taps) - taps // 2
    at = np.abs(at)
    at = np.where(at > size - 1, 2 * (size - 1) - at, at)  # [size, taps]
    matrices = np.zeros([NUM_BANDS, size, size], np.float32)
    for band, matrix in enumerate(matrices):
        np.add.at(matrix, (np.arange(size)[:, np.newaxis], at), bank[band])
    return matrices


def gains(draws: Draws, p: tf.Tensor, pipe: Any) -> tf.Tensor:
    """Amplification of the bands, `[N, 4]`; each change keeps the power that is expected of a natural image."""
    result = tf.ones([draws.size, NUM_BANDS])
    for band, strength in enumerate(pipe.imgfilter_bands):
        gain = draws.normal(pipe.imgfilter * p * strength, 1.0, lambda z: 2 ** (z * pipe.imgfilter_std))
        if strength == 0:  # left out, even of percentiles
            gain = tf.ones_like(gain)
        changed = tf.stack([gain if other == band else tf.ones_like(gain) for other in range(NUM_BANDS)], axis=1)
        power = tf.reduce_sum(tf.square(changed) * BAND_POWER, axis=1, keepdims=True)
        result *= changed * tf.math.rsqrt(power)
    return result


def check_size(height: int, width: int) -> None:
    """Raises ValueError for images that are too small to be filtered: they are mirrored at their borders once."""
    reach = filter_bank().shape[1] // 2
    if min(height, width) <= reach:
        least = f"imgfilter needs images of {reach + 1}x{reach + 1} pixels or more"
        raise ValueError(f"{least}, got {height}x{width}; --augpipe=bgc does without it")


def apply_gains(images: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
    """Filters images along both axes.

    Multiplication by a matrix for each image and axis: filters that differ between images would need one convolution
    each. (On GPUs with TensorFloat-32, TensorFlow rounds the inputs to 10 bits unless that is switched off.)

    Args:
        images: float32 `[N, C, H, W]`, all but N static, H and W above 21 pixels.
        gains: `[N, 4]`, of the bands.

    Returns:
        `[N, C, H, W]`.
    """
    height, width = images.shape[2:]
    check_size(height, width)

    def matrix(size: int) -> tf.Tensor:
        return tf.tensordot(gains, _matrices(size), axes=1)[:, tf.newaxis]  # [N, 1, size, size]

    return tf.matmul(tf.matmul(matrix(height), images), matrix(width), transpose_b=True)
