"""Reading and writing network files. What a file is decides its content, not its name."""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

from dnnlib.errors import UserError, enumerated
from dnnlib.files import atomic_write
from dnnlib.formats import network_pickle, torch_pickle
from dnnlib.kinds import HEAD, kind_of
from dnnlib.tflib import fork_pickles, network_report, network_state
from dnnlib.tflib.network import Network
from dnnlib.tflib.network_state import Maker
from dnnlib.tflib.scope import VariableMismatchError

from . import array_checkpoints, network_containers, pickle_writer, torch_checkpoints, untrained_variables
from .torch_modules import ALLOWED

_MOST_NETWORKS = 10  # of a file; official ones have three


class NetworkFileError(UserError, ValueError):
    """A file that holds no network that can be built. The message names the file and every problem."""


def read(file: BinaryIO, name: str) -> Any:
    """The networks of a file, of which nothing is executed.

    - A network pickle of the official TensorFlow code: one `Network`, or a tuple or list of them, as the file has it.
      A dict of 'G', 'D' and 'G_ema' or 'Gs' gives (G, D, Gs). What else lies there is left out with a line on stderr.
    - A checkpoint of PyTorch (see `torch_checkpoints`): (G, D, Gs), None for what the file lacks. Without a moving
      average, Gs is as G.
    - Arrays with a description of their networks (see `array_checkpoints`): the same.

    Args:
        file: an open binary file.
        name: the file's name, for messages. Whoever reads networks with NaN or infinity in them is warned.

    Raises:
        NetworkFileError: unsafe, damaged, or a network that cannot be built.
    """
    problems: list[str] = []
    nets = _each(partial(_build, name, problems), _makers(file, name))
    if problems:
        raise NetworkFileError(f"{name}: " + "\n".join(problems))
    _say_what_is_odd([net for net in (nets if isinstance(nets, (tuple, list)) else [nets]) if net is not None], name)
    return nets


def _say_what_is_odd(nets: list[Network], name: str) -> None:
    """A line on stderr each on what was left out of a fork's networks, and on NaN and infinity in them."""
    left_out = list(dict.fromkeys(addition for net in nets for addition in fork_pickles.left_out_of(net)))
    if left_out:
        what = enumerated(left_out, 12)
        print(f"{name}: of a fork of the official code; left out, as it changes nothing: {what}", file=sys.stderr)
    found = network_report.describe_not_finite({net.name: net for net in nets})
    if found:
        print(f"Warning: {name}: {found}. What it computes is worth nothing.", file=sys.stderr)


def _each(function: Callable[[Any], Any], content: Any) -> Any:
    """What a function makes of an object, or of each object of a tuple or list but for None."""
    if isinstance(content, (tuple, list)):
        return type(content)(item and function(item) for item in content)
    return function(content)


def _makers(file: BinaryIO, name: str) -> Any:
    """What makes the states of the networks of a file, as `read` gives the networks."""
    try:
        head = file.read(HEAD)
        file.seek(0)
        makers = array_checkpoints.load(file, head)
    except (ValueError, OSError) as error:
        raise NetworkFileError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if makers is None:
        try:
            content = _load(file, head, name)
        except (network_pickle.UnsafePickleError, network_pickle.DamagedPickleError) as error:
            raise NetworkFileError(str(error)) from None
        content, left_out = network_containers.in_tuple(content)
        items = content if isinstance(content, (tuple, list)) else [content]
        if len(items) > _MOST_NETWORKS:
            raise NetworkFileError(f"{name}: holds {len(items)} objects, expected a network, or a few")
        if {type(item) for item in items} - {type(None)} == {network_pickle.PickledNetwork}:
            _say_left_out(left_out, name)
            return _each(network_containers.maker, content)
        makers, left_out = network_containers.in_dict(content)
        _say_left_out(left_out, name)
        makers = makers or torch_checkpoints.networks_of(content)
        if not makers:
            found = f"the file holds {torch_checkpoints.describe(content)}"
            raise NetworkFileError(f"{name}: expected a network, or a tuple such as (G, D, Gs); {found}")
    return makers.get("G"), makers.get("D"), makers.get("Gs", makers.get("G"))


def _say_left_out(described: list[str], name: str) -> None:
    """A line on stderr on what lies beside networks, if there is anything."""
    if described:
        print(f"{name}: left out, as it is no network: {enumerated(described, 6)}", file=sys.stderr)


def _load(file: BinaryIO, head: bytes, name: str) -> Any:
    """The content of a pickle, or of a file of torch.save. head: its first bytes."""
    if kind_of(head) in ("zip", "npz", "tar", "torch legacy"):
        return torch_pickle.load(file, name, ALLOWED)
    network_pickle.check_kind(head, name)
    return torch_pickle.load_pickle(file, name, "network pickle", ALLOWED)


def _build(name: str, problems: list[str], make: Maker) -> Network | None:
    """The network of a state; None after adding to the problems. name: of the file."""
    try:
        return Network.from_state(untrained_variables.completed(make(), name))
    except (network_state.NetworkStateError, VariableMismatchError, TypeError, ValueError) as error:
        problems.append(str(error))
    except (ArithmeticError, MemoryError) as error:  # arguments of absurd size
        problems.append(f"its arguments are impossible ({type(error).__name__}: {error})")
    return None


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
