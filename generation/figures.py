"""The figures of the StyleGAN paper (arXiv:1812.04948), as commands of `run_generator.py`: `figure.png` and its images.

Between four images; what noise does (figures 4 and 5); truncation (figure 8).
"""

from collections.abc import Sequence
from typing import Any

import dnnlib
from dnnlib.errors import UserError
from dnnlib.progress import Progress

from .commands import Settings, check_space, load_points
from .points import Point, unique

PSIS = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)


def interpolation_grid(
    network_pkl: str,
    seeds: list[Point],
    truncation_psi: float | None = None,
    grid: tuple[int, int] = (8, 8),
    space: str = "w",
    truncation_cutoff: int | None = None,
    class_idx: int | None = None,
    minibatch_size: int = 4,
    image_format: str = "png",
    cache_dir: str | None = None,
    offline: bool | None = None,
    dlatents_psi: float = 1.0,
    noise_mode: str | None = None,
) -> None:
    """Saves `grid.png`: four points in the corners, and between them images of latents mixed in proportion.

    `figure.png` is the same with labels.

    seeds: top left, top right, bottom left, bottom right; also paths of files of vectors. space: 'w' or 'z', where
    latents are mixed; 'z' for seeds alone.
    """
    import numpy as np

    from dnnlib import pictures

    from . import sheets, walks
    from .sheets import LabelledSheet

    check_space(seeds, space)
    settings = Settings(truncation_psi, truncation_cutoff, class_idx, noise_mode, dlatents_psi, image_format)
    images, points = load_points(network_pkl, {"--dlatents": seeds}, settings, cache_dir, offline)
    check_corners(points)
    generator = images.generator
    columns, rows = grid
    above, below = _between(columns, *points[:2]), _between(columns, *points[2:]) if rows > 1 else []
    sheet = LabelledSheet(generator.resolution, _between(rows), above, below)
    sheets.check_sheet(columns * generator.resolution, rows * generator.resolution, image_format)
    sheets.check_sheet(*sheet.size, image_format)
    corners = generator.latents_from_seeds(points) if space == "z" else images.stacked(points)
    between = walks.bilinear(corners, columns, rows)
    progress = Progress(len(between), "images")
    rendered: list[Any] = []
    for begin in range(0, len(between), minibatch_size):
        part = between[begin : begin + minibatch_size]
        w = part if space == "w" else generator.dlatents_from_latents(part)
        rendered.extend(generator.from_dlatents(w.astype(np.float32), minibatch_size))
        progress.update(len(part))
    cells = {divmod(i, columns): image for i, image in enumerate(rendered)}
    pictures.save_image(sheets.paste_grid(cells, columns, rows), dnnlib.make_run_dir_path(f"grid.{image_format}"))
    pictures.save_image(sheet.draw(cells), dnnlib.make_run_dir_path(f"figure.{image_format}"))
    progress.finish()


def check_corners(points: Sequence[Point], may_be_files: bool = False) -> None:
    """Raises UserError unless there are four points. may_be_files: a file counts as any number of them."""
    if len(points) != 4 and not (may_be_files and any(isinstance(point, str) for point in points)):
        raise UserError(f"--seeds, --dlatents: expected four, one for each corner, got {len(points)}")


def _between(num: int, first: Point = "0 %", last: Point = "100 %") -> list[str]:
    """Labels of what lies between two points: 'anna', '33 %', '67 %', 'bert'."""
    shares = [f"{100 * idx / (num - 1):.0f} %" for idx in range(1, num - 1)]
    return [str(first), *shares, str(last)][:num]


# ----------------------------------------------------------------------------


def truncation_figure(
    network_pkl: str,
    seeds: list[Point],
    psis: Sequence[float] = PSIS,
    truncation_cutoff: int | None = None,
    class_idx: int | None = None,
    minibatch_size: int = 4,
    image_format: str = "png",
    cache_dir: str | None = None,
    offline: bool | None = None,
    noise_mode: str | None = None,
) -> None:
    """Saves `figure.png`: points in rows, each truncated by all `psis`, in columns; and the images one by one.

    The average image is that of psi 0; with psi below 0 an image becomes its opposite (StyleGAN, figure 8).

    seeds: also paths of files of vectors. truncation_cutoff: number of layers that are truncated; None: all.
    """
    import numpy as np

    from . import sheets
    from .sheets import LabelledSheet

    settings = Settings(1.0, truncation_cutoff, class_idx, noise_mode, image_format=image_format)
    images, points = load_points(network_pkl, {"--dlatents": seeds}, settings, cache_dir, offline)
    generator = images.generator
    sheet = LabelledSheet(generator.resolution, [_title(point) for point in points], [f"ψ = {psi:g}" for psi in psis])
    sheets.check_sheet(*sheet.size, image_format)
    dlatents = images.stacked(points)
    places = [(row, column) for row in range(len(points)) for column in range(len(psis))]
    progress = Progress(len(places), "images")
    saver = _Saver(image_format)
    for begin in range(0, len(places), minibatch_size):
        batch = places[begin : begin + minibatch_size]
        w = np.stack([generator.truncate(dlatents[row], psis[column]) for row, column in batch])
        noises = [images.noises_of(points[row]) for row, _ in batch]
        for (row, column), image in zip(batch, generator.from_dlatents(w, minibatch_size, noises), strict=True):
            saver.save(row, column, image, f"{_name(points[row])}-psi{psis[column]:g}")
        progress.update(len(batch))
    saver.finish(sheet)
    progress.finish()


