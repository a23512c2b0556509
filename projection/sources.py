"""Where targets come from: image files, whether they fit a network, how they are cut and resized to it; data sets.

The rule for files: an image is turned upright as its EXIF orientation says, brought to 8 bits per channel, cut to the
largest part in the middle of the proportions that the network's images have, and reduced to their size by a Lanczos
filter. Nothing is enlarged.
Needs no TensorFlow.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence

import numpy as np
import PIL.Image

from dataset_tools.image_rules import ImageRules, pair
from dnnlib import files
from dnnlib.errors import Problems, UserError, listed
from dnnlib.pictures import MODES, converted, mode_name
from dnnlib.resolutions import Size, size_text
from training.data import dataset, image_listing
from training.data.containers import Container
from training.data.image_files import (
    AS_USUAL,
    ImageFacts,
    Reading,
    decode,
    is_image_name,
    notes_about,
    notes_about_depth,
)

_MAX_LISTED = 20


def open_dataset(
    name: str, data_dir: str | None, num_images: int | None = None, reading: Reading = AS_USUAL
) -> dataset.Dataset:
    """A data set in the order of storage. Raises UserError if it cannot be read or has less than `num_images`."""
    kwargs = {"max_label_size": 0, "repeat": False, "shuffle_mb": 0, **dataclasses.asdict(reading)}
    opened = dataset.load_dataset(data_dir=data_dir, tfrecord_dir=name, **kwargs)
    if num_images is not None and num_images > opened.num_images:
        opened.close()
        raise UserError(f"--num-images={num_images}: the data set {name} has {opened.num_images}")
    return opened


def find_images(names: Sequence[str], reading: Reading = AS_USUAL) -> list[str]:
    """The image files that names of files, folders and patterns stand for, each once; those of a folder by name.

    Which files of a folder are images is found out by looking into them; what is left out is printed. Raises UserError
    for all that are not there; then also for those that are no images.
    """
    found: list[str] = []
    problems = Problems()
    for name in names:
        with problems.gather():
            found += _find(name, reading)
    found = list(dict.fromkeys(found))
    if problems.messages:
        with problems.gather():
            check_readable(found, reading)
    _report(problems.messages)
    return found


def _find(name: str, reading: Reading) -> list[str]:
    folder = os.path.expanduser(name)
    if not os.path.isdir(folder):
        return files.find(name, is_image_name, "images")
    container = Container(folder)
    inside, others = image_listing.find_images(container, reading)
    if not inside:
        raise UserError(f"{name}: there are no images in this folder" + (f". {others}" if others else ""))
    for note in [*container.notes, *([others] if others else [])]:
        print(f"{name}: {note}")
    return [container.path_of(image) for image in inside]


def check_readable(paths: Sequence[str], reading: Reading = AS_USUAL) -> None:
    """Raises UserError for all files that are not images, or damaged."""
    facts = [(path, _decode(path, reading)[0]) for path in paths]
    _report([f"{path}: {fact.problem}" for path, fact in facts if fact.problem])


def check_images(paths: Sequence[str], size: Size, channels: int, convert: bool, reading: Reading = AS_USUAL) -> None:
    """Raises UserError for all images that cannot be targets of a network of images of this size and these channels.

    Prints what will be done to them. convert: whether other colours, depths and transparency will be converted.
    """
    problems = []
    all_facts = []
    for path in paths:
        facts, _ = _decode(path, reading)
        all_facts.append(facts)
        problems += [f"{path}: {problem}" for problem in _problems(facts, size, channels, convert)]
    _report(problems)
    for note in (*notes_about(all_facts, reading), *notes_about_depth(all_facts, reading)):
        print(note)


def _problems(facts: ImageFacts, size: Size, channels: int, convert: bool) -> list[str]:
    if facts.problem:
        return [facts.problem]
    wanted, problems = MODES[channels], []
    if facts.mode == "F" or (facts.mode != wanted and not convert):
        help_ = (
            "save it as 8 bits, or give --max-value, what is white" if facts.mode == "F" else "--convert makes it so"
        )
        problems.append(f"{facts}, but the network makes {mode_name(wanted)} images; {help_}")
    height, width = pair(size)
    if facts.height < height or facts.width < width:
        problems.append(f"{facts}, too small for a network of {size_text(size)}")
    return problems


def read_image(path: str, size: Size, channels: int, reading: Reading = AS_USUAL) -> np.ndarray:
    """A checked image as the network would make it, uint8 [C, H, W]."""
    facts, img = _decode(path, reading)
    if img is None:
        raise UserError(f"{path}: {facts.problem}")
    content = ImageRules(crop="center", resolution=size)
    return np.ascontiguousarray(content.apply(converted(img, MODES[channels])))


def _decode(path: str, reading: Reading) -> tuple[ImageFacts, PIL.Image.Image | None]:
    return decode(functools.partial(files.open_file, path), reading)


def _report(problems: list[str]) -> None:
    """Raises UserError of problems, if there are any; a long list is cut."""
    if problems:
        raise UserError("\n".join(listed(problems, _MAX_LISTED)))
