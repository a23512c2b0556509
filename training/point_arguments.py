"""Arguments of `run_generator.py` for points of latent space: seeds, and files of vectors, in one list."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from dnnlib import flags

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


class PointParser(flags.ArgumentParser):
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


def add_points(parser: PointParser, prefix: str, seeds_help: str, files_help: str, repeats: bool = False) -> None:
    """--seeds and --dlatents, or with a prefix --row-seeds and --row-dlatents."""
    common = {"action": _Points, "repeats": repeats, "dest": f"{prefix}seeds".replace("-", "_")}
    seeds_help += f" (may be left out with --{prefix}dlatents)"
    files_help += ": FILE.npz,FOLDER,'*.npz'"
    pair = parser.add_pair()
    seeds = pair.add_argument(f"--{prefix}seeds", type=flags.num_list, help=seeds_help, metavar="SEEDS", **common)
    seeds.required = True  # until files are given
    pair.add_argument(f"--{prefix}dlatents", type=flags.split, help=files_help, metavar="FILES", **common)


def add_dlatents_psi(parser: argparse.ArgumentParser) -> None:
    """--dlatents-psi."""
    parser.add_argument(
        "--dlatents-psi",
        type=flags.psi,
        default=1.0,
        help="truncation of vectors from files (default: 1, none)",
        metavar="PSI",
    )
