"""Makes data sets of multi-resolution tfrecords, and looks into them.

Examples:

  # Coloured symbols, to try everything without a download
  python dataset_tool.py create-symbols ~/datasets/symbols --resolution=64
"""

import argparse
import importlib
import sys
from typing import Any

from dnnlib import command_line
from dnnlib.errors import exits_on_user_error


def _parser() -> argparse.ArgumentParser:
    parser = command_line.ArgumentParser(
        description="Makes data sets of multi-resolution tfrecords, and looks into them.",
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(help="what to do", dest="command", metavar="COMMAND")

    create = _command(subparsers, "create-symbols", "symbols.create_symbols", "draw a data set of coloured symbols")
    create.add_argument("tfrecord_dir", help="new data set folder to create", metavar="TFRECORD_DIR")
    create.add_argument(
        "--resolution",
        type=command_line.positive,
        default=64,
        help="width and height, a power of two (default: %(default)s)",
        metavar="SIZE",
    )
    create.add_argument(
        "--num-images",
        type=command_line.positive,
        default=7000,
        help="number of images (default: %(default)s)",
        metavar="N",
    )
    create.add_argument(
        "--random-seed",
        type=command_line.natural,
        default=123,
        help="chooses symbols, colours, positions (default: %(default)s)",
        metavar="SEED",
    )
    create.add_argument("--font", help="TrueType file (default: DejaVu Sans of matplotlib)", metavar="FILE")
    _add_force(create)
    return parser


def _command(subparsers: Any, name: str, function: str, description: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(name, help=description, description=description[:1].upper() + description[1:] + ".")
    parser.set_defaults(function=function)
    return parser


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="replace the data set TFRECORD_DIR if there is one")


def main() -> None:
    """Parses the command line and calls the function of the command, in `dataset_tools`."""
    parser = _parser()
    kwargs = vars(parser.parse_args(command_line.official_spelling(sys.argv[1:])))
    if kwargs.pop("command") is None:
        print("Error: missing subcommand.  Re-run with --help for usage.")
        sys.exit(1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names of files may be anything
    module, name = kwargs.pop("function").split(".")
    with exits_on_user_error():
        getattr(importlib.import_module(f"dataset_tools.{module}"), name)(**kwargs)


if __name__ == "__main__":
    main()
