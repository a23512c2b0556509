"""Generates images with a pretrained network, of seeds and of vectors from files: single, mixed, in a grid, in motion.

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

  # Projected images, all mixed with all
  python run_generator.py style-mixing-example --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --row-dlatents=people/ --col-dlatents=people/

  # A video from a seed to a projected image, on to another, and back
  python run_generator.py interpolate --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --seeds=85 --dlatents=people/anna.npz,people/bert.npz --loop --video=mp4
"""

import argparse
import re
from typing import Any, NoReturn

import dnnlib
from dnnlib import command_line, flags
from dnnlib.errors import Problems
from generation import points
from generation.commands import check_interpolation, check_space, generate_images, interpolate, style_mixing_example
from generation.conventions import NOISE_MODES, SEED_NOISE
from generation.figures import PSIS, check_corners, interpolation_grid, noise_figure, truncation_figure
from metrics.nets import catalog

COMMANDS = {
    "generate-images": generate_images,
    "style-mixing-example": style_mixing_example,
    "interpolation-grid": interpolation_grid,
    "interpolate": interpolate,
    "noise-figure": noise_figure,
    "truncation-figure": truncation_figure,
}
FILES = {"seeds": "--dlatents", "row_seeds": "--row-dlatents", "col_seeds": "--col-dlatents"}
"""The flags that give files to lists of points."""
OFFICIAL = {
    "--trunc": "--truncation-psi",
    "--class": "--class-idx",
    "--outdir": "--result-dir",
    "--projected-w": "--dlatents",
    "--rows": "--row-seeds",
    "--cols": "--col-seeds",
    "--styles": "--col-styles",
}
"""Flags of the scripts of StyleGAN2-ADA, and what they are called here."""


