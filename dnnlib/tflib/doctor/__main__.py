"""The command: one line and one verdict for each thing; the exit status is 1 if there is a problem."""

import os
import sys

from dnnlib import flags
from dnnlib.commands import as_called
from dnnlib.errors import counted, reason_of
from dnnlib.streams import hidden_notes
from dnnlib.tflib.ops import toolchain

from . import machine
from .verdicts import PROBLEM, WARNING, examine


def main() -> int:
    """Prints the report. TensorFlow is imported by another process: this one goes on if it cannot be."""
    parser = flags.ArgumentParser(
        prog=as_called("python -m dnnlib.tflib.doctor"),
        description="Tells whether this machine is fit: TensorFlow, GPUs, driver, compilers, custom ops (which it"
        " builds if they are not there), memory, disk. The exit status is 1 if there is a problem.",
    )
    parser.add_argument(
        "--result-dir", default="results", help="root folder of run folders (default: %(default)s)", metavar="DIR"
    )
    flags.add_version(parser)
    build_help = "only build the custom ops, and tell of what and with what; the exit status is 1 if that fails"
    parser.add_argument("--build", action="store_true", help=build_help)
    toolchain.add_targets(parser.add_argument_group("with --build"))
    args = parser.parse_args()
    for name in ("arch", "cpu"):
        if getattr(args, name) is not None and not args.build:
            parser.error(f"--{name} is for --build")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # paths and words of programs, on terminals that cannot show them
    if args.build:
        return _build(args.arch, args.cpu)
    print("Looking at this machine; custom ops are built if they are not there ...", file=sys.stderr, flush=True)
    findings = examine(machine.gather(args.result_dir, machine.ask_tensorflow()))
    for finding in findings:
        print(f"{finding.verdict:8s} {finding}")
    verdicts = [finding.verdict for finding in findings]
    problems, warnings = verdicts.count(PROBLEM), verdicts.count(WARNING)
    if problems or warnings:
        print(f"\n{counted(problems, 'problem')}, {counted(warnings, 'warning')}.")
    else:
        print("\nAll is well.")
    return 1 if problems else 0


def _build(arch: str | None, cpu: str | None) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with hidden_notes():
            import tensorflow  # noqa: F401
        from dnnlib.tflib.ops.build import build_ahead
    except ImportError as error:
        print(f"Error: TensorFlow cannot be imported: {reason_of(error)}", file=sys.stderr)
        return 1
    return build_ahead(arch, cpu)


if __name__ == "__main__":
    sys.exit(main())
