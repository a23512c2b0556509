"""Networks as named arrays and a note that describes them, for files that hold nothing else.

Arrays are called `G/...`, `D/...`, `Gs/...` with the official names of variables. The note is JSON: a version, and for
each network its name, the dotted name of its function, all arguments that it was built with, and the format of the file
that it comes from.
"""

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dnnlib.errors import short
from dnnlib.formats import versions
from dnnlib.tflib import network_state, official_modules
from dnnlib.tflib.network import Network
from dnnlib.tflib.network_state import Makers, NetworkState, NetworkStateError

NOTE = "stylegan2_networks"  # what the note is called in files
VERSION = 1
ROLES = ("G", "D", "Gs")
Networks = dict[str, Network]
"""Networks by role: 'G', 'D', 'Gs'."""


def lines_by_role(lines: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines on networks by role, each once, after the roles that it is of: 'G, Gs: label_size=3'."""
    roles: dict[str, list[str]] = {}
    for role, of_role in lines.items():
        for line in of_role:
            roles.setdefault(line, []).append(role)
    return [f"{', '.join(of_line)}: {line}" for line, of_line in roles.items()]


def to_arrays(nets: Mapping[str, Network]) -> dict[str, np.ndarray]:
    """All variables of networks by role."""
    return {f"{role}/{name}": var.numpy() for role, net in nets.items() for name, var in net.vars.items()}


def to_note(nets: Mapping[str, Network]) -> str:
    """The description of networks by role. Raises NetworkStateError for classes that are not of the official code."""
    return json.dumps({"version": VERSION, "networks": {role: _described(net) for role, net in nets.items()}})


def _described(net: Network) -> dict[str, Any]:
    model_class = type(net.model)
    module = official_modules.module_of(model_class)
    if module is None:
        raise NetworkStateError(f"network {net.name!r} is a {model_class.__name__}, which the official code has not")
    return {
        "name": net.name,
        "func_name": f"{module.name}.{model_class.__name__}",
        "static_kwargs": network_state.plain(net.build_kwargs),
        "source_format": net.source_format,
        "augment_p": net.augment_p,
    }


def from_arrays(arrays: Mapping[str, np.ndarray], note: str) -> Makers:
    """The networks of a file.

    Raises NetworkStateError for notes that describe no networks, and arrays that belong to none; so do the makers for
    networks that cannot be.
    """
    described = read_note(note)
    foreign = [name for name in arrays if name.split("/", 1)[0] not in described]
    if foreign:
        raise NetworkStateError(f"array {short(foreign[0])} belongs to none of its networks: {', '.join(described)}")
    return {role: functools.partial(_state, role, entry, arrays) for role, entry in described.items()}


def _state(role: str, entry: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> NetworkState:
    own = {name.split("/", 1)[1]: array for name, array in arrays.items() if name.startswith(f"{role}/")}
    return state_of(role, entry, own)


def not_described(num_arrays: int) -> NetworkStateError:
    """The error for a file of arrays without the note."""
    return NetworkStateError(
        f"it holds {num_arrays} arrays and no description of networks that they belong to, which run_convert.py "
        "writes; for arrays of your own, build the networks in Python and set their variables"
    )


def read_note(note: str) -> dict[str, dict[str, Any]]:
    """The descriptions of networks by role. Raises NetworkStateError for a note that is none."""
    try:
        content = _shared(json.loads(note))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("networks"), dict):
        raise NetworkStateError(f"the note {NOTE!r} is no description of networks")
    if problem := versions.problem_of(content.get("version"), VERSION):
        raise NetworkStateError(f"its description is of {problem}")
    networks = content["networks"]
    if not networks or not networks.keys() <= set(ROLES) or not all(isinstance(n, dict) for n in networks.values()):
        raise NetworkStateError(f"the description is of {short(list(networks))}, expected networks G, D or Gs")
    return networks


def _shared(value: Any) -> Any:
    """Equal texts become one object, as in what Python programs make: pickles write the second as a reference."""
    if isinstance(value, dict):
        return {sys.intern(key): _shared(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shared(item) for item in value]
    return sys.intern(value) if isinstance(value, str) else value


def state_of(role: str, entry: dict[str, Any], variables: Mapping[str, np.ndarray]) -> NetworkState:
    """The state of a described network with these variables, checked as that of a pickle. Raises NetworkStateError."""
    module, _, func_name = str(entry.get("func_name")).rpartition(".")
    if module not in official_modules.modules():
        raise NetworkStateError(f"{role}: {short(entry.get('func_name'))} is no network of the official code")
    state = network_state.from_dict(
        {
            "version": network_state.STATE_VERSION,
            "name": entry.get("name"),
            "build_func_name": func_name,
            "build_module_src": official_modules.import_source(module),
            "static_kwargs": entry.get("static_kwargs"),
            "variables": list(variables.items()),
        }
    )
    source_format, augment_p = entry.get("source_format"), entry.get("augment_p")
    if source_format not in ("tensorflow", "pytorch"):
        raise NetworkStateError(f"{role}: source_format {short(source_format)}, expected 'tensorflow' or 'pytorch'")
    if augment_p is not None and not (isinstance(augment_p, float) and 0 <= augment_p <= 1):
        raise NetworkStateError(f"{role}: augment_p {short(augment_p)}, expected a number from 0 to 1")
    return replace(state, source_format=source_format, augment_p=augment_p)
