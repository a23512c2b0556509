"""Reads images, and does to them what is asked for: conversion, cropping, resizing."""

import io
from dataclasses import dataclass

import numpy as np
import PIL.Image

from dnnlib.errors import UserError
from dnnlib.pictures import mode_of, to_chw

from .image_list import ImageFile

RESIZE_FILTERS = {
    "box": PIL.Image.Resampling.BOX,
    "lanczos": PIL.Image.Resampling.LANCZOS,
    "bicubic": PIL.Image.Resampling.BICUBIC,
}
_PILLOW_MODES = {"rgb": "RGB", "gray": "L"}
NOT_AN_IMAGE = "not an image"
_UNCONVERTIBLE = ("F",)  # Pillow does not know the range of floating point pixels


@dataclass(frozen=True)
class ImageFacts:
    """What a file turned out to be: size in pixels, mode (of `image_modes`), or why it is not a whole image."""

    width: int = 0
    height: int = 0
    mode: str = ""
    rotated: bool = False  # asks viewers to rotate it
    problem: str = ""


@dataclass(frozen=True)
class ImageRules:
    """What is done to each image, in this order.

    convert: 'rgb' or 'gray' converts whatever is not; 'none' leaves colours alone.
    crop: 'center' cuts out the largest square in the middle; 'none' leaves the sides alone.
    resolution: width and height to resize to; None is no resizing.
    resize: filter of resizing: 'box', 'lanczos' or 'bicubic'.
    """

    convert: str = "none"
    crop: str = "none"
    resolution: int | None = None
    resize: str = "lanczos"

    def size(self, facts: ImageFacts) -> tuple[int, int]:
        """Width and height of an image when all is done."""
        side = min(facts.width, facts.height)
        width, height = (side, side) if self.crop == "center" else (facts.width, facts.height)
        return (self.resolution, self.resolution) if self.resolution and width == height else (width, height)

    def mode(self, facts: ImageFacts) -> str:
        """Mode of an image when all is done."""
        return facts.mode if facts.mode in _UNCONVERTIBLE else _PILLOW_MODES.get(self.convert, facts.mode)

    def apply(self, img: PIL.Image.Image) -> np.ndarray:
        """The finished image, uint8 [C, H, W]."""
        if self.convert != "none":
            img = _converted(img, _PILLOW_MODES[self.convert])
        if self.crop == "center":
            side = min(img.size)
            left, top = (img.width - side) // 2, (img.height - side) // 2
            img = img.crop((left, top, left + side, top + side))
        if self.resolution and img.size != (self.resolution, self.resolution):
            img = img.resize((self.resolution, self.resolution), RESIZE_FILTERS[self.resize])
        return to_chw(img)


def _converted(img: PIL.Image.Image, mode: str) -> PIL.Image.Image:
    if img.mode == mode:
        return img
    if img.mode in ("I", "I;16", "I;16B", "I;16L"):  # Pillow would clip at 255
        values = np.asarray(img).astype(np.float64)
        img = PIL.Image.fromarray(np.rint(values / 257).clip(0, 255).astype(np.uint8))
    if img.has_transparency_data:
        img = img.convert("RGBA")
        img = PIL.Image.alpha_composite(PIL.Image.new("RGBA", img.size, "black"), img).convert("RGB")
    return img.convert(mode)


# ----------------------------------------------------------------------------
# Reading.


def open_image(file: ImageFile) -> PIL.Image.Image:
    """The decoded image. Raises UserError with its name for anything that is not a whole image."""
    try:
        img = PIL.Image.open(io.BytesIO(_content(file)))
        img.load()
        return img
    except Exception as error:  # of any kind: decoders meet hostile files
        raise UserError(f"{file.name}: {_reason(error)}") from None


def look_at(file: ImageFile) -> ImageFacts:
    """Decodes an image to say what it is."""
    try:
        img = PIL.Image.open(io.BytesIO(_content(file)))
        mode = mode_of(img)
        img.load()
        return ImageFacts(img.width, img.height, mode, img.getexif().get(0x0112, 1) != 1)
    except Exception as error:
        return ImageFacts(problem=_reason(error))


def _content(file: ImageFile) -> bytes:
    content = file.read()
    if not content:
        raise ValueError("the file is empty")
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return NOT_AN_IMAGE
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"cannot be read ({' '.join(str(error).split())[:100] or type(error).__name__})"
