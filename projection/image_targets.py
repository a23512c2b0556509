"""Image files as targets: which files, whether they fit a network, and how they are cut and resized to it.

The rule: an image is turned upright as its EXIF orientation says, cut to the largest square in the middle, and reduced
to the resolution of the network by a Lanczos filter. Nothing is enlarged. Needs no TensorFlow.
"""

import glob
import os
from collections.abc import Sequence

import numpy as np
import PIL.ImageOps

from dataset_tools.image_files import ImageFile, file_in_folder
from dataset_tools.image_rules import ImageFacts, ImageRules, look_at, open_image
from dnnlib.errors import UserError
from training.encoded_images import is_image_name, list_files
from training.image_modes import describe, mode_name

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""The modes of Pillow by number of channels."""
_CONVERT = {1: "gray", 3: "rgb", 4: "none"}
_MAX_LISTED = 20


def find_images(names: Sequence[str]) -> list[str]:
    """The image files that names of files, folders and patterns stand for, each once; those of a folder by name.

    Raises UserError for all that are not there, not images, or damaged.
    """
    found: list[str] = []
    problems: list[str] = []
    for name in names:
        path = os.path.expanduser(name)
        if os.path.isdir(path):
            inside = sorted(os.path.join(path, file) for file in list_files(path) if is_image_name(file))
            if not inside:
                problems.append(f"{name}: there are no images in this folder")
            found += inside
        elif os.path.exists(path):
            found.append(path)
        else:
            matching = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
            if not matching:
                what = "no file has such a name" if glob.has_magic(path) else "no such file"
                problems.append(f"{name}: {what}")
            found += matching
    found = list(dict.fromkeys(found))
    bad = [(path, look_at(_file(path)).problem) for path in found]
    problems += [f"{path}: {problem}" for path, problem in bad if problem]
    if problems:
        raise UserError(_listed(problems))
    return found


def check_images(paths: Sequence[str], resolution: int, channels: int, convert: bool) -> None:
    """Raises UserError for all images that cannot be targets of a network of this resolution and these channels.

    convert: whether other colours, depths and transparency will be converted.
    """
    problems = []
    for path in paths:
        facts = look_at(_file(path))
        problems += [f"{path}: {problem}" for problem in _problems(facts, resolution, channels, convert)]
    if problems:
        raise UserError(_listed(problems))


def _problems(facts: ImageFacts, resolution: int, channels: int, convert: bool) -> list[str]:
    if facts.problem:
        return [facts.problem]
    what, problems = describe(facts.width, facts.height, facts.mode), []
    wanted = MODES[channels]
    if facts.mode == "F" or (facts.mode != wanted and not convert):
        help_ = "save it as 8 bits" if facts.mode == "F" else "--convert makes it so"
        problems.append(f"{what}, but the network makes {mode_name(wanted)} images; {help_}")
    if min(facts.width, facts.height) < resolution:
        problems.append(f"{what}, too small for a network of {resolution}x{resolution}")
    return problems


def read_image(path: str, resolution: int, channels: int) -> np.ndarray:
    """A checked image as the network would make it, uint8 [C, H, W]."""
    img = PIL.ImageOps.exif_transpose(open_image(_file(path)))
    if channels == 4:
        img = img.convert("RGBA")
    content = ImageRules(convert=_CONVERT[channels], crop="center", resolution=resolution)
    return np.ascontiguousarray(content.apply(img))


def _file(path: str) -> ImageFile:
    return file_in_folder(os.path.dirname(path), os.path.basename(path))


def _listed(problems: list[str]) -> str:
    if len(problems) > _MAX_LISTED:
        problems = [*problems[:_MAX_LISTED], f"... and {len(problems) - _MAX_LISTED} more"]
    return "\n".join(problems)
