"""Directions in W or in style space, and moving images along them: `--direction=FILE[:NAME|INDEX][:LAYERS]=STRENGTH`.

A strength is in units of the direction's spread: of directions that this project finds, the standard deviation of the
network's own W (or styles) along them; of GANSpace's, what is in their file; of others 1: the vector as it is.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dnnlib import flags
from dnnlib.errors import Problems, UserError, did_you_mean, enumerated, printable

from . import direction_files
from .direction_files import layers_text

_MOST_STRENGTH = 1e6
_MOST_MOVE = 1e30  # what float32 can add up


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of a network.

    name: what it is called.
    vector: float32 `[layers, dlatent_size]`, to be added to W; in style space, by the name of each affine layer,
        `[width]`, to be added to its style.
    layers: the layers that it moves if nobody asks for others, by the index of their W.
    spread: how many times the vector a strength of 1 is.
    space: 'w', or 's', style space.
    """

    name: str
    vector: np.ndarray | Mapping[str, np.ndarray]
    layers: tuple[int, ...]
    spread: float = 1.0
    space: str = "w"

    def largest(self) -> float:
        """The size of the largest number of the vector."""
        parts = [self.vector] if self.space == "w" else self.vector.values()
        return max(float(np.abs(part).max()) for part in parts)


@dataclass(frozen=True, eq=False)
class Move:
    """A move along a direction, by a strength in units of its spread. layers: that move; None: the direction's own."""

    direction: Direction
    strength: float
    layers: Sequence[int] | None = None

    def __str__(self) -> str:
        layers = self.direction.layers if self.layers is None else self.layers
        return f"{self.direction.name}:{layers_text(layers)}={self.strength:g}"


class Offsets(NamedTuple):
    """What moves add up to.

    dlatents: float32 `[N or 1, layers, dlatent_size]`, to be added to W. styles: float32 `[N or 1, width]` by the name
    of an affine layer, to be added to its style; of those that move.
    """

    dlatents: np.ndarray
    styles: dict[str, np.ndarray]


def load(path: str | os.PathLike, net: Any) -> list[Direction]:
    """The directions of a file, for a network. net: the generator (a `Network` such as Gs).

    Raises UserError for what is no such file, or does not fit the network, with all problems.
    """
    from training.nets.style_space import affine_layers

    num_layers, size = net.components.synthesis.input_shape[1:]
    styles = [(affine.name, affine.width) for affine in affine_layers(net)]
    file = direction_files.fit(direction_files.read(path, num_layers), num_layers, size, styles)
    result = []
    for name, vector, layers, spread in zip(file.names, file.vectors, file.layers, file.spreads, strict=True):
        of_styles = file.styles is not None
        if of_styles:
            ends = np.cumsum([width for _, width in styles])[:-1]
            vector = dict(zip((name for name, _ in styles), np.split(vector, ends), strict=True))
        layers = tuple(range(num_layers)) if layers is None else tuple(layers)
        result.append(Direction(name, vector, layers, spread, "s" if of_styles else "w"))
    return result


def offsets(moves: Sequence[Move], net: Any) -> Offsets | None:
    """What some moves add up to for a network, `[1, ...]`; None where there are none."""
    from training.nets.style_space import affine_layers

    if not moves:
        return None
    dlatents = np.zeros([1, *net.components.synthesis.input_shape[1:]])
    styles: dict[str, np.ndarray] = {}
    of_styles = any(move.direction.space == "s" for move in moves)
    layer_of = {affine.name: affine.layer for affine in affine_layers(net)} if of_styles else {}
    for move in moves:
        direction = move.direction
        layers = list(direction.layers if move.layers is None else move.layers)
        factor = float(move.strength) * float(direction.spread)
        if direction.space == "w":
            dlatents[0, layers] += factor * np.asarray(direction.vector, np.float64)[layers]
            continue
        for name, vector in direction.vector.items():
            if layer_of[name] in layers:
                styles[name] = styles.get(name, 0) + factor * np.asarray(vector, np.float64)[np.newaxis]
    return Offsets(dlatents.astype(np.float32), {name: style.astype(np.float32) for name, style in styles.items()})


def stacked_offsets(moves: Sequence[Sequence[Move]], net: Any) -> Offsets | None:
    """What the moves of each of some images add up to, `[N, ...]`; None where none is moved."""
    each = [offsets(of_image, net) for of_image in moves]
    some = [of_image for of_image in each if of_image is not None]
    if not some:
        return None
    widths = {name: style.shape[1] for of_image in some for name, style in of_image.styles.items()}
    none = Offsets(np.zeros_like(some[0].dlatents), {})
    each = [of_image or none for of_image in each]
    zeros = {name: np.zeros([1, width], np.float32) for name, width in widths.items()}
    styles = {name: np.concatenate([of_image.styles.get(name, zeros[name]) for of_image in each]) for name in widths}
    return Offsets(np.concatenate([of_image.dlatents for of_image in each]), styles)


# ----------------------------------------------------------------------------
# The flag.


