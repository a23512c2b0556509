"""Features of real and generated images: shared, cached, resumed, rebuilt after damage."""

import gc
import os
from types import SimpleNamespace

import metric_stubs
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

import dnnlib
from dnnlib.errors import UserError
from dnnlib.submission import run_context
from metrics.features import batches
from metrics.features import evaluation as evaluation_module
from metrics.features.evaluation import DataSource, Evaluating, Evaluation
from metrics.features.feature_file import RowFile
from metrics.features.random_inputs import RandomInputs
from metrics.frechet_inception_distance import FID
from metrics.kernel_inception_distance import KID
from metrics.maths.frechet import feature_statistics, frechet_distance
from metrics.metric_base import MetricGroup
from metrics.nets.metric_network import MetricNetwork
from training import misc
from training.data.dataset import load_dataset

NUM_REALS = 21


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a network, a data set, and the cache."""
    monkeypatch.chdir(tmp_path)
    metric_stubs.make_network(tmp_path / "network.pkl")
    metric_stubs.make_dataset(tmp_path / "cats", NUM_REALS)
    return tmp_path


def settings(**kwargs):
    """With a small minibatch, and the cache in the current folder."""
    return Evaluating(**{"minibatch_size": 4, "cache_dir": "cache", **kwargs})


def open_evaluation(mirror=False, **kwargs):
    """Of the network and the data set in the current folder."""
    return Evaluation.open("network.pkl", DataSource(".", {"tfrecord_dir": "cats"}, mirror), settings(**kwargs))


def run(metric, detector=None, network="network.pkl", mirror=False, dataset="cats", **kwargs):
    """The result of a metric, and how many rows were computed for it."""
    computed = []
    append = RowFile.append
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowFile, "append", lambda self, rows: (computed.append(len(rows)), append(self, rows)))
        metric.run(
            network,
            data_dir=".",
            dataset_args={"tfrecord_dir": dataset},
            mirror_augment=mirror,
            settings=settings(**kwargs),
        )
    return metric.get_results()[metric.name], sum(computed)


def fid(num_images=30, detector=None, **kwargs):
    detector = detector or metric_stubs.Detector()
    return FID(num_images=num_images, minibatch_per_gpu=8, detector=detector, name="fid", **kwargs)


def features_of(images, detector=None):
    return (detector or metric_stubs.Detector()).get_output_for(tf.constant(images)).numpy()


@pytest.mark.one_stack
def test_reals_are_all_images_though_a_training_had_fewer(place):
    """As officially: `max_images` is of the training."""
    for with_labels in (False, True):
        opened = DataSource(".", {"tfrecord_dir": "cats", "max_images": 3, "resolution": 8}).open(with_labels)
        assert opened.num_images == DataSource(".", {"tfrecord_dir": "cats"}).open(False).num_images > 3
        assert opened.resolution == 8


@pytest.mark.skipif(bool(tf.config.get_visible_devices("GPU")), reason="GPUs compute in 16 bit, as officially")
def test_images_of_16_bit_networks_are_those_in_32_bit(place):
    """Without a GPU, to the last bit; features kept of one are not taken for those of the other."""
    Gs = misc.load_pkl("network.pkl").clone(num_fp16_res=1, conv_clamp=256)
    misc.save_pkl(Gs, "16.pkl")
    misc.save_pkl(Gs.clone(num_fp16_res=0), "32.pkl")
    (in_16, _), (in_32, _) = (run(fid(), network=f"{bits}.pkl") for bits in (16, 32))
    assert in_16 == in_32
    as_built = Evaluation.open("16.pkl", DataSource(), settings(), {"is_validation": True, "num_fp16_res": 1})
    rendered = Evaluation.open("16.pkl", DataSource(), settings())
    keys = [evaluation.generator.facts for evaluation in (as_built, rendered)]
    assert keys[0] != keys[1]
    request = fid().requests()[1]
    assert np.abs(as_built.features(request) - rendered.features(request)).max() > 0


@pytest.mark.one_stack
@pytest.mark.parametrize("name", ["G_synthesis/8x8/ToRGB/bias", "G_synthesis/8x8/Conv1/weight", "G_synthesis/noise1"])
def test_a_network_that_is_not_finite_is_refused(place, name, capsys):
    """Its images are black, or somewhat black."""
    Gs = misc.load_pkl("network.pkl")
    values = Gs.get_var(name)
    values.flat[0] = np.inf if name.endswith("weight") else np.nan
    Gs.set_var(name, values)
    misc.save_pkl(Gs, "broken.pkl")
    with pytest.raises(UserError, match=rf"broken.pkl: NaN or infinity in 1 variable of Gs .{name}.; there is nothing"):
        run(fid(), network="broken.pkl")
    group = MetricGroup([{"func_name": "metric_stubs.small_fid", "name": "fid"}])
    group.run("broken.pkl", data_dir=".", dataset_args={"tfrecord_dir": "cats"}, settings=settings())
    assert not group.get_results() and "NaN or infinity" in group.failed["fid"]


@pytest.mark.one_stack
def test_images_that_are_not_finite_are_refused(place):
    """Also where all variables are finite."""
    Gs = misc.load_pkl("network.pkl")
    Gs.set_var("G_synthesis/8x8/ToRGB/weight", np.full(Gs.vars["G_synthesis/8x8/ToRGB/weight"].shape, 3e38))
    misc.save_pkl(Gs, "large.pkl")
    with pytest.raises(UserError, match="generated images with values that are not finite; has the network diverged"):
        run(fid(), network="large.pkl")


def test_fid_is_that_of_the_images(place):
    value, computed = run(fid())
    assert computed == 51  # 30 generated images, and the real ones once
    images = metric_stubs.make_dataset(place / "copy", NUM_REALS)
    reals = images[np.arange(30) % NUM_REALS]  # in order, and from the start again
    shared = open_evaluation(cache_dir="elsewhere")
    generated = shared.features(fid().requests()[1])
    expected = frechet_distance(*feature_statistics(features_of(reals)), *feature_statistics(generated))
    assert value == pytest.approx(expected, rel=1e-4)
    # The generated ones are those of the stated latents.
    latents = RandomInputs(0).latents(0, 30, 8)
    images = shared.Gs.run(latents, None, is_validation=True, randomize_noise=True)
    assert (
        np.corrcoef(features_of(np.uint8(np.clip(images * 127.5 + 128, 0, 255))).ravel(), generated.ravel())[0, 1] > 0.9
    )


@pytest.mark.one_stack
def test_reals_are_computed_once_per_data_set_network_and_mirroring(place):
    first, computed = run(fid())
    assert computed == 51
    assert run(fid()) == (first, 30)  # of generated images only
    assert run(fid(40)) == (pytest.approx(first, abs=1), 40)
    assert run(fid(10), cache_dir="few")[1] == 20
    assert run(fid(15), cache_dir="few")[1] == 20  # 5 more reals
    assert run(fid(), mirror=True)[1] == 60
    assert run(fid(), mirror=True)[1] == 30
    assert run(fid(detector=metric_stubs.Detector(digest="other")))[1] == 51
    assert run(fid(full=True))[1] == 30
    assert run(fid(full=True, max_reals=5))[1] == 30
    metric_stubs.make_dataset(place / "dogs", NUM_REALS, seed=1)
    assert run(fid(), dataset="dogs")[1] == 51
    (place / "cats" / "cats-r03.tfrecords").write_bytes((place / "dogs" / "dogs-r03.tfrecords").read_bytes())
    value, computed = run(fid())
    assert computed == 51 and value != first


@pytest.mark.one_stack
def test_full_takes_each_real_once_and_never_mirrors(place):
    seen = {}
    for name, metric in {"full": fid(full=True), "first": fid(full=True, max_reals=5), "some": fid(30)}.items():
        seen[name] = open_evaluation(mirror=True).features(metric.requests()[0])
    images = metric_stubs.make_dataset(place / "copy", NUM_REALS)
    np.testing.assert_allclose(seen["full"], features_of(images), atol=1e-5)
    np.testing.assert_allclose(seen["first"], features_of(images[:5]), atol=1e-5)
    mirrored = RandomInputs(0).mirrors(0, 30)
    expected = images[np.arange(30) % NUM_REALS]
    expected = np.where(mirrored[:, None, None, None], expected[..., ::-1], expected)
    assert mirrored.any() and not mirrored.all()
    np.testing.assert_allclose(seen["some"], features_of(expected), atol=1e-5)


@pytest.mark.one_stack
def test_an_interrupted_pass_goes_on(place, monkeypatch, capsys):
    expected, _ = run(fid())
    run(fid(), cache_dir="other")  # so that reals are there
    compute = batches.BatchFunction.__call__

    def interrupt(self, first, *arrays):
        if first >= 12:
            raise KeyboardInterrupt
        return compute(self, first, *arrays)

    monkeypatch.setattr(batches.BatchFunction, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(fid(), cache_dir="other")
    monkeypatch.undo()
    monkeypatch.chdir(place)
    capsys.readouterr()
    assert run(fid(), cache_dir="other") == (expected, 18)
    assert "of 30 generated images, going on at 12 ..." in capsys.readouterr().out
    left = [path.name for path in (place / "other" / "metrics").iterdir()]
    assert len(left) == 1 and left[0].startswith("cats-detector-")


@pytest.mark.one_stack
def test_damaged_caches_are_rebuilt_with_a_warning(place, capsys):
    expected, _ = run(fid())
    (cache,) = (place / "cache" / "metrics").iterdir()
    (part,) = cache.iterdir()
    data = part.read_bytes()
    for damaged in (data[:-50], b"", b"PK" + data[2:], data.replace(b"<f4", b"<i4")):
        part.write_bytes(damaged)
        capsys.readouterr()
        value, computed = run(fid())
        assert value == pytest.approx(expected, rel=1e-6)
        assert computed == 30 + 21 and part.read_bytes() == data
        assert f"{cache.name}/{part.name} is damaged" in capsys.readouterr().err


@pytest.mark.one_stack
def test_minibatch_size_changes_nothing_but_noise(place):
    a, b = (run(fid(64), minibatch_size=size, cache_dir=str(size))[0] for size in (4, 7))
    assert a == pytest.approx(b, rel=0.2)
    np.testing.assert_array_equal(RandomInputs(1).latents(3, 5, 8), RandomInputs(1).latents(0, 8, 8)[3:])
    assert np.abs(RandomInputs(1).latents(0, 1, 8) - RandomInputs(2).latents(0, 1, 8)).min() > 0
    latents = RandomInputs(5).latents(0, 4000, 8)
    assert abs(latents.mean()) < 0.02 and abs(latents.std() - 1) < 0.02
    assert np.abs(np.corrcoef(latents.T) - np.eye(8)).max() < 0.06
    t = RandomInputs(5).positions(0, 4000)
    assert abs(t.mean() - 0.5) < 0.02 and t.min() >= 0 and t.max() < 1


@pytest.mark.one_stack
def test_metrics_of_a_group_share_one_pass(place, monkeypatch):
    detectors = [metric_stubs.Detector(), metric_stubs.Detector("other", "xyz")]
    passes = []
    fill = batches.fill
    for module in (evaluation_module, __import__("metrics.features.image_features", fromlist=["x"])):
        monkeypatch.setattr(module, "fill", lambda *args: (passes.append((dict(args[1]), args[4])), fill(*args)))
    kwargs = {"num_images": 30, "minibatch_per_gpu": 4}
    group = MetricGroup(
        [
            {"name": "fid", "func_name": "metrics.frechet_inception_distance.FID", "detector": detectors[0], **kwargs},
            {"name": "kid", "func_name": "metrics.kernel_inception_distance.KID", "detector": detectors[0], **kwargs},
            {
                **{"name": "pr", "func_name": "metrics.precision_recall.PR", "nhood_size": 3, **kwargs},
                **{"detector": detectors[1], "num_images": 20},
            },
        ]
    )
    calls = []
    compute = batches.BatchFunction.__call__
    monkeypatch.setattr(
        batches.BatchFunction, "__call__", lambda self, first, *a: (calls.append(first), compute(self, first, *a))[1]
    )
    data = {"data_dir": ".", "dataset_args": {"tfrecord_dir": "cats"}, "mirror_augment": False}
    group.run("network.pkl", settings=settings(), **data)
    assert set(group.get_results()) == {"fid", "kid", "pr_precision", "pr_recall"} and not group.failed
    assert passes[:2] == [
        ({"detector": 21, "other": 20}, "real images"),
        ({"detector": 30, "other": 20}, "generated images"),
    ]
    assert len(calls) == 6 + 8  # minibatches of real and of generated images
    alone = {metric.name: metric for metric in group.metrics}["kid"]
    alone.run("network.pkl", settings=settings(), **data)
    assert alone.get_results()["kid"] == group.get_results()["kid"]


@pytest.mark.one_stack
def test_networks_of_one_name(place):
    detectors = [metric_stubs.Detector(), metric_stubs.Detector(digest="xyz")]
    alone = [run(fid(detector=detector), cache_dir="alone")[0] for detector in detectors]
    metric = fid(detector=detectors[0])
    shared = open_evaluation()
    metrics = [metric, fid(detector=detectors[1])]
    for each in metrics:
        shared.expect(each.requests())
    for each, expected in zip(metrics, alone, strict=True):
        each.run("network.pkl", dataset_args={}, mirror_augment=False, evaluation=shared)
        assert each.get_results()["fid"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.one_stack
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device")
def test_a_disk_without_room_is_named(place, monkeypatch):
    monkeypatch.setattr("metrics.features.feature_file.atomic_write", lambda path: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(UserError, match="metrics: No space left on device.*--cache-dir"):
        run(fid())


@pytest.mark.one_stack
def test_a_run_that_is_asked_to_stop(place, monkeypatch):
    stopped = SimpleNamespace(update=lambda: None, should_stop=lambda: True)
    monkeypatch.setattr(dnnlib.RunContext, "_current", stopped)
    group = MetricGroup([{"name": "x", "func_name": "metric_stubs.small_fid"}])
    data = {"data_dir": ".", "dataset_args": {"tfrecord_dir": "cats"}, "mirror_augment": False}
    with pytest.raises(run_context.Stopped):
        group.run("network.pkl", settings=settings(), **data)
    monkeypatch.undo()
    monkeypatch.chdir(place)
    group.run("network.pkl", settings=settings(), **data)
    assert list(group.get_results()) == ["x"]


@pytest.mark.one_stack
def test_one_network_that_cannot_be_had_does_not_stop_the_others(place, capsys):
    group = MetricGroup(
        [
            {
                "name": "is",
                "func_name": "metrics.inception_score.IS",
                "num_images": 8,
                "num_splits": 2,
                "minibatch_per_gpu": 4,
            },
            {
                **{"name": "fid", "func_name": "metrics.frechet_inception_distance.FID", "num_images": 8},
                **{"minibatch_per_gpu": 4, "detector": metric_stubs.Detector()},
            },
        ]
    )
    data = {"data_dir": ".", "dataset_args": {"tfrecord_dir": "cats"}, "mirror_augment": False}
    group.run("network.pkl", settings=settings(offline=True), **data)
    assert list(group.get_results()) == ["fid"]
    assert "metric is failed: inception_v3_softmax.pkl is not in the cache" in capsys.readouterr().out
    group.run("missing.pkl", settings=settings(), **data)
    assert capsys.readouterr().out.startswith("metrics is, fid failed: missing.pkl: no such file")


def test_labels_come_from_the_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metric_stubs.make_network(tmp_path / "network.pkl", label_size=3)
    metric_stubs.make_dataset(tmp_path / "cats", 10, num_classes=3)
    metric_stubs.make_dataset(tmp_path / "dogs", 10)
    generator = open_evaluation().generator
    _latents, labels = generator.inputs(0, 600)
    np.testing.assert_allclose(labels.mean(axis=0), [0.4, 0.3, 0.3], atol=0.06)
    run(fid(10))
    with pytest.raises(UserError, match=r"takes labels of 3 columns, the data set has none"):
        run(fid(10), dataset="dogs")
    with pytest.raises(UserError, match="give --dataset"):
        fid(10).run("network.pkl", dataset_args={}, mirror_augment=False, settings=settings())


@pytest.mark.one_stack
def test_a_diverged_network_is_said(place):
    class Broken(metric_stubs.Detector):
        def get_output_for(self, images):
            return super().get_output_for(images) * np.float32(np.nan)

    with pytest.raises(UserError, match="not finite"):
        run(fid(detector=Broken("broken")))
    assert run(fid())[1] == 51


@pytest.mark.one_stack
def test_kid(place):
    metric = KID(num_images=30, minibatch_per_gpu=4, detector=metric_stubs.Detector(), name="kid", max_subset_size=20)
    value, _ = run(metric)
    assert value == run(metric)[0]  # the subsets are those of the seed
    assert 0 < value < 100


@pytest.mark.one_stack
def test_trunks_run_once(place):
    runs = []

    class Trunk:
        def __call__(self, images):
            runs.append(1)
            return metric_stubs.Detector().get_output_for(images)

    common = {"source": "test", "trunk_digest": "t"}
    a = MetricNetwork("a", Trunk(), output_shape=[None, 6], digest="a", **common)
    b = MetricNetwork("b", Trunk(), output_shape=[None, 6], head=tf.nn.softmax, digest="b", **common)
    metric = fid(8, detector=a)
    shared = open_evaluation()
    requests = [metric.requests()[1], metric.requests()[1]._replace(network=b)]
    shared.expect(requests)
    features = [shared.features(request) for request in requests]
    np.testing.assert_allclose(tf.nn.softmax(features[0]), features[1], atol=1e-6)
    assert len(runs) == 1


@pytest.mark.one_stack
def test_several_devices(place):
    """On parts of the CPU, in a process of its own: TensorFlow divides it when it starts."""
    import subprocess
    import sys

    code = """
