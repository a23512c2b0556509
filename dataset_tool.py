"""Makes data sets of multi-resolution tfrecords, and looks into them.

Examples:

  # Your own images: a folder or zip file; sub-folders become classes
  python dataset_tool.py create-from-images ~/datasets/cats ~/photos/cats --crop=center --resolution=256

  # Photographs as they are, 2:3; sprites with transparency
  python dataset_tool.py create-from-images ~/datasets/portraits ~/photos --crop=center --resolution=768x512
  python dataset_tool.py create-from-images ~/datasets/sprites ~/sprites --convert=rgba

  # Coloured symbols, to try everything without a download
  python dataset_tool.py create-symbols ~/datasets/symbols

  # What is in a data set, and is all of it whole?
  python dataset_tool.py info ~/datasets/cats --verify
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from dataset_tools.arrays import (
    create_cifar10,
    create_cifar100,
    create_from_hdf5,
    create_mnist,
    create_mnistrgb,
    create_svhn,
)
from dataset_tools.convert import KEEP, KINDS, convert
from dataset_tools.images import create_celeba, create_from_image_folders, create_from_images
from dataset_tools.inspection import compare, display, extract, info
from dataset_tools.lsun import create_lsun, create_lsun_wide
from dataset_tools.symbols import create_symbols
from dnnlib import command_line, flags
from dnnlib.errors import exits_on_user_error
from training.data.image_encoding import ENCODINGS, QUALITY
from training.data.tfrecord_export import TFRecordExporter, check_target

# Sub-commands that only take a folder: function, what it does, name and meaning of the folder.
_FROM_FOLDER = (
    (create_mnist, "MNIST", "MNIST_DIR", "folder of train-images-idx3-ubyte.gz"),
    (create_mnistrgb, "MNIST-RGB", "MNIST_DIR", "folder of train-images-idx3-ubyte.gz"),
    (create_cifar10, "CIFAR-10", "CIFAR10_DIR", "folder of data_batch_1 to data_batch_5"),
    (create_cifar100, "CIFAR-100", "CIFAR100_DIR", "folder of train"),
    (create_svhn, "SVHN", "SVHN_DIR", "folder of train_32x32.mat (or train_1.pkl to train_3.pkl)"),
    (create_lsun, "a category of LSUN", "LMDB_DIR", "folder of data.mdb"),
    (create_lsun_wide, "LSUN in 4:3 with bars", "LMDB_DIR", "folder of data.mdb"),
    (create_celeba, "CelebA", "CELEBA_DIR", "folder of img_align_celeba_png"),
)


def _parser() -> argparse.ArgumentParser:
    parser = flags.ArgumentParser(
        description="Makes data sets of multi-resolution tfrecords, and looks into them.",
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_version(parser)
    subparsers = parser.add_subparsers(help="what to do", dest="command", metavar="COMMAND")
    _add_looking(subparsers)
    for function, what, folder, meaning in _FROM_FOLDER:
        _add_creation(subparsers, function, f"create a data set from {what}", {folder: meaning})
    _add_options_of_folders(subparsers.choices)
    _add_images(subparsers)
    file = {"HDF5_FILENAME": "HDF5 file of arrays data... [N, C, H, W]"}
    command = _add_creation(subparsers, create_from_hdf5, "create a data set from HDF5", file)
    _add_shuffle(command)
    _add_symbols(subparsers)
    return parser


def _add_looking(subparsers: Any) -> None:
    data_set = {"TFRECORD_DIR": "data set"}
    command = _add_command(subparsers, display, "show the images of a data set", data_set)
    command.add_argument("--sheet", help="write the first images as one picture instead (PNG)", metavar="FILE")

    folders = {**data_set, "OUTPUT_DIR": "folder for img00000000.png and so on"}
    _add_command(subparsers, extract, "write the images of a data set as PNG files", folders)

    folders = {"TFRECORD_DIR_A": "data set", "TFRECORD_DIR_B": "data set to compare it with"}
    command = _add_command(subparsers, compare, "say which images of two data sets differ", folders)
    _add_ignore_labels(command, "1 to compare images only")

    _add_convert(subparsers)
    command = _add_command(subparsers, info, "say what is in a data set: sizes, labels, files", data_set)
    command.add_argument("--verify", action="store_true", help="check the checksums of all images, not of a sample")


def _add_convert(subparsers: Any) -> None:
    command = _add_command(
        subparsers,
        convert,
        "convert a data set into one of another kind",
        {"SOURCE": "any data set", "DEST": "data set to create; the name of a zip file ends in .zip"},
        "Pixels, labels and names stay as they are, and so does the order. Zip files and folders get a dataset.json, "
        "as StyleGAN2-ADA reads them.",
    )
    _add_force(command)
    command.add_argument(
        "--to",
        choices=KINDS,
        help="what to create (default: zip for a name that ends in .zip, else folder from tfrecords, tfrecords from "
        "all others)",
    )
    _add_encoding(
        command,
        [*ENCODINGS, KEEP],
        None,
        "how images are stored; 'keep' leaves image files as they are, and makes PNG of pixels (default: raw for "
        "tfrecords, else keep)",
    )
    command_line.add_reading_options(command, default="upright")


def _add_options_of_folders(commands: dict[str, argparse.ArgumentParser]) -> None:
    _add_ignore_labels(commands["create-cifar10"], "1 to write no labels")
    _add_count(commands["create-mnistrgb"], "--num-images", 1000000, "number of images")
    _add_seed(commands["create-mnistrgb"], "chooses the digits")
    _add_size(commands["create-lsun"], "--resolution", 256, "what to cut out and resize to, such as 256 or 384x512")
    _add_count(commands["create-lsun-wide"], "--width", 512, "width of the pictures, and height with the bars")
    _add_count(commands["create-lsun-wide"], "--height", 384, "height of the pictures")
    commands["create-lsun-wide"].add_argument(
        "--no-bars", dest="bars", action="store_false", help="write the pictures alone, not squares with black bars"
    )
    for name in ("create-lsun", "create-lsun-wide"):
        _add_count(commands[name], "--max-images", None, "stop after so many images")
    _add_count(commands["create-celeba"], "--cx", 89, "horizontal middle of the crop, in pixels")
    _add_count(commands["create-celeba"], "--cy", 121, "vertical middle of the crop, in pixels")
    _add_size(commands["create-celeba"], "--crop", 128, "size of the crop, such as 128 or 192x160")


def _add_images(subparsers: Any) -> None:
    command = _add_creation(
        subparsers,
        create_from_images,
        "create a data set from a folder or zip file of images",
        {"IMAGE_DIR": "folder or zip file of images, or a quoted pattern ('photos/*.png'): images without labels"},
        "Sub-folders are classes and become labels. Images are RGB, RGBA or grayscale, all of one size: a small base, "
        "such as 4x4 or 5x3, times a power of two; options can make them so. All of them are checked before anything "
        "is written. Sizes are numbers for squares, else HEIGHTxWIDTH.",
    )
    _add_shuffle(command)
    command.add_argument(
        "--crop",
        type=_crop,
        default="none",
        help="'center' cuts out the largest part in the middle that is square, or of the proportions of --resolution "
        "or --base; a size cuts out so many pixels in the middle (default: %(default)s)",
        metavar="{center,none,SIZE}",
    )
    _add_size(command, "--resolution", None, "resize to this size, such as 256 or 640x384, without squashing")
    _add_size(command, "--base", None, "take sizes that are a power of two times this one only, such as 5x3")
    command.add_argument(
        "--resize",
        choices=("box", "lanczos", "bicubic"),
        help="filter of --resolution (default: lanczos)",
    )
    command.add_argument(
        "--convert",
        choices=("rgb", "rgba", "gray", "none"),
        default="none",
        help="convert palettes, transparency, CMYK, 16 bits and mixed colours (default: %(default)s)",
    )
    command_line.add_reading_options(command, default="upright")
    _add_ignore_labels(command, "1 to write no labels, also of sub-folders")
    _add_encoding(
        command,
        ENCODINGS,
        "raw",
        "how images are stored: 'raw' as officially; others as image files, of a third of the size or less, which all "
        "of this project reads; all but jpeg keep every pixel",
    )


def _add_symbols(subparsers: Any) -> None:
    command = _add_creation(
        subparsers,
        create_symbols,
        "draw a data set of coloured symbols",
        {},
        "Symbols of a font in random colours, labelled by family. The same arguments give the same images.",
    )
    _add_size(command, "--resolution", 64, "size such as 64 or 96x64, height and width from 8 to 1024")
    command.add_argument("--transparent", action="store_true", help="draw them on transparency, as RGBA")
    _add_count(command, "--num-images", 7000, "number of images")
    _add_seed(command, "chooses symbols, colours and places")
    command.add_argument("--font", help="TrueType font (default: DejaVu Sans of matplotlib)", metavar="FILE")


# ----------------------------------------------------------------------------


def _add_command(
    subparsers: Any, function: Callable[..., None], description: str, folders: dict[str, str], more: str = ""
) -> flags.ArgumentParser:
    """A sub-command of the name of its function. folders: names of the arguments without flags, and their meanings."""
    sentence = description[0].upper() + description[1:] + "."
    name = function.__name__.replace("_", "-")
    parser = subparsers.add_parser(name, help=description, description=f"{sentence} {more}".strip())
    parser.set_defaults(function=function)
    for argument, meaning in folders.items():
        parser.add_argument(argument.lower(), help=meaning, metavar=argument)
    return parser


def _add_creation(
    subparsers: Any, function: Callable[..., None], description: str, folders: dict[str, str], more: str = ""
) -> flags.ArgumentParser:
    folders = {"TFRECORD_DIR": "folder to create; its last part names the data set", **folders}
    parser = _add_command(subparsers, function, description, folders, more)
    _add_force(parser)
    return parser


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace the data set that is there, once the new one is complete (default: refuse)",
    )


def _add_count(parser: argparse.ArgumentParser, name: str, default: int | None, meaning: str) -> None:
    shown = "" if default is None else " (default: %(default)s)"
    parser.add_argument(name, type=flags.positive, default=default, help=meaning + shown, metavar="N")


def _add_size(parser: argparse.ArgumentParser, name: str, default: int | None, meaning: str) -> None:
    shown = "" if default is None else " (default: %(default)s)"
    parser.add_argument(name, type=flags.image_size, default=default, help=meaning + shown, metavar="SIZE")


def _crop(text: str) -> "str | int | list[int]":
    if text in ("center", "none"):
        return text
    try:
        return flags.image_size(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected center, none or a size such as 640x384, got {text!r:.60}") from None


def _add_seed(parser: argparse.ArgumentParser, meaning: str) -> None:
    shown = f"{meaning} (default: %(default)s)"
    parser.add_argument("--random-seed", type=flags.natural, default=123, help=shown, metavar="SEED")


def _add_encoding(parser: argparse.ArgumentParser, choices: Sequence[str], default: str | None, meaning: str) -> None:
    shown = "" if default is None else " (default: %(default)s)"
    parser.add_argument("--encoding", choices=choices, default=default, help=meaning + shown)
    parser.add_argument(
        "--quality", type=flags.positive, help=f"of --encoding=jpeg, 1 to 100 (default: {QUALITY})", metavar="N"
    )


def _add_ignore_labels(parser: argparse.ArgumentParser, meaning: str) -> None:
    shown = f"{meaning} (default: %(default)s)"
    parser.add_argument("--ignore-labels", type=int, choices=(0, 1), nargs="?", const=1, default=0, help=shown)


def _add_shuffle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shuffle", type=int, choices=(0, 1), default=1, help="1 to shuffle the images (default: %(default)s)"
    )


def main() -> None:
    """Runs the command line of this process."""
    execute_cmdline(sys.argv)


def execute_cmdline(argv: list[str]) -> None:
    """Parses a command line, of which the first part is the script, and calls the function of its command."""
    parser = _parser()
    with exits_on_user_error():
        kwargs = vars(parser.parse_args(flags.official_spelling(argv[1:])))
        if kwargs.pop("command") is None:
            print("Error: missing subcommand.  Re-run with --help for usage.")
            sys.exit(1)
        function = kwargs.pop("function")
        if "force" in kwargs and "tfrecord_dir" in kwargs:  # a command that makes a data set: before it reads anything
            check_target(kwargs["tfrecord_dir"], kwargs["force"])
        function(**kwargs)


if __name__ == "__main__":
    main()
