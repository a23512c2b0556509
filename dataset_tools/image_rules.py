"""What is done to images on their way into a data set: conversion, cropping, resizing."""

import re
from dataclasses import dataclass

import numpy as np
import PIL.Image

from dnnlib.errors import UserError
from dnnlib.pictures import converted, to_chw
from dnnlib.resolutions import Resolution, Size, resolution_of, size_text
from training.data.image_files import ImageFacts

_PILLOW_MODES = {"rgb": "RGB", "rgba": "RGBA", "gray": "L"}


def checked_resolution(flag: str, size: Size, base: Size | None = None) -> Resolution:
    """The resolution of a size that a flag gives. Raises UserError for sizes that cannot be, with the nearest."""
    try:
        return resolution_of(size, base)
    except ValueError as error:
        problem = re.sub(rf"^(base )?{size_text(size)}: ", "", str(error))
        raise UserError(f"{flag}={as_given(size)}: {problem}") from None


@dataclass(frozen=True)
class ImageRules:
    """What is done to each image, in this order. Sizes are the side of a square, or (height, width).

    convert: 'rgb', 'rgba' or 'gray' converts whatever is not; 'none' leaves colours alone.
    crop: 'center' cuts out the largest part in the middle of the proportions of `resolution`, of `base`, or of a
        square; a size cuts out so many pixels in the middle; 'none' leaves the sides alone.
    resolution: what to resize to, without a change of proportions; None is no resizing.
    resize: filter of resizing: 'box', 'lanczos' or 'bicubic'.
    base: what height and width are to be a power of two of; None is any.
    """

    convert: str = "none"
    crop: str | Size = "none"
    resolution: Size | None = None
    resize: str = "lanczos"
    base: Size | None = None

    def part(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what is taken of an image. Of one that is smaller than `crop`, what there is."""
        if self.crop == "none":
            return height, width
        if self.crop == "center":
            return self._largest_part(height, width)
        h, w = pair(self.crop)
        return min(h, height), min(w, width)

    def _largest_part(self, height: int, width: int) -> tuple[int, int]:
        if self.resolution is None:  # so that it is of these proportions exactly
            h, w = pair(self.base or 1)
            times = max(min(height // h, width // w), 1)
            return min(times * h, height), min(times * w, width)
        most_rows, most_columns = self._other_sides(height, width)
        return min(height, most_rows), min(width, most_columns)

    def _other_sides(self, height: int, width: int) -> tuple[int, int]:
        """The height that goes with a width where proportions are those of `resolution`, and the other way round."""
        h, w = pair(self.resolution)
        return max(round(width * h / w), 1), max(round(height * w / h), 1)

    def size(self, facts: ImageFacts) -> tuple[int, int]:
        """Height and width of an image when all is done. It is not resized where that would change proportions."""
        part = self.part(facts.height, facts.width)
        if self.resolution is None:
            return part
        rows, columns = self._other_sides(*part)
        return pair(self.resolution) if part[0] == rows or part[1] == columns else part

    def is_too_small(self, facts: ImageFacts) -> bool:
        """Whether `crop` is a size that cannot be cut out."""
        return self.crop not in ("none", "center") and self.part(facts.height, facts.width) != pair(self.crop)

    def mode(self, facts: ImageFacts) -> str:
        """Mode of an image when all is done."""
        if facts.mode == "F":  # nobody knows the range of floating point pixels
            return "F"
        return _PILLOW_MODES.get(self.convert, facts.mode)

    def apply(self, img: PIL.Image.Image) -> np.ndarray:
        """The finished image, uint8 [C, H, W]."""
        if self.convert != "none":
            img = converted(img, _PILLOW_MODES[self.convert])
        height, width = self.part(img.height, img.width)
        if (height, width) != (img.height, img.width):
            left, top = (img.width - width) // 2, (img.height - height) // 2
            img = img.crop((left, top, left + width, top + height))
        if self.resolution is not None and (height, width) != pair(self.resolution):
            img = resized(img, pair(self.resolution), PIL.Image.Resampling[self.resize.upper()])
        return to_chw(img)


def resized(img: PIL.Image.Image, size: tuple[int, int], resample: PIL.Image.Resampling) -> PIL.Image.Image:
    """A picture of another height and width. Colours of RGBA are weighted by alpha: what is transparent has no say.

    What becomes wholly transparent keeps colours, too: as if all had been opaque.
    """
    height, width = size
    if img.mode != "RGBA" or img.getchannel("A").getextrema()[0] == 255:
        return img.resize((width, height), resample)

    def plane(values: np.ndarray) -> np.ndarray:
        return np.asarray(PIL.Image.fromarray(values).resize((width, height), resample))

    *colors, weights = img.split()
    weights = np.asarray(weights, np.float32)
    alpha = plane(weights)
    seen = alpha >= 0.5
    result = np.array(img.convert("RGB").resize((width, height), resample), np.float32)  # [H, W, 3]
    for channel, values in enumerate(colors):  # one by one: photographs are large
        result[..., channel][seen] = plane(np.asarray(values) * weights)[seen] / alpha[seen]
    result = np.concatenate([result, alpha[..., np.newaxis]], axis=2)
    return PIL.Image.fromarray(np.rint(result).clip(0, 255).astype(np.uint8))


def as_given(size: Size) -> str:
    """A size as flags take it: '256', '640x384'."""
    height, width = pair(size)
    return str(height) if height == width else size_text(size)


def pair(size: Size) -> tuple[int, int]:
    """Height and width of a size that is one."""
    height, width = np.broadcast_to(size, 2)
    return int(height), int(width)
