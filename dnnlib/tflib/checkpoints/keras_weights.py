"""Weights of one network as Keras keeps them, `.weights.h5`: `Network.model.load_weights` reads them.

Keras calls a dataset by the layers that lead to it, and otherwise in Keras 2 than in Keras 3. So each dataset has the
official name of its variable as an attribute, and the file the note of `descriptions`: it is read by these, without
Keras, in any version of it. HDF5 files can do much, such as naming other files to read; only plain arrays are read.
"""

import contextlib
import errno
import math
import os
from typing import Any, BinaryIO

import numpy as np

from dnnlib.errors import UserError, reason_of, short
from dnnlib.files import free_space
from dnnlib.tflib.network import Network
from dnnlib.tflib.network_state import Makers, NetworkStateError

from . import descriptions
from .descriptions import Networks

SUFFIX = ".weights.h5"  # Keras writes and reads no other
_NAME = "official_name"
_MAX_DATASETS = 10_000


def write(nets: Networks, path: str) -> None:
    """Writes the weights of a network by its role. path: with `SUFFIX`. Raises OSError."""
    (net,) = nets.values()
    h5py = import_h5py()
    folder = os.path.dirname(path) or "."
    needed = sum(int(np.prod(var.shape)) * 4 + 4096 for var in net.vars.values())
    free = free_space(folder)
    if free is not None and free < needed:  # HDF5 can crash on a full disk
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    names = _official_names(net, folder)
    try:
        net.model.save_weights(path)
        with h5py.File(path, "r+") as file:
            file.attrs[descriptions.NOTE] = np.bytes_(descriptions.to_note(nets))  # of fixed length
            for dataset, name in names.items():
                file[dataset].attrs[_NAME] = np.bytes_(name)
    except RuntimeError as error:  # what HDF5 raises where it writes when a file is closed
        raise OSError(str(error)) from None


def _official_names(net: Network, folder: str) -> dict[str, str]:
    """The official name of the variable in each dataset: found by saving a network whose variables are numbers."""
    numbered = net.clone()
    for number, var in enumerate(numbered.vars.values()):
        var.assign(np.full(var.shape, number, np.float32))
    names = list(numbered.vars)
    path = os.path.join(folder, "numbered" + SUFFIX)
    try:
        numbered.model.save_weights(path)
        with import_h5py().File(path) as file:
            return {dataset.name: names[int(np.ravel(dataset[()])[0])] for dataset in _datasets(file)}
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def read(file: BinaryIO) -> Makers:
    """The network of an open file, as `descriptions.from_arrays` gives it.

    Raises ValueError (NetworkStateError) for what is damaged, holds anything else, or has no note.
    """
    try:
        return _read(file)
    except (NetworkStateError, UserError):
        raise
    except Exception as error:  # h5py raises many kinds
        raise NetworkStateError(f"damaged ({reason_of(error, 100, with_kind=True)})") from None


def _read(file: BinaryIO) -> Makers:
    h5py = import_h5py()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    with h5py.File(file) as content:
        if descriptions.NOTE not in content.attrs:
            raise descriptions.not_described(len(_datasets(content)))
        note = _text(content, descriptions.NOTE)
        described = descriptions.read_note(note)
        if len(described) != 1:
            raise NetworkStateError(f"the description is of {' and '.join(described)}, expected one network")
        (role,) = described
        arrays: dict[str, np.ndarray] = {}
        for dataset in _datasets(content):
            name = f"{role}/{_text(dataset, _NAME)}"
            if name in arrays:
                raise NetworkStateError(f"variable {short(name)} occurs twice")
            arrays[name] = _values(dataset, size)
            size -= arrays[name].nbytes
        return descriptions.from_arrays(arrays, note)


def _datasets(file: Any) -> list[Any]:
    """All datasets that are in the file itself. Links to other places are not followed."""
    import h5py

    found: list[Any] = []

    def visit(_name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset):
            found.append(item)
        return True if len(found) > _MAX_DATASETS else None  # which ends the visit

    file.visititems(visit)
    if len(found) > _MAX_DATASETS:
        raise NetworkStateError(f"it has more than {_MAX_DATASETS} datasets")
    return found


def _values(dataset: Any, size: int) -> np.ndarray:
    """A dataset's array, of not more than `size` bytes."""
    import h5py

    name, dtype = dataset.name, dataset.dtype
    if dtype.kind != "f" or dtype.itemsize > 8 or dataset.shape is None:
        raise NetworkStateError(f"dataset {short(name)} has type {dtype}, expected floating point numbers")
    plain = dataset.id.get_create_plist().get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not plain or dataset.external:
        raise NetworkStateError(f"dataset {short(name)} is no plain array: in pieces, compressed, or in another file")
    num_bytes = math.prod(dataset.shape) * dtype.itemsize
    if num_bytes > size or dataset.id.get_storage_size() != num_bytes:
        raise NetworkStateError(f"dataset {short(name)} of shape {list(dataset.shape)} is cut off")
    return np.asarray(dataset[()])


def _text(item: Any, name: str) -> str:
    """The text in an attribute of a dataset or group."""
    if name not in item.attrs or item.attrs.get_id(name).dtype.kind != "S":
        raise NetworkStateError(f"{short(item.name)} has no attribute {name!r} of text")
    return item.attrs[name].decode()


def import_h5py() -> Any:
    """The h5py module. Raises UserError where it is not installed."""
    try:
        import h5py
    except ImportError:
        raise UserError(f"{SUFFIX} files need h5py; install it with: pip install h5py") from None
    return h5py
