"""Official variable names for Keras layers.

The official networks name a variable by the scopes it is created in: `G_synthesis/64x64/Conv0_up/weight`. Here a scope
is a Keras layer: `Scoped` layers create their variables and their sub-layers when they are constructed, in the
official order, and keep them as attributes of the same names. The name of a variable is the path of attributes that
leads to it.

While a network is constructed, a source decides where its variables come from: without one they are created with their
initializers; `GivenVariables` has values from a file, or the variables of another network.
"""

import contextlib
import contextvars
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import listed, printable

from . import kept, random_stream

KERAS_3 = hasattr(tf.keras, "name_scope")
_path: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("official_scope", default=())
_source: contextvars.ContextVar["GivenVariables | ShapesOnly | None"] = contextvars.ContextVar(
    "variable_source", default=None
)
_rows: contextvars.ContextVar[list | None] = contextvars.ContextVar("layer_rows", default=None)


@contextlib.contextmanager
def _having(variable: contextvars.ContextVar, value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


# ----------------------------------------------------------------------------
# Initializers. `init(shape, dtype)`.


def zeros(shape: tuple[int, ...], dtype: Any = None, **_kwargs: Any) -> tf.Tensor:
    """Initial value 0."""
    return tf.zeros(shape, dtype or tf.float32)


def ones(shape: tuple[int, ...], dtype: Any = None, **_kwargs: Any) -> tf.Tensor:
    """Initial value 1."""
    return tf.ones(shape, dtype or tf.float32)


def random_normal(stddev: float = 1.0) -> Callable[..., tf.Tensor]:
    """Normal numbers of mean 0, drawn from TensorFlow's global generator (`tflib.init_tf` seeds it)."""
    return lambda shape, dtype=None, **_kwargs: random_stream.normal(shape, dtype or tf.float32) * stddev


# ----------------------------------------------------------------------------
# Where variables come from.


class VariableMismatchError(ValueError):
    """The variables of a network and those it was given differ. The message lists the first differences."""


class GivenVariables:
    """A source of variables: those of another network, or new ones with given values.

    A value that is a NumPy array becomes a new variable; a value that is a variable is shared, as TensorFlow 1 did for
    a second use of a variable scope. `check_variables` comes first: every variable must be there, in the right shape.
    """

    def __init__(self, values: Mapping[str, Any]):
        self.values = values

    def provide(self, layer: "Scoped", path: str, name: str, shape: tuple[int, ...], trainable: bool) -> Any:
        """Returns the variable `path`, which `layer` wants to have under `name`."""
        value = self.values[path]
        if not isinstance(value, (np.ndarray, np.generic)):
            return value
        return _new_variable(layer, name, shape, _constant(value), trainable)


class ShapesOnly:
    """A source that creates no variables but notes the shapes of those that a network would have."""

    def __init__(self) -> None:
        self.shapes: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    def provide(self, layer: "Scoped", path: str, name: str, shape: tuple[int, ...], trainable: bool) -> None:
        """Notes the shape of the variable `path`."""
        self.shapes[path] = shape


_MOST_DIFFERENCES = 30  # in a message


def check_variables(
    origin: str, shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any], all_used: bool = True
) -> None:
    """Compares the variables that a network needs with those it is given.

    Args:
        origin: what is given, for messages.
        shapes: shape by name, what the network needs.
        given: arrays or variables by name.
        all_used: whether anything left over is an error.

    Raises:
        VariableMismatchError: with the first differences, and how many more there are.
    """
    problems = []
    for path, shape in shapes.items():
        if path not in given:
            problems.append(f"{path}: missing, the network needs shape {list(shape)}")
        elif tuple(given[path].shape) != shape:
            problems.append(f"{path}: has shape {list(given[path].shape)}, the network needs {list(shape)}")
    if all_used:
        problems += [f"{printable(path)}: not part of the network" for path in given if path not in shapes]
    if problems:
        shown = listed(problems, _MOST_DIFFERENCES)
        raise VariableMismatchError(f"{origin}: variables do not fit the network:\n  " + "\n  ".join(shown))


def _new_variable(layer: "Scoped", name: str, shape: tuple[int, ...], initializer: Any, trainable: bool) -> Any:
    # How replicas of `tf.distribute` assign: running averages and `lod` get the same value from all of them.
    how = tf.VariableAggregation.NONE if trainable else tf.VariableAggregation.ONLY_FIRST_REPLICA
    aggregation = how.name.lower() if KERAS_3 else how
    return layer.add_weight(
        name=name, shape=shape, initializer=initializer, trainable=trainable, aggregation=aggregation
    )


def _constant(value: np.ndarray) -> Callable[..., tf.Tensor]:
    # Values keep their own scale: dtype is float32 in every official file; other float types are converted here.
    return lambda shape, dtype=None, **_kwargs: tf.constant(value, dtype=dtype or tf.float32)


def tf_variables(variables: dict[str, Any]) -> "OrderedDict[str, tf.Variable]":
    """The TensorFlow variables behind Keras' own: unlike those, they work in all of TensorFlow (`tape.watch`, ...).

    They can be keys of a dict, which TensorFlow 2 forbids: official scripts call `tflib.set_vars({var: value})`.
    """
    result: OrderedDict[str, tf.Variable] = OrderedDict()
    for name, var in variables.items():
        tf_var = var.value if KERAS_3 else var
        if not isinstance(tf_var, tf.distribute.DistributedValues):
            tf_var.__class__ = _hashable_class(type(tf_var))
        result[name] = tf_var
    return result


