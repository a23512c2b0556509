"""Networks for images of twice the size, which at first are the old images enlarged.

* Generators with output skips: the last images are enlarged by the network's filter, and the new layer adds nothing.
* Generators of the architecture 'orig' become such ones: their layers are the same but for ToRGB, which 'skip' has at
  each level. Through new layers, which normalise and bend what goes through, no image could pass unchanged.
* Residual generators hand their feature maps on through the new `Skip`, enlarged by the filter. So that all pass, there
  are as many at the new level; the other branch is zero. It does not stay nearly zero, as it is normalised.
* Growing ones are set to the level of detail at which they are as before: pixels are repeated.

Discriminators give at first the scores of images that are reduced by the same filter (growing ones: by averages of 2x2
pixels): the new layers, with pairs of opposite signs whose sum is linear, hand images on unchanged, but for the last,
which does what FromRGB did.
"""

from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.resolutions import Resolution, resolution_of
from dnnlib.tflib.network import Network

from .copies import assign, coef_of, is_generator, remade

_SLOPES = {"lrelu": 0.2, "relu": 0.0, "linear": 1.0}


def grown(net: Network) -> tuple[Network, str]:
    """A network for images of twice the height and width, and a line on what it does. Raises UserError."""
    if "lod" in (net.components["synthesis"] if is_generator(net) else net).vars:
        return _grown_by_lod(net)
    architecture = net.model.G_synthesis.architecture if is_generator(net) else net.model.architecture
    if not is_generator(net):
        return _discriminator(net, architecture)
    return _residual_generator(net) if architecture == "resnet" else _skip_generator(net, architecture)


def sized(resolution: Resolution, height: int, width: int) -> dict[str, Any]:
    """Arguments of a network for another size with the same base."""
    base = list(resolution.base)
    found = resolution_of([height, width], base)
    return {"resolution": found.argument, "base": None if resolution_of([height, width]).base == found.base else base}


def block(level: int) -> str:
    """'32x32'."""
    return f"{2**level}x{2**level}"


def _twice(net: Network) -> dict[str, Any]:
    resolution = net.model.resolution
    return sized(resolution, resolution.height * 2, resolution.width * 2)


def _filter(net: Network) -> str:
    kernel = net.build_kwargs.get("resample_kernel", [1, 3, 3, 1])
    return "repeated pixels" if kernel is None else f"the filter {list(kernel)}"


def _grown_by_lod(net: Network) -> tuple[Network, str]:
    """A growing network, at the level of detail at which the new level has no effect."""
    is_fixed = net.build_kwargs.get("structure") == "fixed"
    new = remade(net, levels_move=True, **_twice(net), **({"structure": "auto"} if is_fixed else {}))
    lod = 1 + (0.0 if is_fixed else float(net.get_var("lod")))
    assign(new, {name: lod for name in new.vars if name.split("/")[-1] == "lod"})
    for name in net.vars:
        head, found, tail = name.partition("RGB_lod")
        if found:
            level, rest = tail.split("/")
            assign(new, {f"{head}RGB_lod{int(level) + 1}/{rest}": net.get_var(name)})
    what = "images with repeated pixels" if is_generator(net) else "scores of averages of 2x2 pixels"
    return new, f"{what}, at level of detail {lod:g}"


def _skip_generator(net: Network, architecture: str) -> tuple[Network, str]:
    """A generator whose image is the sum of those of all levels."""
    resolution = net.model.resolution
    new = remade(net, **_twice(net), architecture="skip")
    silent = [resolution.log2 + 1, *(resolution.levels[1:] if architecture == "orig" else [])]
    for level in silent:
        assign(new, {f"G_synthesis/{block(level)}/ToRGB/{name}": 0 for name in ("weight", "bias")})
    instead = "; of architecture orig it becomes skip, which lets images through" if architecture == "orig" else ""
    return new, f"images enlarged by {_filter(net)}{instead}"


