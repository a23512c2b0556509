"""Images as the bytes of image files: as encoded data sets keep them, and as folders and zip files of them are written.

PNG is written here, and not by Pillow: of all rows the means of left and upper pixels are subtracted, which is as small
as trying every filter for each, is written ten times as fast, and read nearly twice as fast, which is what training
waits for.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import PIL.Image

from dnnlib.errors import UserError, reason_of
from dnnlib.pictures import CHANNELS, MODES, converted, mode_name, mode_of, to_chw
from dnnlib.resolutions import size_text

from .image_files import is_animated, orientation_of

ENCODINGS = ("raw", "png", "jpeg", "webp-lossless")
QUALITY = 95
"""Of JPEG, if nobody asks for another."""
_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp-lossless": ".webp"}
_CHANNELS = {"raw": (1, 3, 4), "png": (1, 3, 4), "jpeg": (1, 3), "webp-lossless": (3, 4)}
_PNG_COLORS = {1: 0, 3: 2, 4: 6}  # numbers of kinds of pixels, by channels
_AVERAGE = 3  # number of the filter
_FLAT = 0.3  # of the bytes: what becomes smaller than that may be drawn, with patterns that repeat
_MAX_WEBP = 16383  # pixels of a side
_FORMATS = ("PNG", "JPEG", "WEBP")
_VP8L_ALPHA = 24, 0x10  # byte and bit that say of a lossless WebP file that its alpha is to be used


@dataclass(frozen=True)
class Encoding:
    """How images are turned into bytes.

    name: of `ENCODINGS`; all but 'jpeg' keep every pixel. quality: of JPEG, from 1 to 100; colours are not subsampled.

    Raises UserError for other values.
    """

    name: str = "raw"
    quality: int = QUALITY

    def __post_init__(self) -> None:
        if self.name not in ENCODINGS:
            raise UserError(f"encoding={self.name!r}, expected {', '.join(ENCODINGS)}")
        if not (isinstance(self.quality, int) and 1 <= self.quality <= 100):
            raise UserError(f"quality={self.quality!r}, expected 1 to 100")

    @property
    def suffix(self) -> str:
        """Of names of files: '.png'. Raw pixels have none."""
        return _SUFFIXES[self.name]

    def problem(self, shape: tuple[int, ...]) -> str | None:
        """Why images [C, H, W] cannot be encoded so, and what would work; None if they can be."""
        channels, *size = shape
        if channels not in _CHANNELS[self.name]:
            lacks = {1: "no grayscale", 4: "no transparency"}.get(channels, f"no images of {channels} channels")
            others = [other for other in ("png", "webp-lossless") if channels in _CHANNELS[other]]
            works = f"; {' and '.join(others)} {'have' if len(others) > 1 else 'has'}" if others else ""
            return f"{self.name} has {lacks}{works}"
        if self.name == "webp-lossless" and max(size) > _MAX_WEBP:
            return f"webp-lossless has at most {_MAX_WEBP} pixels in height and width; png has more"
        return None

    def encode(self, image: np.ndarray) -> bytes:
        """The bytes of an image, uint8 [C, H, W]. Raises UserError for what `problem` tells, or Pillow refuses."""
        if problem := self.problem(image.shape):
            raise UserError(problem)
        pixels = np.ascontiguousarray(image.transpose(1, 2, 0))  # [H, W, C]
        if self.name == "raw":
            return image.tobytes()
        if self.name == "png":
            return _png(pixels)
        options = {"quality": self.quality, "subsampling": 0}
        if self.name == "webp-lossless":
            options = {"lossless": True, "exact": True, "quality": 20, "method": 1}  # hardly larger than by all efforts
        file = io.BytesIO()
        try:
            picture = PIL.Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
            picture.save(file, "JPEG" if self.name == "jpeg" else "WEBP", **options)
        except (OSError, ValueError) as error:  # such as more pixels than the format can have
            raise UserError(f"an image of {image.shape} cannot be written as {self.name}: {reason_of(error)}") from None
        content = bytearray(file.getvalue())
        if self.name == "webp-lossless" and pixels.shape[2] == 4:  # left out where all is opaque
            content[_VP8L_ALPHA[0]] |= _VP8L_ALPHA[1]
        return bytes(content)


def encoding_of(name: str, quality: int | None) -> Encoding:
    """What --encoding and --quality say. Raises UserError for values that cannot be, also together."""
    if quality is not None and name != "jpeg":
        raise UserError(f"--quality={quality} is of --encoding=jpeg; {name} has none")
    return Encoding(name, QUALITY if quality is None else quality)


RAW = Encoding()
"""Pixels as they are."""


def _png(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels, uint8 [H, W, C]."""
    height, width, channels = pixels.shape
    flat = pixels.reshape(height, -1)
    sums = np.zeros(flat.shape, np.uint16)  # of the pixels to the left and above
    sums[:, channels:] = flat[:, :-channels]
    sums[1:] += flat[:-1]
    rows = np.full([height, 1 + flat.shape[1]], _AVERAGE, np.uint8)
    np.subtract(flat, sums >> 1, out=rows[:, 1:], casting="unsafe")
    content = _deflated(rows, 1, zlib.Z_RLE)
    if len(content) < _FLAT * pixels.size:
        plain = np.concatenate([np.zeros([height, 1], np.uint8), flat], axis=1)  # no filter
        content = min(content, _deflated(plain, 6, zlib.Z_DEFAULT_STRATEGY), key=len)
    header = struct.pack(">2I5B", width, height, 8, _PNG_COLORS[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


def _deflated(rows: np.ndarray, level: int, strategy: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return packer.compress(rows) + packer.flush()


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
    return struct.pack(">I", len(content)) + name + content + checksum


def plain_format(file: BinaryIO, shape: tuple[int, int, int]) -> str | None:
    """'png', 'jpeg' or 'webp' of an image file that holds the pixels of an image [C, H, W] as they are; else None.

    Others are read in some way of our own: turned upright, of a palette, the first of several pictures, and so on.
    """
    channels, height, width = shape
    try:
        picture = PIL.Image.open(file, formats=_FORMATS)
        as_stored = channels in MODES and mode_of(picture) == MODES[channels] and picture.size == (width, height)
        clear = channels < 4 and picture.has_transparency_data
        if not as_stored or clear or is_animated(picture) or orientation_of(picture) != 1:
            return None
        file.seek(0)
        asks_later = picture.format == "PNG" and b"eXIf" in file.read()  # to be turned, behind the pixels
        return None if asks_later else picture.format.lower()
    except Exception:  # of any kind: who decodes it tells
        return None


def decoded(content: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """The image, uint8 [C, H, W], in the bytes of an image file. Raises ValueError, in words, where it is none.

    Images of fewer channels than the shape has are taken: encoders leave out what they do not need. EXIF is ignored.
    """
    channels, height, width = shape
    try:
        picture = PIL.Image.open(io.BytesIO(content), formats=_FORMATS)
        mode = mode_of(picture)
        fits = channels in MODES and CHANNELS.get(mode, channels + 1) <= channels
        if fits and (picture.height, picture.width) == (height, width):  # others may take any amount of memory
            picture.load()
            return to_chw(converted(picture, MODES[channels]))
    except Exception as error:  # of any kind: decoders meet hostile files
        raise ValueError(f"cannot be read ({reason_of(error)})") from None
    raise ValueError(f"is {size_text((picture.height, picture.width))} {mode_name(mode)}, but has the shape {[*shape]}")
