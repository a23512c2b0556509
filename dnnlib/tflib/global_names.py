"""The networks that exist, and their variables by the names that those have in graphs of the official code.

There each network has a scope of its own, which is its name, or for the second of that name 'Gs_1', and so on, and so
have components: 'G_synthesis/4x4/Const/const:0' belongs to G, 'G_synthesis_1/4x4/Const/const:0' to Gs, which comes
after. Networks that nobody holds any more do not count here.
"""

import itertools
import weakref
from collections.abc import Iterator
from typing import Any

from dnnlib.errors import did_you_mean

_networks: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
_numbers = itertools.count()


def register(net: Any) -> None:
    """Counts a `Network`, which is no component, among those that exist."""
    _networks[next(_numbers)] = net


def networks() -> list[Any]:
    """The networks in the order in which they were made, without components."""
    return [net for _, net in sorted(_networks.items())]


def variables() -> dict[str, Any]:
    """The variables of all networks by global name, which ends with ':0'."""
    taken: set[str] = set()
    result = {}
    for net in itertools.chain.from_iterable(map(_parts, networks())):
        names = itertools.chain([net.name], (f"{net.name}_{number}" for number in itertools.count(1)))
        scope = next(name for name in names if name not in taken)
        taken.add(scope)
        result |= {f"{scope}/{name}:0": variable for name, variable in net.own_vars.items()}
    return result


def find(name: str) -> Any:
    """The variable of a global name, with or without ':0'. Raises ValueError, with the nearest name that there is."""
    known = variables()
    variable = known.get(name.removesuffix(":0") + ":0")
    if variable is None:
        raise ValueError(f"no network has a variable {name!r:.200}{did_you_mean(name, known)}")
    return variable


def _parts(net: Any) -> Iterator[Any]:
    """A network and its components."""
    yield net
    for component in net.components.values():
        yield from _parts(component)