# ----------------------------------------------------------------------------


def noise_figure(
    network_pkl: str,
    seeds: list[Point],
    noise_seeds: Sequence[int] = (0, 1, 2, 3),
    num_samples: int = 100,
    std_gain: float = 4.0,
    truncation_psi: float | None = None,
    truncation_cutoff: int | None = None,
    class_idx: int | None = None,
    minibatch_size: int = 4,
    image_format: str = "png",
    cache_dir: str | None = None,
    offline: bool | None = None,
    dlatents_psi: float = 1.0,
) -> None:
    """Saves `figure.png`: points in rows, with different noise in columns; and the images one by one.

    Further columns show the standard deviation of each pixel (StyleGAN, figure 4), and the image of the first noise
    without noise in any layer, in the coarse, and in the fine ones (figure 5).

    seeds: also paths of files of vectors. noise_seeds: noise of a column is from RandomState(seed). num_samples: images
    of which the standard deviation is taken, with the noise of RandomState(0), RandomState(1), ...; 0: it is left out.
    std_gain: how many times as large as it is it is shown.
    """
    from . import noise as noise_samples
    from . import sheets
    from .sheets import LabelledSheet

    settings = Settings(truncation_psi, truncation_cutoff, class_idx, "const", dlatents_psi, image_format)
    images, points = load_points(network_pkl, {"--dlatents": seeds}, settings, cache_dir, offline)
    generator = images.generator
    if not generator.noise_shapes:
        raise UserError("the network has no noise to show")
    columns = noise_samples.columns(generator.noise_shapes, noise_seeds)
    labels = [*columns, *([f"std × {std_gain:g}"] if num_samples else [])]
    sheet = LabelledSheet(generator.resolution, [_title(point) for point in points], labels)
    sheets.check_sheet(*sheet.size, image_format)
    dlatents = images.stacked(points)
    progress = Progress(len(points) * (len(columns) + num_samples), "images")
    saver = _Saver(image_format)
    for row, point in enumerate(points):
        for begin in range(0, len(columns), minibatch_size):
            batch = list(columns.items())[begin : begin + minibatch_size]
            w = dlatents[[row] * len(batch)]
            rendered = generator.from_dlatents(w, minibatch_size, [noise for _, noise in batch])
            for column, image in enumerate(rendered, begin):
                saver.save(row, column, image, f"{_name(point)}-{labels[column].replace(' ', '')}")
            progress.update(len(batch))
    if num_samples:
        deviations = noise_samples.deviations(
            generator, dlatents, num_samples, std_gain, minibatch_size, progress.update
        )
        for row, image in enumerate(deviations):
            saver.save(row, len(columns), image, f"{_name(points[row])}-std")
    saver.finish(sheet)
    progress.finish()


# ----------------------------------------------------------------------------


def _title(point: Point) -> str:
    return f"seed {point}" if isinstance(point, int) else point


def _name(point: Point) -> str:
    return f"seed{point:04d}" if isinstance(point, int) else point


class _Saver:
    """Saves the images of a figure one by one, and keeps them for the sheet."""

    def __init__(self, image_format: str):
        self._image_format = image_format
        self._taken = {"figure"}
        self._images: dict[tuple[int, int], Any] = {}

    def save(self, row: int, column: int, image: Any, name: str) -> None:
        """Saves a uint8 image `[H, W, C]` under a name, or one like it if that is taken."""
        from dnnlib import pictures

        path = dnnlib.make_run_dir_path(f"{unique(name, self._taken)}.{self._image_format}")
        pictures.save_image(pictures.to_pil(image), path)
        self._images[row, column] = image

    def finish(self, sheet: Any) -> None:
        """Saves the sheet, a `LabelledSheet`, as `figure.png`."""
        from dnnlib import pictures

        path = dnnlib.make_run_dir_path(f"figure.{self._image_format}")
        pictures.save_image(sheet.draw(self._images), path)
