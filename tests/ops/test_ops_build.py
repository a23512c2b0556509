"""Building and choosing the compiled ops: caches, processes that start at once, compilers that fail or are missing."""

import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.files import sha256_of
from dnnlib.tflib.ops import build, implementation, toolchain
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from dnnlib.tflib.ops.toolchain import BuildError, Compiler
from dnnlib.tflib.ops.upfirdn_2d import upsample_2d

ROOT = Path(__file__).parent.parent.parent
CACHED = (build._key, toolchain.native_options, implementation._kernels, implementation._automatic, implementation._say)
OPS_OF_IMAGES = tuple(op for op in build.OPS if op not in ("StyleganAdam", "StyleganAverage", "StyleganRandomKey"))
needs_cxx = pytest.mark.skipif(toolchain.find_cxx() is None, reason="no C++ compiler")
needs_nvcc = pytest.mark.skipif(toolchain.find_nvcc() is None or toolchain.find_cxx() is None, reason="no nvcc")


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As in a process that has not run an op yet: nothing is loaded, the cache is empty. It ends as it was."""
    for name in ("STYLEGAN2_OPS", "CXX", "NVCC", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STYLEGAN2_OPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "_loaded", None)
    monkeypatch.setattr(build, "_path", None)
    for function in CACHED:
        function.cache_clear()
    yield tmp_path
    for function in CACHED:
        function.cache_clear()


def program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def small_sources(fresh, monkeypatch):
    """Two sources that compile at once, and a g++ that notes what it compiles, slowly."""
    sources = fresh / "sources"
    sources.mkdir()
    (sources / "ops.cc").write_text("extern int two();\nint one() { return two(); }\n")
    (sources / "cpu_two.cc").write_text("int two() { return 2; }\n")
    monkeypatch.setattr(build, "SOURCES", sources)
    log = fresh / "log"
    real = toolchain.find_cxx().path
    note = f'case "$*" in *" -c "*) echo "$*" >> {log}; sleep 0.2;; esac'
    monkeypatch.setenv("CXX", str(program(fresh / "bin" / "g++", f'{note}\nexec {real} "$@"')))
    return sources, log


# ----------------------------------------------------------------------------
# The cache.


@needs_cxx
def test_several_processes_build_once(small_sources, capfd):
    sources, log = small_sources
    context = multiprocessing.get_context("fork")
    paths = context.SimpleQueue()
    processes = [context.Process(target=lambda: paths.put(str(build.library(build._plan())))) for _ in range(5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    found = {paths.get() for _ in processes}
    assert len(found) == 1 and Path(found.pop()).exists()
    assert len(log.read_text().splitlines()) == 2  # each source once
    err = capfd.readouterr().err
    assert err.count("Building the custom ops with") == 1
    assert "Waiting for another process that builds the custom ops" in err
    (folder,) = (build.cache_dir()).iterdir()
    name = Path(build._name(build._plan()))
    assert {path.name for path in folder.iterdir()} == {name.name, name.with_suffix(".sha256").name}  # nothing else


@needs_cxx
def test_damaged_library_is_built_again(small_sources):
    path = build.library(build._plan(), verbose=False)
    whole = path.read_bytes()
    assert build.library(build._plan(), verbose=False) == path
    path.write_bytes(whole[: len(whole) // 2])  # loading it would end the process
    assert build.library(build._plan(), verbose=False) == path
    assert path.read_bytes()[: len(whole) // 2] == whole[: len(whole) // 2] and path.stat().st_size == len(whole)


@needs_cxx
def test_cache_depends_on_sources_and_compiler(small_sources, monkeypatch):
    sources, log = small_sources
    first = build.library(verbose=False)
    assert build.library(verbose=False) == first
    assert len(log.read_text().splitlines()) == 2

    (sources / "cpu_two.cc").write_text("int two() { return 3; }\n")
    build._key.cache_clear()
    second = build.library(verbose=False)
    assert second.parent != first.parent

    other = Compiler(toolchain.find_cxx().path, "99.1")
    assert build.library(build.Plan(other, None, ()), verbose=False).name == "ops-g++99.1.so"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert build.library().parent == second.parent  # without a compiler, what any has built serves
    (sources / "cpu_two.cc").unlink()
    build._key.cache_clear()
    with pytest.raises(BuildError, match="CXX='no-such-compiler': expected the path of a compiler .* Install g"):
        build.library()


def test_libraries_for_more_architectures_serve(fresh):
    cxx, nvcc = Compiler("/usr/bin/x86_64-linux-gnu-g++", "12.2.0"), Compiler("/opt/bin/nvcc", "13.0.88")
    ahead = build.Plan(cxx, nvcc, (80, 90))
    assert build._name(ahead) == "ops-x86_64_linux_gnu_g++12.2.0-nvcc13.0.88-sm80-sm90.so"

    def make(name):
        path = fresh / name
        path.touch()
        build._digest_file(path).write_text(sha256_of(path))

    make(build._name(ahead))

    def find(*plan):
        return build._find(fresh, build.Plan(*plan))

    for plan in ((cxx, nvcc, (90,)), (cxx, None, ()), (None, None, (80,)), (None, None, ()), (cxx, None, (80, 90))):
        assert find(*plan).name == build._name(ahead), plan
    assert find(cxx, nvcc, (75,)) is None
    assert find(cxx, Compiler(nvcc.path, "12.5.0"), (90,)) is None
    assert find(Compiler(cxx.path, "13.1.0"), None, ()) is None
    exact = build._name(build.Plan(cxx, nvcc, (90,)))
    make(exact)
    assert find(cxx, nvcc, (90,)).name == exact


# ----------------------------------------------------------------------------
# For which processor.


@needs_cxx
def test_only_our_kernels_are_compiled_for_this_processor(small_sources):
    """TensorFlow's headers do not compile for all processors that compilers know."""
    _, log = small_sources
    build.library(verbose=False)
    lines = log.read_text().splitlines()
    ops, kernel = (next(line for line in lines if f"/{name}.cc " in line) for name in ("ops", "cpu_two"))
    assert "native" not in ops and "-march" not in ops and "tensorflow/include" in ops
    assert "tensorflow" not in kernel
    for option in toolchain.native_options(toolchain.find_cxx()):
        assert f" {option} " in kernel


