"""Checks the CUDA kernels on the GPU of this machine, and measures them. Needs nvcc and CuPy or torch, not TensorFlow.

Every kernel is compared with NumPy in float64 on fresh random inputs: all types, layouts, activations and forms, odd
sizes, a tensor of more than 2^32 elements where the memory allows it. Then the bandwidth at StyleGAN2's sizes is
measured against a copy on the device of as many bytes. The report is a Markdown table; the exit status is 1 where a
result is wrong or a goal is missed.
"""

import argparse
import itertools
import secrets
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools import kernel_reference as reference
from tools.cuda_kernels import SOURCES, Call, Kernels, bias_act_args, load_toolchain
from tools.gpu_memory import Unable, find_memory
from tools.kernel_reference import ACTIVATIONS, DTYPES, Epilogue, Pointwise

GOALS = {"upfirdn_2d": 0.6, "bias_act": 0.8, "epilogue": 0.8}  # of the bandwidth of a copy
SPEED_SIZES = ((32, 1024), (128, 256), (512, 64))  # channels and size of layers of config-f


def build(folder: str, arch: int) -> str:
    """Compiles the kernels for a GPU; the path of the library.

    Raises:
        Unable: no nvcc, or it fails.
    """
    toolchain = load_toolchain()
    nvcc, cxx = toolchain.find_nvcc(), toolchain.find_cxx()
    if nvcc is None:
        raise Unable("no nvcc found: install a CUDA toolkit, or set NVCC or CUDA_HOME")
    path = f"{folder}/kernels.so"
    options = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC", f"-arch=sm_{arch}", "-cudart", "shared"]
    options += ["-ccbin", cxx.path] if cxx else []
    command = [nvcc.path, *options, "-shared", *map(str, sorted(SOURCES.glob("*.cu"))), "-o", path]
    try:
        toolchain.run(command, "The CUDA kernels were not checked.")
    except toolchain.BuildError as error:
        raise Unable(str(error)) from None
    print(f"Compiled with nvcc {nvcc.version} for sm_{arch}.", file=sys.stderr)
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
        self, n: int, c: int, h: int, w: int, noise_n: int, f: Pointwise, channels_last: bool, dtype: str
    ) -> None:
        """One case, forward and gradient."""
        x, dy = (self.images(n, c, h, w, channels_last, dtype) for _ in range(2))
        e = Epilogue(self.randn(n, c), self.randn(noise_n, h, w), self.randn(c), f)
        layout = {"channels_last": channels_last}
        case = f"{x.shape} noise {noise_n} {f} {layout}"
        y = self.kernels.epilogue(x, e, **layout, dtype=dtype).run()["y"]
        self.compare("epilogue", case, y, reference.epilogue(x, e, **layout), 6 * f.gain, dtype)
        unsure = reference.is_near_kink(f, reference.epilogue_argument(x, e, **layout))
        dy = np.where(reference.from_nhwc(unsure, channels_last), 0, dy).astype(np.float32)
        outputs, again = (self.kernels.epilogue_grad(dy, x, e, **layout, dtype=dtype).run() for _ in range(2))
        for name, (value, size) in reference.epilogue_grad(dy, x, e, **layout).items():
            at = dtype if name == "dx" else "float32"
            self.compare("epilogue_grad", f"{name} {case}", outputs[name], value, size, at)
            self.compare("epilogue_grad", f"{name} again {case}", outputs[name], again[name], 0 * size + 1e-30, at)


