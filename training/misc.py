"""Helpers of training under their official names: network pickles, ranges of values, image grids, mirroring."""

import os
from typing import Any, BinaryIO

import numpy as np
import PIL.Image

import pretrained_networks
from dnnlib import util
from dnnlib.download import default_cache_dir
from dnnlib.errors import UserError, did_you_mean
from dnnlib.formats import submit_config
from dnnlib.pictures import save_image, to_pil
from dnnlib.tflib.checkpoints import network_files

# ----------------------------------------------------------------------------
# Network pickles.


def load_pkl(file_or_url: str) -> Any:
    """The networks of a pickle: of a path, a URL or a `gdrive:` name. Nothing in it is executed. Raises UserError.

    Metric networks, such as that of vgg16_zhang_perceptual.pkl, have the official `run` and `get_output_for`, too.
    """
    try:
        return pretrained_networks.read(file_or_url)
    except network_files.NetworkFileError:
        located = pretrained_networks.locate(file_or_url)
        metric_network = util.call_func_by_name(located, func_name="metrics.nets.loading.of_file")
        if metric_network is None:
            raise
        return metric_network


def open_file_or_url(file_or_url: str) -> BinaryIO:
    """Opens a path, a URL or a `gdrive:` name for reading; downloads are kept. Raises UserError, OSError."""
    return util.open_url(pretrained_networks.locate(file_or_url), cache_dir=default_cache_dir())


def save_pkl(obj: Any, filename: str) -> None:
    """Writes a network, or a tuple of networks, in the official format. The file appears whole or not at all."""
    network_files.save_pkl(obj, filename)


def parse_config_for_previous_run(run_dir: str) -> dict[str, Any]:
    """The arguments of a run's training (`train`) and of its data set (`dataset`), from its submit_config.pkl.

    Nothing in the file is executed. Raises OSError if there is none, UnpicklingError if it holds anything else.
    """
    path = os.path.join(run_dir, "submit_config.pkl")
    with open(path, "rb") as file:
        train = _easy(submit_config.load(file, path).get("run_func_kwargs") or {})
    return {"train": train, "dataset": util.EasyDict(train.get("dataset_args", {}))}


def _easy(value: Any) -> Any:
    return util.EasyDict((key, _easy(item)) for key, item in value.items()) if isinstance(value, dict) else value


# ----------------------------------------------------------------------------
# Image grids.


