"""The state of a pickled network: what official pickles hold, how a network is built from it, and how it is written.

A pickle holds the name of a build function and the source text of its module. The source is never executed. The build
function's name and signature (read as syntax, not run), the static arguments and the variables say which network it is.
"""

import ast
import functools
import re
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dnnlib.errors import printable, short
from dnnlib.formats.network_pickle import PickledNetwork

from . import official_modules

STATE_VERSION = 4  # the version of StyleGAN2, which we write unless a network is of StyleGAN2-ADA
READABLE_VERSIONS = (2, 3, 4, 5)  # ProGAN, StyleGAN, StyleGAN2, StyleGAN2-ADA
_COUNTS = {  # arguments that are whole numbers, which some scripts make floats
    *("resolution", "num_channels", "label_size", "latent_size", "dlatent_size", "mapping_layers", "mapping_fmaps"),
    *("label_fmaps", "fmap_min", "fmap_max", "mbstd_group_size", "mbstd_num_features", "num_fp16_res", "freeze_layers"),
}
_MOST_COMPONENTS = 10  # official generators have two
_MOST_SOURCE = 1 << 18  # characters; official modules have about 50,000, and what is parsed takes 500 times the memory


class NetworkStateError(ValueError):
    """A pickled network that is damaged or cannot be built. The message says what is wrong."""


@dataclass
class NetworkState:
    """A checked network state.

    values of `variables` are arrays; `components` are states, too. `source` is the text of the build module, which is
    only ever read. `source_format` and `augment_p`: see `Network`. `left_out`: what a fork's file has besides, see
    `fork_pickles`.
    """

    name: str
    func_name: str
    source: str
    static_kwargs: dict[str, Any]
    variables: dict[str, Any]
    components: dict[str, "NetworkState"] = field(default_factory=dict)
    version: int = STATE_VERSION
    source_format: str = "tensorflow"
    augment_p: float | None = None
    left_out: tuple[str, ...] = ()

    def with_kwargs(self, kwargs: dict[str, Any], own: Collection[str]) -> "NetworkState":
        """The state with other arguments. Those that are not its `own` go to the components, too."""
        handed_down = {key: value for key, value in kwargs.items() if key not in own}
        components = {key: component.with_kwargs(handed_down, ()) for key, component in self.components.items()}
        return replace(self, static_kwargs={**self.static_kwargs, **kwargs}, components=components)

    def without_variables(self) -> "NetworkState":
        """The state with no values, which take memory."""
        components = {key: component.without_variables() for key, component in self.components.items()}
        return replace(self, variables={}, components=components)


Maker = Callable[[], NetworkState]
"""What makes the state of a network of a file, when it is called, or raises NetworkStateError."""
Makers = dict[str, Maker]
"""Those of 'G', 'D' and 'Gs', for what a file has of these."""


# ----------------------------------------------------------------------------
# Reading.


def from_dict(raw: Any) -> NetworkState:
    """Checks a raw state: a dict as pickles hold it. Components may be dicts or networks that were built before.

    Raises NetworkStateError.
    """
    if not isinstance(raw, dict):
        raise NetworkStateError(f"the state of a network must be a dict, got {type(raw).__name__}")
    version = raw.get("version")
    if version not in READABLE_VERSIONS or isinstance(version, bool):
        raise NetworkStateError(
            f"network state version {short(version)} is not known, expected one of {READABLE_VERSIONS}"
        )
    expected = {"name": str, "build_func_name": str, "build_module_src": str, "static_kwargs": dict, "variables": list}
    for key, kind in expected.items():
        if not isinstance(raw.get(key), kind):
            raise NetworkStateError(f"{key!r} must be a {kind.__name__}, got {type(raw.get(key)).__name__}")
    components = raw.get("components", {})
    if not isinstance(components, dict):
        raise NetworkStateError(f"'components' must be a dict, got {type(components).__name__}")
    if len(components) > _MOST_COMPONENTS:
        raise NetworkStateError(f"it has {len(components)} components, expected {_MOST_COMPONENTS} or fewer")
    return NetworkState(
        name=_checked_name(raw["name"]),
        func_name=raw["build_func_name"],
        source=raw["build_module_src"],
        static_kwargs=_checked_kwargs(raw["static_kwargs"] | {k: raw[k] for k in official_modules.BESIDE if k in raw}),
        variables=_checked_variables(raw["variables"]),
        components={_checked_name(key): _component_state(component) for key, component in components.items()},
        version=version,
    )


