"""What the CUDA kernels take of a GPU: registers, spills, shared memory, and the part of an SM's threads that fit.

Compiles every kernel for the architectures asked for and prints a table, one row for each instance. Needs nvcc, not a
GPU. The exit status is 1 where registers are spilled to memory, or fewer threads fit than asked for.
"""

import argparse
import concurrent.futures
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools.cuda_kernels import SOURCES, load_toolchain

toolchain = load_toolchain()


class Gpu(NamedTuple):
    """What an SM of an architecture has."""

    threads: int
    blocks: int
    shared: int  # bytes of shared memory
    reserved: int  # of them for each block


GPUS = {
    70: Gpu(2048, 32, 96 << 10, 0),
    75: Gpu(1024, 16, 64 << 10, 0),
    80: Gpu(2048, 32, 164 << 10, 1 << 10),
    86: Gpu(1536, 16, 100 << 10, 1 << 10),
    89: Gpu(1536, 24, 100 << 10, 1 << 10),
    90: Gpu(2048, 32, 228 << 10, 1 << 10),
    100: Gpu(2048, 32, 228 << 10, 1 << 10),
    120: Gpu(1536, 24, 100 << 10, 1 << 10),
}
REGISTERS = 64 << 10  # of an SM


class Kernel(NamedTuple):
    """An instance of a kernel, compiled for an architecture."""

    name: str  # such as 'nhwc_grad_kernel<float, 4, 1, false>'
    arch: int
    threads: int  # of a block
    registers: int  # of a thread
    spilled: int  # bytes of a thread, stores and loads
    shared: int  # static bytes of a block
    loads: int = 0  # instructions that read 16 bytes
    stores: int = 0  # instructions that write 16 bytes

    @property
    def blocks(self) -> int:
        """How many blocks fit on an SM at a time."""
        gpu = GPUS[self.arch]
        warps = REGISTERS // (-(-self.registers // 8) * 8 * 32) // 4 * 4  # shared out by 4 warps
        limits = [gpu.blocks, gpu.threads // self.threads, warps // -(-self.threads // 32)]
        return min(*limits, gpu.shared // max(self.shared + gpu.reserved, 1))

    @property
    def occupancy(self) -> float:
        """The part of an SM's threads that fit at a time."""
        return self.blocks * self.threads / GPUS[self.arch].threads


def resources(source: Path, arch: int) -> list[Kernel]:
    """The kernels of a .cu file, as nvcc compiles them.

    Raises:
        BuildError: no nvcc, or it fails.
    """
    nvcc, cxx = toolchain.find_nvcc(), toolchain.find_cxx()
    if nvcc is None:
        raise toolchain.BuildError("no nvcc found: install a CUDA toolkit, or set NVCC or CUDA_HOME")
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder) / "kernels.ptx"
        options = ["-std=c++17", "-O3", f"-arch=compute_{arch}", *(["-ccbin", cxx.path] if cxx else [])]
        toolchain.run([nvcc.path, *options, "-ptx", str(source), "-o", str(ptx)], "The kernels were not compiled.")
        command = [nvcc.path, f"-arch=sm_{arch}", "-cubin", "-Xptxas", "-v", str(ptx), "-o", f"{folder}/kernels.cubin"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise toolchain.BuildError(f"{' '.join(command)}\nended with status {done.returncode}:\n{done.stderr}")
        return parse(done.stdout + done.stderr, ptx.read_text(), arch)


def parse(report: str, ptx: str, arch: int) -> list[Kernel]:
    """The kernels of what `ptxas -v` printed and of the code that it compiled."""
    code = {part.partition("(")[0]: part for part in ptx.split(".entry ")[1:]}
    found = []
    for part in re.split(r"Compiling entry function '", report)[1:]:
        symbol = part.partition("'")[0]
        part = part.split("Function properties for")[1] if "Function properties for" in part else part
        numbers = {key: [int(n) for n in re.findall(rf"(\d+) bytes {key}", part)] for key in ("spill", "smem")}
        registers = int(re.search(r"Used (\d+) registers", part)[1])
        block = int(re.search(r"\.maxntid (\d+)|$", code[symbol])[1] or 256)
        wide = [len(re.findall(rf"\b{op}\.global[.\w]*\.v4\.", code[symbol])) for op in ("ld", "st")]
        found.append(Kernel(symbol, arch, block, registers, sum(numbers["spill"]), sum(numbers["smem"]), *wide))
    names = _names([kernel.name for kernel in found])
    return sorted(kernel._replace(name=name) for kernel, name in zip(found, names, strict=True))


def _names(symbols: list[str]) -> list[str]:
    """Short names of C++, where binutils are installed."""
    if shutil.which("c++filt") is None or not symbols:
        return symbols
    out = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True).stdout
    short = {"(anonymous namespace)::": "", "unsigned int": "uint32", "unsigned long": "uint64", "__nv_": ""}
    for long, name in short.items():
        out = out.replace(long, name)
    return [line.removeprefix("void ").rpartition("(")[0] for line in out.splitlines()]


def all_resources(sources: list[Path], archs: list[int]) -> list[Kernel]:
    """The kernels of several files, for several architectures, file by file."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = [pool.submit(resources, source, arch) for source in sources for arch in archs]
        return [kernel for job in jobs for kernel in job.result()]


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, help=".cu files (default: all of the project)")
    parser.add_argument("--arch", default="80,90", help="architectures, some of %(default)s, 70, 75, 86, 89, 100, 120")
    parser.add_argument("--least", type=float, default=0, help="the part of an SM's threads that has to fit (0.5, say)")
    args = parser.parse_args()
    archs = [int(arch) for arch in args.arch.split(",") if arch.isdecimal()]
    if not archs or not set(archs) <= set(GPUS):
        parser.error(f"--arch={args.arch}: expected some of {', '.join(map(str, GPUS))}")
    kernels = all_resources(args.sources or sorted(SOURCES.glob("*.cu")), archs)
    print("| kernel | sm | registers | spilled bytes | shared bytes | blocks of | fit | occupancy | wide |")
    print("|---|---|---|---|---|---|---|---|---|")
    for k in kernels:
        numbers = [
            k.arch,
            k.registers,
            k.spilled,
            k.shared,
            k.threads,
            k.blocks,
            f"{k.occupancy:.0%}",
            f"{k.loads}, {k.stores}",
        ]
        print(f"| {k.name} | {' | '.join(map(str, numbers))} |")
    bad = [k.name for k in kernels if k.spilled or k.occupancy < args.least]
    print(f"\n{len(kernels)} kernels, {len(bad)} that spill or are too large" + "".join(f"\n- {name}" for name in bad))
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except toolchain.BuildError as error:
        sys.exit(f"Error: {error}")
