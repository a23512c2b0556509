"""What a file of rosinality's layout that was written here says of its networks besides their tensors.

The layout has no place for names and arguments, for the average of W of a second generator, and for the last bits of
what is stored with 1 added. They are in an entry of the file that tools for this layout never look at: the description
of `descriptions`, and those variables. People edit such files: it is believed only as far as the tensors agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dnnlib.tflib import network_state
from dnnlib.tflib.model_building import variable_shapes
from dnnlib.tflib.network_state import NetworkState, NetworkStateError

from .. import descriptions, rounded_variables
from ..descriptions import Networks
from ..foreign_variables import StoredAs, Tensors, filters_in, resample_kernel_of, taps_of, variables_of
from . import layout

ENTRY = descriptions.NOTE  # what it is called in the file
_DESCRIPTION, _VARIABLES = "description", "variables"


def to_entry(nets: Networks, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The entry. variables: those that the tensors do not give again, named as by `descriptions.to_arrays`."""
    return {_DESCRIPTION: descriptions.to_note(nets), _VARIABLES: dict(variables)}


@dataclass(frozen=True)
class Note:
    """What an entry says of a network: its state without variables, and what the tensors do not give again."""

    state: NetworkState
    variables: dict[str, np.ndarray]

    def described(self, tensors: Tensors, stored_as: StoredAs, filters: str) -> NetworkState:
        """The state of the network, with the values that tensors have.

        See `foreign_variables.state_of` for the arguments. Raises NetworkStateError, TypeError, ValueError where the
        description does not fit them.
        """
        plan = network_state.plan(self.state)
        class_name = plan.class_name.rpartition(".")[2]
        if class_name in layout.IMPLIED and (problems := layout.contradictions(class_name, plan.build_kwargs)):
            raise NetworkStateError("; ".join(problems))
        shapes = variable_shapes(plan.class_name, plan.build_kwargs)
        values = variables_of(shapes, tensors, stored_as, filters)
        _check_filters(plan.build_kwargs.get("resample_kernel", (1, 3, 3, 1)), filters_in(tensors, filters))
        return replace(self.state, variables=rounded_variables.restored(values, self.variables, stored_as))


def average_in(entry: Any, role: str, dlatent_size: int) -> np.ndarray | None:
    """The average of W `[dlatent_size]` that an entry has of a generator, beside which there is another; None: none."""
    variables = entry.get(_VARIABLES) if isinstance(entry, dict) else None
    average = variables.get(f"{role}/dlatent_avg") if isinstance(variables, dict) else None
    return average if _is_variable(average) and average.shape == (dlatent_size,) else None


def _is_variable(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def read(entry: Any, role: str) -> Note | None:
    """What the entry of a file says of a network; None: nothing. Raises NetworkStateError for what is no such entry."""
    if not isinstance(entry, dict) or not isinstance(entry.get(_DESCRIPTION), str):
        raise NetworkStateError(f"{ENTRY!r} is no description of networks")
    described = descriptions.read_note(entry[_DESCRIPTION]).get(role)
    if described is None:
        return None
    variables = entry.get(_VARIABLES)
    if not isinstance(variables, dict) or not all(map(_is_variable, variables.values())):
        raise NetworkStateError(f"{ENTRY!r} has no variables of float32")
    own = {str(name).removeprefix(f"{role}/"): x for name, x in variables.items() if str(name).startswith(f"{role}/")}
    return Note(descriptions.state_of(role, described, {}), own)


def _check_filters(kernel: Any, filters: Mapping[str, np.ndarray]) -> None:
    """Raises NetworkStateError where the filters of a file are not those of an argument."""
    kernel = np.array(taps_of(kernel), np.float64)
    if filters:
        found = np.array(resample_kernel_of(filters.values()), np.float64)
        if found.shape != kernel.shape or not np.allclose(found / found.sum(), kernel / kernel.sum(), atol=1e-6):
            raise NetworkStateError(f"its resampling filters are {found.tolist()}, not {kernel.tolist()}")
