"""What is installed: everything that is needed, found and not listed, and used from another folder."""

import os
import runpy
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import setuptools

import generation
import pretrained_networks

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent
DATA = {"demo": "stylegan2/demo", "configs": "stylegan2/configs"}


def sources():
    """The files of this project that belong into a wheel, and their names there."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a clone")
    paths = [Path(name) for name in done.stdout.splitlines() if (ROOT / name).exists()]
    rooms = {path.parts[0] for path in paths if len(path.parts) == 2 and path.name == "__init__.py"} - {"tools"}
    scripts = {str(path) for path in paths if len(path.parts) == 1 and path.suffix == ".py"} - {"setup.py"}
    inside = [path for path in paths if path.parts[0] in {*rooms, *DATA, *scripts}]
    return {str(path): str(Path(DATA.get(path.parts[0], path.parts[0]), *path.parts[1:])) for path in inside}


def test_what_setup_finds(monkeypatch):
    """Each module and each data file, of folders that are no packages, too."""
    found = {}
    monkeypatch.setattr(setuptools, "setup", found.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    folders = {found["package_dir"].get(name, name.replace(".", "/")): name for name in found["packages"]}
    missing = []
    for source in sources():
        folder, name = os.path.split(source)
        in_module = not folder and name.removesuffix(".py") in found["py_modules"]
        if not in_module and folder not in folders:
            missing.append(source)
    assert not missing and found["package_data"] == {"": ["*"]}
    assert not {name.partition(".")[0] for name in found["packages"]} & {"tests", "tools", "docs", "setup"}


# ----------------------------------------------------------------------------
# Built and installed.

_BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def build(what, folder, out):
    command = [sys.executable, "-c", _BUILD, f"build_{what}", str(out)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel, and the sdist that was made of the same copy of this project."""
    folder = tmp_path_factory.mktemp("copy")
    for source in (*sources(), "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        (folder / source).parent.mkdir(parents=True, exist_ok=True)
        (folder / source).write_bytes((ROOT / source).read_bytes())
    out = tmp_path_factory.mktemp("dist")
    return build("wheel", folder, out), build("sdist", folder, out)


def contents(wheel):
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.mark.slow
def test_wheel_and_sdist(built, tmp_path):
    wheel, sdist = built
    inside = contents(wheel)
    assert wheel.stat().st_size < 5e6 and sdist.stat().st_size < 5e6
    assert {name for name in inside if ".dist-info/" not in name} == set(sources().values())
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert not (unpacked / "tests").exists()
    (tmp_path / "again").mkdir()
    assert contents(build("wheel", unpacked, tmp_path / "again")) == inside


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An environment with the wheel; what it needs is that of this one. Programs, another folder, and variables."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    (packages,) = (folder / "env").glob("**/site-packages")
    (packages / "needs.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    command = [programs / "python", "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", built[0]]
    subprocess.run(command, check=True)
    for name in ("elsewhere", "home"):
        (folder / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "STYLEGAN2", "XDG"))}
    return programs, folder / "elsewhere", {**kept, "HOME": str(folder / "home"), "TF_CPP_MIN_LOG_LEVEL": "3"}


def files_below(folder):
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.mark.slow
def test_installed(installed):
    programs, folder, env = installed
    home, code = Path(env["HOME"]), files_below(programs.parent)

    def run(*args, program="stylegan2"):
        command = [programs / program, *args]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("--version").startswith("stylegan2-keras 0.1.0.dev0")
    assert "\nbuilt with " in run("doctor", "--build", "--arch=none")
    caches = {os.path.join(*path.relative_to(home).parts[:2]) for path in files_below(home)}
    assert caches - {".cache/matplotlib", ".keras/keras.json"} == {".cache/stylegan2-keras"}  # those are of others
    run("generate", "generate-images", "--network=demo/symbols-32x32.pkl", "--seeds=5")
    run("dataset", "create-symbols", "datasets/symbols-32", "--resolution=32", "--num-images=40")
    assert '"total_kimg": 24' in run("train", "--options=configs/demo.yaml", "--dry-run")
    assert {path.name for path in folder.iterdir()} == {"results", "datasets"}

    names = runpy.run_path(str(ROOT / "tests" / "test_official_names.py"))["NAMES"]
    program = (
        "import importlib, sys, numpy as np, generation, pretrained_networks\n"
        "Gs = pretrained_networks.load('demo/symbols-32x32.pkl')\n"
        "np.save('images.npy', generation.images(Gs, seeds=[5, 6], truncation_psi=0.5))\n"
        f"for name in {list(names)}: importlib.import_module(name)\n"
        "import dnnlib, training, metrics\n"
        "print(*(module.__file__ for module in (dnnlib, training, metrics)))\n"
    )
    paths = run("-c", program, program="python").split()[-3:]
    assert all(path.startswith(str(programs.parent)) for path in paths)
    images = np.load(folder / "images.npy")
    expected = generation.images(pretrained_networks.load(ROOT / "demo" / "symbols-32x32.pkl"), [5, 6], 0.5)
    assert np.abs(images.astype(int) - expected).max() <= 1
    saved = np.asarray(PIL.Image.open(folder / "results" / "00000-generate-images" / "seed0005.png"))
    assert np.abs(saved.astype(int) - images[0]).max() <= 1
    assert files_below(programs.parent) == code, "something was written beside the code"

    run("-m", "pip", "uninstall", "--yes", "--quiet", "stylegan2-keras", program="python")
    left = {path.relative_to(programs.parent) for path in files_below(programs.parent)}
    assert not [path for path in left if "stylegan2" in str(path) or "dnnlib" in str(path) or "run_" in path.name]