import sys; sys.path[:0] = %r
import metric_stubs, test_metric_passes as t
from metrics.features.evaluation import Evaluating
assert len(Evaluating(num_gpus=2, logical_cpus=2).devices) == 2
print("result", t.run(t.fid(), num_gpus=2, logical_cpus=2, minibatch_size=2)[0])
"""
    done = subprocess.run([sys.executable, "-c", code % sys.path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    value = float(done.stdout.split("result ")[1])
    assert value == pytest.approx(run(fid())[0], rel=0.3)


@pytest.mark.one_stack
def test_data_set_digest(place):
    digest = load_dataset(data_dir=".", tfrecord_dir="cats", shuffle_mb=0).digest()
    assert digest == load_dataset(data_dir=".", tfrecord_dir="cats").digest()
    assert digest != load_dataset(data_dir=".", tfrecord_dir="cats", max_images=20).digest()
    assert digest != load_dataset(data_dir=".", tfrecord_dir="cats", resolution=4).digest()
    assert len(load_dataset(class_name="training.dataset.SyntheticDataset", resolution=8).digest()) == 64


def test_a_table_of_snapshots(place):
    """The generator is compiled once and has the weights of each in turn; nothing is left of any."""

    def graphs():
        gc.collect()
        return sum(isinstance(item, FuncGraph) for item in gc.get_objects())

    def fid_of(network, settings):
        group.run(network, data_dir=".", dataset_args={"tfrecord_dir": "cats"}, settings=settings)
        return group.get_results()["fid"]

    for seed in range(4):
        metric_stubs.make_network(f"{seed}.pkl", seed=seed)
    metric_stubs.make_network("other.pkl", label_size=NUM_REALS)
    group = MetricGroup([{"func_name": "metric_stubs.small_fid", "name": "fid"}])
    shared, values, counts = settings(), [], []
    for seed in range(4):
        values.append(fid_of(f"{seed}.pkl", shared))
        counts.append(graphs())
    assert counts[1:] == [counts[1]] * 3
    assert fid_of("2.pkl", settings()) == values[2] and len(set(values)) == 4
    compiled = dict(shared._spare[1])
    assert fid_of("0.pkl", shared) == values[0] and shared._spare[1] == compiled
    Gs = shared._spare[0]
    assert shared.take(misc.load_pkl("other.pkl"))[0] is not Gs  # of another kind
