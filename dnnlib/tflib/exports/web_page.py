"""A generator as a page for browsers: a folder of static files, which compute by onnxruntime-web in WebAssembly."""

import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from dnnlib import files
from dnnlib.formats import onnxruntime_web
from dnnlib.formats.program_options import ProgramOptions
from dnnlib.tflib.network import Network

from . import onnx_file
from .programs import Program

_PAGE = Path(__file__).parent / "page"
_MODELS = {"mapping.onnx": {"entry": "mapping"}, "synthesis.onnx": {"entry": "w", "image": "uint8-nhwc"}}


def write(net: Network, options: ProgramOptions, runtime: str | None, path: str) -> list[str]:
    """Writes a page to a new folder; its models are run by onnxruntime and compared. Returns lines on it.

    runtime: path of `onnxruntime_web`'s package; None: it is fetched. Raises VerificationError where models compute
    something else, DownloadError, OSError.
    """
    os.mkdir(path)
    lines = []
    for name, changes in _MODELS.items():
        model = os.path.join(path, name)
        lines += [f"{name}: {line}" for line in onnx_file.write(net, replace(options, **changes), model)]
    onnxruntime_web.extract(runtime or onnxruntime_web.fetch(), path)
    for file in _PAGE.iterdir():
        shutil.copy(file, path)
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(path)}
    title = os.path.splitext(os.path.basename(path))[0]
    with open(os.path.join(path, "network.json"), "w", encoding="utf-8") as file:
        runtimes = {"runtimes": onnxruntime_web.RUNTIMES, "files": sizes}
        json.dump({"title": title, **_notes(net, options), **runtimes}, file, indent=1)
    of_runtime = files.format_size(sum(sizes[name] for name in onnxruntime_web.FILES))
    whole = files.format_size(sum(sizes.values()))
    return [*lines, f"{whole}, of which onnxruntime-web {onnxruntime_web.VERSION} is {of_runtime}"]


def lines_of(_nets: Any, path: str) -> list[str]:
    """How a page is looked at."""
    return [f"to look at it: python -m http.server --directory {shlex.quote(path)}, and open http://localhost:8000"]


def _notes(net: Network, options: ProgramOptions) -> dict[str, Any]:
    """What the page has to know of a network."""
    notes = Program(net, options).notes()
    numbers = ("latent_size", "label_size", "num_layers", "truncation_psi", "truncation_cutoff")
    return {"source_format": notes["source_format"], **{name: float(notes[name]) for name in numbers}}
