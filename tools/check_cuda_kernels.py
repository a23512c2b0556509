"""Checks the CUDA kernels on the GPU of this machine, and measures them. Needs nvcc, not TensorFlow.

Every kernel is compared with NumPy in float64 on fresh random inputs: all types, layouts, activations and forms, odd
sizes, a tensor of more than 2^32 elements where the memory allows it. Then the bandwidth at StyleGAN2's sizes is
measured against a copy on the device of as many bytes. Each of the two ends after --seconds; what matters most comes
first. The report is Markdown tables; the exit status is 1 where a result is wrong or a goal is missed.
"""

import argparse
import concurrent.futures
import functools
import itertools
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools import kernel_reference as reference
from tools.cuda_kernels import SOURCES, Call, Kernels, bias_act_args, load_toolchain
from tools.gpu_memory import Unable, find_memory
from tools.kernel_reference import ACTIVATIONS, DTYPES, Cotangents, Epilogue, Pointwise
from tools.kernel_speeds import GROUPS, measure


def build(folder: str, arch: int) -> str:
    """Compiles the kernels for a GPU; the path of the library.

    Raises:
        Unable: no nvcc, or it fails.
    """
    toolchain = load_toolchain()
    nvcc, cxx = toolchain.find_nvcc(), toolchain.find_cxx()
    if nvcc is None:
        raise Unable("no nvcc found: install a CUDA toolkit, or set NVCC or CUDA_HOME")
    path, start = f"{folder}/kernels.so", time.monotonic()
    options = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC", f"-arch=sm_{arch}", "-cudart", "static"]
    options += ["-ccbin", cxx.path] if cxx else []

    def compile_one(source: Path) -> str:
        to = f"{folder}/{source.name}.o"
        toolchain.run([nvcc.path, *options, "-c", str(source), "-o", to], "The CUDA kernels were not checked.")
        return to

    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            objects = list(pool.map(compile_one, sorted(SOURCES.glob("*.cu"))))
        toolchain.run([nvcc.path, *options, "-shared", *objects, "-o", path], "The CUDA kernels were not checked.")
    except toolchain.BuildError as error:
        raise Unable(str(error)) from None
    print(f"Compiled with nvcc {nvcc.version} for sm_{arch} in {time.monotonic() - start:.0f} s.", file=sys.stderr)
    return path


# ----------------------------------------------------------------------------
# Results.


