"""Images written with names and labels as folders and zip files: whole, once, and gone on with after a kill."""

import json
import os
import zipfile

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.stored_zip import StoredZip
from training.data.dataset import TFRecordDataset
from training.data.image_encoding import Encoding
from training.data.image_export import ImageExporter

pytestmark = pytest.mark.one_stack
NAMES = ["b/\u00e4 1.png", "b/2.png", "c/3.png", "c/4.png", "a/5.png"]
CLASSES = ["b", "c", "a", "none"]
LABELS = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2]]
IMAGES = np.random.RandomState(0).randint(0, 256, [5, 3, 16, 16]).astype(np.uint8)


class KilledError(BaseException):
    pass


def write(dest, only=range(5), kill=False, **options):
    """Writes the images that are missing and among `only`; returns which were."""
    options = {"labels": LABELS, "classes": CLASSES, **options}
    with ImageExporter(str(dest), NAMES, **options) as exporter:
        chosen = [index for index in exporter.missing if index in only]
        for index in chosen:
            exporter.add(index, Encoding("png").encode(IMAGES[index]))
        if kill:
            exporter.abort = lambda: exporter._stack.close()  # nothing is put in order
            raise KilledError
    return chosen


def check(dest):
    dataset = TFRecordDataset(str(dest), max_label_size="full")
    order = [NAMES.index(name) for name in sorted(NAMES)]
    images, labels = dataset.read(np.arange(5))
    np.testing.assert_array_equal(images, IMAGES[order])
    np.testing.assert_array_equal(labels, LABELS[order])
    assert dataset.label_names == CLASSES
    dataset.close()


@pytest.mark.parametrize("name", ["set.zip", "set"])
def test_export(tmp_path, name):
    assert write(tmp_path / "in" / name, facts={"seeds": [1, 2, 3, 4, 5]}) == list(range(5))
    check(tmp_path / "in" / name)
    assert os.listdir(tmp_path / "in") == [name]
    if name == "set.zip":
        with zipfile.ZipFile(tmp_path / "in" / name) as file:
            assert file.testzip() is None
            assert file.namelist() == ["dataset.json", *NAMES]
            assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
            content = json.loads(file.read("dataset.json"))
        assert content["labels"][:2] == [[NAMES[0], 0], [NAMES[1], 0]]
        assert content["seeds"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["set.zip", "set"])
def test_killed_and_gone_on_with(tmp_path, name):
    write(tmp_path / name)
    whole = (tmp_path / name).read_bytes() if name == "set.zip" else None
    dest = tmp_path / f"again-{name}"
    with pytest.raises(KilledError):
        write(dest, only=(0, 1, 2), kill=True, resumable=True)
    assert not dest.exists()
    partial = tmp_path / f".again-{name}.partial"
    if whole:
        os.truncate(partial, os.path.getsize(partial) - 3)  # in the middle of an image
    else:
        (partial / "c/3.png").rename(partial / "c/.3.png")
    assert write(dest, resumable=True) == [2, 3, 4]
    check(dest)
    if whole:
        assert dest.read_bytes() == whole
    assert sorted(os.listdir(tmp_path)) == sorted([name, f"again-{name}"])


@pytest.mark.parametrize("name", ["set.zip", "set"])
def test_what_an_exception_leaves(tmp_path, name):
    for resumable in (False, True):
        with pytest.raises(ZeroDivisionError), ImageExporter(str(tmp_path / name), NAMES, resumable=resumable) as it:
            it.add(0, b"x")
            _ = 1 / 0
        assert os.listdir(tmp_path) == [f".{name}.partial"] * resumable
    with pytest.raises(UserError, match=r"other settings \(psi: None, now 1\).*--force to begin anew"):
        write(tmp_path / name, labels=None, resumable=True, facts={"psi": 1})
    write_seeds = {"only": range(4), "resumable": True, "force": True}
    with pytest.raises(UserError, match="1 of 5 images were not written"):
        write(tmp_path / name, facts={"seeds": list(range(5000))}, **write_seeds)
    with pytest.raises(UserError, match=r"\(seeds: 5000 from 0 to 4999, now 5001 from 0 to 5000\)"):
        write(tmp_path / name, facts={"seeds": list(range(5001))}, resumable=True)
    with pytest.raises(UserError, match="1 of 5 images were not written"):
        write(tmp_path / name, resumable=True, force=True, only=range(4))
    assert write(tmp_path / name, resumable=True) == [4]


@pytest.mark.parametrize("name", ["set.zip", "set"])
def test_taken(tmp_path, name):
    write(tmp_path / name)
    with pytest.raises(UserError, match="exists.*--force replaces it"):
        write(tmp_path / name)
    write(tmp_path / name, force=True)
    check(tmp_path / name)
    busy = ImageExporter(str(tmp_path / "other"), NAMES)
    with pytest.raises(UserError, match="is being written by another process"):
        write(tmp_path / "other")
    busy.abort()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.doc").touch()
    with pytest.raises(UserError, match="--force replaces folders with a dataset.json only"):
        write(tmp_path / "mine", force=True)


def test_names(tmp_path):
    names = ["../a.png", "/a.png", "a//b.png", "a.txt", ".a.png", "\udce9.png", "x" * 250 + ".png", "a.png", "a.png"]
    with pytest.raises(UserError) as caught:
        ImageExporter(str(tmp_path / "set"), names)
    assert len(str(caught.value).split("\n")) == 8
    assert os.listdir(tmp_path) == []


def test_labels_that_are_no_classes(tmp_path):
    vectors = np.random.RandomState(1).randn(5, 3).astype(np.float32)
    write(tmp_path / "set.zip", labels=vectors, classes=())
    order = [NAMES.index(name) for name in sorted(NAMES)]
    labels = TFRecordDataset(str(tmp_path / "set.zip"), max_label_size="full").read(np.arange(5))[1]
    np.testing.assert_array_equal(labels, vectors[order])
    write(tmp_path / "none", labels=None)  # and its folders are no classes
    assert TFRecordDataset(str(tmp_path / "none"), max_label_size="full").label_size == 0


def test_damaged_names_in_what_is_gone_on_with(tmp_path):
    file = StoredZip(tmp_path / "cut.zip")
    for name in ("one.png", "two.png"):
        file.add(name, b"content")
    file.close()
    content = (tmp_path / "cut.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content.replace(b"two.png", b"tw\xff.png"))
    file = StoredZip(tmp_path / "cut.zip")
    assert file.names == {"one.png"}
    file.add("two.png", b"content")
    file.close()
    assert (tmp_path / "cut.zip").read_bytes() == content


def test_zip_files_of_many_files_and_bytes(tmp_path):
    """More than the first zip files had room for."""
    file = StoredZip(tmp_path / "many.zip")
    for number in range(65536):
        file.add(str(number), b"x")
    file._end = 5 << 30  # a hole
    file.add("far", b"content")
    file.finish()
    with zipfile.ZipFile(tmp_path / "many.zip") as read:
        assert len(read.namelist()) == 65537
        assert read.read("far") == b"content"
        assert read.read("65535") == b"x"
