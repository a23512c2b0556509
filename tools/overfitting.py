"""How far the discriminators of runs overfit, and what becomes of their images: one picture and a JSON file.

Usage: python tools/overfitting.py RUN_DIR [RUN_DIR ...] --held-out DATASET [--output docs/ada-overfitting.png]

For each run:
* r_t, the mean sign of the discriminator's scores of the training images it is shown, from stats.jsonl (`--aug=noaug`
  reports it as well), and p;
* at each snapshot r_v = (E[D(training)] - E[D(held out)]) / (E[D(training)] - E[D(generated)]): 0 where it scores
  images that it has never seen like those it was trained on, 1 where it takes them for generated ones (arXiv:
  2006.06676, equation 1);
* at each snapshot the Fréchet distance of generated images to held-out ones, as in tools/training_curve.py.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import numpy as np

from dnnlib.command_line import import_tensorflow_quietly
from dnnlib.errors import UserError, exits_on_user_error
from dnnlib.files import atomic_write
from dnnlib.flags import ArgumentParser, positive
from dnnlib.progress import Progress
from tools.training_curve import MINIBATCH, Measurement, add_arguments, find_snapshots, generate, save, subplots, tidy
from training.run_folder.options_file import load_for_data

_TAGS = {"r_t": "Loss/signs/real", "p": "Progress/augment"}

# ----------------------------------------------------------------------------
# Measuring.


def statistics(run_dir: str) -> dict[str, list[tuple[float, float]]]:
    """(kimg, value) of what the run has reported. Raises UserError if it has no r_t."""
    path = Path(run_dir) / "stats.jsonl"
    if not path.exists():
        raise UserError(f"{path}: no such file, expected the folder of a run")
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    curves = {
        name: [(record["cur_nimg"] / 1000, round(record[tag], 4)) for record in records if tag in record]
        for name, tag in _TAGS.items()
    }
    if not curves["r_t"]:
        raise UserError(f"{path}: has no {_TAGS['r_t']}; runs with --aug=noaug, ada or fixed report it")
    return curves


def mean_score(D: Any, images: np.ndarray) -> float:
    """The mean score of images uint8 [N, C, H, W]."""
    images = images.astype(np.float32) / 127.5 - 1
    return float(np.mean(D.run(images, None, minibatch_size=MINIBATCH)))


def measure_run(run_dir: str, held_out: str, num_images: int, seed: int, every: int = 1) -> dict[str, Any]:
    """All values of a run. Raises UserError if it is no run, has no snapshots, or does not fit the held-out images."""
    from training.data import dataset
    from training.misc import load_pkl

    curves = statistics(run_dir)
    options = load_for_data(run_dir)
    snapshots = dict(list(find_snapshots(run_dir).items())[::every])
    measurement = Measurement(options, num_images, seed, held_out)
    training_set = dataset.load_dataset(data_dir=options.data_dir, **options.dataset_args)
    shown = training_set.read(np.arange(min(num_images, training_set.num_images)))[0]
    unseen = measurement.dataset.read(np.arange(num_images))[0]
    training_set.close()
    progress = Progress(len(snapshots) * num_images, "images")
    rows = []
    for kimg, path in snapshots.items():
        frechet = measurement.measure(path, progress)["frechet"]
        G, D, _Gs = load_pkl(str(path))
        latents = np.random.RandomState(seed).randn(len(shown), *G.input_shape[1:])
        fakes = generate(G, latents, None)
        train, val, gen = (mean_score(D, images) for images in (shown, unseen, fakes))
        r_v = (train - val) / (train - gen) if train != gen else float("nan")
        rows.append({"kimg": kimg, "frechet": frechet, "r_v": round(r_v, 4), "training": round(train, 3)})
        rows[-1] |= {"held_out": round(val, 3), "generated": round(gen, 3)}
    progress.finish()
    return {"run": Path(run_dir).resolve().name, "floor": measurement.floor["frechet"], **curves, "rows": rows}


# ----------------------------------------------------------------------------
# The picture.


def plot(runs: list[dict[str, Any]], path: Path) -> None:
    """Draws r_t and p, r_v, and the Fréchet distance, one colour for each run."""
    figure, axes = subplots(3, height=8)
    colours = ["tab:red", "tab:blue", "tab:green", "tab:orange"]
    for run, colour in zip(runs, colours * len(runs), strict=False):
        kimg = [row["kimg"] for row in run["rows"]]
        name = run["run"].partition("gpu-")[2] or run["run"]
        axes[0].plot(*zip(*run["r_t"], strict=True), color=colour, label=f"r_t, {name}")
        if any(p for _, p in run["p"]):
            axes[0].plot(*zip(*run["p"], strict=True), color=colour, linestyle=":", label=f"p, {name}")
        axes[1].plot(kimg, [row["r_v"] for row in run["rows"]], "o-", color=colour, markersize=3, label=name)
        axes[2].plot(kimg, [row["frechet"] for row in run["rows"]], "o-", color=colour, markersize=3, label=name)
    axes[0].axhline(0.6, color="grey", linestyle="--", linewidth=1, label="target of r_t")
    axes[2].axhline(runs[0]["floor"], color="grey", linestyle="--", linewidth=1, label="other real images")
    axes[0].set(ylabel="r_t, p", ylim=(0, 1.02))
    axes[1].set(ylabel="r_v (held-out images)")
    axes[2].set(yscale="log", ylabel="Fréchet distance", xlabel="thousands of real images shown (kimg)")
    for ax, place in zip(axes, ((0.72, 0.22), "upper left", "upper right"), strict=True):
        tidy(ax, legend=place)
    save(figure, path, dpi=110)


def main() -> None:
    """Parses the command line."""
    parser = ArgumentParser(description="Overfitting of discriminators, and quality of images, of runs.")
    parser.add_argument("run_dir", nargs="+", help="run folders with network-snapshot-*.pkl", metavar="RUN_DIR")
    parser.add_argument("--held-out", required=True, help="data set of images that were not trained on", metavar="PATH")
    every_help = "snapshots from one that is measured to the next (default: %(default)s)"
    parser.add_argument("--every", type=positive, default=1, help=every_help, metavar="N")
    add_arguments(parser, output="docs/ada-overfitting.png")
    args = parser.parse_args()
    with exits_on_user_error():
        import_tensorflow_quietly()
        runs = [measure_run(run_dir, args.held_out, args.num_images, args.seed, args.every) for run_dir in args.run_dir]
        with atomic_write(args.output.with_suffix(".json")) as file:
            file.write(json.dumps(runs, indent=1).encode() + b"\n")
        plot(runs, args.output)


if __name__ == "__main__":
    main()
