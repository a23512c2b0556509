"""`projection.sources`: which image files, whether they fit, how they are cut and resized."""

import os

import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import UserError
from projection.sources import check_images, check_readable, find_images, read_image

pytestmark = pytest.mark.one_stack


def save(path, pixels, **options):
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(path, **options)
    return str(path)


def random_pixels(*shape):
    return np.random.RandomState(0).randint(0, 256, shape)


def test_which_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("people/more")
    os.makedirs("people/.thumbnails")
    for name in ("b.png", "a.jpg", "more/c.webp", ".thumbnails/t.png", "more/.hidden.png"):
        save(f"people/{name}", random_pixels(8, 8, 3))
    (tmp_path / "people" / "notes.txt").write_text("no image")
    inside = ["people/a.jpg", "people/b.png", "people/more/c.webp"]
    assert find_images(["people"]) == inside
    assert find_images(["people/b.png", "people/"]) == [inside[1], inside[0], inside[2]]
    assert find_images(["people/*.png", "people/**/*.webp"]) == inside[1:]
    save("odd[1].png", random_pixels(8, 8, 3))
    assert find_images(["odd[1].png"]) == ["odd[1].png"]
    (tmp_path / "cut.png").write_bytes((tmp_path / "people" / "b.png").read_bytes()[:60])
    wrong = ["people/notes.txt", "cut.png"]
    assert find_images(wrong) == wrong  # what is in them is another question
    with pytest.raises(UserError) as error:
        find_images([*wrong, "people/d.png", "*.tif", "peple"])
    lines = str(error.value).splitlines()
    assert lines[:3] == [
        "people/d.png: no such file (did you mean b.png?)",
        "*.tif: no file has such a name",
        "peple: no such file (did you mean people?)",
    ]
    assert lines[3] == "people/notes.txt: not an image" and lines[4].startswith("cut.png: ")
    with pytest.raises(UserError, match="notes.txt: not an image\ncut.png: "):
        check_readable([*wrong, "people/a.jpg"])
    with pytest.raises(UserError) as error:  # all that is wrong with all of them
        check_images([*wrong, "people/a.jpg"], 16, 3, convert=False)
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == [*wrong, "people/a.jpg"]


def test_cut_and_reduced(tmp_path):
    pixels = np.repeat(np.repeat(random_pixels(4, 8, 3), 8, 0), 8, 1)  # 32x64, blocks of 8
    path = save(tmp_path / "wide.png", pixels)
    np.testing.assert_array_equal(read_image(path, 32, 3), pixels[:, 16:48].transpose(2, 0, 1))
    small = read_image(path, 16, 3)
    expected = PIL.Image.fromarray(pixels[:, 16:48].astype(np.uint8)).resize((16, 16), PIL.Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(small, np.asarray(expected).transpose(2, 0, 1))
    whole = PIL.Image.fromarray(pixels.astype(np.uint8)).resize((32, 16), PIL.Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(read_image(path, (16, 32), 3), np.asarray(whole).transpose(2, 0, 1))
    np.testing.assert_array_equal(read_image(path, (32, 24), 3), pixels[:, 20:44].transpose(2, 0, 1))
    with pytest.raises(UserError, match="32x64 RGB, too small for a network of 48x16"):
        check_images([path], (48, 16), 3, convert=False)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned = save(tmp_path / "turned.png", pixels, exif=exif)
    np.testing.assert_array_equal(read_image(turned, 32, 3), np.rot90(pixels, -1)[16:48].transpose(2, 0, 1))


def test_colours(tmp_path):
    rgb = save(tmp_path / "rgb.png", random_pixels(20, 20, 3))
    rgba = save(tmp_path / "rgba.png", random_pixels(20, 20, 4))
    gray = save(tmp_path / "gray.png", random_pixels(20, 20))
    deep = str(tmp_path / "deep.png")
    PIL.Image.fromarray((random_pixels(20, 20) * 257).astype(np.uint16)).save(deep)
    palette = str(tmp_path / "palette.gif")
    PIL.Image.open(rgb).quantize(8).save(palette)
    flt = str(tmp_path / "float.tif")
    PIL.Image.fromarray(np.zeros([20, 20], np.float32)).save(flt)
    everything = [rgb, rgba, gray, deep, palette]
    for channels, own in ((1, gray), (3, rgb), (4, rgba)):
        check_images([own], 16, channels, convert=False)
        check_images(everything, 16, channels, convert=True)
        for path in everything:
            assert read_image(path, 16, channels).shape == (channels, 16, 16)
            if path != own:
                with pytest.raises(UserError, match="--convert makes it so"):
                    check_images([path], 16, channels, convert=False)
        with pytest.raises(UserError, match="floating point.*save it as 8 bits"):
            check_images([flt], 16, channels, convert=True)
    np.testing.assert_allclose(read_image(deep, 20, 3)[0], random_pixels(20, 20), atol=1)
    with pytest.raises(UserError, match="20x20 RGB, too small for a network of 32x32"):
        check_images([rgb], 32, 3, convert=False)
    with pytest.raises(UserError) as error:
        check_images([gray] * 30, 32, 3, convert=False)
    assert str(error.value).endswith("... and 40 more") and len(str(error.value).splitlines()) == 21
