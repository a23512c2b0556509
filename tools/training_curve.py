"""How far the snapshots of a run have come, as a picture and a table: Fréchet distance, precision and recall.

Usage: python tools/training_curve.py RUN_DIR [--output docs/demo-training-curve.png] [--num-images 2000] [--seed 0]

Nothing is downloaded: features are those of a fixed random convolutional network, 64 whitened components
(tools/random_features.py). It was chosen among several spaces on 2000 coloured symbols of 32x32. There, strongly
blurred reals are 6 times as far away as other reals, noisy ones 4 times, 100 reals again and again 10 times, reals cut
in tiles that are shuffled 5 times, and precision is low for the shapeless blobs of the first snapshots. In 64 principal
components of the pixels it is highest for them, and noise is not seen at all; without whitening, colours outweigh the
rest, and slightly blurred reals are no further away than other reals.

Images are generated without truncation, from the same latents for every snapshot. Reals are two disjoint random sets
of --num-images: the first is what generated images are compared with, and the second against the first is the floor,
the best a generator can reach with so few images. Values depend on --num-images, and do not compare with fid50k. Images
with transparency are laid over white, as in metrics.

Beside the picture is a JSON file with the values. Snapshots that it has are not measured again with the same settings,
and stay when their files are gone (--keep-snapshots).
"""

import json
import os
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import numpy as np

import pretrained_networks
from dnnlib.command_line import import_tensorflow_quietly
from dnnlib.errors import UserError, exits_on_user_error
from dnnlib.files import atomic_write, sha256_of
from dnnlib.flags import ArgumentParser, natural, positive
from dnnlib.pictures import composited
from dnnlib.progress import Progress
from metrics.maths.frechet import feature_statistics, frechet_distance
from metrics.maths.neighbourhoods import precision_recall
from tools.random_features import RandomFeatures
from training.run_folder.options_file import load_for_data

NUM_FEATURES = 64
NHOOD_SIZE = 3
MINIBATCH = 64
SPACE = f"random convolutional network, seed 0, {NUM_FEATURES} whitened components"

# ----------------------------------------------------------------------------
# Measuring.


class Measurement:
    """Compares networks with the data set of their run, or with another one.

    Raises UserError if the data set has not enough images.
    """

    def __init__(self, options: Any, num_images: int, seed: int, other_dataset: str | None = None):
        from training.data import dataset

        args = options.dataset_args if other_dataset is None else {"tfrecord_dir": os.path.abspath(other_dataset)}
        self.dataset = dataset.load_dataset(data_dir=options.data_dir, **{**args, "shuffle_mb": 0})
        self.num_images = num_images
        self.seed = seed
        if 2 * num_images > self.dataset.num_images:
            raise UserError(
                f"--num-images={num_images}: two disjoint sets of that size are needed, and the data set has "
                f"{self.dataset.num_images} images; --num-images={self.dataset.num_images // 2} would work"
            )
        if num_images <= NUM_FEATURES:
            raise UserError(f"--num-images={num_images}: {NUM_FEATURES + 1} or more are needed")
        self.space = RandomFeatures(min(self.dataset.shape[0], 3))
        rnd = np.random.RandomState(seed)
        chosen = rnd.permutation(self.dataset.num_images)[: 2 * num_images]
        mirrored = rnd.rand(2 * num_images, 1, 1, 1) < (0.5 if options.get("mirror_augment") else 0.0)
        statistics, labels = [], []
        for part in minibatches(2 * num_images):
            images, labels_of_part = self.dataset.read(chosen[part])
            statistics.append(self.space.statistics(opaque(np.where(mirrored[part], images[..., ::-1], images))))
            labels.append(labels_of_part)
        self.labels = np.concatenate(labels)
        reals = np.concatenate(statistics)
        self.space.fit(reals, NUM_FEATURES)
        self.reals, others = np.split(self.space.features(reals), 2)
        self.floor = self._compare(others)

    def _compare(self, features: np.ndarray) -> dict[str, float]:
        frechet = frechet_distance(*feature_statistics(self.reals), *feature_statistics(features))
        precision, recall = precision_recall(self.reals, features, NHOOD_SIZE)
        return {"frechet": round(frechet, 4), "precision": round(precision, 4), "recall": round(recall, 4)}

    def measure(self, path: Path, progress: Progress) -> dict[str, float]:
        """The values of a snapshot. Raises UserError if it does not fit the data set."""
        import tensorflow as tf

        Gs = pretrained_networks.load_generator(str(path), anew=True)
        shapes = [Gs.output_shape[1:], Gs.input_shapes[1][1:]]
        expected = [self.dataset.shape, [self.dataset.label_size]]
        if shapes != expected:
            raise UserError(f"{path}: makes images and labels {shapes}, the data set of the run has {expected}")
        tf.random.set_seed(self.seed)  # of the noise inputs
        latents = np.random.RandomState(self.seed).randn(self.num_images, *Gs.input_shape[1:])
        statistics = []
        for part in minibatches(self.num_images):
            images = generate(Gs, latents[part], self.labels[part])
            statistics.append(self.space.statistics(opaque(images)))
            progress.update(len(images))
        return self._compare(self.space.features(np.concatenate(statistics)))


