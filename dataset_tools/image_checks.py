"""Says which images do not fit into a data set, and what would help; and what will be done to those that do."""

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from dnnlib.errors import counted, listed, printable
from dnnlib.pictures import CHANNELS, DEEP, count_of_mode, mode_name
from dnnlib.resolutions import level_of_size, nearest, resolution_of, size_text
from training.data.image_files import ImageFacts

from .image_rules import ImageRules, as_given, pair

MAX_LISTED = 30
_MAX_ADVISED_LEVEL = 10  # 1024x1024
_MAX_NEAT_LEVEL = 3  # of bases: less than 128 pixels
_SMALL_LOSS = 0.03  # of a side, cut off for a base that is nearer to 4x4


def misfits(names: Sequence[str], facts: Sequence[ImageFacts], rules: ImageRules, alpha: bool = True) -> str | None:
    """Says which images do not fit, and which options would help; None if all do.

    alpha: whether the data set can have transparency, which --encoding=jpeg cannot.
    """
    check = _Check([fact for fact in facts if not fact.problem], rules, alpha)
    found = [list(check.misfits(fact)) for fact in facts]
    return _report(names, facts, found) + check.other_help() if any(found) else None


class _Check:
    """What keeps images out of a data set that holds what most of them are. `good`: the facts of whole images."""

    def __init__(self, good: Sequence[ImageFacts], rules: ImageRules, alpha: bool):
        self._rules = rules
        modes = Counter(map(rules.mode, good))
        known = {mode: count for mode, count in modes.items() if mode in CHANNELS}
        self._mode = max(known, key=known.get, default="RGB")
        self._convert = f"{'--convert=rgba, ' if alpha and 'RGBA' in modes else ''}--convert=rgb or --convert=gray"
        self._sizes = Counter(map(rules.size, good))
        self._possible = {size for size in self._sizes if _can_be(size, rules)}
        common = max(self._possible, key=self._sizes.get, default=None)
        self._size = common if common and 4 * self._sizes[common] >= len(good) else None  # None: they have none
        self._advised = self._size or _advised(list(self._sizes.elements()), rules)
        if rules.resolution is not None:
            self._size = self._advised = pair(rules.resolution)
        elif rules.crop not in ("none", "center"):
            self._size = self._advised = pair(rules.crop)

    def misfits(self, fact: ImageFacts) -> Iterator[tuple[str, list[str]]]:
        """All that is wrong with an image; with each, what would help."""
        if fact.problem:
            yield fact.problem, ["removing what is not a whole image"]
            return
        mode, size = self._rules.mode(fact), self._rules.size(fact)
        if mode not in CHANNELS:
            yield "expected RGB, RGBA or grayscale", [self._help_for_mode(mode)]
        elif mode != self._mode:
            yield f"most images are {mode_name(self._mode)}", [self._help_for_mode(mode)]
        fits = size == self._size if self._size else len(self._sizes) == 1 and size in self._possible
        if not fits or self._rules.is_too_small(fact):
            yield self._problem_of_size(fact), self._help_for_size(fact)

    def _help_for_mode(self, mode: str) -> str:
        if mode == "F":
            return "--max-value, what is white, or saving floating point images as 8 bits"
        return f"--max-value, what is white, or {self._convert}" if mode == DEEP else self._convert

    def _problem_of_size(self, fact: ImageFacts) -> str:
        rules, size = self._rules, self._rules.size(fact)
        if rules.is_too_small(fact):
            return f"smaller than --crop={as_given(rules.crop)}"
        if rules.resolution is not None:
            height, width = self._size
            return "not square" if height == width else f"not of the proportions of {size_text(self._size)}"
        own = "" if size == (fact.height, fact.width) else f"{size_text(size)} in the middle "
        if size not in self._possible:
            if rules.base is not None:
                return f"{own}is not {size_text(rules.base)} times a power of two"
            return f"{own}is no small base times a power of two, nearest is {size_text(nearest(*size)[0])}"
        return f"most images are {size_text(self._size)}" if self._size else f"images have {len(self._sizes)} sizes"

    def _help_for_size(self, fact: ImageFacts) -> list[str]:
        result = [] if self._rules.resolution is not None else [f"--resolution={as_given(self._advised)}"]
        resizing = dataclasses.replace(self._rules, resolution=self._advised)
        fits = resizing.size(fact) == self._advised and not self._rules.is_too_small(fact)
        return result if fits else [*result, "--crop=center"]

    def other_help(self) -> str:
        """How images all of a size that cannot be are cut to one that can; nothing for others."""
        if self._possible or len(self._sizes) != 1 or self._rules.resolution is not None:
            return ""
        [size] = self._sizes
        cut = (nearest(*size)[1] or size) if self._rules.base is None else self._advised
        can_be = cut != size and cut[0] <= size[0] and cut[1] <= size[1]
        return f"; or --crop={as_given(cut)} alone, which resizes nothing" if can_be else ""


