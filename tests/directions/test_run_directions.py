"""`run_directions.py`: its command line."""

import subprocess
import sys
from pathlib import Path

import pytest

import run_directions
from directions.commands import COMMANDS
from dnnlib.errors import Problems, UserError

ROOT = Path(__file__).parent.parent.parent


def test_help_is_in_docs():
    texts = []
    for args in ((), *((command,) for command in COMMANDS)):
        command = [sys.executable, "run_directions.py", *args, "--help"]
        env = {"COLUMNS": "100", "PATH": ""}
        result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        texts.append(result.stdout)
    documented = (ROOT / "docs" / "run_directions-help.txt").read_text()
    assert " ".join("\n".join(texts).split()) == " ".join(documented.split())


def test_all_problems_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("seed,x\n1\n")
    for args, messages in (
        (["labels", "none.pkl", "--labels=a.csv"], ["none.pkl: no such file", "--labels: a.csv: sample 1 has 1 cell"]),
        (["labels", "none.pkl", "--columns=x"], ["none.pkl", "--columns are of a table; --labels=FILE.csv is missing"]),
        (["show", "none.pkl", "a.csv", "b.npz", "--video=gif", "--fps=60"], ["a.csv: ", "b.npz: no ", "--video=gif"]),
    ):
        kwargs = vars(run_directions._parser().parse_args(args))
        problems = Problems()
        run_directions._check(kwargs.pop("command"), kwargs, problems)
        with pytest.raises(UserError) as error:
            problems.report()
        for message in messages:
            assert message in str(error.value)
