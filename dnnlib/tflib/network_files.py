"""Reading and writing network files. What a file is decides its content, not its name."""

import os
from collections.abc import Callable
from typing import Any, BinaryIO

from dnnlib import torch_pickle
from dnnlib.atomic import atomic_write
from dnnlib.errors import UserError

from . import network_state, pickle_reader, pickle_writer, torch_checkpoints
from .network import Network
from .network_state import NetworkState
from .scope import VariableMismatchError
from .torch_modules import ALLOWED


class NetworkFileError(UserError, ValueError):
    """A file that holds no network that can be built. The message names the file and every problem."""


def read(file: BinaryIO, name: str) -> Any:
    """The networks of a file, of which nothing is executed.

    - A network pickle of the official TensorFlow code: one `Network`, or a tuple or list of them, as the file has it.
    - A checkpoint of PyTorch (see `torch_checkpoints`): (G, D, Gs), None for what the file lacks.

    Args:
        file: an open binary file.
        name: the file's name, for messages.

    Raises:
        NetworkFileError: unsafe, damaged, or a network that cannot be built.
    """
    try:
        content = _load(file, name)
    except (pickle_reader.UnsafePickleError, pickle_reader.DamagedPickleError) as error:
        raise NetworkFileError(str(error)) from None
    items = content if isinstance(content, (tuple, list)) else [content]
    problems: list[str] = []
    if items and all(isinstance(item, pickle_reader.PickledNetwork) for item in items):
        makers = [lambda item=item: network_state.from_dict(item.state) for item in items]
        nets = [_build(make, problems) for make in makers]
    else:
        found = torch_checkpoints.networks_of(content)
        if found is None:
            raise NetworkFileError(f"{name}: expected a network, or a tuple such as (G, D, Gs); {_described(content)}")
        content = tuple(found)
        nets = [None if make is None else _build(make, problems) for make in found]
    if problems:
        raise NetworkFileError(f"{name}: " + "\n".join(problems))
    return type(content)(nets) if isinstance(content, (tuple, list)) else nets[0]


def _load(file: BinaryIO, name: str) -> Any:
    """The content of a pickle, or of a file of torch.save."""
    try:
        head = file.read(512)
        file.seek(0)
    except OSError as error:
        raise pickle_reader.DamagedPickleError(f"{name}: cannot be read: {error.strerror or error}") from None
    if torch_pickle.container(head):
        return torch_pickle.load(file, name, ALLOWED)
    pickle_reader.check_kind(head, name)
    return torch_pickle.load_pickle(file, name, "network pickle", ALLOWED)


def _build(make: Callable[[], NetworkState], problems: list[str]) -> Network | None:
    """The network of a state; None after adding to the problems."""
    try:
        return Network.from_state(make())
    except (network_state.NetworkStateError, VariableMismatchError, TypeError, ValueError) as error:
        problems.append(str(error))
    except (ArithmeticError, MemoryError) as error:  # arguments of absurd size
        problems.append(f"its arguments are impossible ({type(error).__name__}: {error})")
    return None


def _described(content: Any) -> str:
    return f"the file holds {torch_checkpoints.describe(content)}"


def load_pkl(path: str | os.PathLike) -> Any:
    """`read` of a file on disk. Raises NetworkFileError, also if it cannot be opened."""
    try:
        with open(path, "rb") as file:
            return read(file, os.fspath(path))
    except OSError as error:
        raise NetworkFileError(f"{os.fspath(path)}: {error.strerror or error}") from None


def save_pkl(obj: Any, path: str | os.PathLike) -> None:
    """Writes a network, or a tuple of networks, in the official format. The file appears whole or not at all."""
    with atomic_write(path) as file:
        pickle_writer.dump(obj, file)
