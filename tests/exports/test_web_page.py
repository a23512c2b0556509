"""Pages of generators: their files, and what headless Chromium makes of them, against our pixels."""

import base64
import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import browser
import golden
import numpy as np
import PIL.Image
import pytest

from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.formats import checkpoint_formats, onnxruntime_web
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints.converter import Converter

pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.exports
ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "dnnlib/tflib/exports/page"
DEMO = ROOT / "demo/symbols-32x32.pkl"
G_SIZES = {"fmap_base": 64, "fmap_max": 8, "latent_size": 6, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
FILES = {"index.html", "style.css", "numpy_random.js", "network.json", "mapping.onnx", "synthesis.onnx"}
WASM = onnxruntime_web.RUNTIMES["wasm"]


def write(net, runtime, path, overwrite=False):
    output = checkpoint_formats.check_output(str(path), None, None, overwrite)
    return Converter({"Gs": net}).convert(replace(output, runtime=str(runtime)))


def build(**kwargs):
    net = Network("Gs", func_name="training.networks_stylegan2.G_main", **{**G_SIZES, **kwargs})
    golden.set_variables(net.vars, "Gs")
    return net


@pytest.fixture(scope="module")
def gray():
    """Gray images of 16x8, three classes, truncated in the first three layers as it comes."""
    return build(resolution=[16, 8], num_channels=1, label_size=3, truncation_psi=0.6, truncation_cutoff=3)


# ----------------------------------------------------------------------------
# Files.


@pytest.fixture
def stub(tmp_path):
    """A package of two short files."""
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in onnxruntime_web.FILES:
            info = tarfile.TarInfo(f"package/dist/{name}")
            info.size = 9
            archive.addfile(info, io.BytesIO(b"some code"))
    return path


def test_files(gray, stub, tmp_path):
    folder = tmp_path / "gray.web"
    lines = write(gray, stub, folder)
    names = FILES | {*onnxruntime_web.FILES, "onnxruntime-web.LICENSE.txt"}
    assert {path.name for path in folder.iterdir()} == names
    notes = json.loads((folder / "network.json").read_text())
    sizes = {name: (folder / name).stat().st_size for name in names - {"network.json"}}
    runtimes = {name: list(files) for name, files in onnxruntime_web.RUNTIMES.items()}
    assert notes == {
        **{"title": "gray", "source_format": "tensorflow", "latent_size": 6, "label_size": 3, "num_layers": 6},
        **{"truncation_psi": 0.6, "truncation_cutoff": 3, "files": sizes, "runtimes": runtimes},
    }
    assert lines[0].startswith("Gs: mapping.onnx: w differs by ")
    assert f"python -m http.server --directory {folder}" in lines[-1]
    with pytest.raises(UserError, match=r"gray\.web: exists; give another name, or --overwrite"):
        write(gray, stub, folder)
    (folder / "synthesis.onnx").unlink()  # then it is a folder of a page that may be anybody's
    with pytest.raises(UserError, match="is a folder with other files, which is not overwritten"):
        write(gray, stub, folder, overwrite=True)


def test_page_is_short_and_names_no_other_place():
    assert len((PAGE / "index.html").read_text().splitlines()) < 150
    for path in (PAGE / "index.html", PAGE / "numpy_random.js"):
        assert "://" not in path.read_text().replace("http://localhost:8000", "")


def test_package_that_is_not_there_has_a_place(tmp_path):
    with pytest.raises(UserError, match=r"Get it from (\S+) and save it as (\S+)\.$") as error:
        onnxruntime_web.fetch(tmp_path, offline=True)
    assert onnxruntime_web.URL in str(error.value)
    place = Path(str(error.value).rpartition(" ")[2].rstrip("."))
    assert place.parent == tmp_path
    place.write_bytes(b"another file")
    with pytest.raises(UserError, match=r"12 bytes, expected 33106585"):
        onnxruntime_web.fetch(tmp_path, offline=True)


# ----------------------------------------------------------------------------
# In Chromium.


@pytest.fixture(scope="module")
def demo(runtime, tmp_path_factory):
    """The page of the demo network, written by the script, with the cache that has the package."""
    folder = tmp_path_factory.mktemp("demo") / "demo.web"
    flags = [f"--output={folder}", "--offline", f"--cache-dir={Path(runtime).parent}"]
    subprocess.run(
        [sys.executable, "run_convert.py", str(DEMO), *flags], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    return folder


def status(window):
    """What the page says when nothing is going on any more."""
    return window.run("""
        const status = document.querySelector("#status");
        while (!(synthesis && wanted === 0) && status.className !== "error")
            await new Promise((done) => setTimeout(done, 10));
        return status.textContent;""")


def enter(window, **values):
    """Fills in the form, layers by their numbers, and waits for the image, uint8 `[H, W, 4]`."""
    window.run(
        """
        const { layers = [], ...values } = arguments[0];
        document.querySelector("#status").className = "";  // of an error before
        document.querySelectorAll("#layers input").forEach((box, i) => box.checked = layers.includes(i));
        for (const name in values) document.getElementById(name).value = values[name];
        document.getElementById("seed").dispatchEvent(new Event("input", { bubbles: true }));""",
        values,
    )
    assert status(window).endswith(" ms"), status(window)
    return pixels(window)


def pixels(window):
    width, height, data = window.run("""
        const canvas = document.querySelector("canvas"), { width, height } = canvas;
        return [width, height, Array.from(canvas.getContext("2d").getImageData(0, 0, width, height).data)];""")
    return np.array(data, np.uint8).reshape(height, width, 4)


def check_same(found, expected):
    """expected: uint8 `[H, W, 3]`."""
    assert found.shape[:2] == expected.shape[:2]
    assert (found[..., 3] == 255).all()
    assert np.abs(found[..., :3] - expected.astype(int)).max() <= 1


def generate(folder, *flags):
    """Images of run_generator.py by name, with the network's own noise."""
    command = [sys.executable, "run_generator.py", *flags, f"--network={DEMO}", "--noise-mode=const"]
    command.append(f"--result-dir={folder}")
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return {path.name: np.array(PIL.Image.open(path)) for path in folder.glob("*/*.png")}


def seconds_to_paint(window, url):
    start = time.monotonic()
    window.open(url)
    assert status(window).startswith("32 wide, 32 high, in ")
    return time.monotonic() - start


def test_demo_network(window, demo, tmp_path):
    images = generate(tmp_path / "images", "generate-images", "--seeds=0,85,4294967295", "--truncation-psi=0.7")
    mixing = ["--row-seeds=85", "--col-seeds=3", "--col-styles=1-3", "--truncation-psi=1"]
    mixed = generate(tmp_path / "mixed", "style-mixing-example", *mixing)
    with browser.served(demo) as url:
        window.requested(), window.errors()  # of pages before
        assert any(
            seconds_to_paint(window, url) < 6 for _ in range(3)
        )  # half as long on a machine that does nothing else
        assert window.run("return [document.title, $('psi').value, $('cutoff').value]") == ["demo", "0.5", "8"]
        for seed in (0, 85, 4294967295):
            check_same(enter(window, seed=seed, psi=0.7), images[f"seed{seed:04d}.png"])
        check_same(enter(window, seed=85, second=3, layers=[1, 2, 3], psi=1), mixed["85-3.png"])
        assert {request.removeprefix(url) or "index.html" for request in window.requested()} == FILES | set(WASM)
        assert window.errors() == []


@pytest.mark.slow  # what stands for a GPU takes a while to translate the operators
def test_demo_network_on_a_gpu(gpu_window, demo):
    images = []
    with browser.served(demo) as url:
        for query in ("", "?gpu"):
            gpu_window.open(url + query)
            status(gpu_window)
            images.append(enter(gpu_window, seed=85, psi=0.7)[..., :3].astype(int))
        assert set(onnxruntime_web.RUNTIMES["webgpu"]) <= {name.removeprefix(url) for name in gpu_window.requested()}
    assert np.abs(images[0] - images[1]).max() <= 1


def test_classes_of_gray_images_that_are_not_square(window, gray, runtime, tmp_path):
    write(gray, runtime, tmp_path / "gray.web")
    with browser.served(tmp_path / "gray.web") as url:
        window.open(url)
        status(window)
        z = np.random.RandomState(7).randn(1, 6)
        for name, label in (("-1", [0, 0, 0]), ("2", [0, 0, 1])):
            for cutoff in (3, 6):
                psi = {"truncation_psi": 0.6, "truncation_cutoff": cutoff}
                image = gray.run(z, np.array([label]), randomize_noise=False, output_transform=OUTPUT, **psi)[0]
                found = enter(window, seed=7, **{"class": name, "psi": 0.6, "cutoff": cutoff})
                check_same(found, np.broadcast_to(image, (16, 8, 3)))


def test_transparent_images(window, runtime, tmp_path):
    net = build(resolution=8, num_channels=4, truncation_psi=None)
    net.source_format = "pytorch"
    write(net, runtime, tmp_path / "sprites.web")
    with browser.served(tmp_path / "sprites.web") as url:
        window.open(url)
        status(window)
        assert window.run("return [$('psi').value, $('cutoff').value, $('classes').hidden]") == ["1", "4", True]
        expected = net.run(np.random.RandomState(5).randn(1, 6), None, randomize_noise=False, output_transform=OUTPUT)[
            0
        ]
        found, expected = enter(window, seed=5).astype(int), expected.astype(int)
        alpha = expected[..., 3:]
        assert 0 < alpha.mean() < 255
        assert np.abs(found[..., 3:] - alpha).max() <= 1
        assert (np.abs(found - expected) * alpha / 255).max() <= 2  # canvases keep colours multiplied by alpha


OUTPUT = {"func": tflib.convert_images_to_uint8, "nchw_to_nhwc": True}


def test_random_numbers(window, demo):
    with browser.served(demo) as url:
        window.open(f"{url}numpy_random.js")
        script = (PAGE / "numpy_random.js").read_text()
        for seed, count in ((0, 512), (1, 513), (85, 64), (6600, 512), (2**31, 7), (2**32 - 1, 2048)):
            found = window.run(f"{script}; return Array.from(randn(arguments[0], arguments[1]));", seed, count)
            expected = np.random.RandomState(seed).randn(count).astype(np.float32)
            assert np.array_equal(np.float32(found), expected), seed


def test_keys_and_saving(window, demo):
    with browser.served(demo) as url:
        window.open(url)
        status(window)
        window.run("HTMLAnchorElement.prototype.click = function () { window.saved = [this.download, this.href]; }")
        shown = enter(window, seed=41, layers=[0], second=7)
        window.keys("\ue014\ue012\ue014")  # right, left, right
        assert status(window).endswith(" ms")
        assert window.run("return $('seed').value") == "42"
        assert not np.array_equal(pixels(window), shown)
        window.keys("s")
        name, data = window.run("return window.saved")
        assert name == "seed0042-0007.png"
        saved = PIL.Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
        assert np.array_equal(np.array(saved.convert("RGBA")), pixels(window))


def test_narrow_and_dark(window, demo, tmp_path):
    with browser.served(demo) as url:
        window.open(url)
        status(window)
        for width, scheme in ((320, "dark"), (390, "light"), (1200, "dark")):
            window.size(width, 800)
            window.prefer(scheme)
            assert window.run("return document.documentElement.scrollWidth") <= width
            window.screenshot(tmp_path / "window.png")
            corner = np.array(PIL.Image.open(tmp_path / "window.png").convert("L"))[-1, 0]
            assert corner > 200 if scheme == "light" else corner < 50


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (WASM[1], r"ort-wasm-simd-threaded.wasm cannot be read from the folder of this page (404)."),
        ("network.json", "network.json cannot be read from the folder of this page."),
        ("synthesis.onnx", "synthesis.onnx has 4 bytes, not "),
    ],
)
def test_broken_folders(window, demo, tmp_path, broken, message):
    folder = shutil.copytree(demo, tmp_path / "broken.web")
    if broken.endswith(".onnx"):
        (folder / broken).write_bytes(b"onnx")
    else:
        (folder / broken).unlink()
    with browser.served(folder) as url:
        window.open(url)
        assert status(window).startswith(message)


def test_opened_from_a_disk(window, demo):
    window.open(f"file://{demo}/index.html")
    assert "python -m http.server" in status(window)


def test_other_places_cannot_be_asked(window, demo):
    with browser.served(demo) as url, browser.served(demo) as other:
        window.open(url)
        fetched = [window.run("return (await fetch(arguments[0], { mode: 'no-cors' })).type", url)]
        with pytest.raises(RuntimeError, match="Failed to fetch"):
            fetched.append(window.run("return (await fetch(arguments[0], { mode: 'no-cors' })).type", other))
        assert fetched == ["basic"]
        assert any("Content Security Policy" in error for error in window.errors())


def test_wrong_numbers(window, demo):
    with browser.served(demo) as url:
        window.open(url)
        status(window)
        with pytest.raises(AssertionError, match="seed: "):
            enter(window, seed=-1)
        enter(window, seed=1)
