"""The runs of `run_projector.py`: projects one image after the other, or several at once, and saves what is found."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import dnnlib
import pretrained_networks
from dnnlib.command_line import Progress
from dnnlib.errors import Problems, UserError
from dnnlib.tflib import convert_images_to_uint8
from projector import Projector
from training import dlatent_files, misc
from training.dlatent_files import DlatentFile
from training.image_generation import check_generator
from training.video import VideoWriter

from . import distances
from .schedule import snapshot_steps
from .targets import Target, Targets

_FPS = 30
_MAX_FRAMES = 300  # of a video
_MIN_SIDE = 256  # pixels; smaller images are enlarged in videos


@dataclass
class Settings:
    """How images are projected, and what is saved.

    num_snapshots: images saved on the way, the last included. num_steps, learning_rate, regularize_noise_weight,
    w_plus, seed: see `Projector`. minibatch_size: images optimized at once. save_vector: a file of W and noise images
    of each. video: an mp4 of each. initial: file of W vectors to start from. distance, metric_networks, cache_dir,
    offline: see `distances.load`.
    """

    num_snapshots: int = 5
    num_steps: int = 1000
    learning_rate: float = 0.1
    regularize_noise_weight: float = 1e5
    w_plus: bool = False
    seed: int = 0
    minibatch_size: int = 1
    save_vector: bool = False
    video: bool = False
    initial: str | None = None
    distance: str = "lpips"
    metric_networks: str | None = None
    cache_dir: str | None = None
    offline: bool | None = None


def project(network_pkl: str, open_targets: Callable[[Any], Targets], settings: Settings) -> None:
    """Projects images with a network, and saves the results in the run folder.

    Args:
        network_pkl: name, URL or path.
        open_targets: gives the images for a generator.
        settings: how.

    Raises:
        UserError: for everything that cannot be had or does not fit the network, before the first image.
    """
    print(f'Loading networks from "{network_pkl}"...')
    download = {"cache_dir": settings.cache_dir, "offline": settings.offline}
    problems = Problems()
    distance: Any = None
    targets: Any = None
    initial = None
    with problems.gather():
        distance = distances.load(settings.distance, settings.metric_networks, **download)
    with problems.gather():
        Gs = _generator(network_pkl, download)
        with problems.gather():
            distances.check_channels(distance, Gs.output_shape[1])
        with problems.gather():
            targets = open_targets(Gs)
        with problems.gather("--initial"):
            initial = _initial(settings, Gs, targets)
    problems.report()

    proj = Projector()
    proj.clone_net = False
    proj.distance = distance
    proj.num_steps = settings.num_steps
    proj.initial_learning_rate = settings.learning_rate
    proj.regularize_noise_weight = settings.regularize_noise_weight
    proj.w_plus = settings.w_plus
    proj.seed = settings.seed
    if initial is not None:
        proj.initial_noise_factor = 0.0  # it would lead away from what was found
    num_batches = -(-len(targets) // settings.minibatch_size)
    progress = Progress(num_batches * settings.num_steps, "steps")
    prepared_for = 0
    for begin in range(0, len(targets), settings.minibatch_size):
        batch = [targets[idx] for idx in range(begin, min(begin + settings.minibatch_size, len(targets)))]
        for target in batch:
            print(f"Projecting {target.title} ...", end="\n\r")
        if len(batch) != prepared_for:
            proj.set_network(Gs, len(batch))
            prepared_for = len(batch)
        start = {} if initial is None else _start_of(initial, range(begin, begin + len(batch)))
        proj.start(np.concatenate([target.image for target in batch]), **start)
        facts = {"network": network_pkl, "resolution": Gs.output_shape[2], "initial": settings.initial}
        _project_batch(proj, batch, settings, facts, progress)
    progress.finish()


def _generator(network_pkl: str, download: dict[str, Any]) -> Any:
    _G, _D, Gs = pretrained_networks.load_networks(network_pkl, **download)
    check_generator(Gs)
    if Gs.output_shape[1] not in (1, 3, 4):
        raise UserError(f"the network makes images of {Gs.output_shape[1]} channels; only 1, 3 or 4 can be saved")
    return Gs


def _initial(settings: Settings, Gs: Any, targets: Targets | None) -> DlatentFile | None:
    """The vectors to start from, checked."""
    if settings.initial is None:
        return None
    file = dlatent_files.load(settings.initial, Gs)
    problems = []
    num = len(file.dlatents)
    if targets is not None and num not in (1, len(targets)):
        problems.append(f"{file.path}: {num} vectors for {len(targets)} images; expected 1 or {len(targets)}")
    if not settings.w_plus and (file.dlatents != file.dlatents[:, :1]).any():
        problems.append(f"{file.path}: has a W of its own for each layer; add --w-plus")
    if problems:
        raise UserError("\n".join(problems))
    return file


def _start_of(initial: DlatentFile, indices: Sequence[int]) -> dict[str, Any]:
    """Arguments of `Projector.start` for some of the images."""
    indices = [0 if len(initial.dlatents) == 1 else index for index in indices]
    noises = zip(*(initial.noises_of(index) for index in indices), strict=True)
    return {"dlatents": initial.dlatents[indices], "noises": [np.concatenate(layer) for layer in noises]}


def _project_batch(
    proj: Projector, batch: list[Target], settings: Settings, facts: dict[str, Any], progress: Progress
) -> None:
    """Makes all steps for some images, and saves what there is to save."""
    snapshots = set(snapshot_steps(proj.num_steps, settings.num_snapshots))
    stride = -(-proj.num_steps // _MAX_FRAMES)
    for target in batch:
        misc.save_image_grid(target.image, dnnlib.make_run_dir_path(f"{target.name}-target.png"), drange=(-1, 1))
    with _videos(batch if settings.video else []) as add_frames:
        if settings.video:
            add_frames(proj.get_images())
        while proj.get_cur_step() < proj.num_steps:
            _show(f"{proj.get_cur_step()} / {proj.num_steps} ... ")
            proj.step()
            step = proj.get_cur_step()
            has_frame = settings.video and (step % stride == 0 or step == proj.num_steps)
            images = proj.get_images() if step in snapshots or has_frame else None
            if step in snapshots:
                for target, image in zip(batch, images, strict=True):
                    path = dnnlib.make_run_dir_path(f"{target.name}-step{step:04d}.png")
                    misc.save_image_grid(image[np.newaxis], path, drange=(-1, 1))
            if has_frame:
                add_frames(images)
            progress.update(1, lambda: _numbers(proj.get_distances(), proj.get_losses()))
    _show(f"{'':30}")
    for idx, target in enumerate(batch):
        distance, loss = float(proj.get_distances()[idx]), float(proj.get_losses()[idx])
        print(f"{target.name}: distance {distance:.5g}, loss {loss:.5g}", file=sys.stderr)
        if settings.save_vector:
            one = slice(idx, idx + 1)
            how = {**facts, **_settings(proj, settings), "target": target.source, "distance": distance, "loss": loss}
            path = dnnlib.make_run_dir_path(f"{target.name}.npz")
            dlatent_files.save(path, proj.get_dlatents()[one], [noise[one] for noise in proj.get_noises()], how)


def _show(text: str) -> None:
    """Writes a line that the next one replaces, in one piece: the log keeps those that end with a carriage return."""
    sys.stdout.write(f"{text}\r")
    sys.stdout.flush()


def _numbers(distances: np.ndarray, losses: np.ndarray) -> str:
    of = f" (means of {len(distances)})" if len(distances) > 1 else ""
    return f"distance {np.mean(distances):.5g}, loss {np.mean(losses):.5g}{of}"


def _settings(proj: Projector, settings: Settings) -> dict[str, Any]:
    """What to keep with vectors of how they were found."""
    return {
        "num_steps": proj.num_steps,
        "initial_learning_rate": proj.initial_learning_rate,
        "regularize_noise_weight": proj.regularize_noise_weight,
        "w_plus": proj.w_plus,
        "seed": proj.seed,
        "distance_network": settings.distance,
    }


@contextlib.contextmanager
def _videos(batch: Sequence[Target]) -> Iterator[Callable[[np.ndarray], None]]:
    """Videos of images beside their targets. Gives the function that adds images [N, C, H, W] to them."""
    with contextlib.ExitStack() as stack:
        writers = []
        for target in batch:
            path = dnnlib.make_run_dir_path(f"{target.name}-projection.mp4")
            writers.append(stack.enter_context(VideoWriter(path, _FPS)))

        def add(images: np.ndarray) -> None:
            for writer, target, image in zip(writers, batch, images, strict=True):
                both = np.concatenate([target.image, image[np.newaxis]], axis=3)  # [1, C, H, 2 W]
                frame = convert_images_to_uint8(both, nchw_to_nhwc=True)[0].numpy()
                times = -(-_MIN_SIDE // frame.shape[0])
                writer.add(frame.repeat(times, 0).repeat(times, 1))

        yield add
