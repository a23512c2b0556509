"""What `run_metrics.py` does, once its command line is read."""

from typing import Any

import dnnlib
import pretrained_networks
from dnnlib import tflib
from metrics.features.evaluation import Evaluating
from training.data.contents import describe_facts
from training.run_folder import options_file

from .metric_base import MetricGroup
from .metric_defaults import metric_defaults, with_num_images
from .report import Report


def run(
    network_pkl: str | list[str],
    metrics: list[str],
    dataset: str | None = None,
    data_dir: str | None = None,
    mirror_augment: bool | None = None,
    num_images: int | None = None,
    truncation_psi: float | None = None,
    official_numerics: bool = False,
    json_file: str | None = None,
    exif: str | None = None,
    max_value: float | None = None,
    allow_tf32: bool | None = None,
    **settings: Any,
) -> None:
    """Computes metrics of one network or several, and prints and saves what comes out.

    Args:
        network_pkl: names, URLs or paths.
        metrics: names, see `metrics.metric_defaults`.
        dataset: name of a data set in `data_dir`, or its path; None: that of each network's training.
        data_dir: folder of data sets.
        mirror_augment: whether real images are mirrored at random; None: no, or without `dataset` as in training.
        num_images: generated images, or samples; None: as the metric's name says.
        truncation_psi: of generated images; None: no truncation.
        official_numerics: compute as the official code also where that is numerically weak.
        json_file: write results there, too; '-': to stdout.
        exif, max_value: how image files are read, see `training.data.image_files.Reading`; None: upright, and no images
            of more than 8 bits, or without `dataset` as in training.
        allow_tf32: whether float32 may be TensorFloat-32 on GPUs; None: as it is set, see `dnnlib.tflib.settings`.
        settings: of `metrics.features.evaluation.Evaluating`.

    Raises:
        UserError: if a metric could not be computed. Results of the others are printed and saved.
    """
    networks = [network_pkl] if isinstance(network_pkl, str) else list(network_pkl)
    defaults = [metric_defaults[name] for name in metrics]
    kwargs = defaults if num_images is None else [with_num_images(args, num_images) for args in defaults]
    once = {args["name"]: {**args, "official_numerics": official_numerics} for args in kwargs}
    group = MetricGroup(once.values())
    settings = Evaluating(**{"num_gpus": dnnlib.submit_config.num_gpus, **settings})
    print(f"Computing on {', '.join(name.split('device:')[-1] for name in settings.devices)}.")
    tflib.settings.allow_tf32(allow_tf32)
    tflib.init_tf({"rnd.np_random_seed": settings.seed})
    Gs_kwargs = None if truncation_psi is None else {"truncation_psi": truncation_psi}
    reading = {name: value for name, value in {"exif": exif, "max_value": max_value}.items() if value is not None}
    report = Report()
    for network in networks:
        print(f'Evaluating metrics "{",".join(metric.name for metric in group.metrics)}" for "{network}"...')
        data = options_file.options_beside(network) if dataset is None else None
        dataset_args = data.dataset_args if data else {"tfrecord_dir": dataset} if dataset else {}
        group.run(
            pretrained_networks.get_path_or_url(network),
            run_dir=dnnlib.submit_config.run_dir,
            data_dir=data_dir or (data.data_dir if data else None),
            dataset_args={**dataset_args, **reading} if dataset_args else {},
            mirror_augment=data.mirror_augment if data and mirror_augment is None else bool(mirror_augment),
            Gs_kwargs=Gs_kwargs,
            settings=settings,
            of_training=describe_facts(data.data) if data else None,
        )
        report.add(network, group)
    report.print_table()
    if json_file is not None:
        report.write_json(json_file)
    report.raise_failures()
