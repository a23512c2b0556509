"""Data sets of images that are not square, and of images with transparency, however they are stored."""

import io
import os
import shutil
import zipfile

import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import UserError
from dnnlib.resolutions import resolution_of
from training.data import dataset
from training.data.averages import box_mean
from training.data.image_encoding import Encoding
from training.data.tfrecord_export import TFRecordExporter

pytestmark = pytest.mark.one_stack
SHAPES = [(3, 40, 24), (4, 16, 32), (1, 72, 128), (4, 24, 24), (3, 8, 8)]
KINDS = ["raw", "png", "webp-lossless", "folder", "zip"]


def random_images(shape, count=4):
    images = np.random.RandomState(sum(shape)).randint(0, 256, [count, *shape], np.uint8)
    if shape[0] == 4:
        images[:, 3, : shape[1] // 2] = np.random.RandomState(0).randint(0, 2, [shape[1] // 2, shape[2]]) * 255
        images[1:, 3, :4, :8] = 0
    return images


def stored(kind, folder, images):
    """The path of a data set of images, [N, C, H, W], in a new folder."""
    path = folder / "set"
    if kind not in ("folder", "zip"):
        encoding = Encoding("png" if images.shape[1] == 1 and kind != "raw" else kind)
        with TFRecordExporter(str(path), len(images), print_progress=False, encoding=encoding) as exporter:
            for image in images:
                exporter.add_image(image)
        return path
    path.mkdir()
    for number, image in enumerate(images):
        pixels = image.transpose(1, 2, 0)
        PIL.Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels).save(path / f"{number}.png")
    if kind == "zip":
        with zipfile.ZipFile(folder / "set.zip", "w") as file:
            for image in sorted(path.iterdir()):
                file.write(image, image.name)
        return folder / "set.zip"
    return path


