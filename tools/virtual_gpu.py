"""Counts what a GPU would be asked to do for a function, without a GPU.

TensorFlow rewrites the graph of a function for a GPU of compute capability 9.0 that is only described to it, and its
list of kernels says what runs there and which values must be in the memory of the host. The compiled ops are there as
CPU kernels, and count as kernels of the GPU.

    python -m tools.virtual_gpu --resolution=1024 --minibatch=1 --precision=fp16

Nothing is executed, so nothing is said about time, but for what bounds it: launches, bytes, and what is waited for.
"""

import argparse
import functools
import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, device_properties_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.framework import kernels, op_def_registry
from tensorflow.python.grappler import cluster, tf_optimizer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib.tflib import kept

GPU = "/job:localhost/replica:0/task:0/device:GPU:0"
_OURS = "Stylegan"  # how names of the compiled ops begin
_FUNCTIONS = {"If", "StatelessIf", "PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile", "Case"}
_NO_LAUNCH = {  # ops that hand tensors on, with other shapes or under other names
    *("AssignVariableOp", "Const", "EnsureShape", "ExpandDims", "Identity", "IdentityN", "Merge", "NoOp"),
    *("Placeholder", "PreventGradient", "ReadVariableOp", "Reshape", "Snapshot", "Squeeze", "StopGradient", "Switch"),
    *("VarHandleOp", "_Arg", "_Retval"),
}
_CONVOLUTIONS = {"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "MatMul", "BatchMatMulV2", "_FusedConv2D"}


@dataclass
class Work:
    """What one call of a function asks of a GPU.

    Attributes:
        launches: nodes that start at least one kernel, by op. Filters that convolutions transpose come on top.
        bytes: what these read and write, as far as shapes are known, by op.
        waits: edges on which a value that the GPU computes goes to the host, which waits for it: "a -> b (Op)".
        uploads: edges on which a value goes from the host to the GPU within the function, which holds up what needs it
            until the GPU has done all that it was given before.
        host: nodes that have no kernel for a GPU, by op.
    """

    launches: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    waits: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    host: Counter[str] = field(default_factory=Counter)

    @property
    def num_launches(self) -> int:
        """Of all ops."""
        return self.launches.total()

    @property
    def elementwise_bytes(self) -> int:
        """Bytes of all that is neither convolution nor matrix product."""
        return sum(size for op, size in self.bytes.items() if op not in _CONVOLUTIONS)

    def lines(self) -> Iterator[str]:
        """A report in Markdown."""
        yield f"{self.num_launches} kernels, {self.launches['Transpose']} transposes, {self.launches['Cast']} casts"
        total = sum(self.bytes.values())
        yield f"{total / 1e6:.1f} MB read and written, {self.elementwise_bytes / 1e6:.1f} MB outside of convolutions"
        yield f"{len(self.waits)} values the host waits for"
        yield from (f"- {edge}" for edge in self.waits)
        yield f"{len(self.uploads)} values the GPU waits for"
        yield from (f"- {edge}" for edge in self.uploads)
        if self.host:
            yield "On the host: " + ", ".join(f"{count} {op}" for op, count in self.host.most_common())
        yield ""
        yield "| op | kernels | MB |"
        yield "|---|---|---|"
        for op, count in self.launches.most_common():
            yield f"| {op} | {count} | {self.bytes[op] / 1e6:.1f} |"


def work_of(function: Any, layout_optimizer: bool = True, remapping: bool = True) -> Work:
    """What a call of a concrete function asks of a GPU.

    layout_optimizer, remapping: whether these passes of TensorFlow run, see `tf.config.optimizer`.
    """
    graph_def = optimized(function, layout_optimizer, remapping)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    bodies = {body.signature.name: body for body in graph_def.library.function}
    work = Work()
    _add(work, [(op.node_def, op) for op in graph.get_operations()], bodies)
    return work


def optimized(function: Any, layout_optimizer: bool = True, remapping: bool = True) -> Any:
    """The graph of a concrete function as TensorFlow would rewrite it for a GPU: a `GraphDef`."""
    graph_def = function.graph.as_graph_def()
    _with_variables(graph_def, function)
    for node in graph_def.node:
        if not node.op.startswith(_OURS):
            node.device = node.device or GPU
    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph_def)
    outputs = [tensor.name for tensor in tf.nest.flatten(function.outputs) if tensor is not None]
    kept = outputs + [op.name for op in function.graph.control_outputs]
    meta_graph.collection_def["train_op"].node_list.value.extend(kept)  # what must not be removed

    config = config_pb2.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    switch = {True: rewriter_config_pb2.RewriterConfig.ON, False: rewriter_config_pb2.RewriterConfig.OFF}
    rewriting.layout_optimizer, rewriting.remapping = switch[layout_optimizer], switch[remapping]
    rewriting.min_graph_nodes = -1  # small graphs, too
    return tf_optimizer.OptimizeGraph(config, meta_graph, verbose=False, cluster=virtual_cluster())


