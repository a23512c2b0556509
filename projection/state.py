"""What an interrupted projection needs to go on exactly: one file, `projection-state.npz`, in its run folder.

It holds arrays by name, and `meta`, a JSON text: of which command with which arguments it is, how far that was, and
digests of the network and of the images. The file is replaced whole or not at all, and gone when the run has finished.
Needs no TensorFlow.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dnnlib.errors import UserError, reason_of
from dnnlib.files import atomic_write
from dnnlib.formats import versions
from dnnlib.formats.arrays import load_npz
from dnnlib.submission import submit

STATE = "projection-state.npz"
VERSION = 1
_INTERVAL = 15.0  # seconds between states, at least
_SHARE = 0.05  # of the time may go into writing them

Values = Mapping[str, Any]
"""Arrays, or variables, by name."""


def unfinished(root: str, command: str, kwargs: Mapping[str, Any]) -> str | None:
    """The newest run folder in `root` in which just this command was interrupted, if there is one.

    Folders in which a run is in progress, and states that cannot be read, are passed over.
    """
    run = _run(command, kwargs)

    def is_it(folder: str) -> bool:
        with contextlib.suppress(UserError, OSError):
            return bool(re.match(r"\d+-", os.path.basename(folder))) and load(folder, only_meta=True)[0]["run"] == run
        return False

    return submit.newest_free(root, is_it)


def _run(command: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is of, as JSON has it."""
    return json.loads(json.dumps({"command": command, **kwargs}))


def load(run_dir: str, only_meta: bool = False) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Meta data and arrays of a state. Raises UserError for a damaged one, and one of another version, OSError."""
    path = os.path.join(run_dir, STATE)
    try:
        with open(path, "rb") as file, load_npz(file) as npz:
            arrays = {name: npz[name] for name in npz.files if name == "meta" or not only_meta}
        meta = json.loads(str(arrays.pop("meta")))
        problem = versions.problem_of(meta["version"], VERSION)
    except OSError:
        raise
    except Exception as error:  # zip files and headers of arrays break in many ways
        raise UserError(f"{path} is damaged: {reason_of(error)}") from None
    if problem:
        raise UserError(f"{path}: is of {problem}")
    return meta, arrays


def digest(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 of the values of arrays, in hex digits."""
    result = hashlib.sha256()
    for array in arrays:
        result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()


class Keeper:
    """Keeps the state of a run: now and then, and when it is asked to stop.

    Args:
        run: settings of the run in progress, `dnnlib.submit_config`. If its folder has a state, the run goes on from
            there. None: nothing is kept.
        network: digest of the network.
        received: signals that ask to stop, see `training.loop.signals`.

    Attributes:
        place: where the run was, as `save` was told; {} at the beginning.
        values: the arrays of that place.

    Raises UserError for a state that was made with another network, or cannot be read.
    """

    def __init__(self, run: Any, network: str, received: Sequence[int] = ()):
        self._run_dir = run and run.run_dir
        self._facts = {"version": VERSION, "network": network}
        self._received = received
        self._images: dict[str, str] = {}  # digests, by name
        self.place: dict[str, Any] = {}
        self.values: dict[str, np.ndarray] = {}
        self._next = time.monotonic() + _INTERVAL
        if run is None:
            return
        self._facts["run"] = _run(run.run_desc, run.run_func_kwargs)
        if os.path.exists(os.path.join(self._run_dir, STATE)):
            meta, self.values = load(self._run_dir)
            self.place, self._images = meta["place"], meta["images"]
            if meta["network"] != network:
                raise UserError(f"{self._run_dir}: the network has changed since this run began; {self._anew()}")

    def _anew(self) -> str:
        return f"without {os.path.join(self._run_dir, STATE)} the same command starts anew"

    def check_image(self, name: str, image: np.ndarray) -> None:
        """Raises UserError if an image is not what it was when the run began."""
        now = digest([image])
        if self._images.setdefault(name, now) != now:
            raise UserError(f"{name}: the image has changed since this run began; {self._anew()}")

    def look(self, state: Callable[[], tuple[dict[str, Any], Values]]) -> None:
        """Saves the state if that is due, or if the run is asked to stop, and ends it then. state: gives the state."""
        if self._received:
            self.save(*state())
            print("Stopped." + (f" The same command goes on in {self._run_dir}." if self._run_dir else ""))
            if self._received[0] == signal.SIGINT:
                raise KeyboardInterrupt
            sys.exit(128 + self._received[0])
        if time.monotonic() >= self._next:
            self.save(*state())

    def save(self, place: dict[str, Any], values: Values) -> None:
        """Writes a state; on a full disk the run goes on without."""
        if self._run_dir is None:
            return
        begin = time.monotonic()
        self.place, self.values = place, {}
        meta = {**self._facts, "place": place, "images": self._images}
        arrays = {name: np.asarray(value) for name, value in values.items()}
        path = os.path.join(self._run_dir, STATE)
        try:
            with atomic_write(path) as file:
                np.savez(file, meta=np.asarray(json.dumps(meta)), **arrays)
        except OSError as error:
            print(f"{path}: {error.strerror}; if the run is interrupted, it cannot go on from here", file=sys.stderr)
        now = time.monotonic()
        self._next = now + max(_INTERVAL, (now - begin) / _SHARE)

    def remove(self) -> None:
        """Removes the state of a run that has finished."""
        if self._run_dir and os.path.exists(os.path.join(self._run_dir, STATE)):
            os.unlink(os.path.join(self._run_dir, STATE))
