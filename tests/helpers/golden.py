"""Golden data made by running the official code, and the rules by which its inputs and variables are generated.

`tests/goldens` holds the few cases that the tests need. A larger set in the same format can be checked by setting
STYLEGAN2_GOLDENS to its folder; the one of StyleGAN2-ADA, `goldens-ada`, lies beside it.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lane
import numpy as np
import tensorflow as tf

GOLDENS = Path(os.environ.get("STYLEGAN2_GOLDENS") or Path(__file__).parent.parent / "goldens")
ADA_GOLDENS = GOLDENS.with_name("goldens-ada") if "STYLEGAN2_GOLDENS" in os.environ else GOLDENS / "ada"


def index(folder: str, name: str) -> dict[str, Any]:
    """A JSON file of a golden folder."""
    return read_index(GOLDENS / folder / name)


def read_index(path: Path) -> dict[str, Any]:
    """A JSON file."""
    return json.loads(path.read_text())


def arrays(folder: str, name: str) -> dict[str, np.ndarray]:
    """All arrays of an NPZ file of a golden folder."""
    with np.load(GOLDENS / folder / name) as npz:
        return {key: npz[key] for key in npz.files}


def rnd(seed: int, *shape: int) -> np.ndarray:
    """The random input that goldens call rnd(seed, *shape)."""
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def seeded(text: str, shape: Iterable[int]) -> np.ndarray:
    """Normal numbers that belong to a text: a salt and the name of a variable."""
    state = np.random.RandomState(zlib.crc32(text.encode()) & 0xFFFFFFFF)
    return np.asarray(state.randn(*shape)).astype(np.float32)


def variable_value(salt: str, name: str, shape: Iterable[int]) -> np.ndarray:
    """The value of the variable `name` (local name in the whole network) of a golden network."""
    leaf = name.split("/")[-1]
    in_mapping = "G_mapping/Dense" in name
    in_label_mapping = name.startswith("Mapping")  # of discriminators of StyleGAN2-ADA
    if leaf == "dlatent_avg":
        scale = 0.5
    elif leaf.startswith("noise") and leaf != "noise_strength":
        scale = 1.0
    elif leaf == "noise_strength" or name.endswith("Noise/weight") or leaf == "mod_bias":
        scale = 0.1
    elif leaf == "bias":
        scale = 10.0 if in_mapping else 1.0 if in_label_mapping else 0.1
    elif leaf == "weight":
        scale = 100.0 if in_mapping else 10.0 if in_label_mapping else 1.0
    else:  # const, mod_weight
        scale = 1.0
    return seeded(salt + name, shape) * np.float32(scale)


def set_variables(variables: dict[str, Any], salt: str, lod: float = 0.0) -> None:
    """Gives all variables of a network their golden values."""
    for name, variable in variables.items():
        if name.split("/")[-1] == "lod":
            variable.assign(lod)
        else:
            variable.assign(variable_value(salt, name, variable.shape))


def set_lod(variables: dict[str, Any], lod: float) -> None:
    """Sets every `lod` of a network."""
    for name, variable in variables.items():
        if name.split("/")[-1] == "lod":
            variable.assign(lod)


def close(actual: Any, golden: np.ndarray, tolerance: float) -> None:
    """Asserts max |difference| <= tolerance * max(1, max |golden|)."""
    _within(actual, golden, tolerance, 1.0)


def close_relative(actual: Any, golden: np.ndarray, tolerance: float, floor: float = 1e-30) -> None:
    """Asserts max |difference| <= tolerance * max |golden|, or floor if that is more."""
    _within(actual, golden, tolerance, floor / tolerance)


def _within(actual: Any, golden: np.ndarray, tolerance: float, least: float) -> None:
    """Asserts |difference| <= tolerance * max(least, |golden|), where || is the maximum, or what `lane` measures by."""
    actual, golden = np.asarray(actual), np.asarray(golden)
    assert actual.shape == golden.shape, (actual.shape, golden.shape)
    error = lane.size(actual.astype(np.float64) - golden)
    bound = lane.values(tolerance) * max(least, lane.size(golden.astype(np.float64)))
    assert error <= bound, f"difference {error:.3e} > {bound:.3e}"


def check_pixels(actual: np.ndarray, golden: np.ndarray) -> None:
    """Asserts that uint8 images differ by one level at most, and on fewer than 0.5 % of the values.

    That is of float32: what other types may, `close` says of the images that pixels are made of.
    """
    if lane.PRECISION == "fp32":
        difference = np.abs(actual.astype(int) - golden)
        assert difference.max() <= 1 and np.mean(difference > 0) < 0.005


def check_gradients(
    names: list[str],
    gradients: list[np.ndarray | None],
    shapes: list[tuple],
    golden: dict[str, np.ndarray],
    prefix: str,
    tolerance: float = 1e-3,
) -> None:
    """Compares gradients with the golden norms, projections and full arrays under `prefix` ('grad1/')."""
    largest = golden[prefix + "norm"].max()
    for i, (name, gradient, shape) in enumerate(zip(names, gradients, shapes, strict=True)):
        gradient = np.zeros(shape) if gradient is None else np.asarray(gradient, np.float64)
        norm = golden[prefix + "norm"][i]
        if norm < 1e-4 * largest:
            continue
        bound = lane.gradients(tolerance) * lane.unit_of_gradients(norm, golden[prefix + "norm"]) + 1e-6
        assert abs(np.linalg.norm(gradient) - norm) <= bound, (prefix, name, np.linalg.norm(gradient), norm)
        projection = np.sum(gradient * seeded("proj:" + name, shape).astype(np.float64))
        assert abs(projection - golden[prefix + "proj"][i]) <= bound, (prefix, name, projection)
        full = golden.get(f"{prefix}full/{name}")
        if full is not None:
            assert np.linalg.norm(gradient - full) <= bound, (prefix, name)


def check_op(
    op: Callable[..., tf.Tensor],
    inputs: dict[str, np.ndarray],
    seed_ny: int,
    data: dict[str, np.ndarray],
    prefix: str,
    variables: dict[str, Any] | None = None,
    tolerance: float = 1e-5,
    floor: float = 1e-30,
) -> None:
    """Compares y, first (g1) and second (g2) gradients of `op(*inputs)` with the golden ones.

    inputs and variables (which op uses) are in the order of the goldens.
    """
    op = lane.cast(op)
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    variables = variables or {}
    names = [*inputs, *variables]

    @tf.function
    def gradients():
        values = list(inputs.values())
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(values)
            with tf.GradientTape() as inner:
                inner.watch(values)
                y = op(*values)
                ny = tf.constant(rnd(seed_ny, *y.shape))
                outer.watch(ny)
                loss = tf.reduce_sum(y * ny)
            sources = [*values, *variables.values()]
            g1 = inner.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            second = tf.add_n([tf.reduce_sum(g * rnd(seed_ny + 1 + j, *g.shape)) for j, g in enumerate(g1)])
        g2 = outer.gradient(second, [*sources, ny], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return y, g1, g2

    y, g1, g2 = gradients()
    close_relative(y, data[prefix + "/y"], tolerance)
    for name, gradient in zip(names, g1, strict=True):
        close_relative(gradient, data[f"{prefix}/g1/{name}"], tolerance)
    for name, gradient in zip([*names, "ny"], g2, strict=True):
        close_relative(gradient, data[f"{prefix}/g2/{name}"], tolerance, floor)