class Checker:
    """Compares results, and remembers the largest error of each kernel and type in units of what is allowed."""

    def __init__(self, kernels: Kernels, seed: int):
        self.kernels, self.state = kernels, np.random.default_rng(seed)
        self.worst: dict[tuple[str, str], float] = {}
        self.count: dict[tuple[str, str], int] = {}

    def randn(self, *shape: int) -> np.ndarray:
        return self.state.standard_normal(shape, np.float32)

    def images(self, n: int, c: int, h: int, w: int, channels_last: bool, dtype: str) -> np.ndarray:
        return reference.round_to(self.randn(*((n, h, w, c) if channels_last else (n, c, h, w))), dtype)

    def compare(self, name: str, case: str, y: np.ndarray, expected: np.ndarray, size: Any, dtype: str) -> None:
        """size: of what is added up in a result, to which the rounding of float32 is relative."""
        bound = reference.allowed_error(expected, dtype, size)  # 0 where all that is added up is 0
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.where(y == expected, 0, np.abs(y - expected) / bound)
        worst = float(np.max(np.where(np.isnan(error), np.inf, error), initial=0))
        key = name, dtype
        self.worst[key] = max(self.worst.get(key, 0), worst)
        self.count[key] = self.count.get(key, 0) + 1
        if not worst <= 1:
            print(f"WRONG: {name} {dtype} {case}: {worst:.3g} times the allowed error", file=sys.stderr)

    def upfirdn(
        self, n: int, c: int, h: int, w: int, fir: Any, up: Any, down: Any, pads: Any, channels_last: bool, dtype: str
    ) -> None:
        """One case, if the filter fits into the padded image."""
        if h * up[0] + pads[0] + pads[1] < fir[0] or w * up[1] + pads[2] + pads[3] < fir[1]:
            return
        x = self.images(n, c, h, w, channels_last, dtype)
        # Half of the filters are products of two, which have a faster path.
        k = self.randn(*fir) if self.state.integers(2) else np.outer(self.randn(fir[0]), self.randn(fir[1]))
        options = {"flip": bool(self.state.integers(2)), "channels_last": channels_last}
        y = self.kernels.upfirdn(x, k, up, down, pads, dtype=dtype, gain=1.5, **options).run()["y"]
        expected = reference.upfirdn(x, k, up, down, pads, gain=1.5, **options)
        size = reference.upfirdn(np.abs(x), np.abs(k), up, down, pads, gain=1.5, **options)
        case = f"{x.shape} fir {fir} up {up} down {down} pads {pads} {options}"
        self.compare("upfirdn_2d", case, y, expected, size, dtype)

    def bias_act(self, outer: int, c: int, inner: int, f: Pointwise, dtype: str) -> None:
        """The three forms of one case."""
        x = reference.round_to(self.randn(outer, c, inner) * 2, dtype)
        v, b = reference.round_to(self.randn(outer, c, inner), dtype), self.randn(c)
        unsure = reference.is_near_kink(f, reference.bias_act_argument(x, b, inner))
        for order in range(3):
            y = self.kernels.bias_act(x, b, v, f, order=order, inner=inner, dtype=dtype).run()["y"]
            expected = reference.bias_act(x, b, v, f, order=order, inner=inner)
            if order:
                y, expected = (np.where(unsure, 0, t) for t in (y, expected))
            case = f"{x.shape} {f} order {order}"
            self.compare("bias_act", case, y, expected, f.gain * (4 + np.abs(v)), dtype)

    def epilogue(
        self, size: Sequence[int], noise_n: int, f: Pointwise, channels_last: bool, dtype: str, parts: str = "snb"
    ) -> None:
        """One case, of size (n, c, h, w): forward, gradient and its gradient. parts: s, n, b for scale, noise and b."""
        n, c, h, w = size
        shapes = {"s": (n, c), "n": (noise_n, h, w), "b": (c,)}

        def parameters() -> list[np.ndarray | None]:
            return [self.randn(*shape) if part in parts else None for part, shape in shapes.items()]

        x, dy, a = (self.images(n, c, h, w, channels_last, dtype) for _ in range(3))
        e, layout = Epilogue(*parameters(), f), {"channels_last": channels_last}
        case = f"{x.shape} {parts} noise {noise_n} {f} {layout}"
        y = self.kernels.epilogue(x, e, **layout, dtype=dtype).run()["y"]
        self.compare("epilogue", case, y, reference.epilogue(x, e, **layout), 6 * f.gain, dtype)
        unsure = reference.from_nhwc(
            reference.is_near_kink(f, reference.epilogue_argument(x, e, **layout)), channels_last
        )
        dy = np.where(unsure, 0, dy).astype(np.float32)
        call, expected = self.kernels.epilogue_grad, reference.epilogue_grad(dy, x, e, **layout)
        outputs, again = (call(dy, x, e, **layout, dtype=dtype).run() for _ in range(2))
        self._compare_all("epilogue_grad", case, outputs, again, expected, dtype)
        given = Cotangents(a, *parameters())
        expected = reference.epilogue_second(given, dy, x, e, **layout)
        call = self.kernels.epilogue_second
        outputs, again = (call(given, dy, x, e, **layout, dtype=dtype).run() for _ in range(2))
        outputs["d_dy"], again["d_dy"] = (np.where(unsure, 0, t["d_dy"]) for t in (outputs, again))
        expected["d_dy"] = np.where(unsure, 0, expected["d_dy"][0]), expected["d_dy"][1]
        self._compare_all("epilogue_second", case, outputs, again, expected, dtype)

    def _compare_all(self, name: str, case: str, outputs: Any, again: Any, expected: Any, dtype: str) -> None:
        """Outputs with what is expected, and with those of a second run, which are the same."""
        for key, y in outputs.items():
            value, size = expected[key]
            at = dtype if key in ("dx", "d_dy", "d_x") else "float32"
            self.compare(name, f"{key} {case}", y, value, size, at)
            self.compare(name, f"{key} again {case}", y, again[key], 0 * size + 1e-30, at)


def checks(checker: Checker) -> Iterator[Callable[[], None]]:
    """Every kernel at many sizes, turn about, so that each has had its turn when the time is up."""
    kinds = [_epilogue_checks(checker), _upfirdn_checks(checker), _bias_act_checks(checker)]
    return (job for jobs in itertools.zip_longest(*kinds) for job in jobs if job)


def _upfirdn_checks(checker: Checker) -> Iterator[Callable[[], None]]:
    state = checker.state
    forms = ((2, 1, (2, 1)), (1, 2, (1, 1)), (1, 1, (1, 1)), (1, 1, (2, 2)), (2, 1, (1, 2)))
    sizes = ((2, 32, 64, 64), (3, 3, 127, 65), (1, 512, 9, 9), (2, 17, 33, 20))
    for size, (up, down, pads), (dtype, channels_last) in itertools.product(sizes, forms, GROUPS):
        args = (*size, (4, 4), (up, up), (down, down), pads * 2, channels_last, dtype)
        yield functools.partial(checker.upfirdn, *args)
    for _, (dtype, channels_last) in itertools.product(range(60), GROUPS):
        up, down, pads = (tuple(int(i) for i in state.integers(*r)) for r in ((1, 4, 2), (1, 4, 2), (-7, 24, 4)))
        fir = tuple(int(i) for i in state.integers(1, 33, 2))
        size = [int(i) for i in (state.integers(1, 4), state.integers(1, 40), *state.integers(1, 60, 2))]
        yield functools.partial(checker.upfirdn, *size, fir, up, down, pads, channels_last, dtype)


