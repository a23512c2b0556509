"""The command `stylegan2`: the scripts as sub-commands.

Examples:

  stylegan2 generate generate-images --network=demo/symbols-32x32.pkl --seeds=0-23 --grid
  stylegan2 dataset create-from-images datasets/mine ~/photos --crop=center --resolution=256
  stylegan2 train --dataset=mine --config=auto --mirror-augment=true
  stylegan2 train --help
  stylegan2 doctor
"""

import argparse
import importlib
import sys

from dnnlib import flags
from dnnlib.commands import COMMANDS, PROGRAM, take_over


def _parser() -> argparse.ArgumentParser:
    parser = flags.ArgumentParser(
        prog=PROGRAM,
        description="StyleGAN2 for TensorFlow 2 and Keras. Each command has a --help of its own.",
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_version(parser)
    subparsers = parser.add_subparsers(help="what to do", dest="command", metavar="COMMAND")
    for name, (_, what) in COMMANDS.items():
        subparsers.add_parser(name, help=what, add_help=False)
    return parser


def main() -> int | None:
    """Runs the sub-command that the command line of this process names. Returns the exit status."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        command = sys.argv[1]
        take_over(command)
        return importlib.import_module(COMMANDS[command][0]).main()
    parser = _parser()
    parser.parse_args()  # shows help, version, or what is wrong
    parser.print_help(sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
