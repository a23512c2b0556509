"""Networks of rosinality/stylegan2-pytorch as ours: its state dicts of a generator or discriminator of StyleGAN2.

They are config f (or e, with half the feature maps) in other names. Everything about them follows from the shapes of
their tensors, but for two things. The learning-rate multiplier of the mapping network is 0.01, its default. The average
of W is in converted files only: else it is computed as that project does before it truncates, from 4096 latents. Files
of its first weeks have no noise images: normal numbers of a fixed seed stand for them. Files that were written here
(`writing`) say the rest in an entry of their own (`notes`).
"""

import re
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dnnlib.errors import reason_of
from dnnlib.tflib.network_state import NetworkState, NetworkStateError

from ..foreign_variables import (
    Stored,
    StoredAs,
    Tensors,
    check_constant,
    convolution,
    dense,
    feature_map_arguments,
    filters_in,
    level_of_block,
    random_noise,
    resample_kernel_of,
    shape_of,
    state_of,
)
from ..untrained_variables import average_w
from . import notes

_MODULE = "training.networks_stylegan2"
_FILTER = "kernel"  # the last part of the names of resampling filters
LR_MLP = 0.01  # what that project's classes have by default
MBSTD_GROUP_SIZE = 4
_MOST_LAYERS = 28  # of each kind: those of 65536x65536 images


def is_generator(tensors: Mapping) -> bool:
    """Whether a state dict looks like that of a generator."""
    return "input.input" in tensors and "conv1.conv.weight" in tensors


def is_discriminator(tensors: Mapping) -> bool:
    """Whether a state dict looks like that of a discriminator."""
    return "final_conv.0.weight" in tensors and "final_linear.0.weight" in tensors


class GeneratorSizes(NamedTuple):
    """What the shapes of a generator's tensors tell. channels: feature maps by resolution, from 4."""

    style_dim: int
    mapping_layers: int
    channels: dict[int, int]
    num_channels: int


