"""Makes the demo network of a training: `demo/symbols-32x32.pkl`, and its log, curve and pictures under docs/.

Usage: python tools/publish_demo_network.py RUN_DIR

RUN_DIR is a run of configs/demo-network.yaml. The newest network snapshot is taken; its Gs alone is kept.
"""

import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools import demo

NETWORK = demo.ROOT / demo.NETWORK
DOCS = demo.ROOT / "docs"
PICTURES = {"demo-grid.png": demo.GRID, "demo-style-mixing.png": demo.MIXING, "demo-interpolation.png": demo.BETWEEN}


def enlarge(source: Path, target: Path, crop: tuple[int, int] | None = None, factor: int = 2) -> None:
    """Copies a picture with every pixel doubled; `crop` keeps so many pixels from the top left."""
    from PIL import Image

    picture = Image.open(source)
    if crop is not None:
        picture = picture.crop((0, 0, *crop))
    picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST).save(target)


def main(run_dir: Path) -> None:
    """Writes the files."""
    from training import misc

    snapshot = max(run_dir.glob("network-snapshot-*.pkl"))
    _G, _D, Gs = misc.load_pkl(str(snapshot))
    misc.save_pkl(Gs, str(NETWORK))
    print(f"{snapshot.name}: Gs is {NETWORK.stat().st_size / 1e6:.1f} MB")

    log = (run_dir / "log.txt").read_text()
    ticks = re.findall(r"^tick .*$", log, re.M)
    (DOCS / "demo-network-log.txt").write_text("\n".join(ticks) + "\n")
    fakes = max(run_dir.glob("fakes[0-9]*.png"))
    enlarge(fakes, DOCS / "demo-network-fakes.png", crop=(512, 320))
    enlarge(run_dir / "reals.png", DOCS / "demo-network-reals.png", crop=(512, 160))
    with tempfile.TemporaryDirectory() as folder:
        for name, (command, *args) in PICTURES.items():
            demo.run("run_generator.py", command, f"--network={demo.NETWORK}", *args, f"--result-dir={folder}")
            enlarge(demo.newest("*/grid.png", Path(folder)), DOCS / name)
    demo.run("tools/training_curve.py", str(run_dir.resolve()), "--table")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
