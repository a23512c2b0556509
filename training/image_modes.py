"""Kinds of pixels that image files have, and their names in messages."""

import PIL.Image

CHANNELS = {"L": 1, "RGB": 3}
"""The modes of Pillow that data sets can have, with their number of channels."""
DEEP = "16-bit"
"""Our mode for 16 bits per channel, of which Pillow has several, and none for colours."""
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


def describe(width: int, height: int, mode: str) -> str:
    """'16x16 grayscale'."""
    return f"{width}x{height} {mode_name(mode)}"


def count_of_mode(count: int, mode: str) -> str:
    """'1 palette image', '6 images of 16 bits per channel'."""
    name = mode_name(mode)
    images = "image" if count == 1 else "images"
    return f"{count} {images} of {name}" if " " in name else f"{count} {name} {images}"
