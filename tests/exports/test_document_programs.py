"""The examples of docs/programs.md, as they are: a command, Python, JavaScript and C++."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import browser
import numpy as np
import PIL.Image
import pytest

import pretrained_networks
import run_convert
from dnnlib.formats import onnxruntime_web
from dnnlib.tflib import tfutil

pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.exports

ROOT = Path(__file__).parent.parent.parent
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "docs" / "programs.md").read_text(), re.MULTILINE | re.DOTALL)


def blocks(language):
    return [text for found, text in BLOCKS if found == language]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder with what the document's first command writes."""
    folder = tmp_path_factory.mktemp("place")
    os.symlink(ROOT / "demo", folder / "demo")
    python, script, *args = shlex.split(blocks("")[0])
    assert (python, script) == ("python", "run_convert.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        convert(args)
    return folder


def convert(args):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run_convert.py", *args])
        run_convert.main()


def run(text):
    """What a program in Python has at its end."""
    names = {"__name__": "__main__"}
    exec(compile(text, "programs.md", "exec"), names)
    return names


def generate(num_samples):
    """Images of the demo network, `[N, C, H, W]`."""
    _, _, Gs = pretrained_networks.load_networks("demo/symbols-32x32.pkl")
    z = np.random.RandomState(85).randn(num_samples, *Gs.input_shape[1:])
    return Gs.run(z, None, truncation_psi=0.7, is_validation=False, randomize_noise=False)


def test_python(place, monkeypatch):
    """Pixels are those of the network."""
    monkeypatch.chdir(place)
    run(blocks("python")[0])
    expected = tfutil.convert_images_to_uint8(generate(1), nchw_to_nhwc=True).numpy()[0]
    pixels = np.asarray(PIL.Image.open("seed0085.png")).astype(np.int16)
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_litert(place, monkeypatch):
    monkeypatch.chdir(place)
    convert(["demo/symbols-32x32.pkl", "--output=symbols.tflite"])
    text = blocks("python")[1].replace(
        "from ai_edge_litert.interpreter import", "from tensorflow.lite.python.interpreter import"
    )
    assert np.abs(run(text)["images"] - generate(4)).max() < 1e-4


def test_javascript(place, runtime, window):
    onnxruntime_web.extract(runtime, place)
    (text,) = blocks("javascript")
    script = text.replace("import * as ort from", "const ort = await import(").replace('web";', 'web");', 1)
    script = script.replace("onnxruntime-web", f"/{onnxruntime_web.FILES[0]}")
    with browser.served(place) as url:
        window.open(url)
        found = window.run(f"{script} return [image.type, image.dims, new Set(image.data).size > 50];")
    assert found == ["uint8", [1, 32, 32, 3], True]


def test_cpp(place):
    """By a library that is installed."""
    if not shutil.which("c++") or not shutil.which("pkg-config"):
        pytest.skip("needs a compiler and pkg-config")
    if subprocess.run(["pkg-config", "--exists", "libonnxruntime"], check=False).returncode:
        pytest.skip("needs the headers of ONNX Runtime")
    (text,) = blocks("cpp")
    (place / "symbols.cpp").write_text(text)
    subprocess.run(["bash", "-e", "-c", blocks("")[1]], cwd=place, timeout=120, check=True)
    pixels = np.asarray(PIL.Image.open(place / "symbols.ppm"))
    assert pixels.shape == (32, 32, 3)
    assert pixels.std() > 10
