"""What `make demo` does: trains a small network from nothing, and shows what it and the trained demo network paint."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATASET = Path("datasets") / "symbols-32"
NETWORK = Path("demo") / "symbols-32x32.pkl"
GRID = ("generate-images", "--seeds=0-63", "--grid=16x4", "--minibatch-size=16", "--truncation-psi=0.8")
MIXING = (
    *("style-mixing-example", "--row-seeds=1,2,3,4,5", "--col-seeds=11,12,13,14,15,16,17"),
    *("--col-styles=0-3", "--truncation-psi=0.8"),
)
BETWEEN = ("interpolation-grid", "--seeds=1,2,3,4", "--grid=10x6", "--truncation-psi=0.8")


def run(*command: str) -> None:
    """Runs a script, showing its command line. A failure ends the demo."""
    print("\n$ python " + " ".join(command), flush=True)
    result = subprocess.run([sys.executable, *command], cwd=ROOT, check=False)
    if result.returncode:
        sys.exit(result.returncode)


def newest(pattern: str, folder: Path = ROOT / "results") -> Path:
    """The newest file of the results with such a name."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime)


def generate(network: Path, *args: str) -> Path:
    """Runs `run_generator.py`; its grid."""
    run("run_generator.py", args[0], f"--network={network}", *args[1:])
    return newest("*/grid.png")


def main() -> None:
    """Runs the commands and says where the pictures are."""
    start = time.monotonic()
    if not (ROOT / DATASET).exists():
        run("dataset_tool.py", "create_symbols", str(DATASET), "--resolution=32")
    run("run_training.py", "--options=configs/demo.yaml")
    trained = newest("*/network-final.pkl")
    pictures = {
        "real images": trained.parent / "reals.png",
        "the network just trained": generate(trained.relative_to(ROOT), *GRID),
        f"{NETWORK}, trained for longer": generate(NETWORK, *GRID),
        "its styles, mixed": generate(NETWORK, *MIXING),
        "between four of its images": generate(NETWORK, *BETWEEN),
    }
    print(f"\nDone in {(time.monotonic() - start) / 60:.1f} minutes. The pictures:")
    for title, path in pictures.items():
        print(f"  {title:<40s} {path}")


if __name__ == "__main__":
    main()
