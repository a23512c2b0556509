"""Files of LiteRT (TensorFlow Lite) as trees of objects: what is in one, and what is changed in one.

TensorFlow has the classes of the schema, but no public way to them; they are the same since TensorFlow 2.15.
"""

import copy
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from .float16 import stored_as_float16

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of weights in a file, as the schema asks for
_OPERATORS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_CONTROL_FLOW = ("IF", "WHILE", "CALL", "CALL_ONCE")
_LAYERS = ("CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")  # whose second input are weights
_FEWEST = 2  # all but scalars: where weights are float16, LiteRT's quick layers (XNNPACK) take biases of float16 alone
_OF_FLOAT16 = 3  # the version of DEQUANTIZE that takes it
_PER_CHANNEL = 5  # the version of DEQUANTIZE that has steps of each channel


def parsed(content: bytes | bytearray) -> Any:
    """A file as a `schema.ModelT`, whose weights are views of it."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def content_of(model: Any) -> bytearray:
    """The file of a `schema.ModelT`."""
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = _Builder(size + (1 << 20))
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return builder.Output()


class _Builder(flatbuffers.Builder):
    """Aligns weights, which the package does to numbers of one byte only."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        return super().StartVector(elemSize, numElems, max(alignment, _ALIGNMENT))


def unusual_operators(model: Any) -> list[str]:
    """Operators of a model that are not LiteRT's own, or are branches and loops, in order."""
    found = set()
    for code in model.operatorCodes:
        name = _OPERATORS.get(code.builtinCode, "unknown")
        if code.customCode is not None or name in ("CUSTOM", "unknown"):
            found.add(f"{name} {(code.customCode or b'').decode(errors='replace')}".strip())
        elif name in _CONTROL_FLOW:
            found.add(name)
    return sorted(found)


def describe(model: Any, notes: Mapping[str, str]) -> None:
    """Writes notes as the description of a model, in JSON."""
    model.description = json.dumps(dict(notes))


def store_as_float16(model: Any) -> None:
    """Makes weights float16, from which an operator each makes float32, which LiteRT does when it loads a model.

    The converter does it to all constants: those that are added lest something is 0 vanish then.
    """
    model.operatorCodes.append(_code_of_dequantize())
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors]
    others = {0} | {tensor.buffer for tensor in tensors if tensor.type != schema.TensorType.FLOAT32}
    buffers = {tensor.buffer for tensor in tensors} - others
    stored = {buffer for buffer in buffers if _store_buffer(model.buffers[buffer])}
    for subgraph in model.subgraphs:
        indices = [index for index, tensor in enumerate(subgraph.tensors) if tensor.buffer in stored]
        opcode = len(model.operatorCodes) - 1
        subgraph.operators = [_dequantized(subgraph, index, opcode) for index in indices] + subgraph.operators


def _code_of_dequantize() -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = _OF_FLOAT16
    return code


def _store_buffer(buffer: Any) -> bool:
    """Makes weights float16, if that is possible."""
    values = None if buffer.data is None else stored_as_float16(buffer.data.view(np.float32), _FEWEST)
    if values is not None:
        buffer.data = values.view(np.uint8)
    return values is not None


def _dequantized(subgraph: Any, index: int, opcode: int) -> Any:
    """The operator that computes a tensor of a graph. Its buffer becomes that of a new one, of float16."""
    tensor = subgraph.tensors[index]
    float16 = copy.copy(tensor)
    float16.name, float16.type = tensor.name + b"_float16", schema.TensorType.FLOAT16
    tensor.buffer = 0  # of what is computed
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.outputs, operator.inputs = opcode, [index], [len(subgraph.tensors)]
    subgraph.tensors.append(float16)
    return operator


def store_as_int8(model: Any, but: str) -> None:
    """Makes weights of layers int8 where they are float16, each output channel in steps of its own.

    The operators that make float32 of them are there. Layers that compute in int8 would be slower, as LiteRT has no
    quick transposed convolution of those, and their images are two to three times as far from those of float32.

    but: part of the names of tensors that stay as they are.
    """
    for subgraph in model.subgraphs:
        users = Counter(tensor.buffer for tensor in subgraph.tensors)
        stored = {op.outputs[0]: op.inputs[0] for op in subgraph.operators if name_of(model, op) == "DEQUANTIZE"}
        for op in subgraph.operators:
            if name_of(model, op) in _LAYERS and op.inputs[1] in stored:
                tensor = subgraph.tensors[stored[op.inputs[1]]]
                is_float16 = tensor.type == schema.TensorType.FLOAT16 and users[tensor.buffer] == 1
                if is_float16 and but not in tensor.name.decode():
                    _quantize(tensor, model.buffers[tensor.buffer])
    for code in model.operatorCodes:
        if _OPERATORS[code.builtinCode] == "DEQUANTIZE":
            code.version = max(code.version, _PER_CHANNEL)


def name_of(model: Any, op: Any) -> str:
    """The name of an operator of a graph of a model."""
    return _OPERATORS[model.operatorCodes[op.opcodeIndex].builtinCode]


def _quantize(tensor: Any, buffer: Any) -> None:
    """Makes a float16 tensor `[out, ...]` int8."""
    values = buffer.data.view(np.float16).astype(np.float32).reshape(tensor.shape[0], -1)
    steps = np.max(np.abs(values), axis=1) / 127
    steps[steps == 0] = 1
    buffer.data = np.round(values / steps[:, np.newaxis]).astype(np.int8).view(np.uint8).reshape(-1)
    tensor.type = schema.TensorType.INT8
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = steps
    tensor.quantization.zeroPoint = np.zeros(len(steps), np.int64)
    tensor.quantization.quantizedDimension = 0
