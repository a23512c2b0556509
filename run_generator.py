"""Generates images with a pretrained network, of seeds and of vectors from files: single, mixed, in a grid, in motion.

Examples:

  # Uncurated images of the paper's FFHQ network, Figure 12
  python run_generator.py generate-images --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --seeds=6600-6625 --truncation-psi=0.5

  # A labelled data set: 1000 images of each class
  python run_generator.py generate-images --network=symbols.pkl --count=1000 --per-class --to=symbols.zip

  # Style mixing, as in Figure 8 of the StyleGAN paper
  python run_generator.py style-mixing-example --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --row-seeds=85,100,75,458,1500 --col-seeds=55,821,1789,293 --truncation-psi=1.0

  # What lies between four images
  python run_generator.py interpolation-grid --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --seeds=85,100,75,458 --grid=8x8

  # Projected images, all mixed with all
  python run_generator.py style-mixing-example --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --row-dlatents=people/ --col-dlatents=people/

  # A page to play with, on this machine
  python run_generator.py view gdrive:networks/stylegan2-ffhq-config-f.pkl --open

  # A video from a seed to a projected image, on to another, and back
  python run_generator.py interpolate --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --seeds=85 --dlatents=people/anna.npz,people/bert.npz --loop --video=mp4
"""

import argparse
import re
from typing import Any, NoReturn

from dnnlib import command_line, flags
from dnnlib.errors import Problems
from generation import directions, kept_frames, points, synthetic
from generation.commands import generate_images, style_mixing_example
from generation.conventions import NOISE_MODES, SEED_NOISE
from generation.figures import PSIS, check_corners, interpolation_grid, noise_figure, truncation_figure
from generation.interpolation import check_interpolation, interpolate
from generation.view.commands import view
from generation.view.options import add_view, check_view
from metrics.nets import catalog

