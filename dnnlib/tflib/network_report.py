"""What there is to say about a network: the official table of its layers, and which variables are not finite."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import counted, enumerated

from .scope import recorded_rows

Layer = tuple[str, list[int | None], dict[str, Any]]


def list_layers(net: Any) -> list[Layer]:
    """Layers in the order of computation: (name, output shape, trained variables by name).

    Inputs, variables outside of layers and outputs are listed, too, as officially.
    """
    rows = _trace(net)
    layers: list[Layer] = []
    _add_network(net, "", rows, layers)
    return layers


def _trace(net: Any) -> dict[str, list[int | None]]:
    """Output shapes (channels first) of all steps, by tracing the network once with an open minibatch size."""
    specs = [tf.TensorSpec(shape, tf.float32) for shape in net.input_shapes]
    kwargs = {"randomize_noise": False} if "randomize_noise" in net.call_arguments() else {}
    with recorded_rows() as rows:
        tf.function(lambda *inputs: net.model(*inputs, **kwargs), autograph=False).get_concrete_function(*specs)
    prefix = net.model._scope_path
    result = {}
    for path, shape in rows:
        local = path.removeprefix(prefix).lstrip("/") if prefix else path
        shape = shape.as_list()
        if len(shape) == 4:
            shape = [shape[0], shape[3], shape[1], shape[2]]  # NHWC -> NCHW
        result[local] = shape  # a later step of the same name stands for its scope
    return result


def _add_network(net: Any, prefix: str, rows: dict[str, list[int | None]], layers: list[Layer]) -> None:
    is_component = bool(prefix)
    variables = {name: var for name, var in net.vars.items() if "/" not in name}
    for name, shape in zip(net.input_names, net.input_shapes, strict=True):
        layers.append((prefix + name, shape, {}))
    own_rows: list[Layer] = [(prefix + name, list(var.shape), {}) for name, var in variables.items()]
    if not is_component:
        layers.extend(own_rows)
    components = {component.name + "/": component for component in net.components.values()}
    done: set[str] = set()
    for path, shape in rows.items():
        if not path.startswith(prefix):
            continue
        local = path[len(prefix) :]
        component = next((start for start in components if local.startswith(start)), None)
        if component is None:
            layers.append((path, shape, _trained_in(net, local)))
        elif component not in done:
            done.add(component)
            _add_network(components[component], prefix + component, rows, layers)
    for name, shape in zip(net.output_names, net.output_shapes, strict=True):
        layers.append((prefix + name, shape, {}))
    if is_component:
        layers.extend(own_rows)


def _trained_in(net: Any, scope: str) -> dict[str, Any]:
    """Trained variables of a scope by their local names."""
    return {name: var for name, var in net.trainables.items() if name.startswith(scope + "/")}


def format_layers(net: Any, title: str | None = None, hide_layers_with_no_params: bool = False) -> str:
    """The table as text, with an empty line before and after."""
    table = [[title or net.name, "Params", "OutputShape", "WeightShape"], ["---"] * 4]
    for name, shape, trained in list_layers(net):
        num_params = sum(int(np.prod(var.shape)) for var in trained.values())
        if num_params == 0 and hide_layers_with_no_params:
            continue
        weights = sorted((path for path in trained if path.split("/")[-1] == "weight"), key=len)
        if not weights and len(trained) == 1:
            weights = list(trained)
        weight_shape = _format_shape(trained[weights[0]].shape) if weights else "-"
        table.append([name, str(num_params) if num_params else "-", _format_shape(shape), weight_shape])
    total = sum(int(np.prod(var.shape)) for var in net.trainables.values())
    table += [["---"] * 4, ["Total", str(total), "", ""]]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join(["", *lines, ""])


def _format_shape(shape: Any) -> str:
    """A shape as TensorFlow 1 printed it: (?, 512), (512,), ()."""
    sizes = ["?" if size is None else str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


# ----------------------------------------------------------------------------
# NaN and infinity.

_MOST_NAMES = 3


def not_finite(net: Any) -> list[str]:
    """The local names of a network's variables in which there is NaN or infinity. It is not built for that."""
    unbuilt = net.unbuilt()
    values = net.vars if unbuilt is None else unbuilt[1].values
    return [name for name, value in values.items() if not np.isfinite(np.asarray(value)).all()]


def describe_not_finite(nets: Mapping[str, Any]) -> str:
    """'NaN or infinity in 2 variables of Gs (lod, dlatent_avg), 1 variable of D (Output/bias)'; '' where there is none.

    nets: by what they are to be called.
    """
    parts = []
    for key, net in nets.items():
        found = not_finite(net)
        if not found:
            continue
        parts.append(f"{counted(len(found), 'variable')} of {key} ({enumerated(found, _MOST_NAMES)})")
    return f"NaN or infinity in {', '.join(parts)}" if parts else ""
