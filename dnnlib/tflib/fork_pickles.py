"""What forks of the official code add to their pickles.

Official networks ignore arguments that they do not know, so that a fork's pickle is an official one wherever its own
arguments have the values at which they change nothing. These are known for the forks that people share networks of:
skyflynil, pbaylies and justinpinkney (`min_h`, `min_w`, `res_log2`), aydao and shawwn (`resolution_h`, `resolution_w`),
eps696 (`init_res`, `size`, `scale_type`, `verbose`, `impl`), mit-han-lab's DiffAugment (`impl`), dvschultz (variables
`epochs`, `epochs_1`).

The arguments of skyflynil, aydao, eps696 and their heirs make networks for images that are not square: see `_reshaped`.
"""

import ast
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from dnnlib.errors import did_you_mean, listed, short
from dnnlib.resolutions import Resolution, resolution_of, size_text

from . import network_state, official_modules
from .network_state import NetworkState, NetworkStateError

_DEFAULT_RESOLUTION = 1024  # of official networks
_OFFICIAL_BASE = (4, 4)
_MOST_PROBLEMS = 10  # in a message


class _Argument(NamedTuple):
    """An argument of forks.

    changes_nothing: whether it is without effect, given its value and the height and width of images, which are None in
    networks without layers of images.
    purpose: what it is for where it has one.
    """

    changes_nothing: Callable[[Any, list[int] | None], bool]
    purpose: str


_SHAPE = ("min_h", "min_w", "res_log2", "resolution_h", "resolution_w", "init_res")
_ARGUMENTS = {
    "size": _Argument(lambda value, size: value is None or size in (value, None), "for scaled images"),
    "scale_type": _Argument(lambda value, _size: value is None, "for scaled images"),
    "use_attention": _Argument(lambda value, _size: not value, "with attention"),
    "avg_pooling": _Argument(lambda value, _size: not value, "with averages over the image in D"),
    "fused_scale": _Argument(lambda value, _size: value in (True, False, "auto"), "with other resampling"),
    "impl": _Argument(lambda _value, _size: True, "with other kernels"),
    "verbose": _Argument(lambda _value, _size: True, "with messages"),
}
_VARIABLES = re.compile(r"epochs(_\d{1,3})?")  # counters of training
_BLOCK = re.compile(r"(\d{1,6})x(\d{1,6})")  # of layers, a scope


def without_additions(state: NetworkState) -> NetworkState:
    """The state without arguments and variables of forks that change nothing; `left_out` says what these were.

    Networks of forks for images that are not square become such networks of ours.

    Where arguments are left out, so is the fork's source, which has defaults for them: the official code takes its
    place, and defaults that the source declares differently become arguments.

    Raises NetworkStateError for other arguments that are unknown, with what they are for.
    """
    module = network_state.module_of(state)
    left_out: list[str] = []
    problems: list[str] = []
    resolution = _resolution_of(state, problems)
    parts = {key: _cleaned(part, module, resolution, left_out, problems) for key, part in state.components.items()}
    state = _cleaned(replace(state, components=parts), module, resolution, left_out, problems)
    if problems:
        problems = listed(list(dict.fromkeys(problems)), _MOST_PROBLEMS)
        raise NetworkStateError(f"network {state.name!r} ({state.func_name}): {'; '.join(problems)}")
    if resolution is not None:
        state = _reshaped(state, module, resolution)
    return replace(state, left_out=tuple(dict.fromkeys(left_out))) if left_out else state


def left_out_of(net: Any) -> tuple[str, ...]:
    """What was left out of the file that a `Network` was read from. It is not built for that."""
    unbuilt = net.unbuilt()
    state = net.pickled_state if unbuilt is None else unbuilt[0]
    return () if state is None else state.left_out


