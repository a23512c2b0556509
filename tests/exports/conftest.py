"""What tests of exported programs share."""

import shutil
import subprocess
from pathlib import Path

import browser
import pytest

from dnnlib.errors import UserError
from dnnlib.formats import onnxruntime_web


@pytest.fixture(scope="session")
def runtime(tmp_path_factory):
    """The package onnxruntime-web, from the cache or as npm has it."""
    try:
        return onnxruntime_web.fetch(offline=True)
    except UserError as error:
        place = str(error).rpartition(" ")[2].rstrip(".")
    cache = tmp_path_factory.mktemp("cache")
    command = ["npm", "pack", "--silent", f"onnxruntime-web@{onnxruntime_web.VERSION}"]
    if not shutil.which("npm") or subprocess.run(command, cwd=cache, timeout=120, check=False).returncode:
        pytest.skip("needs onnxruntime-web of npm")
    (cache / f"onnxruntime-web-{onnxruntime_web.VERSION}.tgz").rename(cache / Path(place).name)
    return onnxruntime_web.fetch(cache, offline=True)


def _window(*arguments):
    if not (browser.CHROMIUM and browser.CHROMEDRIVER):
        pytest.skip("needs chromium and chromedriver")
    with browser.opened(*arguments) as window:
        yield window


@pytest.fixture(scope="session")
def window():
    """A `Browser`."""
    yield from _window()


@pytest.fixture
def gpu_window():
    """One with a GPU, which is simulated."""
    yield from _window("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
