"""Computes without a GPU how much memory tensors take that are alive at the same time while a GPU trains or generates.

    python -m tools.memory_estimate --resolution=256 --minibatch=32 --precision=fp16

TensorFlow's graph of each phase is rewritten for a GPU that is only described, and executed in thought. The result is a
lower bound: what convolutions need while they run is not in it, nor what they try when they choose their algorithms,
nor the gaps that the allocator leaves.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.grappler import item

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools import virtual_gpu
from tools.benchmarks.table import PRECISIONS, Case, implementation
from tools.benchmarks.training import FREQUENCY, as_in_training, make_step, phase_function


class Alive(NamedTuple):
    """Bytes of tensors that are alive when they are the most: of all, and by the kind of op that made them."""

    bytes: int
    by_op: Counter[str]


def alive(function: Any) -> Alive:
    """The peak of a call of a concrete function; the variables that it uses are not in it."""
    graph_def = virtual_gpu.optimized(function, layout_optimizer=False, remapping=False)
    ops = {node.name: node.op for node in graph_def.node}
    for node in graph_def.node:
        node.device = virtual_gpu.GPU
    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph_def)
    names = [tensor.name for tensor in tf.nest.flatten(function.outputs) if tensor is not None]
    names += [op.name for op in function.graph.control_outputs]
    kept = [name for name in names if name.split(":")[0] in ops]
    meta_graph.collection_def["train_op"].node_list.value.extend(kept)
    usage = virtual_gpu.virtual_cluster().DeterminePeakMemoryUsage(item.Item(meta_graph))
    peak, tensors = usage[virtual_gpu.GPU]
    by_op: Counter[str] = Counter()
    for name, _output, size, *_times in tensors:
        by_op[ops.get(name, name)] += size
    return Alive(peak, by_op)


def of_training(case: Case, phases: Iterable[str] = FREQUENCY, **network_kwargs: Any) -> Iterator[tuple[str, Alive]]:
    """Phases of training with a minibatch that a GPU computes at once, all variables included."""
    with implementation(case.impl), as_in_training():
        step = make_step(case, **network_kwargs)
        step.say = lambda _line: None
        variables = sum(np.prod(variable.shape) * variable.dtype.size for variable in step.variables().values())
        for name in phases:
            phase = alive(phase_function(step, name, case.minibatch))
            yield name, Alive(phase.bytes + int(variables), phase.by_op + Counter(variables=int(variables)))


def of_generating(case: Case) -> Alive:
    """A minibatch of images, with the variables."""
    function = virtual_gpu.generating(case.config, case.resolution, case.minibatch, case.precision)
    images = alive(function)
    variables = sum(np.prod(variable.shape) * variable.dtype.size for variable in function.variables)
    return Alive(images.bytes + int(variables), images.by_op + Counter(variables=int(variables)))


def main(args: list[str] | None = None) -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", default="config-f", help="configuration (default: %(default)s)")
    add("--resolution", type=int, default=256, help="of the images (default: %(default)s)")
    add("--minibatch", type=int, default=32, help="on the GPU at once (default: %(default)s)")
    add("--precision", default="fp16", choices=list(PRECISIONS), help="(default: %(default)s)")
    options = parser.parse_args(args)
    case = Case(options.config, options.resolution, options.minibatch, options.precision, "auto")
    print("| what | GB, at least | GB by op |\n|---|---|---|")
    for name, peak in (("generating", of_generating(case)), *of_training(case)):
        most = ", ".join(f"{op} {size / 1e9:.2f}" for op, size in peak.by_op.most_common(8))
        print(f"| {name} | {peak.bytes / 1e9:.2f} | {most} |", flush=True)


if __name__ == "__main__":
    main()
