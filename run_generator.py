"""Generates images with a pretrained network: `generate-images`, `style-mixing-example`, `interpolation-grid`.

Examples:

  # Uncurated images of the paper's FFHQ network, Figure 12
  python run_generator.py generate-images --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --seeds=6600-6625 --truncation-psi=0.5

  # Style mixing, as in Figure 8 of the StyleGAN paper
  python run_generator.py style-mixing-example --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --row-seeds=85,100,75,458,1500 --col-seeds=55,821,1789,293 --truncation-psi=1.0

  # What lies between four images
  python run_generator.py interpolation-grid --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --seeds=85,100,75,458 --grid=8x8
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any

import dnnlib
import pretrained_networks
from dnnlib import command_line
from dnnlib.errors import UserError, exits_on_user_error

if TYPE_CHECKING:
    from training.image_generation import ImageGenerator

# ----------------------------------------------------------------------------
# The runs. TensorFlow is imported when they start, not for --help.


def generate_images(
    network_pkl: str,
    seeds: list[int],
    truncation_psi: float | None = 0.5,
    truncation_cutoff: int | None = None,
    class_idx: int | None = None,
    minibatch_size: int = 1,
    grid: "tuple[int, int] | str | None" = None,
    image_format: str = "png",
    cache_dir: str | None = None,
    offline: bool | None = None,
) -> None:
    """Saves one image per seed, `seed0000.png`, in the run folder; with `grid` also all of them as `grid.png`.

    grid: 'auto', or (columns, rows). The other arguments are explained in `training.image_generation`.
    """
    from training import image_generation as generation

    size = generation.grid_size(len(seeds), None if grid == "auto" else grid) if grid else None
    generator = _load_generator(
        network_pkl, cache_dir, offline, truncation_psi, truncation_cutoff, class_idx, image_format
    )
    if size:
        generation.check_sheet(size[0] * generator.resolution, size[1] * generator.resolution, image_format)
    progress = command_line.Progress(len(seeds), "images")
    kept = {}
    for begin in range(0, len(seeds), minibatch_size):
        batch = seeds[begin : begin + minibatch_size]
        for idx, seed in enumerate(batch, begin):
            print(f"Generating image for seed {seed} ({idx}/{len(seeds)}) ...")
        for idx, (seed, image) in enumerate(zip(batch, generator.from_seeds(batch), strict=True), begin):
            path = dnnlib.make_run_dir_path(f"seed{seed:04d}.{image_format}")
            generation.save_image(generation.to_pil(image), path)
            if size:
                kept[divmod(idx, size[0])] = image
        progress.update(len(batch))
    if size:
        path = dnnlib.make_run_dir_path(f"grid.{image_format}")
        generation.save_image(generation.paste_grid(kept, *size), path)
    progress.finish()


def style_mixing_example(
    network_pkl: str,
    row_seeds: list[int],
    col_seeds: list[int],
    truncation_psi: float | None = 0.5,
    col_styles: "list[int] | None" = None,
    truncation_cutoff: int | None = None,
    class_idx: int | None = None,
    minibatch_size: int = 4,
    image_format: str = "png",
    cache_dir: str | None = None,
    offline: bool | None = None,
) -> None:
    """Saves `ROW-COL.png`, which take `col_styles` from the column's W and the rest from the row's, and `grid.png`."""
    import numpy as np

    from training import image_generation as generation

    generator = _load_generator(
        network_pkl, cache_dir, offline, truncation_psi, truncation_cutoff, class_idx, image_format, col_styles or ()
    )
    col_styles = list(range(min(7, generator.num_layers))) if col_styles is None else col_styles
    columns, rows = len(col_seeds) + 1, len(row_seeds) + 1
    generation.check_sheet(columns * generator.resolution, rows * generator.resolution, image_format)
    print("Generating W vectors...")
    all_seeds = list(dict.fromkeys([*row_seeds, *col_seeds]))
    w_dict = generator.dlatents_from_seeds(all_seeds)

    print("Generating images...")
    pairs = [(row_seed, col_seed) for row_seed in dict.fromkeys(row_seeds) for col_seed in dict.fromkeys(col_seeds)]
    progress = command_line.Progress(len(all_seeds) + len(pairs), "images")
    image_dict = {}
    for begin in range(0, len(all_seeds), minibatch_size):
        batch = all_seeds[begin : begin + minibatch_size]
        images = generator.from_dlatents(np.stack([w_dict[seed] for seed in batch]), minibatch_size)
        image_dict.update(zip([(seed, seed) for seed in batch], images, strict=True))
        progress.update(len(batch))

    print("Generating style-mixed images...")
    for begin in range(0, len(pairs), minibatch_size):
        batch = pairs[begin : begin + minibatch_size]
        w = np.stack([w_dict[row_seed] for row_seed, _ in batch])  # [N, layers, dlatent_size]
        w[:, col_styles] = np.stack([w_dict[col_seed][col_styles] for _, col_seed in batch])
        image_dict.update(zip(batch, generator.from_dlatents(w, minibatch_size), strict=True))
        progress.update(len(batch))

    print("Saving images...")
    for (row_seed, col_seed), image in image_dict.items():
        path = dnnlib.make_run_dir_path(f"{row_seed}-{col_seed}.{image_format}")
        generation.save_image(generation.to_pil(image), path)

    print("Saving image grid...")
    cells = {}
    for row, row_seed in enumerate([None, *row_seeds]):
        for col, col_seed in enumerate([None, *col_seeds]):
            if row or col:
                key = (row_seed if row else col_seed, col_seed if col else row_seed)
                cells[row, col] = image_dict[key]
    sheet = generation.paste_grid(cells, columns, rows)
    generation.save_image(sheet, dnnlib.make_run_dir_path(f"grid.{image_format}"))
    progress.finish()


def interpolation_grid(
    network_pkl: str,
    seeds: list[int],
    truncation_psi: float | None = 0.5,
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

    from training import image_generation as generation

    if len(seeds) != 4:
        raise UserError(f"--seeds: expected four, one for each corner, got {len(seeds)}")
    generator = _load_generator(
        network_pkl, cache_dir, offline, truncation_psi, truncation_cutoff, class_idx, image_format
    )
    columns, rows = grid
    generation.check_sheet(columns * generator.resolution, rows * generator.resolution, image_format)
    corners = generator.latents_from_seeds(seeds)
    if space == "w":
        corners = generator.dlatents_from_latents(corners)
    between = generation.bilinear(corners, columns, rows)
    progress = command_line.Progress(len(between), "images")
    images = []
    for begin in range(0, len(between), minibatch_size):
        part = between[begin : begin + minibatch_size]
        w = part if space == "w" else generator.dlatents_from_latents(part)
        images.extend(generator.from_dlatents(w.astype(np.float32), minibatch_size))
        progress.update(len(part))
    sheet = generation.paste_grid({divmod(i, columns): image for i, image in enumerate(images)}, columns, rows)
    generation.save_image(sheet, dnnlib.make_run_dir_path(f"grid.{image_format}"))
    progress.finish()


def _load_generator(network_pkl: str, cache_dir: str | None, offline: bool | None, *args: Any) -> "ImageGenerator":
    print(f'Loading networks from "{network_pkl}"...')
    from training.image_generation import ImageGenerator

    _G, _D, Gs = pretrained_networks.load_networks(network_pkl, cache_dir=cache_dir, offline=offline)
    generator = ImageGenerator(Gs, *args)
    if generator.label_size and generator.class_idx is None:
        print(f"The network knows {generator.label_size} classes; generating without a label (choose: --class-idx).")
    return generator


# ----------------------------------------------------------------------------
# Command line.


def _parser() -> argparse.ArgumentParser:
    parser = command_line.ArgumentParser(
        description="Generates images with a pretrained network.",
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(help="what to do", dest="command", metavar="COMMAND")

    generate = subparsers.add_parser("generate-images", help="generate one image per seed")
    generate.add_argument(
        "--seeds", type=command_line.num_list, required=True, help="list of random seeds: 1,2,7-9", metavar="SEEDS"
    )
    generate.add_argument(
        "--grid",
        type=command_line.grid_size,
        nargs="?",
        const="auto",
        help="save all images in one picture, too; as COLUMNSxROWS or about square",
        metavar="WxH",
    )
    _add_common(generate, minibatch_size=1)

    mixing = subparsers.add_parser("style-mixing-example", help="mix the styles of images")
    mixing.add_argument(
        "--row-seeds", type=command_line.num_list, required=True, help="seeds of the rows", metavar="SEEDS"
    )
    mixing.add_argument(
        "--col-seeds", type=command_line.num_list, required=True, help="seeds of the columns", metavar="SEEDS"
    )
    mixing.add_argument(
        "--col-styles",
        type=command_line.num_list,
        help="layers that are taken from the columns (default: 0-6, as far as the network has them)",
        metavar="LAYERS",
    )
    _add_common(mixing, minibatch_size=4)

    between = subparsers.add_parser("interpolation-grid", help="show what lies between four images")
    between.add_argument(
        "--seeds", type=command_line.num_list, required=True, help="four seeds, for the corners", metavar="SEEDS"
    )
    between.add_argument(
        "--grid", type=_fixed_grid, default=(8, 8), help="columns and rows (default: 8x8)", metavar="WxH"
    )
    between.add_argument("--space", choices=("w", "z"), default="w", help="where to mix (default: %(default)s)")
    _add_common(between, minibatch_size=4)
    return parser


def _fixed_grid(text: str) -> "tuple[int, int] | str":
    if text == "auto":
        raise argparse.ArgumentTypeError("expected COLUMNSxROWS such as 8x8, got 'auto'")
    return command_line.grid_size(text)


def _add_common(parser: argparse.ArgumentParser, minibatch_size: int) -> None:
    parser.add_argument(
        "--network", required=True, dest="network_pkl", help="name, URL or path of the network pickle", metavar="PKL"
    )
    parser.add_argument(
        "--truncation-psi",
        type=command_line.psi,
        default=0.5,
        help="truncation: 1 is none, 0 the average image (default: %(default)s)",
        metavar="PSI",
    )
    parser.add_argument(
        "--truncation-cutoff",
        type=command_line.natural,
        help="truncate only so many layers (default: as the network was trained)",
        metavar="LAYERS",
    )
    parser.add_argument(
        "--class-idx",
        type=command_line.natural,
        help="class of a conditional network (default: no label)",
        metavar="CLASS",
    )
    parser.add_argument(
        "--minibatch-size",
        type=command_line.positive,
        default=minibatch_size,
        help="images rendered at once (default: %(default)s)",
        metavar="N",
    )
    parser.add_argument(
        "--format",
        type=command_line.image_format,
        default="png",
        dest="image_format",
        help="file format of the images: png, jpg or webp (default: %(default)s)",
        metavar="FORMAT",
    )
    command_line.add_result_dir(parser)
    command_line.add_download_options(parser)


def main() -> None:
    """Parses the command line and submits the run."""
    parser = _parser()
    kwargs = vars(parser.parse_args(command_line.official_spelling(sys.argv[1:])))
    command = kwargs.pop("command")
    if command is None:
        print("Error: missing subcommand.  Re-run with --help for usage.")
        sys.exit(1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names of files may be anything
    submit_config = dnnlib.SubmitConfig()
    submit_config.run_dir_root = kwargs.pop("result_dir")
    submit_config.run_desc = command
    functions = {
        "generate-images": generate_images,
        "style-mixing-example": style_mixing_example,
        "interpolation-grid": interpolation_grid,
    }
    with exits_on_user_error():
        # Before waiting for TensorFlow:
        submit_config.run_dir_root = command_line.check_result_dir(submit_config.run_dir_root)
        pretrained_networks.locate(kwargs["network_pkl"])
        command_line.import_tensorflow_quietly()
        dnnlib.submit_run(submit_config, f"run_generator.{functions[command].__name__}", **kwargs)


if __name__ == "__main__":
    main()
