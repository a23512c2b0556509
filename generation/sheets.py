"""Sheets of images with the names of rows and columns beside them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from dnnlib.errors import UserError
from dnnlib.pictures import default_font, to_pil
from dnnlib.resolutions import size_text

_MAX_SIDE = {"jpg": 65500, "webp": 16383, "png": 1 << 20}  # pixels
_MAX_PIXELS = 1 << 29
_LONGEST = 24  # characters of a label


class LabelledSheet:
    """Images of one size in a table, black text beside them on white.

    Args:
        size: height and width of an image.
        rows: labels at the left.
        columns: labels above.
        footers: labels below; may be left out.
        image_format: that it will be saved in.

    Attributes:
        size: height and width of the sheet.

    Raises UserError for a sheet that its format or the memory cannot hold.
    """

    def __init__(
        self,
        size: tuple[int, int],
        rows: Sequence[str],
        columns: Sequence[str],
        footers: Sequence[str] = (),
        image_format: str = "png",
    ):
        self._rows, self._columns, self._footers = (
            [label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…" for label in labels]
            for labels in (rows, columns, footers)
        )
        self._image = height, width = size
        points = min(max(math.isqrt(height * width) // 16, 11), 40)
        self._font = PIL.ImageFont.truetype(default_font(), points, layout_engine=PIL.ImageFont.Layout.BASIC)
        self._gap = max(points // 5, 2)  # pixels, between images and around text
        self._line = sum(self._font.getmetrics()) + 2 * self._gap
        # Where labels are wider than images, images stand farther apart.
        self._left = self._width(self._rows)
        self._pitch = max(width + self._gap, self._width([*self._columns, *self._footers]))
        bottom = self._line if any(self._footers) else self._gap
        self._top = self._line if any(self._columns) else self._gap
        across = self._left + len(self._columns) * self._pitch + self._gap
        self.size = self._top + len(self._rows) * (height + self._gap) - self._gap + bottom, across
        check_sheet(*self.size, image_format)

    def _width(self, labels: Sequence[str]) -> int:
        return max(math.ceil(self._font.getlength(label)) for label in labels) + 2 * self._gap if any(labels) else 0

    def draw(self, images: Mapping[tuple[int, int], np.ndarray]) -> PIL.Image.Image:
        """The sheet of uint8 images `[H, W, C]`, keyed by (row, column); places without an image are white.

        Grayscale images `[H, W, 1]` may be among others.
        """
        pictures = {place: to_pil(image) for place, image in images.items()}
        mode = max((picture.mode for picture in pictures.values()), key=("L", "RGB", "RGBA").index)
        sheet = PIL.Image.new(mode, self.size[::-1], "white")
        for (row, column), picture in pictures.items():
            left, middle = self._column(column)
            sheet.paste(picture.convert(mode), (left, self._row(row)))
        text = PIL.ImageDraw.Draw(sheet)
        for column in range(len(self._columns)):
            middle = self._column(column)[1]
            text.text((middle, self._top - self._gap), self._columns[column], "black", self._font, anchor="md")
            if self._footers:
                foot = (middle, self._row(len(self._rows)))
                text.text(foot, self._footers[column], "black", self._font, anchor="ma")
        for row, label in enumerate(self._rows):
            middle = self._row(row) + self._image[0] // 2
            text.text((self._left - self._gap, middle), label, "black", self._font, anchor="rm")
        return sheet

    def _column(self, column: int) -> tuple[int, int]:
        """Left edge of the images of a column, and its middle."""
        begin = self._left + column * self._pitch
        return begin + (self._pitch - self._image[1]) // 2, begin + self._pitch // 2

    def _row(self, row: int) -> int:
        return self._top + row * (self._image[0] + self._gap)


def paste_grid(images: dict[tuple[int, int], np.ndarray], columns: int, rows: int) -> PIL.Image.Image:
    """Arranges images `[H, W, C]`, keyed by (row, column), on a black sheet (transparent for RGBA)."""
    height, width, channels = next(iter(images.values())).shape
    sheet = np.zeros([height * rows, width * columns, channels], np.uint8)
    for (row, column), image in images.items():
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    return to_pil(sheet)


def enlarged(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """An image `[H, W, C]` in the middle of one of another width and height, black (transparent) around.

    Every pixel is repeated as often across and down as fits. None: the image as it is.
    """
    if size is None:
        return image
    height, width, channels = image.shape
    factor = _factor(height, width, size)
    result = np.zeros([size[1], size[0], channels], np.uint8)
    top, left = (size[1] - height * factor) // 2, (size[0] - width * factor) // 2
    inside = result[top : top + height * factor, left : left + width * factor]
    lines = image.repeat(factor, axis=1)
    for line in range(factor):
        inside[line::factor] = lines
    return result


def _factor(height: int, width: int, size: tuple[int, int]) -> int:
    return min(size[1] // height, size[0] // width)


def check_enlarged(height: int, width: int, size: tuple[int, int]) -> None:
    """Raises UserError for images that do not fit into a width and height."""
    if not _factor(height, width, size):
        raise UserError(
            f"--size={size[0]}x{size[1]}: the frames are {width}x{height}, width and height; expected as much "
            "or more, or a smaller --grid"
        )


def check_sheet(height: int, width: int, image_format: str) -> None:
    """Raises UserError for a sheet that its format or the memory cannot hold."""
    if max(width, height) > _MAX_SIDE[image_format] or width * height > _MAX_PIXELS:
        most = f"up to {_MAX_SIDE[image_format]} pixels a side and {_MAX_PIXELS >> 20} million pixels"
        raise UserError(f"a grid of {size_text((height, width))} pixels is too large: {image_format} holds {most}")


def grid_size(num: int, size: tuple[int, int] | str) -> tuple[int, int]:
    """Columns and rows for a number of images: as given, or for 'auto' about square.

    Raises UserError if they do not fit into the given size.
    """
    if isinstance(size, str):
        columns = math.ceil(math.sqrt(num))
        return columns, math.ceil(num / columns)
    if size[0] * size[1] < num:
        raise UserError(f"--grid={size[0]}x{size[1]} has {size[0] * size[1]} places, there are {num} images")
    return size
