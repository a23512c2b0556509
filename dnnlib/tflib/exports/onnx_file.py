"""Generators as ONNX models, of standard operators alone: no custom ones, no control flow."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from dnnlib import files
from dnnlib.errors import UserError
from dnnlib.formats.program_options import ProgramOptions
from dnnlib.progress import Progress
from dnnlib.tflib.network import Network

from . import onnx_weights, verifying
from .float16 import stored_as_float16
from .onnx_session import Session
from .programs import Program
from .running import failing

_FEWEST = 256  # elements of an array that is worth an operator


def write(net: Network, options: ProgramOptions, path: str) -> list[str]:
    """Writes a generator to a new file, which is run by onnxruntime and compared. Returns lines on it.

    Raises VerificationError where it computes something else, UserError where a package fails. OSError.
    """
    import onnx

    program = Program(net, options)
    with Progress(3, "steps", desc=os.path.basename(path)) as progress:  # minutes for large networks
        model = _converted(program)
        with failing("onnx"):
            _check(model, options.opset)
            onnx.save(model, path)
        progress.update(note=lambda: "converted")
        _ = program.examples  # which are kept
        progress.update(note=lambda: "computed by TensorFlow")
        lines = verifying.compared(program, Session(path).run)
        if options.weights == "float16":
            _store_as_float16(model)
            with failing("onnx"):
                onnx.save(model, path)
            lines += verifying.compared_weights(program, Session(path).run)
    return [*lines, f"opset {options.opset}, {files.format_size(os.path.getsize(path))}"]


def _converted(program: Program) -> Any:
    """A program as an `onnx.ModelProto`. Raises UserError where tf2onnx fails, which it may only log."""
    import tf2onnx

    function, specs, values = onnx_weights.function_of_variables(program.function.get_concrete_function())
    signature = [*program.inputs.values(), *specs]
    with failing("tf2onnx"), _records_of("tf2onnx", None) as records:
        model, _ = tf2onnx.convert.from_function(
            tf.function(function, input_signature=signature, autograph=False), signature, program.options.opset
        )
    errors = [record.getMessage() for record in records if record.levelno >= logging.ERROR and record.name != "root"]
    if errors:
        raise UserError(f"tf2onnx fails: {' '.join(errors[0].split())[:300]}")
    onnx_weights.put_in(model, values)
    _name(model, program)
    return model


@contextlib.contextmanager
def _records_of(*names: str | None) -> Iterator[list[logging.LogRecord]]:
    """Collects what is logged by loggers of these names, None is the root, in place of printing it."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in names]
    propagate = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield records
    finally:
        for logger, propagates in zip(loggers, propagate, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagates


def _name(model: Any, program: Program) -> None:
    """Gives a model its sizes of minibatches by name, its notes, and the one domain that it uses."""
    graph = model.graph
    graph.name = model.doc_string = program.net.name
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_param = f"{value.name}_N" if value.name.startswith("noise") else "N"
    for entry in list(model.opset_import):
        if entry.domain:
            model.opset_import.remove(entry)
    for key, value in program.notes().items():
        model.metadata_props.add(key=key, value=value)


def _check(model: Any, opset: int) -> None:
    """Raises UserError unless a model consists of operators of ONNX's own domain, without branches and loops."""
    import onnx

    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    foreign = {f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain}
    control_flow = {
        node.op_type for node in model.graph.node for attribute in node.attribute if attribute.type in graphs
    }
    if found := sorted(foreign | control_flow | {function.name for function in model.functions}):
        raise UserError(f"the model has operators that are not everywhere: {', '.join(found)}")
    declared = {(entry.domain, entry.version) for entry in model.opset_import}
    if declared != {("", opset)}:
        raise UserError(f"the model declares {sorted(declared)}, expected opset {opset}")
    onnx.checker.check_model(model, full_check=True)


def _store_as_float16(model: Any) -> None:
    """Makes weights float16, from which an operator each makes float32. Runtimes do so once, when they load a model."""
    import onnx

    nodes = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = stored_as_float16(onnx.numpy_helper.to_array(tensor), _FEWEST)
        if values is None:
            continue
        name = f"{tensor.name}_float16"
        nodes.append(onnx.helper.make_node("Cast", [name], [tensor.name], name, to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    nodes.extend(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
