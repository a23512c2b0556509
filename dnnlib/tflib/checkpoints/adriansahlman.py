"""Networks of adriansahlman/stylegan2_pytorch as ours: files of one network: its class, arguments and tensors.

A generator holds its mapping and synthesis networks in the same way. What its converter makes of an official network is
that network again: its own code paints other images of it, as it moves the image of each resolution by a pixel when it
enlarges it. Two parts are not in files. Noise images never are: normal numbers of a fixed seed stand for them. And its
converter leaves out the last two layers of discriminators, which are then as they were initialized.
"""

import re
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from dnnlib.errors import listed, printable, short
from dnnlib.tflib.network_state import NetworkState, NetworkStateError

from .foreign_variables import (
    Stored,
    check_constant,
    convolution,
    dense,
    feature_map_arguments,
    filters_in,
    last_number,
    level_of_block,
    random_noise,
    resample_kernel_of,
    shape_of,
    state_of,
)

_MODULE = "training.networks_stylegan2"
_FILTER = "filter_kernel"
_KEYS = {"name", "kwargs", "state_dict"}
_LRELU = re.compile(r"(lrelu|leaky|leakyrely|leaky_relu|leaky relu):?0\.20*")
_OWN_ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")  # as ours, gains too
_ONLY = {  # arguments that are no arguments of ours, with the only value that computes what ours do
    **{"weight_scale": True, "eps": 1e-8, "base_shape": [4, 4], "kernel_size": 3, "conv_block_size": 2},
    **{"fused_resample": True, "conv_resample_mode": "FIR", "skip_resample_mode": "FIR", "pad_once": True},
    **{"conv_pad_mode": "constant", "conv_pad_constant": 0, "filter_pad_mode": "constant", "filter_pad_constant": 0},
    **{"demodulate": True, "modulate_data_out": True, "noise": True},
}


def is_network(content: Any) -> bool:
    """Whether the content of a file looks like a network, or like a part of one."""
    return isinstance(content, dict) and content.keys() >= _KEYS


def generator_state(content: Mapping, name: str) -> NetworkState:
    """A `Generator` as the state of a `networks_stylegan2.G_main`.

    Truncation is off unless asked for, as there.

    Raises:
        NetworkStateError: it computes what ours do not; or with all tensors that do not fit.
    """
    own_kwargs, tensors = _part(content, "the generator")
    parts = {"mapping": _part(content.get("G_mapping"), "G_mapping")}
    parts["synthesis"] = _part(content.get("G_synthesis"), "G_synthesis")
    mapping_kwargs, kwargs = parts["mapping"][0], parts["synthesis"][0]
    _check(mapping_kwargs | {"lr_mul": 1}, kwargs)
    if kwargs.get("resnet", False):
        raise NetworkStateError(
            "it is residual (resnet), and its converter writes generators without skip connections as residual ones, "
            "with random numbers in what they lack; give the pickle of TensorFlow that it was made of"
        )
    tensors = {key: tensor for key, tensor in tensors.items() if key != "layer_psi"}  # a truncation that is not loaded
    for part, (_, its_tensors) in parts.items():
        tensors |= {f"{part}.{key}": tensor for key, tensor in its_tensors.items() if key != "upsample.weight"}
    check_constant(tensors.get("synthesis.const"))
    last_block = last_number(tensors, r"synthesis\.conv_blocks\.(\d+)\.conv_block\.0\.bias")
    last_layer = last_number(tensors, r"mapping\.main\.(\d+)\.layer\.weight")
    hidden, joined_size = shape_of(tensors, "mapping.main.0.layer.weight", 2)
    label_size = len(tensors["mapping.embedding.weight"]) if "mapping.embedding.weight" in tensors else 0
    channels = {
        4 << idx: shape_of(tensors, f"synthesis.conv_blocks.{idx}.conv_block.{min(idx, 1)}.bias", 1)[0]
        for idx in range(last_block + 1)
    }
    if max(channels) <= 1024:
        tensors |= {f"noise{idx}": image for idx, image in enumerate(random_noise(2 * last_block + 1))}
    kwargs = {
        "latent_size": joined_size // 2 if label_size else joined_size,
        "label_size": label_size,
        "dlatent_size": shape_of(tensors, f"mapping.main.{last_layer}.layer.weight", 2)[0],
        "mapping_layers": last_layer + 1,
        "mapping_fmaps": hidden,
        "mapping_lrmul": mapping_kwargs.get("lr_mul", 0.01),
        "mapping_nonlinearity": _activation(mapping_kwargs),
        "normalize_latents": bool(mapping_kwargs.get("normalize_input", True)),
        "truncation_psi": 1,
        "resolution": max(channels),
        "num_channels": shape_of(tensors, f"synthesis.to_data_layers.{last_block}.bias", 1)[0],
        **feature_map_arguments(channels),
        "architecture": "skip" if kwargs.get("skip", True) else "orig",
        "nonlinearity": _activation(kwargs),
        "resample_kernel": resample_kernel_of(filters_in(tensors, _FILTER).values()),
    }
    if own_kwargs.get("dlatent_avg_beta", 0.995) != 0.995:
        kwargs["dlatent_avg_beta"] = own_kwargs["dlatent_avg_beta"]
    return state_of(name, f"{_MODULE}.G_main", kwargs, tensors, _stored_in_generator, _FILTER)


