"""Runs that go on in their folder, and which options may change on the way."""

import os
from collections.abc import Mapping
from typing import Any

import dnnlib
from dnnlib.clusters import workers
from dnnlib.errors import UserError
from dnnlib.util import EasyDict
from metrics import metric_defaults
from training.data.find_dataset import find_dataset
from training.loop.options import LoopOptions
from training.loop.schedule import minibatches
from training.run_folder.options_file import load_training_options, problems_of_trust

from . import consistency, new_run, resume_target
from .loop_arguments import differences, problems_of
from .new_run import DEFAULTS, SETTINGS, Run

_MAY_CHANGE = {"total_kimg", "metrics", "snap", "image_snap", "keep_snapshots", "logical_cpus", "metric_networks"}
_MAY_CHANGE |= {"minibatch_gpu", "resume_changed_data", "matte"}
_MAY_CHANGE_ARGUMENTS = {"network_snapshot_ticks", "image_snapshot_ticks", "metric_arg_list"}
_MAY_CHANGE_OF_SCHEDULE = {"minibatch_gpu_base", "minibatch_gpu_dict"}
MAY_CHANGE = _MAY_CHANGE_ARGUMENTS | {f"sched_args.{name}" for name in _MAY_CHANGE_OF_SCHEDULE}
MAY_CHANGE |= _MAY_CHANGE - {"metrics", "snap", "image_snap", "minibatch_gpu"}
"""The arguments of `training_loop` that may change in a run that goes on."""
_NEW = {"allow_tf32"}  # earlier runs have it nowhere, and computed in TensorFloat-32 where there was a GPU
_HANDLED_APART = {"resume", "start_from", "result_dir", "run_name", "num_gpus", "dataset", "data_dir", "config"}


def continues(flags: dict[str, Any]) -> bool:
    """Whether --resume names a run to go on with in its folder, rather than a network pickle that starts a new one."""
    if "resume" not in flags:
        return False
    return flags["resume"] == "latest" or resume_target.find_folder(flags["resume"], _result_dir(flags)) is not None


def check_pickle(flags: dict[str, Any]) -> None:
    """Raises UserError unless --resume, which names no run folder, names a network pickle."""
    resume_target.find_pickle(flags["resume"], _result_dir(flags))


def _result_dir(flags: dict[str, Any]) -> str:
    return os.path.expanduser(flags.get("result_dir", DEFAULTS["result_dir"]))


def old_run(flags: dict[str, Any], settings: dict[str, Any] | None = None) -> Run:
    """The run that --resume names, ready to go on with the options that it was started with.

    Args:
        flags: the flags that are given, by name with underscores. Of those that would change the training itself, only
            ones that repeat what the run has are accepted.
        settings: arguments of `training_loop` from an options file, nested; the same holds for them.

    Raises:
        UserError: every problem, one per line.
    """
    settings = settings or {}
    if flags["resume"] == "latest":
        asked = {name: flags[name] for name in ("dataset", "config") if name in flags}
        if "dataset" in flags:
            data_dir = os.path.expanduser(flags.get("data_dir", DEFAULTS["data_dir"]))
            asked["dataset"] = find_dataset(flags["dataset"], data_dir)[1]
        run_dir = resume_target.latest_run(_result_dir(flags), asked)
    else:
        run_dir = resume_target.find_folder(flags["resume"], _result_dir(flags))
        resume_target.check_folder(run_dir)
    num_gpus, kwargs = load_training_options(run_dir)
    kwargs.config = resume_target.config_of(run_dir, kwargs)

    wrong = problems_of(settings)
    settings = {} if wrong else settings
    problems = [*metric_defaults.unknown_metrics(flags.get("metrics", ())), *wrong]
    problems += metric_defaults.no_metric_networks(flags.get("metric_networks"))
    if (other := other_dataset(kwargs, flags)) is not None:
        problems.append(cannot_change(*other) + "; --resume-changed-data goes on with other data")
    if flags.get("config", kwargs.config) != kwargs.config:
        old = kwargs.config or "an unknown one (the folder was renamed)"
        problems.append(cannot_change("--config", old, flags["config"]))
    started = as_started(kwargs)
    may_change = _MAY_CHANGE | (_NEW - kwargs.keys())
    for name in sorted(flags.keys() - may_change - _HANDLED_APART):
        for _, old, new in list(differences(started, SETTINGS[name](flags[name])))[:1]:
            if name == "precision":
                old, new = f"num_fp16_res={old}", f"num_fp16_res={new} ({flags[name]})"
            problems.append(cannot_change(f"--{name.replace('_', '-')}", old, new))
    changing, fixed = _divided(settings)
    problems += [cannot_change(name, old, new) for name, old, new in differences(started, fixed)]
    num_gpus = flags.get("num_gpus", num_gpus)
    changes = {name: flags[name] for name in flags.keys() & may_change}
    pieces = minibatches(kwargs.sched_args)
    new_run.apply(kwargs, changes, changing)
    notes = []
    if minibatches(kwargs.sched_args) == pieces:  # no other was asked for
        cluster = workers.cluster()
        notes = consistency.fit_minibatch_gpu(kwargs, num_gpus * (len(cluster.workers) if cluster else 1))
    problems += problems_of_trust(run_dir, kwargs, settings)
    problems += consistency.check_consistency(kwargs, num_gpus, goes_on=True)
    if problems:
        raise UserError("\n".join(problems))
    kwargs.resume_run_dir = run_dir
    submit_config = dnnlib.SubmitConfig()
    submit_config.num_gpus = num_gpus
    return Run(submit_config, kwargs, run_dir, notes)


