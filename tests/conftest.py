"""Fixtures of several test files."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:  # as of jobs in the background, and by nohup
        signal.signal(getattr(signal, name), handler)
if os.environ.get("STYLEGAN2_TEST_DEVICE") != "gpu":  # tests count on what CPUs do, to the last bit
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a data set `cats` and an image archive."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets" / "cats").mkdir(parents=True)
    (tmp_path / "datasets" / "cats" / "cats-r05.tfrecords").write_bytes(b"")
    (tmp_path / "my.images.zip").write_bytes(b"")
    return tmp_path


@pytest.fixture(scope="session")
def metric_networks(tmp_path_factory):
    """A folder with the two Inception networks and LPIPS, of random weights."""
    import metric_net_files
    import weight_writers

    folder = tmp_path_factory.mktemp("networks")
    arrays = metric_net_files.inception_of_graph(*metric_net_files.inception_weights())
    weight_writers.write_frozen_graph(folder / "classify_image_graph_def.pb", arrays)
    weights = metric_net_files.lpips_of_pickle(metric_net_files.lpips_weights())
    weight_writers.write_official_pickle(
        folder / "vgg16_zhang_perceptual.pkl", "vgg16_perceptual_distance", weights, func_name="lpips_network"
    )
    return folder


@pytest.fixture(scope="session")
def metric_goldens():
    """The scalars and the arrays of the official metrics, without TensorFlow, which tests/helpers/golden.py imports."""
    folder = Path(__file__).parent / "goldens" / "metrics"
    with np.load(folder / "metrics.npz") as arrays:
        return json.loads((folder / "metrics.json").read_text()), dict(arrays)


@pytest.fixture
def write(tmp_path):
    """Writes bytes to a file whose name says nothing."""

    def write(data):
        path = tmp_path / "file"
        path.write_bytes(data)
        return str(path)

    return write


@pytest.fixture
def eagerly():
    """Random numbers come from Python here."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


# ----------------------------------------------------------------------------
# The lane of `make test-gpu`: see tests/helpers/lane.py.


def pytest_configure(config):
    if os.environ.get("STYLEGAN2_TEST_DEVICE"):
        import lane

        if problem := lane.set_up():
            pytest.exit(problem, returncode=1)


@pytest.fixture(autouse=True)
def _placement():
    """In the lane: fails a test that computed elsewhere, so that none passes on the CPU unseen."""
    yield
    if os.environ.get("STYLEGAN2_TEST_DEVICE"):
        import lane

        assert not (problems := lane.wrong_places(lane.placed())), problems


def pytest_sessionfinish(session, exitstatus):
    if os.environ.get("STYLEGAN2_TEST_DEVICE") and exitstatus == pytest.ExitCode.OK:
        import lane

        session.exitstatus = pytest.ExitCode.TESTS_FAILED if lane.nothing_ran() else exitstatus


def pytest_terminal_summary(terminalreporter):
    if os.environ.get("STYLEGAN2_TEST_DEVICE"):
        import lane

        terminalreporter.write_line(lane.summary())
