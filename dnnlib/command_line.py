"""What the command lines of the scripts share: official spellings, kinds of arguments, progress."""

import argparse
import difflib
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .errors import UserError, exits_on_user_error
from .util import format_time

MAX_SEED = 2**32 - 1  # of NumPy's RandomState
_MAX_COUNT = 1_000_000


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviations, which names the nearest option or choice for one that does not exist."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def accept(self, spellings: Mapping[str, str]) -> None:
        """From now on takes flags by other names, too, without showing them: the flag by each, if there is one."""
        for other, flag in spellings.items():
            if flag in self._option_string_actions:
                self._option_string_actions[other] = self._option_string_actions[flag]

    def error(self, message: str) -> NoReturn:
        for option in re.findall(r"--[\w-]+", message) if message.startswith("unrecognized arguments") else ():
            close = self._near_option(option)
            if close:
                message += f" (did you mean {close}?)"
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            there = re.findall(r"[\w.-]+", choice[2])
            close = [name for name in there if len(choice[1]) > 2 and choice[1] in name]
            close = close or difflib.get_close_matches(choice[1], there, n=1)
            message += f" (did you mean {' or '.join(close)}?)" if close else ""
        super().error(message)

    def _near_option(self, option: str) -> str:
        """The option that is meant by one that does not exist; of a value such as --gif the option that takes it."""
        actions = [action for parser in self._parsers_in_use() for action in parser._actions if action.option_strings]
        for action in actions:
            if option.removeprefix("--") in (action.choices or ()):
                return f"{action.option_strings[-1]}={option.removeprefix('--')}"
        known = sorted({name for action in actions for name in action.option_strings})
        return "".join(difflib.get_close_matches(option, known, n=1))

    def _parsers_in_use(self) -> list[argparse.ArgumentParser]:
        """This parser and that of the command on the command line."""
        parsers: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers.extend(parser for name, parser in action.choices.items() if name in self.arguments)
        return parsers

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        self.arguments = sys.argv[1:] if args is None else list(args)
        return super().parse_args(args, namespace)


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


# ----------------------------------------------------------------------------
# Kinds of arguments.


def num_list(text: str) -> list[int]:
    """Numbers and ranges in any mixture: '1,2,7-9' is [1, 2, 7, 8, 9]."""
    result: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise argparse.ArgumentTypeError(f"{part.strip()!r} in {text!r} is not a number or a range such as 5-8")
        first = int(match.group(1))
        last = first if match.group(2) is None else int(match.group(2))
        if last < first:
            raise argparse.ArgumentTypeError(f"the range {part.strip()!r} is empty; did you mean {last}-{first}?")
        if last > MAX_SEED:
            raise argparse.ArgumentTypeError(f"{last} is out of range, expected 0 to {MAX_SEED}")
        if len(result) + last - first >= _MAX_COUNT:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} has more than {_MAX_COUNT} numbers")
        result.extend(range(first, last + 1))
    return result


def psi(text: str) -> float:
    """A truncation psi: a number that leaves W in a range where networks work."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= 100:
        raise argparse.ArgumentTypeError(f"expected a number from -100 to 100, got {text!r}")
    return value


def image_format(text: str) -> str:
    """'png', 'jpg' or 'webp', in any case; 'jpeg' is 'jpg'."""
    name = {"jpeg": "jpg"}.get(text.lower(), text.lower())
    if name not in ("png", "jpg", "webp"):
        raise argparse.ArgumentTypeError(f"expected png, jpg or webp, got {text!r}")
    return name


def natural(text: str) -> int:
    """An integer of 0 or more."""
    return _integer(text, 0)


def class_idx(text: str) -> int:
    """The class of all images of a run."""
    if "," in text or text[1:].count("-"):
        raise argparse.ArgumentTypeError(f"expected one class for all images, got {text!r}")
    return natural(text)


def positive(text: str) -> int:
    """An integer of 1 or more."""
    return _integer(text, 1)


def _integer(text: str, least: int) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected an integer of {least} or more, got {text!r}")
    return int(text)


def non_negative(text: str) -> float:
    """A number of 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, got {text!r}")
    return value


def boolean(text: str) -> bool:
    """'true', 'yes', 'on' and the like; 'false', 'no', 'off'."""
    if text.lower() in ("yes", "true", "t", "y", "1", "on"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0", "off"):
        return False
    raise argparse.ArgumentTypeError(f"Boolean value expected. Give true or false, not {text!r}")


BOOLEAN: dict[str, Any] = {"type": boolean, "nargs": "?", "const": True, "metavar": "BOOL"}
"""Arguments of `add_argument` for official flags such as --mirror-augment=true; the value may be left out."""


def seed(text: str) -> int:
    """A seed of random numbers."""
    if not re.fullmatch(r"\d{1,10}", text) or int(text) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to {MAX_SEED}, got {text!r}")
    return int(text)


def names(text: str) -> list[str]:
    """Names with commas between; 'none' is an empty list."""
    return [] if text.lower() == "none" else [name.strip() for name in text.split(",") if name.strip()]


def grid_size(text: str) -> "tuple[int, int] | str":
    """'8x4': columns and rows; 'auto'."""
    if text == "auto":
        return text
    match = re.fullmatch(r"(\d{1,4})[xX](\d{1,4})", text)
    if match is None or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"expected COLUMNSxROWS such as 8x4, up to 9999 each, got {text!r}")
    return int(match.group(1)), int(match.group(2))


