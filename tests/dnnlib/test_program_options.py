"""Options of generators that run elsewhere: what is refused before anything is computed, each by its flag."""

import importlib.util
import os
from pathlib import Path

import pytest

import run_convert
from dnnlib.errors import UserError
from dnnlib.formats.checkpoint_formats import check_output
from dnnlib.formats.program_options import ProgramOptions

DEMO = str(Path(__file__).parents[2] / "demo" / "symbols-32x32.pkl")


@pytest.fixture
def missing(tmp_path, monkeypatch):
    """Packages that are not installed; all others that are looked for are."""
    monkeypatch.chdir(tmp_path)
    names = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else object())
    return names


def refused(path, network=None, **options):
    with pytest.raises(UserError) as error:
        check_output(path, None, network, False, ProgramOptions(**options))
    return str(error.value)


def test_all_that_is_wrong_is_said_at_once(missing):
    missing += ["onnx", "tf2onnx"]
    said = refused("none/g.onnx", weights="int8", entry="mapping", image="uint8-nhwc", noise_mode="none")
    for message in (
        "none/g.onnx: needs tf2onnx onnx; install with: pip install tf2onnx onnx",
        "--weights=int8: expected float32 or float16 for .onnx",
        "--noise-mode: with --entry=mapping there is no image; leave it out",
        "--image: with --entry=mapping there is no image; leave it out",
        "none/g.onnx: there is no folder none",
    ):
        assert message in said.split("\n")
    missing.clear()
    assert "g.onnx: is to be the ONNX model of a generator; expected --network=G or --network=Gs" in refused(
        "g.onnx", "D"
    )
    assert "are no UTF-8" in refused("\udcff.tflite") and "are no UTF-8" in refused("\udcff.web")
    assert check_output("\udcff.npz", None, None, False).format.name == "npz"
    assert "got --network=all" in refused("g.onnx", "all")
    assert check_output("g.onnx", None, None, False, ProgramOptions(entry="mapping", opset=13)).networks == ("Gs",)


def test_options_that_no_output_takes(missing, monkeypatch, capsys):
    for outputs, options, status, said in (
        (["a.npz"], ["--opset=13"], 1, "--opset: is for --output=FILE of .onnx"),
        (["a.tflite"], ["--opset=13"], 1, "--opset: is for --output=FILE of .onnx"),
        (["a.npz", "b"], ["--entry=w", "--weights=float16"], 1, "--weights: is for --output=FILE of .onnx, .tflite"),
        (["a.npz"], ["a.onnx"], 1, "expected one SOURCE, got 1 more; what is written: --output=a.onnx"),
        (["a.bin"], ["--format=tflite", "--opset=13"], 1, "--opset: is for --output=FILE of .onnx"),
        (["a.onnx"], ["--opset=19"], 2, "argument --opset: expected 13 to 18, got '19'"),
        (["a.onnx"], ["--opset=1_5"], 2, "argument --opset: expected 13 to 18, got '1_5'"),
        (["a.onnx"], ["--noise-mode=random"], 2, "argument --noise-mode: invalid choice: 'random'"),
    ):
        names = [f"--output={name}" for name in outputs]
        monkeypatch.setattr("sys.argv", ["run_convert.py", DEMO, *options, *names])
        with pytest.raises(SystemExit) as error:
            run_convert.main()
        assert error.value.code == status
        assert said in capsys.readouterr().err
    assert not os.listdir()
