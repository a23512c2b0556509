"""Weights of trained networks for images of another shape, or with other channels.

Networks of the same levels (`dnnlib.resolutions`) have the same layers, whatever the shape of their images. What
differs in size is cut or continued around its middle: the learned constant by the values of its edges, noise images by
those of the new network, and the weights of D for the last feature maps by zeros.

Colours that come from a gray network are gray. Alpha begins opaque everywhere, and D does not look at it yet. So images
and scores are at first those of the trained networks.
"""

import itertools
import re
from typing import Any

import numpy as np

from dnnlib.resolutions import Resolution, level_of_size, size_text

_CHANNELS = {(1, 3): "gray to RGB", (1, 4): "gray to RGBA", (3, 4): "RGB to RGBA"}


def fitted(net: Any, source: Any) -> tuple[dict[str, np.ndarray], list[str]]:
    """Variables of a trained network that fit a new one once they are changed, and what was done, in words.

    Those that fit as they are, or cannot be made to, are left out.
    """
    fit = {**_of_shape(net, source), **_of_channels(net, source)}
    fit = {name: (value, done) for name, (value, done) in fit.items() if value.shape == tuple(net.vars[name].shape)}
    return {name: value for name, (value, _) in fit.items()}, list(dict.fromkeys(done for _, done in fit.values()))


def other_base(net: Any, source: Any) -> str | None:
    """In words, where layers of the same name are others, as the networks begin at other levels; and what would fit."""
    new, old = _resolutions(net, source)
    if new is None or old is None or new.first_log2 == old.first_log2:
        return None
    here, there = (f"{size_text(one.base)} (level {one.first_log2})" for one in (new, old))
    times = old.log2 - old.first_log2
    sides = range(1, 4 << old.first_log2)
    bases = [base for base in itertools.product(sides, sides) if level_of_size(*base) == old.first_log2]

    def off(base: tuple[int, int]) -> float:
        ratios = [(side << times) / wanted for side, wanted in zip(base, new[:2], strict=True)]
        return max(max(ratio, 1 / ratio) for ratio in ratios)

    height, width = base = min(bases, key=off)
    fits = size_text((height << times, width << times))
    return f"begins with {here} here, with {there} in the file; what begins like that is {fits}, base {size_text(base)}"


_Fit = dict[str, tuple[np.ndarray, str]]


def _resolutions(net: Any, source: Any) -> tuple[Resolution | None, Resolution | None]:
    """Those of two networks; None for one that is not of images."""
    new, old = (getattr(one.model, "resolution", None) for one in (net, source))
    return new, old


def _differing(net: Any, source: Any) -> list[str]:
    shapes = {name: tuple(variable.shape) for name, variable in source.vars.items()}
    return [name for name, variable in net.vars.items() if shapes.get(name, ()) not in ((), tuple(variable.shape))]


def _of_shape(net: Any, source: Any) -> _Fit:
    """The constant, noise images and the last dense layer for another base of the same level."""
    new, old = _resolutions(net, source)
    if new is None or old is None or new.first_log2 != old.first_log2:  # names are of other layers
        return {}
    fit = {}
    sizes = f"{size_text(old.base)} to {size_text(new.base)}"
    starts = [(given - size) // 2 for given, size in zip(old.base, new.base, strict=True)]
    for name in _differing(net, source):
        value = source.vars[name].numpy()
        if re.search(r"(^|/)noise\d+$", name):
            times = value.shape[2] // old.base[0]
            noise = _in_middle(value, net.get_var(name), [start * times for start in starts])
            fit[name] = noise, "noise images in other proportions, cut or with new noise around them"
        elif name.endswith("/Const/const"):
            fit[name] = _continued(value, new.base, starts), f"constant {sizes}, cut or continued as at its edges"
        elif name.endswith("/Dense0/weight") and value.shape[0] % np.prod(old.base) == 0:
            maps = np.moveaxis(value.reshape(-1, *old.base, value.shape[1]), 3, 1)  # [C, out, h, w]
            maps = _in_middle(maps, np.zeros((*maps.shape[:2], *new.base), value.dtype), starts)
            weight = np.moveaxis(maps, 1, 3).reshape(-1, value.shape[1]) * _change_of_scale(net, source, name)
            fit[name] = weight.astype(value.dtype), f"rows of {name} {sizes}, cut or continued with zeros"
    return fit


def _of_channels(net: Any, source: Any) -> _Fit:
    """The layers that make images of feature maps, and feature maps of images."""
    shapes = "output_shape" if len(net.output_shape) == 4 else "input_shape"
    pair = tuple(getattr(one, shapes)[1] for one in (source, net))
    if pair not in _CHANNELS:
        return {}
    fit = {}
    for name in _differing(net, source):
        value = source.vars[name].numpy()
        if name.endswith("/weight") and "FromRGB" in name and value.shape[2] == pair[0]:
            gray = np.repeat(value / 3, 3, axis=2) if pair[0] == 1 else value
            weight = np.pad(gray, [(0, 0), (0, 0), (0, pair[1] - 3), (0, 0)]) * _change_of_scale(net, source, name)
            fit[name] = weight.astype(value.dtype), f"FromRGB {_CHANNELS[pair]}, with the same scores"
        elif "ToRGB" in name and name.endswith(("/weight", "/bias")) and value.shape[-1] == pair[0]:
            colours = np.repeat(value, 3, axis=-1) if pair[0] == 1 else value
            alpha = np.full((*value.shape[:-1], pair[1] - 3), _opaque(net, name), value.dtype)
            done = f"ToRGB {_CHANNELS[pair]}, with the same images" + (", opaque" if pair[1] == 4 else "")
            fit[name] = np.concatenate([colours, alpha], axis=-1), done
    return fit


def _opaque(net: Any, name: str) -> float:
    """What a variable of ToRGB adds to alpha: 1 by the bias of the last layer, or of each whose images stand alone."""
    side = 2**net.model.resolution_log2
    return float(name.endswith("/bias") and ("ToRGB_lod" in name or f"{side}x{side}/" in name))


def _change_of_scale(net: Any, source: Any, name: str) -> float:
    """What weights are multiplied by to have the same effect in a layer of more inputs (equalized learning rate)."""
    coefs = []
    for one in (source, net):
        layer = one.model
        for part in name.split("/")[:-1]:
            layer = getattr(layer, part)
        coefs.append(layer.runtime_coef)
    return coefs[0] / coefs[1]


def _continued(const: np.ndarray, base: tuple[int, int], starts: list[int]) -> np.ndarray:
    """A constant `[1, C, h, w]` of another size. starts: what of it comes first, as `_in_middle` has it."""
    for axis, size, start in zip((2, 3), base, starts, strict=True):
        const = np.take(const, np.arange(start, start + size), axis, mode="clip")
    return const


def _in_middle(images: np.ndarray, on: np.ndarray, starts: list[int]) -> np.ndarray:
    """Images laid on others, `[..., H, W]`.

    starts: rows and columns of the images that are at the first row and column of the others; negative where they
    begin later.
    """
    result = on.copy()
    (y, top), (x, left) = ((max(start, 0), max(-start, 0)) for start in starts)
    middle = images[..., y : y + on.shape[-2] - top, x : x + on.shape[-1] - left]
    result[..., top : top + middle.shape[-2], left : left + middle.shape[-1]] = middle
    return result
