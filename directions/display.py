"""Directions shown: a sheet with strengths across, and sweeps there and back as videos."""

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

import dnnlib
from dnnlib.errors import Problems
from dnnlib.progress import Progress
from generation import directions, points, sheets
from generation.commands import batches, save
from generation.directions import Direction, Move
from generation.image_generator import ImageGenerator
from generation.points import Point
from generation.video import WRITERS


def _empty_sheet(
    images: ImageGenerator, names: Sequence[str], seeds: Sequence[Point], strengths: Sequence[float]
) -> sheets.LabelledSheet:
    """A row for each direction and point, a column for each strength. Raises UserError if it is too large."""
    rows = [name if len(seeds) == 1 else f"{name}, {points.title(point)}" for name in names for point in seeds]
    columns = [f"{strength:+g}" if strength else "0" for strength in strengths]
    return sheets.LabelledSheet(images.size, rows, columns, image_format=images.rendering.image_format)


def draw_sheet(
    images: ImageGenerator, found: Sequence[Direction], seeds: Sequence[Point], strengths: Sequence[float]
) -> None:
    """Saves `sheet.png` in the run folder. Raises UserError if it is too large."""
    sheet = _empty_sheet(images, [direction.name for direction in found], seeds, strengths)
    places = [(row, column) for row in range(len(found) * len(seeds)) for column in range(len(strengths))]
    progress = Progress(len(places), "images")
    cells = {}
    for batch in batches(places, images.rendering, progress):
        of_batch = [(found[row // len(seeds)], seeds[row % len(seeds)], strengths[column]) for row, column in batch]
        cells.update(zip(batch, _moved(images, of_batch), strict=True))
    save(sheet.draw(cells), "sheet", images.rendering)
    progress.finish()


def _moved(images: ImageGenerator, wanted: Sequence[tuple[Direction, Point, float]]) -> np.ndarray:
    """Images `[N, H, W, C]` of points, each moved along a direction by a strength."""
    w = images.stacked([point for _, point, _ in wanted])
    noises = [images.noises_of(point) for _, point, _ in wanted]
    moves = [[*images.rendering.directions, Move(direction, strength)] for direction, _, strength in wanted]
    return images.from_dlatents(w, noises, directions.stacked_offsets(moves, images.net))


def check_video(video: str, fps: float, num: int, images: ImageGenerator, seeds: Sequence[Point]) -> None:
    """Raises UserError for videos that cannot be."""
    problems = Problems()
    with problems.gather(f"--video={video}"):
        WRITERS[video].check(fps)
        WRITERS[video].check_size(num, images.size[0], images.size[1] * len(seeds))
    problems.report()


def write_sweeps(
    images: ImageGenerator,
    found: Sequence[Direction],
    seeds: Sequence[Point],
    most: float,
    video: str,
    num: int,
    fps: float,
) -> None:
    """Saves a video of each direction, such as `NAME.mp4`, in the run folder: points side by side.

    Strengths go from 0 to `most`, to its opposite and back, in `num` frames that repeat without a jolt.
    """
    taken = {"sheet"}
    progress = Progress(len(found) * num, "frames")
    for direction in found:
        name = points.unique(re.sub(r"[^\w.,+-]+", "_", direction.name)[:60] or "direction", taken)
        with WRITERS[video](dnnlib.make_run_dir_path(f"{name}.{video}"), fps) as writer:
            for frame in _sweep(images, direction, seeds, most, num):
                writer.add(frame)
                progress.update()
    progress.finish()


def _sweep(
    images: ImageGenerator, direction: Direction, seeds: Sequence[Point], most: float, num: int
) -> Iterator[np.ndarray]:
    strengths = [most * math.sin(2 * math.pi * idx / num) for idx in range(num)]
    wanted = [(direction, point, strength) for strength in strengths for point in seeds]
    row: list[np.ndarray] = []
    for batch in batches(wanted, images.rendering):
        for image in _moved(images, batch):
            row.append(image)
            if len(row) == len(seeds):
                yield np.concatenate(row, axis=1)
                row = []
