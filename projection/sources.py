"""Where targets come from: image files, whether they fit a network, how they are cut and resized to it; data sets.

The rule for files: an image is turned upright as its EXIF orientation says, cut to the largest square in the middle,
and reduced to the resolution of the network by a Lanczos filter. Nothing is enlarged. Needs no TensorFlow.
"""

import functools
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageOps

from dataset_tools.image_rules import ImageRules
from dnnlib import files
from dnnlib.errors import Problems, UserError, listed
from dnnlib.pictures import MODES, mode_name
from training.data import dataset
from training.data.image_files import ImageFacts, decode, is_image_name

_CONVERT = {1: "gray", 3: "rgb", 4: "none"}
_MAX_LISTED = 20


def open_dataset(name: str, data_dir: str | None, num_images: int | None = None) -> dataset.Dataset:
    """A data set in the order of storage. Raises UserError if it cannot be read or has less than `num_images`."""
    opened = dataset.load_dataset(data_dir=data_dir, tfrecord_dir=name, max_label_size=0, repeat=False, shuffle_mb=0)
    if num_images is not None and num_images > opened.num_images:
        opened.close()
        raise UserError(f"--num-images={num_images}: the data set {name} has {opened.num_images}")
    return opened


def find_images(names: Sequence[str]) -> list[str]:
    """The image files that names of files, folders and patterns stand for, each once; those of a folder by name.

    Raises UserError for all that are not there; then also for those that are no images.
    """
    found: list[str] = []
    problems = Problems()
    for name in names:
        with problems.gather():
            found += files.find(name, is_image_name, "images", recursive=True)
    found = list(dict.fromkeys(found))
    if problems.messages:
        with problems.gather():
            check_readable(found)
    _report(problems.messages)
    return found


def check_readable(paths: Sequence[str]) -> None:
    """Raises UserError for all files that are not images, or damaged."""
    facts = [(path, _decode(path)[0]) for path in paths]
    _report([f"{path}: {fact.problem}" for path, fact in facts if fact.problem])


def check_images(paths: Sequence[str], resolution: int, channels: int, convert: bool) -> None:
    """Raises UserError for all images that cannot be targets of a network of this resolution and these channels.

    convert: whether other colours, depths and transparency will be converted.
    """
    problems = []
    for path in paths:
        facts, _ = _decode(path)
        problems += [f"{path}: {problem}" for problem in _problems(facts, resolution, channels, convert)]
    _report(problems)


def _problems(facts: ImageFacts, resolution: int, channels: int, convert: bool) -> list[str]:
    if facts.problem:
        return [facts.problem]
    wanted, problems = MODES[channels], []
    if facts.mode == "F" or (facts.mode != wanted and not convert):
        help_ = "save it as 8 bits" if facts.mode == "F" else "--convert makes it so"
        problems.append(f"{facts}, but the network makes {mode_name(wanted)} images; {help_}")
    if min(facts.width, facts.height) < resolution:
        problems.append(f"{facts}, too small for a network of {resolution}x{resolution}")
    return problems


def read_image(path: str, resolution: int, channels: int) -> np.ndarray:
    """A checked image as the network would make it, uint8 [C, H, W]."""
    facts, img = _decode(path)
    if img is None:
        raise UserError(f"{path}: {facts.problem}")
    img = PIL.ImageOps.exif_transpose(img)
    if channels == 4:
        img = img.convert("RGBA")
    content = ImageRules(convert=_CONVERT[channels], crop="center", resolution=resolution)
    return np.ascontiguousarray(content.apply(img))


def _decode(path: str) -> tuple[ImageFacts, PIL.Image.Image | None]:
    return decode(functools.partial(open, path, "rb"))


def _report(problems: list[str]) -> None:
    """Raises UserError of problems, if there are any; a long list is cut."""
    if problems:
        raise UserError("\n".join(listed(problems, _MAX_LISTED)))
