"""Data sets of generated images: which seed and class each image has, and writing them as a folder or zip file."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dnnlib.errors import Problems, UserError
from dnnlib.files import format_size, free_space
from dnnlib.flags import MAX_SEED
from dnnlib.parallel import parallel_map
from dnnlib.progress import Progress
from training.data.image_encoding import Encoding
from training.data.image_export import ImageExporter, check_destination

from .points import Point

PSI = 1.0
"""Truncation of seeds if nobody asks for another: a data set is to show all that the network knows."""
_ENCODINGS = {"png": "png", "jpg": "jpeg", "webp": "webp-lossless"}
_MOST = 10_000_000  # images at once
_MAX_BATCH = 32
_PIXELS_OF_BATCH = 1 << 22


def seeds_from(seeds: Sequence[Point], count: int | None, num_classes: int = 1) -> Sequence[Point]:
    """The seeds of `count` images of each class, from the first of `seeds`, or else 0, on; `seeds` without a count.

    Raises UserError for more than one seed to begin with, for too many images, and for seeds that cannot be.
    """
    if count is None:
        return seeds
    if any(isinstance(point, str) for point in seeds):
        raise UserError(f"--count={count} makes images of seeds; leave out --count or --dlatents")
    if len(seeds) > 1:
        raise UserError(f"--count={count}: expected one seed to begin with in --seeds, or none, got {len(seeds)}")
    first = int(seeds[0]) if len(seeds) else 0
    end = first + count * num_classes
    if end - first > _MOST:
        of_classes = f" of each of {num_classes} classes" if num_classes > 1 else ""
        raise UserError(f"--count={count}{of_classes}: expected {_MOST // num_classes} at most")
    if end > MAX_SEED + 1:
        raise UserError(f"--count={count}: seeds {first} to {end - 1} are out of range, expected 0 to {MAX_SEED}")
    return range(first, end)


def check(
    seeds: Sequence[Point],
    count: int | None,
    to: str | None,
    per_class: bool,
    force: bool,
    grid: Any = None,
    chosen_class: bool = False,
) -> None:
    """Raises UserError for what cannot be, as far as this is known before the network is: all in one message.

    The arguments are those of `commands.generate_images`; chosen_class: whether there is a class or label for all.
    """
    problems = Problems()
    with problems.gather():
        if not len(seeds_from(seeds, count)):
            raise UserError("--seeds, --dlatents or --count is missing: there is nothing to make")
    if to is None:
        for flag in [flag for flag, given in (("--per-class", per_class), ("--force", force)) if given]:
            problems.messages.append(f"{flag} is of data sets; --to=FOLDER or --to=FILE.zip is missing")
    else:
        with problems.gather("--to"):
            check_destination(to, force)
        if grid:
            problems.messages.append("--grid: a data set has none; leave out --grid or --to")
        if count is None and any(isinstance(point, str) for point in seeds):
            problems.messages.append("--to writes images of seeds; leave out --to or --dlatents")
    if per_class and count is None:
        problems.messages.append("--per-class: --count, the number of images of each class, is missing")
    if per_class and chosen_class:
        problems.messages.append("--per-class makes images of all classes; leave out --class-idx and --label")
    problems.report()


def minibatch_size(height: int, width: int) -> int:
    """How many images are rendered at once if nobody asks for another number: fewer of large ones."""
    return max(min(_PIXELS_OF_BATCH // (height * width), _MAX_BATCH), 1)


def write(
    images: Any, network: str, seeds: Sequence[Point], count: int | None, per_class: bool, to: str, force: bool
) -> None:
    """Writes images of seeds with their labels, or goes on where such a run was interrupted.

    Args:
        images: the `ImageGenerator`.
        network: its name, to be recorded.
        seeds, count, per_class, to, force: see `commands.generate_images`.

    Raises:
        UserError: for a network without classes, formats that cannot hold the images, places that cannot be written.
    """
    encoding = Encoding(_ENCODINGS[images.rendering.image_format])
    problems = Problems()
    with problems.gather():
        if per_class and not images.label_size:
            raise UserError("--per-class: the network was trained without classes; leave the option out")
    if problem := encoding.problem(images.net.output_shape[1:]):
        problems.messages.append(f"--format={images.rendering.image_format}: {problem}")
    with problems.gather():
        num_classes = images.label_size if per_class else 1
        seeds = list(dict.fromkeys(seeds_from(seeds, count, num_classes)))
    problems.report()
    classes = np.arange(len(seeds)) * num_classes // len(seeds)  # as many of each
    digits = len(str(seeds and max(seeds))), len(str(num_classes - 1))
    names = [f"seed{seed:0{max(digits[0], 4)}d}{encoding.suffix}" for seed in seeds]
    labels = images.labels(len(seeds))
    if per_class:
        names = [f"class{number:0{digits[1]}d}/{name}" for number, name in zip(classes, names, strict=True)]
        labels = np.eye(num_classes, dtype=np.float32)[classes]
    facts = _facts(images, network, seeds)
    with ImageExporter(to, names, labels, facts=facts, resumable=True, force=force) as exporter:
        there = len(names) - len(exporter.missing)
        if there:
            print(f"{there} of {len(names)} images are there; going on with the others.")
        progress = Progress(len(exporter.missing), "images")
        rendered = _rendered(images, seeds, labels, exporter.missing)
        encoded = parallel_map(lambda item: (item[0], encoding.encode(item[1].transpose(2, 0, 1))), rendered)
        for number, (index, content) in enumerate(encoded):
            if not number:
                _say_size(to, len(exporter.missing), len(content))
            exporter.add(index, content)
            progress.update()
        progress.finish()
    print(f"Wrote {len(names)} images to {to}")


def _rendered(
    images: Any, seeds: Sequence[int], labels: np.ndarray | None, missing: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Number and image `[H, W, C]` of those that are missing, rendered with the same others as if all of them were."""
    size, left = images.rendering.minibatch_size, set(missing)
    parts = [range(begin, min(begin + size, len(seeds))) for begin in range(0, len(seeds), size)]
    parts = [part for part in parts if not left.isdisjoint(part)]
    of_parts = None if labels is None else [labels[part.start : part.stop] for part in parts]
    rendered = images.rendered([seeds[part.start : part.stop] for part in parts], of_parts)
    for part, batch in zip(parts, rendered, strict=True):
        yield from ((index, image) for index, image in zip(part, batch, strict=True) if index in left)


