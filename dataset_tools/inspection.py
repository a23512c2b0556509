"""Looks into data sets: `display`, `extract`, `compare`, `info`."""

import math
import os
from collections.abc import Sequence

import numpy as np
import PIL.Image

from dnnlib.errors import UserError, listed, printable
from dnnlib.files import atomic_write, format_size, list_files, short_name
from dnnlib.pictures import MODES, over_checkerboard, save_image, to_pil
from dnnlib.progress import Progress
from dnnlib.resolutions import resolution_of, size_text
from training.data.dataset import TFRecordDataset
from training.data.image_encoding import plain_format
from training.data.labels import are_classes

_CHUNK = 16 << 20  # bytes of images read at once
_MAX_DIFFERENCES = 100  # named by `compare`
_MAX_CLASSES = 50  # listed by `info`
_MAX_FILES = 20
_KINDS = {1: "grayscale", 3: "RGB", 4: "RGBA"}  # of pictures, by number of channels


def _open(path: str) -> TFRecordDataset:
    return TFRecordDataset(os.path.expanduser(path), max_label_size="full", shuffle_mb=0, repeat=False)


def _open_pictures(path: str) -> TFRecordDataset:
    """The same, of images that can be saved."""
    print(f'Loading dataset "{path}"')
    dataset = _open(path)
    if dataset.shape[0] not in MODES:
        raise UserError(f"{path}: images of {dataset.shape[0]} channels are no pictures; expected 1, 3 or 4")
    return dataset


