"""Whether networks are of one kind, so that their variables can be mixed, and how near their W are."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib.errors import UserError, counted, enumerated, listed, short
from dnnlib.resolutions import size_text
from dnnlib.tflib import network_state, official_modules
from dnnlib.tflib.checkpoints.descriptions import Networks, lines_by_role
from dnnlib.tflib.network import Network

_MOST_LINES = 30
_CHILD = 0.5
"""Likeness of mapping networks below which neither is likely to have been trained from the other."""
_OF_CALLS = {  # what may differ: defaults of calls, how rather than what is computed, how it is trained
    *("truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val", "return_dlatents"),
    *("randomize_noise", "dlatent_avg_beta", "style_mixing_prob", "is_training", "is_validation", "w_avg_beta"),
    *("num_fp16_res", "fp16_dtype", "conv_clamp", "fused_modconv", "dtype", "structure", "freeze_layers"),
    *("mbstd_group_size", "augment_strength", "pagan_num", "pagan_fade", "score_size", "mapping_dtype"),
}
_IN_SHAPES = {  # what inputs, outputs and variables tell
    *("resolution", "base", "num_channels", "label_size", "latent_size", "dlatent_size", "dlatent_broadcast"),
    *("fmap_base", "fmap_decay", "fmap_min", "fmap_max", "fmap_const", "mapping_layers", "mapping_fmaps"),
    *("label_fmaps", "score_max"),
}


def check_related(first: str, nets: Networks, second: str, others: Networks) -> list[str]:
    """The roles that two files both have. Names of the files: first, second.

    Raises UserError, with all that differs, unless the networks of each role have the same variables and compute alike.
    """
    roles = [role for role in nets if role in others]
    if not roles:
        raise UserError(f"{second}: has {' and '.join(others)}, and {first} {' and '.join(nets)}: nothing to mix")
    found = lines_by_role({role: differences(nets[role], others[role]) for role in roles})
    if found:
        head = f"{second}: its networks cannot be mixed with those of {first}. What differs, first {first}:"
        raise UserError("\n  ".join([head, *listed(found, _MOST_LINES)]))
    return roles


def differences(net: Network, other: Network) -> list[str]:
    """All that keeps the variables of two networks from being mixed, in a line each: 'labels: 3, 0'."""
    kinds = [type(one.model) for one in (net, other)]
    lines = [] if kinds[0] is kinds[1] else [f"kind: {', '.join(map(_kind, kinds))}"]
    for what, pair in _shapes(net, other).items():
        lines += [f"{what}: {', '.join(map(str, pair))}"] if pair[0] != pair[1] else []
    a, b = (_arguments(one) for one in (net, other))
    both = sorted(a.keys() & b.keys())
    lines += [f"{key}: {short(a[key])}, {short(b[key])}" for key in both if a[key] != b[key]]
    lods = [one.get_var("lod") if "lod" in one.vars else 0 for one in (net, other)]
    if lods[0] != lods[1]:
        lines.append(f"level of detail (of growing networks): {lods[0]:g}, {lods[1]:g}")
    shapes = [{name: list(variable.shape) for name, variable in one.vars.items()} for one in (net, other)]
    for which, (has, lacks) in {"first": shapes, "second": shapes[::-1]}.items():
        if alone := [name for name in has if name not in lacks]:
            lines.append(f"{counted(len(alone), 'variable')} of the {which} alone: {enumerated(alone, 3)}")
    for name, shape in shapes[0].items():
        wanted = shapes[1].get(name, shape)
        lines += [f"{name}: {shape}, {wanted}"] if shape != wanted else []
    return lines


def _kind(model_class: type) -> str:
    return f"{model_class.__module__.removeprefix('training.')}.{model_class.__name__}"


def _shapes(net: Network, other: Network) -> dict[str, list[Any]]:
    """What inputs and outputs of two networks tell, by what it is."""
    pairs: dict[str, list[Any]] = {}
    for one in (net, other):
        of_images = [shape for shape in (one.input_shape, one.output_shape) if len(shape) == 4]
        facts: dict[str, Any] = {}
        if of_images:
            facts["images"] = f"{of_images[0][1]} channels of {size_text(of_images[0][2:])}"
            facts["base"] = size_text(one.model.resolution.base)
        facts["labels"] = one.input_shapes[1][1] if len(one.input_shapes) > 1 else 0
        facts["latents"] = one.input_shape[1] if len(one.input_shape) == 2 else 0
        for key, value in facts.items():
            pairs.setdefault(key, []).append(value)
    return {key: pair for key, pair in pairs.items() if len(pair) == 2}


def _arguments(net: Network) -> dict[str, Any]:
    """Those of a network that decide what it computes, and are not seen in the shapes of its variables."""
    every = network_state.plain(official_modules.defaults_of(net) | net.build_kwargs)
    return {key: value for key, value in every.items() if key not in _OF_CALLS | _IN_SHAPES}


def mapping_likeness(net: Network, other: Network) -> float:
    """The cosine between the weights of two mapping networks of the same shape, from -1 to 1."""
    a, b = (_joined(one.components["mapping"].trainables) for one in (net, other))
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / scale) if scale else 1.0


def _joined(variables: Mapping[str, Any]) -> np.ndarray:
    return np.concatenate([np.ravel(variable.numpy()).astype(np.float64) for variable in variables.values()])


def unlike(first: str, nets: Networks, second: str, others: Networks) -> list[str]:
    """A line for each generator whose mapping network is too far from that of the other to be its child."""
    lines = {}
    for role in ("G", "Gs"):
        if role in nets and role in others and "mapping" in nets[role].components:
            likeness = mapping_likeness(nets[role], others[role])
            if likeness < _CHILD:
                lines[role] = [
                    f"Warning: the mapping networks of {first} and {second} have a cosine of {likeness:.2f}, "
                    "where trainings that start from each other stay near 1: the layers of one do not know the W of "
                    "the other, and images may be of nothing"
                ]
    return lines_by_role(lines)
