"""Reads the files that weights of metric networks come in. The content decides what a file is, not its name.

Nothing in a file is executed. Which weight goes where is decided elsewhere: here they have the names of the file.
"""

import gzip
import io
import os
import stat
import tarfile
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from dnnlib import torch_pickle
from dnnlib.errors import UserError
from dnnlib.safe_pickle import DamagedPickleError, UnsafePickleError
from dnnlib.tflib import network_state, pickle_reader
from dnnlib.tflib.network_state import NetworkState

from . import frozen_graph
from .frozen_graph import FrozenGraph

OFFICIAL_PICKLE = "official pickle"
FROZEN_GRAPH = "frozen graph"
TORCH_ZIP = "torch zip"
TORCH_LEGACY = "torch legacy"

READABLE = (
    "Readable are official network pickles (.pkl), the frozen graph classify_image_graph_def.pb "
    "(also inside of inception-2015-12-05.tgz), and state dicts of PyTorch (.pth)."
)


@dataclass(frozen=True)
class WeightFile:
    """The weights in a file.

    path: as it was given. kind: 'official pickle', 'frozen graph', 'torch zip' or 'torch legacy'.
    arrays: weights by name in the order of the file, as they are stored; names are official local names, names of Const
    nodes, or names of a state dict. networks: of an official pickle, all that it holds; the weights are those of
    `network`. graph: of a frozen graph, what else it holds.
    """

    path: str
    kind: str
    arrays: dict[str, np.ndarray]
    networks: tuple[NetworkState, ...] = ()
    graph: FrozenGraph | None = None

    @property
    def network(self) -> NetworkState | None:
        """The network that the weights are of: the only one, or the third of (G, D, Gs)."""
        return self.networks[-1] if self.networks else None


def read_weight_file(path: str) -> WeightFile:
    """Reads the weights in a file.

    Raises UserError, with the file and the reason, for one that is missing, truncated, altered, hostile, or of another
    kind.
    """
    with _open(path) as file:
        head = file.read(512)
        file.seek(0)
        _refuse_others(path, head)
        try:
            if torch_pickle.container(head) is not None:
                return _read_torch(path, file, head)
            if head.startswith(b"\x1f\x8b"):
                return _frozen_graph(path, _member(file))
            if _is_pickle(head):
                return _read_pickle(path, file)
            return _frozen_graph(path, file.read())
        except (UnsafePickleError, DamagedPickleError) as error:  # they name the file
            raise UserError(str(error)) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: {error}") from None


def flat_variables(network: NetworkState) -> dict[str, np.ndarray]:
    """All variables of a network by their official local names, those of components as `component/name`."""
    arrays = dict(network.variables)
    for component in network.components.values():
        arrays.update((f"{component.name}/{name}", value) for name, value in component.variables.items())
    return arrays


def _open(path: str) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path}: this is a folder, expected a file of weights. {READABLE}")
        if not stat.S_ISREG(mode):
            raise UserError(f"{path}: this is no regular file")
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _refuse_others(path: str, head: bytes) -> None:
    """Names what people often have instead of the file."""
    text = head.lstrip()[:100].lower()
    reason = None
    if not head:
        reason = "the file is empty"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        reason = "this is a web page: the download was answered by an error or log-in page"
    elif text.startswith(b"version https://git-lfs"):
        reason = "this is a git-LFS pointer, not the file; run 'git lfs pull'"
    elif head.startswith((b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")):
        reason = "this file is compressed; unpack it first"
    elif head.startswith(b"\x89HDF"):
        reason = "this is an HDF5 file (weights of Keras?)"
    if reason:
        raise UserError(f"{path}: {reason}. {READABLE}")


def _is_pickle(head: bytes) -> bool:
    return (head[:1] == b"\x80" and head[1:2] <= b"\x05") or head.startswith((b"(", b"c"))


def _read_torch(path: str, file: BinaryIO, head: bytes) -> WeightFile:
    arrays = torch_pickle.state_dict(torch_pickle.load(file, path), path)
    return WeightFile(path, TORCH_ZIP if torch_pickle.container(head) == "zip" else TORCH_LEGACY, arrays)


def _read_pickle(path: str, file: BinaryIO) -> WeightFile:
    content: Any = pickle_reader.load(file, path)
    items = content if isinstance(content, (tuple, list)) else [content]
    if len(items) not in (1, 3) or not all(isinstance(item, pickle_reader.PickledNetwork) for item in items):
        raise ValueError("expected a network, or a tuple such as (G, D, Gs), the pickle holds something else")
    networks = tuple(network_state.from_dict(item.state) for item in items)
    return WeightFile(path, OFFICIAL_PICKLE, flat_variables(networks[-1]), networks)


def _frozen_graph(path: str, data: bytes) -> WeightFile:
    graph = frozen_graph.parse(data)
    return WeightFile(path, FROZEN_GRAPH, graph.arrays, graph=graph)


_MAX_UNPACKED = 1 << 28


def _member(file: BinaryIO) -> bytes:
    """The graph inside of a .tgz."""
    try:
        with gzip.open(file) as unpacked:
            data = unpacked.read(_MAX_UNPACKED + 1)
        if len(data) > _MAX_UNPACKED:
            raise ValueError("too large")
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            graphs = [member for member in archive if member.isfile() and member.name.endswith(".pb")]
            if len(graphs) != 1:
                raise ValueError(f"it holds {len(graphs)} graphs (.pb)")
            return archive.extractfile(graphs[0]).read()
    except Exception as error:
        raise ValueError(f"damaged, or no archive of one frozen graph: {error}") from None
