"""`dataset_tool.py` with images that are not square, or have transparency."""

import io
import re

import numpy as np
import PIL.Image
import pytest
from dataset_tool_runs import fails, random_images, save_images, shuffled, succeeds

from dataset_tools import inspection
from dataset_tools.image_checks import announce, misfits
from dataset_tools.image_rules import ImageRules, resized
from dataset_tools.symbols import SymbolPainter, create_symbols
from training.data.dataset import TFRecordDataset
from training.data.image_files import ImageFacts

pytestmark = pytest.mark.one_stack


def read(path):
    """Images, labels, and what the data set says of itself."""
    dataset = TFRecordDataset(str(path), max_label_size="full", shuffle_mb=0)
    images, labels = dataset.read(np.arange(dataset.num_images))
    return images, labels, dataset


def planar(images):
    return images.transpose(0, 3, 1, 2)


# ----------------------------------------------------------------------------
# What fits, and what is said of what does not.


def report(sizes, mode="RGB", **rules):
    facts = [ImageFacts(width=width, height=height, mode=mode) for height, width in sizes]
    return misfits([f"{number}.png" for number in range(len(facts))], facts, ImageRules(**rules))


@pytest.mark.parametrize("size", [(40, 24), (96, 96), (512, 384), (640, 384), (288, 512), (4, 4), (3072, 4096)])
def test_sizes_that_fit(size):
    assert report([size] * 3) is None
    assert report([size] * 3, base=[7, 5]) is not None


@pytest.mark.parametrize(
    ("sizes", "rules", "says"),
    [
        ([(300, 300)] * 2, {}, "--resolution=256 (2 images); or --crop=288 alone, which resizes nothing"),
        ([(650, 400)] * 2, {}, "--resolution=640x384 (2 images), --crop=center (2 images); or --crop=640x384 alone"),
        ([(3456, 5184)], {}, "--resolution=1024x1536; or"),
        ([(3456, 5184)], {"crop": "center"}, "--resolution=1024; or --crop=3072 alone"),
        ([(480, 640)] * 4 + [(300, 300)] * 2, {}, "--resolution=480x640 (2 images), --crop=center (2 images)"),
        ([(600, 360)] * 2, {"base": [5, 3]}, "--resolution=320x192 (2 images); or --crop=320x192 alone"),
        ([(700, 500)] * 2, {"base": [5, 3], "crop": "center"}, "--resolution=640x384 (2 images); or --crop=640x384"),
        ([(640, 480), (300, 300)], {"resolution": 256}, "--crop=center"),
        ([(640, 480), (640, 384)], {"resolution": [320, 192]}, "--crop=center"),
        ([(640, 480), (90, 90)], {"crop": 96}, "--resolution=96, --crop=center"),
    ],
)
def test_what_would_help(sizes, rules, says):
    assert check_advice(sizes, rules).startswith(says)


def test_what_would_help_whatever_the_sizes():
    random = np.random.RandomState(1)
    for _ in range(150):
        sizes = (np.exp(random.uniform(0, 9, [random.randint(1, 6), 2])) + 1).astype(int).tolist()
        rules = {
            "crop": ["none", "center"][random.randint(2)],
            "base": [None, [5, 3], [9, 16], 4, 1][random.randint(5)],
        }
        if report(sizes, **rules) is not None:
            check_advice(sizes, rules)


def check_advice(sizes, rules):
    """What is advised makes all images fit."""
    advice = re.search("What would help: (.*)", report(sizes, **rules))[1]
    for option in advice.split("; or ")[:2]:
        found = dict(re.findall(r"--(resolution|crop)=(\w+)", option))
        options = {name: text if text == "center" else list(map(int, text.split("x"))) for name, text in found.items()}
        if "alone" in option:
            options["crop"] = options["crop"] * 2 if len(options["crop"]) == 1 else options["crop"]
        assert report(sizes, **{**rules, **options}) is None, advice
    return advice


