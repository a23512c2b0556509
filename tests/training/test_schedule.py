"""Schedules, real images and image grids against the official ones (goldens/config, goldens/dataset)."""

import golden
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from dnnlib import EasyDict
from dnnlib.errors import UserError
from dnnlib.tflib import random_stream
from training import misc
from training.loop.reals import process_reals
from training.loop.schedule import growing_from
from training.run_folder.snapshots import ImageGrid
from training.training_loop import training_schedule

SCHEDULES = golden.index("config", "training_schedule.json")
DATASET = golden.index("dataset", "index.json")
ARRAYS = golden.arrays("dataset", "process_reals_and_grids.npz")


@pytest.mark.parametrize("number", range(len(SCHEDULES["schedules"])))
def test_official_schedule(number):
    case = SCHEDULES["schedules"][number]
    args = {
        key: {int(k): v for k, v in value.items()} if isinstance(value, dict) else value
        for key, value in case["sched_args"].items()
    }
    training_set = EasyDict(resolution_log2=case["resolution_log2"])
    for row in case["rows"]:
        expected = dict(zip(SCHEDULES["columns"], row, strict=True))
        sched = training_schedule(cur_nimg=expected.pop("cur_nimg"), training_set=training_set, **args)
        assert {key: sched[key] for key in expected} == expected


class Uniform:
    """Gives numbers that were drawn before."""

    def __init__(self, values):
        self.values = values

    def uniform(self, shape, minval, maxval, dtype):
        return tf.constant(self.values, dtype)


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("name", DATASET["process_reals"])
def test_process_reals(name, tensor):
    case = DATASET["process_reals"][name]
    lod = tf.constant(case["lod"], tf.float32) if tensor else case["lod"]
    with random_stream.using(Uniform(case["random_uniform_values"])):
        y, labels = process_reals(
            tf.constant(ARRAYS[f"{name}/x"]),
            "labels",
            lod,
            case["mirror_augment"],
            case["drange_data"],
            case["drange_net"],
        )
    assert labels == "labels"
    golden.close(y, ARRAYS[f"{name}/y"], 1e-6)


def test_mirror_augment():
    x = ARRAYS["mirror_np/x"]
    np.random.seed(31337)
    np.testing.assert_array_equal(misc.apply_mirror_augment(x), ARRAYS["mirror_np/y_seed31337"])


def test_image_grid(tmp_path):
    x = ARRAYS["image_grid/x"]
    np.testing.assert_array_equal(misc.create_image_grid(x), ARRAYS["image_grid/auto"])
    np.testing.assert_array_equal(misc.create_image_grid(x, (2, 3)), ARRAYS["image_grid/2x3"])
    misc.save_image_grid(x, tmp_path / "rgb.png", drange=[-1, 1], grid_size=(3, 2))
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "rgb.png")), ARRAYS["image_grid/png_3x2"])
    misc.save_image_grid(ARRAYS["image_grid/gray_x"], tmp_path / "gray.png", drange=[-1, 1], grid_size=(2, 2))
    picture = PIL.Image.open(tmp_path / "gray.png")
    assert picture.mode == "L"
    np.testing.assert_array_equal(np.asarray(picture), ARRAYS["image_grid/gray_png"])


# The classes of images 0, 1, 2, ... of the goldens' data sets, which repeat, by the number of classes.
CLASSES = {3: [0, 1, 1, 1, 2, 2, 2, 0, 0], 5: [0, 1, 4, 0, 2, 1, 3, 1, 1, 4, 3, 4, 3, 3, 0]}


class Numbered:
    """The goldens' data set: image k is full of the value 1 + 7 k."""

    def __init__(self, resolution, label_size):
        self.shape = [1, resolution, resolution]
        self.dtype, self.label_dtype = "uint8", "float32"
        self.label_size = label_size
        self.classes = np.array(CLASSES.get(label_size, [0]))
        self.num_images = 100_000
        self.been_read = []

    def order(self, seed, start, count):
        return np.arange(start, start + count)

    def labels_of(self, k):
        return np.eye(self.label_size, dtype=np.float32)[self.classes[k % len(self.classes)]]

    def read(self, k):
        self.been_read.extend(k)
        k = np.asarray(k)
        images = np.broadcast_to(((1 + 7 * k) % 256).astype(np.uint8)[:, None, None, None], [len(k), *self.shape])
        return images, self.labels_of(k) if self.label_size else np.zeros([len(k), 0], np.float32)

    def get_minibatch_np(self, n):
        return self.read(np.arange(n))


