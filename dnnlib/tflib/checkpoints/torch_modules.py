"""Modules of PyTorch in checkpoints of NVIDIA's repositories, without PyTorch and without executing anything.

StyleGAN2-ADA and its successors pickle modules with the source text of their class (`torch_utils.persistence`) and the
state that `torch.nn.Module` has: parameters, buffers, sub-modules, and whatever else was set. The source is ignored:
the state says all that is needed.
"""

import re
from typing import Any

import numpy as np

from dnnlib.formats import network_pickle, torch_pickle
from dnnlib.formats.stand_ins import Allowed, Call, Finisher, StandIn
from dnnlib.tflib.network_state import NetworkStateError

_MOST_MODULES = 2000  # a generator of 1024x1024 images has about 80


class TorchModule(StandIn):
    """A module: its class name, parameters and buffers (arrays), sub-modules, and other attributes, by name."""

    __slots__ = ("_meta", "attributes", "buffers", "class_name", "modules", "parameters")

    def __init__(self, meta: Any):
        self._meta = meta

    def finished(self, finisher: Finisher) -> "TorchModule":
        meta = finisher.finish(self._meta)
        if not isinstance(meta, dict) or meta.get("type") != "class" or not _is_name(meta.get("class_name")):
            raise ValueError("a module is not described as expected")
        state = meta.get("state")
        if not isinstance(state, dict):
            raise ValueError("a module has no state")
        self._meta = None
        for part in (state, *map(state.get, ("_parameters", "_buffers", "_modules"))):
            finisher.budget.take(part)  # modules may share what they copy here
        self.class_name: str = meta["class_name"]
        self.parameters = _members(state, "_parameters", np.ndarray)
        self.buffers = _members(state, "_buffers", np.ndarray)
        self.modules = _members(state, "_modules", TorchModule)
        self.attributes = {key: value for key, value in state.items() if isinstance(key, str) and key[:1] != "_"}
        return self

    def walk(self) -> list[tuple[str, "TorchModule"]]:
        """This module and all below it, with their paths: '', 'mapping', 'mapping.fc0', ...

        Raises NetworkStateError for more than there are in any network: modules that contain others in many ways.
        """
        found: list[tuple[str, TorchModule]] = [("", self)]
        for path, module in found:  # grows
            found += [(f"{path}.{name}" if path else name, part) for name, part in module.modules.items()]
            if len(found) > _MOST_MODULES:
                raise NetworkStateError(f"it has more than {_MOST_MODULES} modules")
        return found

    def tensors(self) -> dict[str, np.ndarray]:
        """All parameters and buffers by path: 'mapping.fc0.weight'. Raises as `walk`."""
        found: dict[str, np.ndarray] = {}
        for path, module in self.walk():
            arrays = {**module.parameters, **module.buffers}
            found.update((f"{path}.{name}" if path else name, array) for name, array in arrays.items())
            if len(found) > 10 * _MOST_MODULES:
                raise NetworkStateError(f"it has more than {10 * _MOST_MODULES} tensors")
        return found

    def get(self, name: str) -> Any:
        """An attribute as a plain value. Raises NetworkStateError where there is none."""
        if name not in self.attributes:
            raise NetworkStateError(f"its {self.class_name} has no attribute {name!r}")
        value = self.attributes[name]
        return value.item() if isinstance(value, np.generic) else value


def _members(state: dict, key: str, kind: type) -> dict[str, Any]:
    """What is there of a kind. None stands for what a module could have and has not."""
    members = state.get(key)
    if not isinstance(members, dict):
        raise ValueError(f"a module has no {key}")
    members = {name: value for name, value in members.items() if value is not None}
    if not all(_is_name(name) and isinstance(value, kind) for name, value in members.items()):
        raise ValueError(f"unexpected {key} of a module")
    return members


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_]{1,100}", value) is not None


class _Namespace(StandIn):
    """argparse.Namespace: the options of a training run, which are left out."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("unexpected state of options")

    def finished(self, finisher: Finisher) -> dict:
        return {}


def _set(items: Any = ()) -> tuple:
    if not isinstance(items, (list, tuple)):
        raise ValueError("a set is not made as expected")
    return tuple(items)


_SET = {"set": Call(_set)}
ALLOWED: Allowed = (
    network_pickle.ALLOWED
    | torch_pickle.ALLOWED
    | {
        "torch_utils.persistence": {"_reconstruct_persistent_obj": Call(TorchModule)},
        "argparse": {"Namespace": _Namespace},
        "builtins": network_pickle.ALLOWED["builtins"] | _SET,
        "__builtin__": network_pickle.ALLOWED["__builtin__"] | _SET,
    }
)