def check(checker: Checker) -> None:
    """Every kernel at many sizes."""
    state = checker.state
    for dtype, channels_last in itertools.product(DTYPES, (False, True)):
        for up, down, pads in ((2, 1, (2, 1)), (1, 2, (1, 1)), (1, 1, (1, 1)), (1, 1, (2, 2)), (2, 1, (1, 2))):
            for n, c, h, w in ((2, 32, 64, 64), (3, 3, 127, 65), (1, 512, 9, 9), (2, 17, 33, 20)):
                checker.upfirdn(n, c, h, w, (4, 4), (up, up), (down, down), pads * 2, channels_last, dtype)
        for _ in range(60):
            up, down, pads = (tuple(int(i) for i in state.integers(*r)) for r in ((1, 4, 2), (1, 4, 2), (-7, 24, 4)))
            fir = tuple(int(i) for i in state.integers(1, 33, 2))
            sizes = [int(i) for i in (state.integers(1, 4), state.integers(1, 40), *state.integers(1, 60, 2))]
            checker.upfirdn(*sizes, fir, up, down, pads, channels_last, dtype)
        for act, clamp in itertools.product(ACTIVATIONS, (-1.0, 1.5)):
            f = Pointwise(act, 0.2, 1.5, clamp)
            for i, sizes in enumerate(((2, 32, 40, 40), (3, 19, 17, 13), (1, 512, 8, 8), (2, 64, 33, 32))):
                checker.epilogue(*sizes, sizes[0] if i % 2 else 1, f, channels_last, dtype)
        checker.epilogue(2, 1304, 5, 4, 2, Pointwise(), channels_last, dtype)
    for dtype, act, clamp in itertools.product(DTYPES, ACTIVATIONS, (-1.0, 1.5)):
        for sizes in ((1000, 32, 1), (999, 17, 1), (3, 32, 1024), (5, 3, 77)):
            checker.bias_act(*sizes, Pointwise(act, 0.2, 1.5, clamp), dtype)


def check_large(checker: Checker, memory: Any) -> str:
    """A bias-act of more than 2^32 elements: its first and last ones, and those about 2^32."""
    channels, rows, size = 512, (1 << 23) + 1, ((1 << 23) + 1) * 512
    if memory.memory < 4.5 * size:
        return f"not checked: it needs {4.5 * size / 2**30:.0f} GiB"
    x, y = memory.empty(2 * size), memory.empty(2 * size)
    row = reference.round_to(checker.randn(channels), "float16")
    b = checker.randn(channels)
    source = memory.put(reference.encode(np.tile(row, 1 << 12), "float16"))
    for start in range(0, 2 * size, source.nbytes):
        part = x[start : start + source.nbytes]
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


# ----------------------------------------------------------------------------
# Speed.


def milliseconds(memory: Any, launch: Any, repeats: int = 20) -> float:
    """The time of one launch: the median of several runs of `repeats` launches."""
    for _ in range(3):
        launch()
    times = []
    for _ in range(7):
        start = memory.event()
        for _ in range(repeats):
            launch()
        times.append(memory.milliseconds(start, memory.event()) / repeats)
    return statistics.median(times)


