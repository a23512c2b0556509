"""`run_generator.py` as a user runs it: pixels, files and messages."""

import shutil
import subprocess
import sys
from pathlib import Path

import golden
import numpy as np
import PIL.Image
import pytest

ROOT = Path(__file__).parent.parent
RUNS = golden.index("cli", "runs.json")
PIXELS = golden.arrays("cli", "images.npz")


def run(cwd, *args, env=None):
    return subprocess.run(
        [sys.executable, ROOT / "run_generator.py", *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=env,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with the golden networks under `nets`."""
    (tmp_path / "nets").mkdir()
    for path in (golden.GOLDENS / "pickles").glob("*.pkl"):
        shutil.copy(path, tmp_path / "nets")
    return tmp_path


def check_pixels(path, expected):
    pixels = np.asarray(PIL.Image.open(path))
    assert pixels.shape == expected.shape
    difference = np.abs(pixels.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.005


@pytest.mark.parametrize("number", range(len(RUNS["runs"])))
def test_official_runs(folder, number):
    case = RUNS["runs"][number]
    if not (folder / "nets" / case["pkl"]).exists():
        pytest.skip("needs the large set of goldens")
    result = run(folder, *case["argv"])
    assert result.returncode == 0, result.stderr
    (run_dir,) = (folder / "results").iterdir()
    assert run_dir.name == "00000" + Path(case["run_dir"]).name[5:]
    assert sorted(path.name for path in run_dir.iterdir()) == sorted(case["files"])
    for name in case["files"]:
        if name.endswith(".png"):
            check_pixels(run_dir / name, PIXELS[f"{Path(case['run_dir']).name}/{name}"])
    ours = result.stdout.splitlines()
    for line in case["stdout"].replace(Path(case["run_dir"]).name, run_dir.name).splitlines():
        if "<TIME>" not in line:
            assert line in ours


@pytest.mark.parametrize("number", range(len(RUNS["errors"])))
def test_official_errors(tmp_path, number):
    case = RUNS["errors"][number]
    result = run(tmp_path, *case["argv"])
    assert result.returncode == case["exit_code"]
    assert result.stdout == case["stdout"]
    if case["stderr_last"]:
        expected = case["stderr_last"].split("invalid _parse_num_range value")[0]
        assert result.stderr.strip().splitlines()[-1].startswith(expected)
    assert not (tmp_path / "results").exists()
