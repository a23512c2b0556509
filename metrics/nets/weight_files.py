"""Reads the files that weights of metric networks come in. The content decides what a file is, not its name.

Nothing in a file is executed. Which weight goes where is decided elsewhere: here they have the names of the file.
"""

import contextlib
import functools
import gzip
import io
import os
import stat
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from dnnlib.errors import UserError, enumerated
from dnnlib.formats import network_pickle, torch_pickle
from dnnlib.formats.safe_pickle import DamagedPickleError, UnsafePickleError
from dnnlib.kinds import HEAD, kind_of, mistaken
from dnnlib.tflib import network_state
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
_STATE_DICTS = (
    "The same weights are read from pt_inception-2015-12-05-6726825d.pth (pytorch-fid), vgg16-397923af.pth "
    "(torchvision) and lpips/weights/v0.1/vgg.pth (lpips)."
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


def read_weight_file(path: str | os.PathLike) -> WeightFile:
    """Reads the weights in a file.

    Raises UserError, with the file and the reason, for one that is missing, truncated, altered, hostile, or of another
    kind.
    """
    path = os.fspath(path)
    with _open(path) as file:
        head = file.read(HEAD)
        file.seek(0)
        try:
            return _reader(head)(path, file)
        except torch_pickle.TorchScriptError as error:
            raise UserError(f"{error}. {_STATE_DICTS}") from None
        except UnsafePickleError as error:  # it names the file
            hint = f" Pickles of the PyTorch code are not read. {_STATE_DICTS}"
            raise UserError(f"{error}{hint if 'asks for torch' in str(error) else ''}") from None
        except DamagedPickleError as error:
            raise UserError(f"{error} {READABLE}") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}. {READABLE}") from None


def _reader(head: bytes) -> Callable[[str, BinaryIO], WeightFile]:
    """What reads a file that begins so. Raises ValueError if nothing does."""
    kind = kind_of(head)
    if kind in ("zip", "npz", "torch legacy"):
        return functools.partial(_read_torch, TORCH_LEGACY if kind == "torch legacy" else TORCH_ZIP)
    if kind in ("tar", "gzip"):
        return _read_archive
    if kind == "pickle":
        return _read_pickle
    problem = "this is an HDF5 file (weights of Keras?)" if kind == "hdf5" else mistaken(head)
    if problem is None and frozen_graph.may_be_graph(head):
        return _read_graph
    raise ValueError(problem or "this is no kind of file that is known here")


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


# ----------------------------------------------------------------------------
# Readers of the kinds.


def _read_torch(kind: str, path: str, file: BinaryIO) -> WeightFile:
    return WeightFile(path, kind, torch_pickle.state_dict(torch_pickle.load(file, path), path))


def _read_pickle(path: str, file: BinaryIO) -> WeightFile:
    content: Any = network_pickle.load(file, path)
    items = content if isinstance(content, (tuple, list)) else [content]
    if len(items) not in (1, 3) or not all(isinstance(item, network_pickle.PickledNetwork) for item in items):
        raise ValueError("expected a network, or a tuple such as (G, D, Gs); the pickle holds something else")
    networks = tuple(network_state.from_dict(item.state) for item in items)
    return WeightFile(path, OFFICIAL_PICKLE, flat_variables(networks[-1]), networks)


def _read_graph(path: str, file: BinaryIO) -> WeightFile:
    graph = frozen_graph.parse(file.read(frozen_graph.MAX_SIZE + 1))
    return WeightFile(path, FROZEN_GRAPH, graph.arrays, graph=graph)


_MAX_UNPACKED = 1 << 28  # bytes; inception-2015-12-05.tgz has 1 << 27
_MAX_RATIO = 20  # of the bytes that are unpacked to those of the file; weights are hardly compressed at all


def _read_archive(path: str, file: BinaryIO) -> WeightFile:
    """A graph inside of a .tgz, or of the .tar that some browsers make of it."""
    try:
        data = _unpacked(file)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = [member for member in archive if member.isfile()]
            graphs = [member for member in members if member.name.endswith(".pb")]
            if len(graphs) != 1 or graphs[0].issparse():
                names = enumerated([member.name for member in members], 8)
                raise ValueError(f"it holds {names or 'nothing'}")
            piece = archive.extractfile(graphs[0]).read()
    except Exception as error:  # tarfile and gzip raise many kinds for damaged files
        raise ValueError(f"damaged, or no archive with one frozen graph (.pb): {error}") from None
    return _read_graph(path, io.BytesIO(piece))


def _unpacked(file: BinaryIO) -> bytes:
    """The whole content of a file, decompressed if it is a gzip file. All of it is read: the checksum is at the end."""
    compressed = kind_of(file.read(HEAD)) == "gzip"
    file.seek(0)
    with gzip.open(file) if compressed else contextlib.nullcontext(file) as stream:
        most = min(_MAX_UNPACKED, _MAX_RATIO * os.fstat(file.fileno()).st_size)
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError("its content is too large")
    return data
