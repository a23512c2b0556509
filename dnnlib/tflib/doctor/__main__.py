"""The command: one line and one verdict for each thing; the exit status is 1 if there is a problem."""

import argparse
import sys

from dnnlib.errors import counted

from . import machine
from .verdicts import PROBLEM, WARNING, examine


def main() -> int:
    """Prints the report. TensorFlow is imported by another process: this one goes on if it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m dnnlib.tflib.doctor",
        description="Tells whether this machine is fit: TensorFlow, GPUs, driver, compilers, custom ops (which it"
        " builds if they are not there), memory, disk. The exit status is 1 if there is a problem.",
    )
    parser.add_argument(
        "--result-dir", default="results", help="root folder of run folders (default: %(default)s)", metavar="DIR"
    )
    args = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # paths and words of programs, on terminals that cannot show them
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


if __name__ == "__main__":
    sys.exit(main())
