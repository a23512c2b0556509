"""Checkpoints of named arrays, which hold all that networks need: `.npz`, `.safetensors`, `.weights.h5`."""

from collections.abc import Mapping
from typing import BinaryIO

from dnnlib.formats import arrays as array_files
from dnnlib.kinds import kind_of
from dnnlib.tflib.network import Network
from dnnlib.tflib.network_state import Makers

from . import descriptions, keras_weights, nvidia_state_dict
from .descriptions import NOTE


def write_npz(nets: Mapping[str, Network], path: str) -> None:
    """Writes networks by role to a new `.npz` file."""
    with open(path, "xb") as file:
        array_files.write_npz(file, descriptions.to_arrays(nets), {NOTE: descriptions.to_note(nets)})


def write_safetensors(nets: Mapping[str, Network], path: str) -> None:
    """Writes networks by role to a new `.safetensors` file."""
    with open(path, "xb") as file:
        array_files.write_safetensors(file, descriptions.to_arrays(nets), {NOTE: descriptions.to_note(nets)})


def load(file: BinaryIO, head: bytes) -> Makers | None:
    """The networks of an open file; None for a file that by its first bytes is another.

    head: the first bytes, as `kinds` wants them.

    Raises ValueError (ArrayFileError, NetworkStateError) for files that are damaged, or do not describe networks.
    """
    kind = kind_of(head)
    if kind == "npz":
        arrays, notes = array_files.read_npz(file)
    elif kind == "safetensors":
        arrays, notes = array_files.read_safetensors(file)
    elif kind == "hdf5":
        return keras_weights.read(file)
    else:
        return None
    if nvidia_state_dict.CLASS_NAME in notes:
        return nvidia_state_dict.load(arrays, notes)
    if NOTE not in notes:
        nvidia_state_dict.refuse_undescribed(arrays)
        raise descriptions.not_described(len(arrays))
    return descriptions.from_arrays(arrays, notes[NOTE])
