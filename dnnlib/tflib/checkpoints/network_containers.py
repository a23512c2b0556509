"""Which objects of a pickle of TensorFlow are its networks: (G, D, Gs), dicts of these, and what lies beside them."""

from functools import partial
from typing import Any

import numpy as np

from dnnlib.errors import short
from dnnlib.formats.network_pickle import PickledNetwork
from dnnlib.tflib import network_state
from dnnlib.tflib.network_state import Makers

_ROLES = {"G": "G", "D": "D", "G_ema": "Gs", "Gs": "Gs"}
_PLAIN = (dict, str, int, float, np.generic)


def in_dict(content: Any) -> tuple[Makers, list[str]]:
    """What makes the networks of a dict such as {'G': ..., 'D': ..., 'G_ema': ...}, and what else it has, for messages.

    There are none in what is no such dict: networks have other keys, or there are two averages.
    """
    networks = _networks_in(content)
    if not networks or not networks.keys() <= _ROLES.keys() or {"G_ema", "Gs"} <= networks.keys():
        return {}, []
    others = {key: value for key, value in content.items() if key not in networks and value is not None}
    if others.keys() & _ROLES.keys():
        return {}, []
    makers: Makers = {_ROLES[key]: maker(network) for key, network in networks.items()}
    return makers, [_described(short(str(key), 40), value) for key, value in others.items()]


def in_tuple(content: Any) -> tuple[Any, list[str]]:
    """A tuple or list without what follows its networks, such as (G, D, Gs, {'kimg': 1000}); and what that is.

    Where one network is left it is no tuple any more. Everything else comes out as it is.
    """
    if not isinstance(content, (tuple, list)):
        return content, []
    is_network = [isinstance(item, PickledNetwork) for item in content]
    count = len(content) - is_network[::-1].index(True) if True in is_network else 0
    rest = content[count:]
    if not count or not all(item is None or (isinstance(item, _PLAIN) and not _networks_in(item)) for item in rest):
        return content, []
    others = [_described(f"object {idx}", x) for idx, x in enumerate(rest, count + 1) if x is not None]
    if len(content) <= 3 and not others:  # (G, D, None)
        return content, []
    return (content[0] if count == 1 else content[:count]), others


def maker(network: PickledNetwork) -> network_state.Maker:
    """What makes the state of a network."""
    return partial(network_state.from_dict, network.state)


def _networks_in(content: Any) -> dict[Any, PickledNetwork]:
    """The networks of a dict by key; none of anything else."""
    items = content.items() if isinstance(content, dict) else ()
    return {key: value for key, value in items if isinstance(value, PickledNetwork)}


def _described(name: str, value: Any) -> str:
    return f"{name} ({type(value).__name__.strip('_')})"
