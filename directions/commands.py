"""The commands of `run_directions.py`: find directions and write them, or show those of a file."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import dnnlib
from dnnlib.errors import Problems, UserError, counted, printable
from generation import direction_files, directions, vector_files
from generation.commands import load_points
from generation.conventions import Rendering
from generation.points import Point

from . import scores
from .components import Components

_TOLD_WELL = 0.8  # of a class, where a plane through W is a good description of it
STRENGTHS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


@dataclasses.dataclass
class Sheet:
    """How directions are shown. shown: how many, the first; 0: there is no sheet. seeds, strengths: that are shown."""

    shown: int = 8
    seeds: Sequence[Point] = (0,)
    strengths: Sequence[float] = STRENGTHS


def sefa(
    network_pkl: str,
    layers: Sequence[int] | None = None,
    space: str = "w",
    num: int = 20,
    num_samples: int = 20_000,
    seed: int = 0,
    **how: Any,
) -> None:
    """Writes `sefa.npz`: the directions that change the styles of some layers the most. See `components.sefa`.

    Args:
        network_pkl: name, URL or path of the network.
        layers: by the index of their W; None: all.
        space: 'w' or 's'.
        num: how many directions, the strongest first.
        num_samples, seed: W that spreads are measured on, see `samples.moments`.
        how: the fields of `Sheet`, and those of `Rendering`.
    """
    finder = _Finder(network_pkl, "sefa", layers, space, how)
    from . import components, spaces

    matrix = spaces.style_matrix(finder.affine, finder.layers)
    found = components.sefa(matrix, finder.space, num)
    if not len(found.values):
        raise UserError("--layers: W changes no style there, all matrices are zero")
    if len(found.values) < num:
        print(f"No more than {counted(len(found.values), 'direction')} of W change these styles.")
    finder.write(found, finder.moments(num_samples, seed), {"num_samples": num_samples, "seed": seed})


def pca(
    network_pkl: str,
    layers: Sequence[int] | None = None,
    space: str = "w",
    num: int = 20,
    num_samples: int = 1_000_000,
    seed: int = 0,
    **how: Any,
) -> None:
    """Writes `pca.npz`: principal components of W, or of the styles of some layers. Arguments as of `sefa`."""
    finder = _Finder(network_pkl, "pca", layers, space, how)
    from . import components

    of_w = finder.moments(num_samples, seed)
    found = components.pca(of_w.covariance, finder.space, num)
    total = np.trace(finder.space.to.T @ of_w.covariance @ finder.space.to)
    shares = found.values / max(total, 1e-30)
    print(f"The first {len(shares)} components have {100 * shares.sum():.1f} % of the variance.")
    finder.write(found, of_w, {"num_samples": num_samples, "seed": seed}, shares=shares, mean=of_w.mean)


def labels(
    network_pkl: str,
    labels_file: str | None = None,
    columns: Sequence[str] | None = None,
    fit: str = "auto",
    along: str = "auto",
    layers: Sequence[int] | None = None,
    space: str = "w",
    num_samples: int = 20_000,
    seed: int = 0,
    **how: Any,
) -> None:
    """Writes `labels.npz`: directions along which the scores of labelled samples rise, by linear and logistic fits.

    Args:
        network_pkl: name, URL or path of the network.
        labels_file: the table, see `scores.read`; None: the classes of the network itself.
        columns, fit: see `scores.targets`.
        along: 'normal' of the fit, or 'mean', from points of low scores to those of high ones, see `fits`; 'auto': the
            mean of classes that no plane tells well.
        layers: that directions move. space: 'w' or 's': what directions of W do to the styles of these layers.
        num_samples, seed: W that spreads are measured on; without a table also those that are told, as many of each
            class.
        how: the fields of `Sheet`, and those of `Rendering`.
    """
    table = None if labels_file is None else scores.read(labels_file)
    wanted = [] if table is None else scores.targets(table, columns, fit)
    finder = _Finder(network_pkl, "labels", layers, space, how)
    from . import fits

    if table is None:
        w, wanted = finder.classes(num_samples, seed)
    else:
        w = finder.points_of(table)
    w = w.astype(np.float64)
    print("Fitting ...")
    results, ways, problems = [], [], Problems()
    for target in wanted:
        points = w[target.rows]
        result = fits.fit(points, target.scores, target.logistic)
        is_mean = along == "mean" or (along == "auto" and target.logistic and result.quality < _TOLD_WELL)
        way = (fits.towards(points, target.scores) if is_mean else result.normal) @ finder.space.to
        if not way.any():
            what = f"{printable(target.name, 40)}: nothing to tell, its samples have the same W whatever their score"
            problems.messages.append(what if table is None else f"{table.path}: {what}")
            continue
        ways.append(way / np.linalg.norm(way))
        kind = "logistic" if target.logistic else "linear"
        quality = f"{100 * result.quality:.1f} %" if target.logistic else f"R^2 {result.quality:.3f}"
        print(
            f"  {printable(target.name, 40):<20s} {kind} fit of {len(points)} samples; of those left out it tells "
            f"{quality}; along {'the mean' if is_mean else 'its normal'}"
        )
        if result.quality < (0.55 if target.logistic else 0.02):
            print("    which is hardly better than chance: W says little of these scores, or there are too few")
        results.append(result)
    problems.report()
    found = Components(np.stack(ways), np.array([result.quality for result in results]))
    settings = {"labels": os.path.basename(labels_file or ""), "num_samples": num_samples, "seed": seed}
    finder.write(found, finder.moments(num_samples, seed), settings, [target.name for target in wanted])


def show(
    network_pkl: str,
    files: Sequence[str],
    video: str | None = None,
    frames: int = 120,
    fps: int = 30,
    **how: Any,
) -> None:
    """Saves `sheet.png` of the directions of some files, and with `video` a sweep of each.

    video: a kind of `generation.video.WRITERS`. frames, fps: of each video. how: the fields of `Sheet`, and those of
    `Rendering`.
    """
    sheet, images, seeds = _loaded(network_pkl, how, with_seeds=True)
    found, problems = [], Problems()
    for file in files:
        with problems.gather():
            found += directions.load(file, images.net)
    problems.report()
    found = found[: sheet.shown]
    from . import display

    if video:
        display.check_video(video, fps, frames, images, seeds)
    display.draw_sheet(images, found, seeds, sheet.strengths)
    if video:
        most = max(abs(strength) for strength in sheet.strengths)
        display.write_sweeps(images, found, seeds, most, video, frames, fps)


# ----------------------------------------------------------------------------


def _loaded(network_pkl: str, how: dict[str, Any], with_seeds: bool) -> tuple[Sheet, Any, list[Point]]:
    """The sheet, the `ImageGenerator` and the points of the sheet."""
    names = {field.name for field in dataclasses.fields(Sheet)}
    sheet = Sheet(**{name: value for name, value in how.items() if name in names})
    rendering = Rendering(**{name: value for name, value in how.items() if name not in names})
    seeds = list(sheet.seeds) if with_seeds else []
    images, seeds = load_points(network_pkl, {"--dlatents": seeds}, rendering)
    return sheet, images, seeds


class _Finder:
    """What finders have in common: the network, the space, and writing what was found."""

    def __init__(self, network_pkl: str, name: str, layers: Sequence[int] | None, space: str, how: dict[str, Any]):
        self.network, self.name = network_pkl, name
        self.sheet, self.images, self.seeds = _loaded(network_pkl, how, how.get("shown", Sheet.shown) > 0)
        self.net = self.images.net
        from training.nets.style_space import affine_layers

        from . import spaces

        self.affine = affine_layers(self.net)
        num_layers, size = self.net.components.synthesis.input_shape[1:]
        self.layers = list(range(num_layers)) if layers is None else sorted(set(layers))
        wrong = [number for number in self.layers if number >= num_layers]
        if wrong:
            got = direction_files.layers_text(wrong)
            raise UserError(f"--layers: the network has layers 0 to {num_layers - 1}, got {got}")
        if (name == "sefa" or space == "s") and not any(layer.layer in self.layers for layer in self.affine):
            raise UserError("--layers: the network has no styles there")
        self.space = spaces.space_w(size) if space == "w" else spaces.space_s(self.affine, self.layers)

    def moments(self, num: int, seed: int) -> Any:
        """Of W."""
        from . import samples

        return samples.moments(self.net, num, seed, self.images.rendering)

    def points_of(self, table: scores.Table) -> np.ndarray:
        """W `[N, dlatent_size]` of the samples of a table: of files the mean over the layers."""
        from . import samples

        if isinstance(table.samples[0], int):
            return samples.of_seeds(self.net, table.samples, self.images.rendering)
        problems, rows = Problems(), []
        for path in table.samples:
            with problems.gather():
                w = vector_files.load(path, self.net).dlatents
                if len(w) != 1:
                    raise UserError(f"{path}: has {counted(len(w), 'vector')}, expected one, of a sample")
                rows.append(w[0, self.layers].mean(axis=0))
        problems.report()
        return np.stack(rows)

    def classes(self, num: int, seed: int) -> tuple[np.ndarray, list[scores.Target]]:
        """W `[N, dlatent_size]` of samples of the network's own classes, and what tells each from the others."""
        from . import samples

        count = self.net.input_shapes[1][1]
        if not count:
            raise UserError("--labels is missing: the network was trained without classes")
        if count == 1:
            raise UserError("--labels is missing: the network has a single class, from which nothing can be told")
        each = max(num // count, 20)
        w = np.concatenate([samples.of_class(self.net, number, each, seed + number) for number in range(count)])
        truth, rows = np.arange(count).repeat(each), np.arange(count * each)
        told = range(1, 2) if count == 2 else range(count)
        return w, [scores.Target(f"class{idx}", rows, (truth == idx).astype(np.float64), True) for idx in told]

    def write(
        self,
        found: Components,
        of_w: Any,
        settings: dict[str, Any],
        names: Sequence[str] | None = None,
        **more: np.ndarray,
    ) -> None:
        """Writes directions, and draws their sheet."""
        from . import components

        path = dnnlib.make_run_dir_path(f"{self.name}.npz")
        names = [f"{self.name}{idx}" for idx in range(len(found.values))] if names is None else names
        vectors = found.coordinates @ self.space.axes.T
        if self.space.styles is None:
            vectors = vectors[:, np.newaxis]
        spreads = components.spreads(found.coordinates, of_w.covariance, self.space)
        settings = {"finder": self.name, "network": os.path.basename(self.network), **settings}
        layers = [self.layers] * len(names)
        direction_files.save(
            path, names, vectors, layers, spreads, self.space.styles, settings, values=found.values, **more
        )
        print(f"Wrote {counted(len(names), 'direction')} to {path}")
        if self.sheet.shown:
            from . import display

            shown = directions.load(path, self.net)[: self.sheet.shown]
            display.draw_sheet(self.images, shown, self.seeds, self.sheet.strengths)


COMMANDS: dict[str, Callable[..., None]] = {"sefa": sefa, "pca": pca, "labels": labels, "show": show}