def test_messages_name_the_problem():
    assert "0.png: 23x23 RGB: is no small base times a power of two, nearest is 24x24" in report([(23, 23)])
    assert "is not 5x3 times a power of two" in report([(512, 512)], base=[5, 3])
    assert "RGB: not of the proportions of 32x16" in report([(64, 32), (64, 48)], resolution=[32, 16])
    assert "RGB: not square" in report([(64, 64), (64, 48)], resolution=32)
    assert "RGB: smaller than --crop=64" in report([(64, 64), (64, 48)], crop=64)
    assert report([(64 << n, 64) for n in range(5)]).count("RGB: images have 5 sizes") == 5
    assert "64x64 palette: expected RGB, RGBA or grayscale" in report([(64, 64)], mode="P")


def test_large_bases_are_named(capsys):
    announce([ImageFacts(width=640, height=480, mode="RGB")], ImageRules())
    assert "for 480x640 begin with 15x20, which takes large dense layers" in capsys.readouterr().out
    announce([ImageFacts(width=640, height=384, mode="RGB")], ImageRules())
    assert capsys.readouterr().out == ""


# ----------------------------------------------------------------------------
# Images into data sets.


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_as_they_are(tmp_path, channels):
    images = random_images(5, 40, 24, channels)
    save_images(tmp_path / "in/b", images[:2].squeeze())
    save_images(tmp_path / "in/a", images[2:].squeeze())
    succeeds(tmp_path, "create_from_images", "out", "in", "--base=5x3")
    written, labels, dataset = read(tmp_path / "out")
    order = np.asarray([2, 3, 4, 0, 1])[shuffled(5)]
    np.testing.assert_array_equal(written, planar(images)[order])
    assert labels.argmax(axis=1).tolist() == [int(number < 2) for number in order]
    assert dataset.resolution == [40, 24]
    said = succeeds(tmp_path, "info", "out").stdout
    assert "resolution  40x24, height x width; base 5x3\n" in said
    assert "channels    " + {1: "1 (grayscale)", 3: "3 (RGB)", 4: "4 (RGBA)"}[channels] in said
    succeeds(tmp_path, "extract", "out", "png")
    extracted = np.stack([np.asarray(PIL.Image.open(path)) for path in sorted((tmp_path / "png").iterdir())])
    np.testing.assert_array_equal(extracted.reshape(5, 40, 24, channels), images[order])
    assert "such as sheet.png" in fails(tmp_path, "display", "out", "--sheet=sheet.jpg")
    succeeds(tmp_path, "display", "out", "--sheet=sheet.png")
    sheet = np.asarray(PIL.Image.open(tmp_path / "sheet.png")).reshape(40, 5 * 24, channels)
    np.testing.assert_array_equal(sheet[:, 24:48], images[order[1]])