def _cleaned(
    state: NetworkState,
    module: official_modules.OfficialModule,
    resolution: Resolution | None,
    left_out: list,
    problems: list,
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
    shapes = resolution is not None and resolution.base != _OFFICIAL_BASE
    unknown = model_class.unknown_arguments(state.static_kwargs)
    square = state.static_kwargs.get("resolution", _DEFAULT_RESOLUTION)
    size = [square, square] if resolution is None else list(resolution[:2])
    for name, value in state.static_kwargs.items():
        if name not in unknown:
            continue
        if name in _SHAPE:
            gone += [] if shapes else [f"{name}={short(value)}"]
        elif name not in _ARGUMENTS:
            few = len(problems) < _MOST_PROBLEMS  # looking for near names takes time
            hint = did_you_mean(name, model_class.family_arguments()) if few else ""
            problems.append(f"unknown argument {short(name)}{hint}")
        elif _ARGUMENTS[name].changes_nothing(value, size):
            gone.append(f"{name}={short(value)}")
        else:
            used.setdefault(_ARGUMENTS[name].purpose, []).append(f"{name}={short(value)}")
    for purpose, arguments in used.items():
        problems.append(f"of a fork, {purpose}: {', '.join(arguments)}")
    if state.static_kwargs.get("label_size") and _numbers_as_labels(state):
        problems.append("of a fork (DiffAugment), in which labels are numbers of classes and scaled otherwise")
    if not gone and not shapes:
        return state
    left_out += gone
    kept = {name: value for name, value in state.static_kwargs.items() if name not in unknown}
    _, kwargs = module.arguments(state.func_name, kept, network_state.source_defaults(state.source))
    return replace(state, static_kwargs=kwargs, source=official_modules.import_source(module.name))


# ----------------------------------------------------------------------------
# Images that are not square.


def _resolution_of(state: NetworkState, problems: list) -> Resolution | None:
    """The resolution that arguments of forks give; None where there are none, or no layers of images.

    The fork's own `resolution` says nothing then: it is the height, or the shorter side.
    """
    parts = [state, *state.components.values()]
    given = [(name, part.static_kwargs[name]) for part in parts for name in _SHAPE if name in part.static_kwargs]
    blocks = _blocks(parts)
    if not given or not blocks:
        return None
    times, values = len(blocks) - 1, dict(given)
    base = _base_of(values, state.static_kwargs.get("resolution", _DEFAULT_RESOLUTION), times)
    why = "expected height and width in whole numbers"
    if base is not None:
        try:
            resolution = resolution_of([side << times for side in base], base)
            why = _inconsistency(given, resolution, times) or _other_constant(parts, resolution)
        except ValueError as error:
            why = str(error)
    if not why:
        return resolution
    arguments = ", ".join(f"{name}={short(value)}" for name, value in values.items())
    problems.append(f"of a fork, for images that are not square: {arguments}; {why}")
    return None


def _blocks(parts: Iterable[NetworkState]) -> list[str]:
    """The scopes of layers of images, from the base. They have the names of square ones, or of sizes of images."""
    scopes = {name.split("/")[0] for part in parts for name in part.variables}
    found = [scope for scope in scopes if _BLOCK.fullmatch(scope)]
    return sorted(found, key=lambda scope: math.prod(map(int, scope.split("x"))))


def _base_of(values: dict[str, Any], square: Any, times: int) -> list[int] | None:
    """Height and width of the smallest feature maps; None for values that are no sizes."""
    if "init_res" in values:
        base = values["init_res"]
    elif "min_h" in values or "min_w" in values:
        base = [values.get(name, 4) for name in ("min_h", "min_w")]
    elif "resolution_h" in values or "resolution_w" in values:
        base = [values.get("resolution_h", square), values.get("resolution_w", square)]
        base = [int(side) >> times if _is_size(side) else None for side in base]
    else:
        base = list(_OFFICIAL_BASE)
    if not isinstance(base, list) or len(base) != 2 or not all(map(_is_size, base)):
        return None
    return [int(side) for side in base]


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, float)) and 1 <= value < 1 << 16 and value == int(value)


def _inconsistency(given: list[tuple[str, Any]], resolution: Resolution, times: int) -> str:
    """What arguments must be for each other and for the number of layers; nothing where they are."""
    (height, width), (h, w) = resolution[:2], resolution.base
    right = {"min_h": h, "min_w": w, "res_log2": times, "resolution_h": height, "resolution_w": width}
    right["init_res"] = [h, w]
    wrong = {name: right[name] for name, value in given if value != right[name]}
    expected = ", ".join(f"{name}={value}" for name, value in wrong.items())
    return (
        wrong and f"expected {expected} in a network that begins with {size_text((h, w))} and doubles it {times} times"
    )


def _other_constant(parts: Iterable[NetworkState], resolution: Resolution) -> str:
    for part in parts:
        for name, value in part.variables.items():
            if name.endswith("/Const/const") and value.shape[2:] != resolution.base:
                return f"{name} has shape {list(value.shape)}, expected [1, C, {', '.join(map(str, resolution.base))}]"
    return ""


def _reshaped(state: NetworkState, module: official_modules.OfficialModule, resolution: Resolution) -> NetworkState:
    """The network of ours for images of this resolution.

    These forks count levels from that of their base, which is always 2, where ours is that of its pixels. So scopes
    have other names, and `fmap_base` counts from another level.
    """
    parts = [state, *state.components.values()]
    first = resolution.first_log2
    scopes = {block: f"{2**level}x{2**level}" for level, block in enumerate(_blocks(parts), first)}
    found = resolution_of(resolution[:2])

    def reshaped(part: NetworkState) -> NetworkState:
        if part.func_name not in module.functions:  # an error of its own
            return part
        kwargs = {**part.static_kwargs, "resolution": resolution.argument}
        if found.base != resolution.base:
            kwargs["base"] = list(resolution.base)
        arguments = {**module.class_of(part.func_name).declared_arguments(), **kwargs}
        if first != 2 and "fmap_base" in arguments:
            fmap_base = arguments["fmap_base"] * 2 ** ((first - 2) * arguments.get("fmap_decay", 1))
            kwargs["fmap_base"] = int(fmap_base) if fmap_base == int(fmap_base) else fmap_base
        paths = ((name.partition("/"), value) for name, value in part.variables.items())
        variables = {scopes.get(scope, scope) + slash + rest: value for (scope, slash, rest), value in paths}
        components = {key: reshaped(component) for key, component in part.components.items()}
        return replace(part, static_kwargs=kwargs, variables=variables, components=components)

    return reshaped(state)


def _numbers_as_labels(state: NetworkState) -> bool:
    """Whether the source of a network with labels makes vectors of them (mapping), or does not take them (D)."""
    function = network_state.function_in(state.source, state.func_name)
    if function is None:
        return False
    if state.func_name.startswith("D"):
        return "labels_in" not in [arg.arg for arg in function.args.args]
    return any(isinstance(node, ast.Attribute) and node.attr == "one_hot" for node in ast.walk(function))
