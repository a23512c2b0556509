"""Command lines: official spellings, near misses, and kinds of arguments."""

import argparse
import contextlib
import math
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from . import installed
from .commands import as_called
from .errors import did_you_mean, printable

MAX_SEED = 2**32 - 1  # of NumPy's RandomState
_MAX_COUNT = 1_000_000
_FLOAT32 = -3.4e38, 3.4e38  # what labels are stored as


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviations, which names the nearest option or choice for one that does not exist."""

    _in_use: ClassVar[list["ArgumentParser"]] = []  # what reads the command line: the script's parser, its command's

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.spellings: dict[str, str] = {}
        self._given: list[str] = []

    def flags(self) -> dict[str, list[str]]:
        """All flags, each with its choices, of which most have none; other spellings are left out."""
        usage, self.usage = self.usage, None  # which may leave some out
        shown = re.findall(r"(--[\w-]+)(?:\s+\{([^}]*)\})?", self.format_usage())
        self.usage = usage
        return {"--help": [], **{flag: choices.split(",") if choices else [] for flag, choices in shown}}

    def accept(self, spellings: Mapping[str, str]) -> None:
        """From now on takes flags by other names, too, without showing them: the flag by each, if there is one."""
        flags = self.flags()
        self.spellings.update({other: flag for other, flag in spellings.items() if flag in flags})

    def format_usage(self) -> str:
        return as_called(super().format_usage())

    def format_help(self) -> str:
        return as_called(super().format_help())

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            near = "".join(map(self._near_option, re.findall(r"--[\w-]+", message)))
            commands = ", ".join(name for name, _ in self._commands()) if self._in_use == [self] else ""
            message += near or (f" (which command? {commands})" if commands else "")
        for name in message.partition("are required: ")[2].split(", "):
            option = f"--{name.lower()}".replace("_", "-")
            if any(arg.partition("=")[0] == option for arg in self._given):
                message += f" ({name} is given without {option})"
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            there = re.findall(r"[\w.-]+", choice[2])
            close = [name for name in there if len(choice[1]) > 2 and choice[1] in name]
            message += f" (did you mean {' or '.join(close)}?)" if close else did_you_mean(choice[1], there)
        super().error(as_called(printable(message, 2000)))

    def _near_option(self, option: str) -> str:
        """Which option is meant by one that is not there, by a value such as --gif the one with it; whose it is."""
        known = {flag: choices for parser in self._in_use for flag, choices in parser.flags().items()}
        value = option.removeprefix("--")
        for flag, choices in known.items():
            if value in choices:
                return f" (did you mean {flag}={value}?)"
        near = did_you_mean(value, [flag.removeprefix("--") for flag in known]).replace("mean ", "mean --")
        others = [other for parser in self._in_use for other in parser._commands()] if len(self._in_use) > 1 else []
        there = [name for name, parser in others if option in parser.flags()]
        return near + (f" (an option of {', '.join(there)})" if there else "")

    def _commands(self) -> list[tuple[str, "ArgumentParser"]]:
        """The sub-commands, by name."""
        subparsers = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return [command for action in subparsers for command in action.choices.items()]

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        ArgumentParser._in_use = []
        return super().parse_args(args, namespace)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        self._in_use.append(self)
        parts = [arg.partition("=") for arg in (sys.argv[1:] if args is None else args)]
        self._given = args = [self.spellings.get(name, name) + equals + value for name, equals, value in parts]
        return super().parse_known_args(args, namespace)


class _Version(argparse.Action):
    """Shows the version, which is asked for only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(f"{installed.NAME} {installed.version()}")
        parser.exit()


def add_version(parser: argparse.ArgumentParser) -> None:
    """--version, of the parser of a script."""
    none = argparse.SUPPRESS
    parser.add_argument(
        "--version", action=_Version, nargs=0, dest=none, default=none, help="show the version and exit"
    )


