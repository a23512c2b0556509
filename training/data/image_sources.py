"""Where images of a data set come from. Every kind of storage is a subclass of `ImageSource` that reads by position."""

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, ClassVar

import numpy as np

from dnnlib.errors import UserError
from dnnlib.resolutions import Resolution

from .averages import box_mean


class ImageSource:
    """Images that can be read in any order, by several threads.

    A subclass opens `path` in its constructor, sets the attributes, raises UserError naming everything that is wrong,
    and implements `read_stored`. Levels are those of `dnnlib.resolutions`: 10 is 1024x1024.

    Attributes:
        path: file or folder.
        count: number of images.
        channels: 1, 3, or 4 (RGBA, straight alpha).
        resolution: of the images.
        levels: levels that are stored, descending; the first is the full resolution.
        dtype: of images.
        names: of the images, relative paths with `/`; empty where they have none.
        labels: labels that are stored with the images, float32 [count, label_size], or None.
        label_names: of their columns: of the classes, or numbers.
        looks_at_headers_only: whether opening leaves images that cannot be decoded to be found.
        notes: what is to be said of the images: which were left out, and so on.
        changes: what is done to pixels when they are read; nothing for most.
    """

    kind: ClassVar[str]
    path: str
    count: int
    channels: int
    resolution: Resolution
    levels: list[int]
    dtype: str = "uint8"
    names: Sequence[str] = ()
    labels: np.ndarray | None = None
    label_names: Sequence[str] = ()
    looks_at_headers_only: bool = False
    notes: Sequence[str] = ()
    changes: Sequence[Any] = ()

    def read_stored(self, indices: np.ndarray, level: int) -> np.ndarray:
        """Images [N, C, *resolution.size(level)] of `dtype`, at one of `levels`."""
        raise NotImplementedError

    def open_image(self, index: int, level: int) -> BinaryIO | None:
        """The file of an image, at one of `levels`, where it is stored as one; None where as pixels.

        Any exception means that it cannot be read.
        """
        return None

    def problem_of(self, index: int, level: int) -> str | None:
        """Why an image, at one of `levels`, cannot be read; None if it can be."""
        return None

    def verify_images(self, progress: Callable[[int], None]) -> None:
        """Reads the images of all `levels`, telling `progress` how many more are done. Raises UserError."""

    def checksums(self, count: int) -> np.ndarray:
        """Numbers of the first `count` images, uint64 [count], which copies elsewhere share and other images do not.

        The upper 32 bits are of the full resolution as it is stored, the lower ones of all others that are.
        """
        raise NotImplementedError

    def files(self) -> list[str]:
        """Paths of the files that hold the images."""
        return []

    def close(self) -> None:
        """Closes files."""

    def read(self, indices: np.ndarray, level: int) -> np.ndarray:
        """Images [N, C, H, W] of `dtype`, at any level to which height and width can be halved.

        Levels that are not stored are averaged from the first: from one in between they would be rounded twice.
        """
        if level in self.levels:
            return self.read_stored(indices, level)
        return box_mean(self.read_stored(indices, self.levels[0]), self.levels[0] - level)


def report(path: str, problems: list[str], hint: str = "") -> None:
    """Raises one UserError for all problems of a data set, if there are any; a hint is its last line."""
    if problems:
        lines = [f"the data set {path} cannot be used:", *(f"  {problem}" for problem in problems)]
        raise UserError("\n".join([*lines, f"({hint})"] if hint else lines))


class ZeroSource(ImageSource):
    """Images of zeros, at all levels."""

    kind = "zeros"

    def __init__(self, count: int, channels: int, resolution: Resolution, dtype: str):
        self.count, self.channels, self.resolution, self.dtype = count, channels, resolution, dtype
        self.levels = resolution.levels

    def checksums(self, count: int) -> np.ndarray:
        return np.zeros(count, np.uint64)

    def read_stored(self, indices: np.ndarray, level: int) -> np.ndarray:
        return np.zeros([len(indices), self.channels, *self.resolution.size(level)], self.dtype)
