"""What `inspect` says of files of weights."""

import hashlib
import re

import golden
import numpy as np
import pytest
import weight_writers as writers

from dnnlib.errors import UserError
from metrics.nets import builders, catalog, inspection

pytestmark = pytest.mark.one_stack
ARRAYS = {
    "conv/conv2d_params": np.zeros([3, 3, 3, 4], np.float32),
    "conv/batchnorm/beta": np.zeros(4, np.float32),
    "conv/batchnorm/gamma": np.ones(4, np.float32),
    "softmax/weights": np.zeros([4, 2], np.float32),
}
SOURCE = "def InceptionV3(images, size=299, act='relu', **kwargs):\n\tpass # \x1b[31mred\n"
OFFICIAL = {"name": "InceptionV3", "func_name": "InceptionV3", "source": SOURCE, "static_kwargs": {"size": 299}}


def test_inspect_an_official_pickle(tmp_path, monkeypatch):
    path = tmp_path / "inception_v3_features.pkl"
    writers.write_official_pickle(path, variables=ARRAYS, **OFFICIAL)
    text = inspection.describe(path)
    for part in (
        "official pickle",
        "InceptionV3",
        "4 (StyleGAN2)",
        "{'size': 299, 'act': 'relu'}",
        "{'size': 299}",
        f"the published inception_v3_features.pkl has {catalog.SHA256['inception_v3_features.pkl']}",
        "4 variables, 124 values",
        "  conv/conv2d_params    [3, 3, 3, 4]  float32\n",
    ):
        assert part in text, text
    assert "def Inception" not in inspection.describe(path)
    monkeypatch.setitem(catalog.SHA256, "inception_v3_features.pkl", hashlib.sha256(path.read_bytes()).hexdigest())
    assert re.search(r"known as +inception_v3_features.pkl\n", inspection.describe(path))


def test_inspect_a_frozen_graph(write):
    others = [("input", "Placeholder", []), ("a", "Relu", ["input"]), ("b", "Relu", ["a", "conv/conv2d_params"])]
    text = inspection.describe(write(writers.frozen_graph({**ARRAYS, "size": np.array([299])}, others)))
    for part in ("frozen graph", "Const 5, Relu 2, Placeholder 1", "size int64 [1]", "4 variables"):
        assert part in text, text
    assert re.search(r"inputs +input\noutputs +b\n", text)


@pytest.mark.parametrize("writer", [writers.pth_zip, writers.pth_legacy])
def test_inspect_a_state_dict(writer, write):
    text = inspection.describe(write(writer({"conv.weight": ARRAYS["conv/conv2d_params"], "n": np.int64(1)})))
    assert "torch" in text and "2 variables, 109 values" in text
    assert re.search(r"  conv.weight +\[3, 3, 3, 4\] +float32\n  n +\[\] +int64", text)


def test_inspect_generators():
    path = sorted(golden.GOLDENS.glob("pickles/cfgf*.pkl"))[0]
    text = inspection.describe(path)
    for part in ("network 3 of 3", "G_synthesis", "component mapping", "G_main", "D_stylegan2", "dlatent_avg"):
        assert part in text, text


def test_inspect_names_the_metric_networks_of_a_file(tmp_path):
    path = tmp_path / "file"
    linear = {layer.name: np.ones(layer.kernel, np.float32) for layer in builders.LPIPS_LINEAR}
    convs = {f"conv{i}/conv{i}": np.zeros(layer.kernel, np.float32) for i, layer in enumerate(builders.VGG_CONVS, 1)}
    convs |= {f"conv{i}/bias{i}": np.zeros(layer.kernel[-1:]) for i, layer in enumerate(builders.VGG_CONVS, 1)}
    for variables, expected in (
        (linear, "a part of vgg16_zhang_perceptual"),
        (convs | linear, "vgg16_zhang_perceptual"),
        (ARRAYS, "no metric network that is known here"),
        ({"dlatent_avg": np.zeros(4)}, "generator of images, no metric network"),
    ):
        writers.write_official_pickle(path, "net", variables, "f")
        assert f"\nserves as  {expected}\n" in inspection.describe(path)


def test_inspect_shows_no_control_characters(tmp_path):
    evil = "a\x1b[2J\nb\u202e"
    path = tmp_path / "x\x1b.pkl"
    kwargs = {evil: evil}
    writers.write_official_pickle(path, "net", {evil: np.zeros(2)}, evil, "#" + evil, kwargs)
    text = inspection.describe(path)
    assert text.replace("\n", "").isprintable() and text.isascii()
    path.write_bytes(writers.pth_zip({evil: np.zeros(2)}))
    assert inspection.describe(path).replace("\n", "").isprintable()
    path.write_bytes(writers.frozen_graph({evil: np.zeros(2)}, [(evil + "c", evil, [])]))
    assert inspection.describe(path).replace("\n", "").isprintable()


def test_inspect_refuses_what_cannot_be_read(write):
    with pytest.raises(UserError, match="no kind of file"):
        inspection.describe(write(b"some text"))
