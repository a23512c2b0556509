"""Everything a training needs to continue exactly: one file, `training-state.npz`, in the run folder.

Arrays by name, without pickled objects: the variables of networks and optimizers, the averages being counted, what the
data set holds, and `meta`, a JSON text with the counters and with how long each log file was. The file is replaced
whole or not at all, so that a training killed at any moment continues from the last one that was complete.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError, reason_of
from dnnlib.files import atomic_write
from dnnlib.formats import versions
from dnnlib.formats.arrays import load_npz
from dnnlib.tflib import autosummary
from dnnlib.tflib.scope import VariableMismatchError, check_variables
from training.data.contents import Contents

from . import snapshots
from .options_file import TRAINING_STATE

VERSION = 2  # 1 has never been in a release
_LOGS = ("log.txt", "stats.jsonl", "metric-*.txt", "metric-*.jsonl", "events.out.tfevents.*")


class DamagedStateError(UserError):
    """The state of a run cannot be read."""


def save(
    run_dir: str, variables: Mapping[str, Any], counters: Mapping[str, Any], contents: Contents | None = None
) -> None:
    """Writes the state. Log files, to which it says how far they belong to it, are brought to the disk before.

    Args:
        run_dir: the run folder.
        variables: everything with a value, by name.
        counters: numbers and strings.
        contents: of the data set, if they are known.
    """
    arrays = {f"variables/{name}": np.asarray(variable.numpy()) for name, variable in variables.items()}
    arrays |= {f"autosummary/{name}": value for name, value in autosummary.state().items()}
    logs = {path.name: _synced_size(path) for path in _log_files(run_dir)}
    meta = {"version": VERSION, "counters": dict(counters), "logs": logs}
    if contents is not None:
        meta["data"] = contents.facts()
        arrays |= {f"data/{name}": value for name, value in contents.arrays().items()}
    with atomic_write(os.path.join(run_dir, TRAINING_STATE)) as file:
        np.savez(file, meta=np.array(json.dumps(meta)), **arrays)


def _synced_size(path: Path) -> int:
    with contextlib.suppress(OSError), open(path, "ab") as file:  # a log that fails is not worth the state
        os.fsync(file.fileno())
    return path.stat().st_size


def size_of(variables: Mapping[str, Any]) -> int:
    """Bytes that the state will take, about."""
    return sum(int(np.prod(variable.shape)) * 4 + 1000 for variable in variables.values())


def load(run_dir: str) -> "SavedState":
    """Reads the state of a run. Raises UserError if there is none, or it is damaged."""
    path = os.path.join(run_dir, TRAINING_STATE)
    if not os.path.exists(path):
        raise UserError(f"{path} does not exist: the run cannot be continued")
    try:
        with open(path, "rb") as file, load_npz(file) as npz:
            arrays = {name: npz[name] for name in npz.files}
        meta = json.loads(str(arrays.pop("meta")))
        if problem := versions.problem_of(meta["version"], VERSION, VERSION):
            raise UserError(f"{path}: {problem}")
        kept = {name: arrays.pop(f"data/{name}") for name in ("images", "labels", "names") if "data" in meta}
        contents = Contents.restored(meta["data"], kept) if "data" in meta else None
        return SavedState(path, meta["counters"], meta["logs"], arrays, contents)
    except UserError:
        raise
    except Exception as error:  # zip files and headers of arrays break in many ways
        newest = snapshots.newest(run_dir)
        instead = f". Start a new run from its networks: --resume={newest}" if newest else ""
        raise DamagedStateError(f"{path} is damaged: {reason_of(error)}{instead}") from error


def _remove_unfinished(run_dir: str) -> None:
    """Removes what a killed process had begun to write."""
    for path in Path(run_dir).glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_logs(run_dir: str) -> None:
    """Removes what a run that starts again has logged, but for log.txt."""
    _remove_unfinished(run_dir)
    for path in _log_files(run_dir):
        if path.name != "log.txt":
            path.unlink()


@dataclass(frozen=True)
class SavedState:
    """What `load` read. `counters` and `contents` are those given to `save`."""

    path: str
    counters: dict[str, Any]
    logs: dict[str, int]  # how long each file was
    arrays: dict[str, np.ndarray]
    contents: Contents | None  # of the data set; None: of a version that did not keep them

    def _group(self, prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): value for name, value in self.arrays.items() if name.startswith(prefix)}

    def restore(self, variables: Mapping[str, Any]) -> None:
        """Gives all variables, and the averages being counted, their values.

        Raises UserError with everything that does not fit.
        """
        saved = self._group("variables/")
        try:
            check_variables(self.path, {name: tuple(var.shape) for name, var in variables.items()}, saved)
        except VariableMismatchError as error:
            raise UserError(str(error)) from error
        for name, variable in variables.items():
            variable.assign(tf.cast(saved[name], variable.dtype))
        autosummary.restore(self._group("autosummary/"))

    def cut_logs(self, run_dir: str) -> None:
        """Cuts log files back to where they were, so that they continue as if nothing had happened.

        What a killed process had begun to write is removed. Of a log that a crash of the machine has shortened the last
        line may be half a line, which goes, too.
        """
        _remove_unfinished(run_dir)
        for path in _log_files(run_dir):
            length = self.logs.get(path.name)
            if length is None:
                path.unlink()
                continue
            size = path.stat().st_size
            if size < length:
                print(f"{path}: {length - size} bytes are missing that it had when the state was saved.")
                length = size if path.name.startswith("events") else path.read_bytes().rfind(b"\n") + 1
            os.truncate(path, length)


def _log_files(run_dir: str) -> list[Path]:
    return sorted(path for pattern in _LOGS for path in Path(run_dir).glob(pattern))
