"""The commands of `run_projector.py`: project one image after the other, or several at once, and save what is found.

TensorFlow is imported when one starts.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import dnnlib
import pretrained_networks
from dnnlib.errors import Problems, UserError
from dnnlib.pictures import MODES
from dnnlib.progress import Progress
from generation import conventions, vector_files
from generation.video import VideoWriter
from training.data.image_files import Reading

from . import starts
from .schedule import snapshot_steps

_FPS = 30
_MAX_FRAMES = 300  # of a video
_MIN_SIDE = 256  # pixels; smaller images are enlarged in videos
_LOGGED_STEPS = 100  # of each image; one in so many is in the log
_INTERVAL = 60.0  # seconds; so often, too, in long runs


@dataclass
class Projecting:
    """How images are projected, and what is saved.

    num_snapshots: images saved on the way, the last included. num_steps, learning_rate, regularize_noise_weight,
    w_plus, class_idx, label, seed: see `Projector`. minibatch_size: images optimized at once. save_vector: a file of W
    and noise images of each. video: an mp4 of each. initial: files of W vectors to start from, one vector in all or one
    for each image. allow_tf32: whether float32 may be TensorFloat-32 on GPUs; None: as it is set. distance,
    metric_networks, cache_dir, offline: see `distances.load`.
    """

    num_snapshots: int = 5
    num_steps: int = 1000
    learning_rate: float = 0.1
    regularize_noise_weight: float = 1e5
    w_plus: bool = False
    class_idx: int | None = None
    label: Sequence[float] | None = None
    seed: int = 0
    minibatch_size: int = 1
    save_vector: bool = False
    video: bool = False
    initial: Sequence[str] = ()
    allow_tf32: bool | None = None
    distance: str = "lpips"
    metric_networks: str | None = None
    cache_dir: str | None = None
    offline: bool | None = None


def project_generated_images(
    network_pkl: str, seeds: list[int], truncation_psi: float | None = 1.0, **settings: Any
) -> None:
    """Projects images that the network makes of seeds. settings: of `Projecting`."""
    from .targets import GeneratedImages

    how = Projecting(**settings)
    _project(network_pkl, lambda Gs, *label: GeneratedImages(Gs, seeds, truncation_psi, *label), how)


def project_real_images(
    network_pkl: str,
    dataset_name: str | None = None,
    data_dir: str | None = None,
    num_images: int | None = None,
    images: list[str] | None = None,
    convert: bool = False,
    exif: str = "upright",
    max_value: float | None = None,
    **settings: Any,
) -> None:
    """Projects the first images of a data set, or image files. settings: of `Projecting`.

    num_images: how many; None: 3 of a data set, all of files. convert: see `sources.check_images`. exif, max_value: see
    `training.data.image_files.Reading`.
    """
    from .targets import DatasetImages, ImageFiles

    reading = Reading(exif, max_value)

    def open_targets(Gs: Any, *_label: Any) -> DatasetImages | ImageFiles:
        if images is not None:
            return ImageFiles(Gs, images, convert, num_images, reading)
        return DatasetImages(Gs, dataset_name, data_dir, num_images, reading)

    _project(network_pkl, open_targets, Projecting(**settings))


def _project(network_pkl: str, open_targets: Callable[..., Any], settings: Projecting) -> None:
    """Projects images with a network, and saves the results in the run folder.

    Args:
        network_pkl: name, URL or path.
        open_targets: (generator, class, label vector) -> images, where those are of the images that it makes; see
            `targets`.
        settings: how.

    Raises:
        UserError: for everything that cannot be had or does not fit the network, before the first image.
    """
    from dnnlib.tflib import settings as tf_settings
    from dnnlib.tflib.network_report import describe_not_finite

    from . import distances
    from .projector import Projector

    tf_settings.allow_tf32(settings.allow_tf32)
    print(f'Loading networks from "{network_pkl}"...')
    download = {"cache_dir": settings.cache_dir, "offline": settings.offline}
    problems = Problems()
    distance = targets = class_idx = label = None
    initial: list[starts.Start] = []
    with problems.gather():
        distance = distances.load(settings.distance, settings.metric_networks, as_flags=True, **download)
    with problems.gather():
        Gs = pretrained_networks.load_generator(network_pkl, **download)
        channels, height, width = Gs.output_shape[1:]
        if channels not in MODES:
            raise UserError(f"the network makes images of {channels} channels; only 1, 3 or 4 can be saved")
        if found := describe_not_finite({Gs.name: Gs}):
            raise UserError(f"{network_pkl}: {found}: nothing can be projected with it")
        with problems.gather():
            class_idx, label = conventions.choose_label(Gs, settings.class_idx, settings.label, from_latents=True)
            targets = open_targets(Gs, class_idx, label)
        with problems.gather("--initial"):
            initial = starts.load(settings.initial, settings.w_plus, Gs)
            if initial and targets is not None:
                starts.check_count(initial, len(targets))
    problems.report()

    proj = Projector()
    proj.clone_net = False
    proj.distance = distance
    how = {
        "num_steps": settings.num_steps,
        "initial_learning_rate": settings.learning_rate,
        "regularize_noise_weight": settings.regularize_noise_weight,
        "w_plus": settings.w_plus,
        "class_idx": class_idx,
        "label": label,
        "seed": settings.seed,
    }
    for name, value in how.items():
        setattr(proj, name, value)
    size = height if height == width else [height, width]
    facts = {"network": network_pkl, "resolution": size, **how, "distance_network": settings.distance}
    if initial:
        proj.initial_noise_factor = 0.0  # it would lead away from what was found
    if len(initial) == 1:
        initial *= len(targets)
    num_batches = -(-len(targets) // settings.minibatch_size)
    progress = Progress(num_batches * settings.num_steps, "steps", _INTERVAL)
    prepared_for = 0
    for begin in range(0, len(targets), settings.minibatch_size):
        batch = [targets[idx] for idx in range(begin, min(begin + settings.minibatch_size, len(targets)))]
        begins = initial[begin : begin + len(batch)]
        paths = [start.path for start in begins] or [None] * len(batch)
        for target, path in zip(batch, paths, strict=True):
            print(f"Projecting {target.title} ..." + (f" from {path}" if path else ""))
        if len(batch) != prepared_for:
            proj.set_network(Gs, len(batch))
            prepared_for = len(batch)
        proj.start(np.concatenate([target.image for target in batch]), **starts.arguments(begins))
        _project_batch(proj, batch, settings, [{**facts, "initial": path} for path in paths], progress)
    progress.finish()


def _project_batch(
    proj: Any, batch: list[Any], settings: Projecting, facts: list[dict[str, Any]], progress: Progress
) -> None:
    """Makes all steps for some images, and saves what there is to save.

    proj: the `Projector`. batch: a `targets.Target` for each. facts: to keep with the vectors of each.
    """
    from training.misc import save_image_grid

    snapshots = set(snapshot_steps(proj.num_steps, settings.num_snapshots))
    stride = -(-proj.num_steps // _MAX_FRAMES)
    for target in batch:
        save_image_grid(target.image, dnnlib.make_run_dir_path(f"{target.name}-target.png"), drange=(-1, 1))
    with _videos(batch if settings.video else []) as add_frames:
        if settings.video:
            add_frames(proj.get_images())
        while proj.get_cur_step() < proj.num_steps:
            proj.step()
            step = proj.get_cur_step()
            has_frame = settings.video and (step % stride == 0 or step == proj.num_steps)
            images = proj.get_images() if step in snapshots or has_frame else None
            if step in snapshots:
                for target, image in zip(batch, images, strict=True):
                    path = dnnlib.make_run_dir_path(f"{target.name}-step{step:04d}.png")
                    save_image_grid(image[np.newaxis], path, drange=(-1, 1))
            if has_frame:
                add_frames(images)
            due = step % _LOGGED_STEPS == 0
            progress.update(1, lambda: _numbers(proj.get_distances(), proj.get_losses()), due)
    for idx, target in enumerate(batch):
        distance, loss = float(proj.get_distances()[idx]), float(proj.get_losses()[idx])
        print(f"{target.name}: distance {distance:.5g}, loss {loss:.5g}", file=sys.stderr)
        if settings.save_vector:
            one = slice(idx, idx + 1)
            how = {**facts[idx], "target": target.source, "distance": distance, "loss": loss}
            path = dnnlib.make_run_dir_path(f"{target.vector_name}.npz")
            vector_files.save(path, proj.get_dlatents()[one], [noise[one] for noise in proj.get_noises()], how)


def _numbers(distances: np.ndarray, losses: np.ndarray) -> str:
    of = f" (means of {len(distances)})" if len(distances) > 1 else ""
    return f"distance {np.mean(distances):.5g}, loss {np.mean(losses):.5g}{of}"


@contextlib.contextmanager
def _videos(batch: Sequence[Any]) -> Iterator[Callable[[np.ndarray], None]]:
    """Videos of images beside their targets. Gives the function that adds images [N, C, H, W] to them."""
    from dnnlib.tflib import convert_images_to_uint8

    with contextlib.ExitStack() as stack:
        writers = []
        for target in batch:
            path = dnnlib.make_run_dir_path(f"{target.name}-projection.mp4")
            writers.append(stack.enter_context(VideoWriter(path, _FPS)))

        def add(images: np.ndarray) -> None:
            for writer, target, image in zip(writers, batch, images, strict=True):
                both = np.concatenate([target.image, image[np.newaxis]], axis=3)  # [1, C, H, 2 W]
                frame = convert_images_to_uint8(both, nchw_to_nhwc=True)[0].numpy()
                times = -(-_MIN_SIDE // min(target.image.shape[2:]))
                writer.add(frame.repeat(times, 0).repeat(times, 1))

        yield add
