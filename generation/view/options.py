"""The command line of `run_generator.py view`."""

import argparse
from typing import Any

from dnnlib import command_line, flags
from dnnlib.errors import Problems
from metrics.nets import catalog

from .. import points
from . import server


def add_view(parser: Any) -> None:
    """The arguments of `commands.view`."""
    add = parser.add_argument
    add("networks", nargs="+", help="names, URLs or paths of network pickles", metavar="NETWORK")
    files_help = "files of vectors to show and to mix with: FILE.npz,FOLDER,'*.npz'"
    add("--dlatents", type=flags.split, action="extend", default=[], help=files_help, metavar="FILES")
    directions_help = "files of directions, which become sliders: FILE.npz,FOLDER,'*.npz'"
    add("--directions", type=flags.split, action="extend", default=[], help=directions_help, metavar="FILES")
    state_help = "the picture that the page begins with, as its address has it after the #, such as 'seed=85&psi=0.7'"
    add("--state", default="", help=state_help, metavar="TEXT")
    add("--save", action="store_true", help="save this picture, and serve no page")
    host_help = (
        "address to listen at (default: %(default)s, which only this machine reaches; 0.0.0.0: the whole network can)"
    )
    add("--host", default="localhost", help=host_help)
    add("--port", type=_port, default=8000, help="port to listen at; 0: one that is free (default: %(default)s)")
    add("--open", action="store_true", dest="open_browser", help="open the page in a browser of this machine")
    command_line.add_image_format(parser, "--save")
    command_line.add_allow_tf32(parser)
    command_line.add_result_dir(parser)
    command_line.add_download_options(parser)


def _port(text: str) -> int:
    number = flags.natural(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, got {text}")
    return number


def check_view(kwargs: dict[str, Any], problems: Problems) -> None:
    """Finds files, in place of names of folders and patterns, and gathers all that is wrong without TensorFlow."""
    for name in kwargs["networks"]:
        with problems.gather():
            catalog.locate_generator(name)
    for name in ("dlatents", "directions"):
        with problems.gather(f"--{name}"):
            kwargs[name] = points.locate(kwargs[name])
    if not kwargs["save"]:
        with problems.gather():
            server.check_address(kwargs["host"], kwargs["port"])
