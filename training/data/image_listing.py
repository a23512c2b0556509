"""Which files of a folder or zip file are images, and what is to be said of those that are not."""

import collections
import os
from functools import partial

from dnnlib.errors import counted, enumerated, listed
from dnnlib.files import list_files
from dnnlib.parallel import parallel_map

from .containers import Container, is_hidden, member_name
from .image_files import AS_USUAL, ImageFacts, Reading, is_image_name, look_at

LABEL_FILE = "dataset.json"
"""With labels, of the data sets of StyleGAN2-ADA."""
_LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")  # that desktops leave in folders
_RAW = (".nef", ".nrw", ".cr2", ".cr3", ".arw", ".dng", ".pef", ".srw", ".orf", ".rw2", ".raf")
"""Of cameras. Many look like TIFF, of which Pillow would see the thumbnail."""
_RAW_FACTS = ImageFacts(problem="camera raw image, which Pillow cannot decode", foreign=True)
_MOST = 5  # names of each kind in a line


def find_images(container: Container, reading: Reading) -> tuple[list[str], str | None]:
    """Names of the images among the files of a container, and a line about others, if there are any.

    Images are files with extensions of images, damaged ones too, and all others that turn out to be images by what is
    in them. Hidden files, what desktops leave and files of labels are passed over.
    """
    files = [name for name in container.names if not _is_known_other(name)]
    unsure = [name for name in files if not is_image_name(name)]
    if not unsure:
        return files, None
    foreign = {}
    looks = parallel_map(lambda name: _look(container, name, reading), unsure)
    for name, facts in zip(unsure, looks, strict=True):
        if facts.foreign:
            foreign[name] = facts.problem
    return [name for name in files if name not in foreign], _describe(foreign) if foreign else None


def has_images(folder: str) -> bool:
    """Whether there is any image, by the rule of `find_images`; looks into files only where no name says so."""
    files = [name for name in map(member_name, list_files(folder, [])) if not _is_known_other(name)]
    if any(map(is_image_name, files)):
        return True
    container = Container(folder)
    return not all(_look(container, name, AS_USUAL).foreign for name in files)


def _look(container: Container, name: str, reading: Reading) -> ImageFacts:
    return _RAW_FACTS if name.lower().endswith(_RAW) else look_at(partial(container.open, name), reading)


def _is_known_other(name: str) -> bool:
    base = os.path.basename(name).lower()
    return is_hidden(name) or base in _LITTER or base == LABEL_FILE or base.endswith(".labels")


def _describe(problems: dict[str, str]) -> str:
    """'Left out 3 files: 2 not an image (a.txt, b.pdf); 1 HEIC image, which Pillow cannot decode (c.heic)'."""
    by_problem: dict[str, list[str]] = collections.defaultdict(list)
    for name, problem in problems.items():
        by_problem[problem].append(name)
    kinds = [f"{len(names)} {problem} ({enumerated(names, _MOST)})" for problem, names in by_problem.items()]
    return f"Left out {counted(len(problems), 'file')}: {'; '.join(listed(kinds, _MOST))}"
