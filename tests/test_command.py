"""The command `stylegan2`: the scripts under another name, found and answering without TensorFlow."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import run_convert
from dnnlib import commands, installed
from stylegan2 import __main__ as command

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent
SCRIPTS = {path.name for path in ROOT.glob("*.py") if '__name__ == "__main__"' in path.read_text()}


def said(monkeypatch, capsys, *args, main=command.main, program="stylegan2"):
    """Exit status, stdout and stderr of a command line."""
    monkeypatch.setattr(sys, "argv", [program, *args])
    try:
        status = main()
    except SystemExit as end:
        status = end.code
    return status or 0, *capsys.readouterr()


def test_every_script_is_a_command():
    assert {f"{module}.py" for module, _ in commands.COMMANDS.values()} - {"dnnlib.tflib.doctor.__main__.py"} == SCRIPTS


@pytest.mark.parametrize("name", [name for name in commands.COMMANDS if name != "doctor"])
def test_help_and_version_under_this_name(name, monkeypatch, capsys):
    """The texts of a script, and no script's name is left in them."""
    status, out, _ = said(monkeypatch, capsys, name, "--help")
    assert status == 0 and out.startswith(f"usage: stylegan2 {name} ")
    assert not re.search(r"\brun_\w+\.py|dataset_tool\.py|python -m", out)
    assert said(monkeypatch, capsys, name, "--version")[:2] == (0, f"stylegan2-keras {installed.version()}\n")


def test_the_doctor_needs_no_tensorflow(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('none here')")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    for args, status, out, err in (
        (["--help"], 0, "usage: stylegan2 doctor [-h]", ""),
        (["--build"], 1, "", "Error: TensorFlow cannot be imported: none here\n"),
    ):
        command = [sys.executable, "-m", "stylegan2", "doctor", *args]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (status, err) and done.stdout.startswith(out)


def test_helps_of_scripts_are_their_own(monkeypatch, capsys):
    status, out, _ = said(monkeypatch, capsys, "--help", main=run_convert.main, program="/somewhere/run_convert.py")
    assert status == 0 and out.startswith("usage: run_convert.py SOURCE") and "\n  python run_convert.py " in out
    assert "stylegan2 " not in out


def test_errors_name_the_command(monkeypatch, capsys):
    status, _, err = said(monkeypatch, capsys, "generate", "generate_imags")
    assert status == 2 and "\nstylegan2 generate: error: " in err and "(did you mean generate-images?)" in err
    status, _, err = said(monkeypatch, capsys, "generate", "generate-images", "--network=x.pkl")
    assert status == 2 and "\nstylegan2 generate generate-images: error: " in err
    status, _, err = said(monkeypatch, capsys, "metrics", "inspect")
    assert status == 2 and err.startswith("usage: stylegan2 metrics inspect [-h] FILE")
    assert "\nstylegan2 metrics inspect: error: " in err
    status, _, err = said(monkeypatch, capsys, "convert", "missing.pkl", "--output=x.npz")
    assert (status, err) == (1, "Error: missing.pkl: no such file\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["genrate"], "(did you mean generate?)"),
        (["Train"], "(did you mean train?)"),
        (["generate-images"], "(did you mean generate?)"),
        (["--hepl"], "(did you mean --help?)"),
        ([], "usage: stylegan2 [-h] [--version] COMMAND ..."),
    ],
)
def test_what_is_no_command(args, words, monkeypatch, capsys):
    status, out, err = said(monkeypatch, capsys, *args)
    assert status in (1, 2) and words in err and out == ""


def test_names_in_texts(monkeypatch):
    text = "python run_generator.py, /a/run_generator.py, run_convert.python, python -m dnnlib.tflib.ops.build"
    assert commands.as_called(text) == text
    monkeypatch.setattr(sys, "argv", ["stylegan2 train"])
    named = "stylegan2 generate, /a/run_generator.py, run_convert.python, stylegan2 doctor --build"
    assert commands.as_called(text) == named
    for other in ([""], [], ["stylegan2"], ["/bin/stylegan2"], ["stylegan2 other"]):
        monkeypatch.setattr(sys, "argv", other)
        assert commands.running() is None


def test_the_command_starts_at_once():
    """Without anything that takes long to import, and none of the scripts."""
    code = "import sys\nfrom stylegan2.__main__ import main\nsys.argv[1:] = ['--help']\n"
    code += "try: main()\nexcept SystemExit: print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    *_, modules = result.stdout.splitlines()
    heavy = {"numpy", "PIL", "yaml", "requests", "subprocess", "importlib.metadata"}
    assert not (heavy | {"tensorflow", "run_generator", "training"}) & set(modules.split())


# ----------------------------------------------------------------------------
# What is installed.


@pytest.mark.parametrize(
    ("description", "version"),
    [
        ("v1.2.0-0-g0123abc", "1.2.0"),
        ("v1.2.0-3-g0123abc", "1.2.0.post3+g0123abc"),
        ("v2.0rc1-0-g0123abc-dirty", "2.0rc1.post0+g0123abc.dirty"),
        ("0123abc", "0.1.0.dev0+g0123abc"),
        ("0123abc-dirty", "0.1.0.dev0+g0123abc.dirty"),
        ("vendor-3-g0123abc", "0.1.0.dev0"),
        ("", "0.1.0.dev0"),
    ],
)
def test_versions_of_clones(description, version):
    assert installed.version_of(description) == version


def test_version_of_an_sdist_and_of_a_repository_around(tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "_ROOT", tmp_path / "inside")
    (tmp_path / "inside").mkdir()
    (tmp_path / ".git").mkdir()  # not ours
    assert installed.version() == "0.1.0.dev0"
    (tmp_path / "inside" / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: stylegan2-keras\nVersion: 1.5.post2\n")
    assert installed.version() == "1.5.post2"


def test_files_that_come_along_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("demo/symbols-32x32.pkl", "configs/demo.yaml"):
        assert installed.find(name) == str(ROOT / name)
    for name in ("demo", "demo/other.pkl", "symbols-32x32.pkl", "dnnlib/util.py", "demo/../README.md", ""):
        assert installed.find(name) == name
    Path("demo").mkdir()
    Path("demo/symbols-32x32.pkl").write_text("mine")
    assert installed.find("demo/symbols-32x32.pkl") == "demo/symbols-32x32.pkl"
