"""Reads the constants of frozen TensorFlow graphs, such as classify_image_graph_def.pb. The graph is never executed.

Importing the graph of 2015 fails in TensorFlow 2, which no longer has all of its operations; its weights are constants
that can be read without them.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from dnnlib.errors import short

MAX_SIZE = 1 << 27
"""Bytes of a graph. That of Inception has 3/4 of it; one of empty nodes alone takes 50 times as much memory."""
_MAX_NODES = 100_000
_MAX_FILLED = 1 << 20  # elements of an array that is stored as one repeated value
_FIELDS = {1: 2, 2: 2, 3: 0, 4: 2, 5: 2}  # of GraphDef: number -> wire type


@dataclass(frozen=True)
class FrozenGraph:
    """What is known of a graph.

    arrays: float constants with at least one axis, by node name, in file order. others: the other constants with their
    type and shape in words. operations: how many nodes of each operation. inputs, outputs: nodes that are fed, and
    nodes that no other node uses.
    """

    arrays: dict[str, np.ndarray]
    others: dict[str, str]
    operations: Counter[str]
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def may_be_graph(head: bytes) -> bool:
    """Whether a file that begins so may be a GraphDef: a field of one, with its type."""
    return bool(head) and _FIELDS.get(head[0] >> 3) == head[0] & 7


def parse(data: bytes) -> FrozenGraph:
    """The graph in a serialized GraphDef.

    Raises ValueError for anything else, also for a truncated one, and for one of more than `MAX_SIZE` bytes.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import graph_pb2

    if len(data) > MAX_SIZE:
        raise ValueError("this is too large for a graph")
    try:
        nodes = graph_pb2.GraphDef.FromString(data).node
    except DecodeError:
        raise ValueError("this is a damaged graph, or none, or the file ends within a node of it") from None
    if len(nodes) > _MAX_NODES:
        raise ValueError("the graph has too many nodes")
    graph = FrozenGraph({}, {}, Counter())
    operations: dict[str, str] = {}  # by name of the node
    used: set[str] = set()
    left = len(data)
    for number, node in enumerate(nodes):
        if not node.name or not node.op or node.name in operations:
            raise ValueError(f"node {number} of the graph has no name or operation, or a name that occurs twice")
        operations[node.name] = node.op
        used.update(name.lstrip("^").split(":")[0] for name in node.input)
        if node.op in ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault"):
            graph.inputs.append(node.name)
        if node.op == "Const":
            left -= _add_constant(graph, node.name, node.attr["value"].tensor)
            if left < -64 * _MAX_FILLED:
                raise ValueError("the constants are larger than the file")
    if not operations:
        raise ValueError("the graph has no nodes")
    graph.operations.update(operations.values())
    graph.outputs.extend(name for name, op in operations.items() if name not in used and op != "Const")
    return graph


def _add_constant(graph: FrozenGraph, name: str, tensor: object) -> int:
    """Adds the value of a Const node. Returns how many bytes it takes."""
    import tensorflow as tf

    try:
        dtype = tf.dtypes.as_dtype(tensor.dtype)
    except (TypeError, KeyError):
        raise ValueError(f"constant {short(name)} has an unknown type") from None
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or any(n < 0 for n in shape) or len(shape) > 8:
        raise ValueError(f"constant {short(name)} has an impossible shape")
    if dtype not in (tf.float32, tf.float64, tf.float16) or not shape:
        graph.others[name] = f"{dtype.name} {shape}"
        return 0
    size = math.prod(shape)
    stored = len(tensor.tensor_content)
    if stored and stored != size * dtype.size:
        raise ValueError(f"constant {short(name)} has {stored} bytes for shape {shape}")
    listed = len(tensor.float_val) or len(tensor.double_val) or len(tensor.half_val)
    if not stored and (listed > size or (listed < size and size > _MAX_FILLED)):
        raise ValueError(f"constant {short(name)} has {listed} values for shape {shape}")
    graph.arrays[name] = tf.make_ndarray(tensor)
    return graph.arrays[name].nbytes
