"""Lists the images of a folder or a zip file, with their classes."""

import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import PIL.Image

from dnnlib.errors import UserError
from dnnlib.files import list_files
from training.data.image_files import is_image_name
from training.data.labels import labels_of_images

_LABEL_FILE = "dataset.json"  # of the data sets of StyleGAN2-ADA
_LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini")
_MAX_SIZE = 1 << 30  # bytes of one file of a zip file


@dataclass(frozen=True)
class ImageFile:
    """A file that should be an image; `name` is for messages, `read` gives its bytes."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class ImageList:
    """Images in the order of their names.

    labels: float32 [N, label_size]; None without classes.
    classes: name of each column of labels; empty without classes.
    others: names of files that are no images; they have neither labels nor classes.
    """

    files: list[ImageFile]
    labels: np.ndarray | None
    classes: list[str]
    others: list[str]


def list_images(source: str) -> ImageList:
    """The images of a folder or zip file, and what else is there but hidden files and `dataset.json`.

    Labels are those of `training.data.labels`: from `dataset.json`, or the sub-folders are classes.

    Raises:
        UserError: for a source that is missing, empty, or holds images both with and without a class.
    """
    path = os.path.expanduser(source)
    if not os.path.exists(path):
        raise UserError(f"{source}: no such folder or zip file")
    files = _folder(path) if os.path.isdir(path) else _zip(path, source)
    names = sorted(name for name in files if not _is_hidden(name) and os.path.basename(name) != _LABEL_FILE)
    others = [name for name in names if not is_image_name(name) and not _is_image(files[name])]
    names = sorted(set(names).difference(others))
    if not names:
        raise UserError(f"{source}: there are no images in it" + (f", only {', '.join(others[:5])}" if others else ""))
    labels = labels_of_images(source, names, lambda name: files[name].read() if name in files else None)
    classes = _class_names(names, labels)
    if labels is None and not any(os.path.basename(name) == _LABEL_FILE for name in files):
        _check_no_folders(names, source)
    return ImageList([files[name] for name in names], labels, classes, others)


def _is_hidden(name: str) -> bool:
    """Whether a file is hidden, or one that desktops leave in folders."""
    *folders, last = name.split("/")
    return last.lower() in _LITTER or any(part.startswith(".") or part == "__MACOSX" for part in (*folders, last))


def _is_image(file: ImageFile) -> bool:
    """Whether a file looks like an image, judged by its start. What cannot be read may be one."""
    try:
        PIL.Image.open(io.BytesIO(file.read())).close()
    except PIL.UnidentifiedImageError:
        return False
    except Exception:  # decoders raise all sorts; a closer look will tell
        return True
    return True


def _below_common(names: list[str]) -> list[str]:
    common = os.path.commonpath([os.path.dirname(name) for name in names])
    return [name[len(common) :].lstrip("/") for name in names]


def _class_names(names: list[str], labels: np.ndarray | None) -> list[str]:
    """The sub-folders that became classes; plain numbers where labels come from elsewhere."""
    if labels is None:
        return []
    folders = np.asarray([name.split("/")[0] if "/" in name else "" for name in _below_common(names)])
    classes = []
    for column in range(labels.shape[1]):
        of_column = set(folders[labels[:, column] > 0])
        classes.append(of_column.pop() if len(of_column) == 1 else "")
    return classes if len(set(classes)) == len(classes) else [str(column) for column in range(labels.shape[1])]


def _check_no_folders(names: list[str], source: str) -> None:
    inside = [name for name in _below_common(names) if "/" in name]
    if inside:
        outside = [name for name in _below_common(names) if "/" not in name]
        folders = list(dict.fromkeys(name.split("/")[0] for name in inside))
        raise UserError(
            f"{source}: sub-folders are classes ({', '.join(folders[:5])}), and every image needs one; {len(outside)} "
            f"files are in none, such as {outside[0]}"
        )


# ----------------------------------------------------------------------------
# Containers.


def file_in_folder(folder: str, name: str) -> ImageFile:
    """A file on the disk."""

    def read() -> bytes:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()

    return ImageFile(name, read)


def _folder(path: str) -> dict[str, ImageFile]:
    return {name: file_in_folder(path, name) for name in list_files(path)}


def _zip(path: str, source: str) -> dict[str, ImageFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(f"{source}: expected a folder or a zip file, but it cannot be read as one ({error})") from None

    def in_zip(info: zipfile.ZipInfo) -> ImageFile:
        def read() -> bytes:
            if info.file_size > _MAX_SIZE:
                raise ValueError(f"unpacks to {info.file_size} bytes")
            return archive.read(info)

        return ImageFile(info.filename, read)

    return {info.filename: in_zip(info) for info in archive.infolist() if not info.is_dir()}
