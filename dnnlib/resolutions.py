"""Sizes of images: a base `h x w` times a power of two, such as 5x3 times 2**7, 640x384.

The base is what networks begin with: the size of the learned constant and of the smallest feature maps. It is 4x4 for
square images, officially the only ones.

Wherever the official code counts by log2 of a resolution (feature maps, names of layers and of tfrecords, levels of
detail), other images count as the square of nearly as many pixels: a *level*. 512x384 is of level 9, as 512x512 is, and
its base, 4x3, of level 2. So networks for images of any shape are as large as those of squares, and share their layers.
"""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import NamedTuple

MAX_LEVEL = 16
_MAX_BASE_LEVEL = 4  # feature maps of a base are joined by a dense layer: 512 of 16x16 take 67 million weights
_NEAT_BASE_LEVEL = 3  # of sizes to be suggested
Size = int | Sequence[int]
"""A square by its side, or `(height, width)`."""


class Resolution(NamedTuple):
    """Height and width of images, in pixels, and the base that they are a power of two of."""

    height: int
    width: int
    base: tuple[int, int]

    @property
    def log2(self) -> int:
        """The level of the images."""
        return level_of_size(self.height, self.width)

    @property
    def first_log2(self) -> int:
        """The level of the base."""
        return level_of_size(*self.base)

    @property
    def levels(self) -> list[int]:
        """From that of the images down to that of the base."""
        return list(range(self.log2, self.first_log2 - 1, -1))

    @property
    def is_square(self) -> bool:
        return self.height == self.width

    @property
    def argument(self) -> int | list[int]:
        """As networks and data sets are told: the side of a square, else `[height, width]`."""
        return self.height if self.is_square else [self.height, self.width]

    def size(self, level: int) -> tuple[int, int]:
        """Height and width at a level: the base times `2**(level - first_log2)`."""
        times = level - self.first_log2
        if not 0 <= times <= self.log2 - self.first_log2:
            raise ValueError(f"{self} has the levels {self.first_log2} to {self.log2}, not {level}")
        return self.base[0] << times, self.base[1] << times

    def __str__(self) -> str:
        return size_text((self.height, self.width))


def resolution_of(size: Size, base: Size | None = None) -> Resolution:
    """The resolution of a size. `base` is found where it is not given: the smallest of level 2 or more.

    Raises ValueError for sizes that cannot be, with the nearest that can.
    """
    height, width = _pair(size)
    if base is None:
        found = _base_of(height, width)
        if found is None or level_of_size(height, width) > MAX_LEVEL:
            raise ValueError(f"{size_text(size)}: {_RULE}; {nearest_text(height, width)}")
        return Resolution(height, width, found)
    h, w = _pair(base)
    if level_of_size(h, w) > _MAX_BASE_LEVEL:
        raise ValueError(f"base {size_text(base)}: expected one of fewer than {2 << 2 * _MAX_BASE_LEVEL} pixels")
    times = (height // h).bit_length() - 1
    if times < 0 or (h << times, w << times) != (height, width) or level_of_size(height, width) > MAX_LEVEL:
        bases = ", ".join(map(size_text, _bases(height, width)))
        can_be = f"{size_text(size)} has the bases {bases}" if bases else nearest_text(height, width)
        raise ValueError(f"{size_text(size)} is not {size_text(base)} times a power of two; {can_be}")
    return Resolution(height, width, (h, w))


_RULE = "height and width must be a small base, such as 4x4 or 5x3, times a power of two"


def level_of_size(height: int, width: int) -> int:
    """log2 of the side of the square that has about as many pixels: at least half, and less than twice as many."""
    return (height * width).bit_length() // 2


def nearest(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """The sizes that can be nearest to one that cannot: to resize to, and the largest to cut out (None: too small)."""

    def off(size: tuple[int, int]) -> float:
        ratios = size[0] / height, size[1] / width
        return max(max(ratio, 1 / ratio) for ratio in ratios)

    sizes = [size for size in _sizes_about(height, width) if _is_neat(*size)]
    inside = [size for size in sizes if size[0] <= height and size[1] <= width]
    return min(sizes, key=off, default=(4, 4)), max(inside, key=lambda size: size[0] * size[1], default=None)


def nearest_text(height: int, width: int) -> str:
    """'nearest are 640x384 (resized) and 576x384 (cut out)'."""
    resized, cut = nearest(height, width)
    if cut is None or cut == resized:
        return f"nearest is {size_text(resized)}"
    return f"nearest are {size_text(resized)} (resized) and {size_text(cut)} (cut out)"


def size_text(size: Size) -> str:
    """'640x384': height and width."""
    return "x".join(map(str, _pair(size)))


def _pair(size: Size) -> tuple[int, int]:
    """Height and width. Raises ValueError for what is none."""
    sides = list(size) if isinstance(size, Iterable) else [size, size]
    if len(sides) != 2 or not all(isinstance(side, Integral) and 1 <= side <= 1 << 24 for side in sides):
        raise ValueError(f"expected the side of a square, or [height, width] in pixels, got {size!r:.100}")
    return int(sides[0]), int(sides[1])


def _bases(height: int, width: int) -> Iterator[tuple[int, int]]:
    """What a size is a power of two of, from the smallest, and can be a base."""
    times = min((height & -height).bit_length(), (width & -width).bit_length()) - 1
    for shift in range(times, -1, -1):
        if level_of_size(height >> shift, width >> shift) <= _MAX_BASE_LEVEL:
            yield height >> shift, width >> shift


def _base_of(height: int, width: int) -> tuple[int, int] | None:
    return next((base for base in _bases(height, width) if level_of_size(*base) >= 2), None)


def _is_neat(height: int, width: int) -> bool:
    base = _base_of(height, width)
    return base is not None and level_of_size(*base) <= _NEAT_BASE_LEVEL


def _sizes_about(height: int, width: int) -> Iterator[tuple[int, int]]:
    for times in range(MAX_LEVEL):
        h, w = height >> times, width >> times
        yield from ((a << times, b << times) for a in (h, h + 1) for b in (w, w + 1) if a and b)
