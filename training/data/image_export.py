"""Writes images with names and labels: a folder, or a zip file as StyleGAN2-ADA has them.

Both hold `dataset.json`, {"labels": [["NAME", LABEL], ...]} or {"labels": null}, as StyleGAN2-ADA reads it. We add
"classes", the names of the classes where they have some, and whatever else is to be recorded of the images.
"""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from dnnlib.errors import UserError, listed, printable, short
from dnnlib.files import check_can_be_made, format_size, free_space, list_files, only_one, short_name, take_place
from dnnlib.stored_zip import StoredZip

from .containers import is_hidden, member_name
from .image_files import is_image_name
from .image_listing import LABEL_FILE
from .labels import are_classes

_MAX_LISTED = 10
_MAX_NAME = 200  # bytes of a part of a name


class ImageExporter:
    """Writes images to `.NAME.partial` beside `dest`, which becomes `dest` when all of them are there.

    A context manager. Leaving the block by an exception removes what was written. With `resumable` it stays, as it does
    after a kill, and the next exporter with the same names, labels and facts goes on: `missing` has what is left to do.

    Args:
        dest: the folder or, ending in `.zip`, zip file to create. In zip files, images are stored as they are.
        names: of all images, relative paths with `/`, with suffixes of image files.
        labels: [N, label_size], in the order of the names; one-hot ones are written as class numbers. None: no labels.
        classes: names of the columns of `labels`.
        facts: what else `dataset.json` is to hold, such as seeds; it must be what determines the images if an
            interrupted export is to go on.
        resumable: keep what was written when the work is interrupted.
        force: replace what is there: a zip file, or a folder with a `dataset.json`. False refuses to.

    Attributes:
        missing: numbers of the images that are still to be added, ascending; all of them, unless the work goes on.

    Raises:
        UserError: for a place that cannot be written, is taken, or is being written by another process; for names that
            cannot be files, all of them; for what an interrupted export of other facts has left there.
    """

    def __init__(
        self,
        dest: str,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        facts: Mapping[str, Any] | None = None,
        resumable: bool = False,
        force: bool = False,
    ):
        self.dest = check_destination(dest, force)
        self.names = list(names)
        _check_names(self.names, dest)
        self._facts = dataset_json(self.names, labels, classes, facts or {})
        self._force, self._resumable = force, resumable
        self._stack = contextlib.ExitStack()
        parent, name = os.path.split(self.dest)
        self._partial = os.path.join(parent, f".{name}.partial")
        with self._write_errors(), contextlib.ExitStack() as stack:
            os.makedirs(parent, exist_ok=True)
            busy = f"{dest}: is being written by another process"
            stack.enter_context(only_one(f"{self._partial}.lock", busy=busy))
            self._store = (StoredZip if is_zip(self.dest) else _Folder)(self._partial)
            stack.callback(self._store.close)
            self._begin()
            self._stack = stack.pop_all()
        done = self._store.names
        self.missing = [index for index, name in enumerate(self.names) if name not in done]

    def _begin(self) -> None:
        there = self._store.read(LABEL_FILE)
        if there is not None and self._resumable and there != self._facts and not self._force:
            raise UserError(
                f"{self.dest}: an interrupted run with other settings{_differences(there, self._facts)} left "
                f"{self._partial}; give the same settings to go on, or --force to begin anew"
            )
        if there != self._facts or not self._resumable:
            self._store.clear()
            self._store.add(LABEL_FILE, self._facts)

    def add(self, index: int, content: bytes) -> None:
        """Writes the file of an image, one of `missing`, in any order but by one thread at a time. Raises UserError."""
        with self._write_errors():
            self._store.add(self.names[index], content)

    def close(self) -> None:
        """Gives what was written its name. Raises UserError if images are missing, or something else has the name."""
        try:
            left = len(set(self.names) - self._store.names)
            if left:
                raise UserError(f"{self.dest}: {left} of {len(self.names)} images were not written")
            with self._write_errors():
                check_destination(self.dest, self._force)  # again: others may have written meanwhile
                self._store.finish()
                self._publish()
        finally:
            self.abort()

    def abort(self) -> None:
        """Stops; what was written is removed, unless it has its name by now or the work can go on."""
        with contextlib.suppress(OSError):
            self._store.close()
        if not self._resumable:
            _remove(self._partial)
        self._stack.close()

    def __enter__(self) -> "ImageExporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _publish(self) -> None:
        if os.path.isdir(self.dest) and os.listdir(self.dest):
            old = f"{self._partial}.old"
            _remove(old)
            take_place(self._partial, self.dest, old)
        else:  # a zip file, an empty folder or nothing
            os.replace(self._partial, self.dest)

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError):
                free = free_space(os.path.dirname(self.dest))
                room = "" if free is None else f" ({format_size(free)} free on the disk)"
                raise UserError(f"{self.dest}: writing failed: {error.strerror or error}{room}") from None
            raise UserError(f"{self.dest}: writing failed: {error.strerror or error}") from None


# ----------------------------------------------------------------------------
# Where the files go, until all of them are there.


