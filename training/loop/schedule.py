"""What changes in the course of training: resolution, minibatch, learning rates, length of ticks.

Resolutions are counted in levels, as everywhere: that of images which are not square, in tables and in what is
reported, is the side of the square of their level (`dnnlib.resolutions`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib.util import EasyDict

MINIBATCH_SIZE = 32
MINIBATCH_GPU = 4
_TICK_KIMG = {8: 28, 16: 24, 32: 20, 64: 16, 128: 12, 256: 8, 512: 6, 1024: 4}


def training_schedule(
    cur_nimg: int,
    training_set: Any,
    lod_initial_resolution: int | None = None,  # where progressive growing starts; None: it is off
    lod_training_kimg: float = 600,  # thousands of real images shown at each resolution
    lod_transition_kimg: float = 600,  # ... and while the next one fades in
    minibatch_size_base: int = MINIBATCH_SIZE,  # global minibatch
    minibatch_size_dict: Mapping[int, int] = {},  # exceptions by resolution
    minibatch_gpu_base: int = MINIBATCH_GPU,  # samples that one device computes at once
    minibatch_gpu_dict: Mapping[int, int] = {},
    G_lrate_base: float = 0.002,
    G_lrate_dict: Mapping[int, float] = {},
    D_lrate_base: float = 0.002,
    D_lrate_dict: Mapping[int, float] = {},
    lrate_rampup_kimg: float = 0,  # learning rates rise linearly to their values for so long
    tick_kimg_base: float = 4,  # thousands of images from one progress report to the next
    tick_kimg_dict: Mapping[int, float] = _TICK_KIMG,
) -> EasyDict:
    """The settings after `cur_nimg` real images.

    Returns:
        kimg, lod (level of detail: 0 is the full resolution, 1.5 half-way between 1/2 and 1/4), resolution,
        minibatch_size, minibatch_gpu, G_lrate, D_lrate, tick_kimg.
    """
    s = EasyDict(kimg=cur_nimg / 1000.0)
    s.lod = _level_of_detail(
        s.kimg, training_set.resolution_log2, lod_initial_resolution, lod_training_kimg, lod_transition_kimg
    )
    s.resolution = 2 ** (training_set.resolution_log2 - int(np.floor(s.lod)))
    s.minibatch_size = minibatch_size_dict.get(s.resolution, minibatch_size_base)
    s.minibatch_gpu = minibatch_gpu_dict.get(s.resolution, minibatch_gpu_base)
    s.G_lrate = G_lrate_dict.get(s.resolution, G_lrate_base)
    s.D_lrate = D_lrate_dict.get(s.resolution, D_lrate_base)
    if lrate_rampup_kimg > 0:
        rampup = min(s.kimg / lrate_rampup_kimg, 1.0)
        s.G_lrate *= rampup
        s.D_lrate *= rampup
    s.tick_kimg = tick_kimg_dict.get(s.resolution, tick_kimg_base)
    return s


def growing_from(sched_args: Mapping[str, Any], first_log2: int) -> dict[str, Any]:
    """The arguments for networks whose base is of a level: growing starts there, if that is more than is asked for."""
    start = sched_args.get("lod_initial_resolution")
    return {**sched_args} if start is None else {**sched_args, "lod_initial_resolution": max(start, 1 << first_log2)}


def _level_of_detail(
    kimg: float, resolution_log2: int, initial_resolution: int | None, training_kimg: float, transition_kimg: float
) -> float:
    if initial_resolution is None:
        return 0.0
    phase_dur = training_kimg + transition_kimg
    phase_idx = int(np.floor(kimg / phase_dur)) if phase_dur > 0 else 0
    phase_kimg = kimg - phase_idx * phase_dur
    lod = float(resolution_log2) - np.floor(np.log2(initial_resolution)) - phase_idx
    if transition_kimg > 0:
        lod -= max(phase_kimg - training_kimg, 0.0) / transition_kimg
    return max(float(lod), 0.0)


def minibatches(sched_args: Mapping[str, Any]) -> dict[int | None, tuple[int, int]]:
    """The global minibatch and how much of it one device computes at once, by resolution; None: at all others."""
    sizes, parts = sched_args.get("minibatch_size_dict", {}), sched_args.get("minibatch_gpu_dict", {})
    size = sched_args.get("minibatch_size_base", MINIBATCH_SIZE)
    part = sched_args.get("minibatch_gpu_base", MINIBATCH_GPU)
    exceptions = sorted({*sizes, *parts})
    return {None: (size, part)} | {res: (sizes.get(res, size), parts.get(res, part)) for res in exceptions}


def num_rounds(minibatch_size: int, minibatch_gpu: int, num_replicas: int) -> int | None:
    """In how many rounds, each of one piece on every replica, a minibatch is computed; None: it cannot be divided."""
    rounds, rest = divmod(minibatch_size, minibatch_gpu * num_replicas)
    return None if rest else rounds