def _component_state(component: Any) -> NetworkState:
    if isinstance(component, PickledNetwork):
        if component.state.get("components"):
            raise NetworkStateError("components of a network cannot have components themselves")
        return from_dict(component.state)
    if hasattr(component, "unbuilt"):  # plain pickle.load makes networks of components first
        unbuilt = component.unbuilt()
        return from_dict(component.__getstate__()) if unbuilt is None else unbuilt[0]
    raise NetworkStateError(f"a component of a network must be a network, got {type(component).__name__}")


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.-]{0,199}", name):
        raise NetworkStateError(f"{short(name)} is not a name of a network")
    return name


def _checked_kwargs(kwargs: dict) -> dict[str, Any]:
    """Arguments are numbers, strings, None, and lists or dicts of them."""

    count = 0

    def checked(value: Any, depth: int) -> Any:
        nonlocal count
        count += len(value) if isinstance(value, str) else 1
        if count > 10_000:
            raise NetworkStateError("the arguments of the network have too many items")
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, (list, tuple)) and depth < 4 and len(value) <= 1000:
            return [checked(item, depth + 1) for item in value]
        if isinstance(value, np.ndarray) and value.size <= 1000:
            return checked(value.tolist(), depth)
        if isinstance(value, dict) and depth < 4 and len(value) <= 1000:
            return {str(key): checked(item, depth + 1) for key, item in value.items()}
        raise NetworkStateError(f"an argument of a network cannot be a {type(value).__name__}")

    for key in kwargs:
        if not isinstance(key, str):
            raise NetworkStateError(f"{short(key)} is not a name of an argument")
    return with_whole_counts({key: checked(value, 0) for key, value in kwargs.items()})