@pytest.mark.parametrize("takes", ["-march=native", "-mcpu=native", None])
def test_option_for_this_processor(tmp_path, takes):
    """As compilers for x86 take it, as some for arm64 do, and none."""
    case = f"case \"$*\" in *{takes}*) exit 0;; *=native*) echo 'unknown value'; exit 1;; esac"
    compiler = Compiler(str(program(tmp_path / "g++", case)), "1.0")
    assert toolchain.native_options(compiler) == ((takes,) if takes else ())


def test_processor_that_the_compiler_cannot_serve(small_sources, monkeypatch):
    """Said at once; nothing else is tried."""
    _, log = small_sources
    words = 'case "$*" in *native*cpu_two.cc*) echo "no such instruction: vmovw"; exit 1;; esac'
    slow = os.environ["CXX"]
    monkeypatch.setenv("CXX", str(program(log.parent / "other" / "g++", f'{words}\nexec {slow} "$@"')))
    with pytest.raises(BuildError, match="(?s)no such instruction.*native.*may be too new for compiler or assem"):
        build.library(verbose=False)
    assert "cpu_two.cc" not in log.read_text()


# ----------------------------------------------------------------------------
# What goes wrong. The program goes on with 'ref'.


def assert_ref_runs(capfd, *messages):
    """An op runs as TensorFlow ops; stderr says so, and why, once."""
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(1, 2, 2, 3)
    for _ in range(2):
        y = fused_bias_act(x, [1.0, 2.0, 3.0], axis=-1, act="relu", gain=1)
        np.testing.assert_allclose(y, np.maximum(x + np.array([1, 2, 3]), 0), rtol=1e-6)
        upsample_2d(x, data_format="NHWC")
    err = capfd.readouterr().err
    assert err.count("Custom ops: TensorFlow ops ('ref'); ") == 1
    for message in messages:
        assert err.count(message) == 1, err


