"""Data sets in image folders, zip files and LMDB folders."""

import io
import json
import shutil
import zipfile

import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import UserError
from training.data import containers, dataset
from training.data.averages import box_mean
from training.data.containers import Container
from training.data.find_dataset import full_resolution
from training.data.image_files import is_image_name
from training.data.labels import labels_of_images

pytestmark = pytest.mark.one_stack


def images(count=5, size=16, channels=3, seed=0):
    """Random images, uint8 [N, C, H, W]."""
    return np.random.RandomState(seed).randint(0, 256, [count, channels, size, size]).astype(np.uint8)


def pil(image):
    """An image [C, H, W] for Pillow."""
    return PIL.Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def save_folder(folder, names, data):
    for name, image in zip(names, data, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pil(image).save(folder / name)
    return folder


def zip_of(folder, path):
    with zipfile.ZipFile(path, "w") as file:
        for image in sorted(folder.rglob("*.*")):
            file.write(image, str(image.relative_to(folder)))
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_images_of_folder_and_zip(tmp_path, kind, channels):
    data = images(6, channels=channels)
    path = save_folder(tmp_path / "set", [f"{i}.png" for i in range(6)], data)
    (path / ".hidden.png").write_bytes(b"junk")
    (path / "notes.txt").write_bytes(b"junk")
    if kind == "zip":
        path = zip_of(path, tmp_path / "set.zip")
    opened = dataset.TFRecordDataset(str(path), max_label_size="full")
    assert (opened.kind, opened.shape, opened.label_size) == (kind, [channels, 16, 16], 0)
    np.testing.assert_array_equal(opened.read([5, 0, 3])[0], data[[5, 0, 3]])
    np.testing.assert_array_equal(opened.read([5, 0], lod=2)[0], box_mean(data[[5, 0]], 2))
    assert dataset.TFRecordDataset(str(path), resolution=8).shape == [channels, 8, 8]
    opened.verify(verbose=False)
    opened.close()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_class_folders(tmp_path, kind):
    names = ["top/10/a.png", "top/10/deeper/b.png", "top/9/c.png", "top/11/d.png"]
    data = images(4)
    path = save_folder(tmp_path / "set", names, data)
    path = zip_of(path, tmp_path / "set.zip") if kind == "zip" else path
    opened = dataset.TFRecordDataset(str(path), max_label_size="full", num_threads=1)
    np.testing.assert_array_equal(opened.read(range(4))[1].argmax(axis=1), [1, 1, 2, 0])  # order of names; 9 < 10
    np.testing.assert_array_equal(opened.read([2])[0][0], data[3])
    assert dataset.TFRecordDataset(str(path)).stored_label_size == 3
    assert dataset.TFRecordDataset(str(path)).label_size == 0


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_class_folders_without_images(tmp_path, kind):
    """They count, so that the others keep their numbers, and they are noted; hidden ones do not."""
    path = save_folder(tmp_path / "set", ["top/0/a.png", "top/2/b.png", "top/2/deeper/c.png"], images(3))
    for name in ("top/1/none", "top/2/none", "top/10", "top/11\x1b[2J", "top/.hidden", "other"):
        (path / name).mkdir(parents=True)
    (path / "top" / "10" / "notes.txt").write_text("no image")
    if kind == "zip":
        shutil.make_archive(str(tmp_path / "set"), "zip", path)
        path = tmp_path / "set.zip"
    container = Container(str(path))
    labels, classes = labels_of_images(container, [name for name in container.names if is_image_name(name)])
    assert classes == ["0", "1", "2", "10", "11\x1b[2J"]
    np.testing.assert_array_equal(labels, np.eye(5)[[0, 2, 2]])
    assert container.notes == ["Folders without images count as classes: 1 (1), 3 (10), 4 (11\\x1b[2J)."]


def test_labels_take_memory_for_what_there_is(tmp_path):
    """A number can mean as many classes."""
    folder = save_folder(tmp_path / "set", ["a.png", "b.png"], images(2))
    (folder / "dataset.json").write_text(json.dumps({"labels": [["a.png", 0], ["b.png", 10**6]]}))
    for path in (folder, zip_of(folder, tmp_path / "set.zip")):
        with pytest.raises(UserError, match="1000001 classes for 2 images; expected class numbers, such as 0 to 9"):
            dataset.TFRecordDataset(str(path))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><title>Too many downloads</title>", "this is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "this is a git-LFS pointer"),
        (b"\x1f\x8b\x08 of a tar.gz", "this file is compressed; unpack it first"),
        (b"", "the file is empty"),
    ],
)
def test_files_that_are_no_zip_files(tmp_path, content, what):
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(UserError, match=f"set.zip: is there, but is no data set: {what}"):
        dataset.TFRecordDataset(str(tmp_path / "set.zip"))
    with pytest.raises(UserError, match=f"expected a folder or a zip file, but it cannot be .* .{what}"):
        Container(str(tmp_path / "set.zip"))


