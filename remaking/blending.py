"""Low layers of one network with high layers of another that was trained from it, or from which it was trained.

A level is of one network, of the other, or between them (arXiv:2010.05334). The mapping network and the average of W
are those of the network of the low levels, which see W first and decide what everything else adds to.
"""

import re

import numpy as np

from dnnlib.errors import UserError
from dnnlib.resolutions import Resolution, level_of_size, size_text
from dnnlib.tflib.checkpoints.descriptions import Networks
from dnnlib.tflib.network import Network

from .relatives import check_related, unlike

_BLOCK = re.compile(r"(?:^|/)(\d+)x\1/")
_RGB = re.compile(r"(?:^|/)(?:To|From)RGB_lod(\d+)/")
_NOISE = re.compile(r"(?:^|/)noise\d+$")


def blended(
    first: str, nets: Networks, second: str, others: Networks, at: str, width: float
) -> tuple[Networks, list[str]]:
    """The networks that two files both have, blended.

    Args:
        first, nets: name and networks of the file that low levels are of.
        second, others: of that which high levels are of.
        at: the lowest level of the second file: '32', '32x32', or '48x32' of images that are not square; twice the
            size of the images: there is none. With the lowest level of all, everything is of the second file.
        width: over how many levels one goes over into the other; 1: at once. Never so many that nothing would be left
            at an end.

    Returns:
        The networks, and lines on what is of which.

    Raises:
        UserError: networks of different kinds, with all that differs; a level that there is not.
    """
    roles = check_related(first, nets, second, others)
    resolution = nets[roles[0]].model.resolution
    weights = level_weights(resolution, at, width)
    shares = [f"{size_text(resolution.size(level))} {share:.0%}" for level, share in weights.items()]
    rest = second if _all_of_second(weights) else first
    lines = [f"of {second}: {', '.join(shares)}; mapping network and what is of no level are of {rest}"]
    if left := sorted({*nets, *others} - {*roles}):
        lines.append(f"left out, as both files do not have it: {', '.join(left)}")
    if 0 < sum(weights.values()) < len(weights):
        lines += unlike(first, nets, second, others)
    return {role: _blend(nets[role], others[role], weights) for role in roles}, lines


def level_weights(resolution: Resolution, at: str, width: float) -> dict[int, float]:
    """How much of the second network each level has, from 0 to 1, from the base up."""
    levels = resolution.levels[::-1]
    count = len(levels)
    below = _levels_below(resolution, at)
    # At both ends one network is left, so what lies between them is no wider than that leaves something of both.
    width = min(width, 2 * below, 2 * (count - below))
    offsets = np.arange(count) + 0.5 - below
    ramp = offsets > 0 if width == 0 else np.clip(offsets / width + 0.5, 0, 1)
    return {level: float(share) for level, share in zip(levels, ramp, strict=True)}


def _levels_below(resolution: Resolution, at: str) -> int:
    """How many levels lie below the one that `at` names. Raises UserError, with all levels, for one that is none."""
    sizes = [resolution.size(level) for level in resolution.levels[::-1]]
    sizes.append((resolution.height * 2, resolution.width * 2))
    names = [{size_text(size), str(1 << level)} for level, size in enumerate(sizes, resolution.first_log2)]
    for below, name in enumerate(names):
        if at.lower() in name:
            return below
    there = ", ".join(map(size_text, sizes[:-1]))
    raise UserError(
        f"--blend-at={at}: expected a level of the networks, {there}, or {size_text(sizes[-1])} for none of the second"
    )


def _all_of_second(weights: dict[int, float]) -> bool:
    return min(weights.values()) == 1


def _blend(net: Network, other: Network, weights: dict[int, float]) -> Network:
    if _all_of_second(weights):
        return other
    result = net.clone()
    for name, variable in net.vars.items():
        share = weights.get(_level_of(name, variable.shape, net), 0.0)
        if _NOISE.search(name):  # the mean of two noise images is weaker than both
            share = round(share)
        if share:
            value = other.vars[name].numpy() if share == 1 else between(variable.numpy(), other.get_var(name), share)
            result.set_var(name, value)
    return result


def between(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """a and, in the proportion `share`, b: computed in float64, so that what is equal stays as it is."""
    mean = a.astype(np.float64) * (1 - share) + b.astype(np.float64) * share
    return mean.astype(a.dtype)


def _level_of(name: str, shape: tuple[int, ...], net: Network) -> int | None:
    """The level that a variable belongs to; None: to none."""
    if block := _BLOCK.search(name):
        return int(block[1]).bit_length() - 1
    if rgb := _RGB.search(name):
        return net.model.resolution_log2 - int(rgb[1])
    return level_of_size(*shape[2:]) if _NOISE.search(name) else None