def opaque(images: np.ndarray) -> np.ndarray:
    """Images uint8 [N, C, H, W] as they are; those with transparency over white: colours under it are free."""
    return composited(images) if images.shape[1] == 4 else images


def minibatches(count: int) -> list[slice]:
    """Which of `count` images are in memory together."""
    return [slice(start, min(start + MINIBATCH, count)) for start in range(0, count, MINIBATCH)]


def generate(net: Any, latents: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Images uint8 [N, C, H, W], without truncation."""
    from dnnlib import tflib

    return net.run(
        latents,
        labels,
        minibatch_size=MINIBATCH,
        is_validation=True,  # which also means no truncation
        output_transform={"func": tflib.convert_images_to_uint8},
    )


# ----------------------------------------------------------------------------
# The table.


def find_snapshots(run_dir: str) -> dict[int, Path]:
    """The snapshots of a run folder by kimg. Raises UserError if there are none."""
    paths = sorted(Path(run_dir).glob("network-snapshot-*.pkl"))
    numbers = {path: path.stem.removeprefix("network-snapshot-") for path in paths}
    found = {int(number): path for path, number in numbers.items() if number.isdecimal()}
    if not found:
        raise UserError(f"{run_dir}: no network-snapshot-*.pkl, expected the folder of a run that has some")
    return found


def known_rows(path: Path, settings: dict[str, Any], digests: dict[int, str]) -> list[dict[str, Any]]:
    """The rows of an earlier table; no rows if its settings are others, or a snapshot of it is now another one.

    Raises UserError if the file is something else.
    """
    if not path.exists():
        return []
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        same = table["settings"] == settings
        rows = [dict(row) for row in table["rows"]]
        same &= all(digests.get(row["kimg"], row["sha256"]) == row["sha256"] for row in rows)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a table of this tool ({error!r}); delete it or choose another --output") from None
    if not same:
        print(f"{path} is of another run or other settings: everything is measured anew.", file=sys.stderr)
        return []
    return rows


def measure_run(run_dir: str, output: Path, num_images: int, seed: int) -> dict[str, Any]:
    """Measures the snapshots that are not in the table yet; the table is written after each.

    Raises:
        UserError: not a run folder, no snapshots, too few images, or an unreadable table.
    """
    options = load_for_data(run_dir)
    snapshots = find_snapshots(run_dir)
    digests = {kimg: sha256_of(path)[:16] for kimg, path in snapshots.items()}
    settings = {
        "run": Path(run_dir).resolve().name,
        "dataset": Path(options.dataset_args.tfrecord_dir).name,
        "num_images": num_images,
        "seed": seed,
        "space": SPACE,
        "nhood_size": NHOOD_SIZE,
    }
    rows = known_rows(output, settings, digests)
    missing = sorted(set(snapshots) - {row["kimg"] for row in rows})
    if not missing:
        return json.loads(output.read_text(encoding="utf-8"))
    import_tensorflow_quietly()
    measurement = Measurement(options, num_images, seed)
    print(f"{len(rows)} snapshots are known, {len(missing)} to measure.", file=sys.stderr)
    progress = Progress(len(missing) * num_images, "images")
    table = {"settings": settings, "floor": measurement.floor, "rows": rows}
    for kimg in missing:
        values = measurement.measure(snapshots[kimg], progress)
        rows.append({"kimg": kimg, **values, "sha256": digests[kimg]})
        rows.sort(key=lambda row: row["kimg"])
        with atomic_write(output) as file:
            file.write(json.dumps(table, indent=2).encode() + b"\n")
    progress.finish()
    return table


def markdown(table: dict[str, Any]) -> str:
    """The table for a document."""
    lines = ["| kimg | Fréchet distance | precision | recall |", "|---:|---:|---:|---:|"]
    for row in [*table["rows"], {"kimg": "other reals", **table["floor"]}]:
        lines.append(f"| {row['kimg']} | {row['frechet']:.2f} | {row['precision']:.3f} | {row['recall']:.3f} |")
    return "\n".join(lines)


# ----------------------------------------------------------------------------
# The picture.


def plot(table: dict[str, Any], path: Path) -> None:
    """Draws the curves: Fréchet distance above, precision and recall below."""
    rows, floor = table["rows"], table["floor"]
    kimg = [row["kimg"] for row in rows]
    figure, (above, below) = subplots(2, height=6)
    above.plot(kimg, [row["frechet"] for row in rows], "o-", color="tab:blue", markersize=3)
    above.axhline(floor["frechet"], color="grey", linestyle="--", linewidth=1, label="other real images")
    above.set(yscale="log", ylabel="Fréchet distance")
    for name, color in (("precision", "tab:orange"), ("recall", "tab:green")):
        below.plot(kimg, [row[name] for row in rows], "o-", color=color, markersize=3, label=name)
        below.axhline(floor[name], color=color, linestyle="--", linewidth=1, alpha=0.6)
    below.plot([], [], color="grey", linestyle="--", linewidth=1, label="other real images")
    below.set(ylim=(0, 1), ylabel="precision, recall", xlabel="thousands of real images shown (kimg)")
    for axes in (above, below):
        tidy(axes)
    num_images = table["settings"]["num_images"]
    above.set_title(f"{table['settings']['run']}, {num_images} images, random features", fontsize=10)
    save(figure, path, dpi=120)


def subplots(count: int, height: float) -> tuple[Any, Any]:
    """A figure, and as many axes one above the other."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(7, height), layout="constrained")
    return figure, figure.subplots(count, 1, sharex=True)


def tidy(axes: Any, legend: Any = "best") -> None:
    """A light grid, no frame, and the legend at a place."""
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc=legend)


