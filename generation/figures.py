"""The figures of the StyleGAN paper (arXiv:1812.04948), as commands of `run_generator.py`: `figure.png` and its images.

Between four images; what noise does (figures 4 and 5); truncation (figure 8).
"""

from collections.abc import Sequence
from typing import Any

from dnnlib.errors import UserError
from dnnlib.progress import Progress

from .commands import batches, load_points, save
from .conventions import Rendering
from .points import Point, check_space, file_name, title, unique

PSIS = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)


def interpolation_grid(
    network_pkl: str,
    seeds: list[Point],
    truncation_psi: float | None = None,
    grid: tuple[int, int] = (8, 8),
    space: str = "w",
    **rendering: Any,
) -> None:
    """Saves `grid.png`: four points in the corners, and between them images of latents mixed in proportion.

    `figure.png` is the same with labels.

    seeds: top left, top right, bottom left, bottom right; also paths of files of vectors. space: 'w' or 'z', where
    latents are mixed; 'z' for seeds alone. The other arguments are those of `Rendering`.
    """
    from . import sheets, walks

    check_space(seeds, space)
    options = Rendering(truncation_psi, **rendering)
    images, points = load_points(network_pkl, {"--dlatents": seeds}, options)
    check_corners(points)
    columns, rows = grid
    above, below = _between(columns, *points[:2]), _between(columns, *points[2:]) if rows > 1 else []
    sheet = sheets.LabelledSheet(images.size, _between(rows), above, below, options.image_format)
    sheets.check_sheet(rows * images.size[0], columns * images.size[1], options.image_format)
    between = walks.bilinear(images.ends(points, space), columns, rows)
    progress = Progress(len(between), "images")
    rendered = images.between(batches(between, options, progress), space)
    cells = {divmod(i, columns): image for i, image in enumerate(rendered)}
    save(sheets.paste_grid(cells, columns, rows), "grid", options)
    save(sheet.draw(cells), "figure", options)
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


def truncation_figure(network_pkl: str, seeds: list[Point], psis: Sequence[float] = PSIS, **rendering: Any) -> None:
    """Saves `figure.png`: points in rows, each truncated by all `psis`, in columns; and the images one by one.

    The average image is that of psi 0; with psi below 0 an image becomes its opposite (StyleGAN, figure 8).

    seeds: also paths of files of vectors. The other arguments are those of `Rendering`, without its psi; all layers are
    truncated where there is no cutoff.
    """
    import numpy as np

    from .sheets import LabelledSheet

    options = Rendering(truncation_psi=1.0, **rendering)
    images, points = load_points(network_pkl, {"--dlatents": seeds}, options)
    labels = list(map(title, points)), [f"ψ = {psi:g}" for psi in psis]
    sheet = LabelledSheet(images.size, *labels, image_format=options.image_format)
    dlatents = images.stacked(points)
    places = [(row, column) for row in range(len(points)) for column in range(len(psis))]
    progress = Progress(len(places), "images")
    taken, cells = {"figure"}, {}
    for batch in batches(places, options, progress):
        w = np.stack([images.truncate(dlatents[row], psis[column]) for row, column in batch])
        noises = [images.noises_of(points[row]) for row, _ in batch]
        for (row, column), image in zip(batch, images.from_dlatents(w, noises), strict=True):
            save(image, unique(f"{file_name(points[row])}-psi{psis[column]:g}", taken), options)
            cells[row, column] = image
    save(sheet.draw(cells), "figure", options)
    progress.finish()


# ----------------------------------------------------------------------------


def noise_figure(
    network_pkl: str,
    seeds: list[Point],
    noise_seeds: Sequence[int] = (0, 1, 2, 3),
    num_samples: int = 100,
    std_gain: float = 4.0,
    **rendering: Any,
) -> None:
    """Saves `figure.png`: points in rows, with different noise in columns; and the images one by one.

    Further columns show the standard deviation of each pixel (StyleGAN, figure 4), and the image of the first noise
    without noise in any layer, in the coarse, and in the fine ones (figure 5).

    seeds: also paths of files of vectors. noise_seeds: noise of a column is from RandomState(seed). num_samples: images
    of which the standard deviation is taken, with the noise of RandomState(0), RandomState(1), ...; 0: it is left out.
    std_gain: how many times as large as it is it is shown. The other arguments are those of `Rendering`, without its
    noise mode.
    """
    from . import noise
    from .sheets import LabelledSheet

    options = Rendering(noise_mode="const", **rendering)
    images, points = load_points(network_pkl, {"--dlatents": seeds}, options)
    if not images.noise_shapes:
        raise UserError("the network has no noise to show")
    columns = noise.columns(images.noise_shapes, noise_seeds)
    labels = [*columns, *([f"std × {std_gain:g}"] if num_samples else [])]
    sheet = LabelledSheet(images.size, list(map(title, points)), labels, image_format=options.image_format)
    dlatents = images.stacked(points)
    progress = Progress(len(points) * (len(columns) + num_samples), "images")
    taken, cells = {"figure"}, {}
    for row, point in enumerate(points):
        for batch in batches(list(enumerate(columns.items())), options, progress):
            rendered = images.from_dlatents(dlatents[[row] * len(batch)], [noises for _, (_, noises) in batch])
            for (column, (label, _)), image in zip(batch, rendered, strict=True):
                save(image, unique(f"{file_name(point)}-{label.replace(' ', '')}", taken), options)
                cells[row, column] = image
    if num_samples:
        deviations = noise.deviations(images, dlatents, num_samples, std_gain, progress.update)
        for row, image in enumerate(deviations):
            save(image, unique(f"{file_name(points[row])}-std", taken), options)
            cells[row, len(columns)] = image
    save(sheet.draw(cells), "figure", options)
    progress.finish()