@functools.cache
def _hashable_class(variable_class: type) -> type:
    """The same class of variables, hashed by identity."""
    if variable_class.__dict__.get("__hash__") is object.__hash__:
        return variable_class
    members = {"__hash__": object.__hash__, "__slots__": (), "__module__": variable_class.__module__}
    return type(variable_class.__name__, (variable_class,), members)


@contextlib.contextmanager
def variables_from(source: GivenVariables | ShapesOnly | None) -> Iterator[None]:
    """Inside, networks are constructed as roots of their own names, with variables from `source`."""
    with _having(_source, source), _having(_path, ()):
        yield


# ----------------------------------------------------------------------------
# Scopes.


def _keras_scope(name: str) -> contextlib.AbstractContextManager:
    """Keras' own name scope, so that `variable.path` (Keras 2: `variable.name`) tells the official name as well."""
    return tf.keras.name_scope(name) if KERAS_3 else tf.name_scope(name)


class Scoped(tf.keras.layers.Layer):
    """A Keras layer whose variables and sub-layers exist from construction on and carry official names.

    Sub-classes take `name` and keyword-only arguments, create variables with `add_variable` and sub-layers with
    `add_child` in the official order, and implement `call`. Their constructor arguments are their configuration.
    """

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        tf.keras.utils.register_keras_serializable(package=cls.__module__)(cls)  # lets `.keras` files find the class

    def __new__(cls, *args: Any, **kwargs: Any) -> "Scoped":
        layer = super().__new__(cls, *args, **kwargs)
        # The first argument is the name, the others are keywords.
        config = {"name": args[0], **kwargs} if args else kwargs
        object.__setattr__(layer, "_scoped_config", config)
        return layer

    def __setattr__(self, name: str, value: Any) -> None:
        # Keras looks for variables and layers in every attribute. Plain settings have none, and there are many.
        if value is None or isinstance(value, (bool, int, float, str)):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __init__(self, name: str):
        super().__init__(name=name, dtype="float32", autocast=False)  # types are arguments of networks
        self._member_names: tuple[str, ...] = ()
        self._scope_path = "/".join(_path.get())
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        return {"name": self.name, **self._scoped_config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Scoped":
        """Rebuilds the layer from its constructor arguments."""
        return cls(**config)

    def add_variable(
        self,
        name: str,
        shape: tuple[int, ...] | list[int],
        initializer: Callable[..., tf.Tensor] = zeros,
        trainable: bool = True,
    ) -> Any:
        """Creates the variable `name` of this scope (or takes it from the active source) and returns it."""
        shape = tuple(int(size) for size in shape)
        path = "/".join((*_path.get(), name))
        source = _source.get()
        with contextlib.nullcontext() if KERAS_3 else _keras_scope(self.name):
            if source is None:
                variable = _new_variable(self, name, shape, initializer, trainable)
            else:
                variable = source.provide(self, path, name, shape, trainable)
        return self._add_member(name, variable)

    def add_child(self, layer_class: type["Scoped"], name: str, **kwargs: Any) -> Any:
        """Creates the sub-layer `name` inside this scope and returns it."""
        with _keras_scope(self.name), _having(_path, (*_path.get(), name)):
            child = layer_class(name=name, **kwargs)
        return self._add_member(name, child)

    def _add_member(self, name: str, member: Any) -> Any:
        setattr(self, name, member)
        self._member_names = (*self._member_names, name)
        return member

    def named_variables(self) -> "OrderedDict[str, Any]":
        """All variables below this scope by their official names, in the official order."""
        result: OrderedDict[str, Any] = OrderedDict()
        for name in self._member_names:
            member = getattr(self, name)
            if isinstance(member, Scoped):
                result.update((f"{name}/{path}", variable) for path, variable in member.named_variables().items())
            else:
                result[name] = member
        return result

    def own_variables(self) -> "OrderedDict[str, Any]":
        """The variables that this scope holds itself or through layers that are no networks."""
        networks = tuple(f"{name}/" for name in self._member_names if isinstance(getattr(self, name), tf.keras.Model))
        return OrderedDict(item for item in self.named_variables().items() if not item[0].startswith(networks))

    def kept(self, name: str, compute: Callable[[], tf.Tensor]) -> tf.Tensor:
        """`compute()`, which follows from variables alone; its last result where such values are kept, see `kept`."""
        store = kept.current()
        return compute() if store is None else store.value((id(self), name), compute)

    def row(self, tensor: tf.Tensor, name: str = "") -> tf.Tensor:
        """Notes a result of this scope, or of the step `name` in it, as one line of the layer table; returns it."""
        rows = _rows.get()
        if rows is not None:
            rows.append(("/".join(part for part in (self._scope_path, name) if part), tensor.shape))
        return tensor


@contextlib.contextmanager
def recorded_rows() -> Iterator[list[tuple[str, tf.TensorShape]]]:
    """Inside, every `Scoped.row` is added to the list that this context gives: (official name, shape)."""
    rows: list[tuple[str, tf.TensorShape]] = []
    with _having(_rows, rows):
        yield rows


def is_recording_rows() -> bool:
    """True inside `recorded_rows`."""
    return _rows.get() is not None
