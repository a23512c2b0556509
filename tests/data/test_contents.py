"""What a data set holds: the same for copies, and what has changed is told."""

import io
import json
import os
import shutil
import zipfile

import numpy as np
import PIL.Image
import pytest

from training.data import contents, tfrecord_export
from training.data.contents import Contents
from training.data.dataset import SyntheticDataset, TFRecordDataset

pytestmark = pytest.mark.one_stack
lmdb = pytest.importorskip("lmdb")


def png(number):
    pixels = np.random.RandomState(number).randint(0, 256, [16, 16, 3], np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def make_folder(path, labels=None):
    for number in range(12):
        folder = path / ("cats" if number < 7 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(png(number))
    if labels is not None:
        names = sorted(f"{file.parent.name}/{file.name}" for file in path.rglob("*.png"))
        entries = [[name, labels(number)] for number, name in enumerate(names)]
        (path / "dataset.json").write_text(json.dumps({"labels": entries}))
    return path


def make_zip(folder, path, **kwargs):
    with zipfile.ZipFile(path, "w", **kwargs) as file:
        for image in sorted(folder.rglob("*.*"), reverse=True):
            file.writestr(f"all/{image.relative_to(folder)}", image.read_bytes())
    return path


def make_tfrecords(path, numbers=range(12), labels=None):
    with tfrecord_export.TFRecordExporter(str(path), len(numbers), False, force=True) as exporter:
        for number in numbers:
            exporter.add_image(np.random.RandomState(number).randint(0, 256, [3, 16, 16], np.uint8))
        if labels is not None:
            exporter.add_labels(np.array(labels))
    return path


def make_lmdb(path, numbers=range(12)):
    path.mkdir()
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for index, number in enumerate(numbers):
            transaction.put(f"16-{index:05d}".encode(), png(number))
        transaction.put(b"length", str(len(numbers)).encode())
    return path


def of(path, **kwargs):
    dataset = TFRecordDataset(str(path), **{"max_label_size": "full", **kwargs})
    found = dataset.contents()
    kept = json.loads(json.dumps(found.facts())), found.arrays()
    again = Contents.restored(*kept)
    assert again.changes(found) == again.misfits(found) == found.changes(again) == []
    assert again.facts() == found.facts()
    dataset.close()
    return again


def test_line(tmp_path):
    def line(path, **kwargs):
        dataset = TFRecordDataset(str(path), **kwargs)
        dataset.close()
        return dataset.describe()

    folder = make_folder(tmp_path / "a")
    assert line(folder) == line(folder, max_label_size="full") == "12 images, 2 classes: cats, dogs"
    assert line(folder, max_images=1) == "1 image, 2 classes: cats, dogs"
    assert line(make_folder(tmp_path / "b", lambda n: n % 12)).endswith(
        "12 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... and 2 more"
    )
    assert line(make_folder(tmp_path / "c", lambda n: [0.5, n, 2])) == "12 images, labels of 3 numbers"
    assert line(make_tfrecords(tmp_path / "d")) == "12 images, no labels"
    assert line(make_tfrecords(tmp_path / "e", labels=np.eye(12))).startswith("12 images, 12 classes: 0, 1")
    (folder / "cats").rename(folder / "c\33[31m")
    assert line(folder) == "12 images, 2 classes: c\\x1b[31m, dogs"
    assert SyntheticDataset(8).describe() == "1024 images, no labels"
    assert SyntheticDataset(8, label_size=1).describe() == "1024 images, labels of 1 number"


def test_copies_are_the_same(tmp_path):
    folder = make_folder(tmp_path / "a")
    then = of(folder)
    shutil.copytree(folder, tmp_path / "b" / "elsewhere")
    for path in (tmp_path / "b").rglob("*.png"):
        os.utime(path, (1, 1))
    assert then.changes(of(tmp_path / "b")) == []
    packed = make_zip(folder, tmp_path / "a.zip")
    again = make_zip(folder, tmp_path / "b.zip", compression=zipfile.ZIP_DEFLATED)
    assert of(packed).changes(of(again)) == then.changes(of(packed)) == []
    for path in (folder / "cats").iterdir():  # whose order stays
        path.rename(path.with_name(f"image{path.name}"))
    assert then.changes(of(folder)) == []

    records = make_tfrecords(tmp_path / "r", labels=np.eye(12))
    then = of(records)
    shutil.copytree(records, tmp_path / "s", ignore=shutil.ignore_patterns(".*"), copy_function=shutil.copyfile)
    assert then.changes(of(tmp_path / "s")) == []
    (tmp_path / "s" / "r-r02.tfrecords").unlink()  # is averaged then
    assert then.changes(of(tmp_path / "s")) == []
    then = of(make_lmdb(tmp_path / "l"))
    shutil.copytree(tmp_path / "l", tmp_path / "m")
    assert then.changes(of(tmp_path / "m")) == []


def test_changed_images_of_folders(tmp_path):
    folder = make_folder(tmp_path / "a")
    then, first = of(folder), of(folder, max_images=3)
    without = of(folder, max_label_size=0)
    (folder / "cats" / "0.png").unlink()
    assert then.changes(of(folder)) == ["1 image removed (cats/0.png)"]
    assert first.changes(of(folder, max_images=3)) == [
        "1 image removed (cats/0.png)",
        "1 image added (cats/3.png)",
    ]
    for number in range(5):
        (folder / "cats" / f"new{number}.png").write_bytes(png(100 + number))
    names = "cats/new0.png, cats/new1.png, cats/new2.png, ... and 2 more"
    assert then.changes(of(folder)) == ["1 image removed (cats/0.png)", f"5 images added ({names})"]
    assert without.changes(of(folder, max_label_size=0)) == then.changes(of(folder))

    folder = make_folder(tmp_path / "b")
    path, old = folder / "dogs" / "8.png", png(8)
    path.write_bytes(old[:-20] + bytes([old[-20] ^ 1]) + old[-19:])  # as many bytes
    os.utime(path, (1, 1))
    assert then.changes(of(folder)) == ["1 image replaced (dogs/8.png)"]
    assert first.changes(of(folder, max_images=3)) == []
    path.write_bytes(png(9))
    (folder / "dogs" / "9.png").write_bytes(png(8))
    assert then.changes(of(folder)) == [
        "the same images in another order (dogs/8.png -> dogs/9.png, dogs/9.png -> dogs/8.png)"
    ]


def test_changed_classes(tmp_path):
    folder = make_folder(tmp_path / "a")
    then, without = of(folder), of(folder, max_label_size=0)
    (folder / "cats").rename(folder / "lions")
    assert then.changes(of(folder)) == [
        "1 class renamed: cats -> lions",
        "classes have other numbers: dogs 1 -> 0",
    ]
    assert without.changes(of(folder, max_label_size=0))[0].startswith("the same images in another order (cats/0.png")
    (folder / "lions").rename(folder / "apes")  # before dogs, like cats
    assert then.changes(of(folder)) == ["1 class renamed: cats -> apes"]
    assert without.changes(of(folder, max_label_size=0)) == []
    (folder / "apes").rename(folder / "tmp")
    (folder / "dogs").rename(folder / "cats")
    (folder / "tmp").rename(folder / "dogs")
    assert then.changes(of(folder)) == [
        "7 images moved from class cats to dogs",
        "5 images moved from class dogs to cats",
    ]
    (folder / "birds").mkdir()
    (folder / "cats" / "8.png").rename(folder / "birds" / "8.png")
    now = of(folder)
    assert "1 class added: birds" in then.changes(now)
    assert then.misfits(now) == ["labels have 3 columns (birds, cats, dogs) now, they had 2 columns (cats, dogs)"]


def test_changed_labels_of_files(tmp_path):
    then = of(make_folder(tmp_path / "a", lambda n: n % 2))
    changed = then.changes(of(make_folder(tmp_path / "b", lambda n: 0 if n == 5 else n % 2)))
    assert changed == ["1 image moved from class 1 to 0"]
    then = of(make_folder(tmp_path / "c", lambda n: [n, 0.5]))
    now = of(make_folder(tmp_path / "d", lambda n: [n, 0.5 + (n == 11)]))
    assert then.changes(now) == ["other labels of 1 image (dogs/9.png)"]
    assert of(tmp_path / "c", max_label_size=1).changes(of(tmp_path / "d", max_label_size=1)) == []
    then = of(make_tfrecords(tmp_path / "e", labels=np.eye(12)))
    now = of(make_tfrecords(tmp_path / "f", labels=np.eye(12)[[0, 2, 1, *range(3, 12)]]))
    assert then.changes(now) == ["1 image moved from class 1 to 2", "1 image moved from class 2 to 1"]


@pytest.mark.parametrize("make", [make_tfrecords, make_lmdb])
def test_changed_images_of_databases(tmp_path, make):
    then = of(make(tmp_path / "a"))
    for name, numbers, changes in (
        ("b", [*range(11), 20], ["1 image replaced"]),
        ("c", range(10), ["2 images removed"]),
        ("d", range(14), ["2 images added"]),
        ("e", [30, 31, *range(2, 13)], ["2 images replaced", "1 image added"]),
        ("f", [1, 0, *range(2, 12)], ["the same images in another order"]),
    ):
        assert then.changes(of(make(tmp_path / name, numbers))) == changes, name


def test_index_of_other_tfrecords(tmp_path):
    """Beside files of as many bytes and the same times."""
    then = of(make_tfrecords(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "kept", copy_function=shutil.copy2)
    make_tfrecords(tmp_path / "a", [*range(11), 20])
    for path in (tmp_path / "kept").iterdir():
        if path.suffix == ".index":
            shutil.copy(path, tmp_path / "a")
        else:
            os.utime(tmp_path / "a" / path.name, ns=(0, path.stat().st_mtime_ns))
    assert then.changes(of(tmp_path / "a")) == ["1 image replaced"]


def test_large_files(tmp_path):
    """Some parts of them are looked at, and their size."""
    data = bytearray(os.urandom(1 << 20))
    whole = contents_of(data)
    for place in (0, 40, (1 << 20) - 1):
        changed = data.copy()
        changed[place] ^= 1
        assert contents_of(changed) != whole
    assert contents_of(data + b"x") != whole


def contents_of(data):
    from training.data.containers import sampled_checksum

    return sampled_checksum(len(data), lambda begin, size: bytes(data[begin : begin + size]))


def test_shapes(tmp_path):
    then = of(make_tfrecords(tmp_path / "a"))
    assert then.misfits(of(tmp_path / "a", resolution=8)) == [
        "images are of the shape [3, 8, 8] now, they were [3, 16, 16]"
    ]


@pytest.mark.parametrize(
    "change", [{"images": 3}, {"shape": None}, {"label_size": "x"}, {"classes": ["a"], "label_size": 1}, {"levels": 3}]
)
def test_damaged_facts(tmp_path, change):
    found = of(make_folder(tmp_path / "a"))
    with pytest.raises((KeyError, TypeError, ValueError)):
        Contents.restored({**found.facts(), **change}, found.arrays())


def test_names_that_are_not_text(tmp_path):
    folder = make_folder(tmp_path / "a")
    os.rename(os.fsencode(folder / "cats" / "0.png"), os.fsencode(folder / "cats") + b"/\xff.png")
    then = of(folder)
    os.unlink(os.fsencode(folder / "cats") + b"/\xff.png")
    assert then.changes(of(folder)) == ["1 image removed (cats/\\udcff.png)"]
    assert contents.describe(1, [], False) == "1 image, no labels"
