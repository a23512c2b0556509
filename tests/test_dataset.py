"""Reading of data sets: official yields, order of the stream, every kind of storage. Damage: test_dataset_damage.py."""

import json
import shutil
import threading
import zipfile

import golden
import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import UserError
from training import dataset
from training.image_sources import box_mean

INDEX = golden.index("dataset", "index.json")
YIELDS = {name: golden.arrays("dataset", f"yields_{name}.npz") for name in INDEX["datasets"]}
LOADS = [(name, load) for name, entry in INDEX["datasets"].items() for load in entry["loads"]]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The golden data sets, in a folder that can be written."""
    folder = tmp_path_factory.mktemp("goldens") / "dataset"
    shutil.copytree(golden.GOLDENS / "dataset", folder, copy_function=shutil.copyfile)
    return folder


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


# ----------------------------------------------------------------------------
# Official behaviour.


@pytest.mark.one_stack
@pytest.mark.parametrize(("name", "load"), LOADS)
def test_yields_equal_the_official_ones(sets, name, load):
    folder, kwargs = load.split("|")
    data = dataset.TFRecordDataset(str(sets / folder), shuffle_mb=0, **json.loads(kwargs))
    for attribute, value in INDEX["datasets"][name]["loads"][load].items():
        if attribute == "label_file" and value:
            value = str(sets / value.removeprefix("goldens/dataset/"))
        assert getattr(data, attribute) == value
    for lod in range(data.resolution_log2 - 1):
        expected, labels = YIELDS[name][f"{load}|lod{lod}|images"], YIELDS[name][f"{load}|lod{lod}|labels"]
        batches = [data.get_minibatch_np(2, lod) for _ in range(len(expected) // 2)]
        np.testing.assert_array_equal(np.concatenate([b[0] for b in batches]), expected[: len(batches) * 2])
        np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), labels[: len(batches) * 2])
        np.testing.assert_array_equal(data.read(data.order(5, 0, len(expected)), lod)[0], expected)
    np.random.seed(77)
    np.testing.assert_array_equal(data.get_random_labels_np(5), YIELDS[name][f"{load}|random_labels_np_seed77"])


@pytest.mark.one_stack
def test_load_dataset_says_what_it_is(sets, capsys):
    data = dataset.load_dataset(data_dir=str(sets), tfrecord_dir="tfr_rgb32", verbose=True)
    assert isinstance(data, dataset.TFRecordDataset)
    assert capsys.readouterr().out == (
        "Streaming data using training.dataset.TFRecordDataset...\n"
        "Dataset shape = [3, 32, 32]\nDynamic range = [0, 255]\nLabel size    = 0\n"
    )
    absolute = dataset.load_dataset(data_dir="elsewhere", tfrecord_dir=str(sets / "tfr_gray16"))
    assert absolute.shape == [1, 16, 16]
    synthetic = dataset.load_dataset(class_name="training.dataset.SyntheticDataset", resolution=64, label_size=3)
    pixels, labels = synthetic.get_minibatch_np(4, lod=1)
    assert (pixels.shape, labels.shape, pixels.dtype) == ((4, 3, 32, 32), (4, 3), np.uint8)
    assert synthetic.get_random_labels_tf(2).shape == (2, 3)


def test_tensors_of_the_stream(sets):
    import tensorflow as tf

    data = dataset.TFRecordDataset(str(sets / "tfr_rgb32_h5"), max_label_size="full", shuffle_mb=0)
    expected = data.read(np.arange(7))
    data.configure(3)
    step = tf.function(data.get_minibatch_tf)
    for begin, batch in ((0, data.get_minibatch_tf()), (3, step())):
        np.testing.assert_array_equal(batch[0], expected[0][begin : begin + 3])
        np.testing.assert_array_equal(batch[1], expected[1][begin : begin + 3])
    assert step()[0].shape == (3, 3, 32, 32)
    data.configure(3, lod=1)  # starts again
    np.testing.assert_array_equal(data.get_minibatch_tf()[1], expected[1][:3])


def test_stream_without_repetition_ends(sets):
    import tensorflow as tf

    data = dataset.TFRecordDataset(str(sets / "tfr_rgb32"), repeat=False)
    batches = [data.get_minibatch_np(3)[0] for _ in range(3)]
    assert [len(batch) for batch in batches] == [3, 3, 1]
    with pytest.raises(tf.errors.OutOfRangeError):
        data.get_minibatch_np(3)
    everything = data.read(np.arange(7))[0]
    assert sorted(map(bytes, np.concatenate(batches))) == sorted(map(bytes, everything))


def test_random_labels_can_be_repeated(sets):
    import tensorflow as tf

    from dnnlib.tflib import random_stream

    data = dataset.TFRecordDataset(str(sets / "tfr_rgb32_h5"), max_label_size="full")

    def draw(seed):
        with random_stream.using(random_stream.StatelessStream(seed)):
            return data.get_random_labels_tf(20)

    eager, graph = draw(random_stream.seed_of(1)), tf.function(draw)(tf.constant(random_stream.seed_of(1)))
    np.testing.assert_array_equal(eager, graph)
    assert np.any(eager != draw(random_stream.seed_of(2)))
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    np.testing.assert_array_equal(strategy.run(tf.function(draw), args=[random_stream.seed_of(1)]), eager)
    assert {tuple(label) for label in eager.numpy()} <= {tuple(label) for label in data._np_labels}
    assert dataset.TFRecordDataset(str(sets / "tfr_rgb32")).get_random_labels_tf(3).shape == (3, 0)


# ----------------------------------------------------------------------------
# By position.


@pytest.mark.one_stack
def test_every_epoch_is_a_permutation(sets):
    data = dataset.TFRecordDataset(str(sets / "tfr_rgb32"))
    stream = data.order(3, 0, 70)
    epochs = stream.reshape(10, 7)
    assert (np.sort(epochs) == np.arange(7)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 5
    assert stream.dtype == np.int64
    pieces = [data.order(3, start, count) for start, count in ((0, 5), (5, 9), (14, 0), (14, 40), (54, 16))]
    np.testing.assert_array_equal(np.concatenate(pieces), stream)
    again = dataset.TFRecordDataset(str(sets / "tfr_rgb32"))
    np.testing.assert_array_equal(again.order(3, 37, 5), stream[37:42])
    assert (again.order(4, 0, 70) != stream).any()
    far = data.order(3, 7 * 10**12, 7)
    assert sorted(far) == list(range(7))


@pytest.mark.one_stack
def test_order_without_shuffling_and_of_few_images(sets):
    data = dataset.TFRecordDataset(str(sets / "tfr_rgb32"), shuffle_mb=0, max_images=3)
    assert data.num_images == 3
    np.testing.assert_array_equal(data.order(9, 2, 5), [2, 0, 1, 2, 0])
    with pytest.raises(IndexError):
        data.read([3])
    with pytest.raises(ValueError, match="lod"):
        data.read([0], lod=4)


@pytest.mark.one_stack
def test_threads_read_the_same(sets):
    data = dataset.TFRecordDataset(str(sets / "tfr_rgb32"))
    expected = data.read(data.order(1, 0, 400))[0]
    found = {}

    def work(begin):
        found[begin] = np.concatenate([data.read(data.order(1, i, 5))[0] for i in range(begin, begin + 100, 5)])

    threads = [threading.Thread(target=work, args=[begin]) for begin in range(0, 400, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.concatenate([found[begin] for begin in range(0, 400, 100)]), expected)


# ----------------------------------------------------------------------------
# Levels.


@pytest.mark.one_stack
@pytest.mark.parametrize("name", ["tfr_rgb32", "tfr_gray16"])
def test_missing_levels_equal_those_of_the_official_tool(sets, tmp_path, capsys, name):
    whole = dataset.TFRecordDataset(str(sets / name))
    shutil.copytree(sets / name, tmp_path / name)
    for log2 in (2, 3):
        (tmp_path / name / f"{name}-r0{log2}.tfrecords").unlink()
    partial = dataset.TFRecordDataset(str(tmp_path / name))
    assert "[8, 4]" in capsys.readouterr().out
    for lod in range(whole.resolution_log2 - 1):
        everything = np.arange(whole.num_images)
        np.testing.assert_array_equal(partial.read(everything, lod)[0], whole.read(everything, lod)[0])


@pytest.mark.one_stack
def test_box_mean_rounds_once_and_halves_to_even():
    blocks = np.array([[[0, 1], [1, 0]], [[1, 2], [2, 1]], [[1, 1], [1, 2]], [[255, 255], [255, 254]]], np.uint8)
    np.testing.assert_array_equal(box_mean(blocks, 1)[:, 0, 0], [0, 2, 1, 255])
    big = np.full([1, 1024, 1024], 255, np.uint8)
    big[0, :512] = 254
    np.testing.assert_array_equal(box_mean(big, 8)[0], [[254] * 4] * 2 + [[255] * 4] * 2)


@pytest.mark.one_stack
@pytest.mark.parametrize("resolution", [64, 12, 2, 0])
def test_resolution_that_is_not_there(sets, resolution):
    with pytest.raises(UserError, match=rf"resolution={resolution}: .*tfr_rgb32 can be read at 4, 8, 16, 32"):
        dataset.TFRecordDataset(str(sets / "tfr_rgb32"), resolution=resolution)


# ----------------------------------------------------------------------------
# Labels.


@pytest.mark.one_stack
def test_labels_of_classes_become_one_hot(sets, tmp_path):
    shutil.copytree(sets / "tfr_rgb32", tmp_path / "set")
    for dtype in (np.int64, np.uint8, np.float32):
        with open(tmp_path / "set" / "set-rxx.labels", "wb") as file:
            np.save(file, np.array([0, 2, 1, 1, 0, 3, 0], dtype))
        data = dataset.TFRecordDataset(str(tmp_path / "set"), max_label_size="full")
        np.testing.assert_array_equal(data.read([1, 5])[1], [[0, 0, 1, 0], [0, 0, 0, 1]])
    np.save(tmp_path / "set" / "other.npy", np.arange(14.0).reshape(7, 2))
    other = dataset.TFRecordDataset(str(tmp_path / "set"), max_label_size=5, label_file="other.npy")
    np.testing.assert_array_equal(other.read([6])[1], [[12, 13]])
    assert dataset.TFRecordDataset(str(tmp_path / "set")).stored_label_size == 4


@pytest.mark.one_stack
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros([6, 3]), "6 labels, but the data set has 7 images"),
        (np.full([7, 3], np.nan), "not finite"),
        (np.full([7], -1), "expected class numbers from 0, got -1"),
        (np.full([7], 2**40), "expected class numbers"),
        (np.full([7], 0.5), "expected class numbers"),
        (np.zeros([7, 2, 2]), "expected an array of numbers"),
        (np.full([7], "x"), "expected an array of numbers"),
        (np.full([7], None), "is not a NumPy array of labels"),
        (b"junk", "is not a NumPy array of labels"),
        (b"", "is not a NumPy array of labels"),
        (
            b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (7, 10000000000000)}\n",
            "labels",
        ),
    ],
)
def test_labels_that_do_not_fit(sets, tmp_path, labels, message):
    shutil.copytree(sets / "tfr_rgb32", tmp_path / "set")
    with open(tmp_path / "set" / "set-rxx.labels", "wb") as file:
        if isinstance(labels, bytes):
            file.write(labels)
        else:
            np.save(file, labels)
    with pytest.raises(UserError, match=rf"set-rxx.labels: .*{message}"):
        dataset.TFRecordDataset(str(tmp_path / "set"), max_label_size="full")


@pytest.mark.one_stack
def test_arguments_that_make_no_sense(sets):
    for kwargs in ({"max_label_size": "all"}, {"max_label_size": -1}, {"label_file": "none.npy"}, {"max_images": 0}):
        with pytest.raises(UserError, match=next(iter(kwargs))):
            dataset.TFRecordDataset(str(sets / "tfr_rgb32"), **kwargs)


# ----------------------------------------------------------------------------
# Folders, zip files, LMDB.


def zip_of(folder, path):
    with zipfile.ZipFile(path, "w") as file:
        for image in sorted(folder.rglob("*.*")):
            file.write(image, str(image.relative_to(folder)))
    return path


@pytest.mark.one_stack
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


@pytest.mark.one_stack
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


@pytest.mark.one_stack
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
        (classes.replace("]]}", '], ["x", 0]]}'), "1 images that are not there"),
        (classes.replace("0]]", "[0]]]"), "class numbers, or lists"),
        (classes.replace("0]]", '"0"]]'), "class numbers, or lists"),
        (classes.replace("0]]", "1e999]]"), "class numbers, or lists"),
        (classes.replace("0]]", "-1]]"), "expected class numbers"),
        ("[]", "expected"),
        ('{"labels": 3}', "expected"),
        ("{", "expected"),
        ("[" * 100000, "expected"),
    ):
        with pytest.raises(UserError, match=f"dataset.json: .*{message}"):
            read(text)


def make_lmdb(path, data, levels=(4,), image_format="png"):
    lmdb = pytest.importorskip("lmdb")
    import io

    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for level in levels:
            for number, image in enumerate(box_mean(data, 4 - level)):
                buffer = io.BytesIO()
                pil(image).save(buffer, image_format)
                transaction.put(f"{1 << level}-{str(number).zfill(5)}".encode(), buffer.getvalue())
        transaction.put(b"length", str(len(data)).encode())
    return path


@pytest.mark.one_stack
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


@pytest.mark.one_stack
def test_damaged_lmdb(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    path = make_lmdb(tmp_path / "set", images(6))
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        transaction.delete(b"16-00002")
        transaction.delete(b"16-00004")
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


@pytest.mark.one_stack
def test_lmdb_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    (tmp_path / "data.mdb").write_bytes(b"")
    with pytest.raises(UserError, match="pip install lmdb"):
        dataset.TFRecordDataset(str(tmp_path))


@pytest.mark.one_stack
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
        "gray.png: 16x16 L, most are 16x16 RGB",
        "alpha.png: 16x16 RGBA, expected RGB",
        "palette.png: 16x16 P",
        "deep.png: 16x16 I;16",
        "junk.jpg: cannot be read",
        "empty.png: cannot be read",
        "create_from_images",
    ):
        assert text in str(error.value)
    assert "ok" not in str(error.value)
    save_folder(folder, [f"more{i}.png" for i in range(28)], images(28, size=8))
    with pytest.raises(UserError, match=r"\.\.\. and 15 more"):
        dataset.TFRecordDataset(str(folder))


@pytest.mark.one_stack
@pytest.mark.parametrize("size", [(16, 8), (12, 12), (2, 2)])
def test_images_of_odd_sizes(tmp_path, size):
    for number in range(3):
        PIL.Image.new("RGB", size).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match=f"images are {size[0]}x{size[1]} RGB, expected square with a power of two"):
        dataset.TFRecordDataset(str(tmp_path))


@pytest.mark.one_stack
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


@pytest.mark.one_stack
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


# ----------------------------------------------------------------------------
# Nothing there.


@pytest.mark.one_stack
def test_no_data_set(sets, tmp_path):
    def message(name, data_dir=sets):
        with pytest.raises(UserError) as error:
            dataset.load_dataset(data_dir=str(data_dir), tfrecord_dir=name)
        return str(error.value)

    assert "Did you mean tfr_rgb32" in message("tfr_rgb")
    assert "looked for a folder of tfrecords (*.tfrecords), images" in message("tfr_rgb")
    assert "no zip file" in message("index.json")
    assert "give its folder" in message("tfr_rgb32/tfr_rgb32-r05.tfrecords")
    assert "there is no folder" in message("x/y", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "is empty" in message("empty", tmp_path)
