"""What is to be made of networks, as the command line says it: averages, blends, other sizes. Without TensorFlow."""

import argparse
import glob
import os
from dataclasses import dataclass

from dnnlib import flags
from dnnlib.errors import Problems, UserError
from dnnlib.resolutions import resolution_of
from metrics.nets import catalog

_MOST_CHANNELS = 4
_MOST_LABELS = 1 << 20
_WEIGHTS, _WEIGHT = (1e-6, 1e6), "from 1e-6 to 1e6 as WEIGHT of FILE=WEIGHT"


@dataclass(frozen=True)
class Changes:
    """What is made of the networks of a file.

    average: files and weights, in place of the file. blend: the file that levels from `blend_at` on come from, over
    `blend_width` levels. resolution `(height, width)`, channels and labels of the images; None: as they are.
    """

    average: tuple[tuple[str, float], ...] = ()
    blend: str | None = None
    blend_at: str | None = None
    blend_width: float = 1
    resolution: tuple[int, int] | None = None
    channels: int | None = None
    labels: int | None = None

    @property
    def resizes(self) -> bool:
        """Whether networks for other images or labels are made."""
        return (self.resolution, self.channels, self.labels) != (None, None, None)


NO_CHANGES = Changes()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags, in a group of their own."""
    add = parser.add_argument_group("networks made of others", "See docs/editing.md.").add_argument
    add(
        "--average",
        action="append",
        default=[],
        help="in place of SOURCE: the average of two or more files, such as snapshots; may be repeated, be a pattern "
        "such as 'network-snapshot-*.pkl', and have a weight (default: 1)",
        metavar="FILE[=WEIGHT]",
    )
    add(
        "--blend",
        help="take the high levels of this network, which is SOURCE trained further or the like",
        metavar="FILE",
    )
    add(
        "--blend-at",
        type=_size,
        help="the lowest level of --blend: with 32, SOURCE decides up to 16x16, and --blend from 32x32 on",
        metavar="SIZE",
    )
    add(
        "--blend-width",
        type=lambda text: flags.number(text, "of 1 or more", 1, 100),
        help="levels over which one goes over into the other (default: 1, at once)",
        metavar="LEVELS",
    )
    add(
        "--resolution",
        type=_size,
        help="grow or shrink the networks to images of this size, to train them further: N, or HEIGHTxWIDTH",
        metavar="SIZE",
    )
    add("--channels", type=_channels, help="1: gray, 3: RGB, 4: RGB and alpha", metavar="N")
    add("--labels", type=_labels, help="number of classes; 0: none", metavar="N")


def _size(text: str) -> str:
    parts = text.lower().split("x")
    if not (len(parts) in (1, 2) and all(part.isascii() and part.isdigit() and 0 < len(part) < 6 for part in parts)):
        raise argparse.ArgumentTypeError(f"expected a size such as 64 or 48x32 (height x width), got {text!r:.60}")
    return "x".join(str(int(part)) for part in parts)


def _channels(text: str) -> int:
    if text not in ("1", "3", "4"):
        raise argparse.ArgumentTypeError(f"expected 1 (gray), 3 (RGB) or 4 (RGB and alpha), got {text!r:.60}")
    return int(text)


def _labels(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= _MOST_LABELS and len(text) < 9):
        raise argparse.ArgumentTypeError(f"expected the number of classes, 0 to {_MOST_LABELS}, got {text!r:.60}")
    return int(text)


def checked(args: argparse.Namespace) -> Changes:
    """What the flags ask for. Raises UserError with everything that is wrong."""
    problems = Problems()
    average: list[tuple[str, float]] = []
    for text in args.average:
        with problems.gather("--average"):
            average += _files(text)
    if args.average and len(average) < 2 and not problems.messages:
        problems.messages.append(f"--average: expected two files or more, got {average[0][0]} alone")
    if args.blend is not None:
        with problems.gather("--blend"):
            catalog.locate_generator(args.blend)
        if args.blend_at is None:
            problems.messages.append("--blend-at is missing: the lowest level of --blend, such as --blend-at=32")
    else:
        given = [("--blend-at", args.blend_at), ("--blend-width", args.blend_width)]
        alone = [name for name, value in given if value is not None]
        problems.messages += [f"{name} is for --blend=FILE, which is missing" for name in alone]
    resolution = None
    if args.resolution is not None:
        with problems.gather("--resolution"):
            resolution = _checked_size(args.resolution)
    problems.report()
    width = 1 if args.blend_width is None else args.blend_width
    return Changes(tuple(average), args.blend, args.blend_at, width, resolution, args.channels, args.labels)


def _checked_size(text: str) -> tuple[int, int]:
    """Height and width. Raises UserError for images that no network makes."""
    sides = [int(side) for side in text.split("x")]
    try:
        resolution_of([sides[0], sides[-1]])
    except ValueError as error:
        raise UserError(str(error)) from None
    return sides[0], sides[-1]


def _files(text: str) -> list[tuple[str, float]]:
    """The files that one --average names, each with its weight. Raises UserError."""
    name, equals, number = text.rpartition("=")
    weight = 1.0
    if equals and not os.path.exists(os.path.expanduser(text)):
        try:
            weight = flags.number(number, _WEIGHT, *_WEIGHTS)
        except argparse.ArgumentTypeError as error:
            raise UserError(f"{text}: {error}") from None
    else:
        name = text
    path = os.path.expanduser(name)
    is_pattern = glob.has_magic(name) and not os.path.exists(path)
    found = sorted(glob.glob(path)) if is_pattern else [name]
    if not found:
        raise UserError(f"{name}: there is no such file")
    problems = Problems()
    for file in found:
        with problems.gather():
            catalog.locate_generator(file)
    problems.report()
    return [(file, weight) for file in found]
