"""One image in a file: what it is, which way up, how deep, how large; and which files of a folder are images."""

import errno
import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
from dataset_tool_runs import dataset, fails, random_images, save_images, succeeds

from dnnlib import network_drives
from dnnlib.errors import UserError
from dnnlib.pictures import converted
from projection.sources import check_images, find_images, read_image
from training.data import find_dataset, image_files
from training.data.containers import Container
from training.data.dataset import TFRecordDataset
from training.data.encoded_sources import EncodedSource
from training.data.image_files import Reading, decode, look_at

pytestmark = pytest.mark.one_stack
AS_USUAL = Reading()


def opener(content):
    return lambda: io.BytesIO(content)


def encoded(image, image_format="PNG", **kwargs):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **kwargs)
    return buffer.getvalue()


def read(path, **kwargs):
    opened = TFRecordDataset(str(path), shuffle_mb=0, **kwargs)
    return opened.read(range(opened.num_images))[0]


# ----------------------------------------------------------------------------
# Which files are images.


def odd_folder(folder):
    """Eight images of eight extensions, and what is none."""
    save_images(folder, random_images(8, 16, 16, 3))
    formats = {"a.jfif": "JPEG", "b.GIF": "GIF", "c.avif": "AVIF", "d.jpe": "JPEG", "e": "WEBP", "f.data": "PNG"}
    formats |= {"g.jp2": "JPEG2000", "h.TGA": "TGA"}
    for number, (name, image_format) in enumerate(formats.items()):
        image = PIL.Image.open(folder / f"{number:04d}.png").convert("L" if image_format == "GIF" else "RGB")
        (folder / f"{number:04d}.png").unlink()
        if image_format == "GIF":
            continue
        image.save(folder / name, image_format)
    others = {
        "notes.txt": b"text",
        "empty": b"",
        "x.heic": b"\0\0\0\x18ftypheic" + bytes(90),
        "y.nef": b"II*\0" + bytes(90),
    }
    others |= {"._a.jfif": b"\0\5\x16\7", "__MACOSX/a.png": b"", "@eaDir/a.jpg/SYNOPHOTO.jpg": b"x", "Thumbs.db": b"x"}
    others |= {"P3 and more.txt": b"P3 and more", "BMW.txt": b"BMW and others", "data.npy": b"\x93NUMPY\1\0v\0"}
    for name, content in others.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_one_rule_for_which_files_are_images(tmp_path, capsys, kind):
    folder = source = odd_folder(tmp_path / "in")
    if kind == "zip":
        source = tmp_path / "in.zip"
        with zipfile.ZipFile(source, "w") as file:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                file.write(path, str(path.relative_to(folder)))
    images = ["a.jfif", "c.avif", "d.jpe", "e", "f.data", "g.jp2", "h.TGA"]
    left_out = (
        "Left out 7 files: 5 not an image (BMW.txt, P3 and more.txt, data.npy, notes.txt); 1 cannot be read (the "
    )
    left_out = [
        "Left out 7 files: 4 not an image (BMW.txt, P3 and more.txt, data.npy, notes.txt)",
        "1 cannot be read (the file is empty) (empty)",
        "1 HEIC image, which Pillow cannot decode (x.heic)",
        "1 camera raw image, which Pillow cannot decode (y.nef)",
    ]
    trained = read(source)
    said = capsys.readouterr().out
    assert len(trained) == len(images) and all(text in said for text in left_out)
    result = succeeds(tmp_path, "create_from_images", "out", source, "--shuffle=0")
    assert all(text in result.stdout for text in left_out)
    np.testing.assert_array_equal(dataset(tmp_path / "out")[0], trained)
    if kind == "folder":
        assert find_images([str(folder)]) == [str(folder / name) for name in images]
        said = capsys.readouterr().out
        assert all(text in said for text in left_out)


def test_what_claims_to_be_an_image_must_be_one(tmp_path):
    save_images(tmp_path / "in", random_images(3, 16, 16, 3))
    (tmp_path / "in" / "page.jpg").write_bytes(b"<!DOCTYPE html><html>not found")
    (tmp_path / "in" / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(90))
    (tmp_path / "in" / "photo").write_bytes(b"\xff\xd8\xff\xe0" + bytes(90))
    for message in (
        "page.jpg: not an image: this is a web page",
        "phone.jpg: HEIC image, which Pillow cannot decode",
        "photo: cannot be read (damaged JPEG image)",
    ):
        with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
            read(tmp_path / "in")
        assert message in fails(tmp_path, "create_from_images", "out", "in")


