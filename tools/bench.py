"""Times what docs/benchmarks.md reports.

Usage: python tools/bench.py [--only generating|metrics|projecting|training] [--rounds 9] [--keep PKL]

Everything that is compared is measured in the same run, in turns; the figures are medians.
"""

import argparse
import os
import platform
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Runs the benchmarks and prints a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=("generating", "metrics", "projecting", "training"), help="default: all")
    parser.add_argument("--rounds", type=int, default=9, help="a third of it for training (default: %(default)s)")
    parser.add_argument("--resolution", type=int, default=1024, help="when generating (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="write the network pickle for generating here and keep it")
    parser.add_argument("--training-resolution", type=int, default=64, help="(default: %(default)s)")
    parser.add_argument(
        "--minibatch", type=int, default=8, help="when training, and of metric networks (default: %(default)s)"
    )
    args = parser.parse_args()

    import tensorflow as tf

    print(f"TensorFlow {tf.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPU cores")
    if args.only in (None, "generating"):
        import bench_generating

        bench_generating.bench(args.resolution, args.rounds, args.keep)
    if args.only in (None, "metrics"):
        import bench_metrics

        bench_metrics.bench(args.rounds, args.minibatch)
    if args.only in (None, "projecting"):
        import bench_projecting

        bench_projecting.bench(args.training_resolution, args.rounds)
    if args.only in (None, "training"):
        import bench_training

        bench_training.bench(args.training_resolution, args.minibatch, max(args.rounds // 3, 1))


if __name__ == "__main__":
    main()
