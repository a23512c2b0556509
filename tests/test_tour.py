"""docs/tour.ipynb: whole, small, with its outputs, and executed where nbconvert is."""

import ast
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib import commands

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent
TOUR = ROOT / "docs" / "tour.ipynb"


def cells(path=TOUR):
    return json.loads(path.read_text())["cells"]


def code_cells(path=TOUR):
    return [cell for cell in cells(path) if cell["cell_type"] == "code"]


def text_of(cell):
    return "".join(cell["source"])


def pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell["outputs"])


def test_outputs_are_kept_and_small():
    assert TOUR.stat().st_size < 1.5e6
    assert sum(map(pictures, code_cells())) >= 8
    for number, cell in enumerate(code_cells(), 1):
        assert cell["execution_count"] == number
        kinds = {(output["output_type"], output.get("name")) for output in cell["outputs"]}
        assert kinds <= {("stream", "stdout"), ("display_data", None)}, kinds
    assert not re.search(r"Traceback|/(?:tmp|home|root|work)/", TOUR.read_text())


def test_commands_and_links():
    """Commands exist; options are those that the scripts have; documents are there."""
    lines = []
    for cell in code_cells():
        for node in ast.walk(ast.parse(text_of(cell))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "stylegan2":
                lines.append(shlex.split(ast.literal_eval(node.args[0])))
    assert {"generate", "project", "dataset", "train"} == {line[0] for line in lines} <= set(commands.COMMANDS)
    helps = "".join(path.read_text() for path in (ROOT / "docs").glob("*-help.txt"))
    flags = {word.partition("=")[0] for line in lines for word in line if word.startswith("--")}
    assert [flag for flag in flags if flag not in helps] == []
    texts = "".join(text_of(cell) for cell in cells() if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", texts)
    assert len(links) > 8 and all((TOUR.parent / link).exists() for link in links)


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("nbconvert", "ipykernel"))), reason="needs pip install nbconvert ipykernel"
)
def test_execution(tmp_path):
    """In a clone's `docs`, where nothing is written, and without downloads."""
    (tmp_path / "docs").mkdir()
    shutil.copy(TOUR, tmp_path / "docs")
    for path in ROOT.iterdir():
        if path.name not in ("docs", "results", "datasets") and path.name[0] != ".":
            (tmp_path / path.name).symlink_to(path)
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--to=notebook",
        "--execute",
        f"--output-dir={tmp_path}",
        "tour.ipynb",
    ]
    env = {**os.environ, "STYLEGAN2_OFFLINE": "1", "TMPDIR": str(tmp_path)}
    subprocess.run(command, cwd=tmp_path / "docs", env=env, check=True, timeout=1500)
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["tour.ipynb"]
    kept, executed = code_cells(), code_cells(tmp_path / "tour.ipynb")
    assert list(map(pictures, executed)) == list(map(pictures, kept))
    measured = re.findall(r"network-snapshot-\d+\.pkl ([\d.]+)", json.dumps(executed))
    assert len(measured) == 4 and float(measured[-1]) < 0.5 * float(measured[0])
