"""A network of the same kind with other arguments, and what of the old one fits it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib import random_stream
from dnnlib.tflib.network import Network

_SEED = 20  # of what is new, so that G and Gs, and files of two calls, are the same


def remade(net: Network, /, levels_move: bool = False, **kwargs: Any) -> Network:
    """A network with other arguments, and all variables of the old one that have the same name and shape.

    What is new is random in the same way each time. levels_move: leaves ToRGB and FromRGB layers of growing networks as
    new, which are numbered from the largest images on. Raises UserError for arguments that are impossible.
    """
    build_kwargs = {**net.build_kwargs, **kwargs}
    build_kwargs.pop("dlatent_broadcast", None)  # as many as there are layers
    stream = random_stream.StatelessStream(random_stream.seed_of(_SEED))
    try:
        with random_stream.using(stream):
            new = Network(net.name, func_name=type(net.model), **build_kwargs)
    except (TypeError, ValueError) as error:
        raise UserError(f"{net.name}: {error}") from None
    new.augment_p = net.augment_p
    for part in (new, *new.components.values()):
        part.source_format = net.source_format
    same = [name for name, variable in new.vars.items() if name in net.vars and variable.shape == net.vars[name].shape]
    assign(new, {name: net.get_var(name) for name in same if not (levels_move and "RGB_lod" in name)})
    return new


def assign(net: Network, values: Mapping[str, Any]) -> None:
    """Gives variables values, which may be numbers for all of an array."""
    for name, value in values.items():
        net.set_var(name, np.broadcast_to(np.asarray(value, np.float32), net.vars[name].shape))


def layer_of(net: Network, name: str) -> Any:
    """The layer that a variable belongs to."""
    layer = net.model
    for part in name.split("/")[:-1]:
        layer = getattr(layer, part)
    return layer


def coef_of(net: Network, name: str) -> float:
    """What a weight is multiplied by at run time."""
    return float(layer_of(net, name).runtime_coef)


def is_generator(net: Network) -> bool:
    """Whether a network is a generator. Raises UserError for what is neither that nor a discriminator."""
    if {"mapping", "synthesis"} <= net.components.keys():
        return True
    if "images_in" in net.input_names:
        return False
    raise UserError(f"{net.name}: is a {type(net.model).__name__}; generators and discriminators can be resized")
