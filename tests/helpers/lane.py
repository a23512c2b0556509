"""With what the golden tests compute: on a GPU in every implementation, precision and layout, see tools/test_gpu.py.

The environment says it, a process each, because TensorFlow keeps most of it for a whole process:

    STYLEGAN2_TEST_DEVICE     gpu; cpu plays one, to rehearse; without it tests are the ordinary ones
    STYLEGAN2_TEST_PRECISION  fp32, tf32, fp16 or bf16
    STYLEGAN2_TEST_LAYOUT     nhwc, or optimizer: TensorFlow's layout optimizer chooses
    STYLEGAN2_OPS             cuda, cpu or ref
"""

import importlib.machinery
import os
import sys
import types
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from dnnlib.tflib import settings

DEVICE = os.environ.get("STYLEGAN2_TEST_DEVICE", "")
PRECISION = os.environ.get("STYLEGAN2_TEST_PRECISION", "fp32")
LAYOUT = os.environ.get("STYLEGAN2_TEST_LAYOUT", "nhwc")
IMPL = os.environ.get("STYLEGAN2_OPS", "auto")


class Tolerance(NamedTuple):
    """How far results may be from goldens, where a test demands more.

    values: images, scores, losses, single ops, in units of the largest number. gradients: their norms and what they are
    projected on, in units of the norm. steps: weights after three updates, in their own units.
    """

    values: float
    gradients: float
    steps: float


TOLERANCES = {
    # cuDNN may choose Winograd's or Fourier's way to convolve, which round about ten times as much as plain sums do. A
    # unit near a kink of its activation turns that into more of a gradient, and Adam's first updates, which have nearly
    # the same length for every gradient, into a fifth of an update where a gradient has almost cancelled.
    "fp32": Tolerance(5e-5, 5e-3, 1e-3),
    # 10 bits of what is multiplied are left, so a product is 5e-4 of itself away; then as above, in all layers. Rounded
    # like that on a CPU, penalties were up to 0.11 and second gradients up to 0.15 away.
    "tf32": Tolerance(0.15, 0.2, 2e-2),
    "fp16": Tolerance(2e-2, 0.1, 2e-2),  # as many bits, of all feature maps
    "bf16": Tolerance(0.15, 0.5, 2e-2),  # 7 bits
}
_DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
DTYPE = _DTYPES.get(PRECISION, "float32")
"""Of feature maps."""
_LEAST = TOLERANCES[PRECISION] if DEVICE else Tolerance(0, 0, 0)


def values(tolerance: float) -> float:
    """The tolerance of values where a test, on a CPU in float32, has this one."""
    return max(tolerance, _LEAST.values)


def gradients(tolerance: float) -> float:
    """The same of gradients."""
    return max(tolerance, _LEAST.gradients)


def size(array: np.ndarray) -> float:
    """How large an array is: its largest number; where roundings put some units on the other side of a kink of their
    activation, which changes them altogether, the root mean square."""
    if _LEAST.values > 1e-3:
        return float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0
    return float(np.max(np.abs(array), initial=0))


def unit_of_gradients(norm: float, norms: np.ndarray) -> float:
    """What the tolerance of a variable's gradient is counted in: its norm, or where roundings are all that is left of
    some after it has nearly cancelled, that of all variables together."""
    return float(np.linalg.norm(norms)) if _LEAST.values > 1e-3 else norm


def steps(tolerance: float) -> float:
    """The same of weights after updates."""
    return max(tolerance, _LEAST.steps)


# ----------------------------------------------------------------------------
# Precision.


def only_float32() -> None:
    """Skips a test whose computations are in float32, whatever networks are asked for."""
    if DTYPE != "float32":
        pytest.skip("is in float32 only")


def kwargs(func_name: str, given: Any = ()) -> dict[str, Any]:
    """Arguments with which a network of an official function computes in the lane's type, or the test is skipped."""
    if DTYPE == "float32":
        return {}
    of_config_f = func_name.rsplit(".", 1)[-1] in ("G_main", "D_stylegan2", "D_main", "G_synthesis_stylegan2")
    if not of_config_f or "stylegan_revised" in dict(given).get("synthesis_func", ""):
        pytest.skip(f"{func_name} has no 16 bit")
    return {"num_fp16_res": 9, "fp16_dtype": DTYPE}


def network(net: Any) -> Any:
    """A network, or its clone that computes in the lane's type."""
    of_lane = kwargs(f"{type(net.model).__module__}.{type(net.model).__name__}", net.static_kwargs)
    return net.clone(net.name, **of_lane) if of_lane else net


