"""Lists the images of a folder or a zip file, with their classes."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

import numpy as np

from dnnlib.errors import UserError
from training.data.containers import Container, is_hidden
from training.data.image_files import ImageFacts, is_image_name, look_at
from training.data.labels import below_common, labels_of_images

_LABEL_FILE = "dataset.json"  # of the data sets of StyleGAN2-ADA
_LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini")  # that desktops leave in folders


@dataclass(frozen=True)
class ImageList:
    """Images in the order of their names.

    container: the folder or zip file that they are in.
    names: of the images.
    labels: float32 [N, label_size]; None without classes.
    classes: name of each column of labels; empty without classes.
    others: what is wrong with the files that are no images, by name; they have neither labels nor classes.
    """

    container: Container
    names: list[str]
    labels: np.ndarray | None = None
    classes: list[str] = field(default_factory=list)
    others: dict[str, ImageFacts] = field(default_factory=dict)

    def opener(self, index: int) -> Callable[[], BinaryIO]:
        """What opens the file of an image."""
        return partial(self.container.open, self.names[index])


def list_images(source: str) -> ImageList:
    """The images of a folder or zip file, and what else is there but hidden files and `dataset.json`.

    Labels are those of `training.data.labels`: from `dataset.json`, or the sub-folders are classes.

    Raises:
        UserError: for a source that is missing, empty, or holds images both with and without a class.
    """
    path = os.path.expanduser(source)
    if not os.path.exists(path):
        raise UserError(f"{source}: no such folder or zip file")
    container = Container(path)
    files = [name for name in container.names if not is_hidden(name) and not _is_known_other(name)]
    looked_at = {name: look_at(partial(container.open, name)) for name in files if not is_image_name(name)}
    others = {name: facts for name, facts in looked_at.items() if facts.problem}
    names = [name for name in files if name not in others]
    if not names:
        only = f", only {', '.join(list(others)[:5])}" if others else ""
        raise UserError(f"{source}: there are no images in it{only}")
    labels, classes = labels_of_images(container, names)
    inside = below_common(names)
    folders = list(dict.fromkeys(name.split("/")[0] for name in inside if "/" in name))
    has_label_file = any(os.path.basename(name) == _LABEL_FILE for name in container.names)
    if labels is None and folders and not has_label_file:
        outside = [name for name in inside if "/" not in name]
        raise UserError(
            f"{source}: sub-folders are classes ({', '.join(folders[:5])}), and every image needs one; {len(outside)} "
            f"files are in none, such as {outside[0]}"
        )
    return ImageList(container, names, labels, classes, others)


def _is_known_other(name: str) -> bool:
    base = os.path.basename(name)
    return base == _LABEL_FILE or base.lower() in _LITTER