def as_started(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a run as they can be compared: with what is not said in them, or was not in earlier versions."""
    started = {**vars(LoopOptions()), **kwargs}
    started |= {name: {"num_fp16_res": 0, **kwargs[name]} for name in ("G_args", "D_args")}
    started["dataset_args"] = {"exif": "upright", **kwargs["dataset_args"]}
    if started["seed"] is None:
        started["seed"] = kwargs["tf_config"].get("rnd.np_random_seed")
    return started


def _divided(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings that may change in a run that goes on, and those that may not."""
    changing = {key: value for key, value in settings.items() if key in _MAY_CHANGE_ARGUMENTS}
    fixed = {key: value for key, value in settings.items() if key not in _MAY_CHANGE_ARGUMENTS}
    schedule = fixed.pop("sched_args", {})
    if pieces := {key: value for key, value in schedule.items() if key in _MAY_CHANGE_OF_SCHEDULE}:
        changing["sched_args"] = pieces
    return changing, {**fixed, "sched_args": {key: value for key, value in schedule.items() if key not in pieces}}


def cannot_change(name: str, old: Any, new: Any) -> str:
    """That an option of a run is another one than is asked for."""
    return f"{name}: cannot change from {old} to {new} in a run that goes on; start a new one from its network pickle"


def other_dataset(kwargs: EasyDict, flags: dict[str, Any]) -> tuple[str, str, str] | None:
    """Which flag names another data set than a run has, and both; None if none does.

    It may be elsewhere if it has moved (it is no longer where it was), or may have changed: then `kwargs` follow.
    """
    if "dataset" not in flags and "data_dir" not in flags:
        return None
    old = os.path.join(kwargs.data_dir, kwargs.dataset_args.tfrecord_dir)
    data_dir = os.path.expanduser(flags.get("data_dir", kwargs.data_dir))
    dataset = find_dataset(flags.get("dataset", kwargs.dataset_args.tfrecord_dir), data_dir)[0]
    new = os.path.join(data_dir, dataset)
    if os.path.realpath(old) == os.path.realpath(new):
        return None
    has_moved = os.path.basename(old) == os.path.basename(new) and os.path.exists(new) and not os.path.exists(old)
    if has_moved or flags.get("resume_changed_data"):
        kwargs.data_dir, kwargs.dataset_args.tfrecord_dir = data_dir, dataset
        return None
    return "--dataset" if "dataset" in flags else "--data-dir", old, new