class _Folder:
    """A folder that is written file by file, with the methods of `StoredZip`."""

    def __init__(self, path: str):
        self.path = path
        os.makedirs(path, exist_ok=True)
        self.names: set[str] = set()  # of the files that are whole
        self._folders: set[str] = set()
        for name in list_files(path):
            whole = os.path.join(path, name)
            if os.path.basename(name).startswith(".") or not os.path.getsize(whole):  # cut short by a kill, or a crash
                os.unlink(whole)
            else:
                self.names.add(name)

    def read(self, name: str) -> bytes | None:
        if name not in self.names:
            return None
        with open(os.path.join(self.path, name), "rb") as file:
            return file.read()

    def clear(self) -> None:
        shutil.rmtree(self.path)
        os.mkdir(self.path)
        self.names, self._folders = set(), set()

    def add(self, name: str, content: bytes) -> None:
        folder, base = os.path.split(os.path.join(self.path, name))
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        temporary = os.path.join(folder, f".{base}")
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, os.path.join(folder, base))
        self.names.add(name)

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


# ----------------------------------------------------------------------------
# Checks before writing.


def is_zip(dest: str) -> bool:
    """Whether a destination is a zip file, by its name; else it is a folder."""
    return dest.lower().endswith(".zip")


def check_destination(dest: str, force: bool = False) -> str:
    """The absolute path of a folder or zip file that can be created. Raises UserError if it is taken or not writable.

    What replacing a folder has left when it was killed is put in order first.
    """
    path = os.path.abspath(os.path.expanduser(dest))
    parent, name = os.path.split(path)
    if not dest or not name:
        raise UserError(f"the destination {dest!r} has no name")
    if short_name(name, _MAX_NAME) != name:
        raise UserError(f"{dest}: the name is too long; at most {_MAX_NAME} bytes")
    old = os.path.join(parent, f".{name}.partial.old")
    if os.path.isdir(old) and not os.path.lexists(path):
        print(f"An interrupted run left {old}: it is {dest} again", file=sys.stderr)
        os.rename(old, path)
    check_can_be_made(dest, parent)
    if not os.path.lexists(path):
        return path
    if is_zip(path) and not os.path.isfile(path):
        raise UserError(f"{dest}: is there, and no file")
    if not is_zip(path) and (not os.path.isdir(path) or os.path.islink(path) or os.path.ismount(path)):
        raise UserError(f"{dest}: is a file, a link or a mount point, expected a folder, or a name ending in .zip")
    if is_zip(path) or os.listdir(path):
        if not force:
            raise UserError(f"{dest} exists{'' if is_zip(path) else ' and is not empty'}; --force replaces it")
        if not is_zip(path) and LABEL_FILE not in os.listdir(path):
            raise UserError(f"{dest}: --force replaces folders with a {LABEL_FILE} only, and this one has none")
    return path


def _check_names(names: Sequence[str], dest: str) -> None:
    problems = []
    if not names:
        problems.append("there are no images to write")
    for name in names:
        if problem := _name_problem(name):
            problems.append(f"{printable(name)}: {problem}")
    if len(set(names)) < len(names):
        seen: set[str] = set()
        problems += [f"{printable(name)}: is there twice" for name in names if name in seen or seen.add(name)]
    if problems:
        raise UserError("\n".join(f"{dest}: {line}" for line in listed(problems, _MAX_LISTED)))


def _name_problem(name: str) -> str | None:
    if name != member_name(name) or ".." in name.split("/") or "\0" in name:
        return "leads out of the folder, or has needless slashes"
    try:
        longest = max(len(part.encode()) for part in name.split("/"))
    except UnicodeEncodeError:
        return "is not Unicode"
    if longest > _MAX_NAME:
        return f"is too long; at most {_MAX_NAME} bytes between slashes"
    if is_hidden(name) or not is_image_name(name):
        return "would not be read as an image"
    return None


# ----------------------------------------------------------------------------
# dataset.json


def dataset_json(
    names: Sequence[str], labels: np.ndarray | None, classes: Sequence[str] = (), facts: Mapping[str, Any] | None = None
) -> bytes:
    """The content of a `dataset.json`; arguments are those of `ImageExporter`. Raises UserError for other labels."""
    if labels is None or labels.shape[1] == 0:
        return _json({"labels": None, **(facts or {})})
    if len(labels) != len(names):
        raise UserError(f"{len(names)} images, but labels of {len(labels)}")
    of_classes = are_classes(labels)
    values = labels.argmax(axis=1).tolist() if of_classes else labels.astype(float).tolist()
    content: dict[str, Any] = {"labels": [[name, value] for name, value in zip(names, values, strict=True)]}
    numbers = list(map(str, range(labels.shape[1])))
    named = list(classes) or numbers
    if of_classes and (named != numbers or labels.shape[1] > max(values) + 1):
        content["classes"] = named
    return _json({**content, **(facts or {})})


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _differences(there: bytes, wanted: bytes) -> str:
    """' (psi: 0.5, now 0.7)': the facts in which two `dataset.json` differ."""
    try:
        old, new = json.loads(there), json.loads(wanted)
        keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    except (ValueError, TypeError, RecursionError):  # cut off by a crash
        return ""
    texts = [
        key if key in ("labels", "classes") else f"{key}: {_brief(old.get(key))}, now {_brief(new.get(key))}"
        for key in keys
    ]
    return f" ({'; '.join(listed(texts, _MAX_LISTED))})" if texts else ""


def _brief(value: object) -> str:
    """A fact for a message. Long lists, as of seeds, often begin alike: their number and their last value tell more."""
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value)} from {short(value[0], 20)} to {short(value[-1], 20)}"
    return short(value, 40)