def _residual_generator(net: Network) -> tuple[Network, str]:
    """A generator of residual blocks, of which the new one lets all feature maps through."""
    level = net.model.resolution.log2
    top, last = (f"G_synthesis/{block(one)}" for one in (level + 1, level))
    count = int(net.vars[f"{last}/Conv1/bias"].shape[0])
    kwargs = _twice(net)
    new = remade(net, **kwargs)
    widened = int(new.vars[f"{top}/Conv1/bias"].shape[0]) < count
    if widened:
        new = remade(net, **kwargs, fmap_min=count)
    if int(new.vars[f"{top}/Conv1/bias"].shape[0]) != count:
        raise UserError(f"{net.name}: has more feature maps at {block(level + 1)}, which residual generators cannot")
    skip = f"{top}/Skip/weight"
    assign(new, {skip: np.eye(count) * (2**0.5 / coef_of(new, skip)), f"{top}/Conv1/weight": 0})
    for name in ("weight", "mod_weight", "mod_bias", "bias"):
        assign(new, {f"{top}/ToRGB/{name}": net.get_var(f"{last}/ToRGB/{name}")})
    wider = f"; with fmap_min={count}, so that all feature maps pass" if widened else ""
    later = "; the first steps of training change them, as the new layers normalise what they add"
    return new, f"images enlarged by {_filter(net)}{wider}{later}"


def _discriminator(net: Network, architecture: str) -> tuple[Network, str]:
    level = net.model.resolution.log2
    new = remade(net, **_twice(net))
    top, last = block(level + 1), block(level)
    done = f"scores of images reduced by {_filter(net)}"
    if architecture == "skip":
        assign(new, {f"{top}/Conv1_down/{name}": 0 for name in ("weight", "bias")})
        return new, done
    channels = net.input_shape[1]
    fmaps = int(new.vars[f"{top}/Conv0/bias"].shape[0])
    act = net.model.nonlinearity
    if act not in _SLOPES or fmaps < 2 * channels:
        why = f"through {act}" if act not in _SLOPES else f"through {fmaps} feature maps"
        return new, f"new layers are random, as {channels} channels do not pass {why}: scores are others at first"
    pairs = np.arange(2 * channels)
    signs = np.where(pairs % 2, -1.0, 1.0)
    gain = 1.0 if act == "linear" else 2**0.5
    unbend = 1 / (gain * (1 + _SLOPES[act]))  # of the difference of a pair
    rgb, conv, down = (f"{top}/{name}" for name in ("FromRGB", "Conv0", "Conv1_down"))
    # FromRGB: each channel and its negative.
    weight = new.get_var(f"{rgb}/weight")
    weight[:, :, :, pairs] = 0
    weight[0, 0, pairs // 2, pairs] = signs / coef_of(new, f"{rgb}/weight")
    bias = new.get_var(f"{rgb}/bias")
    bias[pairs] = 0
    assign(new, {f"{rgb}/weight": weight, f"{rgb}/bias": bias})
    # Conv0: the same of what the pairs hold.
    weight, bias = new.get_var(f"{conv}/weight"), new.get_var(f"{conv}/bias")
    weight[:, :, :, pairs] = 0
    same_channel = pairs[:, np.newaxis] // 2 == pairs // 2
    through = np.where(same_channel, np.outer(signs, signs), 0) * (unbend / coef_of(new, f"{conv}/weight"))
    weight[1, 1, : len(pairs), : len(pairs)] = through
    bias[pairs] = 0
    assign(new, {f"{conv}/weight": weight, f"{conv}/bias": bias})
    # Conv1_down: what FromRGB made of channels.
    scale = 2**0.5 if architecture == "resnet" else 1.0  # as the sum of both branches is divided by it
    old = f"{last}/FromRGB"
    effect = net.get_var(f"{old}/weight")[0, 0] * coef_of(net, f"{old}/weight") * (unbend * scale)  # [C, fmaps]
    weight = np.zeros(new.vars[f"{down}/weight"].shape)
    weight[1, 1, : len(pairs)] = effect[pairs // 2] * signs[:, np.newaxis] / coef_of(new, f"{down}/weight")
    assign(new, {f"{down}/weight": weight, f"{down}/bias": net.get_var(f"{old}/bias") * scale})
    if architecture == "resnet":
        assign(new, {f"{top}/Skip/weight": 0})
    return new, done
