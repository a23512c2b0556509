"""Networks of rosinality/stylegan2-pytorch as ours: its state dicts of a generator or discriminator of StyleGAN2.

They are config f (or e, with half the feature maps) in other names. Everything about them follows from the shapes of
their tensors, but for two things. The learning-rate multiplier of the mapping network is 0.01, its default. The average
of W is in converted files only: else it is computed as that project does before it truncates, from 4096 latents. Files
of its first weeks have no noise images: normal numbers of a fixed seed stand for them.
"""

import re
from collections.abc import Mapping
from functools import partial

import numpy as np

from dnnlib.tflib.network_state import NetworkState, NetworkStateError

from .foreign_variables import (
    Stored,
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
from .untrained_variables import average_w

_MODULE = "training.networks_stylegan2"
_FILTER = "kernel"
_MOST_LAYERS = 28  # of each kind: those of 65536x65536 images


def is_generator(tensors: Mapping) -> bool:
    """Whether a state dict looks like that of a generator."""
    return "input.input" in tensors and "conv1.conv.weight" in tensors


def is_discriminator(tensors: Mapping) -> bool:
    """Whether a state dict looks like that of a discriminator."""
    return "final_conv.0.weight" in tensors and "final_linear.0.weight" in tensors


def generator_state(tensors: Tensors, name: str, latent_avg: np.ndarray | None = None) -> NetworkState:
    """A state dict of a generator as the state of a `networks_stylegan2.G_main`.

    Truncation is off unless asked for, as there.

    Args:
        tensors: by name.
        name: of the network.
        latent_avg: the average of W, `[512]` or `[1, 512]`; None: it is computed.

    Raises:
        NetworkStateError: with all tensors that do not fit.
    """
    check_constant(tensors["input.input"])
    mapping_layers = _count(tensors, r"style\.(\d+)\.weight", first=1)
    num_convs = _count(tensors, r"convs\.(\d+)\.conv\.weight")
    dlatent_size = shape_of(tensors, "style.1.weight", 2)[1]
    channels = {4: shape_of(tensors, "conv1.conv.weight", 5)[1]}
    for idx in range(num_convs // 2):
        channels[8 << idx] = shape_of(tensors, f"convs.{2 * idx + 1}.conv.weight", 5)[1]
    kwargs = {
        "latent_size": dlatent_size,
        "dlatent_size": dlatent_size,
        "mapping_layers": mapping_layers,
        "mapping_fmaps": dlatent_size,
        "mapping_lrmul": 0.01,
        "truncation_psi": 1,
        "resolution": max(channels),
        "num_channels": shape_of(tensors, "to_rgb1.bias", 4)[1],
        **feature_map_arguments(channels),
        "architecture": "skip",
        "resample_kernel": resample_kernel_of(filters_in(tensors, _FILTER).values()),
    }
    tensors = dict(tensors)
    if max(channels) <= 1024 and not any(key.startswith("noises.") for key in tensors):
        tensors |= {f"noises.noise_{idx}": image for idx, image in enumerate(random_noise(2 * len(channels) - 1))}
    if latent_avg is not None:
        tensors["latent_avg"] = latent_avg.reshape(-1) if latent_avg.ndim == 2 and len(latent_avg) == 1 else latent_avg
    else:
        tensors["latent_avg"] = np.zeros([dlatent_size], np.float32)
    state = state_of(name, f"{_MODULE}.G_main", kwargs, tensors, _stored_in_generator, _FILTER)
    if latent_avg is None:
        state.variables["dlatent_avg"] = average_w(state)
    return state


def discriminator_state(tensors: Tensors, name: str) -> NetworkState:
    """A state dict of a discriminator as the state of a `networks_stylegan2.D_stylegan2`. Raises NetworkStateError."""
    num_blocks = _count(tensors, r"convs\.(\d+)\.conv1\.0\.weight", first=1)
    out_fmaps, num_channels = shape_of(tensors, "convs.0.0.weight", 4)[:2]
    channels = {4 << num_blocks: out_fmaps}
    for idx in range(num_blocks):
        channels[4 << (num_blocks - 1 - idx)] = shape_of(tensors, f"convs.{idx + 1}.conv2.1.weight", 4)[0]
    kwargs = {
        "num_channels": num_channels,
        "resolution": max(channels),
        **feature_map_arguments(channels),
        "architecture": "resnet",
        "mbstd_group_size": 4,
        "mbstd_num_features": shape_of(tensors, "final_conv.0.weight", 4)[1] - channels[4],
        "resample_kernel": resample_kernel_of(filters_in(tensors, _FILTER).values()),
    }
    stored_as = partial(_stored_in_discriminator, num_blocks)
    return state_of(name, f"{_MODULE}.D_stylegan2", kwargs, tensors, stored_as, _FILTER)


# ----------------------------------------------------------------------------
# Names of variables.


def _stored_in_generator(name: str, shape: tuple[int, ...]) -> Stored:
    scope, _, leaf = name.rpartition("/")
    if name == "dlatent_avg":
        return Stored("latent_avg", shape)
    if leaf.startswith("noise") and leaf != "noise_strength":
        return Stored(f"noises.noise_{leaf.removeprefix('noise')}", shape)
    if leaf == "const":
        return Stored("input.input", shape)
    if scope.startswith("G_mapping/"):
        return dense(f"style.{int(scope.removeprefix('G_mapping/Dense')) + 1}", leaf, shape)
    _, block, layer = scope.split("/")
    level = level_of_block(block)
    path = {
        "Conv": "conv1",
        "Conv0_up": f"convs.{2 * level - 2}",
        "Conv1": f"convs.{2 * level - 1}",
        "ToRGB": f"to_rgbs.{level - 1}" if level else "to_rgb1",
    }[layer]
    if leaf == "weight":
        return convolution(f"{path}.conv.weight", shape, up=layer == "Conv0_up", batched=True)
    if leaf == "mod_weight":
        return dense(f"{path}.conv.modulation", "weight", shape)
    if leaf == "mod_bias":
        return Stored(f"{path}.conv.modulation.bias", shape, offset=1)
    if leaf == "noise_strength":
        return Stored(f"{path}.noise.weight", (1,))
    return Stored(f"{path}.bias", (1, *shape, 1, 1)) if layer == "ToRGB" else Stored(f"{path}.activate.bias", shape)


def _stored_in_discriminator(num_blocks: int, name: str, shape: tuple[int, ...]) -> Stored:
    scope, _, leaf = name.rpartition("/")
    if scope in ("4x4/Dense0", "Output"):
        return dense(f"final_linear.{0 if scope == '4x4/Dense0' else 1}", leaf, shape)
    block, layer = scope.split("/")
    index = num_blocks + 1 - level_of_block(block)
    path, first = {  # the number of the convolution; the next is that of the activation, which has the bias
        "FromRGB": ("convs.0", 0),
        "Conv0": (f"convs.{index}.conv1", 0),
        "Conv1_down": (f"convs.{index}.conv2", 1),
        "Skip": (f"convs.{index}.skip", 1),
        "Conv": ("final_conv", 0),
    }[layer]
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