def plain_means(images, times):
    """The rule, in float64."""
    size = 1 << times
    blocks = images.reshape(*images.shape[:2], images.shape[2] // size, size, images.shape[3] // size, size)
    blocks = blocks.astype(np.float64)
    means = blocks.mean(axis=(3, 5))
    if images.shape[1] == 4:
        weights = blocks[:, 3:].sum(axis=(3, 5))
        weighted = (blocks[:, :3] * blocks[:, 3:]).sum(axis=(3, 5))
        means[:, :3] = np.where(weights > 0, weighted / np.maximum(weights, 1), means[:, :3])
    return np.rint(means)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_images_of_every_shape_at_every_level(tmp_path, kind, shape):
    images = random_images(shape)
    opened = dataset.TFRecordDataset(str(stored(kind, tmp_path, images)))
    resolution = resolution_of(shape[1:])
    assert opened.shape == [*shape] and opened.resolution == resolution.argument
    assert opened.resolution_log2 == resolution.log2
    most = min(side & -side for side in shape[1:]).bit_length() - 1
    for lod in range(most + 1):
        found, _ = opened.read([3, 0, 1], lod)
        assert found.shape == (3, shape[0], shape[1] >> lod, shape[2] >> lod)
        np.testing.assert_array_equal(found, plain_means(images[[3, 0, 1]], lod))
    with pytest.raises(ValueError, match=f"lod must be an integer from 0 to {most}"):
        opened.read([0], most + 1)
    lower = dataset.TFRecordDataset(opened.tfrecord_dir, resolution=[shape[1] // 2, shape[2] // 2])
    assert lower.shape == [shape[0], shape[1] // 2, shape[2] // 2]
    np.testing.assert_array_equal(lower.read([2], 1)[0], opened.read([2], 2)[0])
    batch, _ = opened.get_minibatch_np(2, 1)
    assert batch.shape == (2, shape[0], shape[1] // 2, shape[2] // 2)
    opened.verify(verbose=False)
    contents = opened.contents()
    assert contents.shape == shape and not contents.changes(contents)
    assert len(opened.digest()) == 64


def test_tfrecords_have_the_levels_of_the_base(tmp_path):
    stored("raw", tmp_path, random_images((3, 40, 24)))
    assert sorted(os.listdir(tmp_path / "set")) == [f"set-r0{level}.tfrecords" for level in range(2, 6)]
    (tmp_path / "set/set-r03.tfrecords").unlink()
    assert dataset.TFRecordDataset(str(tmp_path / "set")).read([0], 2)[0].shape == (1, 3, 10, 6)


def test_tfrecords_of_another_shape(tmp_path):
    (tmp_path / "wide").mkdir()
    stored("raw", tmp_path, random_images((3, 40, 24)))
    stored("raw", tmp_path / "wide", random_images((3, 24, 40)))
    shutil.copy(tmp_path / "wide/set/set-r04.tfrecords", tmp_path / "set/set-r04.tfrecords")
    with pytest.raises(UserError, match=r"set-r04.tfrecords: images of 12x20, but set-r05.tfrecords has 40x24"):
        dataset.TFRecordDataset(str(tmp_path / "set"))


@pytest.mark.parametrize("resolution", [16, [12, 20], [80, 48], [20, 13], [2, 1], "20x12", 0])
def test_resolution_that_is_not_there(tmp_path, resolution):
    path = stored("raw", tmp_path, random_images((3, 40, 24)))
    with pytest.raises(UserError, match=r"set can be read at 5x3, 10x6, 20x12, 40x24"):
        dataset.TFRecordDataset(str(path), resolution=resolution)


def test_exporter_names_what_cannot_be(tmp_path):
    for shape, message in (
        ((2, 8, 8), "2x8x8: expected 1 channel"),
        ((3, 45, 30), "3x45x30: 45x30: height and width must be .* nearest are 44x32"),
    ):
        exporter = TFRecordExporter(str(tmp_path / "set"), 1, print_progress=False)
        with pytest.raises(UserError, match=message):
            exporter.add_image(np.zeros(shape, np.uint8))
        assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------
# Transparency.


def test_averages_weigh_colours_by_alpha():
    sprite = np.zeros([1, 4, 8, 8], np.uint8)
    sprite[0, :, :3] = np.reshape([200, 100, 50, 255], [4, 1, 1])
    sprite[0, :3, 3:] = np.reshape([7, 9, 11], [3, 1, 1])
    for times in (1, 2):
        mean = box_mean(sprite, times)[0]
        assert (mean[:3, mean[3] > 0].T == (200, 100, 50)).all()
        assert (mean[:3, mean[3] == 0].T == (7, 9, 11)).all()
    assert box_mean(sprite, 3).ravel().tolist() == [200, 100, 50, 96]


def test_opaque_images_have_the_averages_of_rgb():
    images = random_images((3, 64, 64), 2)
    opaque = np.concatenate([images, np.full_like(images[:, :1], 255)], axis=1)
    for times in range(1, 7):
        np.testing.assert_array_equal(box_mean(opaque, times)[:, :3], box_mean(images, times))


def test_transparency_of_every_kind_of_file(tmp_path):
    """Colours under alpha 0 are kept where the file has some."""
    rgba = random_images((4, 8, 16), 1)[0].transpose(1, 2, 0)
    picture = PIL.Image.fromarray(rgba)
    palette = picture.convert("RGB").quantize(8)
    files = {
        "0.png": (picture, {}),
        "1.webp": (picture, {"lossless": True, "exact": True}),
        "2.tif": (picture, {}),
        "3.png": (picture.convert("LA"), {}),
        "4.png": (palette, {"transparency": 3}),
        "5.gif": (palette, {"transparency": 3}),
        "6.png": (palette, {"transparency": bytes([0, 50, 100, 255, 255, 255, 255, 255])}),
    }
    for name, (image, options) in files.items():
        image.save(tmp_path / name, **options)
    opened = dataset.TFRecordDataset(str(tmp_path))
    found = opened.read(np.arange(len(files)))[0].transpose(0, 2, 3, 1)
    for image in found[:3]:
        np.testing.assert_array_equal(image, rgba)
    gray = np.asarray(picture.convert("LA"))
    np.testing.assert_array_equal(found[3], gray[..., [0, 0, 0, 1]])
    indices, colours = np.asarray(palette), np.asarray(palette.convert("RGB"))
    for image in found[4:]:
        np.testing.assert_array_equal(image[..., :3], colours)
    np.testing.assert_array_equal(found[4][..., 3], np.where(indices == 3, 0, 255))
    np.testing.assert_array_equal(found[6][..., 3], np.asarray([0, 50, 100, *[255] * 5])[indices])


def test_opaque_among_transparent_images_are_named(tmp_path):
    for number in range(5):
        PIL.Image.new("RGBA", (16, 8)).save(tmp_path / f"{number}.png")
    PIL.Image.new("RGB", (16, 8)).save(tmp_path / "rgb.png")
    PIL.Image.new("RGB", (8, 8)).quantize(2).save(tmp_path / "palette.png")
    with pytest.raises(UserError) as error:
        dataset.TFRecordDataset(str(tmp_path))
    for line in (
        "rgb.png: 8x16 RGB, most are 8x16 RGB with transparency",
        "palette.png: 8x8 palette, expected RGB, RGBA or grayscale",
        "--convert=rgba",
    ):
        assert line in str(error.value)


# ----------------------------------------------------------------------------
# LMDB.


def make_lmdb(path, images, keys):
    """keys: numbers in the names of images, by how often these are halved."""
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for times, key in enumerate(keys):
            for number, image in enumerate(box_mean(images, times)):
                file = io.BytesIO()
                pixels = image.transpose(1, 2, 0)
                PIL.Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels).save(file, "PNG")
                transaction.put(f"{key}-{number:05d}".encode(), file.getvalue())
        transaction.put(b"length", str(len(images)).encode())
    return str(path)


@pytest.mark.parametrize(
    ("shape", "keys"),
    [
        ((3, 40, 24), [40, 20]),
        ((3, 40, 24), [24]),
        ((3, 24, 3), [3]),
        ((4, 16, 32), [32, 16, 8]),
        ((1, 96, 96), [96, 48]),
    ],
)
def test_lmdb_of_every_shape(tmp_path, shape, keys):
    images = random_images(shape)
    opened = dataset.TFRecordDataset(make_lmdb(tmp_path / "set", images, keys))
    assert opened.shape == [*shape]
    assert len(opened._source.levels) == len(keys)
    for lod in range(min(side & -side for side in shape[1:]).bit_length()):
        np.testing.assert_array_equal(opened.read([3, 1], lod)[0], box_mean(images[[3, 1]], lod))
    opened.verify(verbose=False)


def test_lmdb_of_other_sizes_than_its_keys_say(tmp_path):
    path = make_lmdb(tmp_path / "set", random_images((3, 40, 24)), [32])
    with pytest.raises(UserError, match="images are 40x24 RGB, but their keys begin with 32-, expected 40- or 24-"):
        dataset.TFRecordDataset(path)
