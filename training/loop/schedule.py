"""What changes in the course of training: resolution, minibatch, learning rates, length of ticks."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib.util import EasyDict

_TICK_KIMG = {8: 28, 16: 24, 32: 20, 64: 16, 128: 12, 256: 8, 512: 6, 1024: 4}


def training_schedule(
    cur_nimg: int,
    training_set: Any,
    lod_initial_resolution: int | None = None,  # where progressive growing starts; None: it is off
    lod_training_kimg: float = 600,  # thousands of real images shown at each resolution
    lod_transition_kimg: float = 600,  # ... and while the next one fades in
    minibatch_size_base: int = 32,  # global minibatch
    minibatch_size_dict: Mapping[int, int] = {},  # exceptions by resolution
    minibatch_gpu_base: int = 4,  # samples that one device computes at once
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