def test_folders_beside_that_of_all_images_are_no_classes(tmp_path):
    path = save_folder(tmp_path / "set", ["images/a.png", "images/b.png"], images(2))
    (path / "masks").mkdir()
    assert dataset.TFRecordDataset(str(path)).stored_label_size == 0


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_dataset_json(tmp_path, kind):
    folder = save_folder(tmp_path / "set", ["0/a.png", "0/b.png", "1/c.png"], images(3))

    def read(text):
        (folder / "dataset.json").write_text(text)
        path = zip_of(folder, tmp_path / "set.zip") if kind == "zip" else folder
        return dataset.TFRecordDataset(str(path), max_label_size="full")._np_labels

    classes = '{"labels": [["1/c.png", 1], ["0/a.png", 2], ["0/b.png", 0]]}'
    np.testing.assert_array_equal(read(classes), [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    vectors = '{"labels": [["1/c.png", [1, 2]], ["0/a.png", [3, 4]], ["0/b.png", [5, 6]]]}'
    np.testing.assert_array_equal(read(vectors), [[3, 4], [5, 6], [1, 2]])
    assert read('{"labels": null}').shape == (3, 0)
    for text, message in (
        ('{"labels": [["0/a.png", 1]]}', "2 of 3 images have no label, such as 0/b.png, 1/c.png"),
        (classes.replace("]]}", '], ["x", 0]]}'), "1 image that is not there, such as x"),
        (classes.replace("0]]", "[0]]]"), "of 1 numbers, most are of a class"),
        (classes.replace("0]]", "-1]]"), "0/b.png.* is -1, expected class numbers"),
        ("[]", "is a list.*expected"),
    ):
        with pytest.raises(UserError, match=f"(?s)dataset.json: .*{message}"):
            read(text)


def make_lmdb(path, data, levels=(4,), image_format="png"):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for level in levels:
            for number, image in enumerate(box_mean(data, 4 - level)):
                buffer = io.BytesIO()
                pil(image).save(buffer, image_format)
                transaction.put(f"{1 << level}-{str(number).zfill(5)}".encode(), buffer.getvalue())
        transaction.put(b"length", str(len(data)).encode())
    return path


def test_lmdb(tmp_path):
    data = images(6)
    opened = dataset.TFRecordDataset(str(make_lmdb(tmp_path / "set", data, levels=(4, 3))))
    assert (opened.kind, opened.shape, opened.num_images) == ("lmdb", [3, 16, 16], 6)
    assert opened._source.levels == [4, 3]
    for lod in range(3):
        np.testing.assert_array_equal(opened.read([4, 1], lod)[0], box_mean(data[[4, 1]], lod))
    opened.verify(verbose=False)
    opened.close()
    jpeg = dataset.TFRecordDataset(str(make_lmdb(tmp_path / "jpeg", data, image_format="jpeg")))
    assert jpeg.read([0])[0].shape == (1, 3, 16, 16)


def test_damaged_lmdb(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    path = make_lmdb(tmp_path / "set", images(6))
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        transaction.delete(b"16-00002")
        transaction.delete(b"16-00004")
    with pytest.raises(UserError, match="is incomplete: 5 entries, expected 6 images at 16 and"):
        dataset.TFRecordDataset(str(path))
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        transaction.put(b"one", b"")
        transaction.put(b"other", b"")
    with pytest.raises(UserError, match=r"16-00002: is missing\n.*16-00004: is missing"):
        dataset.TFRecordDataset(str(path))
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        transaction.put(b"length", b"many")
    with pytest.raises(UserError, match="its first keys are"):
        dataset.TFRecordDataset(str(path))
    content = (path / "data.mdb").read_bytes()
    (path / "data.mdb").write_bytes(content[:-4096])
    with pytest.raises(UserError, match="is cut off"):
        dataset.TFRecordDataset(str(path))
    (path / "data.mdb").write_bytes(b"junk" * 4096)
    with pytest.raises(UserError, match="cannot be read as LMDB"):
        dataset.TFRecordDataset(str(path))


def test_resolution_of_a_damaged_lmdb(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    path = make_lmdb(tmp_path / "set", images(3))
    assert full_resolution(str(path)).argument == 16
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        transaction.put(b"16-00000", b"junk")
        transaction.put(b"16-00002", b"junk")
    with pytest.raises(UserError, match=r"16-00000: not an image\n.*16-00002: not an image"):
        full_resolution(str(path))


def test_lmdb_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    (tmp_path / "data.mdb").write_bytes(b"")
    with pytest.raises(UserError, match="pip install lmdb"):
        dataset.TFRecordDataset(str(tmp_path))


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_images_that_do_not_fit_are_listed(tmp_path, kind):
    folder = save_folder(tmp_path / "set", [f"ok{i}.png" for i in range(30)], images(30))
    pil(images(1, size=32)[0]).save(folder / "large.png")
    pil(images(1, channels=1)[0]).save(folder / "gray.png")
    PIL.Image.new("RGBA", (16, 16)).save(folder / "alpha.png")
    PIL.Image.new("P", (16, 16)).save(folder / "palette.png")
    PIL.Image.new("I;16", (16, 16)).save(folder / "deep.png")
    (folder / "junk.jpg").write_bytes(b"junk")
    (folder / "empty.png").write_bytes(b"")
    path = zip_of(folder, tmp_path / "set.zip") if kind == "zip" else folder
    with pytest.raises(UserError) as error:
        dataset.TFRecordDataset(str(path))
    for text in (
        "large.png: 32x32 RGB, most are 16x16 RGB",
        "gray.png: 16x16 grayscale, most are 16x16 RGB",
        "alpha.png: 16x16 RGB with transparency, most are 16x16 RGB",
        "palette.png: 16x16 palette, expected RGB, RGBA or grayscale",
        "deep.png: 16x16 16 bits per channel, expected",
        "junk.jpg: not an image",
        "empty.png: cannot be read (the file is empty)",
        "create_from_images",
    ):
        assert text in str(error.value)
    assert "ok" not in str(error.value)
    save_folder(folder, [f"more{i}.png" for i in range(28)], images(28, size=8))
    with pytest.raises(UserError, match=r"\.\.\. and 15 more"):
        dataset.TFRecordDataset(str(folder))


@pytest.mark.parametrize(
    ("height", "width", "nearest"),
    [(45, 30, "are 44x32 (resized) and 44x28 (cut out)"), (2, 2, "is 3x3"), (37, 512, "is 32x512")],
)
def test_sizes_that_cannot_be(tmp_path, height, width, nearest):
    for number in range(3):
        PIL.Image.new("RGB", (width, height)).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError) as error:
        dataset.TFRecordDataset(str(tmp_path))
    assert f"images are {height}x{width} RGB, but height and width must be a small base" in str(error.value)
    assert f"nearest {nearest}" in str(error.value) and "--resolution and --crop=center" in str(error.value)


def test_image_cut_off(tmp_path):
    folder = save_folder(tmp_path / "set", ["a.png", "b.png"], images(2))
    content = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(content[:300])
    opened = dataset.TFRecordDataset(str(folder))  # headers are all right
    opened.read([0])
    with pytest.raises(UserError, match=r"b\.png: cannot be read"):
        opened.read([0, 1])
    with pytest.raises(UserError, match=r"b\.png: cannot be read"):
        opened.verify(verbose=False)


def test_file_of_a_zip_that_is_too_large(tmp_path, monkeypatch):
    path = zip_of(save_folder(tmp_path / "set", ["a.png", "b.png"], images(2)), tmp_path / "set.zip")
    monkeypatch.setattr(containers, "_MAX_UNPACKED", 100)
    with pytest.raises(UserError, match=r"a\.png: cannot be read \(unpacks to \d+ bytes\)\n.*b\.png"):
        dataset.TFRecordDataset(str(path))


def test_paths_in_a_zip_of_two_kinds(tmp_path):
    folder = save_folder(tmp_path / "set", ["a.png", "b.png"], images(2))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for name in ("/x/a.png", "x/b.png"):
            file.writestr(zipfile.ZipInfo(name), (folder / name[-5:]).read_bytes())
    assert dataset.TFRecordDataset(str(tmp_path / "set.zip"), max_label_size="full").shape == [3, 16, 16]


def test_names_with_backslashes(tmp_path):
    """As programs of Windows write them into zip files, and into a dataset.json."""
    data = images(4)
    folder = save_folder(tmp_path / "set", [f"{i}.png" for i in range(4)], data)

    def write(names, text=None):
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
            file.writestr("cats\\", b"")
            for number, name in enumerate(names):
                info = zipfile.ZipInfo("x")
                info.filename = name
                file.writestr(info, (folder / f"{number}.png").read_bytes())
            if text:
                file.writestr("dataset.json", text)
        return dataset.TFRecordDataset(str(tmp_path / "set.zip"), max_label_size="full")

    opened = write(["dogs\\b.png", "cats\\a.png", ".\\cats\\c.png", "cats/d.png"])
    np.testing.assert_array_equal(opened._np_labels.argmax(axis=1), [0, 0, 0, 1])
    np.testing.assert_array_equal(opened.read(range(4))[0], data[[1, 2, 3, 0]])
    text = json.dumps({"labels": [[".\\x\\a.png", 1], ["x\\b.png", 0], ["x/c.png", 2], ["/x/d.png", 0]]})
    for names in (["x/a.png", "x/b.png", "x/c.png", "x/d.png"], [f"x\\{letter}.png" for letter in "abcd"]):
        np.testing.assert_array_equal(write(names, text)._np_labels.argmax(axis=1), [1, 0, 2, 0])
    (folder / "cats\\0.png").write_bytes((folder / "0.png").read_bytes())  # unpacked as it is
    assert dataset.TFRecordDataset(str(folder)).num_images == 5


def test_names_in_a_zip_that_are_there_twice(tmp_path):
    path = zip_of(save_folder(tmp_path / "set", ["a.png", "b.png"], images(2)), tmp_path / "set.zip")
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.write(tmp_path / "set" / "a.png", "a.png")
    assert dataset.TFRecordDataset(str(path)).num_images == 2


def test_damaged_zip(tmp_path):
    path = zip_of(save_folder(tmp_path / "set", ["a.png", "b.png"], images(2)), tmp_path / "set.zip")
    content = bytearray(path.read_bytes())
    for position in range(0, len(content), 7):
        damaged = bytes([*content[:position], content[position] ^ 0x55, *content[position + 1 :]])
        (tmp_path / "damaged.zip").write_bytes(damaged)
        try:
            dataset.TFRecordDataset(str(tmp_path / "damaged.zip")).verify(verbose=False)
        except UserError as error:
            assert "damaged.zip" in str(error)