def test_crop_and_resize(tmp_path):
    images = [random_images(1, *size, 3)[0] for size in ((70, 40), (50, 30), (60, 90))]
    save_images(tmp_path / "in", images)
    out = succeeds(
        tmp_path, "create_from_images", "out", "in", "--crop=center", "--resolution=40x24", "--shuffle=0"
    ).stdout
    assert "Cropping 2 images to the part of the proportions of 40x24 in the middle." in out
    assert "Resizing 3 images to 40x24 (lanczos)." in out
    boxes = ((0, 1, 40, 68), (0, 0, 30, 50), (27, 0, 63, 60))
    for image, box, written in zip(images, boxes, read(tmp_path / "out")[0], strict=True):
        expected = PIL.Image.fromarray(image).crop(box).resize((24, 40), PIL.Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(written, np.asarray(expected).transpose(2, 0, 1))
    succeeds(tmp_path, "create_from_images", "cut", "in", "--crop=40x24", "--shuffle=0")
    cut = [
        image[top : top + 40, left : left + 24]
        for image, top, left in zip(images, (15, 5, 10), (8, 3, 33), strict=True)
    ]
    np.testing.assert_array_equal(read(tmp_path / "cut")[0], planar(np.stack(cut)))


def test_transparency_of_every_kind(tmp_path):
    """Palettes and gray with alpha are RGBA as RGBA is; colours under alpha 0 stay what they are."""
    rgba = random_images(1, 8, 16, 4)[0]
    rgba[:4, :, 3] = 0
    folder = tmp_path / "in"
    save_images(folder, [rgba], ["a.png"])
    PIL.Image.fromarray(rgba).save(folder / "b.webp", lossless=True, exact=True)
    palette = PIL.Image.fromarray(rgba[..., :3]).quantize(16)
    palette.save(folder / "c.png", transparency=3)
    PIL.Image.fromarray(rgba).convert("LA").save(folder / "d.png")
    succeeds(tmp_path, "create_from_images", "out", "in", "--shuffle=0")
    images = read(tmp_path / "out")[0].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(images[0], rgba)
    np.testing.assert_array_equal(images[1], rgba)
    np.testing.assert_array_equal(images[2, ..., 3], np.where(np.asarray(palette) == 3, 0, 255))
    np.testing.assert_array_equal(images[3, ..., 3], rgba[..., 3])
    save_images(folder, [rgba[..., :3]], ["e.png"])
    message = fails(tmp_path, "create_from_images", "new", "in")
    assert (
        "1 of 5 images does not fit" in message and "e.png: 8x16 RGB: most images are RGB with transparency" in message
    )
    assert "What would help: --convert=rgba, --convert=rgb or --convert=gray" in message
    succeeds(tmp_path, "create_from_images", "all", "in", "--convert=rgba", "--shuffle=0")
    assert (read(tmp_path / "all")[0][4, 3] == 255).all()


def test_resizing_weighs_colours_by_alpha():
    rgba = np.zeros([8, 8, 4], np.uint8)
    rgba[:, :4] = 200, 100, 50, 255
    rgba[:, 4:] = 7, 9, 11, 0
    for resample in (PIL.Image.Resampling.BOX, PIL.Image.Resampling.LANCZOS):
        result = np.asarray(resized(PIL.Image.fromarray(rgba), (4, 3), resample))
        assert result.shape == (4, 3, 4)
        assert (result[:, :2, :3] == (200, 100, 50)).all()  # the middle column is of both halves
        assert result[:, :, 3].T[1].tolist() == pytest.approx([128] * 4, abs=1)
        assert (result[:, 0, 3] == 255).all() and (result[:, 2, 3] == 0).all()
    opaque = random_images(1, 9, 7, 4)[0]
    opaque[..., 3] = 255
    picture = PIL.Image.fromarray(opaque)
    plain = np.asarray(picture.convert("RGB").resize((5, 6), PIL.Image.Resampling.LANCZOS))
    result = np.asarray(resized(picture, (6, 5), PIL.Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(result[..., :3], plain)
    assert (result[..., 3] == 255).all()
    rgba[..., 3] = 0  # nothing is seen: the plain mean
    result = np.asarray(resized(PIL.Image.fromarray(rgba), (4, 4), PIL.Image.Resampling.BOX))
    np.testing.assert_array_equal(result[..., :3], rgba[::2, ::2, :3])


# ----------------------------------------------------------------------------
# Symbols.


@pytest.mark.parametrize("size", [(96, 64), (40, 24), (32, 88), (16, 16)])
def test_symbols_of_every_shape(size):
    """Sprites are the same pictures without their backgrounds."""
    opaque, sprites = (SymbolPainter(list(size), 3, transparent=transparent) for transparent in (False, True))
    for _ in range(10):
        (image, family), (sprite, same) = opaque.draw(), sprites.draw()
        assert image.shape == (3, *size) and sprite.shape == (4, *size) and family == same
        alpha = sprite[3].astype(float) / 255
        inside = alpha == 1
        assert alpha.max() > 0.2 and (alpha == 0).mean() > 0.1
        assert (image[:, inside] == sprite[:3, inside]).all()
        color = sprite[:3, alpha > 0][:, 0]
        assert (sprite[:3, alpha > 0] == color[:, np.newaxis]).all() and (sprite[:3, alpha == 0] == 0).all()
        rows, columns = np.nonzero(alpha.max(axis=1))[0], np.nonzero(alpha.max(axis=0))[0]
        largest = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 0.55 * min(size) < largest <= min(size)  # whole, and not squashed


def test_create_symbols(tmp_path):
    succeeds(tmp_path, "create_symbols", "out", "--resolution=40x24", "--num-images=8", "--transparent")
    images, labels, dataset = read(tmp_path / "out")
    assert images.shape == (8, 4, 40, 24) and labels.shape == (8, 10)
    assert dataset.resolution == [40, 24]


def test_window(tmp_path, monkeypatch):
    """Sprites are shown over a checkerboard."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    create_symbols(str(tmp_path / "out"), [40, 24], num_images=1, transparent=True)
    dataset = read(tmp_path / "out")[2]
    [axes] = inspection.Viewer(dataset).figure.axes
    shown = np.asarray(axes.images[0].get_array())
    assert shown.shape == (40, 24, 3)
    assert (shown[0, :8] == 255).all() and (shown[0, 8:16] == 204).all()


# ----------------------------------------------------------------------------
# Other sources, and comparing.


def test_lsun(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    images = [random_images(1, *size, 3, seed=sum(size))[0] for size in ((40, 48), (24, 32), (16, 16))]
    with lmdb.open(str(tmp_path / "lsun"), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for idx, image in enumerate(images):
            with io.BytesIO() as file:
                PIL.Image.fromarray(image).save(file, "PNG")
                transaction.put(f"key{idx}".encode(), file.getvalue())
    succeeds(tmp_path, "create_lsun_wide", "bars", "lsun", "--width=32", "--height=24")
    succeeds(tmp_path, "create_lsun_wide", "wide", "lsun", "--width=32", "--height=24", "--no-bars")
    np.testing.assert_array_equal(read(tmp_path / "wide")[0], read(tmp_path / "bars")[0][:, :, 4:28])
    succeeds(tmp_path, "create_lsun", "cut", "lsun", "--resolution=24x32")
    boxes = ((0, 2, 48, 38), (0, 0, 32, 24), (0, 2, 16, 14))
    pictures = [PIL.Image.fromarray(image).crop(box) for image, box in zip(images, boxes, strict=True)]
    expected = [np.asarray(picture.resize((32, 24), PIL.Image.Resampling.LANCZOS)) for picture in pictures]
    np.testing.assert_array_equal(read(tmp_path / "cut")[0], planar(np.stack(expected)))
    message = fails(tmp_path, "create_lsun_wide", "new", "lsun", "--width=46", "--height=23", "--no-bars")
    assert "--height x --width=23x46: height and width must be a small base" in message


def test_celeba(tmp_path):
    images = random_images(2, 218, 178, 3)
    save_images(tmp_path / "celeba" / "img_align_celeba_png", images)
    succeeds(tmp_path, "create_celeba", "out", "celeba", "--crop=192x160", "--cy=110")
    expected = planar(images[shuffled(2), 110 - 96 : 110 + 96, 89 - 80 : 89 + 80])
    np.testing.assert_array_equal(read(tmp_path / "out")[0], expected)
    message = fails(tmp_path, "create_celeba", "new", "celeba", "--crop=192x160", "--cx=70", "--cy=140")
    assert "--cy=140: expected 96 to 122" in message and "--cx=70: expected 80 to 98" in message
    assert "--crop=256: the images are 218x178" in fails(tmp_path, "create_celeba", "new", "celeba", "--crop=256")


def test_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    images = random_images(3, 4, 40, 24)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data20x32"] = random_images(3, 4, 20, 32)
        file["data40x24"] = images
    succeeds(tmp_path, "create-from-hdf5", "out", "x.h5", "--shuffle=0")
    np.testing.assert_array_equal(read(tmp_path / "out")[0], images)


def test_compare(tmp_path):
    for name, size in (("high", "40x24"), ("wide", "24x40")):
        succeeds(tmp_path, "create_symbols", name, f"--resolution={size}", "--num-images=3")
    said = succeeds(tmp_path, "compare", "high", "wide").stdout
    assert "Datasets contain images of different shapes: 3x40x24 and 3x24x40" in said
    assert "Image 0 is different" not in said
    assert said.splitlines()[-2:] == ["Identical images: 0 / 3", "Identical labels: 3 / 3"]
