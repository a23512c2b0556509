"""Times generating: images against their convolutions alone, loading networks, a cold start, the help of scripts."""

import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .table import PRECISIONS, Figure, Options, Row, implementation, implementations, seconds_text
from .timing import in_turns

ROOT = Path(__file__).resolve().parents[2]
_RESOLUTION = 1024
_MINIBATCHES = [1, 4]

# ----------------------------------------------------------------------------
# Networks of official size.


def _network(name: str, config: str, resolution: int, **kwargs: Any) -> Any:
    """G or D of a configuration, with random weights."""
    from dnnlib.tflib import Network
    from training.options.configs import config_kwargs

    args = config_kwargs(config)[f"{name[0]}_args"]
    return Network(name, num_channels=3, resolution=resolution, label_size=0, **args, **kwargs)


def write_networks(path: str, config: str, resolution: int) -> None:
    """(G, D, Gs) of a configuration, with random weights."""
    from dnnlib.tflib.checkpoints import network_files

    G, D = (_network(name, config, resolution) for name in "GD")
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


def _code(call: str) -> str:
    """A program for a new process that calls something here, TensorFlow being imported and started already."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools.benchmarks import generating, timing; "
    return code + f"import tensorflow as tf; import dnnlib.tflib; tf.zeros([]) + 1; {call}"


def bench_load(path: Path, rounds: int) -> dict[str, float]:
    """Median seconds of the three ways to load, each in new processes, in turns."""
    loaders = (load_plainly, load_networks, load_and_build)
    times: dict[str, list[float]] = {loader.__name__: [] for loader in loaders}
    for _ in range(rounds):
        for name, values in times.items():
            code = _code(f"print(timing.seconds(lambda: generating.{name}({str(path)!r})))")
            values.append(float(subprocess.check_output([sys.executable, "-c", code], stderr=subprocess.DEVNULL)))
    return {name: statistics.median(values) for name, values in times.items()}


def bench_images(config: str, resolution: int, minibatch: int, precision: str, rounds: int) -> dict[str, float]:
    """Images by the generator, against its convolutions alone."""
    from generation.conventions import Rendering
    from generation.image_generator import ImageGenerator

    from .convolutions import convolutions

    Gs = _network("Gs", config, resolution, **PRECISIONS[precision])
    generator = ImageGenerator(Gs, Rendering(truncation_psi=0.5))
    functions = [conv.calls(minibatch)[0] for conv in convolutions(generator.synthesis, precision)]
    seeds = iter(range(10**9))
    calls = {
        "images": lambda: generator.from_seeds([next(seeds) for _ in range(minibatch)]),
        "convolutions": lambda: [function() for function in functions],
    }
    return in_turns(calls, rounds)


def bench_cold_start(path: Path) -> tuple[float, float]:
    """Seconds and peak memory (GB) of a new process that renders one image."""
    command = ["generate-images", f"--network={path}", "--seeds=1"]
    code = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['run_generator.py', *{command}]; "
    code += f"runpy.run_path({str(ROOT / 'run_generator.py')!r}, run_name='__main__'); import resource; "
    code += "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        output = subprocess.check_output([sys.executable, "-c", code], cwd=folder, stderr=subprocess.DEVNULL, text=True)
        taken = time.perf_counter() - start
    return taken, int(output.rsplit("peak", 1)[1]) / 2**20


def bench(options: Options) -> Iterator[Row]:
    """Images from seeds: random numbers and conversion to uint8 included."""
    resolution = options.resolution or _RESOLUTION
    for minibatch in options.minibatches or _MINIBATCHES:
        for precision in options.precisions:
            for impl in implementations(options.impls):
                case = options.config, resolution, minibatch, precision
                with implementation(impl):
                    times = bench_images(*case, options.rounds)
                yield Row("generating", "generation", *case, impl, times["images"], times["convolutions"])


def bench_loading(options: Options) -> Iterator[Figure]:
    """Loading networks, and the first image."""
    resolution = options.resolution or _RESOLUTION
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "networks.pkl"
        write = _code(f"generating.write_networks({str(path)!r}, {options.config!r}, {resolution})")
        subprocess.run([sys.executable, "-c", write], check=True)
        size = path.stat().st_size / 1e6
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
    commands = {path.name: [sys.executable, path, "--help"] for path in scripts}
    calls = {
        name: lambda command=command: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for name, command in commands.items()
    }
    for name, taken in in_turns(calls, options.rounds).items():
        yield Figure(f"{name} --help", seconds_text(taken), "under 1 s")
