"""Data sets from image files: `create_from_images` and `create_celeba`."""

import glob
import os

import numpy as np
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.pictures import describe, to_chw
from training.data.tfrecord_export import TFRecordExporter, check_target

from .image_checks import MAX_LISTED, check_images
from .image_list import ImageFile, file_in_folder, list_images
from .image_rules import NOT_AN_IMAGE, ImageFacts, ImageRules, look_at, open_image
from .parallel import parallel_map

_CELEBA_IMAGES = 202599
_CELEBA_SIZE = (178, 218)  # width and height
_CELEBA_HALF = 64  # of the side of the square that is cut out


def create_from_images(
    tfrecord_dir: str,
    image_dir: str,
    shuffle: int = 1,
    resolution: int | None = None,
    resize: str | None = None,
    crop: str = "none",
    convert: str = "none",
    force: bool = False,
) -> None:
    """Writes the images of a folder or zip file; sub-folders are classes, which become one-hot labels.

    Args:
        tfrecord_dir: folder to create.
        image_dir: folder or zip file.
        shuffle: 1 to shuffle the images in the official way, 0 to keep them in the order of their names.
        resolution: width and height to resize to; None is no resizing.
        resize: filter for that, 'box', 'lanczos' or 'bicubic'; None is 'lanczos'.
        crop: 'center' cuts out the square in the middle, 'none' does not.
        convert: 'rgb' or 'gray' converts images of other kinds, 'none' does not.
        force: replace a data set that is there.

    Raises:
        UserError: for a source or target that cannot be used, and for images that do not fit, all of them listed.
    """
    check_target(tfrecord_dir, force)
    if resize and not resolution:
        raise UserError(f"--resize={resize} needs --resolution, the width and height to resize to")
    if resolution and (resolution < 4 or resolution & (resolution - 1)):
        raise UserError(f"--resolution={resolution}: expected a power of two of 4 or more")
    rules = ImageRules(convert, crop, resolution, resize or "lanczos")

    print(f'Loading images from "{image_dir}"')
    images = list_images(image_dir)
    for idx, name in enumerate(images.classes):
        print(f"  label {idx}: {name} ({np.count_nonzero(images.labels[:, idx])} images)")
    facts = _look_at_all(images.files) + [ImageFacts(problem=NOT_AN_IMAGE)] * len(images.others)
    check_images([file.name for file in images.files] + images.others, facts, rules)

    with TFRecordExporter(tfrecord_dir, len(images.files), force=force) as exporter:
        order = exporter.choose_shuffled_order() if shuffle else np.arange(len(images.files))
        for img in parallel_map(lambda idx: rules.apply(open_image(images.files[idx])), order):
            exporter.add_image(img)
        if images.labels is not None:
            exporter.add_labels(images.labels[order])


def create_celeba(tfrecord_dir: str, celeba_dir: str, cx: int = 89, cy: int = 121, force: bool = False) -> None:
    """Writes 128x128 crops of the aligned CelebA images, shuffled in the official way.

    Args:
        tfrecord_dir: folder to create.
        celeba_dir: folder that holds `img_align_celeba_png`.
        cx: horizontal position of the middle of the crop, in pixels.
        cy: vertical position.
        force: replace a data set that is there.

    Raises:
        UserError: for a source or target that cannot be used, and for images that do not fit, all of them listed.
    """
    check_target(tfrecord_dir, force)
    for name, center, size in (("--cx", cx, _CELEBA_SIZE[0]), ("--cy", cy, _CELEBA_SIZE[1])):
        if not _CELEBA_HALF <= center <= size - _CELEBA_HALF:
            raise UserError(f"{name}={center}: expected {_CELEBA_HALF} to {size - _CELEBA_HALF}, inside of the images")

    print(f'Loading CelebA from "{celeba_dir}"')
    folder = os.path.join(os.path.expanduser(celeba_dir), "img_align_celeba_png")
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*.png")))
    files = [file_in_folder(folder, os.path.basename(path)) for path in paths]
    if not files:
        raise UserError(f"{celeba_dir}: expected PNG images in a folder img_align_celeba_png, found none")
    if len(files) != _CELEBA_IMAGES:
        print(f"Found {len(files)} images; the whole of CelebA has {_CELEBA_IMAGES}.")
    _check_celeba(files, _look_at_all(files))

    with TFRecordExporter(tfrecord_dir, len(files), force=force) as exporter:
        order = exporter.choose_shuffled_order()
        rows = slice(cy - _CELEBA_HALF, cy + _CELEBA_HALF)
        columns = slice(cx - _CELEBA_HALF, cx + _CELEBA_HALF)
        for img in parallel_map(lambda idx: open_image(files[idx]), order):
            exporter.add_image(to_chw(img)[:, rows, columns])


def _check_celeba(files: list[ImageFile], facts: list[ImageFacts]) -> None:
    wrong = [
        f"  {file.name}: {fact.problem or describe(fact.width, fact.height, fact.mode)}"
        for file, fact in zip(files, facts, strict=True)
        if (fact.width, fact.height, fact.mode) != (*_CELEBA_SIZE, "RGB")
    ]
    if wrong:
        more = [f"  ... and {len(wrong) - MAX_LISTED} more"] if len(wrong) > MAX_LISTED else []
        head = f"{len(wrong)} of {len(files)} images are not 178x218 RGB as in CelebA; nothing was written:"
        raise UserError("\n".join([head, *wrong[:MAX_LISTED], *more]))


def _look_at_all(files: list[ImageFile]) -> list[ImageFacts]:
    looked_at = parallel_map(look_at, files)
    return list(tqdm(looked_at, "Checking images", len(files), unit=" images", mininterval=0.5))
