"""Which implementation of a custom op runs.

Each op is one public function with an `impl` argument:

- 'ref' is built from TensorFlow ops and defines the meaning; it runs on every device, for every type.
- 'cpu' is the library's C++ kernels, 'cuda' its CUDA kernels (see `build`), for float32, float16 and bfloat16.
- 'xla' is TensorFlow ops as well, in the forms that XLA makes one loop of. They compute in float32, as the kernels do.
  $STYLEGAN2_OPS=xla has XLA compile whole networks and phases of training (`function`), and not only the ops.
- 'auto' is the choice of $STYLEGAN2_OPS if that is set; else 'cuda' where a GPU and CUDA kernels are there, 'cpu' where
  no GPU is visible and the op has a CPU kernel, and 'ref' for the rest. One line on stderr says which, and why.
"""

import contextlib
import contextvars
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from dnnlib.commands import as_called
from dnnlib.errors import UserError

from . import build

VARIABLE = "STYLEGAN2_OPS"
IMPLS = ("auto", "ref", "cuda", "cpu", "xla")
COMPILED = ("cuda", "cpu")  # by our library
_NO_GPU = "TensorFlow sees no GPU, and the CUDA kernels need one; use 'auto', 'cpu' or 'ref'"
KERNEL_DTYPES = ("float32", "float16", "bfloat16")
_DEVICES = {"cuda": "GPU", "cpu": "CPU"}
_within: contextvars.ContextVar[str | None] = contextvars.ContextVar("implementation", default=None)


@contextlib.contextmanager
def using(impl: str) -> Iterator[None]:
    """Inside, 'auto' is this implementation: 'ref' where a graph must run without our library, for example."""
    check_impl(impl)
    token = _within.set(impl)
    try:
        yield
    finally:
        _within.reset(token)


def check_environment() -> None:
    """Raises UserError early for a $STYLEGAN2_OPS that is unknown, or 'cuda' where there is no GPU."""
    if _asked()[0] == "cuda" and not _has_gpu():
        raise UserError(f"{VARIABLE}=cuda: {_NO_GPU}")


def check_one_device(number: int) -> None:
    """Raises UserError if a computation is to be divided between devices, and XLA is to compile it as a whole."""
    if number > 1:
        refuse_xla(f"computes on one device, got {number}")


def refuse_xla(why: str) -> None:
    """Raises UserError if XLA is to compile what it cannot. why: continues "STYLEGAN2_OPS=xla ..."."""
    if _asked()[0] == "xla":
        raise UserError(f"{VARIABLE}=xla {why}")


def function(python_function: Callable, **kwargs: Any) -> Any:
    """A `tf.function` without AutoGraph, which XLA compiles as a whole if $STYLEGAN2_OPS is 'xla'.

    For computations of whole networks. kwargs: of `tf.function`.
    """
    return tf.function(python_function, autograph=False, jit_compile=_asked()[0] == "xla" or None, **kwargs)


def call_compiled(compiled: dict[Any, Any], key: Any, python_function: Callable, *args: Any) -> Any:
    """Calls what `function` makes of a function, compiled once for each key, whose arguments have the same shapes.

    compiled: keeps that.
    """
    if key not in compiled:
        compiled[key] = function(python_function).get_concrete_function(*args)
    return compiled[key](*args)


def choose(impl: str, ops: tuple[str, ...], dtype: tf.DType, problem: str | None = None) -> str:
    """What runs for an `impl` argument: 'ref', 'cuda', 'cpu' or 'xla'.

    Args:
        impl: one of 'auto', 'ref', 'cuda', 'cpu', 'xla'.
        ops: the TensorFlow ops behind 'cuda' and 'cpu', of `build.OPS`; all of them are needed.
        dtype: of the images.
        problem: what stands against compiled kernels in this call, if something does; 'auto' is 'ref' then.

    Raises:
        ValueError: another `impl`.
        UserError: an implementation, asked for by `impl` or $STYLEGAN2_OPS, that cannot run here; it says why.
    """
    check_impl(impl)
    dtype = tf.as_dtype(dtype).name
    if impl != "auto":
        return _checked(impl, ops, dtype, problem, f"impl={impl!r}")
    if _asked()[0] != "xla" and (dtype not in KERNEL_DTYPES or problem):
        return "ref"
    impl, why = automatic(ops, dtype)
    if not _within.get():  # which is of the program, not of the machine
        _say(impl, why)
    return impl


def automatic(ops: tuple[str, ...] = build.OPS, dtype: str = "float32") -> tuple[str, str]:
    """What 'auto' is here for ops and a type that have kernels, and why. Raises UserError as `choose` does."""
    asked, why = _asked()
    if asked == "auto":
        return _automatic(ops, dtype)
    return _checked(asked, ops, dtype, None, why), why


def _checked(impl: str, ops: tuple[str, ...], dtype: str, problem: str | None, asked: str) -> str:
    if impl not in COMPILED:
        return impl
    if dtype not in KERNEL_DTYPES:
        problem = f"expected {', '.join(KERNEL_DTYPES)}, got {dtype}; impl='ref' takes every type"
    problem = problem or _problem(impl, ops, dtype)
    if problem:
        raise UserError(f"{asked}: {problem}")
    return impl


def check_impl(impl: str) -> None:
    """Raises ValueError unless `impl` is the name of an implementation or 'auto'."""
    if impl not in IMPLS:
        raise ValueError(f"impl must be one of {', '.join(map(repr, IMPLS))}, got {impl!r}")


def _asked() -> tuple[str, str]:
    """What 'auto' is asked to be, and by what."""
    if within := _within.get():
        return within, f"using({within!r})"
    value = os.environ.get(VARIABLE) or "auto"
    if value not in IMPLS:
        raise UserError(f"{VARIABLE}: expected one of {', '.join(IMPLS)}, got {value!r}")
    return value, f"{VARIABLE}={value}"


def _has_gpu() -> bool:
    return bool(tf.config.get_visible_devices("GPU"))


@functools.cache
def _kernels() -> dict[str, set[tuple[str, str]]]:
    return build.kernels(build.load())


def _problem(impl: str, ops: tuple[str, ...], dtype: str) -> str | None:
    """Why 'cuda' or 'cpu' cannot run; None if it can."""
    if impl == "cuda" and not _has_gpu():
        return _NO_GPU
    if build.load() is None:
        return f"no compiled ops: {build.reason()}"
    missing = [op for op in ops if (_DEVICES[impl], dtype) not in _kernels()[op]]
    if missing:
        device, remedy = _DEVICES[impl], as_called("python -m dnnlib.tflib.ops.build shows what was found")
        return f"the library ({build.reason()}) has no {device} kernels of {', '.join(missing)} for {dtype}; {remedy}"
    return build.cuda_problem() if impl == "cuda" else None


@functools.cache
def _automatic(ops: tuple[str, ...], dtype: str) -> tuple[str, str]:
    """What is best here, and why."""
    impl = "cuda" if _has_gpu() else "cpu"
    problem = _problem(impl, ops, dtype)
    return (impl, build.reason()) if problem is None else ("ref", problem)


@functools.cache
def _say(impl: str, why: str) -> None:
    names = {"cuda": "CUDA kernels", "cpu": "CPU kernels", "ref": "TensorFlow ops ('ref')", "xla": "compiled by XLA"}
    print(f"Custom ops: {names[impl]}; {why}", file=sys.stderr, flush=True)