def _steps(dataset: TFRecordDataset) -> list[np.ndarray]:
    """The indices of all images, some at a time."""
    step = max(1, _CHUNK // math.prod(dataset.shape))
    return np.split(np.arange(dataset.num_images), range(step, dataset.num_images, step))


def extract(tfrecord_dir: str, output_dir: str) -> None:
    """Writes all images of a data set as `img00000000.png` and so on into a folder. Raises UserError."""
    dataset = _open_pictures(tfrecord_dir)
    print(f'Extracting images to "{output_dir}"')
    output_dir = os.path.expanduser(output_dir)
    os.makedirs(output_dir, exist_ok=True)
    progress = Progress(dataset.num_images, "images")
    for indices in _steps(dataset):
        for idx, image in zip(indices, dataset.read(indices)[0], strict=True):
            save_image(_to_pil(image), os.path.join(output_dir, f"img{idx:08d}.png"))
            progress.update(1)
    progress.finish()
    print(f"Extracted {dataset.num_images} images.")


def compare(tfrecord_dir_a: str, tfrecord_dir_b: str, ignore_labels: int = 0) -> None:
    """Says which images and labels of two data sets differ, one by one. Raises UserError."""
    print(f'Loading dataset "{tfrecord_dir_a}"')
    a = _open(tfrecord_dir_a)
    print(f'Loading dataset "{tfrecord_dir_b}"')
    b = _open(tfrecord_dir_b)
    print("Comparing datasets")
    count = min(a.num_images, b.num_images)
    progress = Progress(count, "images")
    same = {what: np.zeros(count, bool) for what in (("image",) if ignore_labels else ("image", "label"))}
    for indices in _steps(min(a, b, key=lambda dataset: dataset.num_images)):
        for what, of_a, of_b in zip(same, a.read(indices), b.read(indices), strict=False):
            if of_a.shape == of_b.shape:
                same[what][indices] = (of_a == of_b).reshape(len(indices), -1).all(axis=1)
        progress.update(len(indices))
    progress.finish()
    if a.shape != b.shape:
        print(f"Datasets contain images of different shapes: {_by(a.shape)} and {_by(b.shape)}")
    for what, equal in same.items():
        if what == "image" and a.shape != b.shape:
            continue
        different = [f"{what.capitalize()} {idx} is different" for idx in np.flatnonzero(~equal)]
        print("".join(f"{line}\n" for line in listed(different, _MAX_DIFFERENCES)), end="")
    if a.num_images != b.num_images:
        print(f"Datasets contain different number of images: {a.num_images} and {b.num_images}")
    for what, equal in same.items():
        print(f"Identical {what}s: {equal.sum()} / {count}")


# ----------------------------------------------------------------------------
# info


def info(tfrecord_dir: str, verify: bool = False) -> None:
    """Prints what a data set consists of; with `verify`, checks every record. Raises UserError."""
    dataset = _open(tfrecord_dir)
    print(f"{tfrecord_dir}: {dataset.kind}")
    print(f"  images      {dataset.num_images}")
    print(f"  resolution  {_resolution_text(dataset)}")
    print(f"  channels    {dataset.shape[0]} ({_KINDS.get(dataset.shape[0], 'no kind of picture')})")
    if dataset.kind == "tfrecords" and (file := dataset.open_image(0)) is not None:
        print(f"  stored as   image files, the first {plain_format(file, tuple(dataset.shape)) or 'of its own kind'}")
    _print_labels(dataset)
    _print_files(os.path.expanduser(tfrecord_dir))
    if verify:
        dataset.verify()
        print("  all images are whole")
    else:
        print("  not all images were read; --verify checks every one")


def _resolution_text(dataset: TFRecordDataset) -> str:
    """'256x256'; '640x384, height x width; base 5x3'. That of most squares, 4x4, goes without saying."""
    resolution = resolution_of(dataset.resolution)
    text = str(resolution) if resolution.is_square else f"{resolution}, height x width"
    return text if resolution.base == (4, 4) else f"{text}; base {size_text(resolution.base)}"


def _print_labels(dataset: TFRecordDataset) -> None:
    labels = dataset._np_labels  # [N, label_size]; official name
    if not dataset.label_size:
        print("  labels      none")
        return
    if not are_classes(labels):
        numbers = f"{dataset.label_size} numbers from {labels.min():g} to {labels.max():g}"
        print(f"  labels      vectors of {numbers}, not classes")
        return
    counts = (labels > 0).sum(axis=0)
    empty = np.count_nonzero(counts == 0)
    print(f"  labels      {dataset.label_size} classes{f', {empty} without images' if empty else ''}; images of each:")
    for idx, count in enumerate(counts[:_MAX_CLASSES]):
        print(f"    {idx:3d} {count:8d} {'#' * round(40 * count / counts.max())}")
    if len(counts) > _MAX_CLASSES:
        print(f"    ... and {len(counts) - _MAX_CLASSES} more classes of {counts.min()} to {counts.max()} images")


def _print_files(path: str) -> None:
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    inside = [name for name in sorted(list_files(path, [])) if not name.startswith(".")]
    names = inside if folder == path else [os.path.basename(path)]
    sizes = {name: os.path.getsize(os.path.join(folder, name)) for name in names}
    lines = [f"{format_size(size):>10s}  {printable(name)}" for name, size in sizes.items()]
    print("\n".join(f"  {line}" for line in listed(lines, _MAX_FILES)))
    print(f"  {format_size(sum(sizes.values())):>10s}  in all")


# ----------------------------------------------------------------------------
# display


def display(tfrecord_dir: str, sheet: str | None = None) -> None:
    """Shows the images one by one in a window; where there is no screen, writes the first ones as one picture.

    sheet: path of that picture, which is then written in any case. Raises UserError.
    """
    if sheet is not None and not sheet.lower().endswith(".png"):
        raise UserError(f"--sheet={sheet}: expected the name of a PNG file, such as {os.path.splitext(sheet)[0]}.png")
    dataset = _open_pictures(tfrecord_dir)
    if sheet is None:
        import matplotlib.pyplot as plt

        if plt.figure().canvas.required_interactive_framework is not None:
            Viewer(dataset)
            return
        sheet = f"{short_name(os.path.basename(os.path.abspath(dataset.tfrecord_dir)))}-sheet.png"
        print("There is no screen to open a window on.")
    sheet = os.path.abspath(os.path.expanduser(sheet))
    count = _save_sheet(dataset, sheet)
    print(f"Wrote the first {count} of {dataset.num_images} images to {sheet}")


def _save_sheet(dataset: TFRecordDataset, path: str) -> int:
    """Writes the first images, as many as fill a screen, as one PNG. Returns their number."""
    _, height, width = dataset.shape
    columns = min(max(1920 // width, 3), 32, dataset.num_images)
    rows = min(max(1080 // height, 2), 32, -(-dataset.num_images // columns))
    count = min(columns * rows, dataset.num_images)
    images = np.zeros([rows * columns, *dataset.shape], np.uint8)
    images[:count] = dataset.read(np.arange(count))[0]
    images = images.reshape(rows, columns, *dataset.shape).transpose(2, 0, 3, 1, 4)
    canvas = images.reshape(-1, rows * height, columns * width)
    with atomic_write(path) as file:
        _to_pil(canvas).save(file, "PNG")
    return count


class Viewer:
    """A matplotlib window: space bar, return and right arrow show the next image, left the last one, escape ends."""

    def __init__(self, dataset: TFRecordDataset):
        import matplotlib.pyplot as plt

        self.dataset = dataset
        self.idx = 0
        self.figure = plt.gcf()
        self.figure.canvas.mpl_connect("key_press_event", lambda event: self.on_key(event.key))
        self.draw()
        print("Space: next image; left: last image; escape: quit.")
        plt.show()

    def draw(self) -> None:
        """Shows the current image."""
        images, labels = self.dataset.read(np.asarray([self.idx]))
        label = f", label {np.array2string(labels[0], threshold=20)}" if self.dataset.label_size else ""
        self.figure.clear()
        axes = self.figure.add_axes((0, 0, 1, 0.93))
        image = over_checkerboard(images[0]) if self.dataset.shape[0] == 4 else images[0]
        axes.imshow(_to_pil(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        self.figure.suptitle(f"{self.idx} / {self.dataset.num_images}{label}", fontsize=9)
        self.figure.canvas.draw_idle()

    def on_key(self, key: str | None) -> None:
        """What a key does."""
        if key in ("escape", "q"):
            import matplotlib.pyplot as plt

            plt.close(self.figure)
        elif key in (" ", "enter", "right", "left"):
            self.idx = (self.idx + (-1 if key == "left" else 1)) % self.dataset.num_images
            self.draw()


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _to_pil(image: np.ndarray) -> PIL.Image.Image:
    """A picture of uint8 [C, H, W]."""
    return to_pil(image.transpose(1, 2, 0))
