"""dataset_tool.py --encoding and convert: what goes in comes out, bit for bit, with labels and names."""

import io
import json
import os
import zipfile

import numpy as np
import PIL.Image
import pytest
from helpers.dataset_tool_runs import fails, save_images, shuffled, succeeds

from training.data.dataset import TFRecordDataset

pytestmark = pytest.mark.one_stack


def photos(count=40, size=(64, 64, 3)):
    """Smooth images, [N, H, W, C]."""
    ramp = np.indices(size).sum(axis=0)
    return np.stack([(ramp * 2 + 5 * number) % 256 for number in range(count)]).astype(np.uint8)


def read(path):
    dataset = TFRecordDataset(str(path), max_label_size="full", shuffle_mb=0)
    images, labels = dataset.read(np.arange(dataset.num_images))
    dataset.close()
    return images, labels, dataset.label_names


@pytest.mark.parametrize("encoding", ["png", "webp-lossless", "jpeg"])
def test_create_from_images(tmp_path, encoding):
    save_images(tmp_path / "photos/a", photos(3))
    save_images(tmp_path / "photos/b", photos(3) // 2)
    out = succeeds(tmp_path, "create-from-images", "set", "photos", f"--encoding={encoding}").stdout
    assert f"Writing 6 images of 3x64x64 as {encoding}: about " in out
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["set-r06.tfrecords", "set-rxx.labels"]
    images, labels, _ = read(tmp_path / "set")
    expected = np.concatenate([photos(3), photos(3) // 2]).transpose(0, 3, 1, 2)[shuffled(6)]
    assert np.abs(images.astype(int) - expected).mean() <= (3 if encoding == "jpeg" else 0)
    assert labels.argmax(axis=1).tolist() == [number // 3 for number in shuffled(6)]
    info = succeeds(tmp_path, "info", "set", "--verify").stdout
    assert f"stored as   image files, the first {encoding.removesuffix('-lossless')}\n" in info
    assert "all images are whole" in info


def test_create_from_images_that_cannot_be_encoded(tmp_path):
    save_images(tmp_path / "gray", photos(2)[..., 0])
    assert "webp-lossless has no grayscale; png has" in fails(
        tmp_path, "create-from-images", "set", "gray", "--encoding=webp-lossless"
    )
    assert "--quality=90 is of --encoding=jpeg; png has none" in fails(
        tmp_path, "create-from-images", "set", "gray", "--encoding=png", "--quality=90"
    )
    assert "quality=101, expected 1 to 100" in fails(
        tmp_path, "create-from-images", "set", "gray", "--encoding=jpeg", "--quality=101"
    )
    save_images(tmp_path / "mixed" / "a", photos(1))
    save_images(tmp_path / "mixed" / "b", np.concatenate([photos(1), photos(1)[..., :1]], axis=-1))
    for options, advised in (([], True), (["--encoding=jpeg"], False)):
        message = fails(tmp_path, "create-from-images", "set", "mixed", *options)
        assert "--convert=rgb or" in message and ("--convert=rgba" in message) == advised


# ----------------------------------------------------------------------------
# convert


@pytest.fixture
def pets(tmp_path):
    """A folder of class folders, with files of several formats, one of them to be turned. Returns what it reads as."""
    rows = photos(8, (32, 32, 3))
    rows[:, :16] //= 2
    names = ["cats/0.png", "cats/1.jpg", "cats/2.JPEG", "cats/3.bmp", "cats/3.png", "dogs/4.png", "dogs/5.webp"]
    for name, pixels in zip(names, rows, strict=False):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        turned = PIL.Image.Exif()
        turned[0x0112] = 6 if name == "cats/2.JPEG" else 1
        PIL.Image.fromarray(pixels).save(tmp_path / "pets" / name, exif=turned)
    PIL.Image.fromarray(rows[7]).save(tmp_path / "pets/dogs/6.png", "JPEG")  # called what it is not
    return read(tmp_path / "pets")


def same(path, expected):
    for found, wanted in zip(read(path), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_all_ways(tmp_path, pets):
    succeeds(tmp_path, "convert", "pets", "pets.zip")
    same(tmp_path / "pets.zip", pets)
    with zipfile.ZipFile(tmp_path / "pets.zip") as file:
        names = file.namelist()[1:]
        assert names == [
            *("cats/0.png", "cats/1.jpg", "cats/2.png", "cats/3-2.png", "cats/3.png", "dogs/4.png", "dogs/5.webp"),
            "dogs/6.jpg",
        ]
        for name, there in (("cats/1.jpg", "cats/1.jpg"), ("dogs/5.webp", "dogs/5.webp"), ("dogs/6.jpg", "dogs/6.png")):
            assert file.read(name) == (tmp_path / "pets" / there).read_bytes()
        assert json.loads(file.read("dataset.json"))["labels"][4:6] == [["cats/3.png", 0], ["dogs/4.png", 1]]
    ways = [
        ("pets", "a"),
        ("pets.zip", "b"),
        ("a", "c"),  # tfrecords to a folder
        ("c", "d", "--encoding=webp-lossless"),
        ("d", "e.zip"),
        ("e.zip", "f", "--to=folder", "--encoding=png"),
        ("f", "g", "--to=tfrecords", "--encoding=keep"),
        ("g", "h", "--to=tfrecords"),
    ]
    for source, dest, *options in ways:
        succeeds(tmp_path, "convert", source, dest, *options)
        same(tmp_path / dest, pets)
    for level in range(2, 6):
        name = f"-r{level:02d}.tfrecords"
        assert (tmp_path / "h" / f"h{name}").read_bytes() == (tmp_path / "a" / f"a{name}").read_bytes()
    assert sorted(str(path.relative_to(tmp_path / "c")) for path in (tmp_path / "c").rglob("*.*")) == sorted(
        [*(os.path.splitext(name)[0] + ".png" for name in names), "dataset.json"]
    )


def test_without_names_and_with_label_vectors(tmp_path):
    vectors = np.random.RandomState(0).randn(7000, 2).astype(np.float32)[:12]
    save_images(tmp_path / "photos", photos(12, (16, 16, 3)))
    succeeds(tmp_path, "create-from-images", "set", "photos", "--encoding=png")
    np.save(tmp_path / "set/set-rxx.labels.npy", vectors)
    os.rename(tmp_path / "set/set-rxx.labels.npy", tmp_path / "set/set-rxx.labels")
    expected = read(tmp_path / "set")
    assert "Writing 12 images: about " in succeeds(tmp_path, "convert", "set", "set.zip").stdout
    succeeds(tmp_path, "convert", "set.zip", "back")
    succeeds(tmp_path, "convert", "back", "back2", "--to=tfrecords", "--encoding=jpeg", "--quality=100")
    same(tmp_path / "set.zip", expected)
    same(tmp_path / "back", expected)
    assert zipfile.ZipFile(tmp_path / "set.zip").namelist()[12] == "00000/img00000011.png"
    images, labels, _ = read(tmp_path / "back2")
    assert 0 < np.abs(images.astype(int) - expected[0]).mean() < 2
    np.testing.assert_array_equal(labels, vectors)


def test_jpeg_files_are_not_encoded_again(tmp_path):
    save_images(tmp_path / "photos", photos(3), names=[f"{number}.jpg" for number in range(3)], quality=30)
    succeeds(tmp_path, "convert", "photos", "set", "--encoding=jpeg")
    same(tmp_path / "set", read(tmp_path / "photos"))
    succeeds(tmp_path, "convert", "set", "back")
    assert (tmp_path / "back/1.jpg").read_bytes() == (tmp_path / "photos/1.jpg").read_bytes()


def test_names_that_lead_elsewhere_or_are_not_unicode(tmp_path):
    file = io.BytesIO()
    PIL.Image.fromarray(photos(1)[0]).save(file, "PNG")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name in ("../../out.png", "/etc/out.png", "a" * 252 + ".png"):
            archive.writestr(name, file.getvalue())
    succeeds(tmp_path, "convert", "in.zip", "out", "--to=folder")
    names = [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")]
    assert sorted(names) == ["a" * 150 + ".png", "etc/out.png"]  # hidden ones are left out
    folder = os.fsencode(tmp_path / "latin")
    os.mkdir(folder)
    for name in (b"\xe9.png", b"\xe8.png"):
        with open(os.path.join(folder, name), "wb") as png:
            png.write(file.getvalue())
    succeeds(tmp_path, "convert", "latin", "latin.zip")
    assert zipfile.ZipFile(tmp_path / "latin.zip").namelist() == ["dataset.json", "\ufffd.png", "\ufffd-2.png"]


def test_damaged_images_are_all_named(tmp_path):
    save_images(tmp_path / "photos", photos(40))
    for number in (3, 17):
        path = tmp_path / f"photos/{number:04d}.png"
        path.write_bytes(path.read_bytes()[:-40])
    for dest in ("set", "set.zip"):
        message = fails(tmp_path, "convert", "photos", dest)
        assert "2 of 40 images cannot be read; nothing was written:" in message
        assert "0003.png: cannot be read" in message
        assert "0017.png: cannot be read" in message


def test_what_cannot_be_converted(tmp_path):
    save_images(tmp_path / "photos", photos(2))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.doc").touch()
    for args, message in (
        (("photos", "full", "--to=folder"), "full exists and is not empty; --force replaces it"),
        (("photos", "full", "--to=folder", "--force"), "--force replaces folders with a dataset.json only"),
        (("photos", "x.zip", "--to=folder"), "names of zip files end in .zip, and no others; --to=folder"),
        (("photos", "x", "--to=zip"), "names of zip files end in .zip"),
        (("photos", "x.zip", "--encoding=raw"), "--encoding=raw is of tfrecords"),
        (("photos", "x", "--encoding=png", "--quality=80"), "--quality=80 is of --encoding=jpeg; png has none"),
        (("missing", "x"), "there is no data set"),
    ):
        assert message in fails(tmp_path, "convert", *args)


def test_damaged_names(tmp_path):
    save_images(tmp_path / "photos", photos(3))
    succeeds(tmp_path, "convert", "photos", "set")
    succeeds(tmp_path, "info", "set")  # writes the indices of records
    names = tmp_path / "set/set-rxx.json"
    for content, message in (
        (b"[1]", "is damaged, expected"),
        (b'{"names": [1, 2, 3], "classes": []}', "is damaged, expected"),
        (b'{"names": ["a.png"], "classes": []}', "1 names, but the data set has 3 images"),
        (b"\xff" + b"[" * 100000, "is damaged, expected"),
    ):
        names.write_bytes(content)
        assert message in fails(tmp_path, "info", "set")