def test_folders_without_images_known_by_name(tmp_path):
    save_images(tmp_path / "in", random_images(2, 16, 16, 3), ["a.png", "b.png"])
    for name in "ab":
        (tmp_path / "in" / f"{name}.png").rename(tmp_path / "in" / name)
    (tmp_path / "in" / "c.txt").write_text("text")
    assert len(read(tmp_path / "in")) == 2
    assert find_dataset.full_resolution(str(tmp_path / "in")).argument == 16
    for name in "ab":
        (tmp_path / "in" / name).unlink()
    with pytest.raises(UserError, match="there is no data set"):
        read(tmp_path / "in")


@pytest.mark.parametrize(
    ("name", "image_format"), [("a.gif", "GIF"), ("a.webp", "WEBP"), ("a.png", "PNG"), ("a.tif", "TIFF")]
)
def test_first_picture_of_several(tmp_path, capsys, name, image_format):
    first, *others = map(PIL.Image.fromarray, random_images(3, 16, 16, seed=4))
    options = {"lossless": True} if image_format == "WEBP" else {}
    first.save(tmp_path / name, image_format, save_all=True, append_images=others, **options)
    facts, image = decode(opener((tmp_path / name).read_bytes()), AS_USUAL)
    assert facts.animated and look_at(opener((tmp_path / name).read_bytes()), AS_USUAL).animated
    np.testing.assert_array_equal(np.asarray(image.convert("L")), np.asarray(first))


def test_opening_takes_little_memory():
    """Of each image its name; nothing that waits in a queue."""
    content = encoded(PIL.Image.new("RGB", (4, 4)))

    class Source(EncodedSource):
        def __init__(self):
            super().__init__("many", 2, AS_USUAL)
            self.count = 4000
            self._scan()

        def open_image(self, index, level=None):
            return io.BytesIO(content)

    tracemalloc.start()
    Source().verify_images(lambda count: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4000 * 400  # bytes


# ----------------------------------------------------------------------------
# Which way up.

TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def with_orientation(image, image_format, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "TIFF": {"tiffinfo": {0x0112: orientation}}}.get(image_format, {})
    if image_format != "TIFF":
        options["exif"] = exif
    return encoded(image, image_format, **options)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNED)
def test_orientation(image_format, orientation):
    pixels = random_images(1, 6, 10, 3)[0]
    content = opener(with_orientation(PIL.Image.fromarray(pixels), image_format, orientation))
    for reading, expected in ((AS_USUAL, TURNED[orientation](pixels)), (Reading(exif="ignore"), pixels)):
        facts, image = decode(content, reading)
        np.testing.assert_array_equal(np.asarray(image), expected)
        assert facts == look_at(content, reading) and (facts.height, facts.width) == expected.shape[:2]
        assert facts.turned == look_at(content, reading).turned == (orientation != 1)


def test_one_rule_for_orientation(tmp_path, capsys):
    pixels = random_images(4, 16, 16, 3)
    (tmp_path / "in").mkdir()
    for number, image in enumerate(pixels):
        content = with_orientation(PIL.Image.fromarray(image), "PNG", 6 if number < 3 else 1)
        (tmp_path / "in" / f"{number}.png").write_bytes(content)
    stored = pixels.transpose(0, 3, 1, 2)
    upright = np.stack([*(np.rot90(image, -1) for image in pixels[:3]), pixels[3]]).transpose(0, 3, 1, 2)
    for flags, kwargs, expected, said in (
        ((), {}, upright, "Turning 3 images upright"),
        (("--exif=ignore",), {"exif": "ignore"}, stored, "Taking 3 images as stored"),
    ):
        np.testing.assert_array_equal(read(tmp_path / "in", **kwargs), expected)
        assert said in capsys.readouterr().out
        result = succeeds(tmp_path, "create_from_images", "out", "in", "--shuffle=0", "--force", *flags)
        assert said in result.stdout
        np.testing.assert_array_equal(dataset(tmp_path / "out")[0], expected)
        paths = find_images([str(tmp_path / "in")])
        check_images(paths, 16, 3, False, Reading(**kwargs))
        assert said in capsys.readouterr().out
        np.testing.assert_array_equal([read_image(path, 16, 3, Reading(**kwargs)) for path in paths], expected)
    digests = [TFRecordDataset(str(tmp_path / "in"), exif=exif).digest() for exif in image_files.EXIF]
    assert digests[0] != digests[1]


