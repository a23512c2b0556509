"""`run_generator.py view`: networks and files are read, and a page of them is served, or one picture is saved."""

import contextlib
import io
import json
import os
import threading
import time
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dnnlib
from dnnlib.errors import Problems, UserError
from dnnlib.pictures import save_image

from ..conventions import Rendering
from . import server
from .picture import NOISE_MODES, ROW, Facts, parse, png

_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_SECONDS_TO_END = 5


def view(
    networks: Sequence[str],
    dlatents: Sequence[str] = (),
    directions: Sequence[str] = (),
    state: str = "",
    save: bool = False,
    host: str = "localhost",
    port: int = 8000,
    open_browser: bool = False,
    image_format: str = "png",
    **rendering: Any,
) -> None:
    """Serves a page on which one plays with networks, until Ctrl-C.

    Args:
        networks: names, URLs or paths of the networks.
        dlatents: paths of files of vectors; each has to fit a network at least.
        directions: paths of files of directions; likewise.
        state: the picture that the page begins with, see `picture.parse`.
        save: save this picture as `picture.png` in the run folder, in place of serving a page.
        host, port: where to listen; port 0: one that is free.
        open_browser: open the page in the browser of this machine.
        image_format: of the picture that is saved.
        rendering: allow_tf32, cache_dir and offline, as in `Rendering`.
    """
    stage = _stage(networks, dlatents, directions, Rendering(image_format=image_format, **rendering))
    problems = Problems()
    with problems.gather("--state"):
        picture = parse(state, stage.facts)
    problems.report()
    if save:
        save_image(stage.render(picture), dnnlib.make_run_dir_path(f"picture.{image_format}"))
        return
    stage.render(picture)
    turns = server.Turns()
    site = _Site(stage, turns, state)
    listening = server.Server(host, port, site.answer)
    shown = host if ":" not in host else f"[{host}]"
    address = listening.server_address[0]
    if not server.is_local(address):
        print(
            f"warn: --host={host}: everybody who reaches this machine by the network can see and make images of these "
            "networks, without a password, and whoever is on the way can see them, too."
        )
        shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(address, shown)
    url = f"http://{shown}:{listening.port}/"
    try:
        print(f"The page is at {url} (Ctrl-C ends it).", flush=True)
        threading.Thread(target=_warm_up, args=[stage, turns], daemon=True).start()
        if open_browser:
            threading.Thread(target=_open, args=[url], daemon=True).start()
        listening.serve_forever()
    except KeyboardInterrupt:
        print("The page has ended.")
    finally:
        listening.server_close()
        turns.end(_SECONDS_TO_END)


def _warm_up(stage: Any, turns: server.Turns) -> None:
    """Renders a picture of each kind, between those that are asked for: the first one of a kind takes a while."""
    ways = ("", "&psi=1", "&noise=seed", "&x=0.5", "&x=0.5&space=z")
    for index, facts in enumerate(stage.facts):
        for query in (*ways, *(f"{way}&direction=0:1" for way in ways[:4] if facts.directions)):
            with contextlib.suppress(server.Refused), turns.turn(server.Request("", "")):
                stage.render(parse(f"network={index}{query}", stage.facts))


def _open(url: str) -> None:
    if not webbrowser.open(url):
        print(f"--open: there is no browser here; open {url} elsewhere.")


def _stage(networks: Sequence[str], files: Sequence[str], direction_files: Sequence[str], rendering: Rendering) -> Any:
    """Reads networks, and files, of which each has to fit one of them. Raises UserError for all that cannot be."""
    import tensorflow as tf

    import pretrained_networks
    from dnnlib.tflib import settings

    from .. import directions, vector_files
    from ..image_generator import ImageGenerator
    from ..points import load_vectors
    from .stage import Stage, facts_of

    settings.allow_tf32(rendering.allow_tf32)
    tf.get_logger().setLevel("ERROR")  # it warns of functions that are traced for each of the eight kinds of pictures
    problems = Problems()
    facts, generators, sliders, flags = [], [], [], []
    left = _Left()
    for name in networks:
        with problems.gather():
            print(f'Loading networks from "{name}"...')
            net = pretrained_networks.load_generator(name, rendering.cache_dir, rendering.offline)
            fitting = left.fitting("--dlatents", files, lambda path, net=net: vector_files.load(path, net))
            moving = left.fitting("--directions", direction_files, lambda path, net=net: directions.load(path, net))
            names, vectors = load_vectors({path: [path] for path in fitting}, net)
            images = ImageGenerator(net, replace(rendering, noise_mode="const"), vectors)
            single = {name: path if len(of) == 1 else None for path, of in names.items() for name in of}
            of_files = [(way, flag) for path, ways in moving.items() for way, flag in _flags(path, ways)]
            facts.append(facts_of(name, images, single, [(way.name, flag) for way, flag in of_files]))
            generators.append(images)
            sliders.append([way for way, _ in of_files])
            flags.append([*_listed("--dlatents", [*fitting]), *_listed("--directions", [*moving])])
    problems.messages += left.problems(facts)
    problems.report()
    options = [f"--cache-dir={rendering.cache_dir}"] if rendering.cache_dir else []
    options += ["--offline"] * bool(rendering.offline) + ["--allow-tf32"] * bool(rendering.allow_tf32)
    return Stage(facts, generators, sliders, flags, options)


