"""Which networks the layout of rosinality/stylegan2-pytorch can hold, and which classes there load them.

The layout, names and shapes of tensors, is that of config f, whatever the numbers. The classes there know fewer numbers
than it can hold; what is to be changed in them for others is said.
"""

from collections.abc import Mapping
from typing import Any

from dnnlib.resolutions import size_text
from dnnlib.tflib import official_modules
from dnnlib.tflib.exports.comparing import compute, largest_difference, limit_of
from dnnlib.tflib.network import Network

from ..foreign_variables import taps_of
from . import layout, reading

_KERNEL = [1, 3, 3, 1]
_MULTIPLIERS = (2, 1)  # the first is what its classes have by default


def arguments_of(net: Network) -> dict[str, Any]:
    """All arguments of a network, also those that it has by default."""
    return official_modules.defaults_of(net) | net.build_kwargs


def problems_of(net: Network) -> list[str]:
    """What the layout cannot hold of a network."""
    name = class_name = type(net.model).__name__
    known = class_name in layout.IMPLIED and official_modules.module_of(type(net.model)) is not None
    args = arguments_of(net) if known else {}
    if args.get("synthesis_func") == "G_synthesis_stylegan_revised":
        name, known = args["synthesis_func"], False
    if not known:
        return [f"{name}: the layout has networks of StyleGAN2, configs e and f, and of StyleGAN2-ADA"]
    problems = layout.contradictions(class_name, args)
    resolution = net.model.resolution
    if not resolution.is_square or resolution.base != (4, 4):
        base = size_text(resolution.base)
        problems.append(f"resolution {resolution} (base {base}): the layout has squares that begin with 4x4")
    problems += (_of_generator if class_name == "G_main" else _of_discriminator)(net, args)
    return problems or _of_clamping(net, args)


def _of_generator(net: Network, args: Mapping[str, Any]) -> list[str]:
    problems = []
    z, w, inner = args["latent_size"], args["dlatent_size"], args["mapping_fmaps"]
    if z != w:
        problems.append(f"latent_size={z}, dlatent_size={w}: Z and W are of one size in the layout")
    if not args["mapping_layers"]:
        problems.append("mapping_layers=0: the mapping network has a layer or more in the layout")
    if inner not in (None, w) and args["mapping_layers"] > 1:
        problems.append(f"mapping_fmaps={inner}, dlatent_size={w}: the mapping network is as wide as W in the layout")
    if args["fmap_const"] not in (None, net.find_var(_first(net, "Conv/weight")).shape[-1]):
        problems.append(f"fmap_const={args['fmap_const']}: the constant has the feature maps of 4x4 in the layout")
    return problems


def _of_discriminator(net: Network, args: Mapping[str, Any]) -> list[str]:
    *_, in_fmaps, fmaps = net.find_var(_first(net, "Conv/weight")).shape
    if in_fmaps == fmaps:
        group, features = args["mbstd_group_size"], args["mbstd_num_features"]
        given = f"mbstd_group_size={group}, mbstd_num_features={features}"
        return [f"{given}: the layout has a standard deviation of the minibatch"]
    return []


def _of_clamping(net: Network, args: Mapping[str, Any]) -> list[str]:
    """The layout clamps nothing, which changes nothing where no feature map gets as far."""
    if args["conv_clamp"] is None:
        return []
    clamped = compute(net)
    difference = largest_difference(clamped, compute(net, conv_clamp=None))
    if difference <= limit_of(clamped):
        return []
    return [f"conv_clamp={args['conv_clamp']}: the layout does not clamp, which changes this by {difference:.2g}"]


def _first(net: Network, layer: str) -> str:
    """The name of a variable of the first block."""
    size = 1 << net.model.resolution.first_log2
    scope = "" if "images_in" in net.input_names else "G_synthesis/"
    return f"{scope}{size}x{size}/{layer}"


# ----------------------------------------------------------------------------
# The classes.


def describe(role: str, key: str, args: Mapping[str, Any], tensors: Mapping[str, Any]) -> list[str]:
    """Lines on how the classes there load a network: what they are to be called with, and what is to be changed.

    Args:
        role: 'G', 'D', 'Gs'.
        key: under which it is in the file.
        args: its arguments.
        tensors: its state dict, of what has shapes.
    """
    sizes = reading.discriminator_sizes(tensors) if role == "D" else reading.generator_sizes(tensors)
    call: dict[str, Any] = {"size": max(sizes.channels)}
    changes = []
    if role != "D":
        call |= {"style_dim": sizes.style_dim, "n_mlp": sizes.mapping_layers}
    multiplier = next((m for m in _MULTIPLIERS if sizes.channels == _channels(m, max(sizes.channels))), None)
    if multiplier is not None:
        call["channel_multiplier"] = multiplier
    else:
        changes.append(f"channels = {sizes.channels}, as no channel_multiplier gives these")
    if taps_of(args["resample_kernel"]) != _KERNEL:
        call["blur_kernel"] = taps_of(args["resample_kernel"])
    if role != "D" and args["mapping_lrmul"] != reading.LR_MLP:
        call["lr_mlp"] = args["mapping_lrmul"]
    changes += _changes_of_discriminator(sizes, args) if role == "D" else _changes_of_generator(sizes, args)
    text = ", ".join(f"{name}={value}" for name, value in call.items())
    lines = [f"{key} is of {'Discriminator' if role == 'D' else 'Generator'}({text})"]
    if args["conv_clamp"] is not None:
        lines.append(f"conv_clamp={args['conv_clamp']} is left out, as it changes nothing that was compared")
    return lines + [f"to be changed in the class: {change}" for change in changes]


def _channels(multiplier: int, size: int) -> dict[int, int]:
    """The feature maps that the classes know."""
    sizes = [4 << level for level in range(9) if 4 << level <= size]
    return {res: 512 if res <= 32 else (16 << 10) // res * multiplier for res in sizes}


def _changes_of_generator(sizes: reading.GeneratorSizes, args: Mapping[str, Any]) -> list[str]:
    changes = []
    if sizes.num_channels != 3:
        changes.append(f"ToRGB makes {sizes.num_channels} channels in place of 3")
    if len(taps_of(args["resample_kernel"])) != len(_KERNEL):
        changes.append("each ToRGB is given blur_kernel")
    return changes


def _changes_of_discriminator(sizes: reading.DiscriminatorSizes, args: Mapping[str, Any]) -> list[str]:
    changes = []
    if sizes.num_channels != 3:
        changes.append(f"the first ConvLayer takes {sizes.num_channels} channels in place of 3")
    if len(taps_of(args["resample_kernel"])) != len(_KERNEL):
        changes.append("ResBlock gives blur_kernel to its ConvLayers")
    group = args["mbstd_group_size"]
    if group != reading.MBSTD_GROUP_SIZE:
        changes.append(f"stddev_group = {'the minibatch' if group is None else group}")
    if sizes.mbstd != 1:
        changes.append(f"stddev_feat = {sizes.mbstd}, and final_conv takes in_channel + {sizes.mbstd}")
    if sizes.last != sizes.channels[4]:
        changes.append(f"final_linear has {sizes.last} features in place of channels[4]")
    return changes