def virtual_cluster() -> Any:
    """A host with a GPU of compute capability 9.0, which is only described."""
    properties = device_properties_pb2.DeviceProperties(
        type="GPU",
        vendor="NVIDIA",
        num_cores=132,
        frequency=1980,
        memory_size=80 << 30,
        bandwidth=3_350_000_000,
        environment={"architecture": "9.0", "cuda": "12050", "cudnn": "90300"},
    )
    gpu = device_properties_pb2.NamedDevice(name=GPU, properties=properties)
    cpu = device_properties_pb2.DeviceProperties(type="CPU", num_cores=16, frequency=2000, memory_size=64 << 30)
    cpu = device_properties_pb2.NamedDevice(name=GPU.replace("GPU", "CPU"), properties=cpu)
    return cluster.Cluster(devices=[cpu, gpu])


def _with_variables(graph_def: Any, function: Any) -> None:
    """Turns the inputs of a function that are variables into variables, whose shapes are known."""
    variables = {variable.handle.ref(): variable for variable in function.variables}
    captured = {inner.op.name: variables.get(outer.ref()) for outer, inner in function.graph.captures}
    for node in graph_def.node:
        variable = captured.get(node.name)
        if variable is not None:
            node.op = "VarHandleOp"
            node.attr["dtype"].type = variable.dtype.as_datatype_enum
            node.attr["shape"].shape.CopyFrom(variable.shape.as_proto())
            node.attr["shared_name"].s = node.name.encode()


def _add(work: Work, nodes: list[tuple[Any, Any]], bodies: dict[str, Any]) -> None:
    """Adds nodes, with the ops that know their shapes, and the functions that they call."""
    devices = {node.name: _outputs_on_gpu(node) for node, _ in nodes}
    for node, op in nodes:
        if node.op in _FUNCTIONS:
            for body in _called(node, bodies):
                _add(work, [(inner, None) for inner in body.node_def], bodies)
            continue
        kernel = _kernel(node)
        if kernel is None:
            work.host[node.op] += 1
        elif node.op not in _NO_LAUNCH and devices[node.name]:
            work.launches[node.op] += 1
            if op is not None:
                work.bytes[node.op] += sum(map(_size, [*op.inputs, *op.outputs]))
        for source, to_gpu in _moved(node, kernel, devices, op):
            (work.uploads if to_gpu else work.waits).append(f"{source} -> {node.name} ({node.op})")


def _called(node: Any, bodies: dict[str, Any]) -> list[Any]:
    """The functions that a node calls; of branches, the largest."""
    names = {key: value.func.name for key, value in node.attr.items() if value.HasField("func")}
    names |= {f"branch {i}": func.name for key in node.attr for i, func in enumerate(node.attr[key].list.func)}
    called = [bodies[name] for name in names.values() if name in bodies]
    if node.op in {"If", "StatelessIf", "Case"}:
        return sorted(called, key=lambda body: len(body.node_def))[-1:]
    return called


@functools.cache
def _kernels(op: str) -> list[Any]:
    """The kernels of an op for GPUs that this TensorFlow has."""
    of_op = kernels.get_registered_kernels_for_op(op).kernel
    return [kernel for name in ("GPU", "DEFAULT") for kernel in of_op if kernel.device_type == name]


def _kernel(node: Any) -> Any:
    """The kernel that runs a node on a GPU; None where there is none, so that the host does."""
    if node.op.startswith(_OURS) or node.op in {"Placeholder", "VarHandleOp", "_Retval"}:
        return _NO_HOST_MEMORY
    for kernel in _kernels(node.op):
        if all(_type(node, rule.name) in rule.allowed_values.list.type for rule in kernel.constraint):
            return kernel
    return None