def _listed(flag: str, paths: Sequence[str]) -> list[str]:
    """A flag with some files: once, unless one of their names has commas."""
    parts = paths if any("," in path for path in paths) else [",".join(paths)] * bool(paths)
    return [f"{flag}={part}" for part in parts]


def _flags(path: str, ways: Sequence[Any]) -> list[tuple[Any, str]]:
    """The directions of a file, each with what the flag --direction calls it: its index, unless that names another."""
    names = [way.name for way in ways]
    return [(way, f"{path}:{way.name if str(idx) in names else idx}") for idx, way in enumerate(ways)]


class _Left:
    """Files that fit none of the networks so far, and why not the last one."""

    def __init__(self) -> None:
        self._fit: set[tuple[str, str]] = set()
        self._why: dict[tuple[str, str], str] = {}

    def fitting(self, flag: str, paths: Sequence[str], load: Callable[[str], Any]) -> dict[str, Any]:
        """What is in the files that fit a network, by path. load: reads one; raises UserError where it does not fit."""
        found = {}
        for path in paths:
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # notes, which are shown when it is read for good
                    found[path] = load(path)
                self._fit.add((flag, path))
            except UserError as error:
                self._why[flag, path] = str(error)
        return found

    def problems(self, facts: Sequence[Facts]) -> list[str]:
        """Of each file that fits no network. facts: of the networks that there are, of which a file may be."""
        wrong = {key: why for key, why in self._why.items() if key not in self._fit} if facts else {}
        return [f"{flag}: {line}" for (flag, _), why in wrong.items() for line in why.splitlines()]


# ----------------------------------------------------------------------------
# What the page asks for.


class _Site:
    """Answers the requests of the page.

    stage: a `Stage`. turns: see `server.Turns`. state: what the page begins with.
    """

    def __init__(self, stage: Any, turns: server.Turns, state: str):
        self._stage = stage
        self._turns = turns
        self._files = {
            f"/{path.name}": server.Answer(path.read_bytes(), f"{_TYPES[path.suffix]}; charset=utf-8")
            for path in _PAGE.iterdir()
        }
        self._files["/"] = self._files.pop("/index.html")
        networks = [{**asdict(facts), "title": _title(facts.name)} for facts in stage.facts]
        for network in networks:
            network["vectors"] = list(network["vectors"])
            network["directions"] = [name for name, _ in network["directions"]]
        notes = {"networks": networks, "state": state, "row": ROW, "noise_modes": NOISE_MODES}
        self._files["/networks.json"] = server.Answer(json.dumps(notes).encode(), "application/json")

    def answer(self, request: server.Request) -> server.Answer:
        """See `server.Server`."""
        if request.path in self._files:
            return self._files[request.path]
        if request.path not in ("/picture", "/vector"):
            return server.Answer(b"There is nothing of this name.", status=404)
        picture = parse(request.query, self._stage.facts)
        with self._turns.turn(request):
            begin = time.perf_counter()
            if request.path == "/vector":
                return server.Answer(self._stage.vector(picture), "application/octet-stream")
            image = self._stage.render(picture)
            milliseconds = (time.perf_counter() - begin) * 1000
        command = quote(self._stage.command(picture), safe=" ", errors="replace")
        headers = (("Command", command), ("Milliseconds", f"{milliseconds:.1f}"))
        return server.Answer(png(image), "image/png", headers=headers)


def _title(name: str) -> str:
    """What the page calls a network: its file without folders."""
    return os.path.splitext(os.path.basename(name.rstrip("/")))[0] or name
