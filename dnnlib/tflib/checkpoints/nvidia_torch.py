"""Networks of NVIDIA's PyTorch repositories as ours: StyleGAN2-ADA, and the `stylegan2` config of StyleGAN3.

A `Generator` or `Discriminator` there becomes `training.networks.G_main` or `D_main`. Arguments are taken from the
modules themselves rather than from the arguments these were made with, whose names and defaults changed.
"""

import re
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from dnnlib.errors import short
from dnnlib.tflib.network_state import NetworkState, NetworkStateError

from .foreign_variables import (
    Stored,
    check_constant,
    convolution,
    dense,
    feature_map_arguments,
    resample_kernel_of,
    state_of,
)
from .torch_modules import TorchModule
from .untrained_variables import average_w

FILTER = "resample_filter"  # the last part of the names of resampling filters
_AVERAGE = "mapping.w_avg"
_USUAL_BETA = 0.995  # of the average of W: the default of ours, and of StyleGAN2-ADA; 0.998 in StyleGAN3


def generator_state(module: TorchModule, name: str) -> NetworkState:
    """A `Generator` as the state of a `G_main`.

    Truncation is off unless asked for, as in PyTorch.

    Raises:
        NetworkStateError: it is another network, or has what ours have not.
    """
    _check_class(module, "Generator", ("mapping", "synthesis"))
    mapping, synthesis = module.modules["mapping"], module.modules["synthesis"]
    if "input" in synthesis.modules or any(re.fullmatch(r"L\d+_\d+_\d+", key) for key in synthesis.modules):
        raise NetworkStateError(
            "this is an alias-free generator of StyleGAN3 (config stylegan3-t or stylegan3-r), which has other layers; "
            "of StyleGAN3, networks of --cfg=stylegan2 can be read"
        )
    blocks = _blocks(synthesis)
    check_constant(blocks[4].parameters.get("const"))
    layers = _parts(blocks.values(), "conv0", "conv1")
    num_layers = _same("num_layers", [mapping])
    dense_layers = _numbered(mapping, num_layers)
    kwargs = {
        "latent_size": _same("z_dim", [mapping]),
        "label_size": _same("c_dim", [mapping]),
        "dlatent_size": _same("w_dim", [mapping]),
        "mapping_layers": num_layers,
        "truncation_psi": 1,
        "resolution": max(blocks),
        "num_channels": _same("img_channels", [synthesis]),
        **feature_map_arguments({res: _rows(block.modules.get("conv1")) for res, block in blocks.items()}),
        "architecture": _same("architecture", blocks.values()),
        "nonlinearity": _same("activation", layers),
        "resample_kernel": _resample_kernel(module),
        "conv_clamp": _same("conv_clamp", [*layers, *_parts(blocks.values(), "torgb")]),
        "num_fp16_res": _fp16_blocks(blocks),
    }
    if dense_layers:  # else W is Z
        kwargs["mapping_fmaps"] = _rows(dense_layers[0])
        kwargs["mapping_lrmul"] = _same("bias_gain", dense_layers)
        kwargs["mapping_nonlinearity"] = _same("activation", dense_layers)
    beta = _same("w_avg_beta", [mapping])
    if beta != _USUAL_BETA:
        kwargs["dlatent_avg_beta"] = beta
    if "embed" in mapping.modules:
        kwargs["label_fmaps"] = _rows(mapping.modules["embed"])
    if not _same("use_noise", layers):
        kwargs["use_noise"] = False
    tensors = module.tensors()
    has_average = beta is not None or _AVERAGE in tensors
    if not has_average:
        tensors[_AVERAGE] = np.zeros([kwargs["dlatent_size"]], np.float32)
    state = state_of(name, "training.networks.G_main", kwargs, tensors, stored_in_generator, FILTER)
    if not has_average:
        print(f"{name}: has no average of W (w_avg_beta=None); truncation takes that of random Z", file=sys.stderr)
        state.variables["dlatent_avg"] = average_w(state)
    return state