class _NoHostMemory:
    host_memory_arg = ()


_NO_HOST_MEMORY = _NoHostMemory()


def _type(node: Any, name: str) -> int:
    """The type that an attribute of a node gives, in place of which there may be a default."""
    if name in node.attr:
        return node.attr[name].type
    return next((attr.default_value.type for attr in _op_def(node.op).attr if attr.name == name), 0)


@functools.cache
def _op_def(op: str) -> Any:
    return op_def_registry.get(op)


def _arguments(node: Any, arguments: Any) -> list[str]:
    """The name of the argument of each input or output of a node."""
    names = []
    for argument in arguments:
        count = 1
        if argument.number_attr:
            count = node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            count = len(node.attr[argument.type_list_attr].list.type)
        names += [argument.name] * count
    return names


def _outputs_on_gpu(node: Any) -> bool:
    """Whether a node leaves results in the memory of the GPU."""
    kernel = _kernel(node)
    if node.op == "Placeholder":
        return node.attr["dtype"].type not in {tf.int32.as_datatype_enum, tf.string.as_datatype_enum}
    if node.op in _FUNCTIONS:
        return True
    outputs = [argument.name for argument in _op_def(node.op).output_arg]
    return kernel is not None and any(name not in kernel.host_memory_arg for name in outputs)


def _moved(node: Any, kernel: Any, devices: dict[str, bool], op: Any) -> Iterator[tuple[str, bool]]:
    """The nodes whose results are where this one cannot use them, and whether they go to the GPU, not to the host."""
    data = [name for name in node.input if not name.startswith("^")]
    names = _arguments(node, _op_def(node.op).input_arg)
    for source, name in zip(data, names, strict=False):
        source = source.split(":")[0]
        on_host = kernel is None or name in kernel.host_memory_arg
        if source in devices and devices[source] == on_host and not _is_variable(op, source):
            yield source, not on_host


def _is_variable(op: Any, source: str) -> bool:
    """Whether an input of an op is a variable itself, not its value."""
    return op is not None and any(x.op.name == source and x.dtype.name in {"resource", "variant"} for x in op.inputs)


def _size(tensor: Any) -> int:
    """Bytes of a tensor; 0 where the shape is not known."""
    return math.prod(tensor.shape) * tensor.dtype.size if tensor.shape.is_fully_defined() else 0


# ----------------------------------------------------------------------------
# The command.


def generating(config: str, resolution: int, minibatch: int, precision: str) -> Any:
    """The concrete function with which images of seeds are made, as uint8."""
    from generation.conventions import Rendering
    from generation.image_generator import ImageGenerator
    from tools.benchmarks.generating import network

    generator = ImageGenerator(network("Gs", config, resolution, precision), Rendering(truncation_psi=0.5))
    generator._call_kwargs = {"randomize_noise": False}  # the precision that it has on a GPU
    latents = tf.zeros([minibatch, generator.latent_size])
    noise = [tf.zeros([minibatch, *shape[1:]]) for shape in generator.noise_shapes]
    with kept.forced(True):
        return generator._render.get_concrete_function(latents, noise, None, tf.TensorSpec([], tf.float32), None)


def main(args: list[str] | None = None) -> None:
    """Prints what generating images asks of a GPU."""
    parser = argparse.ArgumentParser(description="Count what generating images asks of a GPU, without a GPU.")
    parser.add_argument("--config", default="config-f", help="configuration (default: %(default)s)")
    parser.add_argument("--resolution", type=int, default=1024, help="of the images (default: %(default)s)")
    parser.add_argument("--minibatch", type=int, default=1, help="images per call (default: %(default)s)")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16", "bf16"], help="(default: %(default)s)")
    parser.add_argument(
        "--layout-optimizer", action="store_true", help="with TensorFlow's pass that changes layouts, which we turn off"
    )
    options = parser.parse_args(args)
    function = generating(options.config, options.resolution, options.minibatch, options.precision)
    print("\n".join(work_of(function, options.layout_optimizer).lines()))


if __name__ == "__main__":
    main()
