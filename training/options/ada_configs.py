"""The training configurations of StyleGAN2-ADA by their official names, as one table (arXiv:2006.06676, appendix C).

`auto` chooses by resolution and number of GPUs; the others are those of the paper's experiments.
"""

import math
from typing import NamedTuple

from dnnlib.resolutions import Size, resolution_of
from dnnlib.util import EasyDict


class _Config(NamedTuple):
    """One row of the table."""

    minibatch: int
    minibatch_gpu: int  # images on a GPU at once
    mbstd: int  # group of the minibatch standard deviation
    fmaps: float  # feature maps, relative to config-f
    lrate: float
    gamma: float  # weight of R1 regularization
    ema_kimg: float  # half-life of the running average of the generator's weights
    ramp: float | None  # that half-life is at most this part of the images shown so far
    mapping_layers: int
    total_kimg: float = 25000
    tuned_for_cifar: bool = False  # the original architecture of D, no style mixing, no path length regularization


_TABLE = {
    "stylegan2": _Config(32, 4, 4, 1, 0.002, 10, 10, None, 8),
    "paper256": _Config(64, 8, 8, 0.5, 0.0025, 1, 20, None, 8),
    "paper512": _Config(64, 8, 8, 1, 0.0025, 0.5, 20, None, 8),
    "paper1024": _Config(32, 4, 4, 1, 0.002, 2, 10, None, 8),
    "cifar": _Config(64, 32, 32, 0.5, 0.0025, 0.01, 500, 0.05, 2, 100000, True),
    "cifarbaseline": _Config(64, 32, 32, 0.5, 0.0025, 0.01, 500, 0.05, 8, 100000),
}
ADA_CONFIGS = ("auto", *_TABLE)
"""The names of the configurations."""


def _auto(resolution: Size, num_gpus: int) -> _Config:
    """The row for a data set and a machine. Images that are not square count as the square of as many pixels."""
    height, width, _ = resolution_of(resolution)
    pixels = height * width
    at_once = max(min(4096 // math.isqrt(pixels), 32), 1)  # what fits on a GPU
    minibatch = max(min(num_gpus * at_once, 64), num_gpus)  # and keeps gradients useful
    part = minibatch // num_gpus
    part -= part % 4 if part > 4 else 0  # whole groups of the minibatch standard deviation on each GPU
    minibatch = part * num_gpus
    return _Config(
        minibatch=minibatch,
        minibatch_gpu=part,
        mbstd=min(part, 4),
        fmaps=1 if pixels >= 512**2 else 0.5,
        lrate=0.002 if pixels >= 1024**2 else 0.0025,
        gamma=0.0002 * pixels / minibatch,
        ema_kimg=minibatch * 10 / 32,
        ramp=0.05,
        mapping_layers=2,
    )


def ada_config_kwargs(name: str, resolution: Size | None = None, num_gpus: int = 1) -> EasyDict:
    """The arguments of `training_loop` in which configurations differ. Raises KeyError for an unknown name.

    resolution, num_gpus: what `auto` depends on.
    """
    row = _auto(resolution, num_gpus) if name == "auto" else _TABLE[name]
    row = row._replace(minibatch_gpu=max(min(row.minibatch_gpu, row.minibatch // num_gpus), 1))
    common = {"fmap_base": int(row.fmaps * 16384), "fmap_max": 512, "num_fp16_res": 4, "conv_clamp": 256}
    kwargs = EasyDict(
        G_args=EasyDict(func_name="training.networks.G_main", mapping_layers=row.mapping_layers, **common),
        D_args=EasyDict(func_name="training.networks.D_main", mbstd_group_size=row.mbstd, **common),
        G_opt_args=EasyDict(beta1=0.0, beta2=0.99, epsilon=1e-8),
        D_opt_args=EasyDict(beta1=0.0, beta2=0.99, epsilon=1e-8),
        G_loss_args=EasyDict(func_name="training.loss.G_logistic_ns_pathreg"),
        D_loss_args=EasyDict(func_name="training.loss.D_logistic_r1", gamma=row.gamma, random_fake_labels=True),
        sched_args=EasyDict(
            G_lrate_base=row.lrate,
            D_lrate_base=row.lrate,
            minibatch_size_base=row.minibatch,
            minibatch_gpu_base=row.minibatch_gpu,
            tick_kimg_base=4,
            tick_kimg_dict={},
        ),
        G_smoothing_kimg=row.ema_kimg,
        total_kimg=row.total_kimg,
        image_snapshot_ticks=50,
        network_snapshot_ticks=50,
    )
    if row.ramp is not None:
        kwargs.G_smoothing_rampup = row.ramp
    if row.tuned_for_cifar:
        kwargs.G_args.style_mixing_prob = None
        kwargs.D_args.architecture = "orig"
        kwargs.G_loss_args.pl_weight = 0
    return kwargs
