"""`import dataset_tool`, as notebooks and projectors of others do: the official functions, called as there."""

import inspect

import numpy as np
import pytest
from dataset_tool_runs import dataset, random_images, run, save_images, shuffled

import dataset_tool
from dnnlib.errors import UserError

pytestmark = pytest.mark.one_stack
OFFICIAL = {
    "TFRecordExporter": "tfrecord_dir expected_images print_progress=True progress_interval=10",
    "compare": "tfrecord_dir_a tfrecord_dir_b ignore_labels",
    "create_celeba": "tfrecord_dir celeba_dir cx=89 cy=121",
    "create_cifar10": "tfrecord_dir cifar10_dir ignore_labels",
    "create_cifar100": "tfrecord_dir cifar100_dir",
    "create_from_hdf5": "tfrecord_dir hdf5_filename shuffle",
    "create_from_image_folders": "tfrecord_dir image_dir shuffle ignore_labels",
    "create_from_images": "tfrecord_dir image_dir shuffle",
    "create_lsun": "tfrecord_dir lmdb_dir resolution=256 max_images=None",
    "create_lsun_wide": "tfrecord_dir lmdb_dir width=512 height=384 max_images=None",
    "create_mnist": "tfrecord_dir mnist_dir",
    "create_mnistrgb": "tfrecord_dir mnist_dir num_images=1000000 random_seed=123",
    "create_svhn": "tfrecord_dir svhn_dir",
    "display": "tfrecord_dir",
    "execute_cmdline": "argv",
    "extract": "tfrecord_dir output_dir",
    "info": "tfrecord_dir",
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_signatures(name):
    """The official arguments come first, in their order; those that have official defaults have them here."""
    parameters = list(inspect.signature(getattr(dataset_tool, name)).parameters.values())
    for parameter, official in zip(parameters, OFFICIAL[name].split(), strict=False):
        official, _, default = official.partition("=")
        assert parameter.name == official
        assert not default or repr(parameter.default) == default
    assert all(p.default is not p.empty for p in parameters[len(OFFICIAL[name].split()) :])


def test_create_from_images(tmp_path, capsys):
    images = random_images(5, 16, 16, 3)
    save_images(tmp_path / "photos", images)
    dataset_tool.create_from_images(tmp_path / "in-order", tmp_path / "photos", 0)
    dataset_tool.create_from_images(str(tmp_path / "shuffled"), str(tmp_path / "photos"), True)
    np.testing.assert_array_equal(dataset(tmp_path / "in-order")[0], images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(dataset(tmp_path / "shuffled")[0], images[shuffled(5)].transpose(0, 3, 1, 2))
    dataset_tool.extract(str(tmp_path / "in-order"), str(tmp_path / "png"))
    dataset_tool.compare(tmp_path / "in-order", tmp_path / "shuffled", 1)
    assert capsys.readouterr().out.splitlines()[-1] == f"Identical images: {(shuffled(5) == range(5)).sum()} / 5"
    dataset_tool.create_from_images(f"{tmp_path / 'in-order'}/", tmp_path / "photos", 1)  # replaced, as officially
    assert "Replacing the data set that was there." in capsys.readouterr().out
    np.testing.assert_array_equal(dataset(tmp_path / "in-order")[0], images[shuffled(5)].transpose(0, 3, 1, 2))
    with pytest.raises(UserError, match="is not empty"):
        dataset_tool.create_from_images(tmp_path / "in-order", tmp_path / "photos", 0, force=False)
    with pytest.raises(UserError, match="--force replaces data sets only"):
        dataset_tool.create_from_images(tmp_path / "photos", tmp_path / "photos", 0)
    dataset_tool.execute_cmdline(["dataset_tool.py", "info", str(tmp_path / "shuffled")])
    assert "images      5" in capsys.readouterr().out


@pytest.mark.parametrize("ignore_labels", [0, 1])
def test_image_folders(tmp_path, ignore_labels):
    for folder in "ab":
        save_images(tmp_path / "photos" / folder, random_images(2, 8, 8))
    dataset_tool.create_from_image_folders(tmp_path / "set", tmp_path / "photos", 0, ignore_labels)
    labels = dataset(tmp_path / "set")[1]
    assert labels is None if ignore_labels else labels.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    run(tmp_path, "create_from_images", "again", "photos", f"--ignore_labels={ignore_labels}")
    assert (dataset(tmp_path / "again")[1] is None) == bool(ignore_labels)


def test_exporter(tmp_path, capsys):
    images, onehot = random_images(4, 3, 8, 8), np.eye(4)
    with dataset_tool.TFRecordExporter(str(tmp_path / "set"), 4, True, 10) as tfr:
        order = tfr.choose_shuffled_order()
        for idx in order:
            tfr.add_image(images[idx])
        tfr.add_labels(onehot[order])
    written, labels = dataset(tmp_path / "set")
    np.testing.assert_array_equal(written, images[shuffled(4)])
    np.testing.assert_array_equal(labels, onehot[shuffled(4)])
    assert "Added 4 images." in capsys.readouterr().out


def test_exporter_takes_what_the_official_one_takes(tmp_path, capsys):
    """One array for all images, other types of numbers (rounded, and clipped to 0 to 255), fewer images, a list."""
    canvas = np.zeros([1, 4, 4])
    with dataset_tool.TFRecordExporter(str(tmp_path / "set"), 10) as tfr:
        for value in (0.4, 99.6, 300, -7):
            canvas[:] = value
            tfr.add_image(canvas)
        tfr.add_image(np.full([1, 4, 4], 7, np.int64))
        tfr.add_labels([[0.5], [1], [2], [3], [4]])
    written, labels = dataset(tmp_path / "set")
    assert written[:, 0, 0, 0].tolist() == [0, 100, 255, 0, 7]
    assert labels[:, 0].tolist() == [0.5, 1, 2, 3, 4]
    assert "Added 5 images, not 10." in capsys.readouterr().out


def test_exporter_refuses(tmp_path):
    exporter = dataset_tool.TFRecordExporter(str(tmp_path / "set"), 3, print_progress=False)
    with pytest.raises(UserError, match="there are no images to write"):
        exporter.close()
    with pytest.raises(UserError, match="2 images, but labels of 1"), exporter:
        exporter.add_image(np.zeros([1, 8, 8], np.uint8))
        exporter.add_labels(np.zeros([1, 2]))
        for wrong in (np.zeros([1, 4, 4]), np.full([1, 8, 8], np.nan), np.zeros([1, 8, 8], complex)):
            with pytest.raises(UserError, match="image 1: expected numbers from 0 to 255, 1x8x8; got"):
                exporter.add_image(wrong)
        exporter.add_image(np.zeros([1, 8, 8], np.uint8))
    assert not list(tmp_path.iterdir())


def test_patterns(tmp_path, monkeypatch, capsys):
    """As the official functions take them through glob: files that match, and those right in folders that match."""
    images = random_images(6, 16, 16, 3)
    for name, idx in (("a/x", 0), ("b/y", 2), ("b/deeper/z", 4)):
        save_images(tmp_path / "photos" / name, images[idx : idx + 2])
    (tmp_path / "photos" / "b" / "y" / "notes.txt").write_text("no image")
    planar = images.transpose(0, 3, 1, 2)
    monkeypatch.chdir(tmp_path)
    for pattern, taken in (
        ("photos/*/*", 4),
        ("photos/*/[xy]/*.png", 4),
        (f"{tmp_path}/p*/a/x", 2),
        ("photos/?/x*", 2),
    ):
        dataset_tool.create_from_images("out", pattern, shuffle=0)
        np.testing.assert_array_equal(dataset(tmp_path / "out")[0], planar[:taken])
        said = capsys.readouterr().out
        assert f"Taken as a pattern, which {taken} images match; patterns give no labels." in said
        assert list(tmp_path.glob("out/*.labels")) == [] and ("notes.txt" in said) == (pattern == "photos/*/*")
    assert run(tmp_path, "create_from_images", "shell", "photos/*/x").returncode == 0
    np.testing.assert_array_equal(dataset(tmp_path / "shell")[0], planar[:2][shuffled(2)])
    for nothing in ("photos/*.gif", "photos/[", "photos/b/y/*.txt"):
        with pytest.raises(UserError, match=r"no such folder or zip file|there are no images in it"):
            dataset_tool.create_from_images("none", nothing)
    # What is there by this name is no pattern: its sub-folders are classes.
    (tmp_path / "photos").rename(tmp_path / "[photos]*")
    dataset_tool.create_from_image_folders("literal", "[photos]*", 0)
    assert dataset(tmp_path / "literal")[1].shape == (6, 2)


def test_patterns_of_celeba(tmp_path):
    save_images(tmp_path / "celeba-2015" / "img_align_celeba_png", random_images(2, 218, 178, 3))
    dataset_tool.create_celeba(tmp_path / "out", tmp_path / "celeba-*")
    assert dataset(tmp_path / "out")[0].shape == (2, 3, 128, 128)
