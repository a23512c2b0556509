"""Data sets from the LMDB folders of LSUN: `create_lsun` and `create_lsun_wide`."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator

import numpy as np
import PIL.Image

from dnnlib.errors import UserError
from dnnlib.parallel import parallel_map
from dnnlib.pictures import to_chw
from dnnlib.resolutions import Size, size_text
from training.data.containers import lmdb_errors, open_lmdb
from training.data.image_files import AS_USUAL, decode
from training.data.tfrecord_export import TFRecordExporter

from .image_rules import ImageRules, checked_resolution

_MAX_NAMED = 10  # images that are skipped


def create_lsun(
    tfrecord_dir: str, lmdb_dir: str, resolution: Size = 256, max_images: int | None = None, force: bool = True
) -> None:
    """Writes what is in the middle of images of LSUN, as large as can be, resized, in the order of the keys.

    Args:
        tfrecord_dir: folder to create.
        lmdb_dir: LMDB folder of one category; each value is an image file.
        resolution: side of a square, or `(height, width)`.
        max_images: stop after so many images; None takes all.
        force: replace a data set that is there; False refuses to.

    Raises:
        UserError: for a source or target that cannot be used. Images that cannot be read are named and skipped.
    """
    checked_resolution("--resolution", resolution)
    _create(tfrecord_dir, lmdb_dir, ImageRules(crop="center", resolution=resolution).apply, max_images, force)


def create_lsun_wide(
    tfrecord_dir: str,
    lmdb_dir: str,
    width: int = 512,
    height: int = 384,
    max_images: int | None = None,
    force: bool = True,
    bars: bool = True,
) -> None:
    """Writes wide images of LSUN, such as cars, as squares of `width` with black bars above and below the pictures.

    Like the official tool, it skips images of less than `width` columns, or of less than `height` rows once they are
    scaled to `width` columns; of larger ones it takes as many rows in the middle as that scaling would leave.

    Args:
        tfrecord_dir: folder to create.
        lmdb_dir: LMDB folder of one category; each value is an image file.
        width: width of the pictures, and width and height with the bars.
        height: height of the pictures, at most `width`.
        max_images: stop after so many images; None takes all.
        force: replace a data set that is there; False refuses to.
        bars: False writes the pictures alone, `height` x `width`.

    Raises:
        UserError: for a source or target that cannot be used. Images that cannot be read are named and skipped.
    """
    if not 0 < height <= width:
        raise UserError(f"--height={height}: expected 1 to {width}, the width")
    if bars:
        checked_resolution("--width", width)
    else:
        checked_resolution("--height x --width", (height, width))

    def wide(img: PIL.Image.Image) -> np.ndarray | None:
        rows = round(width * img.height / img.width)
        if img.width < width or rows < height:
            return None
        img = img.crop((0, (img.height - rows) // 2, img.width, (img.height + rows) // 2))
        picture = to_chw(img.resize((width, height), PIL.Image.Resampling.LANCZOS))
        if not bars:
            return picture
        canvas = np.zeros([3, width, width], np.uint8)
        canvas[:, (width - height) // 2 : (width + height) // 2] = picture
        return canvas

    _create(tfrecord_dir, lmdb_dir, wide, max_images, force)


def _create(
    tfrecord_dir: str,
    lmdb_dir: str,
    transform: Callable[[PIL.Image.Image], np.ndarray | None],
    max_images: int | None,
    force: bool,
) -> None:
    """Writes what `transform` makes of the images, [3, H, W]; it gives None for images that are too small."""

    def load(item: tuple[str, bytes]) -> np.ndarray | str:
        key, content = item
        fact, img = decode(lambda: io.BytesIO(content), AS_USUAL)
        if img is None:
            return f"{key}: {fact.problem}"
        img = img.convert("RGB")
        result = transform(img)
        return f"{key}: {size_text((img.height, img.width))} is too small" if result is None else result

    print(f'Loading LSUN dataset from "{lmdb_dir}"')
    with _open_lmdb(os.path.expanduser(lmdb_dir)) as (total, items):
        with TFRecordExporter(tfrecord_dir, min(total, max_images or total), force=force) as exporter:
            skipped = 0
            for result in parallel_map(load, items):
                if isinstance(result, str):
                    skipped += 1
                    if skipped <= _MAX_NAMED:
                        print(f"Skipping {result}")
                    continue
                exporter.add_image(result)
                if exporter.cur_images == exporter.expected_images:
                    break
            if not exporter.cur_images:
                raise UserError(f"{lmdb_dir}: none of the {total} entries can be used")
            exporter.expected_images = exporter.cur_images
        if skipped:
            print(f"Skipped {skipped} images that are damaged or too small.")


@contextlib.contextmanager
def _open_lmdb(path: str) -> Iterator[tuple[int, Iterator[tuple[str, bytes]]]]:
    """Number of entries, and all keys and values in the order of the keys. Raises UserError."""
    with lmdb_errors(path):
        if not os.path.isfile(os.path.join(path, "data.mdb")):
            raise UserError(f"{path}: expected an LMDB folder with data.mdb in it (LSUN's zip files hold one each)")
        with open_lmdb(path) as env, env.begin() as transaction:
            items = ((bytes(key).decode(errors="replace"), value) for key, value in transaction.cursor())
            yield env.stat()["entries"], items