def copy_bandwidth(memory: Any, size: int) -> float:
    """Bytes per second, read and written, of a copy that moves `size` bytes in all, as a kernel does."""
    source, to = memory.empty(size // 2), memory.empty(size // 2)
    return size / milliseconds(memory, lambda: memory.copy(to, source)) * 1e3


def cases(kernels: Kernels, state: np.random.Generator) -> Any:
    """StyleGAN2's sizes, minibatch 4: (kernel, case, call, bytes moved)."""
    fir = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
    for dtype, channels_last in itertools.product(DTYPES, (False, True)):
        item = 4 if dtype == "float32" else 2
        layout = "NHWC" if channels_last else "NCHW"
        size = SPEED_SIZES[0][1] // 2
        x = state.standard_normal((4, size, size, 3) if channels_last else (4, 3, size, size), np.float32)
        call = kernels.upfirdn(x, fir, (2, 2), (1, 1), (2, 1, 2, 1), channels_last=channels_last, dtype=dtype)
        yield "upfirdn_2d", f"3x{size}x{size} {layout} {dtype} up 2", call, 5 * x.size * item
        for c, size in SPEED_SIZES:
            shape = (4, size, size, c) if channels_last else (4, c, size, size)
            x = np.resize(state.standard_normal(1 << 20, np.float32), shape)
            bytes_of_x, options = x.size * item, {"channels_last": channels_last, "dtype": dtype}
            name = f"{c}x{size}x{size} {layout} {dtype}"
            # After an upsampling convolution the image has one more row and column than twice the input.
            grown = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)] if channels_last else [(0, 0), (0, 0), (0, 1), (0, 1)])
            call = kernels.upfirdn(grown, fir, (1, 1), (1, 1), (1, 1, 1, 1), **options)
            yield "upfirdn_2d", f"{name} after up-conv", call, grown.size * item + bytes_of_x
            call = kernels.upfirdn(x, fir, (1, 1), (2, 2), (1, 1, 1, 1), **options)
            yield "upfirdn_2d", f"{name} down 2", call, bytes_of_x * 5 // 4
            half = x[:, ::2, ::2] if channels_last else x[:, :, ::2, ::2]
            call = kernels.upfirdn(half, fir, (2, 2), (1, 1), (2, 1, 2, 1), **options)
            yield "upfirdn_2d", f"{name} up 2", call, bytes_of_x * 5 // 4
            scale, noise, b = (state.standard_normal(s, np.float32) for s in ((4, c), (4, size, size), (c,)))
            inner = 1 if channels_last else size * size
            f = Pointwise("lrelu", 0.2, 2**0.5, 256.0)
            call = kernels.bias_act(x, b, None, f, order=0, inner=inner, dtype=dtype)
            yield "bias_act", name, call, 2 * bytes_of_x
            call = kernels.bias_act(x, b, x, f, order=1, inner=inner, dtype=dtype)
            yield "bias_act", f"{name} first derivative", call, 3 * bytes_of_x
            e = Epilogue(scale, noise, b, f)
            yield "epilogue", name, kernels.epilogue(x, e, **options), 2 * bytes_of_x + noise.nbytes
            call = kernels.epilogue_grad(x, x, e, **options)
            yield "epilogue", f"{name} gradient", call, 3 * bytes_of_x + 2 * noise.nbytes


def measure(kernels: Kernels, memory: Any, seed: int) -> bool:
    """Prints the table of bandwidths; whether every goal is met."""
    print("\n| kernel | case | ms | GB/s | of a copy | goal | met |\n|---|---|---|---|---|---|---|")
    fine = True
    for kernel, name, call, size in cases(kernels, np.random.default_rng(seed)):
        time = milliseconds(memory, call.launch)
        bandwidth, copy = size / time * 1e3, copy_bandwidth(memory, size)
        met = bandwidth >= GOALS[kernel] * copy
        fine &= met
        numbers = f"{time:.4f} | {bandwidth / 1e9:.0f} | {bandwidth / copy:.2f} | {GOALS[kernel]}"
        print(f"| {kernel} | {name} | {numbers} | {'yes' if met else 'NO'} |", flush=True)
    return fine


def main() -> int:
    """Checks, measures, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="of the random inputs (default: another one each time)")
    parser.add_argument(
        "--library", choices=["torch", "cupy"], help="what holds the GPU's memory (default: what there is)"
    )
    parser.add_argument("--skip-speed", action="store_true", help="compare results only")
    args = parser.parse_args()
    memory = find_memory(args.library)
    seed = secrets.randbits(32) if args.seed is None else args.seed
    with tempfile.TemporaryDirectory() as folder:
        kernels = Kernels(build(folder, memory.arch), memory)
        driver = f"{memory.name} (sm_{memory.arch}, {memory.memory / 2**30:.0f} GiB), {memory.versions}"
        print(f"CUDA kernels on {driver}, seed {seed}\n")
        checker = Checker(kernels, seed)
        check(checker)
        large = check_large(checker, memory)
        print("| kernel | type of the result | comparisons | largest error / allowed |\n|---|---|---|---|")
        for (name, dtype), worst in sorted(checker.worst.items()):
            print(f"| {name} | {dtype} | {checker.count[name, dtype]} | {worst:.3f} |")
        print(f"\nMore than 2^32 elements: {large}.")
        right = all(worst <= 1 for worst in checker.worst.values())
        fast = args.skip_speed or measure(kernels, memory, seed)
    print(f"\nResults: {'right' if right else 'WRONG'}. Speed: ", end="")
    print("not measured." if args.skip_speed else "goals met." if fast else "goals MISSED.")
    return 0 if right and fast else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unable as error:
        sys.exit(f"Error: {error}")