def _can_be(size: tuple[int, int], rules: ImageRules) -> bool:
    try:
        resolution_of(size, rules.base)
    except ValueError:
        return False
    return True


def _advised(sizes: Sequence[tuple[int, int]], rules: ImageRules) -> tuple[int, int]:
    """What most images can be resized to: not enlarged, with little cut off, and as large as is usual."""
    height, width = (int(statistics.median(sides)) for sides in zip(*sizes or [(256, 256)], strict=True))
    h, w = _simplest_base(height, width) if rules.base is None else pair(rules.base)
    times = max(min(height // h, width // w).bit_length() - 1, 0)
    while times and level_of_size(h << times, w << times) > _MAX_ADVISED_LEVEL:
        times -= 1
    return h << times, w << times


def _simplest_base(height: int, width: int) -> tuple[int, int]:
    """That of about as many pixels as 4x4 which has nearly the proportions of a size."""

    def key(base: tuple[int, int]) -> tuple[float, float]:
        ratio = base[0] * width / (base[1] * height)
        return max(1 - min(ratio, 1 / ratio), _SMALL_LOSS), abs(math.log(base[0] * base[1] / 16))

    sides = range(2, 17)
    return min(((h, w) for h in sides for w in sides if level_of_size(h, w) in (2, 3)), key=key)


def _report(names: Sequence[str], facts: Sequence[ImageFacts], found: Sequence[list[tuple[str, list[str]]]]) -> str:
    offenders = [offender for offender in zip(names, facts, found, strict=True) if offender[2]]
    do = "does" if len(offenders) == 1 else "do"
    head = f"{len(offenders)} of {counted(len(facts), 'image')} {do} not fit; nothing was written:"
    lines = []
    for name, fact, problems in offenders:
        what = f"{fact}: " if fact.mode else ""
        lines.append(f"{printable(name)}: {what}{'; '.join(problem for problem, _ in problems)}")
    helps = Counter(help_ for _, _, problems in offenders for _, several in problems for help_ in several)
    helping = ", ".join(
        f"{text} ({counted(count, 'image')})" if count > 1 else text for text, count in helps.most_common()
    )
    return "\n  ".join([head, *listed(lines, MAX_LISTED)]) + f"\nWhat would help: {helping}"


def announce(facts: Sequence[ImageFacts], rules: ImageRules) -> None:
    """Prints what will be done to images that fit."""
    converted = Counter(fact.mode for fact in facts if rules.mode(fact) != fact.mode)
    if converted:
        kinds = ", ".join(count_of_mode(count, mode) for mode, count in converted.most_common())
        black = "" if rules.convert == "rgba" else " Transparent parts become black."
        print(f"Converting to {mode_name(rules.mode(facts[0]))}: {kinds}.{black}")
    parts = [rules.part(fact.height, fact.width) for fact in facts]
    cropped = sum(part != (fact.height, fact.width) for part, fact in zip(parts, facts, strict=True))
    size = rules.size(facts[0])
    if cropped:
        what = "square" if size[0] == size[1] else f"part of the proportions of {size_text(size)}"
        if rules.crop != "center":
            what = size_text(rules.crop)
        print(f"Cropping {counted(cropped, 'image')} to the {what} in the middle.")
    resized = [part for part in parts if part != size]
    if resized:
        larger = sum(part[0] < size[0] for part in resized)
        note = f"; {larger} smaller than that, which will look blurred" if larger else ""
        print(f"Resizing {counted(len(resized), 'image')} to {size_text(size)} ({rules.resize}){note}.")
    resolution = resolution_of(size, rules.base)
    if resolution.first_log2 > _MAX_NEAT_LEVEL:
        neat = as_given(_advised([size], dataclasses.replace(rules, base=None)))
        print(
            f"Networks for {resolution} begin with {size_text(resolution.base)}, which takes large dense layers; those "
            f"for --crop=center --resolution={neat} do not."
        )
