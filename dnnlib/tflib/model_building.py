"""Builds the Keras models of networks, which are found by dotted names, and tells the shapes of their variables."""

import inspect
from typing import Any

import tensorflow as tf

from dnnlib import util

from .network_run import frozen
from .scope import GivenVariables, ShapesOnly, variables_from


def model_class_of(func_name: Any) -> Any:
    """The network class of a dotted name; a class is returned as it is. Raises ValueError for what is no network."""
    if func_name is None:
        raise ValueError("Network: func_name must name a network, e.g. 'training.networks_stylegan2.G_main'")
    model_class = util.get_obj_by_name(func_name) if isinstance(func_name, str) else func_name
    if not (inspect.isclass(model_class) and issubclass(model_class, tf.keras.Model)):
        raise ValueError(f"Network: {func_name!r} is not a network")
    return model_class


def build_model(
    model_class: Any, name: str, kwargs: dict[str, Any], source: GivenVariables | ShapesOnly | None = None
) -> Any:
    """A model, with variables from a source; None: with initial values. Raises TypeError or ValueError."""
    with variables_from(source):
        return model_class(name=name, **kwargs)


_known_shapes: dict[Any, dict[str, tuple[int, ...]]] = {}  # to find them out takes as long as to build the network


def variable_shapes(func_name: Any, kwargs: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of all variables of a network by name, without creating any.

    func_name: dotted name of a network class, or the class. Raises TypeError or ValueError for unknown or impossible
    arguments.
    """
    model_class = model_class_of(func_name)
    key = model_class, frozen(kwargs)
    if key not in _known_shapes:
        source = ShapesOnly()
        build_model(model_class, "shapes", kwargs, source)
        _known_shapes[key] = source.shapes
    return dict(_known_shapes[key])
