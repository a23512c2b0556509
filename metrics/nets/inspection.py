"""Says what is in a file of weights, or of any network, without executing anything in it: `run_metrics.py inspect`."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError, listed, printable, short
from dnnlib.files import sha256_of
from dnnlib.tflib import network_state
from dnnlib.tflib.network_state import NetworkState

from . import attribute_classifier, builders, catalog, weight_files
from .frozen_graph import FrozenGraph
from .matching import has_layers
from .metric_network import MetricNetwork
from .weight_files import WeightFile

_MAX_LINES = 5000  # of a table
_MAX_ITEMS = 40  # in a line
_VERSIONS = {2: "ProGAN", 3: "StyleGAN", 4: "StyleGAN2", 5: "StyleGAN2-ADA"}


def describe(path: str | os.PathLike) -> str:
    """What is in a file, for people: kind, size, hash, networks, and all variables with shapes and types.

    path: an official pickle (metric networks, generators), a frozen graph, or a state dict of PyTorch.

    Raises UserError for a file that cannot be read.
    """
    return "\n".join(line.rstrip() for line in _lines(weight_files.read_weight_file(path)))


def _lines(file: WeightFile) -> Iterator[str]:
    sha256 = sha256_of(file.path)
    yield from _pairs(
        {
            "file": printable(file.path),
            "kind": file.kind,
            "size": f"{os.path.getsize(file.path):,} bytes",
            "sha256": sha256,
            "known as": _known_as(sha256, file.path),
            "serves as": _serves_as(file),
        }
    )
    for number, network in enumerate(file.networks):
        name = f"network {number + 1} of {len(file.networks)}" if len(file.networks) > 1 else "network"
        yield ""
        yield from _network(name, network)
    if file.graph is not None:
        yield ""
        yield from _graph(file.graph)
    if not file.networks:
        yield ""
        yield from _table(file.arrays)


def _network(title: str, network: NetworkState) -> Iterator[str]:
    defaults = network_state.source_defaults(network.source).get(network.func_name)
    yield from _pairs(
        {
            title: printable(network.name),
            "version": f"{network.version} ({_VERSIONS[network.version]})",
            "build function": printable(network.func_name),
            "its defaults": "not found in the source" if defaults is None else _value(defaults),
            "static_kwargs": _value(network.static_kwargs),
            "source": f"{len(network.source):,} characters, not executed",
            **{printable(f"component {key}"): _part(part) for key, part in network.components.items()},
        }
    )
    yield from _table(weight_files.flat_variables(network))


def _part(network: NetworkState) -> str:
    name, function = printable(network.name), printable(network.func_name)
    return f"{name}, build function {function}, static_kwargs {_value(network.static_kwargs)}"


def _graph(graph: FrozenGraph) -> Iterator[str]:
    counts = [f"{printable(name)} {count}" for name, count in graph.operations.most_common()]
    yield from _pairs(
        {
            "nodes": str(graph.operations.total()),
            "operations": _listed(counts),
            "inputs": _listed(map(printable, graph.inputs)),
            "outputs": _listed(map(printable, graph.outputs)),
            "other constants": _listed(f"{printable(name)} {what}" for name, what in graph.others.items()),
        }
    )


def _table(arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Names, shapes and types."""
    total = sum(array.size for array in arrays.values())
    yield f"{len(arrays)} variables, {total:,} values"
    rows = [(printable(name), str(list(array.shape)), array.dtype.name) for name, array in arrays.items()][:_MAX_LINES]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    for name, shape, dtype in rows:
        yield f"  {name:{widths[0]}}  {shape:{widths[1]}}  {dtype}"
    if len(arrays) > len(rows):
        yield f"  ... and {len(arrays) - len(rows)} more"


def _pairs(pairs: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, pairs))
    return (f"{key:{width}}  {value}" for key, value in pairs.items())


def _known_as(sha256: str, path: str) -> str:
    """Which published file this is, by its hash, or that it is not the one whose name it has."""
    for name, known in catalog.SHA256.items():
        if sha256 == known:
            return name
    name = catalog.base_name(path)
    if name in catalog.SHA256:
        return f"unknown: the published {name} has {catalog.SHA256[name]}"
    return "unknown"


def _serves_as(file: WeightFile) -> str:
    """The metric networks that can be built with the weights."""
    if "dlatent_avg" in file.arrays:
        return "generator of images, no metric network"
    found = []
    for name, build in _BUILDERS.items():
        with contextlib.suppress(UserError), tf.device("/CPU:0"):  # a training may have all of the GPU
            build(file)
            found.append(name)
    if has_layers(file, builders.LPIPS_LINEAR) != has_layers(file, builders.VGG_CONVS):
        found.append(f"a part of {catalog.LPIPS}")
    return ", ".join(found) or "no metric network that is known here"


_BUILDERS: dict[str, Callable[[WeightFile], MetricNetwork]] = {
    **builders.BUILDERS,
    catalog.LPIPS: lambda file: builders.lpips([file]),
    "celebahq-classifier": lambda file: attribute_classifier.build(file, "celebahq-classifier"),
}


def _value(arguments: Mapping[str, object]) -> str:
    """Arguments as a dict is written."""
    items = [f"{short(name)}: {short(value, 200)}" for name, value in itertools.islice(arguments.items(), _MAX_ITEMS)]
    more = ", ..." if len(arguments) > _MAX_ITEMS else ""
    return f"{{{', '.join(items)}{more}}}"


def _listed(items: Iterator[str] | list[str] | map) -> str:
    return ", ".join(listed(list(items), _MAX_ITEMS)) or "none"
