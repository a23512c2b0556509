"""Labels of data sets: of the `.labels` file (a NumPy array), of `dataset.json`, or of the folders images are in."""

import glob
import json
import os

import numpy as np

from dnnlib.errors import UserError, listed, printable
from dnnlib.formats import versions
from dnnlib.kinds import mistaken_file

from . import dataset_json
from .containers import Container
from .dataset_json import MAX_CLASSES

NAMES_SUFFIX = ".json"
"""Of the file beside tfrecords, {"names": [...], "classes": [...]}, of images and of columns of labels."""
NAMES_VERSION = 1  # of that file; files without a number are of version 1, too
_MAX_NAMED = 10  # classes
_MOST_UNUSED = 1 << 15  # classes, most of which have no image: numbers beyond are something else
_MAX_BYTES = 16 << 30  # of a label array in memory


def find_label_file(path: str, label_file: str | None) -> str | None:
    """The label file of a data set: the given one (a path, or a name in its folder), else the first `*.labels` in it.

    Raises UserError if the given one does not exist.
    """
    if label_file is None:
        return min(glob.glob(os.path.join(glob.escape(path), "*.labels")), default=None)
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    for found in (label_file, os.path.join(folder, label_file)):
        if os.path.isfile(found):
            return found
    raise UserError(f"label_file={label_file}: there is no such file, in {folder} neither")


def read_label_file(path: str, count: int) -> np.ndarray:
    """Labels, float32 [count, label_size], of a label file; classes [count] become one-hot. Raises UserError."""
    try:
        labels = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a huge size in the header does no harm
    except Exception as error:
        raise UserError(f"{path}: is not a NumPy array of labels ({mistaken_file(path) or error})") from None
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "biuf" or labels.ndim not in (1, 2):
        raise UserError(f"{path}: expected an array of numbers, [images, label_size] or classes [images]")
    if len(labels) != count:
        raise UserError(f"{path}: {len(labels)} labels, but the data set has {count} images")
    if labels.ndim == 1:
        return one_hot(path, np.asarray(labels))
    if labels.size * 4 > _MAX_BYTES:
        raise UserError(f"{path}: {labels.shape[1]} columns of {count} labels do not fit into memory")
    result = labels.astype(np.float32)
    if not np.isfinite(result).all():
        raise UserError(f"{path}: has labels that are not finite")
    return result


def one_hot(path: str, classes: np.ndarray, size: int = 0) -> np.ndarray:
    """One-hot labels, float32 [N, classes], of class numbers [N]. Raises UserError if they are none.

    size: number of classes, at least.
    """
    integers = classes.astype(np.int64) if np.isfinite(classes).all() else np.full(len(classes), -1)
    if (integers != classes).any() or integers.min(initial=0) < 0 or integers.max(initial=0) >= MAX_CLASSES:
        found = f"got {classes.min()} to {classes.max()}"
        raise UserError(f"{path}: expected class numbers from 0, {found}; label vectors are [images, label_size]")
    size = max(size, int(integers.max(initial=0)) + 1)
    if size > max(_MOST_UNUSED, len(integers)):
        raise UserError(f"{path}: {size} classes for {len(integers)} images; expected class numbers, such as 0 to 9")
    if size * len(integers) * 4 > _MAX_BYTES:
        raise UserError(f"{path}: {size} classes for {len(integers)} images do not fit into memory")
    result = np.zeros([len(integers), size], np.float32)
    result[np.arange(len(integers)), integers] = 1
    return result


def are_classes(labels: np.ndarray) -> bool:
    """Whether labels [N, label_size] are one-hot."""
    return bool(((labels != 0).sum(axis=1) == 1).all() and (labels.max(axis=1, initial=0) == 1).all())