class _Asked(NamedTuple):
    """A flag: the file, what follows its name, and the strength."""

    path: str
    rest: str
    strength: float


def add_directions(parser: Any) -> None:
    """--direction, of a parser or a group of its arguments."""
    direction_help = (
        "move images along a direction of a file, by its name or number, in all of its layers or in LAYERS, such as "
        "0-3; a strength of 1 is the direction's spread; may be repeated"
    )
    parser.add_argument(
        "--direction",
        type=flag,
        action="append",
        default=[],
        dest="directions",
        help=direction_help,
        metavar="FILE[:NAME|INDEX][:LAYERS]=STRENGTH",
    )


def flag(text: str) -> str:
    """The type of the flag: the text itself. Raises ArgumentTypeError for one without a file or a strength."""
    try:
        _parsed(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _parsed(text: str) -> _Asked:
    place, equals, number = text.rpartition("=")
    if not equals or not place.partition(":")[0]:
        shown = printable(text, 60)
        raise UserError(f"expected FILE[:NAME|INDEX][:LAYERS]=STRENGTH, such as sefa.npz:0=2, got {shown!r}")
    try:
        expected = "as STRENGTH, such as 2 or -1.5,"
        strength = flags.number(number.strip(), f"{expected} from -1e6 to 1e6", -_MOST_STRENGTH, _MOST_STRENGTH)
    except argparse.ArgumentTypeError as error:
        raise UserError(str(error)) from None
    colons = [idx for idx, character in enumerate(place) if character == ":"]
    for end in [len(place), *reversed(colons)]:  # names of files may have colons
        if os.path.isfile(os.path.expanduser(place[:end])):
            return _Asked(place[:end], place[end + 1 :], strength)
    path, _, rest = place.partition(":")
    return _Asked(path, rest, strength)


def check(texts: Sequence[str]) -> None:
    """Raises UserError for flags whose file, name or layers cannot be, as far as this is known without a network."""
    problems = Problems()
    files: dict[str, Any] = {}
    for text in texts:
        with problems.gather(f"--direction={printable(text)}"):
            asked = _parsed(text)
            if asked.path not in files:
                files[asked.path] = None
                files[asked.path] = direction_files.read(asked.path)
            file = files[asked.path]
            if file is not None and not file.ambiguous:
                _choose(file.names, asked)
    problems.report()


def moves_of(asked: Sequence["str | Move"], net: Any) -> tuple[Move, ...]:
    """Moves, some of them as flags have them, for a network. Raises UserError with all that cannot be."""
    problems = Problems()
    files: dict[str, list[Direction]] = {}
    result = []
    num_layers = net.components.synthesis.input_shape[1]
    for text in asked:
        if isinstance(text, Move):
            result.append(text)
            continue
        with problems.gather(f"--direction={printable(text)}"):
            parsed = _parsed(text)
            if parsed.path not in files:
                files[parsed.path] = load(parsed.path, net)
            there = files[parsed.path]
            index, layers = _choose([direction.name for direction in there], parsed)
            wrong = [number for number in layers or () if number >= num_layers]
            if wrong:
                raise UserError(f"the network has layers 0 to {num_layers - 1}, got {layers_text(wrong)}")
            move = abs(parsed.strength) * there[index].spread * there[index].largest()
            if move > _MOST_MOVE:
                raise UserError(f"would move by {move:.1g}, expected {_MOST_MOVE:g} at most")
            result.append(Move(there[index], parsed.strength, layers))
    problems.report()
    return tuple(result)


def _choose(names: Sequence[str], asked: _Asked) -> tuple[int, list[int] | None]:
    """Which direction of a file, and in which layers (None: its own), what follows the name of the file asks for."""
    rest, layers = asked.rest, None
    if rest not in names:
        head, colon, tail = rest.rpartition(":")
        if colon:
            rest, layers = head, _layers(tail)
        elif rest and not rest.isdecimal() and set(rest) <= set("0123456789-, "):
            rest, layers = "", _layers(rest)
    there = f"{asked.path} has {enumerated([f'{idx} ({name})' for idx, name in enumerate(names)], 8)}"
    if not rest:
        if len(names) > 1:
            raise UserError(f"which direction? Expected {asked.path}:INDEX or {asked.path}:NAME; {there}")
        return 0, layers
    if rest in names:
        first = list(names).index(rest)
        if list(names).count(rest) > 1:
            raise UserError(f"several directions are called {printable(rest, 60)!r}; expected an INDEX; {there}")
        return first, layers
    if rest.isascii() and rest.isdecimal() and int(rest[:9]) < len(names) and len(rest) < 9:
        return int(rest), layers
    raise UserError(f"there is no direction {printable(rest, 60)!r}{did_you_mean(rest, names)}; {there}")


def _layers(text: str) -> list[int]:
    try:
        return sorted(set(flags.num_list(text)))
    except argparse.ArgumentTypeError as error:
        raise UserError(f"LAYERS: {error}") from None
