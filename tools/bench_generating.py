"""Times generating: loading networks, the first image from a cold start, later images."""

import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from timing import in_turns

ROOT = Path(__file__).resolve().parent.parent


# ----------------------------------------------------------------------------
# A config-f pickle of official size.


def write_config_f(path: str, resolution: int) -> None:
    """(G, D, Gs) of config f with random weights."""
    from dnnlib.tflib import Network, network_files

    kwargs = {"num_channels": 3, "resolution": resolution, "label_size": 0}
    G = Network("G", func_name="training.networks_stylegan2.G_main", **kwargs)
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **kwargs)
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
    from dnnlib.tflib import network_files

    network_files.load_pkl(path)


def load_and_build(path: str) -> None:
    """The same, and all three models built."""
    from dnnlib.tflib import network_files

    for net in network_files.load_pkl(path):
        net.prepare()


def _code(call: str) -> str:
    """A program for a new process that calls something here, TensorFlow being imported and started already."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tools')!r}]; import bench_generating, timing; "
    return code + f"import tensorflow as tf; import dnnlib.tflib; tf.zeros([]) + 1; {call}"


def bench_load(path: Path, rounds: int) -> dict[str, float]:
    """Median seconds of the three ways to load, each in new processes, in turns."""
    loaders = (load_plainly, load_networks, load_and_build)
    times: dict[str, list[float]] = {loader.__name__: [] for loader in loaders}
    for _ in range(rounds):
        for name, values in times.items():
            code = _code(f"print(timing.seconds(lambda: bench_generating.{name}({str(path)!r})))")
            values.append(float(subprocess.check_output([sys.executable, "-c", code], stderr=subprocess.DEVNULL)))
    return {name: statistics.median(values) for name, values in times.items()}


def bench_images(path: Path, rounds: int) -> dict[str, float]:
    """An image by the generator, against its convolutions alone."""
    import numpy as np
    import tensorflow as tf

    from dnnlib.tflib import network_files
    from training.image_generation import ImageGenerator
    from training.layers import Conv2D, ModulatedConv2D

    generator = ImageGenerator(network_files.load_pkl(path)[2], truncation_psi=0.5)
    synthesis = generator.synthesis.model
    resolution = synthesis.io_outputs["images_out"][-1]
    convs: list[Callable[[], tf.Tensor]] = []
    for layer in synthesis._flatten_layers():
        if not isinstance(layer, (ModulatedConv2D, Conv2D)):
            continue
        size = int(layer._scope_path.split("/")[-2].split("x")[0])  # G_synthesis/64x64/Conv0_up
        k, _k, in_fmaps, fmaps = layer.weight.shape
        up = getattr(layer, "up", None) or getattr(layer, "conv_kwargs", {}).get("up", False)
        x = tf.constant(np.random.randn(1, *([size // 2 if up else size] * 2), in_fmaps), tf.float32)
        if up:
            w = tf.random.normal([k, k, fmaps, in_fmaps])
            out = [1, size - 2 + k, size - 2 + k, fmaps]
            convs.append(lambda x=x, w=w, out=out: tf.nn.conv2d_transpose(x, w, out, 2, "VALID"))
        else:
            w = tf.random.normal([k, k, in_fmaps, fmaps])
            convs.append(lambda x=x, w=w: tf.nn.conv2d(x, w, 1, "SAME"))
    print(f"{len(convs)} convolutions at {resolution}x{resolution}")
    functions = [tf.function(conv).get_concrete_function() for conv in convs]
    seeds = iter(range(10**6))
    return in_turns(
        {"image": lambda: generator.from_seeds([next(seeds)]), "convolutions": lambda: [f() for f in functions]}, rounds
    )


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


def bench(resolution: int, rounds: int, keep: Path | None) -> None:
    """Measures config f at a resolution and prints a table. The network pickle is written to `keep` and kept there."""
    with tempfile.TemporaryDirectory() as folder:
        path = (keep or Path(folder) / "config-f.pkl").resolve()
        if not path.exists():
            subprocess.run(
                [sys.executable, "-c", _code(f"bench_generating.write_config_f({str(path)!r}, {resolution})")],
                check=True,
            )
        size = path.stat().st_size / 1e6
        cold, memory = bench_cold_start(path)
        load = bench_load(path, rounds)
        image = bench_images(path, rounds)

    print(f"\nGenerating: config f, {resolution}x{resolution}, float32, one image at a time, {size:.0f} MB pickle\n")
    print("| what | measured | target |")
    print("|---|---|---|")
    plain = load["load_plainly"]
    print(f"| plain unpickling + variable assignment | {plain:.2f} s | |")
    for name, title in (("load_networks", "load (G, D, Gs)"), ("load_and_build", "load and build all three")):
        print(f"| {title} | {load[name]:.2f} s, ratio {load[name] / plain:.2f} | at most 1.5 |")
    print(f"| first image, cold start of run_generator.py | {cold:.1f} s | at most 25 s |")
    print(f"| peak memory of that process | {memory:.2f} GB | under 3 GB |")
    print(f"| later images | {image['image']:.3f} s | |")
    print(f"| their convolutions alone | {image['convolutions']:.3f} s | |")
    print(
        f"| speed against bare convolutions | {image['convolutions'] / image['image']:.2f} | 0.5 or more |", flush=True
    )