def cut_labels(labels: np.ndarray | None, count: int, max_label_size: int | str) -> np.ndarray:
    """The first `count` labels, with the columns asked for: 0, 'full', or at most so many."""
    if max_label_size != "full" and (isinstance(max_label_size, str) or max_label_size < 0):
        raise UserError(f"max_label_size={max_label_size!r}, expected 0, a number of columns, or 'full'")
    if labels is None or max_label_size == 0:
        return np.zeros([count, 0], np.float32)
    return labels[:count] if max_label_size == "full" else labels[:count, :max_label_size]


def read_names_file(folder: str, count: int) -> tuple[list[str], list[str]]:
    """Names of the images of a folder of tfrecords, and of their classes; empty where it has none.

    Raises UserError for a file that is damaged, or of another number of images.
    """
    path = min(glob.glob(os.path.join(glob.escape(folder), f"*-rxx{NAMES_SUFFIX}")), default=None)
    if path is None:
        return [], []
    try:
        with open(path, "rb") as file:
            content = json.load(file)
        names, classes = content["names"], content["classes"]
        texts = [*names, *classes]
        version = content.get(versions.KEY, 1)
    except (ValueError, LookupError, TypeError, RecursionError):
        texts, version = [None], 1
    if problem := versions.problem_of(version, NAMES_VERSION):
        raise UserError(f"{path}: {problem}; images can be read without this file")
    if not all(isinstance(text, str) for text in texts) or not isinstance(names, list):
        raise UserError(
            f'{path}: is damaged, expected {{"names": [...], "classes": [...]}}; images can be read without this file'
        )
    if names and len(names) != count:
        raise UserError(f"{path}: {len(names)} names, but the data set has {count} images")
    return names, list(classes)


# ----------------------------------------------------------------------------
# Labels of images that have names.


def labels_of_images(container: Container, names: list[str]) -> tuple[np.ndarray | None, list[str]]:
    """Labels, float32 [images, label_size], or None if there are none, and the name of each column.

    With `dataset.json`, as StyleGAN2-ADA has it, {"labels": [["NAME", 3], ...]}, where a label is a class or a list of
    numbers; columns are called by their numbers, unless it names the "classes". Without, folders are classes, numbered
    in order of their names, if every image is in one. Those without images count as well, and are noted: the others
    keep their numbers.

    Args:
        container: that the images are in.
        names: relative paths of the images, with `/`; one or more.

    Raises:
        UserError: for a `dataset.json` that is damaged or does not fit the images.
    """
    inside = below_common(names)
    common = names[0][: -len(inside[0])]
    for prefix in dict.fromkeys(["", common]):  # zip files often wrap all in one folder
        text = container.read(f"{prefix}dataset.json")
        if text is not None:
            json_path = f"{container.path}/{prefix}dataset.json"
            labels, classes = dataset_json.read_labels(json_path, text, [name[len(prefix) :] for name in names])
            if labels is not None and labels.ndim == 1:
                labels = one_hot(json_path, labels, len(classes))
            return labels, classes or [str(column) for column in range(0 if labels is None else labels.shape[1])]
    if not all("/" in name for name in inside):
        return None, []
    folders = [name.split("/")[0] for name in inside]
    empty = set(container.folders(common)) - set(folders)
    numeric = all(folder.isdecimal() for folder in folders)
    classes = sorted({*folders, *empty}, key=_by_number if numeric else None)
    numbers = {folder: number for number, folder in enumerate(classes)}
    if empty:
        which = ", ".join(listed([f"{numbers[folder]} ({printable(folder)})" for folder in sorted(empty)], _MAX_NAMED))
        container.notes.append(f"Folders without images count as classes: {which}.")
    return one_hot(container.path, np.array([numbers[folder] for folder in folders]), len(classes)), classes


def _by_number(name: str) -> tuple[bool, int, str]:
    """Numbers in their order, then other names."""
    return (False, int(name), name) if name.isdecimal() else (True, 0, name)


def below_common(names: list[str]) -> list[str]:
    """Paths, with `/`, without the folders that all of them are in."""
    while all("/" in name for name in names) and len({name.partition("/")[0] for name in names}) == 1:
        names = [name.partition("/")[2] for name in names]
    return names
