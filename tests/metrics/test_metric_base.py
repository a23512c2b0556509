"""Metrics as training uses them: result lines, files, and what happens to those that fail."""

import json
import sys
import time
from pathlib import Path

import golden
import numpy as np
import pytest

import dnnlib
from dnnlib.errors import UserError
from dnnlib.streams import Tolerant
from metrics.features.evaluation import Evaluating
from metrics.metric_base import DummyMetric, MetricBase, MetricGroup
from metrics.metric_defaults import metric_defaults
from metrics.report import Report
from training.run_folder import options_file

ROOT = Path(__file__).parent.parent.parent
NETWORK = str(ROOT / "demo" / "symbols-32x32.pkl")
# From the official code.
RESULT_LINES = {
    "network-snapshot-012345": "network-snapshot-012345        time 1h 02m 03s   fid50k 12.3457    fid50k_x 0.5000    ",
    "a-network-name-that-is-cut-000123": (
        "...rk-name-that-is-cut-000123  time 1h 02m 03s   fid50k 12.3457    fid50k_x 0.5000    "
    ),
}
DUMMY = {"name": "dummy", "func_name": "metrics.metric_base.DummyMetric"}


class Two(MetricBase):
    """Two numbers, and what it was called with."""

    def _evaluate(self, Gs, Gs_kwargs, num_gpus):
        self.called = Gs, Gs_kwargs, num_gpus
        self._report_result(0.25, suffix="_mean")
        self._report_result(2, suffix="_std", fmt="%-12.6f")


class Failing(MetricBase):
    """Fails after its first result."""

    def __init__(self, name, error):
        super().__init__(name)
        self.error = error

    def _evaluate(self, Gs, Gs_kwargs, num_gpus):
        self._report_result(1)
        raise self.error


def failing(name, error):
    return {"name": name, "func_name": "test_metric_base.Failing", "error": error}


def write_options(run_dir, **dataset_args):
    kwargs = {name: {} for name in ("G_args", "D_args", "sched_args", "tf_config")}
    kwargs |= {"data_dir": "data", "dataset_args": {"tfrecord_dir": "cats", **dataset_args}, "mirror_augment": True}
    options_file.save_training_options(str(run_dir), 1, kwargs)


@pytest.mark.one_stack
@pytest.mark.parametrize("name", RESULT_LINES)
def test_result_line(name):
    metric = MetricBase("fid50k")
    metric._reset(network_pkl=f"results/00000-run/{name}.pkl")
    metric._eval_time = 3723
    metric._report_result(12.345678)
    metric._report_result(np.float32(0.5), suffix="_x")
    expected = RESULT_LINES[name]
    assert metric.get_result_str() == expected
    assert metric.get_results() == {"fid50k": 12.345678, "fid50k_x": 0.5}


@pytest.mark.one_stack
def test_metrics_without_network(tmp_path, capsys):
    write_options(tmp_path)
    metric = Two("two")
    metric.run(None, run_dir=str(tmp_path), num_gpus=3)
    assert metric.called == (None, {"is_validation": True}, 3)
    line = "None                           time 0s           two_mean 0.2500     two_std 2.000000"
    assert capsys.readouterr().out == line + "\n"
    metric.run(None, run_dir=str(tmp_path), Gs_kwargs={"truncation_psi": 0.5})
    assert metric.called[1] == {"truncation_psi": 0.5}
    assert (tmp_path / "metric-two.txt").read_text() == (line + "\n") * 2
    metric.run(None, log_results=False)
    assert (tmp_path / "metric-two.txt").read_text() == (line + "\n") * 2
    assert len(metric.get_results()) == 2
    metric.close()
    assert metric.get_results() == {}


@pytest.mark.one_stack
def test_the_data_set_is_that_of_the_run(tmp_path):
    write_options(tmp_path, resolution=64)
    metric = DummyMetric("dummy")
    metric._reset(run_dir=str(tmp_path))
    assert metric._data_dir == "data" and metric._mirror_augment is True
    assert metric._dataset_args == {"tfrecord_dir": "cats", "resolution": 64, "shuffle_mb": 0}
    metric._reset(run_dir=str(tmp_path), data_dir="there", dataset_args={"tfrecord_dir": "dogs"}, mirror_augment=False)
    assert metric._data_dir == "there" and metric._mirror_augment is False
    assert metric._dataset_args == {"tfrecord_dir": "dogs"}


@pytest.mark.one_stack
def test_configured_as_in_ada(tmp_path, capsys):
    write_options(tmp_path)
    metric = Two("two")
    metric.configure(dataset_args={"path": "data/cats", "resolution": 8, "mirror_augment": True}, run_dir=str(tmp_path))
    metric.run(network_pkl=None, num_gpus=1)
    assert metric._dataset_args == {"tfrecord_dir": str(Path.cwd() / "data/cats"), "resolution": 8}
    assert metric._mirror_augment is True and metric._data_dir is None
    assert (tmp_path / "metric-two.txt").read_text() == capsys.readouterr().out
    metric.run(None, dataset_args={"tfrecord_dir": "dogs"}, mirror_augment=False)
    assert metric._dataset_args == {"tfrecord_dir": "dogs"} and metric._mirror_augment is False