def _epilogue_checks(checker: Checker) -> Iterator[Callable[[], None]]:
    sizes = ((2, 32, 40, 40), (3, 19, 17, 13), (1, 512, 8, 8), (2, 64, 33, 32))
    acts = ("lrelu", "linear", *(act for act in ACTIVATIONS if act not in ("lrelu", "linear")))
    for parts, (i, size), (dtype, channels_last) in itertools.product(("snb", "s", "b"), enumerate(sizes), GROUPS):
        noise_n = size[0] if i % 2 else 1
        yield functools.partial(checker.epilogue, size, noise_n, Pointwise(), channels_last, dtype, parts)
    for dtype, channels_last in GROUPS:
        yield functools.partial(checker.epilogue, (2, 1304, 5, 4), 2, Pointwise(), channels_last, dtype)
        yield functools.partial(checker.epilogue, (2, 3, 64, 40), 1, Pointwise("linear"), channels_last, dtype, "b")
        yield functools.partial(checker.epilogue, (2, 32, 260, 250), 1, Pointwise(), channels_last, dtype)
    for act, clamp, (i, size), (dtype, last) in itertools.product(acts, (-1.0, 1.5), enumerate(sizes), GROUPS):
        f = Pointwise(act, 0.2, 1.5, clamp)
        yield functools.partial(checker.epilogue, size, size[0] if i % 2 else 1, f, last, dtype)


def _bias_act_checks(checker: Checker) -> Iterator[Callable[[], None]]:
    sizes = ((1000, 32, 1), (999, 17, 1), (3, 32, 1024), (5, 3, 77))
    for act, clamp, size, dtype in itertools.product(ACTIVATIONS, (-1.0, 1.5), sizes, DTYPES):
        yield functools.partial(checker.bias_act, *size, Pointwise(act, 0.2, 1.5, clamp), dtype)


def check(checker: Checker, seconds: float) -> str:
    """As many of the checks as come in so many seconds; how many did not."""
    end, skipped = time.monotonic() + seconds, 0
    for job in checks(checker):
        if time.monotonic() > end:
            skipped += 1
        else:
            job()
    return f" {skipped} checks were left out: {seconds:g} s were over." if skipped else ""


def check_large(checker: Checker, memory: Any) -> str:
    """A bias-act of more than 2^32 elements: its first and last ones, and those about 2^32."""
    channels, rows, size = 512, (1 << 23) + 1, ((1 << 23) + 1) * 512
    if memory.memory < 4.5 * size:
        return f"not checked: it needs {4.5 * size / 2**30:.0f} GiB"
    x, y = memory.empty(2 * size), memory.empty(2 * size)
    row = reference.round_to(checker.randn(channels), "float16")
    b = checker.randn(channels)
    source = memory.put(reference.encode(np.tile(row, 1 << 12), "float16"))
    for start in range(0, 2 * size, len(source)):
        part = x[start : start + len(source)]
        memory.copy(part, source[: len(part)])
    b_there = memory.put(b)
    args = bias_act_args(size, channels, 1, Pointwise(), 0, "float16")
    args.x, args.y, args.b = memory.pointer(x), memory.pointer(y), memory.pointer(b_there)
    Call(checker.kernels, "stylegan2_bias_act", args).launch()
    memory.synchronize()
    expected = reference.bias_act(row, b, None, Pointwise(), order=0)
    starts = {"first": 0, "last": 2 * (size - channels), "at 2^32": 2 * (1 << 32) // channels * channels}
    for name, start in starts.items():
        raw = np.zeros(channels, np.float16)
        memory.get(y[start : start + 2 * channels], raw)
        checker.compare("bias_act", f"{rows}x{channels}, {name} row", raw.astype(np.float32), expected, 6, "float16")
    return "checked"


def main() -> int:
    """Checks, measures, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="of the random inputs (default: another one each time)")
    parser.add_argument(
        "--library", choices=["torch", "cupy", "driver"], help="what holds the GPU's memory (default: what there is)"
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="for the checks, and for the speeds (default: %(default)s)"
    )
    parser.add_argument("--skip-speed", action="store_true", help="compare results only")
    args = parser.parse_args()
    memory = find_memory(args.library)
    seed = secrets.randbits(32) if args.seed is None else args.seed
    with tempfile.TemporaryDirectory() as folder:
        kernels = Kernels(build(folder, memory.arch), memory)
        driver = f"{memory.name} (sm_{memory.arch}, {memory.memory / 2**30:.0f} GiB), {memory.versions}"
        print(f"CUDA kernels on {driver}, seed {seed}\n", flush=True)
        checker = Checker(kernels, seed)
        large = check_large(checker, memory)
        left_out = check(checker, args.seconds)
        print("| kernel | type of the result | comparisons | largest error / allowed |\n|---|---|---|---|")
        for (name, dtype), worst in sorted(checker.worst.items()):
            print(f"| {name} | {dtype} | {checker.count[name, dtype]} | {worst:.3f} |")
        right = all(worst <= 1 for worst in checker.worst.values())
        print(f"\nMore than 2^32 elements: {large}.{left_out} Results: {'right' if right else 'WRONG'}.", flush=True)
        fast = args.skip_speed or measure(kernels, args.seconds)
    print("\nSpeed: " + ("not measured." if args.skip_speed else "goals met." if fast else "goals MISSED."))
    return 0 if right and fast else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unable as error:
        sys.exit(f"Error: {error}")
