"""The commands of `run_generator.py` that make images. TensorFlow is imported when one starts."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import dnnlib
import pretrained_networks
from dnnlib.errors import Problems
from dnnlib.parallel import parallel_map
from dnnlib.pictures import save_image
from dnnlib.progress import Progress

from . import conventions
from .conventions import Rendering
from .points import Point, Vectors, file_name, load_vectors, title, unique


def generate_images(
    network_pkl: str,
    seeds: Sequence[Point] = (),
    truncation_psi: float | None = None,
    grid: tuple[int, int] | str | None = None,
    minibatch_size: int | None = None,
    count: int | None = None,
    to: str | None = None,
    per_class: bool = False,
    force: bool = False,
    **rendering: Any,
) -> None:
    """Saves one image per seed, `seed0000.png`, in the run folder; with `grid` also all of them as `grid.png`.

    With `to` they are written as a data set in place of that, whose `dataset.json` has labels and seeds. Where this was
    interrupted the same call goes on.

    Args:
        network_pkl: name, URL or path of the network.
        seeds: also paths of files of vectors, whose images are named after the file. With `count` the first seed.
        truncation_psi: strength of truncation; None: 1, which is none, with `to`, else as the tools of its kind.
        grid: 'auto', or (columns, rows).
        minibatch_size: images rendered at once; None: what suits the resolution with `to`, else 1.
        count: make so many images, of the seeds 0, 1, 2, ..., or from that of `seeds` on.
        to: the folder or, ending in `.zip`, zip file to write.
        per_class: make `count` images of each class, all of other seeds.
        force: replace a data set that is there.
        rendering: the other arguments of `Rendering`.
    """
    from . import sheets, synthetic

    chosen_class = any(rendering.get(name) is not None for name in ("class_idx", "label"))
    synthetic.check(seeds, count, to, per_class, force, grid, chosen_class)
    if to is not None:
        psi = synthetic.PSI if truncation_psi is None else truncation_psi
        options = Rendering(psi, minibatch_size=minibatch_size or 1, **rendering)
        images, _ = load_points(network_pkl, {"--dlatents": []}, options, of_seeds=True, has_seeds=not per_class)
        if minibatch_size is None:
            images.rendering = replace(images.rendering, minibatch_size=synthetic.minibatch_size(*images.size))
        synthetic.write(images, network_pkl, seeds, count, per_class, to, force)
        return
    seeds = list(synthetic.seeds_from(seeds, count))
    options = Rendering(truncation_psi, minibatch_size=minibatch_size or 1, **rendering)
    images, points = load_points(network_pkl, {"--dlatents": seeds}, options, of_seeds=True)
    size = sheets.grid_size(len(points), grid) if grid else None
    if size:
        sheets.check_sheet(size[1] * images.size[0], size[0] * images.size[1], options.image_format)
    progress = Progress(len(points), "images")
    kept = {}

    def rendered() -> Iterator[tuple[Point, np.ndarray]]:
        generated = images.rendered(list(batches(points, options)))
        for batch in batches(list(enumerate(points)), options):
            for idx, point in batch:
                print(f"Generating image for {title(point)} ({idx}/{len(points)}) ...")
            for (idx, point), image in zip(batch, next(generated), strict=True):
                if size:
                    kept[divmod(idx, size[0])] = image
                progress.update()  # here: several are saved at once, and a few of them are waited for together
                yield point, image

    for _ in parallel_map(lambda item: save(item[1], file_name(item[0]), options), rendered()):
        pass
    if size:
        save(sheets.paste_grid(kept, *size), "grid", options)
    progress.finish()


def style_mixing_example(
    network_pkl: str,
    row_seeds: list[Point],
    col_seeds: list[Point],
    truncation_psi: float | None = None,
    col_styles: list[int] | None = None,
    minibatch_size: int = 4,
    labels: bool = False,
    **rendering: Any,
) -> None:
    """Saves `ROW-COL.png`, which take `col_styles` from the column's W and the rest from the row's, and `grid.png`.

    row_seeds, col_seeds: also paths of files of vectors. labels: save the table with the names of rows and columns,
    too, as `figure.png`. The other arguments are those of `Rendering`.
    """
    from . import sheets

    options = Rendering(truncation_psi, minibatch_size=minibatch_size, **rendering)
    lists = {"--row-dlatents": row_seeds, "--col-dlatents": col_seeds}
    images, rows, cols = load_points(network_pkl, lists, options, col_styles=col_styles or ())
    col_styles = list(range(min(7, images.num_layers))) if col_styles is None else col_styles
    size = len(cols) + 1, len(rows) + 1
    sheets.check_sheet(size[1] * images.size[0], size[0] * images.size[1], options.image_format)
    names = ["", *map(str, rows)], ["", *map(str, cols)]
    sheet = sheets.LabelledSheet(images.size, *names, image_format=options.image_format) if labels else None
    print("Generating W vectors...")
    all_points = list(dict.fromkeys([*rows, *cols]))
    w_dict = images.dlatents(all_points)

    pairs = [(row, col) for row in dict.fromkeys(rows) for col in dict.fromkeys(cols)]
    progress = Progress(len(all_points) + len(pairs), "images")
    image_dict = {}
    print("Generating images...")
    for batch in batches([(point, point) for point in all_points], options, progress):
        image_dict.update(zip(batch, images.mix(batch, w_dict), strict=True))
    print("Generating style-mixed images...")
    for batch in batches(pairs, options, progress):
        image_dict.update(zip(batch, images.mix(batch, w_dict, col_styles), strict=True))

    print("Saving images...")
    taken = {"grid", "figure"}
    for (row, col), image in image_dict.items():
        save(image, unique(f"{row}-{col}", taken), options)

    print("Saving image grid...")
    cells = {(0, j): image_dict[col, col] for j, col in enumerate(cols, 1)}
    cells |= {(i, 0): image_dict[row, row] for i, row in enumerate(rows, 1)}
    cells |= {(i, j): image_dict[row, col] for i, row in enumerate(rows, 1) for j, col in enumerate(cols, 1)}
    save(sheets.paste_grid(cells, *size), "grid", options)
    if sheet:
        save(sheet.draw(cells), "figure", options)
    progress.finish()


# ----------------------------------------------------------------------------
# What all commands share.


def load_points(
    network_pkl: str,
    lists: Mapping[str, Sequence[Point]],
    rendering: Rendering,
    of_seeds: bool = False,
    col_styles: Collection[int] = (),
    has_seeds: bool | None = None,
    also: Callable[[Any], None] | None = None,
) -> Any:
    """Reads a network and files of vectors, and says by which conventions images are made.

    Args:
        network_pkl: name, URL or path of the network.
        lists: seeds and paths of files of vectors, by the flag that gives files.
        rendering: how to render.
        of_seeds: whether images of seeds are rendered as by `generate-images`, where their noise may be of the seed.
        col_styles: layers that will be mixed.
        has_seeds: whether there will be images of seeds without labels of their own; None: if any list has seeds.
        also: reads what else there is for the network, which it is called with.

    Returns:
        An `ImageGenerator`, and each list with the names of vectors in place of files.

    Raises:
        UserError: whatever of this cannot be, all in one message.
    """
    print(f'Loading networks from "{network_pkl}"...')
    from dnnlib.tflib import settings

    from .image_generator import ImageGenerator

    settings.allow_tf32(rendering.allow_tf32)
    Gs = pretrained_networks.load_generator(network_pkl, rendering.cache_dir, rendering.offline)
    if not of_seeds:
        rendering = replace(rendering, noise_mode=rendering.noise_mode or "const")
    lists = {  # scripts give ranges of NumPy
        flag: [int(point) if isinstance(point, np.integer) else point for point in points]
        for flag, points in lists.items()
    }
    if has_seeds is None:
        has_seeds = any(isinstance(point, int) for points in lists.values() for point in points)
    problems = Problems()
    vectors = Vectors()
    with problems.gather():
        named, vectors = load_vectors(lists, Gs)
    with problems.gather():
        if also:
            also(Gs)
    with problems.gather():
        images = ImageGenerator(Gs, rendering, vectors, col_styles, has_seeds)
    problems.report()
    of = conventions.of_network(Gs).tools
    psi, noise_mode = images.rendering.truncation_psi, images.rendering.noise_mode
    print(f"Conventions of {of}; truncation psi {psi:g}, noise mode {noise_mode}.")
    if images.precision:
        print(f"Precision: {images.precision}.")
    return images, *named.values()


def batches(items: Any, rendering: Rendering, progress: Progress | None = None) -> Iterator[Any]:
    """What is rendered at once: parts of a list, array or range. progress: is told of each when it is done."""
    for begin in range(0, len(items), rendering.minibatch_size):
        batch = items[begin : begin + rendering.minibatch_size]
        yield batch
        if progress:
            progress.update(len(batch))


def save(image: Any, name: str, rendering: Rendering) -> None:
    """Saves a uint8 image `[H, W, C]`, or a picture of Pillow, in the run folder."""
    save_image(image, dnnlib.make_run_dir_path(f"{name}.{rendering.image_format}"))
