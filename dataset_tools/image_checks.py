"""Says which images do not fit into a data set, and what would help; and what will be done to those that do."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from dnnlib.errors import counted, listed, printable
from dnnlib.pictures import CHANNELS, DEEP, count_of_mode, mode_name
from training.data.image_files import ImageFacts
from training.data.image_sources import level_of

from .image_rules import ImageRules

MAX_LISTED = 30


def misfits(names: Sequence[str], facts: Sequence[ImageFacts], rules: ImageRules) -> str | None:
    """Says which images do not fit, and which options would help; None if all do."""
    good = [fact for fact in facts if not fact.problem]
    modes = Counter(rules.mode(fact) for fact in good if rules.mode(fact) in CHANNELS)
    sides = Counter(width for width, height in map(rules.size, good) if width == height and level_of(width))
    mode = max(modes, key=modes.get, default="RGB")
    side = max(sides, key=sides.get, default=None)
    found = [list(_misfits(fact, rules, mode, side)) for fact in facts]
    return _report(names, facts, found) if any(found) else None


def _misfits(fact: ImageFacts, rules: ImageRules, mode: str, side: int | None) -> Iterator[tuple[str, str]]:
    """All that keeps an image out of a data set of this mode, width and height; with each, what would help."""
    if fact.problem:
        yield fact.problem, "removing what is not a whole image"
        return
    own_mode, own_size, own_side = rules.mode(fact), rules.size(fact), min(rules.size(fact))
    if own_mode not in CHANNELS:
        yield "expected RGB or grayscale", _help_for_mode(own_mode)
    elif own_mode != mode:
        yield f"most images are {mode_name(mode)}", _help_for_mode(own_mode)
    if own_size[0] != own_size[1]:
        yield "not square", "--crop=center"
    if rules.resolution:
        return
    if level_of(own_side) is None:
        yield f"{own_side} is not a power of two of 4 or more", "--resolution"
    elif side and own_side != side:
        yield f"most images are {side}x{side}", "--resolution"


def _help_for_mode(mode: str) -> str:
    if mode == "F":
        return "--max-value, what is white, or saving floating point images as 8 bits"
    convert = "--convert=rgb or --convert=gray"
    return f"--max-value, what is white, or {convert}" if mode == DEEP else convert


def _report(names: Sequence[str], facts: Sequence[ImageFacts], found: Sequence[list[tuple[str, str]]]) -> str:
    offenders = [offender for offender in zip(names, facts, found, strict=True) if offender[2]]
    do = "does" if len(offenders) == 1 else "do"
    head = f"{len(offenders)} of {counted(len(facts), 'image')} {do} not fit; nothing was written:"
    lines = []
    for name, fact, problems in offenders:
        what = f"{fact}: " if fact.mode else ""
        lines.append(f"{printable(name)}: {what}{'; '.join(problem for problem, _ in problems)}")
    helps = Counter(help_ for _, _, problems in offenders for _, help_ in problems)
    if "--resolution" in helps:
        side = int(statistics.median(min(fact.width, fact.height) for fact in facts if not fact.problem))
        helps[f"--resolution={1 << max(side.bit_length() - 1, 2)}"] = helps.pop("--resolution")
    helping = ", ".join(
        f"{text} ({counted(count, 'image')})" if count > 1 else text for text, count in helps.most_common()
    )
    return "\n  ".join([head, *listed(lines, MAX_LISTED)]) + f"\nWhat would help: {helping}"


def announce(facts: Sequence[ImageFacts], rules: ImageRules) -> None:
    """Prints what will be done to images that fit."""
    converted = Counter(fact.mode for fact in facts if rules.mode(fact) != fact.mode)
    if converted:
        kinds = ", ".join(count_of_mode(count, mode) for mode, count in converted.most_common())
        print(f"Converting to {mode_name(rules.mode(facts[0]))}: {kinds}. Transparent parts become black.")
    cropped = sum(fact.width != fact.height for fact in facts)
    if cropped:
        print(f"Cropping {counted(cropped, 'image')} to the square in the middle.")
    resized = [fact for fact in facts if rules.resolution not in (None, min(fact.width, fact.height))]
    if resized:
        larger = sum(min(fact.width, fact.height) < rules.resolution for fact in resized)
        note = f"; {larger} smaller than that, which will look blurred" if larger else ""
        to = f"{rules.resolution}x{rules.resolution} ({rules.resize})"
        print(f"Resizing {counted(len(resized), 'image')} to {to}{note}.")
