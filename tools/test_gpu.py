"""Runs the numbers of the official code on a GPU, in every implementation, precision and layout.

Usage: python tools/test_gpu.py [--device gpu|cpu] [--minutes 5] [--jobs N] [--only cuda-fp32-nhwc,...] [--logs DIR]

Each way to compute is a process of pytest, because TensorFlow keeps it for a whole process; several run at once, the
most important first. What is missing on the machine besides TensorFlow, NumPy and pytest is skipped and said so.
Exit status: 0 if all that was to run has passed, on the device.
"""

import argparse
import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WAYS = [  # implementation of custom ops, precision, layout of convolutions
    ("compiled", "fp32", "nhwc"),
    ("ref", "fp32", "nhwc"),
    ("compiled", "tf32", "nhwc"),
    ("compiled", "fp16", "nhwc"),
    ("compiled", "fp32", "optimizer"),
    ("compiled", "bf16", "nhwc"),
    ("ref", "fp16", "nhwc"),
    ("compiled", "fp16", "optimizer"),
    ("ref", "fp32", "optimizer"),
    ("ref", "tf32", "nhwc"),
    ("ref", "bf16", "nhwc"),
]
_WHOLE = 4  # of them run all parts
PARTS = {  # of about the same length
    "generators": ["nets/test_networks.py", "-k", "test_generator_gradients"],
    "networks": ["nets/test_networks.py", "-k", "not test_generator_gradients", "tflib/test_pickles.py"],
    "losses": ["training/test_loss.py", "training/test_ada_loss.py", "nets/test_ada_networks.py"],
    "others": [
        *("ops/test_ops.py", "ops/test_kernels_in_tensorflow.py", "ops/test_variable_ops.py", "nets/test_layers.py"),
        *("training/test_training_step.py", "training/test_ada_steps.py", "projection/test_projector.py"),
        *("training/test_augment.py", "metrics/test_metric_nets.py", "metrics/test_perceptual_path_length.py"),
    ],
}
"""Files of tests, and arguments of pytest."""
_FINDS_A_GPU = "import tensorflow as tf; raise SystemExit(0 if tf.config.list_physical_devices('GPU') else 3)"


class Job(NamedTuple):
    """A process: a way to compute, and what of the tests."""

    impl: str
    precision: str
    layout: str
    part: str

    @property
    def way(self) -> str:
        """The name of the way to compute."""
        return f"{self.impl}-{self.precision}-{self.layout}"

    def start(self, device: str, log: Path) -> subprocess.Popen:
        """Starts it; it writes to a file."""
        what = [f"tests/{word}" if word.endswith(".py") else word for word in PARTS[self.part]]
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "-p", "no:cacheprovider", *what]
        env = {
            **{"TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true", **os.environ},
            **{"STYLEGAN2_TEST_DEVICE": device, "STYLEGAN2_OPS": self.impl},
            **{"STYLEGAN2_TEST_PRECISION": self.precision, "STYLEGAN2_TEST_LAYOUT": self.layout},
        }
        with open(log, "wb") as file:
            return subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT)


def outcome(log: str, code: int | None) -> tuple[str, bool]:
    """In a line: what came of a process that wrote this log, and whether that is good. code: None if it was stopped."""
    counted = re.findall(r"^[=\s]*(.*\d+ (?:passed|failed|skipped|error|deselected).*?)[=\s]*$", log, re.MULTILINE)
    said = counted[-1] if counted else f"no test has ended (exit status {code})"
    if code is None:
        return f"STOPPED: out of time; {said}", False
    if code == 5:
        return "nothing to test", True
    return said, code == 0


