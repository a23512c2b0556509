"""What of a run's options does not fit together: found before anything is loaded."""

import math
from collections.abc import Mapping
from typing import Any

from dnnlib.errors import short
from dnnlib.resolutions import resolution_of
from dnnlib.util import EasyDict
from training.loop.schedule import minibatches, num_rounds

from .ada_configs import ADA_CONFIGS
from .configs import CONFIGS
from .loop_arguments import is_count


def check_consistency(kwargs: EasyDict, num_gpus: int, goes_on: bool = False) -> list[str]:
    """Problems of arguments that do not fit together. goes_on: whether their run does, so that not all can change."""
    problems = []
    problems += _check_sizes(kwargs)
    logical_cpus = kwargs.get("logical_cpus")
    if logical_cpus is not None and num_gpus > logical_cpus:
        problems.append(
            f"--num-gpus={num_gpus} is more than --logical-cpus={logical_cpus}; --logical-cpus={num_gpus} would do"
        )
    problems += _check_minibatches(kwargs, num_gpus, goes_on)
    problems += _check_precision(kwargs)
    return problems


def _check_sizes(kwargs: EasyDict) -> list[str]:
    """Which sizes images, and the smallest feature maps of networks, cannot have."""
    resolution = kwargs.dataset_args.get("resolution")
    if resolution is not None:
        try:
            resolution_of(resolution)
        except ValueError as error:
            return [f"--resolution: {error}"]
    problems = []
    for base in (kwargs.G_args.get("base"), kwargs.D_args.get("base")):
        if base is not None:
            try:
                resolution_of(base if resolution is None else resolution, base)
            except ValueError as error:
                problems.append(f"--base: {error}")
    return sorted({*problems})


def check_transfer(given: dict[str, Any], config: str) -> list[str]:
    """What --freezed and --resume-partial need."""
    problems = []
    if "freezed" in given and config in CONFIGS:
        problems.append(f"--freezed: {config} has no layers that can be frozen; {', '.join(ADA_CONFIGS)} have")
    if given.get("resume_changed_data"):
        problems.append("--resume-changed-data needs --resume=latest or --resume=RUN_DIR, a run to go on with")
    if given.get("resume_partial") and "resume" not in given:
        problems.append("--resume-partial needs --resume=FILE, the networks to start from")
    return problems


def _check_precision(kwargs: EasyDict) -> list[str]:
    """Which networks have 16-bit feature maps."""
    if not (kwargs.G_args.get("num_fp16_res") or kwargs.D_args.get("num_fp16_res")):
        return []
    if kwargs.D_args.get("func_name", "").endswith((".D_stylegan2", ".D_main")):
        return []
    return ["--precision: configs a to d are computed in fp32 only; 16 bit needs config-e, -f or one of StyleGAN2-ADA"]


def fit_minibatch_gpu(kwargs: EasyDict, num_replicas: int) -> list[str]:
    """Makes the pieces of minibatches smaller where so many devices cannot share these otherwise; in words, what."""
    pairs = minibatches(kwargs.sched_args)
    if not all(is_count(value) for pair in pairs.values() for value in pair):
        return []
    group = _group_size(kwargs)
    lines = []
    for resolution, (size, part) in pairs.items():
        fits = [n for n in _pieces(size, num_replicas, group) if n < part]
        if num_rounds(size, part, num_replicas) is not None or not fits:
            continue
        if resolution is None:
            kwargs.sched_args.minibatch_gpu_base = fits[-1]
        else:
            table = kwargs.sched_args.get("minibatch_gpu_dict", {})
            kwargs.sched_args.minibatch_gpu_dict = {**table, resolution: fits[-1]}
        where = f" at {resolution}x{resolution}" if resolution else ""
        also = f"; the discriminator compares images in groups of {fits[-1]}" if fits[-1] < min(group, part) else ""
        lines.append(
            f"--minibatch-gpu={fits[-1]}{where}, which was {part}: so {num_replicas} devices share the minibatch of "
            f"{size}{also}"
        )
    return lines


def _group_size(kwargs: EasyDict) -> int:
    """How many images of a piece the discriminator compares; pieces are multiples of it, or smaller."""
    group = kwargs.D_args.get("mbstd_group_size", 4)
    return group if is_count(group) else 1  # None: the whole piece


def _pieces(size: int, num_replicas: int, group: int) -> list[int]:
    """The pieces in which so many devices can share a minibatch, ascending."""
    share, rest = divmod(size, num_replicas)
    most = 0 if rest else min(share, 4096)
    return [n for n in range(1, most + 1) if share % n == 0 and (n <= group or n % group == 0)]


def _check_minibatches(kwargs: EasyDict, num_gpus: int, goes_on: bool) -> list[str]:
    """Minibatches are made of rounds of `minibatch_gpu` images on each GPU, at every resolution."""
    pairs = minibatches(kwargs.sched_args)
    bad = [value for pair in pairs.values() for value in pair if not is_count(value)]
    if bad:
        return [f"a minibatch of {short(bad[0])}: expected an integer of 1 or more"]

    group = _group_size(kwargs)
    problems = []
    wrong = {res: pair for res, pair in pairs.items() if num_rounds(*pair, num_gpus) is None}
    if wrong:
        res, (size, part) = next(iter(wrong.items()))
        where = f" at {res}x{res}" if res else ""
        works = _minibatches_that_work(pairs, num_gpus, group, goes_on)
        problems.append(
            f"the minibatch of {size}{where} (--minibatch) is not a multiple of {part * num_gpus}: "
            f"{part} images on each GPU (--minibatch-gpu) times --num-gpus={num_gpus}. What works: {works}"
        )
    for part in sorted({part for _, part in pairs.values()}):
        if part > group and part % group:
            near = [n for n in (part - part % group, part + group - part % group) if n]
            problems.append(
                f"--minibatch-gpu={part}: the discriminator compares images in groups of {group}, so expected a "
                f"multiple of {group}, such as {' or '.join(map(str, near))}, or at most {group}"
            )
    return problems


def _minibatches_that_work(
    pairs: Mapping[int | None, tuple[int, int]], num_gpus: int, group: int, goes_on: bool
) -> str:
    """The nearest values of one flag alone, in words. goes_on: of a run whose minibatch cannot change."""
    size, part = pairs[None]
    whole = math.gcd(*(size for size, _ in pairs.values()))
    options = []
    if not goes_on:
        step = math.lcm(*(part for _, part in pairs.values())) * num_gpus
        options += [f"--minibatch={n}" for n in (size - size % step, size + step - size % step) if n and size % step]
    fits = _pieces(whole, num_gpus, group)
    options += [f"--minibatch-gpu={n}" for n in sorted(fits, key=lambda n: abs(n - part))[:2]]
    if goes_on and not fits:
        near = sorted((n for n in range(1, whole + 1) if whole % n == 0), key=lambda n: abs(n - num_gpus))
        options += [f"--num-gpus={n}" for n in near[:2]]
    return ", ".join(options)
