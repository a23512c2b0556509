"""What is done to images on their way into a data set: conversion, cropping, resizing."""

from dataclasses import dataclass

import numpy as np
import PIL.Image

from dnnlib.pictures import converted, to_chw
from training.data.image_files import ImageFacts

_PILLOW_MODES = {"rgb": "RGB", "gray": "L"}


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
        if facts.mode == "F":  # nobody knows the range of floating point pixels
            return "F"
        return _PILLOW_MODES.get(self.convert, facts.mode)

    def apply(self, img: PIL.Image.Image) -> np.ndarray:
        """The finished image, uint8 [C, H, W]."""
        if self.convert != "none":
            img = converted(img, _PILLOW_MODES[self.convert])
        if self.crop == "center":
            side = min(img.size)
            left, top = (img.width - side) // 2, (img.height - side) // 2
            img = img.crop((left, top, left + side, top + side))
        if self.resolution and img.size != (self.resolution, self.resolution):
            resample = PIL.Image.Resampling[self.resize.upper()]
            img = img.resize((self.resolution, self.resolution), resample)
        return to_chw(img)