@pytest.mark.parametrize("case", [case for case in DATASET["grids"] if "size" in case], ids=str)
def test_grid_sizes(case):
    size, reals, labels = misc.setup_snapshot_image_grid(Numbered(case["resolution"], 0), case["size"])
    assert list(size) == case["grid_size"]
    assert list(reals.shape) == case["reals_shape"]
    assert labels.shape == (len(reals), 0)


@pytest.mark.parametrize("case", [case for case in DATASET["grids"] if "layout" in case], ids=str)
def test_grid_layouts(case):
    prefix = f"grid/{case['layout']}/L{case['L']}"
    values, labels = ARRAYS[f"{prefix}/reals_value"], ARRAYS[f"{prefix}/labels"]
    training_set = Numbered(256, case["L"])
    size, reals, grid_labels = misc.setup_snapshot_image_grid(training_set, "1080p", case["layout"])
    assert list(size) == case["grid_size"]
    np.testing.assert_array_equal(reals[:, 0, 0, 0], values)
    np.testing.assert_array_equal(grid_labels, labels)


def test_a_layout_that_is_none():
    with pytest.raises(UserError, match="layout: expected random, .*, got 'row_by_class' .did you mean row_per_class"):
        misc.setup_snapshot_image_grid(Numbered(256, 5), "1080p", "row_by_class")


def test_a_class_without_images_leaves_its_places_black():
    """Only images that are shown are read."""
    training_set = Numbered(256, 5)
    training_set.classes = np.array([0, 1, 4, 1])
    (columns, rows), reals, labels = misc.setup_snapshot_image_grid(training_set, "1080p", "row_per_class")
    assert len(training_set.been_read) <= columns * rows
    shown = reals[:, 0, 0, 0].reshape(rows, columns) > 0
    np.testing.assert_array_equal(shown, np.isin(np.arange(rows) % 5, (0, 1, 4))[:, np.newaxis].repeat(columns, axis=1))
    assert labels.reshape(rows, columns, 5)[1, :, 1].all()


# ----------------------------------------------------------------------------
# Images that are not square, or have transparency.


@pytest.mark.parametrize(("base", "lod", "size"), [(2, 4.0, 64), (3, 4.0, 64), (4, 3.0, 48)])
def test_growing_starts_at_the_base_if_that_is_larger_than_asked(base, lod, size):
    """160x96 is of level 7. Tables go by the side of the square of a level."""
    asked = {"lod_initial_resolution": 8, "minibatch_size_dict": {8: 64, 16: 48}}
    data = EasyDict(resolution=[160, 96], resolution_log2=7)
    sched = training_schedule(0, data, **growing_from(asked, base))
    assert (sched.lod, sched.minibatch_size) == (lod, size)
    assert growing_from({"lrate_rampup_kimg": 1}, base) == {"lrate_rampup_kimg": 1}


def test_grid_of_transparency_is_over_a_checkerboard(tmp_path):
    training_set = Numbered(8, 0)
    training_set.shape, training_set.dynamic_range = [4, 24, 16], [0, 255]
    grid = ImageGrid(training_set, 8, (-1, 1), size="one")
    grid.reals[0, :3], grid.reals[0, 3] = np.array([10, 20, 30])[:, None, None], 0
    grid.reals[0, 3, :8] = 255
    grid.save_reals(str(tmp_path / "reals.png"))
    picture = PIL.Image.open(tmp_path / "reals.png")
    assert picture.mode == "RGB" and picture.size == (16, 24)
    assert picture.getpixel((3, 3)) == (10, 20, 30)
    assert {picture.getpixel((3, 12)), picture.getpixel((11, 12))} == {(255, 255, 255), (204, 204, 204)}
