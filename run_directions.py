"""Finds directions along which images of a network change in one respect, and shows them.

Examples:

  # What changes the styles of the fine layers the most: closed-form factorization
  python run_directions.py sefa demo/symbols-32x32.pkl --layers=4-7

  # Principal components of a million W
  python run_directions.py pca gdrive:networks/stylegan2-ffhq-config-f.pkl

  # From labels: a table of seeds and scores
  python run_directions.py labels gdrive:networks/stylegan2-ffhq-config-f.pkl --labels=smiles.csv

  # What directions of a file do, and videos of them
  python run_directions.py show gdrive:networks/stylegan2-ffhq-config-f.pkl age.npy smile.npy --video=mp4

  # Images moved along them
  python run_generator.py generate-images --network=demo/symbols-32x32.pkl --seeds=1-8 \\
    --direction=results/00000-sefa/sefa.npz:0=2
"""

import argparse
from typing import Any

from directions import scores
from directions.commands import COMMANDS, STRENGTHS
from dnnlib import command_line, flags
from dnnlib.errors import Problems
from generation import direction_files
from generation.video import WRITERS
from metrics.nets import catalog

COUNT: dict[str, Any] = {"type": flags.positive, "metavar": "N"}


def _parser() -> argparse.ArgumentParser:
    parser = flags.ArgumentParser(
        description=__doc__.split("\n", 1)[0],
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_version(parser)
    subparsers = parser.add_subparsers(help="what to do", dest="command", metavar="COMMAND")

    sefa = subparsers.add_parser("sefa", help="what changes styles the most: closed-form factorization")
    _add_network(sefa)
    _add_finder(sefa, "layers whose style matrices are factorized, and which move", 20_000)

    pca = subparsers.add_parser("pca", help="principal components of W, or of styles")
    _add_network(pca)
    _add_finder(pca, "layers that directions move, and with --space=s whose styles are analysed", 1_000_000)

    labels = subparsers.add_parser("labels", help="from labelled samples: linear and logistic fits")
    _add_network(labels)
    add = labels.add_argument
    labels_help = (
        "CSV with a line of names first, of which one is seed (or file, of vectors), and the others are scores: "
        "numbers, 0 and 1, or classes (default: the classes of the network itself)"
    )
    add("--labels", dest="labels_file", help=labels_help, metavar="FILE.csv")
    add("--columns", type=flags.names, help="columns to fit (default: all)", metavar="NAMES")
    fit_help = "how columns of numbers are fitted (default: linear; of 0 and 1 alone logistic)"
    along_help = (
        "directions: the normal of the fit, which changes little else; or from the mean of low scores to that of "
        "high ones, which stays where such images are (default: the mean of classes that no plane tells well)"
    )
    add("--along", choices=("auto", "normal", "mean"), default="auto", help=along_help)
    add("--fit", choices=("auto", "linear", "logistic"), default="auto", help=fit_help)
    _add_finder(labels, "layers that directions move", 20_000, False)

    show = subparsers.add_parser("show", help="draw a sheet of the directions of files, or make videos of them")
    _add_network(show)
    add = show.add_argument
    add("files", nargs="+", help="files of directions: .npz, .npy or .pt", metavar="FILE")
    video_help = "make a video of each direction, there and back, too; mp4 needs: pip install imageio-ffmpeg"
    add("--video", choices=tuple(WRITERS), help=video_help)
    add("--frames", **COUNT, default=120, help="frames of each video (default: %(default)s)")
    add("--fps", **COUNT, default=30, help="frames per second of videos (default: %(default)s)")
    _add_sheet(show)
    for command in subparsers.choices.values():
        command.accept({"--trunc": "--truncation-psi", "--class": "--class-idx", "--outdir": "--result-dir"})
    return parser


def _add_network(parser: Any) -> None:
    parser.add_argument("network_pkl", help="name, URL or path of the network pickle", metavar="NETWORK")


def _add_finder(parser: Any, layers_help: str, num_samples: int, has_num: bool = True) -> None:
    """What finders have in common."""
    add = parser.add_argument
    add("--layers", type=flags.num_list, help=f"{layers_help} (default: all)", metavar="LAYERS")
    space_help = "where to look: W, or style space (default: %(default)s)"
    add("--space", choices=("w", "s"), default="w", help=space_help)
    if has_num:
        add("--num", **COUNT, default=20, help="how many directions, the strongest first (default: %(default)s)")
    samples_help = "random W to measure spreads on (default: %(default)s)"
    add("--num-samples", type=_samples, default=num_samples, help=samples_help, metavar="N")
    add("--seed", type=flags.seed, default=0, help="of these W (default: %(default)s)")
    _add_sheet(parser)


def _add_sheet(parser: Any) -> None:
    """The sheet, and options of all commands."""
    add = parser.add_argument
    shown_help = "directions on the sheet, the first of them; 0: no sheet (default: %(default)s)"
    add("--shown", type=flags.natural, default=8, help=shown_help, metavar="N")
    add("--seeds", type=flags.num_list, default=[0], help="seeds on the sheet (default: 0)", metavar="SEEDS")
    strengths_help = "strengths on the sheet, the largest also of videos (default: -3,-2,-1,0,1,2,3)"
    add("--strengths", type=_strengths, default=STRENGTHS, help=strengths_help, metavar="NUMBERS")
    psi_help = "truncation of the sheet's seeds (default: 0.5; of PyTorch networks 1)"
    add("--truncation-psi", type=flags.psi, help=psi_help, metavar="PSI")
    command_line.add_label(parser)
    add("--minibatch-size", **COUNT, default=4, help="images rendered at once (default: %(default)s)")
    command_line.add_image_format(parser, "the sheet")
    command_line.add_allow_tf32(parser)
    command_line.add_result_dir(parser)
    command_line.add_download_options(parser)


def _samples(text: str) -> int:
    number = flags.positive(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"a standard deviation takes 2 samples or more, got {number}")
    return number


def _strengths(text: str) -> list[float]:
    return [flags.number(part.strip(), "from -1e6 to 1e6", -1e6, 1e6) for part in text.split(",")]


def _check(command: str, kwargs: dict[str, Any], problems: Problems) -> None:
    """Finds files, and gathers everything that is wrong."""
    with problems.gather():
        catalog.locate_generator(kwargs["network_pkl"])
    if kwargs.get("labels_file") is not None:
        with problems.gather("--labels"):
            scores.targets(scores.read(kwargs["labels_file"]), kwargs["columns"], kwargs["fit"])
    elif kwargs.get("columns") is not None:
        problems.messages.append("--columns are of a table; --labels=FILE.csv is missing")
    for file in kwargs.get("files", ()):
        with problems.gather():
            direction_files.read(file)
    if command == "show":
        if kwargs["shown"] == 0:
            problems.messages.append("--shown=0: expected 1 or more directions to show")
        if kwargs["video"]:
            with problems.gather(f"--video={kwargs['video']}"):
                WRITERS[kwargs["video"]].check(kwargs["fps"])


def main() -> None:
    """Parses the command line and submits the run."""
    command_line.submit_command(_parser(), "directions.commands", COMMANDS, _check)


if __name__ == "__main__":
    main()
