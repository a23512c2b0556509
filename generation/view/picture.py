"""A picture of the page as text, `seed=85&x=0.25&psi=0.7`, read as from anybody; and the command line that makes it."""

import argparse
import io
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np

from dnnlib import flags
from dnnlib.commands import as_called
from dnnlib.errors import UserError, did_you_mean, printable
from dnnlib.pictures import to_pil

from ..conventions import SEED_NOISE
from ..points import Point

ROW = 100
"""How many seeds the map has from one row to the next."""
NOISE_MODES = (SEED_NOISE, "const", "none")
"""Those by which an image can be made again."""
_MOST_CHARACTERS = 4000
_MOST_STRENGTH = 1000


@dataclass(frozen=True)
class Facts:
    """What is known of a network of the page.

    name: as the command line has it. height, width, channels: of images. num_layers: of W. label_size: how many
    classes it knows; 0: none. needs_class: whether it makes no images without. psi, cutoff: the truncation that it
    begins with. vectors: of files by name, with the file that has nothing else; None where it has others, too.
    directions: names of directions, and what the flag `--direction` calls each.
    """

    name: str
    height: int
    width: int
    channels: int
    num_layers: int
    label_size: int
    needs_class: bool
    psi: float
    cutoff: int
    vectors: Mapping[str, str | None] = field(default_factory=dict)
    directions: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Picture:
    """What the page shows.

    network: its index. seed, x, y: the place on the map: the seed, x of the way to the next one, y of the way to that
    of the next row. space: where to mix what lies between: 'w' or 'z'. vector: the name of one of a file, in place of
    seeds. psi, cutoff, class_idx: as in `Rendering`. noise: one of `NOISE_MODES`; what is not the image of a single
    seed has the network's own in place of that of a seed. mix: the seed or vector that gives `layers`. directions:
    indices and strengths.
    """

    network: int
    psi: float
    cutoff: int
    seed: int = 0
    x: float = 0.0
    y: float = 0.0
    space: str = "w"
    vector: str | None = None
    noise: str = "const"
    class_idx: int | None = None
    mix: Point | None = None
    layers: tuple[int, ...] = ()
    directions: tuple[tuple[int, float], ...] = ()

    @property
    def base(self) -> Point:
        """The seed or vector; '' for what lies between seeds."""
        return self.vector or ("" if self.x or self.y else self.seed)

    @property
    def is_mixed(self) -> bool:
        """Whether it takes layers from elsewhere."""
        return self.mix is not None and bool(self.layers)

    def corners(self) -> list[int]:
        """The seeds that it lies between: two of a row, and the two below."""
        return [(self.seed + offset) % (flags.MAX_SEED + 1) for offset in (0, 1, ROW, ROW + 1)]


# ----------------------------------------------------------------------------
# From text, and back.


def _fraction(text: str) -> float:
    number = flags.number(text, "from 0 to 1, 1 not included", 0, 1)
    if number == 1:
        raise argparse.ArgumentTypeError("expected a number below 1; 1 is 0 of the next seed")
    return number


def _one_of(*names: str) -> Callable[[str], str]:
    def one(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"expected {' or '.join(names)}, got {printable(text, 40)!r}")
        return text

    return one


def _layers(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[0-9]{1,3}(-[0-9]{1,3})?(,[0-9]{1,3}(-[0-9]{1,3})?){0,50}", text):
        raise argparse.ArgumentTypeError(f"expected layers such as 0-3,5, got {printable(text, 40)!r}")
    return tuple(sorted(set(flags.num_list(text))))


def _direction(text: str) -> tuple[int, float]:
    index, _, strength = text.partition(":")
    most = _MOST_STRENGTH
    return flags.natural(index), flags.number(strength, f"as strength, from -{most} to {most}", -most, most)


_KINDS: dict[str, Callable[[str], Any]] = {
    "network": flags.natural,
    **{"seed": flags.seed, "x": _fraction, "y": _fraction, "space": _one_of("w", "z"), "vector": str},
    **{"psi": flags.psi, "cutoff": flags.natural, "noise": _one_of(*NOISE_MODES), "class": flags.natural},
    **{"mix": flags.seed, "mix-vector": str, "layers": _layers, "direction": _direction},
}


def parse(query: str, networks: Sequence[Facts]) -> Picture:
    """The picture of a text. What it does not say is 0, or as the network begins.

    Raises UserError for everything that is wrong with it.
    """
    if len(query) > _MOST_CHARACTERS:
        raise UserError(f"the picture's text has {len(query)} characters, expected {_MOST_CHARACTERS} at most")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=200, errors="strict")
    except ValueError:  # of which wrong UTF-8 is one
        pairs = [] if query == "" else None
    if pairs is None:
        raise UserError(f"expected a text such as seed=85&psi=0.7, got {printable(query, 60)!r}")
    values: dict[str, Any] = {}
    moves: dict[int, float] = {}
    problems = []
    for name, text in pairs:
        if name not in _KINDS:
            problems.append(f"{printable(name, 40)} is nothing that a picture has{did_you_mean(name, _KINDS)}")
        elif name in values:
            problems.append(f"{name}: is given twice")
        else:
            try:
                value = _KINDS[name](text)
            except argparse.ArgumentTypeError as error:
                problems.append(f"{name}: {error}")
                continue
            if name == "direction":
                moves[value[0]] = value[1]
            else:
                values[name] = value
    if values.get("network", 0) >= len(networks):
        problems.append(f"network: expected 0 to {len(networks) - 1}, got {values['network']}")
    else:
        facts = networks[values.get("network", 0)]
        problems += _misfits(facts, values, moves)
    if problems:
        raise UserError("\n".join(problems))
    if facts.needs_class and facts.label_size:
        values.setdefault("class", 0)
    mix = values.get("mix-vector", values.get("mix"))
    names = ("network", "seed", "x", "y", "space", "vector", "noise", "layers")
    return Picture(
        **{"network": 0, **{name: values[name] for name in names if name in values}},
        psi=values.get("psi", facts.psi),
        cutoff=values.get("cutoff", facts.cutoff),
        class_idx=values.get("class"),
        mix=mix,
        directions=tuple((index, strength) for index, strength in sorted(moves.items()) if strength),
    )