class _Parser(flags.ArgumentParser):
    """Of --seeds and --dlatents one is needed, while both may be given; errors say so."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required"):
            message = re.sub(r"--(\w+-)?seeds", r"--\1seeds or --\1dlatents", message)
        super().error(message)


class _Points(argparse.Action):
    """Adds seeds, or files of vectors, to one list in the order of the command line.

    repeats: a flag that is given again adds to what it gave before, in place of replacing it. seeds: of files, the
    action of seeds, which are needed until there are files.
    """

    def __init__(self, *args: Any, repeats: bool, seeds: argparse.Action | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.repeats = repeats
        self.seeds = seeds

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        before = getattr(namespace, self.dest) or []
        if not self.repeats:
            before = [point for point in before if type(point) is not type(values[0])]
        setattr(namespace, self.dest, [*before, *values])
        if self.seeds:
            self.seeds.required = False


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        description="Generates images with a pretrained network.",
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(help="what to do", dest="command", metavar="COMMAND")

    generate = subparsers.add_parser("generate-images", help="generate one image per seed or vector")
    _add_points(generate, "", "list of random seeds: 1,2,7-9", "files of vectors, as the projector writes them")
    _add_dlatents_psi(generate)
    generate.add_argument(
        "--grid",
        type=flags.grid_size,
        nargs="?",
        const="auto",
        help="save all images in one picture, too; as COLUMNSxROWS or about square",
        metavar="WxH",
    )
    _add_common(generate, minibatch_size=1, noise_modes=(SEED_NOISE, *NOISE_MODES))

    mixing = subparsers.add_parser("style-mixing-example", help="mix the styles of images")
    _add_points(mixing, "row-", "seeds of the rows", "files of vectors for rows")
    _add_points(mixing, "col-", "seeds of the columns", "files of vectors for columns")
    _add_dlatents_psi(mixing)
    mixing.add_argument(
        "--col-styles",
        type=flags.num_list,
        help="layers that are taken from the columns (default: 0-6, as far as the network has them)",
        metavar="LAYERS",
    )
    labels_help = "save the table with the names of rows and columns, too, as figure.png"
    mixing.add_argument("--labels", default=False, help=labels_help, **flags.BOOLEAN)
    _add_common(mixing, minibatch_size=4)

    between = subparsers.add_parser("interpolation-grid", help="show what lies between four images")
    _add_points(between, "", "four seeds, for the corners", "files of vectors for corners", repeats=True)
    _add_dlatents_psi(between)
    between.add_argument(
        "--grid", type=_fixed_grid, default=(8, 8), help="columns and rows (default: 8x8)", metavar="WxH"
    )
    space_help = "where to mix: W, or Z, for seeds alone (default: %(default)s)"
    between.add_argument("--space", choices=("w", "z"), default="w", help=space_help)
    _add_common(between, minibatch_size=4)

    walk = subparsers.add_parser("interpolate", help="go from image to image, as frames or video")
    _add_points(walk, "", "seeds on the way", "files of vectors on the way", repeats=True)
    _add_dlatents_psi(walk)
    walk.add_argument(
        "--space",
        choices=("w", "z"),
        default="w",
        help="straight lines in W, or great circles in Z, for seeds alone (default: %(default)s)",
    )
    walk.add_argument(
        "--frames",
        type=flags.positive,
        default=60,
        help="frames from one to the next (default: %(default)s)",
        metavar="N",
    )
    walk.add_argument("--loop", default=False, help="return from the last to the first", **flags.BOOLEAN)
    walk.add_argument("--smooth", default=False, help="slow down at each seed and vector", **flags.BOOLEAN)
    walk.add_argument(
        "--video",
        choices=("mp4", "gif"),
        help="save a video in place of numbered images; mp4 needs: pip install imageio-ffmpeg",
    )
    walk.add_argument(
        "--fps",
        type=flags.positive,
        default=30,
        help="frames per second of the video (default: %(default)s)",
        metavar="N",
    )
    _add_common(walk, minibatch_size=4)

    noise = subparsers.add_parser("noise-figure", help="show what noise does to images")
    _add_points(noise, "", "seeds of the rows", "files of vectors for rows")
    _add_dlatents_psi(noise)
    noise.add_argument(
        "--noise-seeds",
        type=flags.num_list,
        default=[0, 1, 2, 3],
        help="seeds of the noise of the columns (default: 0-3)",
        metavar="SEEDS",
    )
    noise.add_argument(
        "--num-samples",
        type=_samples,
        default=100,
        help="images that the standard deviation of each pixel is taken of; 0: leave it out (default: %(default)s)",
        metavar="N",
    )
    noise.add_argument(
        "--std-gain",
        type=flags.non_negative,
        default=4.0,
        help="how many times as large as it is the standard deviation is shown (default: 4)",
        metavar="FACTOR",
    )
    _add_common(noise, minibatch_size=4, noise_modes=())

    truncated = subparsers.add_parser("truncation-figure", help="show images truncated more and more")
    _add_points(truncated, "", "seeds of the rows", "files of vectors for rows")
    truncated.add_argument(
        "--psis",
        type=_psis,
        default=PSIS,
        help="truncation of the columns (default: 1,0.7,0.5,0,-0.5,-1)",
        metavar="PSI,...",
    )
    _add_common(truncated, minibatch_size=4, has_psi=False)

    for command in subparsers.choices.values():
        command.accept(OFFICIAL)
    return parser


def _add_points(
    parser: argparse.ArgumentParser, prefix: str, seeds_help: str, files_help: str, repeats: bool = False
) -> None:
    """--seeds and --dlatents, or with a prefix --row-seeds and --row-dlatents."""
    common = {"action": _Points, "repeats": repeats, "dest": f"{prefix}seeds".replace("-", "_")}
    seeds_help += f" (may be left out with --{prefix}dlatents)"
    files_help += ": FILE.npz,FOLDER,'*.npz'"
    kind = flags.num_list
    seeds = parser.add_argument(
        f"--{prefix}seeds", required=True, type=kind, help=seeds_help, metavar="SEEDS", **common
    )
    parser.add_argument(
        f"--{prefix}dlatents", seeds=seeds, type=flags.split, help=files_help, metavar="FILES", **common
    )


def _add_dlatents_psi(parser: argparse.ArgumentParser) -> None:
    psi_help = "truncation of vectors from files (default: 1, none)"
    parser.add_argument("--dlatents-psi", type=flags.psi, default=1.0, help=psi_help, metavar="PSI")


def _fixed_grid(text: str) -> "tuple[int, int] | str":
    if text == "auto":
        raise argparse.ArgumentTypeError("expected COLUMNSxROWS such as 8x8, got 'auto'")
    return flags.grid_size(text)


def _samples(text: str) -> int:
    number = flags.natural(text)
    if number == 1:
        raise argparse.ArgumentTypeError("a standard deviation takes 2 images or more; 0 leaves it out; got 1")
    return number


def _psis(text: str) -> list[float]:
    psis = [flags.psi(part.strip()) for part in text.split(",")]
    if len(set(psis)) < len(psis):
        raise argparse.ArgumentTypeError(f"expected different numbers, got {text!r}")
    return psis


def _add_common(
    parser: argparse.ArgumentParser,
    minibatch_size: int,
    noise_modes: tuple[str, ...] = NOISE_MODES,
    has_psi: bool = True,
) -> None:
    """noise_modes: the choices of --noise-mode, which is left out without any."""
    parser.add_argument(
        "--network", required=True, dest="network_pkl", help="name, URL or path of the network pickle", metavar="PKL"
    )
    if has_psi:
        parser.add_argument(
            "--truncation-psi",
            type=flags.psi,
            help="truncation of seeds: 1 is none, 0 the average image (default: 0.5; of PyTorch networks 1)",
            metavar="PSI",
        )
    parser.add_argument(
        "--truncation-cutoff",
        type=flags.natural,
        help="truncate only so many layers (default: as the network was trained)",
        metavar="LAYERS",
    )
    if noise_modes:
        default = "seed; of PyTorch networks const" if SEED_NOISE in noise_modes else "const"
        own = "noise of each seed, " if SEED_NOISE in noise_modes else ""
        parser.add_argument(
            "--noise-mode",
            choices=noise_modes,
            help=f"{own}the network's own, random noise, or none (default: {default})",
        )
    parser.add_argument(
        "--class-idx",
        type=flags.class_idx,
        help="class of a conditional network; PyTorch networks need it (default: no label)",
        metavar="CLASS",
    )
    parser.add_argument(
        "--minibatch-size",
        type=flags.positive,
        default=minibatch_size,
        help="images rendered at once (default: %(default)s)",
        metavar="N",
    )
    parser.add_argument(
        "--format",
        type=flags.image_format,
        default="png",
        dest="image_format",
        help="file format of the images: png, jpg or webp (default: %(default)s)",
        metavar="FORMAT",
    )
    command_line.add_result_dir(parser)
    command_line.add_download_options(parser)


def main() -> None:
    """Parses the command line and submits the run."""
    command_line.submit_command(_parser(), "run_generator", COMMANDS, _checked)


def _checked(kwargs: dict[str, Any], submit_config: dnnlib.SubmitConfig) -> dict[str, Any]:
    """The arguments of a command, with folders and patterns of files resolved. Raises UserError with all problems."""
    problems = Problems()
    with problems.gather():
        submit_config.run_dir_root = command_line.check_result_dir(submit_config.run_dir_root)
    with problems.gather():
        catalog.locate_generator(kwargs["network_pkl"])
    if submit_config.run_desc == "interpolate":
        with problems.gather():
            check_interpolation(kwargs["seeds"], kwargs["space"], kwargs["video"], kwargs["fps"])
    if submit_config.run_desc == "interpolation-grid":
        with problems.gather():
            check_space(kwargs["seeds"], kwargs["space"])
        with problems.gather():
            check_corners(kwargs["seeds"], may_be_files=True)
    for name, flag in FILES.items():
        with problems.gather(flag):
            if name in kwargs:
                kwargs[name] = points.locate(kwargs[name])
    problems.report()
    return kwargs


if __name__ == "__main__":
    main()