def cast(op: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """An op of float32 that computes in the lane's type."""
    if DTYPE == "float32":
        return op
    return lambda *args: tf.cast(op(*[tf.cast(x, DTYPE) for x in args]), tf.float32)


def _rounded(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """A product of float32 as TensorFloat-32 computes it, nearly: of gradients one factor is rounded, too."""

    @tf.custom_gradient
    def rounded(x: tf.Tensor) -> Any:
        bits = tf.bitcast(x, tf.int32) + (1 << 12)
        return tf.bitcast(tf.bitwise.bitwise_and(bits, -(1 << 13)), tf.float32), lambda dy: rounded(dy)

    def product(x: Any, w: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        x, w = tf.convert_to_tensor(x), tf.convert_to_tensor(w)
        return function(*[rounded(t) if t.dtype == tf.float32 else t for t in (x, w)], *args, **kwargs)

    return product


# ----------------------------------------------------------------------------
# Setting up, and where it ran.


class _Missing(types.ModuleType):
    """A package that is not installed: it can be imported, and what uses it is skipped."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def skip(*_args: Any, **_kwargs: Any) -> None:
            pytest.skip(f"needs {self.__name__.split('.')[0]}, which is not installed")

        return type(name, (), {"__new__": skip, "__getattr__": skip})


class _Packages:
    """Finds what of the project's dependencies is not there: tests need TensorFlow, NumPy and pytest alone."""

    names = {"PIL", "google_crc32c", "matplotlib", "scipy", "sklearn", "tensorboard", "tqdm", "yaml"}

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Any:
        found = name.split(".")[0] in self.names
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if found else None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Missing(spec.name)

    def exec_module(self, _module: types.ModuleType) -> None:
        """There is nothing to execute."""


def set_up() -> str | None:
    """Applies what the environment says. Returns why that cannot be; None if it can."""
    sys.meta_path.append(_Packages())  # after those that find what is installed
    if DEVICE == "gpu" and not tf.config.list_physical_devices("GPU"):
        return "TensorFlow sees no GPU: nothing is tested. `make test-gpu DEVICE=cpu` rehearses on the CPU"
    settings.allow_tf32(PRECISION == "tf32")
    tf.config.optimizer.set_experimental_options({"layout_optimizer": LAYOUT == "optimizer"})
    context.context().enable_run_metadata()
    if DEVICE == "cpu":
        from training.nets.network_model import NetworkModel

        NetworkModel.rendering_kwargs = lambda self, given=(): {}  # as on a GPU: in the type it was built with
        if PRECISION == "tf32":
            tf.nn.conv2d, tf.nn.conv2d_transpose = _rounded(tf.nn.conv2d), _rounded(tf.nn.conv2d_transpose)
            tf.matmul = _rounded(tf.matmul)
    return None


_PRODUCTS = (
    "Conv2D",
    "_FusedConv2D",
    "_MklNativeConv2D",
    "_MklNativeFusedConv2D",
    "DepthwiseConv2d",
    "MatMul",
    "_MklMatMul",
)
_OURS = "Stylegan"


seen: Counter[str] = Counter()
"""What has run, by op and layout."""


def placed() -> dict[str, list[tuple[str, str]]]:
    """Convolutions, matrix products and our ops that were executed since the last call: (device, layout) by op."""
    found: dict[str, list[tuple[str, str]]] = {}
    for graph in context.context().export_run_metadata().partition_graphs:
        for node in [*graph.node, *(inner for function in graph.library.function for inner in function.node_def)]:
            if node.op.startswith((*_PRODUCTS, _OURS)):
                device = node.device.rpartition("device:")[2].partition(":")[0].lower()
                layout = node.attr["data_format"].s.decode() if "data_format" in node.attr else ""
                found.setdefault(node.op, []).append((device, layout))
                seen[f"{node.op} {layout}".strip()] += 1
    return found


def wrong_places(found: dict[str, list[tuple[str, str]]]) -> Sequence[str]:
    """What did not run where, or as, the lane says."""
    wrong = [op for op, places in found.items() if any(device not in ("", DEVICE) for device, _ in places)]
    problems = [f"{op} ran elsewhere than on the {DEVICE}" for op in wrong]
    if IMPL == "ref" and (ours := [op for op in found if op.startswith(_OURS)]):
        problems.append(f"{ours[0]} ran, while STYLEGAN2_OPS is ref")
    return problems


def summary() -> str:
    """What has run, in a line."""
    ops = ", ".join(f"{count} {op}" for op, count in sorted(seen.items()))
    return f"On the {DEVICE}, {PRECISION}, {IMPL}, {LAYOUT}: {ops or 'nothing'}"


def nothing_ran() -> bool:
    """Whether tests, that have all passed, did not compute with what they should."""
    wanted = {"cuda": _OURS, "cpu": _OURS}.get(IMPL, "")
    return not any(op.startswith(wanted) for op in seen)