def official_spelling(args: list[str]) -> list[str]:
    """Arguments with `_` in names of options and commands read as `-`: both spellings are in use."""
    result = []
    for arg in args:
        if arg.startswith("--"):
            name, equals, value = arg.partition("=")
            arg = name.replace("_", "-") + equals + value
        elif re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", arg) and not result:
            arg = arg.replace("_", "-")
        result.append(arg)
    return result


def _cut(text: str) -> str:
    """What was given, for messages: digits and letters that look alike apart."""
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")


def num_list(text: str) -> list[int]:
    """Numbers and ranges in any mixture: '1,2,7-9' is [1, 2, 7, 8, 9]."""
    result: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,20})\s*(?:-\s*([0-9]{1,20})\s*)?", part)
        if match is None:
            wrong = f"{_cut(part.strip())} in {_cut(text)}"
            raise argparse.ArgumentTypeError(f"{wrong} is not a number or a range such as 5-8")
        first = int(match.group(1))
        last = first if match.group(2) is None else int(match.group(2))
        if last < first:
            raise argparse.ArgumentTypeError(f"the range {part.strip()!r} is empty; did you mean {last}-{first}?")
        if last > MAX_SEED:
            raise argparse.ArgumentTypeError(f"{last} is out of range, expected 0 to {MAX_SEED}")
        if len(result) + last - first >= _MAX_COUNT:
            raise argparse.ArgumentTypeError(f"{_cut(text)} has more than {_MAX_COUNT} numbers")
        result.extend(range(first, last + 1))
    return result


def psi(text: str) -> float:
    """A truncation psi: a number that leaves W in a range where networks work."""
    return number(text, "from -100 to 100", -100, 100)


def image_format(text: str) -> str:
    """'png', 'jpg' or 'webp', in any case; 'jpeg' is 'jpg'."""
    name = {"jpeg": "jpg"}.get(text.lower(), text.lower())
    if name not in ("png", "jpg", "webp"):
        raise argparse.ArgumentTypeError(f"expected png, jpg or webp, got {_cut(text)}")
    return name


def natural(text: str) -> int:
    """An integer of 0 or more."""
    return _integer(text, 0)


def class_idx(text: str) -> int:
    """The class of all images of a run."""
    if "," in text or text[1:].count("-"):
        raise argparse.ArgumentTypeError(f"expected one class for all images, got {_cut(text)}")
    return natural(text)


def label_vector(text: str) -> list[float]:
    """The numbers of a label, with commas between."""
    expected = "or several with commas between, such as 0.5,1"
    return [number(part.strip(), expected, *_FLOAT32) for part in text.split(",")]


def positive(text: str) -> int:
    """An integer of 1 or more."""
    return _integer(text, 1)


