"""Writes multi-resolution tfrecords, the official data set format.

A data set NAME is a folder `NAME` with one file per resolution, `NAME-rNN.tfrecords` (NN = log2 of the resolution, from
the full one down to 02), and optionally `NAME-rxx.labels` (a NumPy file). Each record is a `tf.train.Example` with the
features `shape` (C, H, W) and `data` (uint8 in that order).

Encoded data sets, which are ours, have image files for `data`, and the full resolution only. Ours is `NAME-rxx.json`,
too: names of the images and of the classes.
"""

import contextlib
import ctypes
import glob
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import BinaryIO

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import existing_part, format_size, free_space, only_one, short_name, take_place
from dnnlib.formats import versions
from dnnlib.parallel import parallel_map
from dnnlib.pictures import MODES
from dnnlib.resolutions import resolution_of
from dnnlib.util import format_time

from .averages import colors_of, halved, rounded, sums_of
from .image_encoding import RAW, Encoding
from .labels import NAMES_SUFFIX, NAMES_VERSION
from .tfrecord_writer import TFRecordFileWriter

_RECORD_OVERHEAD = 60  # bytes of framing and of the Example, roughly
_CHUNK = 4 << 20  # bytes of images written at once
_AT_ONCE = 32  # images encoded at once, at least; the first of them tell how large the data set will be
_MAX_NAME = 200  # bytes
_PROGRESS_SECONDS = 0.2
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