def test_damaged_exif_is_no_damaged_image():
    for exif in (b"Exif\0\0junkjunk", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        facts, image = decode(opener(encoded(PIL.Image.new("RGB", (8, 8)), "JPEG", exif=exif)), AS_USUAL)
        assert image is not None and not facts.turned


# ----------------------------------------------------------------------------
# How deep.


def png(values, colour_type):
    """A PNG of 16 bits per channel, [H, W, C]: Pillow writes gray ones only."""
    chunk = lambda name, content: (  # noqa: E731
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    )
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def deep_images():
    """Images of 16 bits of every kind, of the same gray values [H, W], 0 to 65535."""
    values = np.random.RandomState(0).randint(0, 65536, [8, 8]).astype(np.uint16)
    values[0, :2] = 0, 65535
    gray, white = values[:, :, np.newaxis], np.full([8, 8, 1], 65535, np.uint16)
    yield "gray.png", png(gray, 0), values
    yield "gray and alpha.png", png(np.concatenate([gray, white], 2), 4), values
    yield "rgb.png", png(np.repeat(gray, 3, 2), 2), values
    yield "rgba.png", png(np.concatenate([np.repeat(gray, 3, 2), white], 2), 6), values
    yield "gray.tif", encoded(PIL.Image.fromarray(values), "TIFF"), values
    yield "packed.tif", encoded(PIL.Image.fromarray(values), "TIFF", compression="tiff_lzw"), values
    yield "big endian.tif", encoded(PIL.Image.fromarray(values.astype(">u2")), "TIFF"), values
    yield "integers.tif", encoded(PIL.Image.fromarray(values.astype(np.int32)), "TIFF"), values
    yield "gray.pgm", b"P5 8 8 65535\n" + values.astype(">u2").tobytes(), values


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("number", range(9))
def test_depth_before_colours(tmp_path, channels, number):
    name, content, values = list(deep_images())[number]
    (tmp_path / name).write_bytes(content)
    check_images([str(tmp_path / name)], 8, channels, convert=True)
    image = read_image(str(tmp_path / name), 8, channels)
    assert image.shape == (channels, 8, 8)
    for plane in image[:3]:
        # Of gray with alpha, Pillow gives the upper 8 bits.
        np.testing.assert_allclose(plane, np.rint(values / 257), atol=1 if "and alpha" in name else 0)
    assert channels < 4 or (image[3] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"])
def test_colours_of_all_modes(mode):
    image = PIL.Image.new("RGB", (8, 8), "white")
    image = PIL.Image.new("LAB", (8, 8), (255, 128, 128)) if mode == "LAB" else image.convert(mode)
    for channels, name in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        pixels = np.asarray(converted(image, name)).reshape(8, 8, channels)
        assert (pixels[..., :3] > 245).all() and (channels < 4 or (pixels[..., 3] == 255).all())


def test_transparent_gray_of_16_bits(tmp_path):
    values = np.full([8, 8], 40000, np.uint16)
    values[:4] = 700
    image = PIL.Image.fromarray(values)
    image.save(tmp_path / "a.png", transparency=700)
    pixels = read_image(str(tmp_path / "a.png"), 8, 4)
    assert (pixels[3, :4] == 0).all() and (pixels[:, 4:] == np.array([156, 156, 156, 255])[:, None, None]).all()


def test_12_bits_in_16(tmp_path, capsys):
    values = random_images(3, 16, 16).astype(np.uint16) * 16 + 15  # to 4095
    (tmp_path / "in").mkdir()
    for number, image in enumerate(values):
        PIL.Image.fromarray(image).save(tmp_path / "in" / f"{number}.png")
    expected = np.rint(values[:, np.newaxis] / (4095 / 255))
    result = succeeds(tmp_path, "create_from_images", "dark", "in", "--convert=gray", "--shuffle=0")
    assert f"is {values.max()}, and 65535 becomes white: they are dark. --max-value=4095 makes them" in result.stdout
    assert dataset(tmp_path / "dark")[0].max() == 16
    for flags in (("--max-value=4095",), ("--max-value=4095", "--convert=gray")):
        succeeds(tmp_path, "create_from_images", "out", "in", "--shuffle=0", "--force", *flags)
        np.testing.assert_array_equal(dataset(tmp_path / "out")[0], expected)
    np.testing.assert_array_equal(read(tmp_path / "in", max_value=4095), expected)
    with pytest.raises(UserError, match="--max-value=N reads images of more than 8 bits as they are"):
        read(tmp_path / "in")
    capsys.readouterr()
    assert read(tmp_path / "in", max_value=1000).max() == 255
    assert capsys.readouterr().out.count("what is above --max-value=1000 becomes white") == 1
    path = str(tmp_path / "in" / "0.png")
    check_images([path], 16, 1, True)
    assert "--max-value=4095 makes them brighter" in capsys.readouterr().out
    np.testing.assert_array_equal(read_image(path, 16, 1, Reading(max_value=4095)), expected[0])
    result = succeeds(tmp_path, "create_from_images", "cut", "in", "--max-value=100")
    assert "what is above --max-value=100 becomes white" in result.stdout


def test_values_of_unknown_range():
    for values, message in (
        (np.array([[-1, 5]], np.int32), "32-bit values from -1 to 5"),
        (np.array([[0, 1 << 20]], np.int32), "32-bit values from 0 to 1.04858e"),
        (np.array([[0, np.nan]], np.float32), "has values that are not finite"),
        (np.array([[0, np.inf]], np.float32), "has values that are not finite"),
    ):
        assert message in decode(opener(encoded(PIL.Image.fromarray(values), "TIFF")), AS_USUAL)[0].problem
    floats = opener(encoded(PIL.Image.fromarray(np.array([[-1, 0, 0.5, 1, 2]], np.float32)), "TIFF"))
    assert decode(floats, AS_USUAL)[0].mode == "F"
    assert np.asarray(decode(floats, Reading(max_value=1))[1]).tolist() == [[0, 0, 128, 255, 255]]


# ----------------------------------------------------------------------------
# How large.


def test_large_images(monkeypatch):
    content = encoded(PIL.Image.new("1", (14000, 14000)), "PNG")
    assert look_at(opener(content), AS_USUAL).problem == ""
    assert decode(opener(content), AS_USUAL)[1].size == (14000, 14000)
    header = encoded(PIL.Image.new("1", (8, 8)), "PNG")
    body = header[12:16] + struct.pack(">II", 60000, 60000) + header[24:29]
    bomb = opener(header[:12] + body + struct.pack(">I", zlib.crc32(body)) + header[33:])
    problem = look_at(bomb, AS_USUAL).problem
    assert "60000x60000 are more than 200000000 pixels" in problem
    assert "set STYLEGAN2_MAX_PIXELS=3600000000, which takes 14.4 GB" in problem
    monkeypatch.setenv("STYLEGAN2_MAX_PIXELS", "3600000000")
    assert look_at(bomb, AS_USUAL).problem == ""
    monkeypatch.setenv("STYLEGAN2_MAX_PIXELS", "many")
    with pytest.raises(UserError, match="STYLEGAN2_MAX_PIXELS=many: expected a number"):
        look_at(bomb, AS_USUAL)


@pytest.mark.parametrize("packed", [False, True])
def test_much_text(packed):
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 3_000_000, zip=packed)
    info.add_itxt("prompt", "y" * 3_000_000, zip=packed)
    assert decode(opener(encoded(PIL.Image.new("RGB", (8, 8)), pnginfo=info)), AS_USUAL)[1] is not None


# ----------------------------------------------------------------------------
# Network drives that stumble.


def test_io_errors_are_tried_again(tmp_path, monkeypatch, capsys):
    save_images(tmp_path / "in", random_images(3, 16, 16, 3))
    pauses, failing = [], [errno.EIO, errno.ESTALE, errno.ETIMEDOUT]
    monkeypatch.setattr(network_drives.time, "sleep", pauses.append)
    stumbles = lambda open_file: lambda: stumble(open_file)  # noqa: E731

    def stumble(open_file):
        if failing:
            raise OSError(failing.pop(0), "stumbled", "in/0.png")
        return open_file()

    content = (tmp_path / "in" / "0000.png").read_bytes()
    facts, image = decode(stumbles(opener(content)), AS_USUAL)
    assert image is not None and pauses == [1, 2, 4]
    said = capsys.readouterr().err
    assert "in/0.png: stumbled; trying again in 1 s" in said and "It can be read again." in said
    failing += [errno.EIO] * 50
    assert decode(stumbles(opener(content)), AS_USUAL)[0].problem == "stumbled"
    assert pauses[3:] == list(network_drives.PAUSES)
    all_pauses = len(pauses)
    assert look_at(stumbles(opener(content)), AS_USUAL).problem == "stumbled" and len(pauses) == all_pauses
    failing.clear()
    decode(stumbles(opener(content)), AS_USUAL)
    failing.append(errno.ENOENT)
    assert decode(stumbles(opener(content)), AS_USUAL)[0].problem == "stumbled" and len(pauses) == all_pauses


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch, capsys):
    """What a user may not look into is told; other errors are tried again, and never make a data set smaller."""
    for name in ("a.png", "lost+found/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", (4, 4)).save(tmp_path / name)
    scandir, errors = os.scandir, []

    def stumbling(path):
        if errors and str(path).endswith("lost+found"):
            raise OSError(errors[0], os.strerror(errors.pop(0)), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", stumbling)
    monkeypatch.setattr(network_drives, "PAUSES", (0, 0))
    errors += [errno.EIO, errno.ESTALE]
    assert Container(str(tmp_path)).names == ["a.png", "lost+found/b.png"]
    assert "Input/output error; trying again" in capsys.readouterr().err
    errors += [errno.EACCES]
    container = Container(str(tmp_path))
    assert container.names == ["a.png"]
    assert container.notes == ["Left out what this user may not look into: lost+found."]
    errors += [errno.EIO] * 3
    with pytest.raises(UserError, match=r"lost\+found: cannot be listed \(Input/output error\)"):
        Container(str(tmp_path))
    assert len(Container(str(tmp_path)).names) == 2
