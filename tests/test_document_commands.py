"""The commands and programs of docs/projector.md, generator.md, checkpoints.md and editing.md, run one after the other.

Networks that would be downloaded are replaced by the demo network, and projections are made of two steps.
"""

import importlib
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import golden
import numpy as np
import PIL.Image
import pytest

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent
NETWORK = "--network=demo/symbols-32x32.pkl"
try:
    import imageio_ffmpeg  # noqa: F401

    HAS_FFMPEG = True
except ImportError:
    HAS_FFMPEG = False


def snippets(document):
    """Language and text of each block."""
    return blocks_of((ROOT / "docs" / document).read_text())


def blocks_of(text):
    """Language and text of each block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text):
    """The arguments of each command of a block, as a shell splits them."""
    for line in text.replace("\\\n", " ").splitlines():
        args = shlex.split(line, comments=True)
        if args:
            assert args[0] == "python", line
            yield args[1:]


def adapted(args):
    """Arguments for this test: nothing is downloaded, and little computed."""
    if args[0] == "run_convert.py":
        source = NETWORK.removeprefix("--network=")
        args[1] = args[1] if os.path.exists(args[1]) else source
        return args
    args = [NETWORK if arg.startswith("--network=") else arg.replace("~/", "home/") for arg in args]
    if args[0] == "run_projector.py":
        args += ["--num-steps=2", "--distance=pixel"]
    if not HAS_FFMPEG:
        args = [arg.replace("--video=mp4", "--video=gif") for arg in args if arg != "--video"]
    return args


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with the demo network and photos; what stands for a home folder has photos and a data set."""
    monkeypatch.chdir(tmp_path)
    os.symlink(ROOT / "demo", "demo")
    for folder in ("photos", "home/people"):
        Path(folder).mkdir(parents=True)
        for seed, name in enumerate(("anna.jpg", "bert.png", "carl.webp")):
            pixels = np.random.RandomState(seed).randint(0, 256, [48, 40, 3]).astype(np.uint8)
            PIL.Image.fromarray(pixels).save(f"{folder}/{name}")
    shutil.copytree(golden.GOLDENS / "dataset" / "tfr_rgb32_noshuffle", "home/datasets/car")
    return tmp_path


def run_snippets(blocks, monkeypatch, capsys, adapted=adapted):
    """Runs programs and commands in order; returns the number of commands."""
    done = 0
    for language, text in blocks:
        if language == "python":
            text = text.replace("num_steps = 200", "num_steps = 3")
            exec(compile(text, "document", "exec"), {"__name__": "__main__"})
            continue
        for args in commands(text) if language != "text" else ():
            script, *args = adapted(args)
            monkeypatch.setattr(sys, "argv", [script, *args])
            try:
                importlib.import_module(script.removesuffix(".py")).main()
            except SystemExit as error:
                if error.code:
                    pytest.fail(f"{script} {args}: exit code {error.code}\n{capsys.readouterr().err}")
            done += 1
    return done


@pytest.mark.parametrize(
    ("document", "num_commands"), [("projector.md", 7), ("generator.md", 7), ("checkpoints.md", 5)]
)
def test_commands(place, monkeypatch, capsys, document, num_commands):
    assert run_snippets(snippets(document), monkeypatch, capsys) == num_commands


EDITING = (ROOT / "docs" / "editing.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("section", re.findall(r"^## (.*)$", EDITING, re.MULTILINE))
def test_editing(place, monkeypatch, capsys, section):
    """Each section of docs/editing.md, as it is: its commands need nothing but the demo network and photos."""
    text = re.search(rf"^## {re.escape(section)}$(.*?)(?=^## |\Z)", EDITING, re.MULTILINE | re.DOTALL)[1]
    assert run_snippets(blocks_of(text), monkeypatch, capsys, adapted=list)
