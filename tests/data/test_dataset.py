"""Data sets: official yields, order of the stream, levels, labels."""

import hashlib
import json
import shutil
import threading

import golden
import numpy as np
import pytest

from dnnlib.errors import UserError
from training.data import dataset
from training.data.averages import box_mean

INDEX = golden.index("dataset", "index.json")
YIELDS = {name: golden.arrays("dataset", f"yields_{name}.npz") for name in INDEX["datasets"]}
ORDER_OF_TEN = [8, 6, 2, 5, 0, 9, 7, 1, 4, 3, 3, 8, 0, 4, 6, 1, 7, 5, 2, 9]  # seed 1000, two epochs
ORDERS = {1: "af5570f5a1810b7a", 2: "9d34149fbd1fe777", 70000: "d4182bf147b3e63f", 1000003: "4e310945216865e7"}
LOADS = [(name, load) for name, entry in INDEX["datasets"].items() for load in entry["loads"]]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The golden data sets, in a folder that can be written."""
    folder = tmp_path_factory.mktemp("goldens") / "dataset"
    shutil.copytree(golden.GOLDENS / "dataset", folder, copy_function=shutil.copyfile)
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
def test_the_order_never_changes():
    """Runs go on in it, with whatever NumPy: `Generator.permutation` is not among what NumPy promises to keep."""
    data = dataset.SyntheticDataset(resolution=4)
    data.num_images = 10
    np.testing.assert_array_equal(data.order(1000, 0, 20), ORDER_OF_TEN)
    for count, digest in ORDERS.items():
        data.num_images = count
        order = data.order(7, 3 * count, count).astype("<i8")
        assert hashlib.sha256(order.tobytes()).hexdigest()[:16] == digest


@pytest.mark.one_stack
def test_order_without_shuffling_and_of_few_images(sets):
    data = dataset.TFRecordDataset(str(sets / "tfr_rgb32"), shuffle_mb=0, max_images=3)
    assert data.num_images == 3
    np.testing.assert_array_equal(data.order(9, 2, 5), [2, 0, 1, 2, 0])
    with pytest.raises(IndexError):
        data.read([3])
    with pytest.raises(ValueError, match="lod"):
        data.read([0], lod=6)


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
    np.testing.assert_array_equal(box_mean(blocks[:, np.newaxis], 1)[:, 0, 0, 0], [0, 2, 1, 255])
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
        (np.full([7], 0.5), "expected class numbers.*label vectors are .images, label_size."),
        (np.zeros([7, 2, 2]), "expected an array of numbers"),
        (np.full([7], "x"), "expected an array of numbers"),
        (np.full([7], None), "is not a NumPy array of labels"),
        (b"junk", "is not a NumPy array of labels"),
        (b"", "is not a NumPy array of labels .the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "this is a git-LFS pointer"),
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
# Nothing there.


@pytest.mark.one_stack
def test_no_data_set(sets, tmp_path):
    def message(name, data_dir=sets):
        with pytest.raises(UserError) as error:
            dataset.load_dataset(data_dir=str(data_dir), tfrecord_dir=name)
        return str(error.value)

    assert "(did you mean tfr_rgb32" in message("tfr_rgb")
    assert "looked for a folder of tfrecords (*.tfrecords), images" in message("tfr_rgb")
    assert "no zip file" in message("index.json")
    assert "give its folder" in message("tfr_rgb32/tfr_rgb32-r05.tfrecords")
    assert "there is no folder" in message("x/y", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "is empty" in message("empty", tmp_path)


def test_the_table_of_labels_stays_off_gpus():
    import tensorflow as tf

    data = dataset.SyntheticDataset(resolution=4, label_size=3)

    @tf.function(autograph=False)
    def of_replica():
        with tf.device("/GPU:0"):
            return data.get_random_labels_tf(2)

    operations = of_replica.get_concrete_function().graph.get_operations()
    uses = [op for op in operations if any(x.shape == [1024, 3] for x in op.inputs)]
    assert [op.type for op in uses] == ["GatherV2"] and uses[0].device.endswith("CPU:0")