def test_compiler_that_fails(fresh, monkeypatch, capfd):
    words = "[ $1 = --version ] && { echo 'g++ (Fake) 12.2.0'; exit; }\necho 'ops.cc:1: error: I cannot'\nexit 1"
    program(fresh / "bin" / "g++", words)
    monkeypatch.setenv("PATH", f"{fresh / 'bin'}:{os.environ['PATH']}")
    remedy = "STYLEGAN2_OPS=ref runs the TensorFlow ops without building anything."
    assert_ref_runs(capfd, "ended with status 1:\nops.cc:1: error: I cannot\n", "Install g++ 9 or newer", remedy)
    (folder,) = build.cache_dir().iterdir()
    assert list(folder.iterdir()) == []  # neither a library nor a lock nor objects
    with pytest.raises(UserError, match="(?s)impl='cpu': no compiled ops: .*I cannot"):
        fused_bias_act(tf.zeros([1, 3]), act="relu", impl="cpu")


def test_no_compiler(fresh, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(fresh))
    assert_ref_runs(capfd, "no C++ compiler found. Install g++ 9 or newer (Debian, Ubuntu: apt install g++)")
    assert not build.cache_dir().exists()


@needs_cxx
def test_cache_that_cannot_be_written(fresh, monkeypatch, capfd):
    fresh.joinpath("file").touch()
    monkeypatch.setenv("STYLEGAN2_OPS_CACHE", str(fresh / "file" / "cache"))
    assert_ref_runs(capfd, "Set STYLEGAN2_OPS_CACHE to a folder that can be written.")


@needs_cxx
def test_library_that_cannot_be_loaded(fresh, capfd):
    path = build.cache_dir() / build._key() / build._name(build._plan())
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x7fELF")
    build._digest_file(path).write_text(sha256_of(path))
    assert_ref_runs(capfd, f"{path} cannot be loaded: ", "Delete the file, and it is built again.")


def test_gpu_without_nvcc(fresh, monkeypatch):
    monkeypatch.setattr(build, "visible_archs", lambda: (90,))
    monkeypatch.setenv("NVCC", "no-such-compiler")
    with pytest.raises(BuildError, match="sees GPUs \\(sm_90\\), but nvcc, .* was not found. Install a CUDA toolkit"):
        build.library()


@needs_cxx
@pytest.mark.skipif(not toolchain.levels_of_cpu(), reason="no x86-64-v2 or better")
def test_library_for_a_kind_of_processors(small_sources, monkeypatch):
    """Built ahead it serves every processor of the kind, with and without a compiler; its own comes first."""
    _, log = small_sources
    level = toolchain.levels_of_cpu()[-1]
    cxx = toolchain.find_cxx()
    built = build.library(build.Plan(cxx, None, (), level), verbose=False)
    assert f"-march={level} " in log.read_text()
    assert build.library(verbose=False) == built
    monkeypatch.setattr(toolchain, "find_cxx", lambda: None)
    assert build.library(verbose=False) == built
    monkeypatch.setattr(toolchain, "levels_of_cpu", lambda: [])  # an older processor
    with pytest.raises(BuildError, match="expected the path of a compiler"):
        build.library(verbose=False)
    monkeypatch.setattr(toolchain, "find_cxx", lambda: cxx)
    assert build.library(verbose=False) != built


def test_kinds_of_processors(monkeypatch):
    v2 = "flags : fpu cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"
    v3 = f"{v2} avx2 bmi1 bmi2 f16c fma abm movbe xsave"
    v4 = f"{v3} avx512f avx512bw avx512cd avx512dq avx512vl"
    for flags, count in ((v4, 3), (v3, 2), (v2, 1), (v4.replace(" fma", ""), 1), ("Features : fp asimd", 0)):
        monkeypatch.setattr(toolchain, "cpu_name", lambda: flags)
        assert toolchain.levels_of_cpu() == list(toolchain.LEVELS)[3 - count :]


# ----------------------------------------------------------------------------
# The choice.


