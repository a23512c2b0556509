"""What forks of the official code add to their pickles.

Official networks ignore arguments that they do not know, so that a fork's pickle is an official one wherever its own
arguments have the values at which they change nothing. These are known for the forks that people share networks of:
skyflynil, pbaylies and justinpinkney (`min_h`, `min_w`, `res_log2`), aydao and shawwn (`resolution_h`, `resolution_w`),
eps696 (`init_res`, `size`, `scale_type`, `verbose`, `impl`), mit-han-lab's DiffAugment (`impl`), dvschultz (variables
`epochs`, `epochs_1`).
"""

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from dnnlib.errors import did_you_mean, listed, short

from . import network_state, official_modules
from .network_state import SIZES_OF_IMAGES, NetworkState, NetworkStateError

_DEFAULT_RESOLUTION = 1024  # of official networks
_MOST_PROBLEMS = 10  # in a message


class _Argument(NamedTuple):
    """An argument of forks.

    changes_nothing: whether it is without effect, given its value and the resolution of the network.
    purpose: what it is for where it has one.
    """

    changes_nothing: Callable[[Any, Any], bool]
    purpose: str


_SHAPE = "for images that are not square"
_ARGUMENTS = {
    "min_h": _Argument(lambda value, _resolution: value == 4, _SHAPE),
    "min_w": _Argument(lambda value, _resolution: value == 4, _SHAPE),
    "res_log2": _Argument(lambda value, resolution: _is_level(value) and 4 * 2**value == resolution, _SHAPE),
    "resolution_h": _Argument(lambda value, resolution: value == resolution, _SHAPE),
    "resolution_w": _Argument(lambda value, resolution: value == resolution, _SHAPE),
    "init_res": _Argument(lambda value, _resolution: value == [4, 4], _SHAPE),
    "size": _Argument(lambda value, resolution: value in (None, [resolution, resolution]), "for scaled images"),
    "scale_type": _Argument(lambda value, _resolution: value is None, "for scaled images"),
    "use_attention": _Argument(lambda value, _resolution: not value, "with attention"),
    "avg_pooling": _Argument(lambda value, _resolution: not value, "with averages over the image in D"),
    "fused_scale": _Argument(lambda value, _resolution: value in (True, False, "auto"), "with other resampling"),
    "impl": _Argument(lambda _value, _resolution: True, "with other kernels"),
    "verbose": _Argument(lambda _value, _resolution: True, "with messages"),
}
_VARIABLES = re.compile(r"epochs(_\d{1,3})?")  # counters of training


def without_additions(state: NetworkState) -> NetworkState:
    """The state without arguments and variables of forks that change nothing; `left_out` says what these were.

    Where arguments are left out, so is the fork's source, which has defaults for them: the official code takes its
    place, and defaults that the source declares differently become arguments.

    Raises NetworkStateError for other arguments that are unknown, with what they are for.
    """
    module = network_state.module_of(state)
    resolution = state.static_kwargs.get("resolution", _DEFAULT_RESOLUTION)
    left_out: list[str] = []
    problems: list[str] = []
    components = {
        key: _cleaned(component, module, resolution, left_out, problems) for key, component in state.components.items()
    }
    state = _cleaned(replace(state, components=components), module, resolution, left_out, problems)
    if problems:
        problems = listed(list(dict.fromkeys(problems)), _MOST_PROBLEMS)
        raise NetworkStateError(f"network {state.name!r} ({state.func_name}): {'; '.join(problems)}")
    return replace(state, left_out=tuple(dict.fromkeys(left_out))) if left_out else state


def left_out_of(net: Any) -> tuple[str, ...]:
    """What was left out of the file that a `Network` was read from. It is not built for that."""
    unbuilt = net.unbuilt()
    state = net.pickled_state if unbuilt is None else unbuilt[0]
    return () if state is None else state.left_out


def _cleaned(
    state: NetworkState, module: official_modules.OfficialModule, resolution: Any, left_out: list, problems: list
) -> NetworkState:
    """A network, or a component of one, without its additions. What is left out and what must not be is noted."""
    extra = [name for name in state.variables if _VARIABLES.fullmatch(name) and state.variables[name].size == 1]
    left_out += [f"variable {name}" for name in extra]
    if extra:
        state = replace(state, variables={name: x for name, x in state.variables.items() if name not in extra})
    if state.func_name not in module.functions:  # an error of its own
        return state
    model_class = module.class_of(state.func_name)
    gone, used = [], {}
    unknown = model_class.unknown_arguments(state.static_kwargs)
    for name, value in state.static_kwargs.items():
        if name not in unknown:
            continue
        if name not in _ARGUMENTS:
            few = len(problems) < _MOST_PROBLEMS  # looking for near names takes time
            hint = did_you_mean(name, model_class.family_arguments()) if few else ""
            problems.append(f"unknown argument {short(name)}{hint}")
        elif _ARGUMENTS[name].changes_nothing(value, resolution):
            gone.append(f"{name}={short(value)}")
        else:
            used.setdefault(_ARGUMENTS[name].purpose, []).append(f"{name}={short(value)}")
    for purpose, arguments in used.items():
        limit = f"; {SIZES_OF_IMAGES}" if purpose == _SHAPE else ""
        problems.append(f"of a fork, {purpose}: {', '.join(arguments)}{limit}")
    if state.static_kwargs.get("label_size") and _numbers_as_labels(state):
        problems.append("of a fork (DiffAugment), in which labels are numbers of classes and scaled otherwise")
    if not gone:
        return state
    left_out += gone
    kept = {name: value for name, value in state.static_kwargs.items() if name not in unknown}
    _, kwargs = module.arguments(state.func_name, kept, network_state.source_defaults(state.source))
    return replace(state, static_kwargs=kwargs, source=official_modules.import_source(module.name))


def _is_level(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < 64


def _numbers_as_labels(state: NetworkState) -> bool:
    """Whether the source of a network with labels makes vectors of them (mapping), or does not take them (D)."""
    function = network_state.function_in(state.source, state.func_name)
    if function is None:
        return False
    if state.func_name.startswith("D"):
        return "labels_in" not in [arg.arg for arg in function.args.args]
    return any(isinstance(node, ast.Attribute) and node.attr == "one_hot" for node in ast.walk(function))
