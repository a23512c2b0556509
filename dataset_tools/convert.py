"""`convert`: a data set of one kind as another, with its labels and names."""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from dnnlib.errors import UserError, listed, printable, reason_of
from dnnlib.files import format_size, free_space, short_name
from dnnlib.parallel import parallel_map
from dnnlib.progress import Progress
from training.data.dataset import TFRecordDataset
from training.data.image_encoding import decoded, encoding_of, plain_format
from training.data.image_export import ImageExporter, check_destination, is_zip
from training.data.tfrecord_export import TFRecordExporter, check_target

KINDS = ("tfrecords", "folder", "zip")
KEEP = "keep"
"""The encoding of those who want image files as they are."""
_SUFFIXES = {"png": (".png",), "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "webp": (".webp",)}
_MAX_LISTED = 30
_SAMPLE = 32  # images that tell how large the result will be
_PER_FOLDER = 1000  # images without names
_MAX_NAME = 150  # bytes of a part of a name


def convert(
    source: str,
    dest: str,
    to: str | None = None,
    encoding: str | None = None,
    quality: int | None = None,
    exif: str = "upright",
    max_value: float | None = None,
    force: bool = False,
) -> None:
    """Writes a data set as another kind of data set, in the order of the first.

    Args:
        source: any data set.
        dest: what to create.
        to: 'tfrecords', 'folder' or 'zip'; None: what `dest` ends in tells, else tfrecords of files and files of
            tfrecords.
        encoding: of images, see `training.data.image_encoding.Encoding`; or 'keep': image files as they are, others as
            PNG. None is 'raw' for tfrecords, else 'keep'.
        quality: of 'jpeg'; None leaves JPEG files as they are.
        exif, max_value: how image files are read, see `training.data.image_files.Reading`.
        force: replace a data set that is there; False refuses to.

    Raises:
        UserError: for a source or destination that cannot be used, and for images that cannot be read, all of them.
    """
    source, dest = os.path.expanduser(source), os.path.expanduser(dest)
    dataset = TFRecordDataset(source, max_label_size="full", shuffle_mb=0, exif=exif, max_value=max_value)
    try:
        kind = to or _kind_of(dest, dataset.kind)
        if is_zip(dest) != (kind == "zip"):
            raise UserError(f"{dest}: names of zip files end in .zip, and no others; --to={kind} was asked for")
        (check_target if kind == "tfrecords" else check_destination)(dest, force)
        encoding = encoding or ("raw" if kind == "tfrecords" else KEEP)
        if encoding == "raw" and kind != "tfrecords":
            raise UserError(f"--encoding=raw is of tfrecords; {dest} is to be a {kind}, whose images are files")
        images = _Images(dataset, encoding, quality)
        print(f"Converting {dataset.describe()} from {dataset.kind} to {kind}")
        (_write_tfrecords if kind == "tfrecords" else _write_files)(images, dest, force)
    finally:
        dataset.close()


def _kind_of(dest: str, source_kind: str) -> str:
    if is_zip(dest):
        return "zip"
    return "folder" if source_kind == "tfrecords" else "tfrecords"


class _Images:
    """The images of a data set on their way into another. Raises UserError for what the encoding cannot hold."""

    def __init__(self, dataset: TFRecordDataset, encoding: str, quality: int | None):
        self.dataset = dataset
        self.count = dataset.num_images
        self.shape = tuple(dataset.shape)
        self.encoding = encoding_of("png", quality) if encoding == KEEP else encoding_of(encoding, quality)
        if problem := self.encoding.problem(self.shape):
            raise UserError(f"{dataset.tfrecord_dir}: images of {'x'.join(map(str, self.shape))}: {problem}")
        self._keeps_all = encoding == KEEP
        self._keeps_jpeg = encoding == "jpeg" and quality is None
        self.formats: list[str | None] = [None] * self.count  # of those whose files are kept
        if self._keeps_all or self._keeps_jpeg:
            self.formats = list(parallel_map(self._kept_format, range(self.count)))

    def _kept_format(self, index: int) -> str | None:
        try:
            with self.dataset.open_image(index) as file:
                found = plain_format(file, self.shape)
        except Exception:
            return None
        return found if self._keeps_all or found == "jpeg" else None

    def read(self, index: int) -> tuple[np.ndarray, bytes] | str:
        """An image, uint8 [C, H, W], and its file, unless it is to be raw pixels; or why it cannot be read."""
        try:
            if self.formats[index] is None:
                [image] = self.dataset.read(np.array([index]))[0]
                return image, b"" if self.encoding.name == "raw" else self.encoding.encode(image)
            with self.dataset.open_image(index) as file:
                content = file.read()
            return decoded(content, self.shape), content
        except UserError as error:
            return str(error)
        except (ValueError, OSError) as error:
            names = self.dataset.image_names
            return f"{printable(names[index]) if names else f'image {index}'}: {reason_of(error)}"

    def all(self) -> Iterator[tuple[int, np.ndarray, bytes]]:
        """Index, image and file of all images. Raises UserError for all that cannot be read, after the last one."""
        problems: list[str] = []
        with Progress(self.count, "images") as progress:
            for index, result in enumerate(parallel_map(self.read, range(self.count))):
                if isinstance(result, str):
                    problems.append(result)
                elif not problems:
                    yield index, *result
                progress.update(1)
        if problems:
            head = f"{len(problems)} of {self.count} images cannot be read; nothing was written:"
            raise UserError("\n  ".join([head, *listed(problems, _MAX_LISTED)]))

    def names(self) -> list[str]:
        """Names for all images, with the suffixes of what is in their files; each once."""
        there = self.dataset.image_names or [
            f"{index // _PER_FOLDER:05d}/img{index:08d}" for index in range(self.count)
        ]
        taken = set(there)
        result = []
        for name, kept in zip(there, self.formats, strict=True):
            suffixes = _SUFFIXES[kept] if kept else (self.encoding.suffix,)
            new = _as_name(name, suffixes)
            if new != name and new in taken:
                root, suffix = os.path.splitext(new)
                number = 2
                while (new := f"{root}-{number}{suffix}") in taken:
                    number += 1
            taken.add(new)
            result.append(new)
        return result


def _as_name(name: str, suffixes: Sequence[str]) -> str:
    """The name of an image as any file system can have it, inside of a folder, with one of some suffixes."""
    parts = name.encode(errors="surrogateescape").decode(errors="replace").split("/")
    if not parts[-1].lower().endswith(tuple(suffixes)):
        parts[-1] = os.path.splitext(parts[-1])[0] + suffixes[0]
    root, suffix = os.path.splitext(parts[-1])
    parts[-1] = short_name(root, _MAX_NAME) + suffix
    return "/".join(
        "_" if part == ".." else part if part == parts[-1] else short_name(part, _MAX_NAME) for part in parts
    )


def _write_files(images: _Images, dest: str, force: bool) -> None:
    """Writes a folder or zip file. Raises UserError."""
    some = np.unique(np.linspace(0, images.count - 1, _SAMPLE).astype(int)).tolist()
    sizes = [len(result[1]) for result in parallel_map(images.read, some) if not isinstance(result, str)]
    total, free = images.count * sum(sizes) / max(len(sizes), 1), free_space(_existing(dest))
    room = "" if free is None else f", {format_size(free)} free"
    print(f"Writing {images.count} images: about {format_size(total)}{room}.")
    if free is not None and total > free:
        raise UserError(f"{dest}: needs about {format_size(total)}, only {format_size(free)} are free on the disk")
    dataset = images.dataset
    labels = dataset.labels_of(np.arange(images.count)) if dataset.label_size else None
    with ImageExporter(dest, images.names(), labels, dataset.label_names, force=force) as exporter:
        for index, _, content in images.all():
            exporter.add(index, content)
    print(f"Wrote {images.count} images to {dest}")


def _existing(path: str) -> str:
    path = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _write_tfrecords(images: _Images, dest: str, force: bool) -> None:
    """Writes a folder of tfrecords. Raises UserError."""
    dataset = images.dataset
    with TFRecordExporter(dest, images.count, force=force, encoding=images.encoding) as exporter:
        for _, image, content in images.all():
            exporter.add_image(image, content or None)
        if dataset.label_size:
            exporter.add_labels(dataset.labels_of(np.arange(images.count)))
        numbers = list(map(str, range(dataset.label_size)))
        if dataset.image_names or dataset.label_names != numbers:
            exporter.add_names(dataset.image_names, dataset.label_names)