def test_choice(fresh, monkeypatch, capfd):
    ops = ("StyleganBiasAct",)
    kernels = {op: {("CPU", "float32"), ("GPU", "float32")} for op in build.OPS}
    kernels["StyleganUpfirdn2D"] = {("GPU", "float32")}
    monkeypatch.setattr(implementation, "_kernels", lambda: kernels)
    monkeypatch.setattr(build, "_loaded", (object(), "built with love"))
    choose = implementation.choose
    assert choose("ref", ops, tf.float32) == "ref"
    assert choose("auto", ops, tf.float32) == choose("cpu", ops, tf.float32) == "cpu"
    assert choose("auto", ops, tf.float16) == "ref"  # not among the kernels
    assert choose("auto", ops, tf.float64) == "ref"
    assert choose("auto", ("StyleganUpfirdn2D",), tf.float32) == "ref"
    assert choose("auto", ops, tf.float32, "filters too large") == "ref"
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "Custom ops: CPU kernels; built with love"
    assert lines[1].startswith(
        "Custom ops: TensorFlow ops ('ref'); the library (built with love) has no CPU kernels of "
    )

    monkeypatch.setenv("STYLEGAN2_OPS", "ref")
    assert choose("auto", ops, tf.float32) == choose("auto", ops, tf.float16) == "ref"
    assert capfd.readouterr().err == "Custom ops: TensorFlow ops ('ref'); STYLEGAN2_OPS=ref\n"
    assert choose("cpu", ops, tf.float32) == "cpu"  # the argument goes first
    with implementation.using("xla"):
        assert choose("auto", ops, tf.float32) == "xla"
    assert capfd.readouterr().err == ""  # what a program takes for a part of it says nothing of the machine
    monkeypatch.setenv("STYLEGAN2_OPS", "cuda")
    with pytest.raises(UserError, match="^STYLEGAN2_OPS=cuda: TensorFlow sees no GPU, and the CUDA kernels need one"):
        choose("auto", ops, tf.float32)
    monkeypatch.setenv("STYLEGAN2_OPS", "fast")
    with pytest.raises(UserError, match="STYLEGAN2_OPS: expected one of auto, ref, cuda, cpu, xla, got 'fast'"):
        choose("auto", ops, tf.float32)
    monkeypatch.delenv("STYLEGAN2_OPS")

    with pytest.raises(UserError, match="impl='cuda': TensorFlow sees no GPU"):
        choose("cuda", ops, tf.float32)
    with pytest.raises(UserError, match="impl='cpu': expected float32, float16, bfloat16, got float64"):
        choose("cpu", ops, tf.float64)
    with pytest.raises(UserError, match="impl='cpu': the library \\(built with love\\) has no CPU kernels of Stylegan"):
        choose("cpu", ("StyleganUpfirdn2D",), tf.float32)
    with pytest.raises(UserError, match="impl='cpu': filters too large"):
        choose("cpu", ops, tf.float32, "filters too large")
    with pytest.raises(ValueError, match="impl must be one of 'auto', 'ref', 'cuda', 'cpu', 'xla', got 'gpu'"):
        choose("gpu", ops, tf.float32)


def test_choice_with_gpu(fresh, monkeypatch, capfd):
    """Where a GPU is visible: its kernels, and 'ref' without them, but never the CPU's."""
    ops = ("StyleganBiasAct",)
    kernels = {op: {("CPU", "float32"), ("GPU", "float32")} for op in build.OPS}
    monkeypatch.setattr(implementation, "_has_gpu", lambda: True)
    monkeypatch.setattr(implementation, "_kernels", lambda: kernels)
    monkeypatch.setattr(build, "_loaded", (object(), "built with love"))
    monkeypatch.setattr(build, "cuda_problem", lambda: None)
    assert implementation.choose("auto", ops, tf.float32) == "cuda"
    assert capfd.readouterr().err == "Custom ops: CUDA kernels; built with love\n"
    implementation._automatic.cache_clear()
    monkeypatch.setattr(build, "cuda_problem", lambda: "CUDA: driver too old")
    assert implementation.choose("auto", ops, tf.float32) == "ref"
    with pytest.raises(UserError, match="impl='cuda': CUDA: driver too old"):
        implementation.choose("cuda", ops, tf.float32)
    implementation._automatic.cache_clear()
    kernels["StyleganBiasAct"] = {("CPU", "float32")}
    assert implementation.choose("auto", ops, tf.float32) == "ref"


# ----------------------------------------------------------------------------
# The whole library.


