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
from collections.abc import Callable
from typing import Any, NoReturn

import dnnlib
import pretrained_networks
from dnnlib import command_line
from dnnlib.errors import Problems
from training import file_names, latent_points
from training.generator_runs import (
    check_interpolation,
    generate_images,
    interpolate,
    interpolation_grid,
    style_mixing_example,
)

COMMANDS = {
    "generate-images": generate_images,
    "style-mixing-example": style_mixing_example,
    "interpolation-grid": interpolation_grid,
    "interpolate": interpolate,
}
FILES = {"seeds": "--dlatents", "row_seeds": "--row-dlatents", "col_seeds": "--col-dlatents"}
"""The flags that give files to lists of points."""


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
        type=command_line.grid_size,
        nargs="?",
        const="auto",
        help="save all images in one picture, too; as COLUMNSxROWS or about square",
        metavar="WxH",
    )
    _add_common(generate, minibatch_size=1)

    mixing = subparsers.add_parser("style-mixing-example", help="mix the styles of images")
    _add_points(mixing, "row-", "seeds of the rows", "files of vectors for rows")
    _add_points(mixing, "col-", "seeds of the columns", "files of vectors for columns")
    _add_dlatents_psi(mixing)
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
        type=command_line.positive,
        default=60,
        help="frames from one to the next (default: %(default)s)",
        metavar="N",
    )
    walk.add_argument("--loop", default=False, help="return from the last to the first", **command_line.BOOLEAN)
    walk.add_argument("--smooth", default=False, help="slow down at each seed and vector", **command_line.BOOLEAN)
    walk.add_argument(
        "--video",
        choices=("mp4", "gif"),
        help="save a video in place of numbered images; mp4 needs: pip install imageio-ffmpeg",
    )
    walk.add_argument(
        "--fps",
        type=command_line.positive,
        default=30,
        help="frames per second of the video (default: %(default)s)",
        metavar="N",
    )
    _add_common(walk, minibatch_size=4)
    return parser


class _Parser(command_line.ArgumentParser):
    """Knows pairs of arguments of which one is needed, while both may be given; usage and errors say so."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pairs: list[Any] = []

    def add_pair(self) -> Any:
        """What takes the two arguments. argparse shows them as it shows arguments that exclude each other."""
        self.pairs.append(self.add_mutually_exclusive_group(required=True))
        self._mutually_exclusive_groups.remove(self.pairs[-1])
        return self.pairs[-1]

    def format_usage(self) -> str:
        return self._with_pairs(super().format_usage)

    def format_help(self) -> str:
        return self._with_pairs(super().format_help)

    def _with_pairs(self, format_: Callable[[], str]) -> str:
        others = self._mutually_exclusive_groups
        self._mutually_exclusive_groups = [*others, *self.pairs]
        try:
            return format_()
        finally:
            self._mutually_exclusive_groups = others

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required"):
            for pair in self.pairs:
                first, second = (action.option_strings[0] for action in pair._group_actions)
                message = message.replace(first, f"{first} or {second}")
        super().error(message)


class _Points(argparse.Action):
    """Adds seeds, or files of vectors, to one list in the order of the command line.

    repeats: a flag that is given again adds to what it gave before, in place of replacing it.
    """

    def __init__(self, *args: Any, repeats: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.repeats = repeats

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        before = getattr(namespace, self.dest) or []
        if not self.repeats:
            before = [point for point in before if type(point) is not type(values[0])]
        setattr(namespace, self.dest, [*before, *values])
        for action in parser._actions:  # one of the two flags is enough
            if action.dest == self.dest:
                action.required = False


def _add_points(parser: _Parser, prefix: str, seeds_help: str, files_help: str, repeats: bool = False) -> None:
    """--seeds and --dlatents, or with a prefix --row-seeds and --row-dlatents."""
    common = {"action": _Points, "repeats": repeats, "dest": f"{prefix}seeds".replace("-", "_")}
    seeds_help += f" (may be left out with --{prefix}dlatents)"
    files_help += ": FILE.npz,FOLDER,'*.npz'"
    pair = parser.add_pair()
    seeds = pair.add_argument(
        f"--{prefix}seeds", type=command_line.num_list, help=seeds_help, metavar="SEEDS", **common
    )
    seeds.required = True  # until files are given
    pair.add_argument(f"--{prefix}dlatents", type=file_names.split, help=files_help, metavar="FILES", **common)


def _add_dlatents_psi(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dlatents-psi",
        type=command_line.psi,
        default=1.0,
        help="truncation of vectors from files (default: 1, none)",
        metavar="PSI",
    )


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
        help="truncation of seeds: 1 is none, 0 the average image (default: %(default)s)",
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
    command_line.submit_command(_parser(), "run_generator", COMMANDS, _checked)


def _checked(kwargs: dict[str, Any], submit_config: dnnlib.SubmitConfig) -> dict[str, Any]:
    """The arguments of a command, with folders and patterns of files resolved. Raises UserError with all problems."""
    problems = Problems()
    with problems.gather():
        submit_config.run_dir_root = command_line.check_result_dir(submit_config.run_dir_root)
    with problems.gather():
        pretrained_networks.locate_generator(kwargs["network_pkl"])
    if submit_config.run_desc == "interpolate":
        with problems.gather():
            check_interpolation(kwargs["seeds"], kwargs["space"], kwargs["video"], kwargs["fps"])
    for name, flag in FILES.items():
        with problems.gather(flag):
            if name in kwargs:
                kwargs[name] = latent_points.locate(kwargs[name])
    problems.report()
    return kwargs


if __name__ == "__main__":
    main()
