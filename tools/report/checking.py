"""Checks on this machine's device: the tests that compare with golden data, without pytest, and official pixels.

Golden data was made by the official code in float32 on a CPU; `tests/helpers/golden.py` has the tolerances.
"""

import importlib
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from .records import Record

TESTS = Path(__file__).resolve().parents[2] / "tests"
GROUPS = {
    "networks": [
        ("nets/test_networks.py", ["test_generator_images", "test_discriminator", "test_generator_gradients"])
    ],
    "pickles": [
        ("tflib/test_pickles.py", ["test_official_pickle"]),
        ("nets/test_ada_networks.py", ["test_official_pickle"]),
        ("tflib/test_torch_networks.py", ["test_official_pickle"]),
    ],
    "losses": [
        ("training/test_loss.py", ["test_official_values"]),
        ("training/test_ada_loss.py", ["test_official_values"]),
    ],
    "steps": [
        ("training/test_training_step.py", ["test_official_steps"]),
        ("training/test_ada_steps.py", ["test_official_loop"]),
    ],
    "ops": [
        ("ops/test_ops.py", ["test_upfirdn", "test_fused_bias_act", "test_third_order_gradient", "test_dtypes"]),
        ("nets/test_layers.py", ["test_layer"]),
        (
            "ops/test_kernels_in_tensorflow.py",
            ["test_resampling", "test_upfirdn", "test_bias_act", "test_epilogue", "test_16_bit"],
        ),
        ("ops/test_variable_ops.py", ["test_adam", "test_average", "test_random_numbers"]),
    ],
    "augmentation": [
        ("training/test_augment.py", ["test_percentiles", "test_random_parameters", "test_second_gradient"])
    ],
    "metrics": [("metrics/test_metric_nets.py", ["test_resize"])],
    "projector": [("projection/test_projector.py", ["test_official_projector"])],
}


def cases(function: Callable) -> Iterator[tuple[str, dict[str, Any]]]:
    """The cases of a parametrized test: what tells them apart, and the arguments."""
    axes = []
    for mark in getattr(function, "pytestmark", []):
        if mark.name == "parametrize":
            names, values = mark.args[:2]
            names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
            rows = [
                getattr(value, "values", value) if hasattr(value, "marks") or len(names) > 1 else (value,)
                for value in values
            ]
            axes.append([dict(zip(names, row, strict=True)) for row in rows])
    for parts in itertools.product(*axes):
        arguments = {name: value for part in parts for name, value in part.items()}
        yield ", ".join(str(value)[:40] for value in arguments.values()), arguments


def run_case(function: Callable, arguments: dict[str, Any]) -> str:
    """'passed', 'skipped', or what went wrong, in one line."""
    wanted = function.__code__.co_varnames[: function.__code__.co_argcount]
    eagerly = "eagerly" in wanted
    if unknown := [name for name in wanted if name not in arguments and name != "eagerly"]:
        return f"cannot run without pytest: needs {', '.join(unknown)}"
    tf.config.run_functions_eagerly(eagerly)
    try:
        function(**arguments, **({"eagerly": None} if eagerly else {}))
        return "passed"
    except BaseException as error:
        if type(error).__name__ == "Skipped":
            return "skipped"
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        traceback.print_exc(limit=-4)
        return f"{type(error).__name__}: {error}".split("\n")[0][:300]
    finally:
        tf.config.run_functions_eagerly(False)


def goldens(
    groups: list[str], at_most: int | None = None, folder: str | None = None, seconds: float = 600
) -> Iterator[Record]:
    """Golden tests of some groups; a row for each test function.

    at_most: cases of each function; None: all. folder: of the large set; None: tests/goldens. seconds: for everything,
    of which each function gets its share: its cases that do not begin in that time are not run.
    """
    if folder is not None:
        os.environ["STYLEGAN2_GOLDENS"] = folder
    if tf.config.list_physical_devices("GPU"):  # tests/helpers/lane.py has what convolutions of GPUs may be off
        os.environ.setdefault("STYLEGAN2_TEST_DEVICE", "gpu")
    functions = [(group, path, name) for group in groups for path, names in GROUPS[group] for name in names]
    end = time.monotonic() + seconds
    for number, (group, path, name) in enumerate(functions):
        now = time.monotonic()
        yield _run_function(group, path, name, at_most, now + (end - now) / (len(functions) - number))


def _run_function(group: str, path: str, name: str, at_most: int | None, end: float) -> Record:
    title, cells = "Checks against golden data", {"what": group, "test": f"{path}::{name}"}
    start, results, late = time.monotonic(), {}, 0
    if str((TESTS / path).parent) not in sys.path:
        sys.path.insert(0, str((TESTS / path).parent))
    try:
        function = getattr(importlib.import_module(Path(path).stem), name)
    except Exception as error:  # a package that tests need and this machine lacks
        traceback.print_exc(limit=-4)
        reason = f"cannot be imported: {type(error).__name__}: {error}"[:300]
        return Record(title, {**cells, "first failure": reason}, False)
    for label, arguments in itertools.islice(cases(function), at_most):
        if results and time.monotonic() > end:
            late += 1
        else:
            results[label] = run_case(function, arguments)
    failed = {label: result for label, result in results.items() if result not in ("passed", "skipped")}
    counts = {kind: sum(result == kind for result in results.values()) for kind in ("passed", "skipped")}
    first = next((f"{label}: {result}" for label, result in failed.items()), None)
    cells |= {**counts, "failed": len(failed), "no time for": late, "s": time.monotonic() - start}
    return Record(title, {**cells, "first failure": first}, not failed and (counts["passed"] > 0 or None))


def pixels(folder: str | None = None) -> Iterator[Record]:
    """Images of the official `generate-images`, pixel by pixel: at most one level off, on fewer than 0.5 %."""
    from dnnlib.tflib.checkpoints import network_files
    from generation.conventions import Rendering
    from generation.image_generator import ImageGenerator

    root = Path(folder) if folder else TESTS / "goldens"
    runs = json.loads((root / "cli" / "runs.json").read_text())["runs"]
    with np.load(root / "cli" / "images.npz") as arrays:
        official = dict(arrays)
    for run in runs:
        path = root / "pickles" / run["pkl"]
        if run["argv"][0] != "generate-images" or not path.exists():
            continue
        psi = next((float(arg.split("=")[1]) for arg in run["argv"] if "truncation-psi" in arg), 0.5)
        generator = ImageGenerator(network_files.load_pkl(str(path))[2], Rendering(truncation_psi=psi))
        prefix = f"{Path(run['run_dir']).name}/seed"
        seeds = [int(key.removeprefix(prefix).removesuffix(".png")) for key in official if key.startswith(prefix)]
        images = generator.from_seeds(seeds)
        expected = np.stack([official[f"{prefix}{seed:04d}.png"] for seed in seeds])
        difference = np.abs(images.reshape(expected.shape).astype(int) - expected)
        share = 100 * float(np.mean(difference > 0))
        cells = {
            "network": run["pkl"],
            "images": len(seeds),
            "largest difference": int(difference.max()),
            "% differ": share,
        }
        yield Record("Official pixels", cells, bool(difference.max() <= 1 and share < 0.5))