def discriminator_state(module: TorchModule, name: str) -> NetworkState:
    """A `Discriminator` as the state of a `D_main`. Raises as `generator_state`."""
    _check_class(module, "Discriminator", ("b4",))
    blocks = _blocks(module)
    last = blocks.pop(4)
    if not blocks:
        raise NetworkStateError("a discriminator of 4x4 images cannot be read")
    layers = [*_parts(blocks.values(), "fromrgb", "conv0", "conv1"), *_parts([last], "conv")]
    channels = {res: _rows(block.modules.get("conv0")) for res, block in blocks.items()}
    channels[4] = _rows(last.modules.get("conv"))
    clamp = _same("conv_clamp", layers)
    kwargs = {
        "num_channels": _same("img_channels", [module]),
        "resolution": max(blocks),
        "label_size": _same("c_dim", [module]),
        **feature_map_arguments(channels),
        "architecture": _same("architecture", [*blocks.values(), last]),
        "nonlinearity": _same("activation", [*layers, *_parts([last], "fc", "fromrgb")]),
        "resample_kernel": _resample_kernel(module),
        "conv_clamp": clamp,
        "num_fp16_res": _fp16_blocks(blocks),
        "mbstd_num_features": 0,
        "freeze_layers": _frozen_layers(blocks),
    }
    if "mbstd" in last.modules:
        mbstd = last.modules["mbstd"]
        group_size = _same("group_size", [mbstd])
        if group_size is not None and not (type(group_size) is int and group_size >= 1):
            raise NetworkStateError(f"its minibatch standard deviation has groups of {short(group_size)} samples")
        kwargs["mbstd_group_size"] = group_size
        kwargs["mbstd_num_features"] = _same("num_channels", [mbstd])
    if "mapping" in module.modules:
        mapping = module.modules["mapping"]
        dense_layers = _numbered(mapping, _same("num_layers", [mapping]))
        if dense_layers and _same("activation", dense_layers) != kwargs["nonlinearity"]:
            raise NetworkStateError("its label mapping has another activation than its convolutions")
        kwargs |= {"mapping_layers": len(dense_layers), "mapping_fmaps": _same("w_dim", [mapping])}
        if dense_layers:
            kwargs["mapping_lrmul"] = _same("bias_gain", dense_layers)
    rgb_clamp = _same("conv_clamp", [last.modules["fromrgb"]]) if "fromrgb" in last.modules else clamp
    if rgb_clamp not in (None, clamp):
        raise NetworkStateError(f"FromRGB at 4x4 is clamped to {short(rgb_clamp)}, the other layers to {short(clamp)}")
    if rgb_clamp != clamp or kwargs.get("mbstd_group_size") == 1:
        kwargs["pytorch_details"] = True
    return state_of(name, "training.networks.D_main", kwargs, module.tensors(), stored_in_discriminator, FILTER)


# ----------------------------------------------------------------------------
# Names of variables.

_SYNTHESIS_LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
_DISCRIMINATOR_LAYERS = {
    **{"FromRGB": "fromrgb", "Conv0": "conv0", "Conv1_down": "conv1", "Skip": "skip"},
    **{"Conv": "conv", "Dense0": "fc"},
}


def stored_in_generator(name: str, shape: tuple[int, ...]) -> Stored:
    """How PyTorch stores a variable of a generator."""
    scope, _, leaf = name.rpartition("/")
    if name == "dlatent_avg":
        return Stored(_AVERAGE, shape)
    if leaf.startswith("noise") and leaf != "noise_strength":
        index = int(leaf.removeprefix("noise"))
        layer = "conv0" if index % 2 else "conv1"
        return Stored(f"synthesis.b{shape[-1]}.{layer}.noise_const", shape[2:])
    if leaf == "const":
        return Stored("synthesis.b4.const", shape[1:])
    if scope.startswith("G_mapping/"):
        return dense(_mapping_layer(scope.removeprefix("G_mapping/"), "Dense"), leaf, shape)
    _, block, layer = scope.split("/")
    path = f"synthesis.b{block.split('x')[0]}.{_SYNTHESIS_LAYERS[layer]}"
    if leaf == "weight":
        return convolution(f"{path}.weight", shape, up=layer == "Conv0_up")
    if leaf == "mod_weight":
        return dense(f"{path}.affine", "weight", shape)
    if leaf == "mod_bias":
        return Stored(f"{path}.affine.bias", shape, offset=1)  # 1 is added to styles there, too: to the bias
    return Stored(f"{path}.{leaf}", shape)