COMMANDS = {
    "generate-images": generate_images,
    "style-mixing-example": style_mixing_example,
    "interpolation-grid": interpolation_grid,
    "interpolate": interpolate,
    "noise-figure": noise_figure,
    "truncation-figure": truncation_figure,
    "view": view,
}
FILES = {"seeds": "--dlatents", "row_seeds": "--row-dlatents", "col_seeds": "--col-dlatents"}
"""The flags that give files to lists of points."""
COUNT: dict[str, Any] = {"type": flags.positive, "metavar": "N"}
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
    """Of --seeds and --dlatents (or --count, --trajectory) one is needed, while both may be given; errors say so."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required"):
            others = "".join(f" or {flag}" for flag in ("--count", "--trajectory") if flag in self.flags())
            message = re.sub(r"--(\w+-)?seeds", rf"--\1seeds or --\1dlatents{others}", message)
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


class _InPlaceOfSeeds(argparse.Action):
    """Stores what is given, with which seeds are not needed. seeds: their action."""

    def __init__(self, *args: Any, seeds: argparse.Action, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.seeds = seeds

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, values)
        self.seeds.required = False


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        description="Generates images with a pretrained network.",
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_version(parser)
    subparsers = parser.add_subparsers(help="what to do", dest="command", metavar="COMMAND")

    generate = subparsers.add_parser("generate-images", help="generate one image per seed or vector")
    seeds_help = "list of random seeds: 1,2,7-9; with --count the first, or none"
    seeds = _add_points(generate, "", seeds_help, "files of vectors, as the projector writes them")
    _add_dlatents_psi(generate)
    grid_help = "save all images in one picture, too; as COLUMNSxROWS or about square"
    generate.add_argument("--grid", type=flags.grid_size, nargs="?", const="auto", help=grid_help, metavar="WxH")
    _add_dataset(generate, seeds)
    batches = "1; with --to what suits the resolution"
    _add_common(generate, batches=batches, noise_modes=(SEED_NOISE, *NOISE_MODES))

    mixing = subparsers.add_parser("style-mixing-example", help="mix the styles of images")
    _add_points(mixing, "row-", "seeds of the rows", "files of vectors for rows")
    _add_points(mixing, "col-", "seeds of the columns", "files of vectors for columns")
    _add_dlatents_psi(mixing)
    styles_help = "layers that are taken from the columns (default: 0-6, as far as the network has them)"
    mixing.add_argument("--col-styles", type=flags.num_list, help=styles_help, metavar="LAYERS")
    labels_help = "save the table with the names of rows and columns, too, as figure.png"
    mixing.add_argument("--labels", default=False, help=labels_help, **flags.BOOLEAN)
    _add_common(mixing)

    between = subparsers.add_parser("interpolation-grid", help="show what lies between four images")
    _add_points(between, "", "four seeds, for the corners", "files of vectors for corners", repeats=True)
    _add_dlatents_psi(between)
    grid_help = "columns and rows (default: 8x8)"
    between.add_argument("--grid", type=_fixed_grid, default=(8, 8), help=grid_help, metavar="WxH")
    space_help = "where to mix: W, or Z, for seeds alone (default: %(default)s)"
    between.add_argument("--space", choices=("w", "z"), default="w", help=space_help)
    _add_common(between)

    walk = subparsers.add_parser("interpolate", help="go from image to image, as frames or video")
    seeds = _add_points(walk, "", "seeds on the way", "files of vectors on the way", repeats=True)
    _add_dlatents_psi(walk)
    add = walk.add_argument
    trajectory_help = "in place of seeds, files of the frames' W: [frames, layers, 512] or [frames, 512]"
    to_seeds = {"action": _InPlaceOfSeeds, "seeds": seeds}
    add("--trajectory", type=flags.split, default=[], help=trajectory_help, metavar="FILES", **to_seeds)
    space_help = "straight lines in W, or great circles in Z, for seeds alone (default: w)"
    add("--space", choices=("w", "z"), help=space_help)
    curve_help = "from one to the next, or as a cubic spline through all (default: linear)"
    add("--curve", choices=("linear", "cubic"), help=curve_help)
    add("--frames", **COUNT, help="frames from one to the next (default: 60)")
    loop_help = "return from the last to the first; noise: noise images go round and come back, too"
    add("--loop", default=False, help=loop_help, **{**flags.BOOLEAN, "type": flags.loop, "metavar": "BOOL|noise"})
    add("--smooth", default=False, help="slow down at each seed and vector", **flags.BOOLEAN)
    sweep_help = "truncation along the way, from the first number to the last"
    add("--psi-sweep", type=flags.psis, default=[], help=sweep_help, metavar="PSI,PSI,...")
    layers_help = "truncation of layers of their own, of seeds and vectors: 0-3:0.5,4-7:1"
    add("--layer-psi", type=flags.layer_psi, default=[], help=layers_help, metavar="LAYERS:PSI,...")
    _add_points(walk, "col-", "seeds of a way for some layers", "files of vectors of that way", True, required=False)
    styles_help = "layers that go that way (default: 0-6, as far as the network has them)"
    add("--col-styles", type=flags.num_list, help=styles_help, metavar="LAYERS")
    mix_help = "how much they do so along the way, from the first number to the last (default: all, 1)"
    add("--mix-sweep", type=flags.psis, default=[], help=mix_help, metavar="SHARE,SHARE,...")
    grid_help = "so many images in a frame, each with as many seeds or vectors in turn"
    add("--grid", type=_fixed_grid, help=grid_help, metavar="WxH")
    size_help = "enlarge frames to this width and height, by repeating pixels: 1920x1080 or 1080p"
    add("--size", type=flags.frame_size, help=size_help, metavar="WxH")
    video_help = "save a video in place of numbered images; mp4 needs: pip install imageio-ffmpeg"
    add("--video", choices=("mp4", "gif", "webp"), help=video_help)
    add("--fps", **COUNT, default=30, help="frames per second of the video (default: %(default)s)")
    _add_common(walk, batches="4; with --grid what suits the resolution")

    noise = subparsers.add_parser("noise-figure", help="show what noise does to images")
    _add_points(noise, "", "seeds of the rows", "files of vectors for rows")
    _add_dlatents_psi(noise)
    add = noise.add_argument
    seeds_help = "seeds of the noise of the columns (default: 0-3)"
    add("--noise-seeds", type=flags.num_list, default=[0, 1, 2, 3], help=seeds_help, metavar="SEEDS")
    samples_help = (
        "images that the standard deviation of each pixel is taken of; 0: leave it out (default: %(default)s)"
    )
    add("--num-samples", type=_samples, default=100, help=samples_help, metavar="N")
    gain_help = "how many times as large as it is the standard deviation is shown (default: 4)"
    add("--std-gain", type=flags.non_negative, default=4.0, help=gain_help, metavar="FACTOR")
    _add_common(noise, noise_modes=())

    truncated = subparsers.add_parser("truncation-figure", help="show images truncated more and more")
    _add_points(truncated, "", "seeds of the rows", "files of vectors for rows")
    psis_help = "truncation of the columns (default: 1,0.7,0.5,0,-0.5,-1)"
    truncated.add_argument("--psis", type=_psis, default=PSIS, help=psis_help, metavar="PSI,...")
    _add_common(truncated, has_psi=False)

    add_view(subparsers.add_parser("view", help="play with networks on a page of this machine"))

    for command in subparsers.choices.values():
        command.accept(OFFICIAL)
    return parser


def _add_points(
    parser: argparse.ArgumentParser,
    prefix: str,
    seeds_help: str,
    files_help: str,
    repeats: bool = False,
    required: bool = True,
) -> argparse.Action:
    """--seeds and --dlatents, or with a prefix --row-seeds and --row-dlatents. Returns the action of seeds."""
    common = {"action": _Points, "repeats": repeats, "default": [], "dest": f"{prefix}seeds".replace("-", "_")}
    add = parser.add_argument
    seeds_help += f" (may be left out with --{prefix}dlatents)" if required else ""
    seeds = add(f"--{prefix}seeds", required=required, type=flags.num_list, help=seeds_help, metavar="SEEDS", **common)
    files_help += ": FILE.npz,FOLDER,'*.npz'"
    add(f"--{prefix}dlatents", seeds=seeds, type=flags.split, help=files_help, metavar="FILES", **common)
    return seeds


def _add_dataset(parser: argparse.ArgumentParser, seeds: argparse.Action) -> None:
    """What makes data sets of images."""
    add = parser.add_argument
    count_help = "make N images, of the seeds 0, 1, 2, ..., or from that of --seeds on"
    add("--count", **COUNT, action=_InPlaceOfSeeds, seeds=seeds, help=count_help)
    to_help = (
        "write a data set in place of single images: a folder or zip file, with labels and seeds in dataset.json; the "
        "same command goes on with one that was interrupted; webp is lossless there"
    )
    add("--to", help=to_help, metavar="FOLDER|FILE.zip")
    class_help = "make --count images of each class, all of other seeds, labelled by their class"
    add("--per-class", default=False, help=class_help, **flags.BOOLEAN)
    add("--force", action="store_true", help="replace a data set that is there")


def _add_dlatents_psi(parser: argparse.ArgumentParser) -> None:
    psi_help = "truncation of vectors from files (default: 1, none)"
    parser.add_argument("--dlatents-psi", type=flags.psi, default=1.0, help=psi_help, metavar="PSI")


def _add_common(
    parser: argparse.ArgumentParser,
    batches: str = "",
    noise_modes: tuple[str, ...] = NOISE_MODES,
    has_psi: bool = True,
) -> None:
    """Options of all commands.

    batches: what --minibatch-size is where it is not given, in words; none: always 4. noise_modes: the choices of
    --noise-mode, which is left out without any.
    """
    add = parser.add_argument
    network_help = "name, URL or path of the network pickle"
    add("--network", required=True, dest="network_pkl", help=network_help, metavar="PKL")
    if has_psi:
        of_datasets = " and with --to" if "--to" in parser.flags() else ""
        psi_help = (
            f"truncation of seeds: 1 is none, 0 the average image (default: 0.5; of PyTorch networks{of_datasets} 1)"
        )
        add("--truncation-psi", type=flags.psi, help=psi_help, metavar="PSI")
    cutoff_help = "truncate only so many layers (default: as the network was trained)"
    add("--truncation-cutoff", type=flags.natural, help=cutoff_help, metavar="LAYERS")
    if noise_modes:
        own, default = "", "const"
        if SEED_NOISE in noise_modes:
            own, default = "noise of each seed, ", "seed; of PyTorch networks const"
        noise_help = f"{own}the network's own, random noise, or none (default: {default})"
        add("--noise-mode", choices=noise_modes, help=noise_help)
    directions.add_directions(parser)
    command_line.add_label(parser)
    batch_help = f"images rendered at once (default: {batches or 4})"
    add("--minibatch-size", **COUNT, default=None if batches else 4, help=batch_help)
    command_line.add_image_format(parser, "the images")
    command_line.add_allow_tf32(parser)
    command_line.add_result_dir(parser)
    command_line.add_download_options(parser)


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


def _check(command: str, kwargs: dict[str, Any], problems: Problems) -> None:
    """Finds files, in place of names of folders and patterns, and gathers everything that is wrong."""
    if command == "view":
        check_view(kwargs, problems)
        return
    with problems.gather():
        catalog.locate_generator(kwargs["network_pkl"])
    if command == "generate-images":
        names = ("seeds", "count", "to", "per_class", "force", "grid")
        chosen_class = kwargs["class_idx"] is not None or kwargs["label"] is not None
        with problems.gather():
            synthetic.check(**{name: kwargs[name] for name in names}, chosen_class=chosen_class)
    if command == "interpolate":
        with problems.gather():
            check_interpolation(**kwargs)
        with problems.gather("--trajectory"):
            kwargs["trajectory"] = points.locate(kwargs["trajectory"])
    if command == "interpolation-grid":
        with problems.gather():
            points.check_space(kwargs["seeds"], kwargs["space"])
        with problems.gather():
            check_corners(kwargs["seeds"], may_be_files=True)
    with problems.gather():
        directions.check(kwargs["directions"])
    for name, flag in FILES.items():
        if name in kwargs:
            with problems.gather(flag):
                kwargs[name] = points.locate(kwargs[name])


def _unfinished(root: str, command: str, kwargs: dict[str, Any]) -> str | None:
    return kept_frames.find_unfinished(root, command, kwargs) if command == "interpolate" else None


def main() -> None:
    """Parses the command line and submits the run."""
    command_line.submit_command(_parser(), "run_generator", COMMANDS, _check, _unfinished)


if __name__ == "__main__":
    main()
