"""Times what docs/benchmarks.md reports.

Usage: python tools/bench.py [--only generating,training] [--resolution 64] [--minibatch 1,4] [--precision fp32,bf16]
                             [--impl auto,ref] [--config config-f] [--rounds 9]

Everything that is compared is measured in the same run, in turns; the figures are medians.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib import flags
from dnnlib.command_line import import_tensorflow_quietly
from tools.benchmarks.table import PRECISIONS, Options, describe_machine, print_tables

BENCHMARKS = {
    "generating": "tools.benchmarks.generating.bench",
    "training": "tools.benchmarks.training.bench",
    "augmentation": "tools.benchmarks.augmentation.bench",
    "metrics": "tools.benchmarks.metrics.bench",
    "input": "tools.benchmarks.training.bench_input",
    "projecting": "tools.benchmarks.projecting.bench",
    "loading": "tools.benchmarks.generating.bench_loading",
    "start-up": "tools.benchmarks.generating.bench_start_up",
}


def _one_of(*choices: str) -> Any:
    """Names with commas between, of some choices."""

    def names(text: str) -> list[str]:
        result = flags.names(text)
        if not result or not set(result) <= set(choices):
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(choices)} with commas between, got {text!r}")
        return result

    return names


def _results(names: list[str], options: Options) -> Iterator[Any]:
    for name in names:
        module, function = BENCHMARKS[name].rsplit(".", 1)
        yield from getattr(importlib.import_module(module), function)(options)


def main() -> None:
    """Runs benchmarks and prints their tables."""
    parser = flags.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    only_help = f"of {', '.join(BENCHMARKS)} (default: all)"
    add("--only", type=_one_of(*BENCHMARKS), default=list(BENCHMARKS), help=only_help)
    rounds_help = "a third of it for training (default: %(default)s)"
    add("--rounds", type=flags.positive, default=9, help=rounds_help)
    add("--config", default="config-f", choices=("config-e", "config-f"), help="of networks (default: %(default)s)")
    add("--resolution", type=flags.positive, help="(default: generating, loading 1024; the others 64)")
    add("--minibatch", type=flags.num_list, default=[], help="(default: generating 1,4; training 8,4; others 8)")
    precision_help = f"some of {','.join(PRECISIONS)} (default: fp32,bf16)"
    add("--precision", type=_one_of(*PRECISIONS), default=["fp32", "bf16"], help=precision_help)
    impl_help = "of custom ops, some of auto,ref,cpu,cuda,xla (default: auto,ref)"
    add("--impl", type=_one_of("auto", "ref", "cpu", "cuda", "xla"), default=["auto", "ref"], help=impl_help)
    args = parser.parse_args()
    options = Options(args.rounds, args.config, args.resolution, args.minibatch, args.precision, args.impl)
    import_tensorflow_quietly()
    print(describe_machine(), flush=True)
    print_tables(_results(args.only, options))


if __name__ == "__main__":
    main()
