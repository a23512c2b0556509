"""Labels of images that have names: from `dataset.json`, or from the folders that they are in."""

import json
import os
from collections.abc import Callable

import numpy as np

from dnnlib.errors import UserError

from .dataset_labels import one_hot


def labels_of_images(path: str, names: list[str], read_file: Callable[[str], bytes | None]) -> np.ndarray | None:
    """Labels, float32 [images, label_size], or None if there are none. Raises UserError.

    With `dataset.json`, as StyleGAN2-ADA has it, {"labels": [["NAME", 3], ...]}, where a label is a class or a list of
    numbers. Without, folders are classes, numbered in order of their names, if every image is in one.

    Args:
        path: of the data set, for messages.
        names: relative paths of the images, with `/`.
        read_file: gives the content of another file, or None.
    """
    common = os.path.commonpath([os.path.dirname(name) for name in names]) if names else ""
    prefixes = dict.fromkeys(["", f"{common}/" if common else ""])  # zip files often wrap all in one folder
    for prefix in prefixes:
        text = read_file(f"{prefix}dataset.json")
        if text is not None:
            return _labels_of_json(f"{path}/{prefix}dataset.json", [name.removeprefix(prefix) for name in names], text)
    inside = [name[len(common) :].lstrip("/") for name in names]
    if not all("/" in name for name in inside):
        return None
    folders = [name.split("/")[0] for name in inside]
    numeric = all(folder.isdecimal() for folder in folders)
    classes = sorted(set(folders), key=(lambda folder: (int(folder), folder)) if numeric else None)
    numbers = {folder: number for number, folder in enumerate(classes)}
    return one_hot(path, np.array([numbers[folder] for folder in folders]))


def _labels_of_json(path: str, names: list[str], text: bytes) -> np.ndarray | None:
    try:
        entries = json.loads(text).get("labels")
        if entries is None:
            return None
        labels = {str(name): label for name, label in entries}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UserError(f'{path}: expected {{"labels": [["NAME", 3], ...]}}') from None
    missing = [name for name in names if name not in labels]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(names)} images have no label, such as {', '.join(missing[:5])}"
        )
    unknown = len(labels) - len(names)
    if unknown:
        raise UserError(f"{path}: has labels of {unknown} images that are not there")
    try:
        array = np.array([labels[name] for name in names], np.float32 if isinstance(labels[names[0]], list) else None)
        if array.dtype.kind not in "if" or not np.isfinite(array).all() or array.ndim > 2:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{path}: labels are to be class numbers, or lists of numbers of one length") from None
    return one_hot(path, array) if array.ndim == 1 else array
