"""The runs of `run_generator.py`: what each of its commands does. TensorFlow is imported when one starts."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import dnnlib
import pretrained_networks
from dnnlib.errors import Problems, UserError
from dnnlib.progress import Progress

from . import conventions as generator_conventions
from .points import Point, unique
from .video import WRITERS


@dataclass
class Settings:
    """What commands have in common.

    truncation_psi: of seeds; None: the default of the network's family, see `generator_conventions`. dlatents_psi: of
    vectors from files. truncation_cutoff: number of layers that are truncated; None: the network's default. class_idx:
    of a conditional network. noise_mode: see `ImageGenerator`; None: the default of the network's family.
    image_format: 'png', 'jpg' or 'webp'.
    """

    truncation_psi: float | None = None
    truncation_cutoff: int | None = None
    class_idx: int | None = None
    noise_mode: str | None = None
    dlatents_psi: float = 1.0
    image_format: str = "png"


def generate_images(
    network_pkl: str,
    seeds: list[Point],
    truncation_psi: float | None = None,
    truncation_cutoff: int | None = None,
    class_idx: int | None = None,
    minibatch_size: int = 1,
    grid: tuple[int, int] | str | None = None,
    image_format: str = "png",
    cache_dir: str | None = None,
    offline: bool | None = None,
    dlatents_psi: float = 1.0,
    noise_mode: str | None = None,
) -> None:
    """Saves one image per seed, `seed0000.png`, in the run folder; with `grid` also all of them as `grid.png`.

    seeds: also paths of files of vectors, whose images are named after the file. grid: 'auto', or (columns, rows).
    dlatents_psi: truncation of the vectors. The other arguments are explained in `load_points` and
    `generation.image_generator`.
    """
    from dnnlib import pictures

    from . import image_generator as generation
    from . import sheets

    settings = Settings(truncation_psi, truncation_cutoff, class_idx, noise_mode, dlatents_psi, image_format)
    images, points = load_points(network_pkl, {"--dlatents": seeds}, settings, cache_dir, offline, of_seeds=True)
    resolution = images.generator.resolution
    size = sheets.grid_size(len(points), None if grid == "auto" else grid) if grid else None
    if size:
        sheets.check_sheet(size[0] * resolution, size[1] * resolution, image_format)
    progress = Progress(len(points), "images")
    kept = {}
    rendered = generation.ahead(
        images.render(points[begin : begin + minibatch_size]) for begin in range(0, len(points), minibatch_size)
    )
    for begin in range(0, len(points), minibatch_size):
        batch = points[begin : begin + minibatch_size]
        for idx, point in enumerate(batch, begin):
            what = f"seed {point}" if isinstance(point, int) else point
            print(f"Generating image for {what} ({idx}/{len(points)}) ...")
        for idx, (point, image) in enumerate(zip(batch, next(rendered), strict=True), begin):
            name = f"seed{point:04d}" if isinstance(point, int) else point
            pictures.save_image(pictures.to_pil(image), dnnlib.make_run_dir_path(f"{name}.{image_format}"))
            if size:
                kept[divmod(idx, size[0])] = image
        progress.update(len(batch))
    if size:
        path = dnnlib.make_run_dir_path(f"grid.{image_format}")
        pictures.save_image(sheets.paste_grid(kept, *size), path)
    progress.finish()


def style_mixing_example(
    network_pkl: str,
    row_seeds: list[Point],
    col_seeds: list[Point],
    truncation_psi: float | None = None,
    col_styles: list[int] | None = None,
    truncation_cutoff: int | None = None,
    class_idx: int | None = None,
    minibatch_size: int = 4,
    image_format: str = "png",
    cache_dir: str | None = None,
    offline: bool | None = None,
    dlatents_psi: float = 1.0,
    noise_mode: str | None = None,
    labels: bool = False,
) -> None:
    """Saves `ROW-COL.png`, which take `col_styles` from the column's W and the rest from the row's, and `grid.png`.

    row_seeds, col_seeds: also paths of files of vectors. dlatents_psi: truncation of the vectors. labels: save the
    table with the names of rows and columns, too, as `figure.png`.
    """
    from dnnlib import pictures

    from . import sheets
    from .sheets import LabelledSheet

    lists = {"--row-dlatents": row_seeds, "--col-dlatents": col_seeds}
    settings = Settings(truncation_psi, truncation_cutoff, class_idx, noise_mode, dlatents_psi, image_format)
    images, rows, cols = load_points(network_pkl, lists, settings, cache_dir, offline, col_styles=col_styles or ())
    generator = images.generator
    col_styles = list(range(min(7, generator.num_layers))) if col_styles is None else col_styles
    size = len(cols) + 1, len(rows) + 1
    sheets.check_sheet(size[0] * generator.resolution, size[1] * generator.resolution, image_format)
    sheet = LabelledSheet(generator.resolution, ["", *map(str, rows)], ["", *map(str, cols)]) if labels else None
    if sheet:
        sheets.check_sheet(*sheet.size, image_format)
    print("Generating W vectors...")
    all_points = list(dict.fromkeys([*rows, *cols]))
    w_dict = images.dlatents(all_points)

    print("Generating images...")
    pairs = [(row, col) for row in dict.fromkeys(rows) for col in dict.fromkeys(cols)]
    progress = Progress(len(all_points) + len(pairs), "images")
    image_dict = {}
    for begin in range(0, len(all_points), minibatch_size):
        batch = all_points[begin : begin + minibatch_size]
        image_dict.update(zip([(point, point) for point in batch], images.synthesize(batch, w_dict), strict=True))
        progress.update(len(batch))

    print("Generating style-mixed images...")
    for begin in range(0, len(pairs), minibatch_size):
        batch = pairs[begin : begin + minibatch_size]
        image_dict.update(zip(batch, images.mix(batch, w_dict, col_styles), strict=True))
        progress.update(len(batch))

    print("Saving images...")
    taken = {"grid", "figure"}
    for (row, col), image in image_dict.items():
        path = dnnlib.make_run_dir_path(f"{unique(f'{row}-{col}', taken)}.{image_format}")
        pictures.save_image(pictures.to_pil(image), path)

    print("Saving image grid...")
    cells = {}
    for row_idx, row in enumerate([None, *rows]):
        for col_idx, col in enumerate([None, *cols]):
            if row_idx or col_idx:
                cells[row_idx, col_idx] = image_dict[col if row is None else row, row if col is None else col]
    pictures.save_image(sheets.paste_grid(cells, *size), dnnlib.make_run_dir_path(f"grid.{image_format}"))
    if sheet:
        pictures.save_image(sheet.draw(cells), dnnlib.make_run_dir_path(f"figure.{image_format}"))
    progress.finish()


def interpolate(
    network_pkl: str,
    seeds: list[Point],
    truncation_psi: float | None = None,
    space: str = "w",
    frames: int = 60,
    loop: bool = False,
    smooth: bool = False,
    video: str | None = None,
    fps: int = 30,
    truncation_cutoff: int | None = None,
    class_idx: int | None = None,
    minibatch_size: int = 4,
    image_format: str = "png",
    cache_dir: str | None = None,
    offline: bool | None = None,
    dlatents_psi: float = 1.0,
    noise_mode: str | None = None,
) -> None:
    """Saves images of the way from each point to the next, `frame0000.png` and so on, or a video of them.

    The noise is the network's own all the way, unless `noise_mode` is 'random' or 'none'.

    seeds: the points, also paths of files of vectors. space: 'w': straight lines; 'z': great circles, for seeds alone.
    frames, loop, smooth: see `generation.walks.Walk`. video: 'mp4' or 'gif': `interpolation.mp4` in place of the
    images, with `fps` frames per second.
    """
    import numpy as np

    from . import walks

    check_interpolation(seeds, space, video, fps)
    settings = Settings(truncation_psi, truncation_cutoff, class_idx, noise_mode, dlatents_psi, image_format)
    images, points = load_points(network_pkl, {"--dlatents": seeds}, settings, cache_dir, offline)
    _check_ends(points)
    generator = images.generator
    ends = generator.latents_from_seeds(points) if space == "z" else images.stacked(points)
    walk = walks.Walk(ends, frames, loop, spherical=space == "z", smooth=smooth)
    folder = dnnlib.make_run_dir_path()
    progress = Progress(len(walk), "frames")
    with walks.frame_writer(folder, video or image_format, len(walk), fps, generator.resolution) as writer:
        for begin in range(0, len(walk), minibatch_size):
            part = walk.between(begin, begin + minibatch_size)
            w = generator.dlatents_from_latents(part) if space == "z" else part
            for image in generator.from_dlatents(w.astype(np.float32), minibatch_size):
                writer.add(image)
            progress.update(len(part))
    progress.finish()


def check_interpolation(seeds: list[Point], space: str, video: str | None, fps: float) -> None:
    """Raises UserError for what `interpolate` cannot do, as far as this is known before files are read."""
    problems = Problems()
    with problems.gather():
        check_space(seeds, space)
    with problems.gather():
        if all(isinstance(point, int) for point in seeds):
            _check_ends(seeds)
    with problems.gather(f"--video={video}"):
        if video:
            WRITERS[video].check(fps)
    problems.report()


def _check_ends(points: list[Point]) -> None:
    if len(points) < 2:
        raise UserError(f"--seeds, --dlatents: expected two or more to go between, got {len(points)}")


def check_space(seeds: list[Point], space: str) -> None:
    """Raises UserError for files of vectors that are to be mixed in Z."""
    if space == "z" and any(isinstance(point, str) for point in seeds):
        raise UserError("--space=z: the vectors of --dlatents are W; use --space=w, or --seeds alone")


# ----------------------------------------------------------------------------
# What all commands begin with.


def load_points(
    network_pkl: str,
    lists: dict[str, list[Point]],
    settings: Settings,
    cache_dir: str | None = None,
    offline: bool | None = None,
    of_seeds: bool = False,
    col_styles: Collection[int] = (),
) -> Any:
    """Reads a network and files of vectors, and says by which conventions images are made.

    Args:
        network_pkl: name, URL or path of the network.
        lists: seeds and paths of files of vectors, by the flag that gives files.
        settings: how to render.
        cache_dir, offline: see `pretrained_networks.load_networks`.
        of_seeds: whether images of seeds are rendered as by `generate-images`, where their noise may be of the seed.
        col_styles: layers that will be mixed.

    Returns:
        A `PointImages`, and each list with the names of vectors in place of files.

    Raises:
        UserError: whatever of this cannot be, all in one message.
    """
    print(f'Loading networks from "{network_pkl}"...')
    from . import points as latent_points
    from .image_generator import ImageGenerator, PointImages

    Gs = pretrained_networks.load_generator(network_pkl, cache_dir, offline)
    conventions = generator_conventions.of_network(Gs)
    psi = conventions.truncation_psi if settings.truncation_psi is None else settings.truncation_psi
    noise_mode = settings.noise_mode or (conventions.noise_of_seeds if of_seeds else "const")
    has_seeds = any(isinstance(point, int) for points in lists.values() for point in points)
    class_idx: int | None = None
    problems = Problems()
    with problems.gather():
        class_idx = generator_conventions.choose_class(Gs, settings.class_idx, has_seeds)
    with problems.gather():
        style = settings.image_format, col_styles, noise_mode
        generator = ImageGenerator(Gs, psi, settings.truncation_cutoff, class_idx, *style)
    with problems.gather():
        named, vectors = latent_points.load(lists, Gs)
    problems.report()
    print(f"Conventions of {conventions.tools}; truncation psi {psi:g}, noise mode {noise_mode}.")
    if generator.precision:
        print(f"Precision: {generator.precision}.")
    return PointImages(generator, vectors, settings.dlatents_psi), *named.values()