def create_image_grid(images: np.ndarray, grid_size: tuple[int, int] | None = None) -> np.ndarray:
    """Puts images side by side, row by row.

    Args:
        images: `[N, H, W]` or `[N, C, H, W]`.
        grid_size: columns and rows; None: about square.

    Returns:
        `[H * rows, W * columns]` or `[C, H * rows, W * columns]`; places without an image are 0.
    """
    if images.ndim not in (3, 4):
        raise ValueError(f"expected images [N, H, W] or [N, C, H, W], got shape {images.shape}")
    num, height, width = images.shape[0], images.shape[-2], images.shape[-1]
    if grid_size is not None:
        columns, rows = grid_size
    else:
        columns = max(int(np.ceil(np.sqrt(num))), 1)
        rows = max((num - 1) // columns + 1, 1)
    grid = np.zeros([*images.shape[1:-2], rows * height, columns * width], images.dtype)
    for index in range(num):
        x, y = index % columns * width, index // columns * height
        grid[..., y : y + height, x : x + width] = images[index]
    return grid


def convert_to_pil_image(image: np.ndarray, drange: tuple[float, float] = (0, 1)) -> PIL.Image.Image:
    """An image `[H, W]` or `[C, H, W]` (1, 3 or 4 channels) with values in `drange` as a picture."""
    image = image[np.newaxis] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
        raise ValueError(f"expected an image [H, W] or [C, H, W] of 1, 3 or 4 channels, got shape {image.shape}")
    image = np.rint(adjust_dynamic_range(image, drange, (0, 255))).clip(0, 255).astype(np.uint8)
    return to_pil(np.ascontiguousarray(image.transpose(1, 2, 0)))  # [H, W, C]


def save_image_grid(
    images: np.ndarray, filename: str, drange: tuple[float, float] = (0, 1), grid_size: tuple[int, int] | None = None
) -> None:
    """Saves images `[N, C, H, W]` with values in `drange` as one picture."""
    save_image(convert_to_pil_image(create_image_grid(images, grid_size), drange), filename)


def adjust_dynamic_range(data: Any, drange_in: Any, drange_out: Any) -> Any:
    """Maps values linearly from one range to another. NumPy arrays and tensors."""
    if tuple(drange_in) == tuple(drange_out):
        return data
    scale = (np.float32(drange_out[1]) - np.float32(drange_out[0])) / (
        np.float32(drange_in[1]) - np.float32(drange_in[0])
    )
    return data * scale + (np.float32(drange_out[0]) - np.float32(drange_in[0]) * scale)


def apply_mirror_augment(minibatch: np.ndarray) -> np.ndarray:
    """Flips half of the images `[N, C, H, W]`, at random (`np.random`), left to right. Returns a copy."""
    mask = np.random.rand(minibatch.shape[0]) < 0.5
    minibatch = np.array(minibatch)
    minibatch[mask] = minibatch[mask, :, :, ::-1]
    return minibatch


_SCREENS = {"1080p": (1920, 1080), "4k": (3840, 2160), "8k": (7680, 4320)}
_MAX_DRAWS = 100_000  # in search of rare classes, whose places may stay black
_DRAWN_AT_ONCE = 1000
_READ_AT_ONCE = 64
_SMALLEST_GRID = {"1080p": (3, 2), "4k": (7, 4), "8k": (7, 4)}


def setup_snapshot_image_grid(
    training_set: Any, size: str = "1080p", layout: str = "random"
) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    """Chooses real images for the grids that training saves.

    Args:
        training_set: the data set.
        size: '1080p', '4k' or '8k': as many images as fill such a screen; anything else: one.
        layout: 'random'; 'row_per_class' or 'col_per_class'; 'class4x4': blocks of 4x4 per class.

    Returns:
        (columns, rows), images `[columns * rows, C, H, W]`, labels `[columns * rows, L]`.

    Raises UserError for another layout.
    """
    columns = rows = 1
    if size in _SCREENS:
        least, screen = _SMALLEST_GRID[size], _SCREENS[size]
        columns = int(np.clip(screen[0] // training_set.shape[2], least[0], 32))
        rows = int(np.clip(screen[1] // training_set.shape[1], least[1], 32))
    reals = np.zeros([columns * rows, *training_set.shape], training_set.dtype)
    labels = np.zeros([columns * rows, training_set.label_size], training_set.label_dtype)
    if layout == "random" or not training_set.label_size:
        reals[:], labels[:] = training_set.get_minibatch_np(columns * rows)
        return (columns, rows), reals, labels

    shapes = {"row_per_class": (columns, 1), "col_per_class": (1, rows), "class4x4": (4, 4)}
    if layout not in shapes:
        near = did_you_mean(layout, shapes)
        raise UserError(f"grid_args: layout: expected random, {', '.join(shapes)}, got {layout!r}{near}")
    block_w, block_h = shapes[layout]
    block_columns, block_rows = (columns - 1) // block_w + 1, (rows - 1) // block_h + 1
    blocks = _fill_blocks(training_set, block_columns * block_rows, block_w * block_h)
    chosen: dict[int, int] = {}  # images by their places
    for number, block in enumerate(blocks):
        for place, image in enumerate(block):
            x = number % block_columns * block_w + place % block_w
            y = number // block_columns * block_h + place // block_w
            if x < columns and y < rows:
                chosen[x + y * columns] = image
    places = list(chosen)
    for part in np.split(places, range(_READ_AT_ONCE, len(places), _READ_AT_ONCE)) if places else ():
        reals[part], labels[part] = training_set.read([chosen[place] for place in part])
    return (columns, rows), reals, labels


def _fill_blocks(training_set: Any, num_blocks: int, size: int) -> list[list[int]]:
    """Images for blocks of one class each, the classes in turn: as they come in the shuffled stream, by labels alone.

    A class without images leaves its blocks empty.
    """
    parts = np.split(np.arange(training_set.num_images), range(_DRAWN_AT_ONCE, training_set.num_images, _DRAWN_AT_ONCE))
    classes = np.concatenate([training_set.labels_of(part).argmax(axis=1) for part in parts])
    blocks: list[list[int]] = [[] for _ in range(num_blocks)]
    there = np.unique(classes).tolist()
    missing = sum(size for block in range(num_blocks) if block % training_set.label_size in there)
    starts = range(0, _MAX_DRAWS, _DRAWN_AT_ONCE)
    for image in (image for start in starts for image in training_set.order(0, start, _DRAWN_AT_ONCE).tolist()):
        if not missing:
            break
        for block in range(classes[image], num_blocks, training_set.label_size):
            if len(blocks[block]) < size:
                blocks[block].append(image)
                missing -= 1
                break
    return blocks
