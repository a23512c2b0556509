"""Whether a program that was written computes what the network does."""

from collections.abc import Callable, Mapping

import numpy as np

from .comparing import VerificationError, largest_difference, limit_of
from .programs import Program

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""What computes the output of a program for inputs by name."""
LEAST_DECIBELS = 45.0
"""Of float16 weights: the least ratio of the range of what is computed to the differences, rms."""
MOST_RMS = 0.02
"""Of int8 weights: the largest difference, rms, of images in [-1, 1]."""


def compared(program: Program, run: Run) -> list[str]:
    """What a program that runs elsewhere computes, compared with the network itself. Returns lines on it.

    Numbers may differ by `comparing.TOLERANCE`, levels of uint8 by one. Raises VerificationError.
    """
    pairs = [(before, run(inputs)) for inputs, before in program.examples]
    if program.is_uint8:
        return [_compared_levels(program.output, *_joined(pairs))]
    difference = max(largest_difference(before, after) for before, after in pairs)
    limit = max(limit_of(before) for before, _ in pairs)
    line = f"{program.output} differs by {difference:.2g} at most (tolerance {limit:.2g})"
    return [_proved(line, difference <= limit)]


def compared_weights(program: Program, run: Run) -> list[str]:
    """The same of a program whose weights are not float32: how near it is on the whole. Raises VerificationError."""
    before, after = _joined([(before, run(inputs)) for inputs, before in program.examples])
    if program.options.weights == "int8":
        rms = rms_of(before, after) / (127.5 if program.is_uint8 else 1)
        line = f"int8 weights: {rms:.3g} rms from float32, of images in [-1, 1] (at most {MOST_RMS:g})"
        return [_proved(line, rms <= MOST_RMS, "float16 is nearer")]
    decibels = decibels_of(before, after, 255 if program.is_uint8 else 2)
    line = f"float16 weights: {decibels:.1f} dB from float32 (at least {LEAST_DECIBELS:g})"
    return [_proved(line, decibels >= LEAST_DECIBELS, "float32 is exact")]


def rms_of(before: np.ndarray, after: np.ndarray) -> float:
    """The root of the mean square of differences."""
    return float(np.sqrt(np.mean(np.square(np.asarray(before, np.float64) - after))))


def decibels_of(before: np.ndarray, after: np.ndarray, least_range: float) -> float:
    """The peak signal-to-noise ratio of two arrays. The peak is the range of the first, or `least_range` if larger."""
    before = np.asarray(before, np.float64)
    error = rms_of(before, after)
    peak = max(float(np.ptp(before)), least_range)
    return float(20 * np.log10(peak / error)) if error else np.inf


def _joined(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    befores, afters = zip(*pairs, strict=True)
    if any(before.shape != after.shape for before, after in pairs):
        shapes = [(before.shape, after.shape) for before, after in pairs]
        raise VerificationError(f"shapes differ: {shapes}")
    return np.concatenate(befores), np.concatenate(afters)


def _compared_levels(output: str, before: np.ndarray, after: np.ndarray) -> str:
    difference = np.abs(before.astype(np.int16) - after).max(axis=-1)  # [N, H, W]
    count, most = np.count_nonzero(difference), difference.max()
    line = f"{output}: {count} of {difference.size} pixels differ, by {most} of 255 levels at most (tolerance 1)"
    return _proved(line, most <= 1)


def _proved(line: str, holds: bool, better: str = "") -> str:
    if not holds:
        raise VerificationError(f"{line}; {better}" if better else line)
    return line
