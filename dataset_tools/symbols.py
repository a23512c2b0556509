"""`create_symbols`: a small labelled data set that needs no download, symbols of a font in random colours.

Only integer arithmetic and NumPy's legacy generator are used after FreeType has drawn a glyph, so the same arguments
give the same bytes on any machine with the same font and Pillow.
"""

import colorsys
import math

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from dnnlib.errors import UserError
from dnnlib.pictures import default_font
from dnnlib.resolutions import Size
from training.data.tfrecord_export import TFRecordExporter

from .image_rules import as_given, checked_resolution, pair

FAMILIES = {
    "stars": "★☆✦✧✪✯✶✸✹",
    "arrows": "←↑→↓↖↗↘↙➔➤",
    "suits": "♠♣♦♤♧♢",
    "hearts": "♥♡❤❥❣",
    "chess": "♔♕♖♗♘♙♚♛♜♝♞♟",
    "weather": "☀☁☂☼☽☾❄⚡",
    "music": "♩♪♫♬♭♮♯",
    "letters": "ABDEFGHKMNPQRSTZ",
    "digits": "0123456789",
    "shapes": "■▲●◆▼◉◐⬢⬟▶◀",
}
_OVERSAMPLING = 4  # symbols are drawn at 4x and box-filtered down
_MIN_CONTRAST = 90  # least difference in luminance between symbol and background, of 255
_FIXED = 1 << 16
_SIDES = 8, 1024  # pixels


def create_symbols(
    tfrecord_dir: str,
    resolution: Size = 64,
    num_images: int = 7000,
    random_seed: int = 123,
    font: str | None = None,
    force: bool = True,
    transparent: bool = False,
) -> None:
    """Writes images of one large symbol each, RGB or RGBA, labelled by family.

    Args:
        tfrecord_dir: folder to create.
        resolution: side of a square, or `(height, width)`, in pixels, each from 8 to 1024.
        num_images: number of images.
        random_seed: chooses the symbols, colours and positions.
        font: a TrueType file; None is the DejaVu Sans of matplotlib.
        force: replace a data set that is there; False refuses to.
        transparent: leave out the backgrounds; all else is the same.

    Raises:
        UserError: for a size, a target or a font that cannot be used.
    """
    painter = SymbolPainter(resolution, random_seed, font, transparent)
    print(f'Drawing symbols of "{painter.font_path}"')
    for idx, (family, glyphs) in enumerate(FAMILIES.items()):
        print(f"  label {idx}: {family:<8s} {glyphs}")
    with TFRecordExporter(tfrecord_dir, num_images, force=force) as exporter:
        families = np.zeros(num_images, np.int64)
        for idx in range(num_images):
            image, families[idx] = painter.draw()
            exporter.add_image(image)
        exporter.add_labels(np.eye(len(FAMILIES), dtype=np.float32)[families])


