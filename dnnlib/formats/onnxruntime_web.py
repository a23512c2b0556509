"""onnxruntime-web, by which web pages compute: a package of npm, few files of which are needed."""

import os
import shutil
import tarfile

from dnnlib import download

VERSION = "1.30.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
SIZE = 33_106_585
RUNTIMES = {
    "wasm": ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
}
"""A program and what it loads, by what they compute on: a CPU, a GPU."""
FILES = tuple(name for names in RUNTIMES.values() for name in names)


def fetch(cache_dir: str | os.PathLike | None = None, offline: bool | None = None) -> str:
    """The path of the package in the cache; downloads it if it is not there. Raises DownloadError."""
    return download.fetch(URL, cache_dir, size=SIZE, sha256=SHA256, offline=offline, replaceable=False)


def extract(package: str, folder: str) -> None:
    """Writes `FILES` of the package to a folder. Raises OSError."""
    with tarfile.open(package) as archive:
        for name in FILES:
            content = archive.extractfile(f"package/dist/{name}")
            with open(os.path.join(folder, name), "wb") as file:
                shutil.copyfileobj(content, file)
