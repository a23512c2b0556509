"""What `make demo` does: an image grid and a style-mixing grid from the network in demo/."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NETWORK = Path("demo") / "random-64x64.pkl"
COMMANDS = [
    [
        *("generate-images", "--seeds=0-31", "--grid=8x4", "--minibatch-size=8", "--truncation-psi=1.0"),
    ],
    [
        *("style-mixing-example", "--row-seeds=4,9,12,17", "--col-seeds=24,28,30,31", "--truncation-psi=1.0"),
    ],
]


def main() -> None:
    """Runs the commands, showing them, and says where the pictures are."""
    print(f"The network in {NETWORK} is untrained: its pictures are colourful shapes.", flush=True)
    start = time.time()
    for args in COMMANDS:
        command = ["run_generator.py", args[0], f"--network={NETWORK}", *args[1:]]
        print("\n$ python " + " ".join(command), flush=True)
        result = subprocess.run([sys.executable, *command], cwd=ROOT, check=False)
        if result.returncode:
            sys.exit(result.returncode)
    grids = sorted((ROOT / "results").glob("*/grid.png"), key=lambda path: path.stat().st_mtime)
    grids = [path for path in grids if path.stat().st_mtime >= start]
    print("\nThe pictures:")
    for path in grids[-len(COMMANDS) :]:
        print(f"  {path}")


if __name__ == "__main__":
    main()
