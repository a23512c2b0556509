"""Frames of a run that may be stopped at any time: those that are there are kept, the same command makes the others.

While a run is not finished, a folder `.interpolation` in its folder has `plan.json`: what the run makes, which tells
the same command from others. The frames of a video are kept beside it, as PNG, until the video is there.
"""

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import atomic_write, format_size, free_space, sha256_of
from dnnlib.pictures import save_image, to_pil
from dnnlib.submission import submit

_STATE = ".interpolation"
_PLAN = "plan.json"
_FORMAT = 1
"""The version of plans; runs of other versions are begun anew."""
_NOT_SHOWN = ("cache_dir", "offline")  # in images


def plan_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a run makes: the arguments of its command, as JSON has them, and digests of the files that they name."""
    plain = json.loads(json.dumps({k: v for k, v in arguments.items() if k not in _NOT_SHOWN}, default=str))
    files = {path: _digest(path) for text in _texts(plain) for path in _paths(text)}
    return {"format_version": _FORMAT, "arguments": plain, "files": files}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _paths(text: str) -> Iterator[str]:
    """What of a text is a file or folder: all of it, or what comes before `:` or `=`."""
    ends = [idx for idx, character in enumerate(text) if character in ":="]
    paths = (os.path.expanduser(text[:end]) for end in [*ends, len(text)])
    return (path for path in paths if os.path.exists(path))


def _digest(path: str) -> str:
    """Of a file's content; of a folder's networks by their names, sizes and times."""
    if os.path.isfile(path):
        return sha256_of(path)
    with os.scandir(path) as entries:
        networks = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith(".pkl")]
    facts = sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in networks)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def find_unfinished(root: str, command: str, arguments: Mapping[str, Any]) -> str | None:
    """The newest run folder in which the same command was stopped, and no process is at work; None: there is none.

    root: folder of run folders. arguments: of the command.
    """
    plan = functools.cache(lambda: plan_of(arguments))  # which reads whole files: only if there is one to compare with

    def is_it(folder: str) -> bool:
        found = _read(folder) if folder.endswith(f"-{command}") else {}
        return bool(found) and _is_same(found, plan())

    with contextlib.suppress(OSError):
        return submit.newest_free(root, is_it)
    return None


def _read(folder: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(folder, _STATE, _PLAN), encoding="utf-8") as file:
            plan = json.load(file)
        if isinstance(plan, dict) and isinstance(plan.get("seed"), int):
            return plan
    return {}


def _is_same(found: Mapping[str, Any], plan: Mapping[str, Any]) -> bool:
    return all(found.get(name) == value for name, value in plan.items())


class KeptFrames:
    """The frames of a run: which of them are there, and where the others go.

    Args:
        folder: of the run. Frames of other runs in it are replaced.
        plan: what the run makes.
        num: how many frames there are.
        suffix: of their files, `frame0000.png` and so on; None: they are those of a video, and kept until `finish`.

    Attributes:
        num: as above.
        missing: numbers of the frames that are not there.
        seed: a random number, which stays when the run goes on.
    """

    def __init__(self, folder: str, plan: Mapping[str, Any], num: int, suffix: str | None):
        self.num = num
        self._state = os.path.join(folder, _STATE)
        self._place = folder if suffix else self._state
        self._hidden = suffix is None
        self._name = f"frame{{:0{max(4, len(str(num - 1)))}d}}.{suffix or 'png'}"
        self._room_checked = False
        names = {self._name.format(idx) for idx in range(num)}
        found = _read(folder)
        goes_on = bool(found) and _is_same(found, plan)
        self.seed: int = found["seed"] if goes_on else secrets.randbits(32)
        if not goes_on:
            shutil.rmtree(self._state, ignore_errors=True)
            for name in names.intersection(os.listdir(folder)) if suffix else ():  # else it might go on with them
                os.unlink(os.path.join(folder, name))
            os.makedirs(self._state)
            with atomic_write(os.path.join(self._state, _PLAN)) as file:
                file.write(json.dumps({**plan, "seed": self.seed}, indent=1).encode())
        there = set(os.listdir(self._place)) if goes_on else set()
        self.missing = [idx for idx in range(num) if self._name.format(idx) not in there]

    def path(self, idx: int) -> str:
        """Of the file of a frame."""
        return os.path.join(self._place, self._name.format(idx))

    def save(self, idx: int, frame: np.ndarray) -> None:
        """Saves a frame, uint8 `[H, W, C]`: it is there as a whole or not at all.

        Raises UserError where the disk has no room for what a video needs.
        """
        if not self._hidden:
            save_image(frame, self.path(idx))
            return
        with atomic_write(self.path(idx)) as file:
            to_pil(frame).save(file, "PNG", compress_level=1)
            size = file.tell()
        if not self._room_checked:
            self._room_checked = True
            self._check_room(size * len(self.missing))

    def _check_room(self, needed: int) -> None:
        free = free_space(self._state)
        if free is not None and needed > free:
            raise UserError(
                f"{self._state}: the frames need about {format_size(needed)} until the video is there, only "
                f"{format_size(free)} are free on the disk; expected fewer --frames, or another --result-dir"
            )

    def load(self, idx: int) -> np.ndarray:
        """A frame of a video that is there, `[H, W, C]`."""
        import PIL.Image

        with PIL.Image.open(self.path(idx)) as picture:
            frame = np.asarray(picture)
        return frame[:, :, np.newaxis] if frame.ndim == 2 else frame

    def finish(self) -> None:
        """Removes what is needed no more: what the run makes is there."""
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._state, _PLAN))
        shutil.rmtree(self._state, ignore_errors=True)
