"""One image in a file of an image format: what its header says, and its pixels. All readers of image files ask here.

An image is what its first bytes say, whatever its extension. It is turned upright where its EXIF orientation asks for
that, and has 8 bits per channel when it is decoded, whatever it had before.
"""

import io
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
import PIL.features
import PIL.Image
import PIL.PngImagePlugin

from dnnlib.errors import UserError, counted, reason_of
from dnnlib.files import SpecialFileError
from dnnlib.kinds import HEAD, image_format, mistaken
from dnnlib.network_drives import persistently
from dnnlib.pictures import DEEP, converted, mode_name, mode_of, scaled_to_8_bits

EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif"),
    *(".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".qoi"),
)
"""Of files that are to be images: one that cannot be read is damaged. Other files are images if Pillow says so."""
EXIF = ("upright", "ignore")
"""What can be done about the orientation that EXIF asks for."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "TGA", "QOI")
_FORMATS += ("PSD", "SGI", "PCX", "DDS")
"""Those of Pillow that hold pictures: others run programs (EPS), or are data of other kinds (HDF5, FITS)."""
_ANIMATED = ("GIF", "WEBP", "PNG", "TIFF", "AVIF")
_FEATURES = {"WebP": "webp", "AVIF": "avif", "JPEG 2000": "jpg_2000"}  # which builds of Pillow may lack
_NEVER = ("HEIC", "JPEG XL", "OpenEXR", "camera raw", "GIMP")  # of the formats in `dnnlib.kinds`
_DARK = 0.5  # of the range: images whose largest value is below had fewer bits
_WHITE = {"I;12": 4095.0}  # by how TIFF files store pixels
_CLEAR = ("P", "PA", "LA", "La", "RGBa")  # modes that are RGBA where they have transparency
_ORIENTATION = 0x0112  # tag of EXIF
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_BACK = {6: 8, 8: 6}  # orientations that undo others; the rest undo themselves
_Result = TypeVar("_Result")

# ----------------------------------------------------------------------------
# Limits. Pillow's own refuse whole photographs, and nobody can raise them from a command line.

PIXELS_VARIABLE = "STYLEGAN2_MAX_PIXELS"
"""Environment variable with the number of pixels that an image may have."""
_MAX_PIXELS = 200_000_000
PIL.Image.MAX_IMAGE_PIXELS = None  # `_open` looks, and says what can be done
PIL.PngImagePlugin.MAX_TEXT_CHUNK = PIL.PngImagePlugin.MAX_TEXT_MEMORY


def _max_pixels() -> int:
    text = os.environ.get(PIXELS_VARIABLE) or str(_MAX_PIXELS)
    if not text.isdecimal():
        raise UserError(f"{PIXELS_VARIABLE}={text}: expected a number of pixels, such as {_MAX_PIXELS}")
    return int(text)


# ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """How image files are read.

    exif: 'upright' turns images as their EXIF orientation asks; 'ignore' leaves them as they are stored.
    max_value: what becomes white of images of more than 8 bits per channel, such as 4095 for 12 bits in 16. None: the
        largest value that they can have; they are then told from images of 8 bits.

    Raises UserError for other values.
    """

    exif: str = "upright"
    max_value: float | None = None

    def __post_init__(self) -> None:
        if self.exif not in EXIF:
            raise UserError(f"exif={self.exif!r}, expected {' or '.join(EXIF)}")
        number = isinstance(self.max_value, int | float) and not isinstance(self.max_value, bool)
        if self.max_value is not None and not (number and 0 < self.max_value < float("inf")):
            raise UserError(f"max_value={self.max_value!r}, expected a number above 0")


AS_USUAL = Reading()
"""How image files are read if nobody asks for something else."""


@dataclass(frozen=True)
class ImageFacts:
    """What a file turned out to be.

    width, height: in pixels, as it is read. mode: of `dnnlib.pictures`. turned: its EXIF orientation is not upright.
    animated: it has more pictures; the first is read. peak: largest value, of more than 8 bits; known once decoded.
    problem: why it is not a whole image. foreign: it is no image at all, or of a kind that Pillow cannot decode.
    """

    width: int = 0
    height: int = 0
    mode: str = ""
    turned: bool = field(default=False, compare=False)
    animated: bool = field(default=False, compare=False)
    peak: float = field(default=0.0, compare=False)
    problem: str = ""
    foreign: bool = False

    def __str__(self) -> str:
        return f"{self.height}x{self.width} {mode_name(self.mode)}"


def notes_about(facts: Iterable[ImageFacts], reading: Reading) -> list[str]:
    """What is to be said of images that are read: how many are turned, and how many have more pictures."""
    turned = animated = 0
    for fact in facts:
        turned, animated = turned + fact.turned, animated + fact.animated
    notes, images = [], counted(turned, "image")
    if turned and reading.exif == "upright":
        notes.append(f"Turning {images} upright, by EXIF orientation (--exif=ignore takes images as stored).")
    elif turned:
        notes.append(f"Taking {images} as stored, though viewers turn them upright (EXIF orientation).")
    if animated:
        notes.append(f"Taking the first picture of {counted(animated, 'image')} with several.")
    return notes


def notes_about_depth(facts: Iterable[ImageFacts], reading: Reading) -> list[str]:
    """What is to be said of the values of images of more than 8 bits, once they are decoded."""
    peaks = [fact.peak for fact in facts if fact.peak]
    if not peaks or (reading.max_value is not None and max(peaks) <= reading.max_value):
        return []
    peak = max(peaks)
    largest = f"The largest value of {counted(len(peaks), 'image')} of more than 8 bits per channel is {peak:g}"
    if reading.max_value is not None:
        return [f"{largest}: what is above --max-value={reading.max_value:g} becomes white."]
    if peak > _DARK * 65535:
        return [f"{largest}, and 65535 becomes white."]
    return [f"{largest}, and 65535 becomes white: they are dark. --max-value={_full_scale(peak)} makes them brighter."]


def _full_scale(peak: float) -> int:
    """The largest value of the fewest bits that hold a value: 4095 for 4080."""
    return (1 << max(int(peak), 1).bit_length()) - 1


def is_image_name(path: str) -> bool:
    """Whether a path looks like that of an image."""
    return path.lower().endswith(EXTENSIONS)


def look_at(open_file: Callable[[], BinaryIO], reading: Reading) -> ImageFacts:
    """What an image file is by its header; a PNG file may say only after its pixels that it is to be turned."""

    def look(file: BinaryIO) -> ImageFacts:
        image = _open(file)
        mode, orientation = _mode(image, reading), orientation_of(image)
        width, height = image.size
        if orientation >= 5 and (image.format == "TIFF") == (reading.exif == "ignore"):  # Pillow has turned that one
            width, height = height, width
        return ImageFacts(width, height, mode, orientation != 1, is_animated(image))

    return _read(open_file, look, lambda problem, foreign: ImageFacts(problem=problem, foreign=foreign))


def decode(open_file: Callable[[], BinaryIO], reading: Reading) -> tuple[ImageFacts, PIL.Image.Image | None]:
    """What an image file is, and the image with its pixels, 8 bits per channel; None if they are not whole."""

    def load(file: BinaryIO) -> tuple[ImageFacts, PIL.Image.Image]:
        content = file.read()
        image = _open(io.BytesIO(content))
        mode, animated = _mode(image, reading), is_animated(image)
        asked = orientation_of(image) if image.format == "TIFF" else None
        pixels = _load(image, content, reading)
        left = orientation_of(image)  # Pillow turns images of TIFF itself; PNG may ask for it behind the pixels
        asked = left if asked is None else asked
        turn = left if reading.exif == "upright" else 1 if left == asked else _BACK.get(asked, asked)
        picture = converted(pixels.image, mode) if mode == "RGBA" else pixels.image
        turned = picture.transpose(_TURNS[turn]) if turn in _TURNS else picture
        return ImageFacts(*turned.size, mode, asked != 1, animated, pixels.peak), turned

    return _read(open_file, load, lambda problem, foreign: (ImageFacts(problem=problem, foreign=foreign), None))


def _open(file: BinaryIO) -> PIL.Image.Image:
    head = file.read(HEAD)
    if not head:
        raise _ForeignError("cannot be read (the file is empty)")
    file.seek(0)
    try:
        image = PIL.Image.open(file, formats=_FORMATS)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        kind = image_format(head)
        if kind is None:
            what = mistaken(head)
            raise _ForeignError("not an image" + (f": {what}" if what else "")) from None
        if kind in _NEVER or not PIL.features.check(_FEATURES.get(kind, "jpg")):
            raise _ForeignError(f"{kind} image, which Pillow cannot decode") from None
        raise ValueError(f"damaged {kind} image") from None
    pixels, most = image.width * image.height, _max_pixels()
    if pixels > most:
        raise ValueError(
            f"{image.width}x{image.height} are more than {most} pixels; reduce it with another program, or set "
            f"{PIXELS_VARIABLE}={pixels}, which takes {pixels * 4 / 1e9:.1f} GB of memory or more"
        )
    return image


class _ForeignError(ValueError):
    """A file is not of a kind that can be read."""


def _read(
    open_file: Callable[[], BinaryIO], work: Callable[[BinaryIO], _Result], failed: Callable[[str, bool], _Result]
) -> _Result:
    """What `work` makes of a file; `failed` gets why it cannot be read, and whether it is foreign."""

    def attempt() -> _Result:
        with open_file() as file:
            return work(file)

    try:
        return persistently(attempt)
    except UserError:
        raise
    except Exception as error:  # of any kind: decoders meet hostile files
        return failed(reason(error), isinstance(error, (_ForeignError, SpecialFileError)))


def reason(error: Exception) -> str:
    """Why a file cannot be read, in a few words."""
    if isinstance(error, _ForeignError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"cannot be read ({reason_of(error)})"


def _mode(image: PIL.Image.Image, reading: Reading) -> str:
    """The mode of an image that is not loaded yet, as it counts."""
    mode = mode_of(image)
    if mode in (DEEP, "I", "F"):
        if reading.max_value is None:
            return mode
        mode = "L" if image.mode[0] in "IF" else image.mode
        return "RGBA" if mode in ("L", "LA") and image.has_transparency_data else mode
    return "RGBA" if mode in _CLEAR and image.has_transparency_data else mode


def orientation_of(image: PIL.Image.Image) -> int:
    """What EXIF asks for; 1, upright, where it is damaged or asks for nothing."""
    try:
        orientation = PIL.Image.Image.getexif(image).get(_ORIENTATION, 1)  # that of PNG images would decode them
    except Exception:
        return 1
    return orientation if orientation in _TURNS else 1


def is_animated(image: PIL.Image.Image) -> bool:
    """Whether a file has more than one picture."""
    if image.format not in _ANIMATED:
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # what is behind the first picture does not matter
        return False


# ----------------------------------------------------------------------------
# Pixels of more than 8 bits.


class _Pixels(NamedTuple):
    image: PIL.Image.Image  # of 8 bits per channel
    peak: float  # largest value of more than 8 bits; 0 for others


def _load(image: PIL.Image.Image, content: bytes, reading: Reading) -> _Pixels:
    mode, raw = mode_of(image), _raw_mode(image)
    image.load()
    if mode not in (DEEP, "I", "F"):
        return _Pixels(image, 0.0)
    values = np.asarray(image)  # [H, W] or [H, W, C]
    if values.ndim == 3:  # Pillow keeps the upper 8 bits of each
        values = values.astype(np.uint16) << 8 | _lower_bits(content, image.size, values)
    peak, least = (float(values[..., :3].max()), float(values[..., :3].min())) if values.size else (0.0, 0.0)
    if not np.isfinite([peak, least]).all():
        raise ValueError("has values that are not finite")
    white = reading.max_value or _WHITE.get(raw, 65535.0)
    if reading.max_value is None and mode == "F":
        return _Pixels(image, peak)  # nobody knows its range
    if reading.max_value is None and (peak > 65535 or least < 0):
        raise ValueError(f"32-bit values from {least:g} to {peak:g}; --max-value=N tells which is white")
    result = scaled_to_8_bits(values, white)
    if values.ndim == 3 and values.shape[2] == 4:
        result[..., 3] = scaled_to_8_bits(values[..., 3], 65535.0)
    picture = PIL.Image.fromarray(result)
    clear = image.info.get("transparency")
    if values.ndim == 2 and isinstance(clear, int):
        picture.putalpha(PIL.Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return _Pixels(picture, peak)


def _raw_mode(image: PIL.Image.Image) -> str:
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else str(args[0] if args else "")


def _lower_bits(content: bytes, size: tuple[int, int], upper: np.ndarray) -> np.ndarray:
    """The lower 8 bits of colours of 16 bits, read as if their bytes had the other order; else, like the upper ones."""
    image = _open(io.BytesIO(content))
    native, other = (";16L", ";16B") if sys.byteorder == "little" else (";16B", ";16L")
    swapped = {";16N": other, native: other, other: native}
    try:
        raw = _raw_mode(image)
        found = next(ending for ending in swapped if raw.endswith(ending))
        new = raw.removesuffix(found) + swapped[found]
        image.tile = [
            tile._replace(args=new if isinstance(tile.args, str) else (new, *tile.args[1:])) for tile in image.tile
        ]
        image.load()
        lower = np.asarray(image)
        return lower if lower.shape == upper.shape else upper
    except (StopIteration, ValueError, OSError):  # Pillow does not know how
        return upper
