"""Lists the images of a folder or a zip file, with their classes, or those that a pattern matches."""

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

import numpy as np

from dnnlib.errors import UserError
from training.data.containers import Container
from training.data.image_files import Reading
from training.data.image_listing import LABEL_FILE, find_images
from training.data.labels import below_common, labels_of_images


@dataclass(frozen=True)
class ImageList:
    """Images in the order of their names.

    container: the folder or zip file that they are in.
    names: of the images.
    reading: how they are read.
    labels: float32 [N, label_size]; None without classes.
    classes: name of each column of labels; empty without classes.
    """

    container: Container
    names: list[str]
    reading: Reading
    labels: np.ndarray | None = None
    classes: list[str] = field(default_factory=list)

    def opener(self, index: int) -> Callable[[], BinaryIO]:
        """What opens the file of an image."""
        return partial(self.container.open, self.names[index])


def list_images(source: str, reading: Reading) -> ImageList:
    """The images of a folder or zip file, or of what a pattern matches, by the rule of `training.data.image_listing`.

    Labels are those of `training.data.labels`: from `dataset.json`, or the sub-folders are classes. Patterns, which are
    taken as officially, give none.

    Raises:
        UserError: for a source that is missing, empty, or holds images both with and without a class.
    """
    path = os.path.expanduser(source)
    matched = matching(path)
    if matched is None and not os.path.exists(path):
        raise UserError(f"{source}: no such folder or zip file{', and no pattern of any' if _is_pattern(path) else ''}")
    container = matched or Container(path)
    names, others = find_images(container, reading)
    container.notes += [others] if others else []
    if not names:
        raise UserError("\n".join([f"{source}: there are no images in it", *container.notes]))
    if matched is not None:
        container.notes.append(f"Taken as a pattern, which {len(names)} images match; patterns give no labels.")
        return ImageList(container, names, reading)
    labels, classes = labels_of_images(container, names)
    inside = below_common(names)
    folders = list(dict.fromkeys(name.split("/")[0] for name in inside if "/" in name))
    has_label_file = any(os.path.basename(name) == LABEL_FILE for name in container.names)
    if labels is None and folders and not has_label_file:
        outside = [name for name in inside if "/" not in name]
        raise UserError(
            f"{source}: sub-folders are classes ({', '.join(folders[:5])}), and every image needs one; {len(outside)} "
            f"files are in none, such as {outside[0]}"
        )
    return ImageList(container, names, reading, labels, classes)


def matching(path: str) -> Container | None:
    """The files that a pattern such as `photos/*.png` matches, and those right in the folders that it matches.

    None for what is there by this name, is no pattern, or matches nothing.
    """
    if os.path.exists(path) or not _is_pattern(path):
        return None
    files: list[str] = []
    for match in glob.glob(path):
        inside = glob.glob(os.path.join(glob.escape(match), "*")) if os.path.isdir(match) else [match]
        files += filter(os.path.isfile, inside)
    if not files:
        return None
    folder = os.path.commonpath([os.path.dirname(file) for file in files]) or "."
    return Container(folder, (os.path.relpath(file, folder) for file in files))


def _is_pattern(path: str) -> bool:
    return glob.escape(path) != path
