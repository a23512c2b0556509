"""Pictures of Pillow: kinds of pixels and their names in messages, arrays from and to pictures, saving, the font."""

import io
import os
from collections.abc import Sequence

import numpy as np
import PIL.Image

from .files import atomic_write

CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
"""The modes of Pillow that data sets can have, with their number of channels."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""The modes of Pillow that networks make images of, by number of channels."""
DEEP = "16-bit"
"""Our mode for 16 bits per channel, of which Pillow has several, and none for colours."""
WHITE = (255, 255, 255)
_CHECKERS = 255, 204  # of the two kinds of squares
_CHECKER = 8  # pixels of a side
_NAMES = {
    "1": "black and white",
    DEEP: "16 bits per channel",
    "F": "floating point",
    "I": "32-bit integers",
    "L": "grayscale",
    "LA": "grayscale with transparency",
    "P": "palette",
    "RGBA": "RGB with transparency",
}


def mode_of(img: PIL.Image.Image) -> str:
    """Mode of an image that is not loaded yet: that of Pillow, or `DEEP`."""
    raw = img.tile[0][3] if img.tile else ""  # Pillow drops the lower bits of 16-bit RGB silently
    raw = raw if isinstance(raw, str) else str(raw[0] if raw else "")
    return DEEP if img.mode.startswith("I;16") or ";16" in raw else img.mode


def mode_name(mode: str) -> str:
    """'grayscale' for 'L', and so on."""
    return _NAMES.get(mode, mode)


def count_of_mode(count: int, mode: str) -> str:
    """'1 palette image', '6 images of 16 bits per channel'."""
    name = mode_name(mode)
    images = "image" if count == 1 else "images"
    return f"{count} {images} of {name}" if " " in name else f"{count} {name} {images}"


def scaled_to_8_bits(values: np.ndarray, white: float) -> np.ndarray:
    """Values as uint8 of the same shape: 0 stays, `white` and more become 255."""
    return np.rint(np.asarray(values, np.float64) / (white / 255)).clip(0, 255).astype(np.uint8)


def converted(img: PIL.Image.Image, mode: str) -> PIL.Image.Image:
    """A picture of 8 bits per channel as 'L', 'RGB' or 'RGBA'. Without an alpha channel, it is laid over black."""
    if img.mode == mode:
        return img
    if img.mode in ("La", "LAB"):  # of which Pillow knows one way
        img = img.convert({"La": "LA", "LAB": "RGB"}[img.mode])
    if mode != "RGBA" and img.has_transparency_data:
        img = img.convert("RGBA")
        img = PIL.Image.alpha_composite(PIL.Image.new("RGBA", img.size, "black"), img).convert("RGB")
    return img.convert(mode)


def to_chw(img: PIL.Image.Image) -> np.ndarray:
    """An RGB or grayscale picture as uint8 [C, H, W]."""
    array = np.asarray(img)
    return array[np.newaxis] if array.ndim == 2 else array.transpose(2, 0, 1)


def to_pil(image: np.ndarray) -> PIL.Image.Image:
    """A uint8 image `[H, W, C]` as a picture: grayscale, RGB or RGBA."""
    mode = MODES[image.shape[2]]
    return PIL.Image.fromarray(image[:, :, 0] if mode == "L" else image)


def composited(images: np.ndarray, matte: Sequence[int] = WHITE) -> np.ndarray:
    """RGBA images, uint8 [..., 4, H, W] with straight alpha, laid over one colour: uint8 [..., 3, H, W].

    What is transparent is of that colour, whatever lies under it.

    matte: red, green and blue, 0 to 255.
    """
    return _over(images, np.asarray(matte, np.uint16).reshape(3, 1, 1))


def over_checkerboard(images: np.ndarray, side: int = _CHECKER) -> np.ndarray:
    """RGBA images, uint8 [..., 4, H, W], laid over white and light gray squares: uint8 [..., 3, H, W].

    side: of the squares, in pixels.
    """
    y, x = np.ogrid[: images.shape[-2], : images.shape[-1]]
    return _over(images, np.asarray(_CHECKERS, np.uint16)[(y // side + x // side) % 2])


def _over(images: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Images over a background, uint16, of a shape that fits [3, H, W]."""
    alpha = images[..., 3:, :, :].astype(np.uint16)
    sums = images[..., :3, :, :] * alpha + background * (255 - alpha)  # at most 255 * 255
    return ((sums + 127) // 255).astype(np.uint8)  # rounded: no sum is halfway between


def save_image(image: np.ndarray | PIL.Image.Image, path: str | os.PathLike) -> None:
    """Saves a uint8 image `[H, W, C]`, or a picture, in the format of the path's suffix: whole or not at all."""
    picture = to_pil(image) if isinstance(image, np.ndarray) else image
    suffix = os.path.splitext(path)[1].lstrip(".").lower()
    webp = {"quality": 95, "method": 4, "exact": True}  # with the colours of what is transparent
    options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": webp}.get(suffix, {})
    buffer = io.BytesIO()
    picture.save(buffer, {"jpg": "JPEG"}.get(suffix, suffix.upper()), **options)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def default_font() -> str:
    """The DejaVu Sans that matplotlib ships."""
    import matplotlib

    return os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