def save(figure: Any, path: Path, dpi: int) -> None:
    """Writes a figure as PNG, whole or not at all."""
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=dpi)


# ----------------------------------------------------------------------------


def add_arguments(parser: ArgumentParser, output: str) -> None:
    """What to write and how to measure: --output, --num-images, --seed."""
    add = parser.add_argument
    output_help = "picture to write; the values go beside it, as .json (default: %(default)s)"
    add("--output", type=_picture, default=output, help=output_help, metavar="PNG")
    add("--num-images", type=positive, default=2000, help="images per snapshot (default: %(default)s)")
    add("--seed", type=natural, default=0, help="of latents and reals (default: %(default)s)")


def _picture(text: str) -> Path:
    path = Path(text).expanduser()
    if path.suffix != ".png":
        raise ArgumentTypeError(f"expected a name that ends in .png, such as {path.with_suffix('.png')}, got {text}")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise ArgumentTypeError(f"{path.absolute().parent} is not a folder that can be written to")
    return path


def main() -> None:
    """Parses the command line."""
    parser = ArgumentParser(description="Fréchet distance, precision and recall of the snapshots of a run.")
    parser.add_argument("run_dir", help="run folder with network-snapshot-*.pkl", metavar="RUN_DIR")
    add_arguments(parser, output="docs/demo-training-curve.png")
    parser.add_argument("--table", action="store_true", help="print the values as a Markdown table")
    args = parser.parse_args()
    with exits_on_user_error():
        table = measure_run(args.run_dir, args.output.with_suffix(".json"), args.num_images, args.seed)
        plot(table, args.output)
        if args.table:
            print(markdown(table))


if __name__ == "__main__":
    main()