def _misfits(facts: Facts, values: Mapping[str, Any], moves: Mapping[int, float]) -> list[str]:
    """What of a picture a network has not."""
    problems = []
    for name in ("vector", "mix-vector"):
        if name in values and values[name] not in facts.vectors:
            shown = f"{name}: there is no vector {printable(values[name], 40)!r}"
            problems.append(shown + did_you_mean(values[name], facts.vectors))
    if "mix" in values and "mix-vector" in values:
        problems.append("mix, mix-vector: expected one of them, got both")
    if values.get("cutoff", 0) > facts.num_layers:
        problems.append(f"cutoff: expected 0 to {facts.num_layers}, the number of layers, got {values['cutoff']}")
    wrong = [layer for layer in values.get("layers", ()) if layer >= facts.num_layers]
    if wrong:
        problems.append(f"layers: the network has 0 to {facts.num_layers - 1}, got {wrong[0]}")
    if "class" in values and values["class"] >= facts.label_size:
        known = f"expected 0 to {facts.label_size - 1}" if facts.label_size else "the network was trained without"
        problems.append(f"class: {known}, got {values['class']}")
    wrong = [index for index in moves if index >= len(facts.directions)]
    if wrong:
        problems.append(f"direction: there are {len(facts.directions)}, got index {wrong[0]}")
    return problems


def query_of(picture: Picture) -> str:
    """The text of a picture, of the first network, whole and always the same."""
    mix = "mix-vector" if isinstance(picture.mix, str) else "mix"
    pairs = [
        ("vector", picture.vector) if picture.vector else ("seed", picture.seed),
        *((("x", _text(picture.x)), ("y", _text(picture.y)), ("space", picture.space)) if picture.base == "" else ()),
        *(("psi", _text(picture.psi)), ("cutoff", picture.cutoff), ("noise", picture.noise)),
        *([("class", picture.class_idx)] if picture.class_idx is not None else ()),
        *([(mix, picture.mix), ("layers", _ranges(picture.layers))] if picture.is_mixed else ()),
        *(("direction", f"{index}:{_text(strength)}") for index, strength in picture.directions),
    ]
    return urlencode(pairs, safe=":,")


def _text(number: float) -> str:
    """The shortest text that is read as the same number."""
    return repr(number).removesuffix(".0")


def _ranges(numbers: Sequence[int]) -> str:
    """'0-3,5'."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


# ----------------------------------------------------------------------------
# As a file, and as a command line.


def png(image: np.ndarray) -> bytes:
    """A uint8 image `[H, W, C]` as a PNG file, quickly."""
    file = io.BytesIO()
    to_pil(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def command_line(picture: Picture, facts: Facts, files: Sequence[str], options: Sequence[str] = ()) -> str:
    """The command that makes a picture, and nothing but this where it can be.

    files: the flags of `view` that give the files that fit the network. options: flags of all commands that the server
    was started with.
    """
    truncation = [f"--truncation-psi={_text(picture.psi)}", f"--truncation-cutoff={picture.cutoff}"]
    of_class = [f"--class-idx={picture.class_idx}"] if picture.class_idx is not None else []
    moves = [f"--direction={facts.directions[index][1]}={_text(strength)}" for index, strength in picture.directions]
    ends = [picture.base, *([picture.mix] if picture.is_mixed else [])]
    lists = [("seeds", point) if isinstance(point, int) else ("dlatents", facts.vectors.get(point)) for point in ends]
    if any(value is None for _, value in lists):  # between seeds, or of a file that has others besides
        args = ["view", facts.name, *files, f"--state={query_of(picture)}", "--save"]
    elif picture.is_mixed:
        points = [f"--{end}-{name}={value}" for end, (name, value) in zip(("row", "col"), lists, strict=True)]
        noise = "const" if picture.noise == SEED_NOISE else picture.noise
        styles = [f"--col-styles={_ranges(picture.layers)}", f"--noise-mode={noise}"]
        args = ["style-mixing-example", f"--network={facts.name}", *points, *truncation, *styles, *of_class, *moves]
    else:
        ((name, value),) = lists
        noise = [f"--noise-mode={picture.noise}"]
        args = ["generate-images", f"--network={facts.name}", f"--{name}={value}", *truncation, *noise]
        args += [*of_class, *moves]
    return " ".join([as_called("python run_generator.py"), *map(_quoted, [*args, *options])])


def _quoted(arg: str) -> str:
    """An argument for a shell: of a flag the value."""
    flag, equals, value = arg.partition("=") if arg.startswith("--") else ("", "", arg)
    return f"{flag}{equals}{shlex.quote(value)}" if equals or not flag else flag