@needs_cxx
def test_cpu_kernels_are_built_here():
    """All ops have CPU kernels, those of images of the three types, and 'auto' takes them."""
    kernels = build.kernels(build.load())
    assert all(kernels[op] >= {("CPU", dtype) for dtype in implementation.KERNEL_DTYPES} for op in OPS_OF_IMAGES)
    assert all(("CPU", "float32") in kernels[op] for op in build.OPS)
    if not tf.config.get_visible_devices("GPU") and "STYLEGAN2_OPS" not in os.environ:
        assert implementation.choose("auto", OPS_OF_IMAGES, tf.bfloat16) == "cpu"


@needs_nvcc
def test_cuda_kernels_are_built_and_loaded():
    """With nvcc the CUDA kernels compile, link, load and register; without a GPU they are not chosen.

    The library stays in the user's cache: only changes build it again.
    """
    known = toolchain.supported_archs(toolchain.find_nvcc())
    arch = 90 if 90 in known else known[-1]
    code = f"""if True:
        import tensorflow as tf
        from dnnlib.errors import UserError
        from dnnlib.tflib.ops import build, implementation, toolchain
        from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
        path = build.library(build.Plan(toolchain.find_cxx(), toolchain.find_nvcc(), ({arch},)))
        build.library = lambda: path
        print(build.reason())
        kernels = build.kernels(build.load())
        assert all(of_op >= {{("CPU", "float32"), ("GPU", "float32")}} for of_op in kernels.values())
        found = set.intersection(*(kernels[op] for op in {OPS_OF_IMAGES}))
        print(*sorted(" ".join(kernel) for kernel in found), sep=", ")
        if not tf.config.get_visible_devices("GPU"):
            print(build.cuda_problem())
            print(fused_bias_act([[-2.0]], act="lrelu", gain=1).numpy().item())
            try:
                fused_bias_act([[-2.0]], impl="cuda")
            except UserError as error:
                print(error)
    """
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    env.pop("STYLEGAN2_OPS", None)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reason, found, *rest = done.stdout.splitlines()
    assert reason.endswith(f" for sm{arch}") and found == ", ".join(
        f"{device} {dtype}" for device in ("CPU", "GPU") for dtype in sorted(implementation.KERNEL_DTYPES)
    )
    if rest:
        problem, value, error = rest
        assert problem.startswith("CUDA: ") and float(value) == pytest.approx(-0.4)
        assert error.startswith("impl='cuda': TensorFlow sees no GPU, and the CUDA kernels need one")
        assert done.stderr.count("Custom ops: CPU kernels; built with ") == 1


def test_build_ahead_says_what_is_wrong(monkeypatch):
    nvcc = toolchain.find_nvcc()
    monkeypatch.setenv("NVCC", "no-such-compiler")
    with pytest.raises(BuildError, match="--arch=90: no nvcc found. Install a CUDA toolkit"):
        build._archs("90", None, ())
    assert build._archs(None, None, ()) == build._archs("none", nvcc, (90,)) == ()
    if nvcc:
        assert build._archs("90,80,90", nvcc, ()) == (80, 90)
        assert build._archs(None, nvcc, (90,)) == (90,)
        assert set(build._archs(None, nvcc, ())) <= set(toolchain.supported_archs(nvcc))
        for text in ("12", "sm_90", "90,", ""):
            with pytest.raises(BuildError, match=f"--arch={text}: expected some of .*90.*, or none"):
                build._archs(text, nvcc, ())


@pytest.mark.slow
@needs_nvcc
def test_build_ahead(tmp_path):
    """The whole library, built in an empty cache by the command; the second time it is found there."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "STYLEGAN2_OPS_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "dnnlib.tflib.ops.build", "--arch", "90"]
    first, second = (subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True) for _ in range(2))
    assert first.returncode == second.returncode == 0
    assert "Building the custom ops" in first.stderr and "Building the custom ops" not in second.stderr
    assert first.stdout == second.stdout
    rows = dict(line.split(maxsplit=1) for line in first.stdout.splitlines() if line.startswith("Stylegan"))
    dtypes = sorted(implementation.KERNEL_DTYPES)
    expected = ", ".join(f"{device} {dtype}" for device in ("CPU", "GPU") for dtype in dtypes)
    assert rows == dict.fromkeys(build.OPS, expected)
