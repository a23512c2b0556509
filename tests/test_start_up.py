"""Scripts answer, and find mistakes, without waiting for TensorFlow."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib import command_line

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py") if '__name__ == "__main__"' in path.read_text())
HEAVY = {"tensorflow", "keras", "tf_keras", "scipy", "sklearn", "matplotlib", "tensorboard", "requests", "pandas"}
# Asks for the help of a script and of its commands, and prints what has been imported by then.
_HELP = """
import argparse, importlib, sys
name, *commands = sys.argv[1:]
script = importlib.import_module(name)
actions = script._parser()._actions
commands += [command for a in actions if isinstance(a, argparse._SubParsersAction) for command in a.choices]
for command in [None, *commands]:
    sys.argv = [name + ".py", *filter(None, [command]), "--help"]
    try:
        script.main()
    except SystemExit as end:
        assert not end.code, command
print(len(commands), *sorted(module for module in sys.modules if "." not in module))
"""


def imported_after(code, *args):
    result = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_imports_nothing_heavy(name):
    special = ["inspect"] if name == "run_metrics" else []
    number, *modules = imported_after(_HELP, name, *special)
    least = {"run_generator": 6, "run_projector": 2, "dataset_tool": 15, "run_metrics": 1}
    assert int(number) >= least.get(name, 0)
    assert "dnnlib" in modules
    assert not HEAVY & set(modules)


def test_every_script_is_tested():
    assert {"run_convert", "run_generator", "run_training", "run_metrics", "run_projector", "dataset_tool"} <= set(
        SCRIPTS
    )


def test_importing_dnnlib_imports_nothing_heavy():
    modules = imported_after("import dnnlib, pretrained_networks, sys; print(*sys.modules)")
    assert "dnnlib" in modules
    assert not HEAVY & set(modules)


def test_what_keras_would_import_is_left_out():
    assert "antigravity" not in sys.modules
    with command_line.left_out("antigravity", "pathlib"):
        with pytest.raises(ImportError):
            importlib.import_module("antigravity")
        assert importlib.import_module("pathlib").Path is Path
    assert importlib.util.find_spec("antigravity") and sys.modules["pathlib"]
