"""The runs of `run_generator.py`: what each of its commands does. TensorFlow is imported when one starts."""

from typing import Any

import dnnlib
import pretrained_networks
from dnnlib import command_line
from dnnlib.errors import Problems, UserError

from .latent_points import Point, unique
from .video import WRITERS


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
    `training.image_generation`.
    """
    from . import image_generation as generation

    settings = Settings(truncation_psi, truncation_cutoff, class_idx, noise_mode, dlatents_psi, image_format)
    images, points = load_points(network_pkl, {"--dlatents": seeds}, settings, cache_dir, offline, of_seeds=True)
    resolution = images.generator.resolution
    size = generation.grid_size(len(points), None if grid == "auto" else grid) if grid else None
    if size:
        generation.check_sheet(size[0] * resolution, size[1] * resolution, image_format)
    progress = command_line.Progress(len(points), "images")
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
            generation.save_image(generation.to_pil(image), dnnlib.make_run_dir_path(f"{name}.{image_format}"))
            if size:
                kept[divmod(idx, size[0])] = image
        progress.update(len(batch))
    if size:
        path = dnnlib.make_run_dir_path(f"grid.{image_format}")
        generation.save_image(generation.paste_grid(kept, *size), path)
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
) -> None:
    """Saves `ROW-COL.png`, which take `col_styles` from the column's W and the rest from the row's, and `grid.png`.

    row_seeds, col_seeds: also paths of files of vectors. dlatents_psi: truncation of the vectors.
    """
    from . import image_generation as generation

    lists = {"--row-dlatents": row_seeds, "--col-dlatents": col_seeds}
    settings = truncation_psi, truncation_cutoff, class_idx, image_format, col_styles or ()
    images, rows, cols = _load(network_pkl, cache_dir, offline, lists, dlatents_psi, *settings)
    generator = images.generator
    col_styles = list(range(min(7, generator.num_layers))) if col_styles is None else col_styles
    size = len(cols) + 1, len(rows) + 1
    generation.check_sheet(size[0] * generator.resolution, size[1] * generator.resolution, image_format)
    print("Generating W vectors...")
    all_points = list(dict.fromkeys([*rows, *cols]))
    w_dict = images.dlatents(all_points)

    print("Generating images...")
    pairs = [(row, col) for row in dict.fromkeys(rows) for col in dict.fromkeys(cols)]
    progress = command_line.Progress(len(all_points) + len(pairs), "images")
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
    taken = {"grid"}
    for (row, col), image in image_dict.items():
        path = dnnlib.make_run_dir_path(f"{unique(f'{row}-{col}', taken)}.{image_format}")
        generation.save_image(generation.to_pil(image), path)

    print("Saving image grid...")
    cells = {}
    for row_idx, row in enumerate([None, *rows]):
        for col_idx, col in enumerate([None, *cols]):
            if row_idx or col_idx:
                cells[row_idx, col_idx] = image_dict[col if row is None else row, row if col is None else col]
    generation.save_image(generation.paste_grid(cells, *size), dnnlib.make_run_dir_path(f"grid.{image_format}"))
    progress.finish()


def interpolation_grid(
    network_pkl: str,
    seeds: list[int],
    truncation_psi: float | None = None,
    grid: tuple[int, int] = (8, 8),
    space: str = "w",
    truncation_cutoff: int | None = None,
    class_idx: int | None = None,
    minibatch_size: int = 4,
    image_format: str = "png",
    cache_dir: str | None = None,
    offline: bool | None = None,
) -> None:
    """Saves `grid.png`: four seeds in the corners, and between them images of latents mixed in proportion.

    seeds: top left, top right, bottom left, bottom right. space: 'w' or 'z', where latents are mixed.
    """
    import numpy as np

    from . import image_generation as generation

    if len(seeds) != 4:
        raise UserError(f"--seeds: expected four, one for each corner, got {len(seeds)}")
    settings = truncation_psi, truncation_cutoff, class_idx, image_format
    generator = _load(network_pkl, cache_dir, offline, {}, 1.0, *settings)[0].generator
    columns, rows = grid
    generation.check_sheet(columns * generator.resolution, rows * generator.resolution, image_format)
    corners = generator.latents_from_seeds(seeds)
    if space == "w":
        corners = generator.dlatents_from_latents(corners)
    between = generation.bilinear(corners, columns, rows)
    progress = command_line.Progress(len(between), "images")
    rendered = []
    for begin in range(0, len(between), minibatch_size):
        part = between[begin : begin + minibatch_size]
        w = part if space == "w" else generator.dlatents_from_latents(part)
        rendered.extend(generator.from_dlatents(w.astype(np.float32), minibatch_size))
        progress.update(len(part))
    sheet = generation.paste_grid({divmod(i, columns): image for i, image in enumerate(rendered)}, columns, rows)
    generation.save_image(sheet, dnnlib.make_run_dir_path(f"grid.{image_format}"))
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
) -> None:
    """Saves images of the way from each point to the next, `frame0000.png` and so on, or a video of them.

    The noise is the network's own all the way.

    seeds: the points, also paths of files of vectors. space: 'w': straight lines; 'z': great circles, for seeds alone.
    frames, loop, smooth: see `training.interpolation.Walk`. video: 'mp4' or 'gif': `interpolation.mp4` in place of the
    images, with `fps` frames per second.
    """
    import numpy as np

    from . import interpolation

    check_interpolation(seeds, space, video, fps)
    settings = truncation_psi, truncation_cutoff, class_idx, image_format
    images, points = _load(network_pkl, cache_dir, offline, {"--dlatents": seeds}, dlatents_psi, *settings)
    _check_ends(points)
    generator = images.generator
    if space == "z":
        ends = generator.latents_from_seeds(points)
    else:
        w_dict = images.dlatents(list(dict.fromkeys(points)))
        ends = np.stack([w_dict[point] for point in points])
    walk = interpolation.Walk(ends, frames, loop, spherical=space == "z", smooth=smooth)
    folder = dnnlib.make_run_dir_path()
    progress = command_line.Progress(len(walk), "frames")
    with interpolation.frame_writer(folder, video or image_format, len(walk), fps, generator.resolution) as writer:
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
    files = [point for point in seeds if isinstance(point, str)]
    if space == "z" and files:
        problems.messages.append("--space=z: the vectors of --dlatents are W; use --space=w, or --seeds alone")
    with problems.gather():
        if not files:
            _check_ends(seeds)
    with problems.gather(f"--video={video}"):
        if video:
            WRITERS[video].check(fps)
    problems.report()


def _check_ends(points: list[Point]) -> None:
    if len(points) < 2:
        raise UserError(f"--seeds, --dlatents: expected two or more to go between, got {len(points)}")


def _load(
    network_pkl: str,
    cache_dir: str | None,
    offline: bool | None,
    lists: dict[str, list[Point]],
    dlatents_psi: float,
    *settings: Any,
) -> Any:
    """What renders images of points, and each list with the names of vectors in place of files."""
    print(f'Loading networks from "{network_pkl}"...')
    from . import latent_points
    from .image_generation import ImageGenerator, check_generator
    from .point_images import PointImages

    _G, _D, Gs = pretrained_networks.load_networks(network_pkl, cache_dir=cache_dir, offline=offline)
    check_generator(Gs)
    problems = Problems()
    with problems.gather():
        generator = ImageGenerator(Gs, *settings)
    with problems.gather():
        named, vectors = latent_points.load(lists, Gs)
    problems.report()
    if generator.label_size and generator.class_idx is None:
        print(f"The network knows {generator.label_size} classes; generating without a label (choose: --class-idx).")
    return PointImages(generator, vectors, dlatents_psi), *named.values()