class TFRecordExporter:
    """Writes a data set into a temporary folder beside `tfrecord_dir`, which takes its name when all is written.

    A context manager: leaving the block by an exception removes what was written. After a kill -9 a hidden folder is
    left, `.NAME.*.tmp`, which the next run into the same place removes. A data set that is replaced keeps its name
    until the new one has it; where the file system cannot exchange them, it is called `.NAME.*.old` for a moment.

    Args:
        tfrecord_dir: the folder to create. Its last part names the files.
        expected_images: number of images that will be added; for progress, room on the disk, and the shuffled order.
        print_progress: print how far it is.
        progress_interval: has no effect; progress is printed five times a second.
        force: replace a data set that is there, as officially; False refuses to.
        encoding: of images; all but 'raw' write image files, of the full resolution only.

    Raises:
        UserError: for a place that cannot be written or is taken.
    """

    def __init__(
        self,
        tfrecord_dir: str,
        expected_images: int,
        print_progress: bool = True,
        progress_interval: int = 10,
        force: bool = True,
        encoding: Encoding = RAW,
    ):
        self.tfrecord_dir = check_target(tfrecord_dir, force)
        self.expected_images = expected_images
        self.print_progress = print_progress
        self.force = force
        self.encoding = encoding
        self.cur_images = 0
        self.shape: tuple[int, int, int] | None = None
        self._labels: np.ndarray | None = None
        self._names: bytes | None = None
        self._writers: list[TFRecordFileWriter] = []  # from the full resolution down
        self._waiting: list[np.ndarray] = []  # images to be written at once
        self._files: list[bytes | None] = []  # of these, as they are to be written; None: to be encoded
        self._cleanup = contextlib.ExitStack()
        self._started = self._reported = 0.0
        if print_progress:
            print(f'Creating dataset "{tfrecord_dir}"')

    def choose_shuffled_order(self) -> np.ndarray:
        """The official order of shuffled images: indices `[expected_images]`. Images and labels are added in it."""
        order = np.arange(self.expected_images)
        np.random.RandomState(123).shuffle(order)
        return order

    def add_image(self, img: np.ndarray, file: bytes | None = None) -> None:
        """Appends an image, numbers from 0 to 255 `[C, H, W]`, C being 1, 3 or 4 (RGBA).

        Numbers that are not uint8 are averaged in the lower resolutions before they are rounded.

        file: an image file (PNG, JPEG or WebP) of it, to be written instead of encoding it again.

        Raises UserError for other images, or if it has not the shape of the first one.
        """
        img = np.array(img)  # a copy: callers may paint the next image in the same array
        if self.shape is None:
            self._begin(img)
        finite = img.dtype.kind in "ui" or (img.dtype.kind == "f" and np.isfinite(img).all())
        if img.shape != self.shape or not finite:
            raise UserError(
                f"image {self.cur_images}: expected numbers from 0 to 255, {_by(self.shape)}; "
                f"got {img.dtype} {_by(img.shape)}"
            )
        self._waiting.append(img)
        self._files.append(file)
        self.cur_images += 1
        self._report()
        at_least = 1 if self.encoding.name == "raw" else _AT_ONCE
        if len(self._waiting) >= at_least and len(self._waiting) * img.size >= _CHUNK:
            self._write_waiting()

    def add_labels(self, labels: np.ndarray) -> None:
        """Gives all images their labels, `[N, label_size]` or `[N]`, in the order in which the images were added."""
        self._say("Saving labels...")
        labels = np.asarray(labels)
        if labels.shape[:1] != (self.cur_images,):
            raise UserError(f"expected labels of {self.cur_images} images, got an array of shape {_by(labels.shape)}")
        self._labels = labels.astype(np.float32)

    def add_names(self, names: Sequence[str], classes: Sequence[str]) -> None:
        """Gives all images names, in the order in which they were added, and the columns of labels theirs."""
        content = {"names": list(names), "classes": list(classes), versions.KEY: NAMES_VERSION}
        self._names = json.dumps(content).encode()

    def close(self) -> None:
        """Finishes the files and gives the folder its name. Raises UserError without images, or with too few labels."""
        try:
            if not self.cur_images:
                raise UserError("there are no images to write")
            if self._labels is not None and len(self._labels) != self.cur_images:
                raise UserError(f"{self.cur_images} images, but labels of {len(self._labels)}")
            self._say("Flushing data...")
            self._finish_files()
            self._publish()
        finally:
            self.abort()
        self._say("")
        if self.print_progress:
            differ = self.cur_images != self.expected_images
            print(f"Added {self.cur_images} images{f', not {self.expected_images}' if differ else ''}.")

    def abort(self) -> None:
        """Removes what was written, unless it has its name by now."""
        for writer in self._writers:
            with contextlib.suppress(OSError):
                writer.close(sync=False)
        self._writers, self._waiting, self._files = [], [], []
        self._cleanup.close()

    def __enter__(self) -> "TFRecordExporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            if self.print_progress and self.cur_images:
                print()
            self.abort()

    # ------------------------------------------------------------------------

    def _begin(self, img: np.ndarray) -> None:
        if problem := shape_problem(img.shape) or self.encoding.problem(img.shape):
            raise UserError(f"images of {_by(img.shape)}: {problem}")
        self.shape = img.shape
        if self.encoding.name == "raw":
            self._check_room(_raw_size(img.shape))
        parent, name = os.path.split(self.tfrecord_dir)
        os.makedirs(parent, exist_ok=True)
        self._temporary = os.path.join(parent, f".{name}.{secrets.token_hex(4)}.tmp")
        self._cleanup.enter_context(only_one(f"{self._temporary}.lock"))
        self._cleanup.callback(shutil.rmtree, self._temporary, ignore_errors=True)
        os.mkdir(self._temporary)
        with self._write_errors():
            resolution = resolution_of(img.shape[1:])
            for level in resolution.levels if self.encoding.name == "raw" else [resolution.log2]:
                path = os.path.join(self._temporary, f"{name}-r{level:02d}.tfrecords")
                self._writers.append(TFRecordFileWriter(path, (img.shape[0], *resolution.size(level))))
        if self.print_progress:
            print(f"0 / {self.expected_images}\r", end="", flush=True)
        self._started = self._reported = time.monotonic()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        images = np.stack(self._waiting)  # [N, C, H, W]
        files, self._waiting, self._files = self._files, [], []
        if self.encoding.name != "raw":
            self._write_encoded(rounded(images), files)
            return
        sums = sums_of(images)
        for lod, writer in enumerate(self._writers):
            if lod:
                sums = halved(sums)
            with self._write_errors():
                writer.write(rounded(colors_of(sums) if lod else images))

    def _write_encoded(self, images: np.ndarray, files: list[bytes | None]) -> None:
        """Writes images, uint8 [N, C, H, W]; those of which there are no files are encoded by threads."""
        pairs = zip(images, files, strict=True)
        encoded = list(parallel_map(lambda pair: pair[1] or self.encoding.encode(pair[0]), pairs))
        if len(images) == self.cur_images:  # the first ones
            sizes = [min(len(file), image.size) for file, image in zip(encoded, images, strict=True)]
            self._check_room(sum(sizes) / len(sizes) + _RECORD_OVERHEAD)
        with self._write_errors():
            self._writers[0].write_files(images, encoded)

    def _check_room(self, size: float) -> None:
        """Prints how large the data set will be at so many bytes for an image. Raises UserError if there is no room."""
        total, free = self.expected_images * size, free_space(existing_part(self.tfrecord_dir))
        what, how_large = f"{self.expected_images} images of {_by(self.shape)}", format_size(total)
        if self.encoding.name != "raw":
            what += f" as {self.encoding.name}"
            how_large = f"about {how_large}, raw {format_size(self.expected_images * _raw_size(self.shape))}"
        room = "" if free is None else f", {format_size(free)} free"
        print(f"Writing {what}: {how_large}{room}.")
        if free is not None and total > free:
            needs, has = format_size(total), format_size(free)
            raise UserError(f"{self.tfrecord_dir}: needs {needs}, only {has} are free on the disk")

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported >= _PROGRESS_SECONDS:
            self._reported = now
            left = (now - self._started) / self.cur_images * max(self.expected_images - self.cur_images, 0)
            self._say(f"{self.cur_images} / {self.expected_images}, {format_time(left)} left")

    def _say(self, text: str) -> None:
        """Prints the one line of progress anew."""
        if self.print_progress:
            print(f"{text:<40s}\r", end="", flush=True)

    def _finish_files(self) -> None:
        self._write_waiting()
        with self._write_errors():
            while self._writers:
                self._writers.pop().close()
            if self._labels is not None:
                with self._further_file(".labels") as file:
                    np.save(file, self._labels)
            if self._names is not None:
                with self._further_file(NAMES_SUFFIX) as file:
                    file.write(self._names)

    @contextlib.contextmanager
    def _further_file(self, suffix: str) -> Iterator[BinaryIO]:
        with open(os.path.join(self._temporary, f"{os.path.basename(self.tfrecord_dir)}-rxx{suffix}"), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def _publish(self) -> None:
        check_target(self.tfrecord_dir, self.force)  # again: others may have written meanwhile
        if not os.path.isdir(self.tfrecord_dir):
            os.rename(self._temporary, self.tfrecord_dir)
            return
        if self.print_progress and os.listdir(self.tfrecord_dir):
            self._say("")
            print("Replacing the data set that was there.")
        if not _exchange(self._temporary, self.tfrecord_dir):  # else the one that was there is temporary by now
            take_place(self._temporary, self.tfrecord_dir, f"{self._temporary.removesuffix('.tmp')}.old")

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            free = free_space(self._temporary)
            room = "" if free is None else f" ({format_size(free)} free on the disk)"
            reason = error.strerror or error  # NumPy's have a text only
            raise UserError(f"{self.tfrecord_dir}: writing failed: {reason}{room}. Nothing was kept.") from None


# ----------------------------------------------------------------------------
# Checks before writing.


def shape_problem(shape: tuple[int, ...]) -> str | None:
    """What keeps images of the shape `[C, H, W]` out of tfrecords; None if nothing does."""
    channels, height, width = shape if len(shape) == 3 else (0, 0, 0)
    if channels not in MODES:
        return "expected 1 channel (grayscale), 3 (RGB) or 4 (RGBA)"
    try:
        resolution_of((height, width))
    except ValueError as error:
        return str(error)
    return None


def check_target(tfrecord_dir: str, force: bool = False) -> str:
    """The absolute path of a folder that can be created. Raises UserError if it is taken or not writable.

    What an interrupted run has left there is put in order first.
    """
    path = os.path.abspath(os.path.expanduser(tfrecord_dir))
    name = os.path.basename(path)
    if not tfrecord_dir or not name:
        raise UserError(f"the data set's folder {tfrecord_dir!r} has no name")
    if short_name(name, _MAX_NAME) != name:
        most = f"at most {_MAX_NAME} bytes"
        raise UserError(f"{tfrecord_dir}: the name is too long for the files that are named after it; {most}")
    _clear_leftovers(path)
    existing = existing_part(path)
    if not os.path.isdir(existing):
        raise UserError(f"{tfrecord_dir}: {existing} is a file, expected a folder")
    if existing == path:
        entries = sorted(os.listdir(path))
        ours = (".labels", f"-rxx{NAMES_SUFFIX}")
        foreign = [entry for entry in entries if ".tfrecords" not in entry and not entry.endswith(ours)]
        if entries and not force:
            raise UserError(f"{tfrecord_dir} exists and is not empty; --force replaces a data set, or choose another")
        if foreign:
            raise UserError(
                f"{tfrecord_dir}: --force replaces data sets only, and this folder holds other files: "
                + ", ".join(foreign[:5])
            )
        if os.path.islink(path) or os.path.ismount(path):
            raise UserError(f"{tfrecord_dir}: is a link or a mount point; name a folder inside it")
        existing = os.path.dirname(path)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{tfrecord_dir}: {existing} is not writable")
    return path


def _raw_size(shape: tuple[int, ...]) -> int:
    """Bytes that an image takes at all resolutions."""
    resolution = resolution_of(shape[1:])
    sizes = map(resolution.size, resolution.levels)
    return sum(shape[0] * height * width + _RECORD_OVERHEAD for height, width in sizes)


def _clear_leftovers(tfrecord_dir: str) -> None:
    """Removes what runs into the same place left when they were killed; a data set without its name gets it back."""
    parent, name = os.path.split(tfrecord_dir)
    for path in glob.glob(os.path.join(glob.escape(parent), f".{glob.escape(name)}.????????.*")):
        stem, suffix = os.path.splitext(path)
        lock = f"{stem}.tmp.lock"
        if suffix not in (".tmp", ".old"):
            continue
        with contextlib.suppress(UserError, OSError), only_one(lock, busy=path) as locked:
            if not locked:  # its writer may live
                continue
            if suffix == ".old" and not os.path.lexists(tfrecord_dir):
                print(f"An interrupted run left {path}: it is {tfrecord_dir} again", file=sys.stderr)
                os.rename(path, tfrecord_dir)
            else:
                print(f"Removing what an interrupted run left: {path}", file=sys.stderr)
                shutil.rmtree(path, ignore_errors=True)


def _exchange(one: str, other: str) -> bool:
    """Gives each of two folders the name of the other, in one step; False where that cannot be done."""
    function = getattr(ctypes.CDLL(None), "renameat2", None)  # Linux
    if function is None:
        return False
    return function(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


# ----------------------------------------------------------------------------


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "no dimensions"