def _integer(text: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        most = f", below {10**9}" if re.fullmatch(r"[0-9]{10,}", text) else ""
        raise argparse.ArgumentTypeError(f"expected an integer of {least} or more{most}, got {_cut(text)}")
    return int(text)


def non_negative(text: str) -> float:
    """A number of 0 or more."""
    return number(text, "of 0 or more", 0, sys.float_info.max)


def above_zero(text: str) -> float:
    """A number above 0."""
    return number(text, "above 0", math.ulp(0.0), sys.float_info.max)


def number(text: str, expected: str, least: float, most: float) -> float:
    """A number from `least` to `most`, which `expected` says in words."""
    with contextlib.suppress(ValueError):
        if text.isascii() and "_" not in text and least <= float(text) <= most:  # float takes digits of all scripts
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number {expected}, got {_cut(text)}")


def boolean(text: str) -> bool:
    """'true', 'yes', 'on' and the like; 'false', 'no', 'off'."""
    if text.lower() in ("yes", "true", "t", "y", "1", "on"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0", "off"):
        return False
    raise argparse.ArgumentTypeError(f"Boolean value expected. Give true or false, not {text!r}")


def loop(text: str) -> "bool | str":
    """A boolean, or 'noise'."""
    if text.lower() == "noise":
        return "noise"
    try:
        return boolean(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected true, false or noise, got {_cut(text)}") from None


BOOLEAN: dict[str, Any] = {"type": boolean, "nargs": "?", "const": True, "metavar": "BOOL"}
"""Arguments of `add_argument` for official flags such as --mirror-augment=true; the value may be left out."""


def seed(text: str) -> int:
    """A seed of random numbers."""
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to {MAX_SEED}, got {_cut(text)}")
    return int(text)


def names(text: str) -> list[str]:
    """Names with commas between; 'none' is an empty list."""
    return [] if text.lower() == "none" else [name.strip() for name in text.split(",") if name.strip()]


def grid_size(text: str) -> "tuple[int, int] | str":
    """'8x4': columns and rows; 'auto'."""
    if text == "auto":
        return text
    match = re.fullmatch(r"0*([1-9][0-9]{0,3})[xX]0*([1-9][0-9]{0,3})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected COLUMNSxROWS such as 8x4, from 1 to 9999 each, got {_cut(text)}")
    return int(match[1]), int(match[2])


def frame_size(text: str) -> tuple[int, int]:
    """'1920x1080': width and height; '1080p', of 16:9."""
    if match := re.fullmatch(r"0*([1-9][0-9]{1,3})p", text):
        return int(match[1]) * 16 // 18 * 2, int(match[1])
    match = re.fullmatch(r"0*([1-9][0-9]{0,4})[xX]0*([1-9][0-9]{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 1920x1080, or 1080p, got {_cut(text)}")
    return int(match[1]), int(match[2])


def psis(text: str) -> list[float]:
    """Two or more numbers, with commas between, which truncation goes through."""
    values = [psi(part.strip()) for part in text.split(",")]
    if len(values) < 2:
        raise argparse.ArgumentTypeError(
            f"expected two or more numbers with commas between, such as 0,1, got {_cut(text)}"
        )
    return values


def layer_psi(text: str) -> list[tuple[int, float]]:
    """'0-3:0.5,4,6:1': layers, each with its psi."""
    result: dict[int, float] = {}
    waiting: list[int] = []
    for part in text.split(","):
        layers, colon, value = part.partition(":")
        waiting += num_list(layers)
        if colon:
            twice = sorted(result.keys() & set(waiting))
            if twice or len(set(waiting)) < len(waiting):
                raise argparse.ArgumentTypeError(f"expected each layer once, got {_cut(text)}")
            result |= dict.fromkeys(waiting, psi(value.strip()))
            waiting = []
    if waiting:
        raise argparse.ArgumentTypeError(f"expected LAYERS:PSI such as 0-3:0.5,4-7:1, got {_cut(text)}")
    return list(result.items())


def image_size(text: str) -> int | list[int]:
    """'256': the side of a square; '640x384': height and width."""
    match = re.fullmatch(r"0*([1-9][0-9]{0,5})(?:[xX*]0*([1-9][0-9]{0,5}))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"expected a number of pixels or HEIGHTxWIDTH such as 640x384, got {_cut(text)}"
        )
    height = int(match[1])
    width = height if match[2] is None else int(match[2])
    return height if height == width else [height, width]


def colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a name of CSS or '#rrggbb'."""
    import PIL.ImageColor

    with contextlib.suppress(ValueError):
        red, green, blue, *alpha = PIL.ImageColor.getrgb(text)
        if alpha in ([], [255]):
            return red, green, blue
    raise argparse.ArgumentTypeError(f"expected a colour such as white, black or #ff8000, got {_cut(text)}")


def split(text: str) -> list[str]:
    """The names in an argument with commas between; a file whose name has commas is one name."""
    names = [text] if os.path.exists(os.path.expanduser(text)) else [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected names of files with commas between, got {text!r}")
    return names
