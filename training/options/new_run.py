"""From the flags of `run_training.py` to the arguments of `training_loop`, with all checks that need no TensorFlow.

Every flag, and every entry of an options file, is a nested dict of settings that is merged into the arguments that the
configuration gives. So a flag that is not given leaves no trace, and a run that goes on can tell what would change.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import dnnlib
from dnnlib import command_line
from dnnlib.clusters import workers
from dnnlib.errors import Problems, UserError, did_you_mean, printable
from dnnlib.files import short_name
from dnnlib.resolutions import Size, resolution_of
from dnnlib.util import EasyDict
from metrics.metric_defaults import metric_defaults, no_metric_networks, unknown_metrics
from training.augmentation.specs import AUGPIPE_SPECS
from training.data.find_dataset import check_dataset, find_dataset, full_resolution
from training.data.image_files import Reading
from training.run_folder.heartbeat import check_not_elsewhere
from training.run_folder.options_file import RUN_FUNCTION, TRAINING_OPTIONS, to_json

from . import augmentation, resume_target
from .ada_configs import ADA_CONFIGS, ada_config_kwargs
from .configs import CONFIGS, config_kwargs
from .consistency import check_consistency, check_transfer
from .loop_arguments import merge, problems_of

DEFAULTS = {"result_dir": "results", "data_dir": "datasets", "num_gpus": 1}
"""Values of flags that are not given. Others have theirs among the arguments of `training_loop`."""
PRECISIONS = {
    "fp32": {"num_fp16_res": 0, "conv_clamp": None},
    "fp16": {"num_fp16_res": 4, "conv_clamp": 256, "fp16_dtype": "float16"},
    "bf16": {"num_fp16_res": 4, "conv_clamp": 256, "fp16_dtype": "bfloat16"},
}
"""Arguments of both networks; the numbers are those of StyleGAN2-ADA."""
_ALL_CONFIGS = (*CONFIGS, *ADA_CONFIGS)
_KIMG_AFTER_TRANSFER = 100  # of the augmentation's controller: a network that has been trained overfits sooner
SETTINGS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "total_kimg": lambda value: {"total_kimg": value},
    "gamma": lambda value: {"D_loss_args": {"gamma": value}},
    "mirror_augment": lambda value: {"mirror_augment": value},
    "metrics": lambda names: {"metric_arg_list": [metric_defaults[name] for name in names if name in metric_defaults]},
    "seed": lambda value: {"seed": value, "tf_config": {"rnd.np_random_seed": value}},
    "cond": lambda value: {"dataset_args": {"max_label_size": "full" if value else 0}},
    "minibatch": lambda value: {"sched_args": {"minibatch_size_base": value, "minibatch_size_dict": {}}},
    "minibatch_gpu": lambda value: {"sched_args": {"minibatch_gpu_base": value, "minibatch_gpu_dict": {}}},
    "fmap_base": lambda value: {"G_args": {"fmap_base": value}, "D_args": {"fmap_base": value}},
    "fmap_max": lambda value: {"G_args": {"fmap_max": value}, "D_args": {"fmap_max": value}},
    "precision": lambda value: {"G_args": PRECISIONS[value], "D_args": PRECISIONS[value]},
    "allow_tf32": lambda value: {"allow_tf32": value},
    "resolution": lambda value: {"dataset_args": {"resolution": value}},
    "base": lambda value: {"G_args": {"base": value}, "D_args": {"base": value}},
    "exif": lambda value: {"dataset_args": {"exif": value}},
    "max_value": lambda value: {"dataset_args": {"max_value": value}},
    "snap": lambda value: {"network_snapshot_ticks": value},
    "image_snap": lambda value: {"image_snapshot_ticks": value},
    "keep_snapshots": lambda value: {"keep_snapshots": value},
    "logical_cpus": lambda value: {"logical_cpus": value},
    "metric_networks": lambda folder: {"metric_networks": os.path.abspath(os.path.expanduser(folder))},
    "matte": lambda colour: {"matte": list(colour)},
    "aug": augmentation.aug_setting,
    "p": lambda value: {"augment_args": {"initial_strength": value}},
    "target": lambda value: {"augment_args": {"tune_target": value}},
    "augpipe": lambda name: {"augment_args": {"apply_args": dict(AUGPIPE_SPECS[name])}},
    "freezed": lambda layers: {"D_args": {"freeze_layers": layers}},
    "resume": lambda pkl: {"resume_pkl": pkl},
    "resume_partial": lambda value: {"resume_partial": value},
    "resume_changed_data": lambda value: {"resume_changed_data": value},
}
"""What each flag changes in the arguments of `training_loop`."""


@dataclasses.dataclass
class Run:
    """A training that is ready to start: in a new run folder, or in `run_dir`, where an earlier one goes on."""

    submit_config: dnnlib.SubmitConfig
    kwargs: EasyDict  # arguments of `training_loop`
    run_dir: str | None = None
    notes: list[str] = dataclasses.field(default_factory=list)  # for people
    finished_kimg: float | None = None  # where it is, if nothing is left to do

    def to_json(self) -> str:
        """The resolved options."""
        config = self.submit_config
        name = {"run_name": config.run_name} if config.run_name else {"run_desc": config.run_desc}
        new = {"result_dir": config.run_dir_root, **name}
        where = {"run_dir": self.run_dir} if self.run_dir else new
        return to_json({"run_func_name": RUN_FUNCTION, **where, "num_gpus": self.submit_config.num_gpus, **self.kwargs})

    def start(self) -> Any:
        """Trains; returns when the training is over, or at once if it was. Raises UserError for a damaged TF_CONFIG."""
        if self.finished_kimg is not None:
            print(f"{self.run_dir} has finished, at kimg {self.finished_kimg:g}; a larger --total-kimg goes on")
            return None
        submit, num_gpus = dnnlib.submission.submit, self.submit_config.num_gpus
        if (cluster := workers.cluster()) is not None and cluster.index > 0:
            return submit.run_as_worker(RUN_FUNCTION, num_gpus, **self.kwargs)
        name = self.submit_config.run_name
        if folder := self.run_dir or (name and os.path.join(self.submit_config.run_dir_root, name)):
            check_not_elsewhere(folder)
        if self.run_dir is not None:
            return submit.resume_run(self.run_dir, RUN_FUNCTION, num_gpus, **self.kwargs)
        return dnnlib.submit_run(self.submit_config, RUN_FUNCTION, **self.kwargs)


def new_run(flags: dict[str, Any], settings: dict[str, Any] | None = None, may_exist: bool = False) -> Run:
    """A run in a new folder.

    Args:
        flags: the flags that are given, by name with underscores; `dataset` and `config` must be.
        settings: arguments of `training_loop` from an options file, nested. Flags win.
        may_exist: whether there may be a run in the folder that is named by `run_name`; then it is left to the caller
            to `check_consistency` if there is none.

    Raises:
        UserError: every problem, one per line.
    """
    settings = settings or {}
    given = {**DEFAULTS, **flags}
    data_dir = os.path.expanduser(given["data_dir"])
    dataset, data_desc = find_dataset(given["dataset"], data_dir)
    problems = Problems()
    found = problems.messages
    if not given["dataset"]:
        found.append("--dataset is empty, expected a name or a path")
    if not os.path.isabs(dataset) and not os.path.isdir(data_dir):
        found.append(
            "dataset root directory does not exist. "
            f"Give the folder of your data sets by --data-dir (now {data_dir}), or the path of one by --dataset"
        )
    config, is_ada = given["config"], given["config"] in ADA_CONFIGS
    if config not in _ALL_CONFIGS:
        close = did_you_mean(config, _ALL_CONFIGS)
        found.append(f"--config value must be one of:  {', '.join(_ALL_CONFIGS)}; got {config!r}{close}")
    aug = given.get("aug", "ada" if is_ada else "noaug")
    found += augmentation.problems_of_flags(given, aug) + check_transfer(given, config)
    found += unknown_metrics(given.get("metrics", ())) + no_metric_networks(given.get("metric_networks"))
    if wrong := problems_of(settings):
        found += wrong
        settings = {}
    result_dir = os.path.expanduser(given["result_dir"])
    with problems.gather():
        given["result_dir"] = command_line.check_result_dir(given["result_dir"])
    found += _problems_of_name(given.get("run_name"), result_dir, may_exist)
    with problems.gather():
        if "resume" in given:
            given["resume"] = resume_target.find_pickle(given["resume"], result_dir)
    resolution = None
    with problems.gather():
        if config == "auto":
            resolution = _resolution(data_dir, dataset, {**settings.get("dataset_args", {}), **given})
    kwargs = EasyDict(config=config)
    if config in _ALL_CONFIGS and (resolution or config != "auto"):
        kwargs.update(_common_kwargs(data_dir, dataset))
        kwargs.update(ada_config_kwargs(config, resolution, given["num_gpus"]) if is_ada else config_kwargs(config))
        _add_ada_defaults(kwargs, given, aug, is_ada)
        apply(kwargs, given, settings)
        if is_ada and kwargs.dataset_args.get("max_label_size") and "layout" not in settings.get("grid_args", {}):
            kwargs.grid_args.layout = "row_per_class"
        if "resume" in given:
            kwargs.setdefault("resume_kimg", 0)
        if not may_exist:
            found += check_consistency(kwargs, given["num_gpus"])
    problems.report()

    submit_config = dnnlib.SubmitConfig()
    submit_config.num_gpus = given["num_gpus"]
    submit_config.local.do_not_copy_source_files = True
    submit_config.run_dir_root, submit_config.run_name = given["result_dir"], given.get("run_name")
    extras = augmentation.description(flags) + (f"-freezed{flags['freezed']}" if "freezed" in flags else "")
    submit_config.run_desc = f"stylegan2-{data_desc}-{given['num_gpus']}gpu-{config}{extras}"
    return Run(submit_config, kwargs)


def _problems_of_name(name: str | None, result_dir: str, may_exist: bool) -> list[str]:
    """Why there cannot be a folder --run-name for a run."""
    if name is None:
        return []
    if not name or name.startswith(".") or os.path.basename(name) != name or not name.isprintable():
        return [f"--run-name={printable(name)}: expected a name in --result-dir, without / and with no dot before it"]
    if short_name(name, 255) != name:
        return [f"--run-name: {len(name.encode())} bytes are too long for the name of a folder, expected 255 at most"]
    run_dir = os.path.join(result_dir, name)
    if may_exist or not os.path.lexists(run_dir) or (os.path.isdir(run_dir) and not os.listdir(run_dir)):
        return []
    is_run = os.path.isfile(os.path.join(run_dir, TRAINING_OPTIONS))
    hint = "--resume=auto goes on with the run in it" if is_run else "expected a name that is free"
    return [f"--run-name={name}: {run_dir} is there already; {hint}"]


def _resolution(data_dir: str, dataset: str, args: Mapping[str, Any]) -> Size:
    """At which images are trained. Raises UserError if there are none, or they have less.

    args: of the data set.
    """
    check_dataset(data_dir, dataset)
    reading = Reading(**{name: args[name] for name in ("exif", "max_value") if name in args})
    full = full_resolution(os.path.join(data_dir, dataset), reading)
    resolution = args.get("resolution") or full.argument
    try:
        asked = resolution_of(resolution, full.base)
    except ValueError:
        asked = None
    if asked is None or asked.log2 > full.log2:
        given_size = "x".join(map(str, resolution)) if isinstance(resolution, list) else resolution
        full_size = full.height if full.is_square else full
        raise UserError(
            f"--resolution={given_size}: expected {full_size}, the resolution of the data set, or a lower one: "
            f"{full.base[0]}x{full.base[1]} times a power of two"
        )
    return resolution


def check_sizes(kwargs: EasyDict) -> None:
    """Raises UserError if the images of the data set do not have the --resolution, or the --base, that is asked for."""
    args, bases = kwargs.dataset_args, [part["base"] for part in (kwargs.G_args, kwargs.D_args) if "base" in part]
    if args.get("class_name") or not (bases or args.get("resolution")):
        return
    resolution = _resolution(kwargs.data_dir, args.tfrecord_dir, args)
    for base in bases:
        try:
            resolution_of(resolution, base)
        except ValueError as error:
            raise UserError(f"--base: {error}") from None


def _add_ada_defaults(kwargs: EasyDict, given: dict[str, Any], aug: str, is_ada: bool) -> None:
    """What belongs to StyleGAN2-ADA besides its configuration; where the flags decide, before they are applied."""
    if is_ada:
        kwargs.metric_arg_list = [metric_defaults.fid50k_full]
        if "snap" in given:
            given.setdefault("image_snap", given["snap"])
        if "minibatch" in given:
            given.setdefault("minibatch_gpu", max(given["minibatch"] // given["num_gpus"], 1))
    if is_ada or "aug" in given:
        kwargs.augment_args = EasyDict(augmentation.default_augment_args(aug))
    if "resume" in given:
        if kwargs.get("augment_args", {}).get("tune_heuristic"):
            kwargs.augment_args.tune_kimg = _KIMG_AFTER_TRANSFER
        kwargs.pop("G_smoothing_rampup", None)


def _common_kwargs(data_dir: str, dataset: str) -> EasyDict:
    return EasyDict(
        data_dir=data_dir,
        total_kimg=25000,
        mirror_augment=False,
        image_snapshot_ticks=10,
        network_snapshot_ticks=10,
        dataset_args=EasyDict(tfrecord_dir=dataset),
        grid_args=EasyDict(size="8k", layout="random"),
        metric_arg_list=[metric_defaults.fid50k],
        tf_config={"rnd.np_random_seed": 1000},
    )


def apply(kwargs: EasyDict, flags: dict[str, Any], settings: dict[str, Any]) -> None:
    """Merges settings, then flags, into arguments of `training_loop`."""
    merge(kwargs, settings)
    for name, setting in SETTINGS.items():
        if name in flags:
            merge(kwargs, setting(flags[name]))
    for args in (kwargs.G_args, kwargs.D_args):
        if args.get("num_fp16_res") == 0:  # the defaults, which networks of configs a to d do not know
            del args["num_fp16_res"]
            if args.get("conv_clamp") is None:
                args.pop("conv_clamp", None)