def stored_in_discriminator(name: str, shape: tuple[int, ...]) -> Stored:
    """How PyTorch stores a variable of a discriminator."""
    scope, _, leaf = name.rpartition("/")
    if scope == "Output":
        return dense("b4.out", leaf, shape)
    if "/" not in scope:
        return dense(_mapping_layer(scope, "Mapping"), leaf, shape)
    block, layer = scope.split("/")
    path = f"b{block.split('x')[0]}.{_DISCRIMINATOR_LAYERS[layer]}"
    if layer == "Dense0" or leaf == "bias":
        return dense(path, leaf, shape)
    return convolution(f"{path}.{leaf}", shape)


def _mapping_layer(layer: str, prefix: str) -> str:
    return "mapping.embed" if layer == "LabelEmbed" else f"mapping.fc{layer.removeprefix(prefix)}"


# ----------------------------------------------------------------------------
# Arguments.


def _check_class(module: TorchModule, expected: str, parts: Iterable[str]) -> None:
    if not all(part in module.modules for part in parts):
        raise NetworkStateError(
            f"this is a {module.class_name} of PyTorch, expected a {expected} of StyleGAN2-ADA or StyleGAN2, with "
            + " and ".join(parts)
        )


def _blocks(module: TorchModule) -> dict[int, TorchModule]:
    """The blocks of a network by resolution, from 4."""
    found = {int(key[1:]): block for key, block in module.modules.items() if re.fullmatch(r"b[1-9]\d{0,5}", key)}
    expected = [4 * 2**level for level in range(len(found))]
    if not found or sorted(found) != expected:
        raise NetworkStateError(f"it has blocks of the resolutions {sorted(found)}, expected 4, 8, 16, ...")
    return dict(sorted(found.items()))


def _parts(blocks: Iterable[TorchModule], *names: str) -> list[TorchModule]:
    """The layers of these names that the blocks have."""
    return [block.modules[name] for block in blocks for name in names if name in block.modules]


def _numbered(mapping: TorchModule, count: Any) -> list[TorchModule]:
    """The fully connected layers of a mapping network."""
    layers = [mapping.modules.get(f"fc{idx}") for idx in range(min(count, 1000))] if type(count) is int else []
    if type(count) is not int or None in layers:
        raise NetworkStateError(f"its mapping network has not the {short(count)} layers that it should have")
    return layers  # type: ignore[return-value]


def _same(attribute: str, modules: Iterable[TorchModule]) -> Any:
    """The value that an attribute has in all of some modules."""
    values = [module.get(attribute) for module in modules]
    if not values:
        raise NetworkStateError(f"it has no layers that tell the {attribute}")
    if any(type(value) not in (bool, int, float, str, type(None)) or value != values[0] for value in values):
        raise NetworkStateError(f"its layers have different values of {attribute}: {short(values, 200)}")
    return values[0]


def _rows(module: TorchModule | None) -> int:
    """How many features a layer gives."""
    weight = None if module is None else {**module.buffers, **module.parameters}.get("weight")
    if weight is None or weight.ndim == 0:
        raise NetworkStateError("one of its blocks lacks a layer or the weight of it")
    return int(weight.shape[0])


def _resample_kernel(module: TorchModule) -> list[float]:
    """The filter of up- and downsampling. Layers that do neither have one, too, which they do not use."""

    def resamples(part: TorchModule) -> bool:
        return 2 in (part.attributes.get("up"), part.attributes.get("down")) or "architecture" in part.attributes

    filters = [part.buffers.get(FILTER) for _, part in module.walk() if resamples(part)]
    return resample_kernel_of(array for array in filters if array is not None)


def _fp16_blocks(blocks: dict[int, TorchModule]) -> int:
    """How many of the highest resolutions are computed in 16 bit."""
    flags = [bool(block.get("use_fp16")) for _, block in sorted(blocks.items())]
    return _leading(flags[::-1], f"its 16-bit blocks are not the highest ones: {flags}")


def _frozen_layers(blocks: dict[int, TorchModule]) -> int:
    """How many of the first layers are not trained: these have buffers in place of parameters."""
    from_the_images = [block for _, block in sorted(blocks.items(), reverse=True)]
    layers = _parts(from_the_images, "fromrgb", "conv0", "conv1", "skip")
    return _leading(["weight" in layer.buffers for layer in layers], "its frozen layers are not the first ones")


def _leading(flags: list[bool], problem: str) -> int:
    """How many flags are set. Raises NetworkStateError where these are not the first ones."""
    if not all(flags[: sum(flags)]):
        raise NetworkStateError(problem)
    return sum(flags)