def generator_sizes(tensors: Mapping[str, Any]) -> GeneratorSizes:
    """The sizes of a generator. tensors: what has shapes, by name. Raises NetworkStateError."""
    mapping_layers = _count(tensors, r"style\.(\d+)\.weight", first=1)
    num_convs = _count(tensors, r"convs\.(\d+)\.conv\.weight")
    style_dim = shape_of(tensors, "style.1.weight", 2)[1]
    channels = {4: shape_of(tensors, "conv1.conv.weight", 5)[1]}
    for idx in range(num_convs // 2):
        channels[8 << idx] = shape_of(tensors, f"convs.{2 * idx + 1}.conv.weight", 5)[1]
    return GeneratorSizes(style_dim, mapping_layers, channels, shape_of(tensors, "to_rgb1.bias", 4)[1])


class DiscriminatorSizes(NamedTuple):
    """The same of a discriminator. last: features of its last layer but one. mbstd: maps of standard deviations."""

    channels: dict[int, int]
    num_channels: int
    last: int
    mbstd: int


def discriminator_sizes(tensors: Mapping[str, Any]) -> DiscriminatorSizes:
    """The sizes of a discriminator. tensors: what has shapes, by name. Raises NetworkStateError."""
    num_blocks = _count(tensors, r"convs\.(\d+)\.conv1\.0\.weight", first=1)
    out_fmaps, num_channels = shape_of(tensors, "convs.0.0.weight", 4)[:2]
    channels = {4 << num_blocks: out_fmaps}
    for idx in range(num_blocks):
        channels[4 << (num_blocks - 1 - idx)] = shape_of(tensors, f"convs.{idx + 1}.conv2.1.weight", 4)[0]
    last = shape_of(tensors, "final_linear.0.weight", 2)[0]
    return DiscriminatorSizes(
        channels, num_channels, last, shape_of(tensors, "final_conv.0.weight", 4)[1] - channels[4]
    )


def generator_state(
    tensors: Tensors, name: str, latent_avg: np.ndarray | None = None, entry: Any = None
) -> NetworkState:
    """A state dict of a generator as the state of a `networks_stylegan2.G_main`, or of what the file says it is.

    Truncation is off unless asked for, as there, or the file says otherwise.

    Args:
        tensors: by name.
        name: of the network.
        latent_avg: the average of W, `[512]` or `[1, 512]`; None: that of the entry, or it is computed.
        entry: of `notes` in the file; None: it has none.

    Raises:
        NetworkStateError: with all tensors that do not fit.
    """
    check_constant(tensors["input.input"])
    sizes = generator_sizes(tensors)
    channels = sizes.channels
    if latent_avg is None:
        latent_avg = notes.average_in(entry, name, sizes.style_dim)
    average = np.zeros([sizes.style_dim], np.float32) if latent_avg is None else _row(latent_avg)
    tensors = {**tensors, "latent_avg": average}
    state = _noted(entry, name, tensors, _stored_in_generator)
    if state is None:
        kwargs = {
            "latent_size": sizes.style_dim,
            "dlatent_size": sizes.style_dim,
            "mapping_layers": sizes.mapping_layers,
            "mapping_fmaps": sizes.style_dim,
            "mapping_lrmul": LR_MLP,
            "truncation_psi": 1,
            "resolution": max(channels),
            "num_channels": sizes.num_channels,
            **feature_map_arguments(channels),
            "architecture": "skip",
            "resample_kernel": resample_kernel_of(filters_in(tensors, _FILTER).values()),
        }
        if max(channels) <= 1024 and not any(key.startswith("noises.") for key in tensors):
            images = random_noise(2 * len(channels) - 1)
            tensors |= {f"noises.noise_{idx}": image for idx, image in enumerate(images)}
        state = state_of(name, f"{_MODULE}.G_main", kwargs, tensors, _stored_in_generator, _FILTER)
    if latent_avg is None:
        state.variables["dlatent_avg"] = average_w(state)
    return state


def discriminator_state(tensors: Tensors, name: str, entry: Any = None) -> NetworkState:
    """A state dict of a discriminator as the state of a `networks_stylegan2.D_stylegan2`. See `generator_state`."""
    sizes = discriminator_sizes(tensors)
    stored = stored_as("D", len(sizes.channels) - 1)
    state = _noted(entry, name, tensors, stored)
    if state is not None:
        return state
    kwargs = {
        "num_channels": sizes.num_channels,
        "resolution": max(sizes.channels),
        **feature_map_arguments({2: sizes.last, **sizes.channels}),
        "architecture": "resnet",
        "mbstd_group_size": MBSTD_GROUP_SIZE,
        "mbstd_num_features": sizes.mbstd,
        "resample_kernel": resample_kernel_of(filters_in(tensors, _FILTER).values()),
    }
    return state_of(name, f"{_MODULE}.D_stylegan2", kwargs, tensors, stored, _FILTER)


def _row(latent_avg: np.ndarray) -> np.ndarray:
    return latent_avg.reshape(-1) if latent_avg.ndim == 2 and len(latent_avg) == 1 else latent_avg


def _noted(entry: Any, name: str, tensors: Tensors, stored: StoredAs) -> NetworkState | None:
    """The state of a network that the file describes; None where it does not, with a line on stderr if that is odd."""
    if entry is None:
        return None
    try:
        note = notes.read(entry, name)
        return None if note is None else note.described(tensors, stored, _FILTER)
    except (TypeError, ValueError, ArithmeticError, MemoryError) as error:
        reason = reason_of(error)
        print(
            f"{name}: left out is its description in the file, which does not fit the tensors: {reason}",
            file=sys.stderr,
        )
        return None


# ----------------------------------------------------------------------------
# Names of variables.


def stored_as(role: str, num_blocks: int) -> StoredAs:
    """How a file stores the variables of a network: 'G', 'D', 'Gs'. num_blocks: how many follow that of 4x4."""
    return partial(_stored_in_discriminator, num_blocks) if role == "D" else _stored_in_generator


def filter_names(role: str, num_blocks: int) -> list[str]:
    """The names of the resampling filters in a network's state dict. See `stored_as`."""
    levels = range(1, num_blocks + 1)
    if role == "D":
        return [f"convs.{level}.{layer}.0.{_FILTER}" for level in levels for layer in ("conv2", "skip")]
    convs = [f"convs.{2 * level - 2}.conv.blur.{_FILTER}" for level in levels]
    return convs + [f"to_rgbs.{level - 1}.upsample.{_FILTER}" for level in levels]


def _stored_in_generator(name: str, shape: tuple[int, ...]) -> Stored | None:
    scope, _, leaf = name.rpartition("/")
    if name == "dlatent_avg":
        return Stored("latent_avg", shape)
    if re.fullmatch(r"noise\d+", leaf):
        return Stored(f"noises.noise_{leaf.removeprefix('noise')}", shape)
    if leaf == "const":
        return Stored("input.input", shape)
    if scope.startswith("G_mapping/Dense"):
        return dense(f"style.{int(scope.removeprefix('G_mapping/Dense')) + 1}", leaf, shape)
    block = re.fullmatch(r"G_synthesis/(\d+x\d+)/(\w+)", scope)
    if block is None:
        return None
    level, layer = level_of_block(block[1]), block[2]
    path = {
        "Conv": "conv1",
        "Conv0_up": f"convs.{2 * level - 2}",
        "Conv1": f"convs.{2 * level - 1}",
        "ToRGB": f"to_rgbs.{level - 1}" if level else "to_rgb1",
    }.get(layer)
    if path is None:
        return None
    if leaf == "weight":
        return convolution(f"{path}.conv.weight", shape, up=layer == "Conv0_up", batched=True)
    if leaf == "mod_weight":
        return dense(f"{path}.conv.modulation", "weight", shape)
    if leaf == "mod_bias":
        return Stored(f"{path}.conv.modulation.bias", shape, offset=1)
    if leaf == "noise_strength":
        return Stored(f"{path}.noise.weight", (1,))
    return Stored(f"{path}.bias", (1, *shape, 1, 1)) if layer == "ToRGB" else Stored(f"{path}.activate.bias", shape)


def _stored_in_discriminator(num_blocks: int, name: str, shape: tuple[int, ...]) -> Stored | None:
    scope, _, leaf = name.rpartition("/")
    if scope in ("4x4/Dense0", "Output"):
        return dense(f"final_linear.{0 if scope == '4x4/Dense0' else 1}", leaf, shape)
    block = re.fullmatch(r"(\d+x\d+)/(\w+)", scope)
    if block is None:
        return None
    index = num_blocks + 1 - level_of_block(block[1])
    path, first = {  # the number of the convolution; the next is that of the activation, which has the bias
        "FromRGB": ("convs.0", 0),
        "Conv0": (f"convs.{index}.conv1", 0),
        "Conv1_down": (f"convs.{index}.conv2", 1),
        "Skip": (f"convs.{index}.skip", 1),
        "Conv": ("final_conv", 0),
    }.get(block[2], (None, 0))
    if path is None:
        return None
    if leaf == "weight":
        return convolution(f"{path}.{first}.weight", shape)
    return Stored(f"{path}.{first + 1}.bias", shape)


# ----------------------------------------------------------------------------
# What follows from tensors.


def _count(tensors: Tensors, pattern: str, first: int = 0) -> int:
    """How many names there are of a numbered kind, from the first number on."""
    found = {int(match[1]) for key in tensors if (match := re.fullmatch(pattern, key)) and len(match[1]) < 6}
    count = 0
    while first + count in found:
        count += 1
    if count > _MOST_LAYERS:
        raise NetworkStateError(f"it has {count} layers of the kind {pattern}, expected {_MOST_LAYERS} or fewer")
    return count
