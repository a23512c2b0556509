"""The command `interpolate`: images of the way from point to point. TensorFlow is imported when it starts."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import dnnlib
from dnnlib.errors import Problems, UserError
from dnnlib.parallel import parallel_map
from dnnlib.progress import Progress

from . import motion, sheets, synthetic
from .commands import load_points
from .conventions import Rendering
from .kept_frames import KeptFrames, plan_of
from .points import Point, check_space
from .video import QUICK, WRITERS
from .walks import Walk

_FRAMES = 60  # from one point to the next
_MOST_FRAMES = 1_000_000  # more than nine hours of 30 frames per second
_STYLES = 7  # layers that are mixed in if nobody asks for others


def interpolate(
    network_pkl: str,
    seeds: Sequence[Point] = (),
    truncation_psi: float | None = None,
    space: str | None = None,
    frames: int | None = None,
    loop: bool | str = False,
    smooth: bool = False,
    video: str | None = None,
    fps: int = 30,
    curve: str | None = None,
    grid: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
    minibatch_size: int | None = None,
    psi_sweep: Sequence[float] = (),
    col_seeds: Sequence[Point] = (),
    col_styles: Sequence[int] | None = None,
    mix_sweep: Sequence[float] = (),
    trajectory: Sequence[str] = (),
    **rendering: Any,
) -> None:
    """Saves images of the way from each point to the next, `frame0000.png` and so on, or a video of them.

    The noise is the network's own all the way, unless `noise_mode` is 'random' or 'none'. Where the same call was
    stopped in the folder, it goes on.

    Args:
        network_pkl: name, URL or path of the network.
        seeds: the points, also paths of files of vectors; of a grid those of the first image, then of the second, ...
        truncation_psi: strength of truncation of seeds; None: as the tools of the network's kind.
        space: 'w' or None: through W; 'z': through Z, of seeds alone.
        frames: from one point to the next, or of the way of a single one; None: 60.
        loop: return from the last point to the first; 'noise': the noise images go round and come back, too.
        smooth, curve: see `generation.walks.Walk`; curve None: 'linear'.
        video: 'mp4', 'gif' or 'webp': `interpolation.mp4` in place of the images, with `fps` frames per second.
        grid: columns and rows of images in a frame, each with points of its own.
        size: width and height of frames, in which pixels are repeated as often as they fit; None: frames as they are.
        minibatch_size: images rendered at once; None: 4, or of a grid what suits the resolution.
        psi_sweep: truncation along the way, of all that is shown.
        col_seeds: points, also paths of files, of another way that takes as long: of it are the layers `col_styles`.
        mix_sweep: how much of it these layers have, along the way; none: all.
        trajectory: in place of points, files of W `[frames, layers, dlatent_size]`, one for each image of a grid.
        rendering: the other arguments of `Rendering`.

    Raises:
        UserError: whatever of this cannot be, all in one message.
    """
    arguments = dict(locals())
    arguments |= arguments.pop("rendering")
    check_interpolation(**arguments)
    options = Rendering(1.0 if psi_sweep else truncation_psi, minibatch_size=minibatch_size or 4, **rendering)
    if loop == "noise" and options.noise_mode == "random":
        options = replace(options, noise_mode="const")  # of noise that is given, and random
    lists = {"--dlatents": seeds, "--col-dlatents": col_seeds}
    loaded: list[np.ndarray] = []
    images, points, others = load_points(
        network_pkl,
        lists,
        options,
        col_styles=col_styles or (),
        also=lambda net: loaded.extend(motion.load_trajectories(trajectory, net)),
    )
    if grid and minibatch_size is None:
        images.rendering = replace(images.rendering, minibatch_size=synthetic.minibatch_size(*images.size))
    columns, rows = grid or (1, 1)
    closed, curve = bool(loop), curve or "linear"
    if loaded:
        path = Walk(images.truncated_as_files(np.stack(loaded, axis=1)), frames=1, loop=closed)
    else:
        _check_count(len(points), grid, _moves(loop, psi_sweep, others, mix_sweep))
        ends = images.ends(points, space or "w")
        ends = ends.reshape(columns * rows, -1, *ends.shape[1:]).swapaxes(0, 1)  # [P, images, ...]
        if len(ends) == 1 and not closed:
            ends = ends.repeat(2, axis=0)
        path = Walk(ends, frames or _FRAMES, closed, spherical=space == "z", smooth=smooth, curve=curve)
    what = motion.Motion(images, path, columns, rows)
    if psi_sweep:
        what.psi = motion.sweep(psi_sweep, closed, smooth)
    if others:
        what.styles = list(range(min(_STYLES, images.num_layers)) if col_styles is None else col_styles)
        what.other = motion.sweep(images.stacked(others), closed, smooth, curve)
        what.share = motion.sweep(mix_sweep or [1.0], closed, smooth)
    problems = Problems()
    with problems.gather():
        if loop == "noise" and not images.noise_shapes:
            raise UserError("--loop=noise: the network has no noise")
    with problems.gather():
        _check_frames(what, size, video, options.image_format)
    problems.report()
    folder = dnnlib.make_run_dir_path()
    kept = KeptFrames(folder, plan_of(arguments), len(path), None if video else options.image_format)
    if loop == "noise":
        seed = kept.seed if rendering.get("noise_mode") == "random" else None
        what.noise = motion.round_of_noise(images, what.cells, seed)
    if len(kept.missing) < len(path):
        print(f"{len(path) - len(kept.missing)} of {len(path)} frames are there; going on with the others.")
    rendered = motion.frames_of(what, kept.missing)
    if video:
        _save_video(os.path.join(folder, f"interpolation.{video}"), fps, kept, rendered, size, quick=bool(grid or size))
    else:
        _save_frames(kept, rendered, size)
    kept.finish()


def _check_frames(
    what: motion.Motion, size: tuple[int, int] | None, video_format: str | None, image_format: str
) -> None:
    """Raises UserError for frames that are too large, or too many."""
    if len(what.path) > _MOST_FRAMES:
        raise UserError(f"the whole way has {len(what.path)} frames, expected up to {_MOST_FRAMES}: fewer --frames")
    height, width = what.size
    if size:
        sheets.check_enlarged(height, width, size)
        width, height = size
    if video_format:
        problems = Problems()
        with problems.gather(f"--video={video_format}"):
            WRITERS[video_format].check_size(len(what.path), height, width)
        problems.report()
    else:
        sheets.check_sheet(height, width, image_format)


def _save_frames(kept: KeptFrames, rendered: Iterator[tuple[int, np.ndarray]], size: tuple[int, int] | None) -> None:
    """Saves the frames that are missing, enlarged to a size if there is one."""
    progress = Progress(len(kept.missing), "frames")
    for _ in parallel_map(lambda item: kept.save(item[0], sheets.enlarged(item[1], size)), rendered):
        progress.update()
    progress.finish()


def _save_video(
    path: str,
    fps: float,
    kept: KeptFrames,
    rendered: Iterator[tuple[int, np.ndarray]],
    size: tuple[int, int] | None,
    quick: bool,
) -> None:
    """Writes a video of frames that are there and of those that are missing, which are kept until it is there.

    quick: an mp4 is to be encoded in little time.
    """
    format_name = path.rpartition(".")[2]
    preset = {"preset": QUICK} if quick and format_name == "mp4" else {}

    def saved(item: tuple[int, np.ndarray]) -> np.ndarray:
        kept.save(*item)
        return item[1]

    others, missing = parallel_map(saved, rendered), set(kept.missing)
    progress = Progress(kept.num, "frames")
    with WRITERS[format_name](path, fps, **preset) as writer:
        for idx in range(kept.num):
            frame = next(others) if idx in missing else kept.load(idx)
            writer.add(sheets.enlarged(frame, size))
            progress.update()
    progress.finish()


# ----------------------------------------------------------------------------
# What cannot be, as far as it is known before files are read.


def check_interpolation(
    seeds: Sequence[Point],
    space: str | None,
    video: str | None,
    fps: float,
    *,
    truncation_psi: float | None = None,
    dlatents_psi: float = 1.0,
    noise_mode: str | None = None,
    frames: int | None = None,
    loop: bool | str = False,
    smooth: bool = False,
    curve: str | None = None,
    grid: tuple[int, int] | None = None,
    psi_sweep: Sequence[float] = (),
    col_seeds: Sequence[Point] = (),
    col_styles: Sequence[int] | None = None,
    mix_sweep: Sequence[float] = (),
    trajectory: Sequence[str] = (),
    **_others: Any,
) -> None:
    """Raises UserError for what `interpolate`, whose arguments these are, cannot do: all in one message."""
    problems = Problems()
    with problems.gather():
        check_space(seeds, space)
    with problems.gather():
        if not trajectory and all(isinstance(point, int) for point in seeds):
            several = any(isinstance(point, str) for point in col_seeds)  # or it is one
            _check_count(len(seeds), grid, several or _moves(loop, psi_sweep, col_seeds, mix_sweep))
    with problems.gather(f"--video={video}"):
        if video:
            WRITERS[video].check(fps)
    wrong = {
        "--loop=noise: with --noise-mode=none there is no noise": loop == "noise" and noise_mode == "none",
        "--psi-sweep: leave out --truncation-psi, which stays the same": psi_sweep and truncation_psi is not None,
        "--psi-sweep: leave out --dlatents-psi, which stays the same": psi_sweep and dlatents_psi != 1,
        "--col-styles: --col-seeds or --col-dlatents is missing": col_styles is not None and not col_seeds,
        "--mix-sweep: --col-seeds or --col-dlatents is missing": mix_sweep and not col_seeds,
    }
    if trajectory:
        sweeps = psi_sweep or mix_sweep or len(col_seeds) > 1
        given = {
            "--seeds and --dlatents": seeds,
            "--space": space,
            "--frames": frames,
            "--curve": curve and len(col_seeds) < 2,
            "--smooth": smooth and not sweeps,
            "--loop": loop is True and not sweeps,
            "--truncation-psi, which is of seeds (--dlatents-psi is of files)": truncation_psi is not None
            and not col_seeds,
        }
        wrong |= {f"--trajectory: the frames are those of the file; leave out {flag}": given[flag] for flag in given}
        cells = grid[0] * grid[1] if grid else 1
        number = f"{cells} files, one for each image of --grid" if cells > 1 else "one file"
        wrong[f"--trajectory: expected {number}, got {len(trajectory)}"] = len(trajectory) != cells
    problems.messages += [message for message, there in wrong.items() if there]
    problems.report()


def _moves(loop: bool | str, psi_sweep: Sequence[float], others: Sequence[Any], mix_sweep: Sequence[float]) -> bool:
    """Whether something moves even where there is only one point to show."""
    return loop == "noise" or bool(psi_sweep) or bool(mix_sweep) or len(others) > 1


def _check_count(num: int, grid: tuple[int, int] | None, something_moves: bool) -> None:
    """Raises UserError for a number of points that is too small to go between, or cannot be shared out to a grid.

    something_moves: whether one for each image is enough.
    """
    least = 1 if something_moves else 2
    if not grid and num < least:
        raise UserError(f"--seeds, --dlatents: expected two or more to go between, got {num}")
    cells = grid[0] * grid[1] if grid else 1
    if num < least * cells or num % cells:
        expected = ", ".join(str(cells * (least + more)) for more in range(3))
        raise UserError(
            f"--grid={grid[0]}x{grid[1]}: expected as many seeds and vectors for each of {cells} images, "
            f"{expected}, ... in all, got {num}"
        )