def test_reals(monkeypatch):
    class Data:
        def get_minibatch_np(self, minibatch_size):
            return np.arange(minibatch_size * 6, dtype=np.uint8).reshape(minibatch_size, 1, 2, 3), None

    metric = DummyMetric("dummy")
    metric._dataset_obj = data = Data()
    images = next(metric._iterate_reals(4))
    np.testing.assert_array_equal(images, data.get_minibatch_np(4)[0])
    metric._mirror_augment = True
    np.random.seed(3)
    mirrored = np.random.rand(4) < 0.5
    np.random.seed(3)
    flipped = next(metric._iterate_reals(4))
    assert flipped.dtype == np.uint8 and mirrored.any() and not mirrored.all()
    for i in range(4):
        np.testing.assert_array_equal(flipped[i], images[i, :, :, ::-1] if mirrored[i] else images[i])


@pytest.mark.one_stack
def test_progress(capsys):
    metric = DummyMetric("dummy")
    metric._report_progress(1, 10)
    metric._last_progress -= 100
    metric._report_progress(2, 10, "reals")
    assert capsys.readouterr().err == "dummy: 2/10 reals\n"
    metric._phase, metric._last_progress = ("reals", time.monotonic() - 100, 2), 0.0
    metric._report_progress(7, 10, "reals")
    assert capsys.readouterr().err == "dummy: 7/10 reals, 0.05/s, 1m 00s left\n"


@pytest.mark.one_stack
def test_a_metric_that_fails_does_not_stop_the_others(capsys):
    group = MetricGroup(
        [
            {"name": "none", "func_name": "metrics.no_such_module.X"},
            failing("user", UserError("no network to be had\nsecond line")),
            failing("bug", ZeroDivisionError()),
            {"name": "dummy", "func_name": "metrics.metric_base.DummyMetric", "typo": 1},
            DUMMY,
        ]
    )
    out = capsys.readouterr().out
    assert out.startswith("Metrics that cannot run: none (not available in this version), dummy (TypeError: ")
    assert out.count("\n") == 1
    group.run(None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["metric user failed: no network to be had", "second line"]
    assert lines[2] == "metric bug failed: ZeroDivisionError"
    assert lines[3:] == ["None                           time 0s           dummy 0.0000"]
    assert group.get_results() == {"dummy": 0.0}
    assert list(group.failed) == ["user", "bug", "none", "dummy"]


@pytest.mark.one_stack
def test_interruptions_are_not_failures():
    with pytest.raises(KeyboardInterrupt):
        MetricGroup([failing("stop", KeyboardInterrupt())]).run(None)


@pytest.mark.one_stack
def test_no_metric_stops_a_training(tmp_path, capsys):
    group = MetricGroup(metric_defaults.values())
    assert capsys.readouterr().out == ""
    group.run(None, settings=Evaluating(offline=True, cache_dir=str(tmp_path)))
    assert set(group.failed) == set(metric_defaults) and group.get_results() == {}


def test_at_a_snapshot(tmp_path, capsys):
    autosummary = pytest.importorskip("dnnlib.tflib.autosummary")
    seen = []
    write_options(tmp_path)
    group = MetricGroup([DUMMY, {"name": "two", "func_name": "test_metric_base.Two"}])
    assert capsys.readouterr().out == ""
    group.run(NETWORK, run_dir=str(tmp_path), data_dir="data", num_gpus=1, tf_config={})
    assert group.metrics[1].called[0].output_shape[2:] == [32, 32]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("time")[0].rstrip() for line in lines] == ["symbols-32x32"] * 2
    assert (tmp_path / "metric-dummy.txt").read_text().rstrip().endswith(" dummy 0.0000")
    original, autosummary.autosummary = autosummary.autosummary, lambda name, value: seen.append((name, value))
    try:
        group.update_autosummaries()
    finally:
        autosummary.autosummary = original
    assert seen == [("Metrics/dummy", 0.0), ("Metrics/two_mean", 0.25), ("Metrics/two_std", 2.0)]
    joined = " ".join(metric.get_result_str() for metric in group.metrics)
    assert group.get_result_str() == joined


@pytest.mark.one_stack
def test_options_of_the_run_are_json(tmp_path):
    write_options(tmp_path)
    assert json.loads((tmp_path / "training_options.json").read_text())["num_gpus"] == 1


@pytest.mark.one_stack
def test_official_cache_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for case in golden.index("metrics", "metrics.json")["cache_files"]:
        metric = MetricBase(case["name"])
        metric._reset(dataset_args=case["dataset_args"], mirror_augment=case["mirror_augment"])
        assert metric._get_cache_file_for_reals(**case["kwargs"]) == case["path"]


def test_results_that_stdout_does_not_take_are_an_error(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", Tolerant(full))
        with dnnlib.util.Logger():
            for _ in range(2):  # in its first, and once it has been given up
                with pytest.raises(UserError, match="--json=-: the results could not be written to stdout"):
                    Report().write_json("-")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", Tolerant(full))
        print("Local submit", flush=True)  # the stream is given up before there is a log
        with dnnlib.util.Logger(), pytest.raises(UserError, match="--json=-: the results could not be written"):
            Report().write_json("-")
