"""Times generating: images against their convolutions alone, loading networks, a cold start, the help of scripts."""

import concurrent.futures
import functools
import itertools
import multiprocessing
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dnnlib.command_line import import_tensorflow_quietly

from .table import PRECISIONS, Case, Figure, Options, Row, seconds_text
from .timing import in_turns, run_all, seconds

ROOT = Path(__file__).resolve().parents[2]
_RESOLUTION = 1024
_MINIBATCHES = [1, 4]

# ----------------------------------------------------------------------------
# Networks of official size.


def network(name: str, config: str, resolution: int, precision: str = "fp32", **kwargs: Any) -> Any:
    """G, D or Gs of a configuration, with random weights. kwargs: other arguments than the configuration's."""
    from dnnlib.tflib import Network
    from training.options.configs import config_kwargs

    args = {**config_kwargs(config)[f"{name[0]}_args"], **PRECISIONS[precision], **kwargs}
    return Network(name, num_channels=3, resolution=resolution, label_size=0, **args)


def write_networks(path: str, config: str, resolution: int) -> None:
    """(G, D, Gs) of a configuration, with random weights."""
    from dnnlib.tflib.checkpoints import network_files

    G, D = (network(name, config, resolution) for name in "GD")
    network_files.save_pkl((G, D, G.clone("Gs")), path)


# ----------------------------------------------------------------------------
# The measurements.


class _Stub:
    """A network as the plainest reader would have it: its state."""

    def __setstate__(self, state: dict) -> None:
        self.state = state

    def arrays(self) -> list:
        """The values of all variables."""
        nested = [array for component in self.state["components"].values() for array in component.arrays()]
        return [value for _name, value in self.state["variables"]] + nested


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        return _Stub if name == "Network" else super().find_class(module, name)


def load_plainly(path: str) -> None:
    """Plain unpickling, and the assignment of as many variables."""
    import tensorflow as tf

    with open(path, "rb") as file:
        nets = _PlainUnpickler(file, encoding="latin1").load()
    values = [array for net in nets for array in net.arrays()]
    variables = [tf.Variable(tf.zeros(value.shape)) for value in values]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def load_networks(path: str) -> None:
    """What `pretrained_networks.load_networks` does: read and compare; a model is built when it is first used."""
    from dnnlib.tflib.checkpoints import network_files

    network_files.load_pkl(path)


def load_and_build(path: str) -> None:
    """The same, and all three models built."""
    from dnnlib.tflib.checkpoints import network_files

    for net in network_files.load_pkl(path):
        net.prepare()


def loading_seconds(loader: Callable[[str], None], path: str) -> float:
    """How long a way to load takes, TensorFlow being imported and started already."""
    import tensorflow as tf

    tf.zeros([]) + 1
    return seconds(lambda: loader(path))


def _in_new_process(function: Callable, *args: Any) -> Any:
    """What a function returns in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, initializer=import_tensorflow_quietly) as pool:
        return pool.submit(function, *args).result()


def bench_load(path: str, rounds: int) -> dict[str, float]:
    """Median seconds of the three ways to load, each in new processes, in turns."""
    loaders = (load_plainly, load_networks, load_and_build)
    times = [[_in_new_process(loading_seconds, loader, path) for loader in loaders] for _ in range(rounds)]
    medians = map(statistics.median, zip(*times, strict=True))
    return {loader.__name__: median for loader, median in zip(loaders, medians, strict=True)}


def bench_images(case: Case, rounds: int) -> dict[str, float]:
    """Images by the generator, against its convolutions alone."""
    from generation.conventions import Rendering
    from generation.image_generator import ImageGenerator

    from .convolutions import convolutions

    Gs = network("Gs", case.config, case.resolution, case.precision)
    generator = ImageGenerator(Gs, Rendering(truncation_psi=0.5))
    functions = [conv.calls(case.minibatch)[0] for conv in convolutions(generator.synthesis, case.precision)]
    seeds = itertools.count()
    calls = {
        "images": lambda: generator.from_seeds([next(seeds) for _ in range(case.minibatch)]),
        "convolutions": lambda: run_all(functions),
    }
    return in_turns(calls, rounds)


def bench_cold_start(path: str) -> tuple[float, float]:
    """Seconds and peak memory (GB) of a new process that renders one image."""
    command = [sys.executable, ROOT / "run_generator.py", "generate-images", f"--network={path}", "--seeds=1"]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _pid, status, usage = os.wait4(process.pid, 0)
        taken = time.perf_counter() - start
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    return taken, usage.ru_maxrss / 2**20


def bench(options: Options) -> Iterator[Row]:
    """Images from seeds: random numbers and conversion to uint8 included."""
    for case in options.cases([_RESOLUTION], _MINIBATCHES):
        times = bench_images(case, options.rounds)
        yield Row("generating", "generation", *case, times["images"], times["convolutions"])


def bench_loading(options: Options) -> Iterator[Figure]:
    """Loading networks, and the first image."""
    resolution = options.resolution or _RESOLUTION
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "networks.pkl")
        _in_new_process(write_networks, path, options.config, resolution)
        size = os.path.getsize(path) / 1e6
        cold, memory = bench_cold_start(path)
        load = bench_load(path, options.rounds)
    what = f"{options.config}, {resolution}x{resolution}, {size:.0f} MB"
    plain = load["load_plainly"]
    yield Figure(f"{what}: plain unpickling and variable assignment", f"{plain:.2f} s")
    for name, title in (("load_networks", "load (G, D, Gs)"), ("load_and_build", "load and build all three")):
        yield Figure(f"{what}: {title}", f"{load[name]:.2f} s, ratio {load[name] / plain:.2f}", "at most 1.5")
    yield Figure(f"{what}: first image, cold start of run_generator.py", f"{cold:.1f} s", "at most 25 s")
    yield Figure(f"{what}: peak memory of that process", f"{memory:.2f} GB", "under 3 GB")


def bench_start_up(options: Options) -> Iterator[Figure]:
    """The help of each script."""
    scripts = [path for path in sorted(ROOT.glob("*.py")) if '__name__ == "__main__"' in path.read_text()]
    run = functools.partial(subprocess.run, check=True, stdout=subprocess.DEVNULL)
    calls = {path.name: functools.partial(run, [sys.executable, path, "--help"]) for path in scripts}
    for name, taken in in_turns(calls, options.rounds).items():
        yield Figure(f"{name} --help", seconds_text(taken), "under 1 s")
