"""What changes while an image is projected: learning rate and exploration noise, by the share of the steps done."""

import math

import numpy as np


def learning_rate(t: float, initial: float, rampdown_length: float, rampup_length: float) -> float:
    """The learning rate at the share t of all steps: linear up, constant, then down along a cosine.

    initial: what it is in between. rampdown_length, rampup_length: as shares of all steps.
    """
    ramp = min(1.0, (1.0 - t) / rampdown_length) if rampdown_length else 1.0
    ramp = 0.5 - 0.5 * math.cos(ramp * math.pi)
    return initial * (ramp * (min(1.0, t / rampup_length) if rampup_length else 1.0))


def noise_strength(t: float, initial: float, ramp_length: float) -> float:
    """The standard deviation of the noise on W at the share t of all steps: falls to 0 along a parabola.

    initial: at the start. ramp_length: when it has become 0, as a share of all steps.
    """
    return initial * max(0.0, 1.0 - t / ramp_length) ** 2 if ramp_length else 0.0


def snapshot_steps(num_steps: int, num_snapshots: int) -> list[int]:
    """After which steps images are saved: the last, and others at equal distances before it."""
    before_last = np.linspace(0, num_steps, num_snapshots, endpoint=False, dtype=int)
    return sorted({int(num_steps - steps) for steps in before_last} - {0})