def check_result_dir(path: str) -> str:
    """The folder --result-dir, `~` expanded. Raises UserError unless folders can be made in it."""
    path = os.path.expanduser(path)
    if not path:
        raise UserError("--result-dir is empty, expected a folder")
    existing = os.path.abspath(path)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise UserError(f"--result-dir={path}: {existing} is a file, expected a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"--result-dir={path}: {existing} is not writable")
    return path


def add_result_dir(parser: argparse._ActionsContainer) -> None:
    """The official --result-dir."""
    parser.add_argument(
        "--result-dir", default="results", help="root folder of run folders (default: %(default)s)", metavar="DIR"
    )


def add_download_options(parser: argparse._ActionsContainer) -> None:
    """--cache-dir and --offline."""
    parser.add_argument(
        "--cache-dir", help="folder for downloads (default: $STYLEGAN2_CACHE_DIR or .stylegan2-cache)", metavar="DIR"
    )
    parser.add_argument(
        "--offline", action="store_true", default=None, help="fail instead of downloading (default: $STYLEGAN2_OFFLINE)"
    )


def submit_command(
    parser: argparse.ArgumentParser,
    module: str,
    commands: Mapping[str, Callable[..., None]],
    check: Callable[[dict[str, Any], Any], dict[str, Any]],
) -> None:
    """The main function of a script with sub-commands: parses the command line and submits the run.

    parser: puts the sub-command into `command`. module: of the functions. check: takes the arguments of a function and
    the SubmitConfig; returns the arguments, resolved, or raises UserError; called before TensorFlow is imported.
    """
    import dnnlib

    kwargs = vars(parser.parse_args(official_spelling(sys.argv[1:])))
    command = kwargs.pop("command")
    if command is None:
        print("Error: missing subcommand.  Re-run with --help for usage.")
        sys.exit(1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names of files may be anything
    submit_config = dnnlib.SubmitConfig()
    submit_config.run_dir_root = kwargs.pop("result_dir")
    submit_config.run_desc = command
    with exits_on_user_error():
        kwargs = check(kwargs, submit_config)
        import_tensorflow_quietly()
        dnnlib.submit_run(submit_config, f"{module}.{commands[command].__name__}", **kwargs)


# ----------------------------------------------------------------------------
# Output.


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without the notes that it writes to stderr at start-up; they are shown if that fails.

    TF_CPP_MIN_LOG_LEVEL=0 shows them in any case. Raises UserError for a STYLEGAN2_OPS that cannot be.
    """
    _import_without_notes()
    from dnnlib.tflib.ops.implementation import check_environment

    check_environment()


def _import_without_notes() -> None:
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0":
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


class Progress:
    """Says now and then how far a job is, how fast, and how long it will take.

    The first update is left out of the speed: it includes starting up.
    """

    def __init__(self, total: int, unit: str, interval: float = 10.0):
        self.total = total
        self.unit = unit
        self.interval = interval
        self.done = 0
        self.start = self.last_report = time.time()
        self.first: tuple[float, int] | None = None  # time and count after the first update

    def update(self, count: int, note: Callable[[], str] | None = None, due: bool = False) -> None:
        """Counts some more as done. note: what else to say, asked only when something is said. due: say it now."""
        self.done += count
        now = time.time()
        if self.first is None:
            self.first = now, self.done
        elif (due or now - self.last_report >= self.interval) and self.done < self.total:
            self.last_report = now
            rate = self._rate(now)
            left = format_time((self.total - self.done) / rate) if rate else "?"
            said = f"{note()}, " if note else ""
            print(f"{self.done}/{self.total} {self.unit}, {said}{rate:.2f} {self.unit}/s, {left} left", file=sys.stderr)

    def finish(self) -> None:
        """Says how many and how fast."""
        now = time.time()
        speed = f", then {self._rate(now):.2f} {self.unit}/s" if self._rate(now) else ""
        first = f" (first after {self.first[0] - self.start:.1f}s{speed})" if self.first else ""
        print(f"{self.done} {self.unit} in {now - self.start:.1f}s{first}", file=sys.stderr)

    def _rate(self, now: float) -> float:
        if self.first is None or self.done == self.first[1] or now <= self.first[0]:
            return 0.0
        return (self.done - self.first[1]) / (now - self.first[0])