def with_whole_counts(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments with integers in place of floats such as `resolution=32.0`."""
    return {
        key: int(x) if key in _COUNTS and isinstance(x, float) and x.is_integer() else x for key, x in kwargs.items()
    }


def _checked_variables(variables: list) -> dict[str, np.ndarray]:
    result: dict[str, np.ndarray] = {}
    for item in variables:
        if not isinstance(item, (tuple, list)) or len(item) != 2 or not isinstance(item[0], str):
            raise NetworkStateError("'variables' must be pairs of a name and an array")
        name, value = item
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = np.float32(value)
        if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind not in "fiu":
            raise NetworkStateError(f"variable {short(name)} is not an array of numbers")
        if name in result:
            raise NetworkStateError(f"variable {short(name)} occurs twice")
        result[name] = value
    return result


# ----------------------------------------------------------------------------
# Building.


@dataclass
class BuildPlan:
    """How to build the network of a state.

    class_name: dotted name of the network class. build_kwargs: all arguments, with defaults that the source declares
    differently and the arguments of components. values: of all variables.
    """

    class_name: str
    build_kwargs: dict[str, Any]
    values: dict[str, Any]


def plan(state: NetworkState) -> BuildPlan:
    """Decides how to build the network of a state.

    Raises NetworkStateError for a network that does not exist here, named with the reason.
    """
    module = module_of(state)
    try:
        defaults = source_defaults(state.source)
        class_name, build_kwargs = module.arguments(state.func_name, state.static_kwargs, defaults)
        values = dict(state.variables)
        for key, component in state.components.items():
            component_class, component_kwargs = module.arguments(
                component.func_name, component.static_kwargs, source_defaults(component.source)
            )
            build_kwargs = module.merge_component(build_kwargs, key, component_class, component_kwargs)
            values.update((f"{component.name}/{name}", value) for name, value in component.variables.items())
    except official_modules.UnsupportedNetworkError as error:
        raise NetworkStateError(f"network {state.name!r} ({printable(state.func_name)}): {error}") from None
    return BuildPlan(class_name, build_kwargs, values)


def module_of(state: NetworkState) -> official_modules.OfficialModule:
    """The official module that the function of a state is of. Raises NetworkStateError for other functions."""
    try:
        defaults = source_defaults(state.source)
        return official_modules.identify(state.func_name, defaults, _facts(state.source)[1])
    except official_modules.UnsupportedNetworkError as error:
        raise NetworkStateError(f"network {state.name!r} ({state.func_name}): {error}") from None


def source_defaults(source: str) -> official_modules.SourceDefaults:
    """Literal argument defaults of all top-level functions of a source text, which is parsed but never executed.

    Defaults that are no literals are left out. A source that does not parse gives nothing. Raises NetworkStateError
    for a text that is longer than any such module.
    """
    return _facts(source)[0]


@functools.lru_cache(maxsize=8)  # G, D and Gs have the same source
def _facts(source: str) -> tuple[official_modules.SourceDefaults, set[str]]:
    """See `source_defaults`; and the modules that names are imported from."""
    if len(source) > _MOST_SOURCE:
        raise NetworkStateError(f"its source text has {len(source)} characters, expected {_MOST_SOURCE} or fewer")
    functions: dict[str, dict[str, Any]] = {}
    statements = _parse(source)
    for node in statements:
        if isinstance(node, ast.FunctionDef):
            positional = [*node.args.posonlyargs, *node.args.args]
            pairs = list(zip(positional[len(positional) - len(node.args.defaults) :], node.args.defaults, strict=True))
            pairs += [
                (arg, value) for arg, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if value
            ]
            functions[node.name] = {
                arg.arg: _literal(value) for arg, value in pairs if _literal(value) is not _NO_LITERAL
            }
    tried = [node for statement in statements if isinstance(statement, ast.Try) for node in statement.body]
    imports = [node for node in (*statements, *tried) if isinstance(node, ast.ImportFrom)]
    return functions, {node.module for node in imports if node.module}


def function_in(source: str, name: str) -> ast.FunctionDef | None:
    """A top-level function of a source text, as syntax; None: it declares none of this name."""
    functions = [node for node in _parse(source) if isinstance(node, ast.FunctionDef) and node.name == name]
    return functions[-1] if functions else None


def _parse(source: str) -> list[ast.stmt]:
    """The top-level statements of a source text; none if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old sources use escapes that are deprecated
            return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


_NO_LITERAL = object()


def _literal(node: ast.expr) -> Any:
    """The value of an expression; `_NO_LITERAL` for others than literals and products and powers of numbers."""
    try:
        return _value(node)
    except (ValueError, TypeError, SyntaxError, ArithmeticError, RecursionError, MemoryError):
        return _NO_LITERAL


def _value(node: ast.expr) -> Any:
    """Raises an exception for what is no literal."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.LShift, ast.Mult, ast.Pow)):  # such as 16 << 10
        left, right = _value(node.left), _value(node.right)
        if not all(isinstance(x, (int, float)) and abs(x) < 1 << 20 for x in (left, right)):
            raise ValueError("not a number of usual size")
        if isinstance(node.op, ast.Mult):
            return left * right
        if not (isinstance(left, int) and isinstance(right, int) and 0 <= right <= 30):
            raise ValueError("not a power of usual size")
        return left << right if isinstance(node.op, ast.LShift) else left**right
    return ast.literal_eval(node)


# ----------------------------------------------------------------------------
# Writing.


def to_dict(net: Any) -> dict[str, Any]:
    """The official state of a network: plain dicts, lists, strings, numbers, arrays and components.

    Version 4 is that of StyleGAN2; StyleGAN2-ADA's, version 5, has names and shapes of inputs and outputs, too. The
    source is that of the pickle that the network comes from, if it declares the network's function.
    """
    module = official_modules.module_of(type(net.model))
    version = STATE_VERSION if module is None else module.state_version
    func_name, source, kwargs, beside = _described(net)
    state = {
        "version": version,
        "name": net.name,
        "static_kwargs": plain(kwargs),
        "components": dict(net.components),
        "build_module_src": source,
        "build_func_name": func_name,
        "variables": [(name, var.numpy()) for name, var in net.own_vars.items()],
        **plain(beside),
    }
    if version >= 5:
        keys = ("input_shapes", "output_shapes", "input_names", "output_names")
        state.update((key, getattr(net, key)) for key in keys)
    return state


def refused_by_pytorch(net: Any) -> dict[str, Any]:
    """Those arguments in the state of a network for which the PyTorch readers refuse it, if they read its kind."""
    func_name, _source, kwargs, _beside = _described(net)
    return official_modules.refused_by_pytorch(net, func_name, kwargs)


def otherwise_in_pytorch(net: Any) -> dict[str, Any]:
    """Those arguments of a network that are not in its state, and that the PyTorch readers take otherwise."""
    func_name, _source, kwargs, _beside = _described(net)
    return official_modules.otherwise_in_pytorch(net, func_name, kwargs)


def is_read_by_pytorch(net: Any) -> bool:
    """Whether the PyTorch readers know networks of this kind."""
    return _described(net)[0] in official_modules.PYTORCH


def _described(net: Any) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """Function name, source, arguments, and those beside them that a pickle of a network has."""
    pickled = net.pickled_state
    if pickled is not None and function_in(pickled.source, pickled.func_name) is not None:
        return pickled.func_name, pickled.source, *official_modules.written_kwargs(net, built_here=False)
    model_class = type(net.model)
    source = official_modules.import_source(model_class.__module__)
    return model_class.__name__, source, *official_modules.written_kwargs(net, built_here=True)


def plain(value: Any) -> Any:
    """Plain Python values: official readers know no others."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
