"""Weights of ONNX models. They do not go through tf2onnx, which has many copies of all that is constant in a graph.

A function is converted with its variables as inputs; these become the arrays of the model afterwards, and what depends
on nothing else is computed, as a converter would do it with constants.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from .onnx_session import Session

_PREFIX = "weights_"


def function_of_variables(concrete: Any) -> tuple[Any, list[tf.TensorSpec], list[np.ndarray]]:
    """A concrete function as one that takes the values of its variables, too, after its other inputs.

    Returns the function, the specifications of the variables, and their values.
    """
    graph = concrete.graph
    variables = {id(variable.handle): variable for variable in concrete.variables}
    places = {place.name: variables[id(handle)] for handle, place in graph.captures if id(handle) in variables}
    constants = {place.name: value for value, place in graph.captures if place.name not in places}
    values: dict[int, Any] = {id(variable): variable for variable in places.values()}
    specs = [
        tf.TensorSpec(variable.shape, variable.dtype, f"{_PREFIX}{idx}") for idx, variable in enumerate(values.values())
    ]
    inputs = [place.name for place in graph.inputs if place.name not in places | constants]
    reads = {
        op.outputs[0].name: id(places[op.inputs[0].name])
        for op in graph.get_operations()
        if op.type == "ReadVariableOp" and op.inputs[0].name in places
    }
    output_names = {name: output.name for name, output in concrete.structured_outputs.items()}
    definition = _without_state(graph.as_graph_def(), [*inputs, *reads, *constants])

    def function(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = dict(zip(values, tensors[len(inputs) :], strict=True))
        known = dict(zip(inputs, tensors, strict=False))
        known |= {name: weights[key] for name, key in reads.items()}
        known |= {name: tf.constant(value.numpy()) for name, value in constants.items()}
        found = tf.graph_util.import_graph_def(definition, known, list(output_names.values()), name="")
        return dict(zip(output_names, found, strict=True))

    return function, specs, [variable.numpy() for variable in values.values()]


def _without_state(definition: Any, names: list[str]) -> Any:
    """A GraphDef of nodes that have no effects, with placeholders for tensors of these names."""
    place_of = {name.split(":")[0] for name in names}
    result = tf.compat.v1.GraphDef(versions=definition.versions)
    for node in definition.node:
        if node.op in ("AssignVariableOp", "NoOp") or (node.op == "Placeholder" and node.name not in place_of):
            continue
        inputs = [] if node.name in place_of else [name for name in node.input if not name.startswith("^")]
        added = result.node.add(name=node.name, op="Placeholder" if node.name in place_of else node.op)
        added.input.extend(inputs)
        if node.name in place_of:
            added.attr["dtype"].type = node.attr["dtype"].type
        else:
            for key, value in node.attr.items():
                added.attr[key].CopyFrom(value)
    return result


def put_in(model: Any, values: list[np.ndarray]) -> None:
    """Makes the inputs that stand for variables arrays of an `onnx.ModelProto`, and computes what they determine."""
    import onnx

    for value in [value for value in model.graph.input if value.name.startswith(_PREFIX)]:
        model.graph.input.remove(value)
        array = values[int(value.name.removeprefix(_PREFIX))]
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    _fold(model)


def _fold(model: Any) -> None:
    """Computes the operators of a model that depend on arrays alone, and leaves out arrays that nothing needs."""
    import onnx

    graph = model.graph
    known = {array.name for array in graph.initializer}
    constant, others = [], []
    for node in graph.node:  # which are sorted
        is_constant = all(name in known for name in node.input if name)
        (constant if is_constant else others).append(node)
        known.update(node.output if is_constant else ())
    needed = {name for node in others for name in node.input} | {value.name for value in graph.output}
    wanted = [name for node in constant for name in node.output if name in needed]
    if wanted:
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in wanted]
        used = {name for node in constant for name in node.input}
        arrays = [array for array in graph.initializer if array.name in used]
        part = onnx.helper.make_model(
            onnx.helper.make_graph(constant, "constants", [], outputs, arrays),
            opset_imports=model.opset_import,
            ir_version=model.ir_version,
        )
        for name, value in zip(wanted, Session(part.SerializeToString()).compute(wanted, {}), strict=True):
            graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    kept = [array for array in graph.initializer if array.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(others)
    graph.initializer.extend(kept)