def discriminator_state(content: Mapping, name: str) -> NetworkState:
    """A `Discriminator` as the state of a `networks_stylegan2.D_stylegan2`. Raises as `generator_state`."""
    kwargs, tensors = _part(content, "the discriminator")
    _check(kwargs)
    is_residual, has_skips = kwargs.get("resnet", True), kwargs.get("skip", False)
    if is_residual and has_skips:
        raise NetworkStateError("it has both residual blocks (resnet) and skip connections (skip)")
    num_blocks = last_number(tensors, r"conv_blocks\.(\d+)\.conv_block\.0\.bias") + 1  # besides that of 4x4
    group_size = kwargs.get("mbstd_group_size", 4) or 0
    if type(group_size) is not int or group_size == 1:
        raise NetworkStateError(f"its minibatch standard deviation has groups of {short(group_size)} samples")
    last = f"conv_blocks.{num_blocks}.{int(group_size != 0)}.conv_block.0"
    channels = {4: shape_of(tensors, f"{last}.bias", 1)[0]}
    for idx in range(num_blocks):
        channels[4 << (num_blocks - idx)] = shape_of(tensors, f"conv_blocks.{idx}.conv_block.0.bias", 1)[0]
    outputs = shape_of(tensors, "dense.1.bias", 1)[0]
    network_kwargs = {
        "num_channels": shape_of(tensors, "from_data_layers.0.layer.weight", 4)[1],
        "resolution": max(channels),
        "label_size": outputs if outputs > 1 else 0,
        **feature_map_arguments(channels),
        "architecture": "resnet" if is_residual else "skip" if has_skips else "orig",
        "nonlinearity": _activation(kwargs),
        "mbstd_group_size": None if group_size < 0 else group_size,
        "mbstd_num_features": int(group_size != 0),
        "resample_kernel": resample_kernel_of(filters_in(tensors, _FILTER).values()),
    }
    tensors = {key: tensor for key, tensor in tensors.items() if key != "downsample.weight"}
    stored_as = partial(_stored_in_discriminator, num_blocks, last)
    state = state_of(name, f"{_MODULE}.D_stylegan2", network_kwargs, tensors, stored_as, _FILTER)
    if not any(np.any(state.variables[f"{layer}/bias"]) for layer in ("4x4/Dense0", "Output")):
        print(f"{name}: its last two layers are untrained, as this project's converter leaves them", file=sys.stderr)
    return state


# ----------------------------------------------------------------------------
# What files hold.


