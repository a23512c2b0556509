"""The lane of `make test-gpu`: that nothing passes in it unseen, elsewhere, or without having been run."""

import os
import subprocess
import sys
from pathlib import Path

import lane
import numpy as np
import pytest

from tools import test_gpu

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.one_stack


def run(*command, **env):
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", **env}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_every_test_that_is_meant_for_it_is_in_a_part():
    marked = {str(path.relative_to(ROOT / "tests")) for path in (ROOT / "tests").glob("*/test_*.py")}
    marked = {name for name in marked if "pytest.mark.gpu" in (ROOT / "tests" / name).read_text()}
    assert marked == {word for words in test_gpu.PARTS.values() for word in words if word.endswith(".py")}


def test_without_a_gpu_it_says_so():
    done = run("tools/test_gpu.py")
    assert done.returncode == 1 and done.stdout.count("\n") == 1 and done.stdout.startswith("TensorFlow sees no GPU")
    done = run("-m", "pytest", "-m", "gpu", "tests/ops/test_ops.py", STYLEGAN2_TEST_DEVICE="gpu")
    assert done.returncode == 1 and "TensorFlow sees no GPU" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--parts=networks,loses"], "--parts=loses: expected some of generators, networks, losses, others"),
        (["--only=cuda-fp32-nhwc,cpu-fp16-nhwc"], "--only=cpu-fp16-nhwc: expected some of cuda-fp32-nhwc, ref-"),
        (["--jobs=0"], "--jobs=0"),
        (["--minutes=nan"], "--minutes=nan"),
    ],
)
def test_wrong_arguments(args, words):
    done = run("tools/test_gpu.py", *args)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("impl", "code"), [("ref", 0), pytest.param("cuda", 1, marks=pytest.mark.slow)])
def test_rehearsal(impl, code):
    """The CPU plays the GPU; CUDA kernels, which it has not, are an error and no other implementation."""
    env = {"STYLEGAN2_TEST_DEVICE": "cpu", "STYLEGAN2_TEST_PRECISION": "fp16", "STYLEGAN2_OPS": impl}
    done = run("-m", "pytest", "-q", "-m", "gpu", "tests/ops/test_ops.py", "-k", "upsample_conv_2d/0", **env)
    assert done.returncode == code, done.stdout
    if not code:
        assert "On the cpu, fp16, ref, nhwc: " in done.stdout and "Conv2DBackpropInput" in done.stdout


def test_places(monkeypatch):
    monkeypatch.setattr(lane, "DEVICE", "gpu")
    monkeypatch.setattr(lane, "IMPL", "cuda")
    assert not lane.wrong_places({"Conv2D": [("gpu", "NHWC"), ("", "NHWC")]})
    assert lane.wrong_places({"Conv2D": [("gpu", "NHWC")], "MatMul": [("cpu", "")]}) == [
        "MatMul ran elsewhere than on the gpu"
    ]
    monkeypatch.setattr(lane, "seen", {"Conv2D NHWC": 3})
    assert lane.nothing_ran()
    monkeypatch.setattr(lane, "seen", {"StyleganBiasAct": 3})
    assert not lane.nothing_ran()
    monkeypatch.setattr(lane, "IMPL", "ref")
    assert lane.wrong_places({"StyleganBiasAct": [("gpu", "")]})


@pytest.mark.parametrize(
    ("log", "code", "line", "good"),
    [
        ("..s\nOn the gpu\n3 passed, 1 skipped in 4.2s\n", 0, "3 passed, 1 skipped in 4.2s", True),
        ("F\n===== 1 failed, 2 passed in 4s =====\n", 1, "1 failed, 2 passed in 4s", False),
        ("2 passed in 1s\n", 1, "2 passed in 1s", False),
        ("...", -11, "no test has ended (exit status -11)", False),
        ("...", None, "STOPPED: out of time; no test has ended (exit status None)", False),
    ],
)
def test_outcomes(log, code, line, good):
    assert test_gpu.outcome(log, code) == (line, good)


def test_outside_of_the_lane_tests_are_as_strict_as_they_say(monkeypatch):
    assert (lane.values(1e-6), lane.gradients(1e-6), lane.steps(1e-6)) == (1e-6,) * 3
    assert lane.size(np.array([1.0, -3.0])) == 3 and lane.unit_of_gradients(2.0, np.ones(9)) == 2
    assert lane.kwargs("training.networks_stylegan2.G_main") == {}
