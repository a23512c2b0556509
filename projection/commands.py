"""The commands of `run_projector.py`: project one image after the other, or several at once, and save what is found.

TensorFlow is imported when one starts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dnnlib
import pretrained_networks
from dnnlib.errors import Problems, UserError
from dnnlib.pictures import MODES
from generation import conventions
from training.data.image_files import Reading

from . import starts


@dataclass
class Projecting:
    """How images are projected, and what is saved.

    num_snapshots: images saved on the way, the last included. num_steps, learning_rate, regularize_noise_weight,
    w_plus, class_idx, label, seed: see `Projector`. minibatch_size: images optimized at once. save_vector: a file of W
    and noise images of each. video: an mp4 of each. initial: files of W vectors to start from, one vector in all or one
    for each image. allow_tf32: whether float32 may be TensorFloat-32 on GPUs; None: as it is set. distance,
    metric_networks, cache_dir, offline: see `distances.load`. tune: steps of tuning a copy of the network to what was
    found; 0: none. tune_learning_rate, tune_pixel, tune_locality, tune_locality_images, tune_w_rate: see
    `tuning.Tuner`.
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
    tune: int = 0
    tune_learning_rate: float | None = None
    tune_pixel: float = 4.0
    tune_locality: float = 0.0
    tune_locality_images: int = 16
    tune_w_rate: float | None = None


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
    from training.loop import signals

    from . import distances, state
    from .projector import Projector
    from .run import Run

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

    how = {
        "num_steps": settings.num_steps,
        "initial_learning_rate": settings.learning_rate,
        "regularize_noise_weight": settings.regularize_noise_weight,
        "w_plus": settings.w_plus,
        "class_idx": class_idx,
        "label": label,
        "seed": settings.seed,
    }
    size = height if height == width else [height, width]
    facts = {"network": network_pkl, "resolution": size, **how, "distance_network": settings.distance}
    if len(initial) == 1:
        initial *= len(targets)
    proj = Projector(**how, clone_net=False, distance=distance)
    with signals.noted() as received:
        digest = state.digest(variable.numpy() for variable in Gs.vars.values())
        keeper = state.Keeper(dnnlib.submit_config, digest, received)
        run = Run(Gs, proj, targets, initial, settings, facts, keeper)
        run.project()
        if settings.tune:
            run.tune(
                num_steps=settings.tune,
                learning_rate=settings.tune_learning_rate,
                pixel_weight=settings.tune_pixel,
                locality_weight=settings.tune_locality,
                locality_images=settings.tune_locality_images,
                dlatent_learning_rate=settings.tune_w_rate,
                label=label,
                seed=settings.seed,
            )
        keeper.remove()
