"""Networks of StyleGAN2 of genforce's projects (genforce, sefa, higan, ...) as ours: state dicts in other names.

What a state dict does not tell has the projects' defaults: a learning-rate multiplier of the mapping network of 0.01,
no tanh after the last layer, groups of four samples.
"""

from collections.abc import Mapping
from functools import partial

from dnnlib.tflib.network_state import NetworkState, NetworkStateError

from .foreign_variables import (
    Stored,
    Tensors,
    check_constant,
    convolution,
    dense,
    feature_map_arguments,
    filters_in,
    last_number,
    level_of_block,
    resample_kernel_of,
    shape_of,
    state_of,
)

_MODULE = "training.networks_stylegan2"
_FILTER = "kernel"


def is_generator(tensors: Mapping) -> bool:
    """Whether a state dict looks like that of a generator."""
    return "synthesis.early_layer.const" in tensors and "synthesis.layer0.noise_strength" in tensors


def is_discriminator(tensors: Mapping) -> bool:
    """Whether a state dict looks like that of a discriminator."""
    return "input0.weight" in tensors and "layer0.weight" in tensors


def generator_state(tensors: Tensors, name: str) -> NetworkState:
    """A state dict of a generator as the state of a `networks_stylegan2.G_main`.

    Truncation is off unless asked for, as there.

    Raises:
        NetworkStateError: with all tensors that do not fit.
    """
    check_constant(tensors["synthesis.early_layer.const"])
    num_blocks = 1 + last_number(tensors, r"synthesis\.layer(\d+)\.weight") // 2
    mapping_layers = 1 + last_number(tensors, r"mapping\.dense(\d+)\.weight")
    hidden, joined_size = shape_of(tensors, "mapping.dense0.weight", 2)
    channels = {4 << idx: shape_of(tensors, f"synthesis.layer{2 * idx}.weight", 4)[0] for idx in range(num_blocks)}
    label_size = len(tensors["mapping.label_weight"]) if "mapping.label_weight" in tensors else 0
    kwargs = {
        "latent_size": joined_size // 2 if label_size else joined_size,
        "label_size": label_size,
        "dlatent_size": shape_of(tensors, "truncation.w_avg", 1)[0],
        "mapping_layers": mapping_layers,
        "mapping_fmaps": hidden,
        "truncation_psi": 1,
        "resolution": max(channels),
        "num_channels": shape_of(tensors, f"synthesis.output{num_blocks - 1}.bias", 1)[0],
        **feature_map_arguments(channels),
        "architecture": "skip" if "synthesis.output0.weight" in tensors else "orig",
        "resample_kernel": resample_kernel_of(filters_in(tensors, _FILTER).values()),
    }
    return state_of(name, f"{_MODULE}.G_main", kwargs, tensors, _stored_in_generator, _FILTER)


def discriminator_state(tensors: Tensors, name: str) -> NetworkState:
    """A state dict of a discriminator as the state of a `networks_stylegan2.D_stylegan2`. Raises NetworkStateError."""
    last = last_number(tensors, r"layer(\d+)\.weight")
    num_blocks = last // 2  # the last has three layers
    if num_blocks < 2:
        raise NetworkStateError("a discriminator of 4x4 images cannot be read")
    of_block = {idx: shape_of(tensors, f"layer{2 * idx}.weight", 4)[0] for idx in range(num_blocks)}
    channels = {4 << (num_blocks - 1 - idx): count for idx, count in of_block.items()}
    labels = shape_of(tensors, f"layer{last}.bias", 1)[0]
    skip_layers = "skip_layer0.weight" in tensors
    kwargs = {
        "num_channels": shape_of(tensors, "input0.weight", 4)[1],
        "resolution": max(channels),
        "label_size": labels if labels > 1 else 0,
        **feature_map_arguments(channels),
        "architecture": "resnet" if skip_layers else "skip" if "input1.weight" in tensors else "orig",
        "mbstd_group_size": 4,
        "mbstd_num_features": shape_of(tensors, f"layer{last - 2}.weight", 4)[1] - channels[4],
        "resample_kernel": resample_kernel_of(filters_in(tensors, _FILTER).values()),
    }
    stored_as = partial(_stored_in_discriminator, num_blocks)
    return state_of(name, f"{_MODULE}.D_stylegan2", kwargs, tensors, stored_as, _FILTER)


# ----------------------------------------------------------------------------
# Names of variables.


def _stored_in_generator(name: str, shape: tuple[int, ...]) -> Stored:
    scope, _, leaf = name.rpartition("/")
    if name == "dlatent_avg":
        return Stored("truncation.w_avg", shape)
    if leaf.startswith("noise") and leaf != "noise_strength":
        return Stored(f"synthesis.layer{leaf.removeprefix('noise')}.noise", shape)
    if leaf == "const":
        return Stored("synthesis.early_layer.const", shape)
    if scope == "G_mapping/LabelConcat":
        return Stored("mapping.label_weight", shape)
    if scope.startswith("G_mapping/"):
        return dense(f"mapping.dense{scope.removeprefix('G_mapping/Dense')}", leaf, shape)
    _, block, layer = scope.split("/")
    idx = level_of_block(block)
    layers = {"Conv": "layer0", "Conv0_up": f"layer{2 * idx - 1}", "Conv1": f"layer{2 * idx}", "ToRGB": f"output{idx}"}
    path = f"synthesis.{layers[layer]}"
    if leaf == "weight":
        return convolution(f"{path}.weight", shape)
    if leaf.startswith("mod_"):
        return dense(f"{path}.style", leaf.removeprefix("mod_"), shape)
    return Stored(f"{path}.{leaf}", shape)


def _stored_in_discriminator(num_blocks: int, name: str, shape: tuple[int, ...]) -> Stored:
    scope, _, leaf = name.rpartition("/")
    last = 2 * num_blocks
    if scope in ("4x4/Dense0", "Output"):
        return dense(f"layer{last - 1 if scope == '4x4/Dense0' else last}", leaf, shape)
    block, layer = scope.split("/")
    idx = num_blocks - 1 - level_of_block(block)
    path = {
        **{"FromRGB": f"input{idx}", "Conv0": f"layer{2 * idx}", "Conv1_down": f"layer{2 * idx + 1}"},
        **{"Skip": f"skip_layer{idx}", "Conv": f"layer{last - 2}"},
    }[layer]
    return convolution(f"{path}.weight", shape) if leaf == "weight" else Stored(f"{path}.{leaf}", shape)