def _facts(images: Any, network: str, seeds: Sequence[int]) -> dict[str, Any]:
    """What determines the images, besides their labels."""
    digest = hashlib.sha256()
    for name, variable in images.net.vars.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(variable.numpy()).data)
    rendering = images.rendering
    facts = {"seeds": seeds, "network": os.path.basename(network), "network_sha256": digest.hexdigest()}
    if rendering.directions:
        offsets = images.offsets()
        digest = hashlib.sha256(b"".join(np.ravel(a).tobytes() for a in (offsets.dlatents, *offsets.styles.values())))
        facts |= {"directions": [str(move) for move in rendering.directions], "directions_sha256": digest.hexdigest()}
    return facts | {
        "truncation_psi": float(rendering.truncation_psi),
        "truncation_cutoff": rendering.truncation_cutoff,
        "noise_mode": rendering.noise_mode,
    }


def _say_size(to: str, count: int, size: int) -> None:
    """Says how large the images will be. Raises UserError where the disk has no room for them."""
    parent = os.path.dirname(os.path.abspath(os.path.expanduser(to)))
    total, free = count * size, free_space(parent)
    room = "" if free is None else f", {format_size(free)} free"
    print(f"Writing {count} images: about {format_size(total)}{room}.")
    if free is not None and total > free:
        raise UserError(f"{to}: needs about {format_size(total)}, only {format_size(free)} are free on the disk")
