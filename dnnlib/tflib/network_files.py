"""Reading and writing network pickles."""

import os
from typing import Any, BinaryIO

from dnnlib.atomic import atomic_write
from dnnlib.errors import UserError

from . import network_state, pickle_reader, pickle_writer
from .network import Network
from .scope import VariableMismatchError


class NetworkFileError(UserError, ValueError):
    """A file that holds no network that can be built. The message names the file and every problem."""


def read(file: BinaryIO, name: str) -> Any:
    """The networks of a pickle: one `Network`, or a tuple or list of them, as the file has it.

    Args:
        file: an open binary file. Nothing in it is executed.
        name: the file's name, for messages.

    Raises:
        NetworkFileError: unsafe, damaged, or a network that cannot be built.
    """
    try:
        content = pickle_reader.load(file, name)
    except (pickle_reader.UnsafePickleError, pickle_reader.DamagedPickleError) as error:
        raise NetworkFileError(str(error)) from None
    items = content if isinstance(content, (tuple, list)) else [content]
    if not items or not all(isinstance(item, pickle_reader.PickledNetwork) for item in items):
        found = type(content).__name__.strip("_")
        raise NetworkFileError(f"{name}: expected a network, or a tuple such as (G, D, Gs); the pickle holds a {found}")

    nets, problems = [], []
    for item in items:
        try:
            nets.append(Network.from_state(network_state.from_dict(item.state)))
        except (network_state.NetworkStateError, VariableMismatchError, TypeError, ValueError) as error:
            problems.append(str(error))
        except (ArithmeticError, MemoryError) as error:  # arguments of absurd size
            problems.append(f"its arguments are impossible ({type(error).__name__}: {error})")
    if problems:
        raise NetworkFileError(f"{name}: " + "\n".join(problems))
    return type(content)(nets) if isinstance(content, (tuple, list)) else nets[0]


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