def _part(content: Any, what: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Arguments and tensors of a network or of a part of one."""
    kwargs, tensors = (content.get("kwargs"), content.get("state_dict")) if is_network(content) else (None, None)
    if not isinstance(kwargs, dict) or not isinstance(tensors, dict):
        raise NetworkStateError(f"{what} is not there with its kwargs and state_dict")
    if not all(isinstance(key, str) and isinstance(tensor, np.ndarray) for key, tensor in tensors.items()):
        raise NetworkStateError(f"the state_dict of {what} holds something else than tensors")
    arrays = [key for key, value in kwargs.items() if isinstance(value, (np.ndarray, np.generic))]
    return {key: value.tolist() if key in arrays else value for key, value in kwargs.items()}, tensors


def _check(*all_kwargs: Mapping) -> None:
    """Raises NetworkStateError for arguments with which a network computes what none of ours does."""
    problems = []
    for kwargs in all_kwargs:
        for key, value in kwargs.items():
            only = 1 if key == "lr_mul" else _ONLY.get(key, value)
            if (list(value) if isinstance(value, tuple) else value) != only:
                problems.append(f"{printable(str(key))}={short(value)} (only {only} can be read)")
    if problems:
        raise NetworkStateError(f"it computes what networks here do not: {', '.join(listed(problems, 8))}")


def _activation(kwargs: Mapping) -> str:
    """Ours of this name and slope."""
    activation = kwargs.get("activation", "lrelu:0.2")
    activation = "linear" if activation is None else activation
    if isinstance(activation, str) and _LRELU.fullmatch(activation.lower()):
        return "lrelu"
    if activation in _OWN_ACTIVATIONS:
        return str(activation)
    raise NetworkStateError(
        f"its activation is {short(activation)}, expected lrelu:0.2 or {', '.join(_OWN_ACTIVATIONS)}"
    )


# ----------------------------------------------------------------------------
# Names of variables.


def _stored_in_generator(name: str, shape: tuple[int, ...]) -> Stored:
    scope, _, leaf = name.rpartition("/")
    if name == "dlatent_avg":
        return Stored(name, shape)
    if leaf.startswith("noise") and leaf != "noise_strength":
        return Stored(leaf, shape)
    if leaf == "const":
        return Stored("synthesis.const", shape[1:])
    if scope == "G_mapping/LabelConcat":
        return Stored("mapping.embedding.weight", shape)
    if scope.startswith("G_mapping/"):
        return _layer(f"mapping.main.{scope.removeprefix('G_mapping/Dense')}", leaf, shape)
    _, block, layer = scope.split("/")
    idx = level_of_block(block)
    is_rgb = layer == "ToRGB"
    path = (
        f"synthesis.to_data_layers.{idx}" if is_rgb else f"synthesis.conv_blocks.{idx}.conv_block.{layer == 'Conv1':d}"
    )
    if leaf == "bias":
        return Stored(f"{path}.bias", shape)
    if leaf == "noise_strength":
        return Stored(f"{path}.layer.weight", (1,))
    inner = f"{path}.layer" if is_rgb else f"{path}.layer.layer"
    if leaf == "mod_bias":
        return Stored(f"{inner}.dense.bias", shape, offset=1)
    if leaf == "mod_weight":
        return dense(f"{inner}.dense.layer", "weight", shape)
    return convolution(f"{inner}.weight", shape, up=layer == "Conv0_up")


def _stored_in_discriminator(num_blocks: int, last: str, name: str, shape: tuple[int, ...]) -> Stored:
    scope, _, leaf = name.rpartition("/")
    if scope in ("4x4/Dense0", "Output"):
        return _layer(f"dense.{0 if scope == '4x4/Dense0' else 1}", leaf, shape)
    block, layer = scope.split("/")
    idx = num_blocks - level_of_block(block)
    if layer == "Skip":
        return convolution(f"conv_blocks.{idx}.projection.weight", shape)
    path = {
        "FromRGB": f"from_data_layers.{idx}",
        "Conv0": f"conv_blocks.{idx}.conv_block.0",
        "Conv1_down": f"conv_blocks.{idx}.conv_block.1",
        "Conv": last,
    }[layer]
    return convolution(f"{path}.layer.weight", shape) if leaf == "weight" else Stored(f"{path}.bias", shape)


def _layer(path: str, leaf: str, shape: tuple[int, ...]) -> Stored:
    """The 'weight' or 'bias' of a fully connected layer that is wrapped in its bias and activation."""
    return dense(f"{path}.layer" if leaf == "weight" else path, leaf, shape)
