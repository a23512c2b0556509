"""Images as bytes of image files keep every pixel, but for JPEG; what cannot be encoded is told, with what can."""

import io
import zlib

import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import UserError
from training.data.image_encoding import Encoding

pytestmark = pytest.mark.one_stack


def images(channels, height, width):
    random = np.random.RandomState(height)
    noise = random.randint(0, 256, [channels, height, width]).astype(np.uint8)
    drawn = np.zeros_like(noise)
    drawn[:, height // 3 :, width // 2 :] = 200
    opaque = noise.copy()
    opaque[-1] = 255
    return noise, drawn, opaque


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (80, 48)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["png", "webp-lossless"])
def test_every_pixel_is_kept(name, channels, size):
    encoding = Encoding(name)
    if encoding.problem((channels, *size)):
        pytest.skip("tested below")
    for image in images(channels, *size):
        with PIL.Image.open(io.BytesIO(encoding.encode(image))) as picture:
            assert picture.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
            pixels = np.asarray(picture).reshape(*size, channels).transpose(2, 0, 1)
        np.testing.assert_array_equal(pixels, image)


def test_png_files_are_whole_and_small():
    noise, drawn, _ = images(3, 80, 48)
    content = Encoding("png").encode(noise)
    begin = 8
    while begin < len(content):  # chunks: length, name, content, checksum
        end = begin + 8 + int.from_bytes(content[begin : begin + 4], "big")
        assert zlib.crc32(content[begin + 4 : end]) == int.from_bytes(content[end : end + 4], "big")
        begin = end + 4
    assert begin == len(content)
    assert len(Encoding("png").encode(drawn)) < 200
    smooth = np.indices([3, 64, 64]).sum(axis=0).astype(np.uint8) * 2
    assert len(Encoding("png").encode(smooth)) < 0.1 * smooth.size


def test_jpeg():
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    image = np.stack([x * 4, y * 4, 255 - x * 2 - y * 2]).clip(0, 255).astype(np.uint8)
    sizes = []
    for quality in (95, 50):
        content = Encoding("jpeg", quality).encode(image)
        pixels = np.asarray(PIL.Image.open(io.BytesIO(content))).transpose(2, 0, 1)
        assert np.abs(pixels.astype(int) - image).mean() < 3
        sizes.append(len(content))
    assert sizes[1] < sizes[0] < image.size / 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Encoding("gif"), "encoding='gif', expected raw, png, jpeg, webp-lossless"),
        (lambda: Encoding("jpeg", 0), "quality=0, expected 1 to 100"),
        (lambda: Encoding("jpeg").encode(np.zeros([4, 8, 8], np.uint8)), "jpeg has no transparency; png and webp"),
        (lambda: Encoding("webp-lossless").encode(np.zeros([1, 8, 8], np.uint8)), "has no grayscale; png has"),
        (lambda: Encoding("webp-lossless").encode(np.zeros([3, 1, 1 << 14], np.uint8)), "at most 16383 pixels"),
        (lambda: Encoding("jpeg").encode(np.zeros([3, 1, 1 << 16], np.uint8)), "cannot be written as jpeg"),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(UserError, match=message):
        make()
