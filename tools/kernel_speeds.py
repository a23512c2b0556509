"""The speed of the CUDA kernels at StyleGAN2's sizes, against copies on the device of as many bytes.

A new kernel has a line in GOALS and its cases in `cases`.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .cuda_kernels import Call, Filled, Kernels
from .kernel_reference import Cotangents, Epilogue, Pointwise

GOALS = {  # of the bandwidth of a copy
    "epilogue": 0.77,
    "epilogue_grad": 0.8,
    "epilogue_second": 0.7,
    "upfirdn_2d": 0.6,
    "bias_act": 0.84,
}
SIZES = ((32, 1024), (128, 256), (512, 64), (512, 16))  # channels and size of layers of config-f
SMALL = 1 << 24  # bytes: below, starting a kernel takes longer than its work, and there is no goal
GROUPS = [  # what the networks use most comes first
    *((dtype, True) for dtype in ("float16", "float32", "bfloat16")),
    *((dtype, False) for dtype in ("float16", "float32", "bfloat16")),
]


FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
LINEAR = Pointwise("linear")


class Case(NamedTuple):
    """A kernel at a size."""

    kernel: str
    name: str
    make: Callable[[], Call]
    bytes: int  # read and written


def cases(kernels: Kernels, n: int = 4) -> Iterator[Case]:
    """All cases, of minibatch n, the most important ones first."""
    for dtype, channels_last in GROUPS:
        for c, size in SIZES:
            yield from _cases_of_layer(kernels, n, c, size, channels_last, dtype)
        yield from _cases_of_images(kernels, n, SIZES[0][1], channels_last, dtype)


def _cases_of_layer(kernels: Kernels, n: int, c: int, size: int, channels_last: bool, dtype: str) -> Iterator[Case]:
    def case(kernel: str, what: str, passes: float, method: Any, *args: Any, **given: Any) -> Case:
        options = {"channels_last": channels_last, "dtype": dtype} | given
        return _case(kernel, what, passes, (n, c, size), options, lambda: method(*args, **(given or options)))

    x, small, grown = (_image(n, c, s, channels_last) for s in (size, size // 2, size + 1))
    scale, noise, b = Filled(n, c), Filled(n, size, size), Filled(c)
    f = Pointwise("lrelu", 0.2, 2**0.5, 256.0)
    full, bias, styles = Epilogue(scale, noise, b, f), Epilogue(None, None, b, f), Epilogue(scale, None, None, LINEAR)
    once = 4 / (c * (4 if dtype == "float32" else 2))  # a pass over the noise
    yield case("epilogue", "", 2 + once, kernels.epilogue, x, full)
    yield case("epilogue_grad", "", 3 + 2 * once, kernels.epilogue_grad, x, x, full)
    yield case("epilogue_grad", " of b", 3, kernels.epilogue_grad, x, x, bias)
    yield case("epilogue", " by styles", 2, kernels.epilogue, x, styles)
    yield case("epilogue_grad", " by styles", 3, kernels.epilogue_grad, x, x, styles)
    given = Cotangents(x, scale, noise, b)
    yield case("epilogue_second", "", 5 + 2 * once, kernels.epilogue_second, given, x, x, full)
    # After an upsampling convolution an image has one more row and column.
    yield case("upfirdn_2d", " after up-conv", 2, kernels.upfirdn, grown, FIR, (1, 1), (1, 1), (1, 1, 1, 1))
    yield case("upfirdn_2d", " down 2", 1.25, kernels.upfirdn, x, FIR, (1, 1), (2, 2), (1, 1, 1, 1))
    yield case("upfirdn_2d", " up 2", 1.25, kernels.upfirdn, small, FIR, (2, 2), (1, 1), (2, 1, 2, 1))
    inner = 1 if channels_last else size * size
    for order, what in enumerate(("", " first derivative")):
        given = {"order": order, "inner": inner, "dtype": dtype}
        yield case("bias_act", what, 2 + order, kernels.bias_act, x, b, x if order else None, f, **given)


def _cases_of_images(kernels: Kernels, n: int, size: int, channels_last: bool, dtype: str) -> Iterator[Case]:
    """RGB."""
    options, sizes = {"channels_last": channels_last, "dtype": dtype}, (n, 3, size)
    x, small = (_image(n, 3, s, channels_last) for s in (size, size // 2))
    e = Epilogue(None, None, Filled(3), LINEAR._replace(clamp=256.0))
    up = small, FIR, (2, 2), (1, 1), (2, 1, 2, 1)
    yield _case("upfirdn_2d", " up 2", 1.25, sizes, options, lambda: kernels.upfirdn(*up, **options))
    yield _case("epilogue_grad", " of b", 3, sizes, options, lambda: kernels.epilogue_grad(x, x, e, **options))


def _image(n: int, c: int, size: int, channels_last: bool) -> Filled:
    return Filled(n, size, size, c) if channels_last else Filled(n, c, size, size)


def _case(
    kernel: str,
    what: str,
    passes: float,
    sizes: tuple[int, int, int],
    options: dict[str, Any],
    make: Callable[[], Call],
) -> Case:
    """passes: how often as many values as x has are read or written."""
    (n, c, size), dtype = sizes, options["dtype"]
    name = f"{c}x{size}x{size} {'NHWC' if options['channels_last'] else 'NCHW'} {dtype}{what}"
    return Case(kernel, name, make, round(passes * n * c * size * size * (4 if dtype == "float32" else 2)))


def milliseconds(memory: Any, launch: Callable[[], None]) -> float:
    """The time of one launch: the median of 5 runs of 20 launches, or of fewer where they take more than 5 ms."""
    repeats, times = 20, []
    for turn in range(6):
        start = memory.event()
        for _ in range(repeats if turn else 3):
            launch()
        times.append(memory.milliseconds(start, memory.event()) / (repeats if turn else 3))
        if not turn:
            repeats = int(min(20, max(3, 5 / max(times.pop(), 1e-3))))
    return statistics.median(times)


def measure(kernels: Kernels, seconds: float) -> bool:
    """Prints the table of bandwidths as far as it comes in so many seconds; whether every goal in it is met."""
    memory, copies = kernels.memory, {}
    print("\n| kernel | case | ms | GB/s | of a copy | goal | met |\n|---|---|---|---|---|---|---|")
    fine, skipped, end = True, 0, time.monotonic() + seconds
    for case in cases(kernels):
        if time.monotonic() > end:
            skipped += 1
            continue
        taken = milliseconds(memory, case.make().launch)
        if case.bytes not in copies:
            source, to = memory.empty(case.bytes // 2), memory.empty(case.bytes // 2)
            copies[case.bytes] = milliseconds(memory, lambda to=to, source=source: memory.copy(to, source))
            del source, to
        part, goal = copies[case.bytes] / taken, GOALS[case.kernel] if case.bytes >= SMALL else None
        met = goal is None or part >= goal
        fine &= met
        numbers = f"{taken:.4f} | {case.bytes / taken / 1e6:.0f} | {part:.2f} | {goal or ''}"
        print(f"| {case.kernel} | {case.name} | {numbers} | {'NO' if not met else 'yes' if goal else ''} |", flush=True)
    if skipped:
        print(f"\n{skipped} cases were not measured within {seconds:g} s.")
    return fine
