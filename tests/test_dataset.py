"""Reading of data sets."""

import json
import shutil

import golden
import numpy as np
import pytest

from training import dataset

INDEX = golden.index("dataset", "index.json")
YIELDS = {name: golden.arrays("dataset", f"yields_{name}.npz") for name in INDEX["datasets"]}
LOADS = [(name, load) for name, entry in INDEX["datasets"].items() for load in entry["loads"]]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The golden data sets, in a folder that can be written."""
    folder = tmp_path_factory.mktemp("goldens") / "dataset"
    shutil.copytree(golden.GOLDENS / "dataset", folder, copy_function=shutil.copyfile)
    return folder


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
        images, labels = YIELDS[name][f"{load}|lod{lod}|images"], YIELDS[name][f"{load}|lod{lod}|labels"]
        batches = [data.get_minibatch_np(2, lod) for _ in range(len(images) // 2)]
        np.testing.assert_array_equal(np.concatenate([b[0] for b in batches]), images[: len(batches) * 2])
        np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), labels[: len(batches) * 2])
        np.testing.assert_array_equal(data.read(data.order(5, 0, len(images)), lod)[0], images)
    np.random.seed(77)
    np.testing.assert_array_equal(data.get_random_labels_np(5), YIELDS[name][f"{load}|random_labels_np_seed77"])
