"""Writes checkpoints of rosinality/stylegan2-pytorch, which PyTorch tools take: {'g', 'd', 'g_ema', 'latent_avg'}.

State dicts have all that a strict `load_state_dict` of the classes there wants; with all three networks there are the
optimizers that a training there goes on with. What the layout has no place for is in an entry beside them (`notes`), so
that networks come back as they were.
"""

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from dnnlib.formats import torch_writer
from dnnlib.formats.torch_writer import Tensor
from dnnlib.tflib.network import Network

from .. import rounded_variables
from ..descriptions import Networks, lines_by_role
from ..foreign_variables import Stored, taps_of
from . import fit, notes, reading

_KEYS = {"G": "g", "D": "d", "Gs": "g_ema"}
_AVERAGE = "dlatent_avg"
_LEARNING_RATE, _BETA2 = 0.002, 0.99  # of trainings there by default, as of the official ones
_REGULARIZED_EVERY = {"g": 4, "d": 16}  # steps


def write(nets: Networks, path: str) -> None:
    """Writes networks by role, of which `fit` has no problems, to a new file."""
    content: dict[str, Any] = {_KEYS[role]: _state_dict(role, net) for role, net in nets.items()}
    kept = {f"{role}/{name}": x for role, net in nets.items() for name, x in _rounded(role, net).items()}
    for role in ("Gs", "G"):
        if role in nets and "latent_avg" not in content:
            content["latent_avg"] = _tensor(nets[role].get_var(_AVERAGE))
        elif role in nets:
            kept[f"{role}/{_AVERAGE}"] = nets[role].get_var(_AVERAGE)
    if content.keys() >= set(_KEYS.values()):
        content |= {f"{key}_optim": _new_optimizer(key, content[key]) for key in _REGULARIZED_EVERY}
    if "D" in nets and nets["D"].augment_p is not None:
        content["ada_aug_p"] = float(nets["D"].augment_p)
    variables = {name: _tensor(x) for name, x in kept.items()}
    content[notes.ENTRY] = notes.to_entry(nets, variables)
    with open(path, "xb") as file:
        torch_writer.save(content, file)


def lines_of(nets: Networks, _path: str) -> list[str]:
    """Lines on the classes there that load networks by role."""
    lines = lines_by_role(
        {
            role: fit.describe(role, _KEYS[role], fit.arguments_of(net), _state_dict(role, net))
            for role, net in nets.items()
        }
    )
    if "G" in nets and "Gs" not in nets:
        lines.append("note: there is no g_ema, which most tools for this layout read; that is Gs")
    return lines


def _state_dict(role: str, net: Network) -> OrderedDict[str, Tensor]:
    num_blocks = _num_blocks(net)
    stored_as = reading.stored_as(role, num_blocks)
    tensors: OrderedDict[str, Tensor] = OrderedDict()
    for name, var in net.vars.items():
        stored = stored_as(name, tuple(var.shape))
        if stored is not None and name != _AVERAGE:
            tensors[stored.name] = Tensor(stored.shape, partial(_stored, stored, var))
    kernel = np.array(taps_of(fit.arguments_of(net)["resample_kernel"]), np.float32)
    kernel = np.outer(kernel, kernel) / np.square(kernel.sum())
    kernel = kernel if role == "D" else kernel * 4  # of what is enlarged to four times as many pixels
    return tensors | {name: _tensor(kernel) for name in reading.filter_names(role, num_blocks)}


def _new_optimizer(key: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The state dict of an Adam of all parameters of a network that has done no step."""
    buffers = [name for name in tensors if name.startswith("noises.") or name.endswith(".kernel")]
    ratio = _REGULARIZED_EVERY[key] / (_REGULARIZED_EVERY[key] + 1)
    group = {
        "lr": _LEARNING_RATE * ratio,
        "betas": (0.0, _BETA2**ratio),
        "eps": 1e-8,
        "weight_decay": 0,
        "amsgrad": False,
        "params": list(range(len(tensors) - len(buffers))),
    }
    return {"state": {}, "param_groups": [group]}


def _stored(stored: Stored, var: Any) -> np.ndarray:
    return stored.tensor(var.numpy())


def _tensor(array: np.ndarray) -> Tensor:
    return Tensor(array.shape, lambda: array)


def _rounded(role: str, net: Network) -> dict[str, np.ndarray]:
    """Variables that the state dict does not give again to the last bit."""
    stored_as = reading.stored_as(role, _num_blocks(net))
    return {
        name: x
        for name, var in net.vars.items()
        for name, x in rounded_variables.rounded({name: var.numpy()}, stored_as).items()
    }


def _num_blocks(net: Network) -> int:
    return len(net.model.resolution.levels) - 1