def run(jobs: list[Job], device: str, at_once: int, seconds: float, logs: Path) -> list[Job]:
    """Runs jobs in their order, several at once, prints a line for each, and returns those that are not good."""
    end, waiting, bad = time.monotonic() + seconds, list(jobs), []
    running: dict[Job, tuple[subprocess.Popen, Path]] = {}
    try:
        while waiting or running:
            late = time.monotonic() > end
            while waiting and len(running) < at_once and not late:
                job = waiting.pop(0)
                log = logs / f"{job.way}-{job.part}.log"
                running[job] = job.start(device, log), log
            if late and not running:
                break
            for job, (process, log) in list(running.items()):
                if late:
                    _stop(process)
                code = None if late else process.poll()
                if code is None and not late:
                    continue
                del running[job]
                text = log.read_text(errors="replace")
                line, good = outcome(text, code)
                print(f"{'ok  ' if good else 'FAIL'} {job.way:25} {job.part:11} {line}", flush=True)
                if not good:
                    bad.append(job)
                    print(_failures(text), flush=True)
            time.sleep(0.2)
    finally:
        for process, _log in running.values():
            with contextlib.suppress(OSError):
                process.kill()
    for job in waiting:
        print(f"FAIL {job.way:25} {job.part:11} NOT STARTED: out of time")
    return bad + waiting


def _stop(process: subprocess.Popen) -> None:
    """As Ctrl-C does, after which pytest says what has failed so far; without patience."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    process.kill()
    process.wait()


def _failures(log: str) -> str:
    """What a log says of failures, briefly."""
    lines = [line for line in log.splitlines() if re.match(r"(E  |FAILED|ERROR|_+ .* _+$|.*Error: )", line)]
    return "\n".join(f"       {line[:200]}" for line in (lines or log.splitlines())[-30:])


def _names(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    """Parses the command line and runs the tests."""
    names = ["-".join(way).replace("compiled", "IMPL") for way in WAYS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--device", choices=("gpu", "cpu"), default="gpu", help="cpu: it plays the GPU, to rehearse (default: gpu)")
    add("--minutes", type=float, default=5, help="what has not ended by then has failed (default: %(default)s)")
    add("--jobs", type=int, default=max((os.cpu_count() or 2) - 2, 1), help="processes at once (default: %(default)s)")
    ways = f"some of {', '.join(names)}, where IMPL is cuda, or cpu on a CPU"
    add("--only", type=_names, help=ways, metavar="WAYS")
    add("--parts", type=_names, help=f"some of {', '.join(PARTS)}", metavar="PARTS")
    add("--logs", type=Path, help="folder for what pytest says (default: a temporary one)", metavar="DIR")
    args = parser.parse_args()
    if not (args.jobs > 0 and args.minutes > 0):
        parser.error(f"--jobs={args.jobs} --minutes={args.minutes}: expected numbers above 0")
    quiet = {"env": {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}, "stderr": subprocess.DEVNULL, "check": False}
    compiled = {"gpu": "cuda", "cpu": "cpu"}[args.device]
    names = [name.replace("IMPL", compiled) for name in names]
    for flag, given, known in (("--parts", args.parts, list(PARTS)), ("--only", args.only, names)):
        for name in given or []:
            if name not in known:
                parser.error(f"{flag}={name}: expected some of {', '.join(known)}")
    if args.device == "gpu":
        status = subprocess.run([sys.executable, "-c", _FINDS_A_GPU], **quiet).returncode
        if status:
            why = "sees no GPU" if status == 3 else f"cannot be imported by {sys.executable}"
            print(f"TensorFlow {why}: nothing was tested. `make test-gpu DEVICE=cpu` rehearses on the CPU.")
            sys.exit(1)
    parts = args.parts or list(PARTS)
    jobs = [
        Job(impl.replace("compiled", compiled), *way, part)
        for number, (impl, *way) in enumerate(WAYS)
        for part in parts
        if args.parts or number < _WHOLE or part != "generators"  # the longest: second gradients
    ]
    jobs = [job for job in jobs if args.only is None or job.way in args.only]
    if importlib.util.find_spec("pytest") is None:
        parser.error(f"{sys.executable} has no pytest: pip install pytest, or PYTHON_GPU=PYTHON for make")
    start = time.monotonic()
    if args.device == "gpu":  # once, before all wait for it
        subprocess.run([sys.executable, "-m", "dnnlib.tflib.ops.build"], cwd=ROOT, check=False)
    with contextlib.ExitStack() as stack:
        logs = args.logs or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        logs.mkdir(parents=True, exist_ok=True)
        bad = run(jobs, args.device, args.jobs, 60 * args.minutes, logs)
    print(f"{len(jobs) - len(bad)} of {len(jobs)} passed, in {time.monotonic() - start:.0f} s")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