class SymbolPainter:
    """Draws one random symbol after the other, as large as the shorter side of the picture allows.

    Raises UserError for a resolution or a font that cannot be used, with the symbols that the font does not have.
    """

    def __init__(self, resolution: Size, random_seed: int, font: str | None = None, transparent: bool = False):
        self.size = _checked_size(resolution)
        self.transparent = transparent
        self.font_path = default_font() if font is None else font
        self._canvas = min(self.size) * _OVERSAMPLING
        self._random = np.random.RandomState(random_seed)
        self._check_font()
        self._glyphs = [[self._draw_glyph(glyph) for glyph in glyphs] for glyphs in FAMILIES.values()]

    def draw(self) -> tuple[np.ndarray, int]:
        """The next image, uint8 `[3, H, W]`, or `[4, H, W]` of straight alpha, and the index of its family."""
        family = self._random.randint(len(self._glyphs))
        glyph = self._glyphs[family][self._random.randint(len(self._glyphs[family]))]
        symbol_color, background_color = self._colors()
        coverage = self._place(glyph)[:, :, np.newaxis]  # [H, W, 1]
        background = self._background(background_color)  # [H, W, 3]
        full = 255 * _OVERSAMPLING**2
        if self.transparent:
            alpha = (coverage * 255 + full // 2) // full
            image = np.concatenate([np.where(alpha > 0, symbol_color, 0), alpha], axis=2)
            return np.ascontiguousarray(image.astype(np.uint8).transpose(2, 0, 1)), family
        image = (coverage * symbol_color + (full - coverage) * background + full // 2) // full
        return np.ascontiguousarray(image.astype(np.uint8).transpose(2, 0, 1)), family

    # ------------------------------------------------------------------------

    def _font(self, size: int) -> PIL.ImageFont.FreeTypeFont:
        try:
            return PIL.ImageFont.truetype(self.font_path, size, layout_engine=PIL.ImageFont.Layout.BASIC)
        except OSError as error:
            raise UserError(f"--font={self.font_path}: cannot be read as a font ({error})") from None

    def _check_font(self) -> None:
        font = self._font(48)
        absent = bytes(font.getmask(chr(0x10FFFF)))
        missing = [glyph for glyphs in FAMILIES.values() for glyph in glyphs if bytes(font.getmask(glyph)) == absent]
        if missing:
            raise UserError(
                f"--font={self.font_path}: has no symbols {''.join(missing)}; DejaVu Sans, the default, has all of them"
            )

    def _draw_glyph(self, glyph: str) -> PIL.Image.Image:
        """The glyph in white on black, its longer side about as long as the shorter one of the canvas."""
        left, top, right, bottom = self._font(self._canvas).getbbox(glyph)
        font = self._font(max(self._canvas * self._canvas // max(right - left, bottom - top), 1))
        left, top, right, bottom = font.getbbox(glyph)
        picture = PIL.Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
        PIL.ImageDraw.Draw(picture).text((1 - left, 1 - top), glyph, fill=255, font=font)
        return picture.crop(picture.getbbox())

    def _place(self, glyph: PIL.Image.Image) -> np.ndarray:
        """The glyph at a random size, angle and position: coverage `[H, W]`, 0 to 255 * oversampling ** 2."""
        angle = math.radians(self._random.randint(-150, 151) / 10)
        size = self._random.randint(620, 861) / 1000  # of the shorter side of the picture
        margin = min(0.5 - size / 2, 0.08)
        shift_x, shift_y = (self._random.randint(-1000, 1001) / 1000 * margin for _ in range(2))
        cos, sin = math.cos(angle), math.sin(angle)
        width = glyph.width * cos + glyph.height * abs(sin)
        height = glyph.width * abs(sin) + glyph.height * cos
        scale = max(width, height) / (size * self._canvas)  # pixels of the glyph per pixel of the canvas
        a, b = round(cos * scale * _FIXED) / _FIXED, round(sin * scale * _FIXED) / _FIXED
        canvas_height, canvas_width = (side * _OVERSAMPLING for side in self.size)
        x, y = (0.5 + shift_x) * canvas_width, (0.5 + shift_y) * canvas_height
        c = round((glyph.width / 2 - a * x - b * y) * 16) / 16
        f = round((glyph.height / 2 + b * x - a * y) * 16) / 16
        # Without a filter Pillow computes in fixed-point numbers.
        canvas = glyph.transform(
            (canvas_width, canvas_height),
            PIL.Image.Transform.AFFINE,
            (a, b, c, -b, a, f),
            resample=PIL.Image.Resampling.NEAREST,
        )
        shape = (self.size[0], _OVERSAMPLING, self.size[1], _OVERSAMPLING)
        return np.asarray(canvas).reshape(shape).sum(axis=(1, 3), dtype=np.int64)

    def _colors(self) -> tuple[np.ndarray, np.ndarray]:
        """A saturated colour of the symbol and one of the background that contrasts with it, `[3]` each, 0 to 255."""
        symbol = self._color(saturation=(75, 100), value=(65, 100))
        while True:
            background = self._color(saturation=(5, 60), value=(5, 100))
            if abs(_luminance(symbol) - _luminance(background)) >= _MIN_CONTRAST:
                return symbol, background

    def _color(self, saturation: tuple[int, int], value: tuple[int, int]) -> np.ndarray:
        hsv = (
            self._random.randint(360) / 360,
            self._random.randint(saturation[0], saturation[1] + 1) / 100,
            self._random.randint(value[0], value[1] + 1) / 100,
        )
        return np.asarray([round(channel * 255) for channel in colorsys.hsv_to_rgb(*hsv)], np.int64)

    def _background(self, color: np.ndarray) -> np.ndarray:
        """`[H, W, 3]`: plain, or graded by up to 25 levels up and down in a random direction."""
        if self._random.randint(2) == 0:
            return np.broadcast_to(color, (*self.size, 3))
        steps = self._random.randint(-25, 26, size=3)
        along_x, along_y = self._random.randint(-4, 5, size=2)
        down, right = (2 * np.arange(side) - (side - 1) for side in self.size)
        slope = along_x * right[np.newaxis, :] + along_y * down[:, np.newaxis]  # [H, W], within 4 * (H + W)
        graded = color + slope[:, :, np.newaxis] * steps // (4 * sum(self.size))
        return graded.clip(0, 255)


def _checked_size(resolution: Size) -> tuple[int, int]:
    checked_resolution("--resolution", resolution)
    least, most = _SIDES
    size = pair(resolution)
    if not least <= min(size) <= max(size) <= most:
        raise UserError(f"--resolution={as_given(resolution)}: expected height and width from {least} to {most}")
    return size


def _luminance(color: np.ndarray) -> int:
    return int(color @ np.asarray([299, 587, 114])) // 1000
