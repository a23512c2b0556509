"""Data sets from image files: `create_from_images` and `create_celeba`."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import PIL.Image

from dnnlib.errors import Problems, UserError, listed, printable
from dnnlib.parallel import parallel_map
from dnnlib.pictures import to_chw
from dnnlib.progress import Progress
from dnnlib.resolutions import Size, size_text
from training.data.containers import Container, is_hidden
from training.data.image_encoding import RAW, Encoding, encoding_of
from training.data.image_files import AS_USUAL, ImageFacts, Reading, decode, look_at, notes_about, notes_about_depth
from training.data.labels import are_classes
from training.data.tfrecord_export import TFRecordExporter

from .image_checks import MAX_LISTED, announce, misfits
from .image_list import ImageList, list_images, matching
from .image_rules import ImageRules, as_given, checked_resolution, pair

_LISTING_ALL = "Images are only decoded from here on, so that all that do not fit are listed."
_Check = Callable[[Sequence[ImageFacts]], str | None]
"""Says which images do not fit; None if all do."""
_CELEBA_IMAGES = 202599
_CELEBA_SIZE = (218, 178)  # height and width


def create_from_images(
    tfrecord_dir: str,
    image_dir: str,
    shuffle: int = 1,
    resolution: Size | None = None,
    resize: str | None = None,
    crop: str | Size = "none",
    convert: str = "none",
    ignore_labels: int = 0,
    exif: str = "upright",
    max_value: float | None = None,
    force: bool = True,
    encoding: str = "raw",
    quality: int | None = None,
    base: Size | None = None,
) -> None:
    """Writes the images of a folder or zip file; sub-folders are classes, which become one-hot labels.

    Args:
        tfrecord_dir: folder to create.
        image_dir: folder or zip file; or a pattern such as `photos/*.png` or `photos/2019-*`: images without labels.
        shuffle: 1 to shuffle the images in the official way, 0 to keep them in the order of their names.
        resolution: what to resize to, the side of a square or `(height, width)`; None is no resizing.
        resize: filter for that, 'box', 'lanczos' or 'bicubic'; None is 'lanczos'.
        crop: 'center' cuts out the largest part in the middle of the proportions of `resolution`, of `base`, or of a
            square; a size cuts out so many pixels in the middle; 'none' does neither.
        convert: 'rgb', 'rgba' or 'gray' converts images of other kinds, 'none' does not.
        ignore_labels: 1 to write no labels.
        exif, max_value: how image files are read, see `training.data.image_files.Reading`.
        force: replace a data set that is there; False refuses to.
        encoding, quality: how images are stored, see `training.data.image_encoding.Encoding`.
        base: height and width that those of images must be a power of two of; None is any that networks can have.

    Raises:
        UserError: for a source or target that cannot be used, and for images that do not fit, all of them listed.
    """
    stored = encoding_of(encoding, quality)
    _check_sizes(resolution, resize, crop, base)
    rules, reading = ImageRules(convert, crop, resolution, resize or "lanczos", base), Reading(exif, max_value)

    print(f'Loading images from "{image_dir}"')
    images = list_images(image_dir, reading)
    if ignore_labels:
        images = dataclasses.replace(images, labels=None, classes=[])
    _announce_labels(images)

    def check(facts: Sequence[ImageFacts]) -> str | None:
        return misfits(images.names, facts, rules, alpha=encoding != "jpeg")

    facts = _look_at_all(images, check)
    announce(facts, rules)
    _print_lines([*images.container.notes, *notes_about(facts, reading)])
    decoded = _write(tfrecord_dir, images, check, rules.apply, bool(shuffle), force, stored)
    late = (fact for fact, known in zip(decoded, facts, strict=True) if not known.turned and fact.turned)
    _print_lines([*notes_about(late, reading), *notes_about_depth(decoded, reading)])


def _check_sizes(resolution: Size | None, resize: str | None, crop: str | Size, base: Size | None) -> None:
    """Raises UserError for all options that cannot be, or not together."""
    problems = Problems()
    if resize and resolution is None:
        problems.messages.append(f"--resize={resize} needs --resolution, what to resize to")
    with problems.gather():
        if base is not None:
            checked_resolution("--base", base, base)
        if resolution is not None:
            checked_resolution("--resolution", resolution, base)
        elif crop not in ("none", "center"):
            checked_resolution("--crop", crop, base)
    if resolution is not None and crop not in ("none", "center"):
        height, width = pair(crop)
        if ImageRules(resolution=resolution).size(ImageFacts(width, height)) != pair(resolution):
            problems.messages.append(
                f"--crop={as_given(crop)} is not of the proportions of --resolution={as_given(resolution)}; "
                "--crop=center is"
            )
    problems.report()


def _print_lines(lines: Sequence[str]) -> None:
    print("".join(f"{line}\n" for line in lines), end="", flush=True)


def create_from_image_folders(
    tfrecord_dir: str, image_dir: str, shuffle: int = 1, ignore_labels: int = 0, force: bool = True
) -> None:
    """`create_from_images` by the name it has in StyleGAN2-ADA where sub-folders are classes. Raises UserError."""
    create_from_images(tfrecord_dir, image_dir, shuffle, ignore_labels=ignore_labels, force=force)


def create_celeba(
    tfrecord_dir: str, celeba_dir: str, cx: int = 89, cy: int = 121, force: bool = True, crop: Size = 128
) -> None:
    """Writes crops of the aligned CelebA images, shuffled in the official way.

    Args:
        tfrecord_dir: folder to create.
        celeba_dir: folder that holds `img_align_celeba_png`.
        cx: horizontal position of the middle of the crop, in pixels.
        cy: vertical position.
        force: replace a data set that is there; False refuses to.
        crop: side, or `(height, width)`, of what is cut out; it is not resized.

    Raises:
        UserError: for a source or target that cannot be used, and for images that do not fit, all of them listed.
    """
    rows, columns = _celeba_crop(cx, cy, crop)

    print(f'Loading CelebA from "{celeba_dir}"')
    folder = os.path.join(os.path.expanduser(celeba_dir), "img_align_celeba_png")
    matched = matching(folder)
    container = matched or Container(folder)
    names = [name for name in container.names if name.endswith(".png") and not is_hidden(name)]
    names = [name for name in names if matched is not None or "/" not in name]
    if not names:
        raise UserError(f"{celeba_dir}: expected PNG images in a folder img_align_celeba_png, found none")
    if len(names) != _CELEBA_IMAGES:
        print(f"Found {len(names)} images; the whole of CelebA has {_CELEBA_IMAGES}.")

    def check(facts: Sequence[ImageFacts]) -> str | None:
        wrong = [
            f"{name}: {fact.problem or fact}"
            for name, fact in zip(names, facts, strict=True)
            if (fact.height, fact.width, fact.mode) != (*_CELEBA_SIZE, "RGB")
        ]
        all_are = f"{size_text(_CELEBA_SIZE)} RGB as in CelebA"
        head = f"{len(wrong)} of {len(names)} images are not {all_are}; nothing was written:"
        return "\n  ".join([head, *listed(wrong, MAX_LISTED)]) if wrong else None

    images = ImageList(container, names, AS_USUAL)
    _look_at_all(images, check)
    _write(tfrecord_dir, images, check, lambda img: to_chw(img)[:, rows, columns], True, force)


def _celeba_crop(cx: int, cy: int, crop: Size) -> tuple[slice, slice]:
    """The rows and columns of a crop. Raises UserError where it is not inside of the images."""
    checked_resolution("--crop", crop)
    slices, problems = [], Problems()
    for flag, center, side, size in zip(("--cy", "--cx"), (cy, cx), pair(crop), _CELEBA_SIZE, strict=True):
        first = center - side // 2
        slices.append(slice(first, first + side))
        if side > size:
            problems.messages.append(f"--crop={as_given(crop)}: the images are {size_text(_CELEBA_SIZE)}")
        elif not 0 <= first <= size - side:
            least, most = side // 2, size - side + side // 2
            problems.messages.append(f"{flag}={center}: expected {least} to {most}, inside of the images")
    problems.report()
    return slices[0], slices[1]


def _announce_labels(images: ImageList) -> None:
    labels = images.labels
    if labels is None:
        return
    if not are_classes(labels):
        print(f"  label vectors of {labels.shape[1]} numbers from {labels.min():g} to {labels.max():g}, not classes")
        return
    for idx, name in enumerate(images.classes):
        print(f"  label {idx}: {printable(name)} ({np.count_nonzero(labels[:, idx])} images)")


# ----------------------------------------------------------------------------
# Headers first, which takes a fortieth of the time: most of what does not fit is found before anything is decoded.


def _look_at_all(images: ImageList, check: _Check) -> list[ImageFacts]:
    """What the headers of images say. Raises UserError if some do not fit; damaged ones are then listed with them."""
    facts = list(_map(look_at, images, "Checking images"))
    problem = check(facts)
    if problem:
        print(f"{problem}\n{_LISTING_ALL}")
        raise UserError(check([fact for fact, _ in _map(decode, images, "Decoding images")]) or problem)
    return facts


def _map(function: Callable[[Callable[[], BinaryIO], Reading], Any], images: ImageList, what: str) -> Iterator[Any]:
    with Progress(len(images.names), "images", desc=what) as progress:
        openers = map(images.opener, range(len(images.names)))
        for result in parallel_map(lambda open_file: function(open_file, images.reading), openers):
            yield result
            progress.update(1)


def _write(
    tfrecord_dir: str,
    images: ImageList,
    check: _Check,
    transform: Callable[[PIL.Image.Image], np.ndarray],
    shuffle: bool,
    force: bool,
    encoding: Encoding = RAW,
) -> list[ImageFacts]:
    """Writes a data set of what `transform` makes of images, [C, H, W]. Returns what they turned out to be.

    Raises UserError if some are damaged. From the first of these on nothing is written any more, only decoded.
    """
    damaged = False

    def read(idx: int) -> tuple[ImageFacts, np.ndarray | None]:
        fact, img = decode(images.opener(idx), images.reading)
        return fact, None if img is None or damaged else transform(img)

    count = len(images.names)
    facts = [ImageFacts()] * count
    with TFRecordExporter(tfrecord_dir, count, force=force, encoding=encoding) as exporter:
        order = exporter.choose_shuffled_order() if shuffle else np.arange(count)
        for idx, (fact, img) in zip(order, parallel_map(read, order), strict=True):
            facts[idx] = fact
            if fact.problem and not damaged:
                damaged = True
                print(f"{images.names[idx]}: {fact.problem}. {_LISTING_ALL}")
            if not damaged:
                exporter.add_image(img)
        if damaged:
            raise UserError(check(facts))
        if images.labels is not None:
            exporter.add_labels(images.labels[order])
    return facts
