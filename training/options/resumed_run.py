"""Runs that go on in their folder, and which options may change on the way."""

import os
import sys
from typing import Any

import dnnlib
from dnnlib import workers
from dnnlib.errors import UserError
from dnnlib.util import EasyDict
from metrics import metric_defaults
from training.data.find_dataset import find_dataset
from training.loop.schedule import minibatches
from training.run_folder.options_file import load_training_options, problems_of_trust

from . import consistency, new_run, resume_target
from .loop_arguments import differences, problems_of
from .new_run import DEFAULTS, SETTINGS, Run

_MAY_CHANGE = {"total_kimg", "metrics", "snap", "image_snap", "keep_snapshots", "logical_cpus", "metric_networks"}
_MAY_CHANGE |= {"minibatch_gpu", "resume_changed_data", "matte"}
_MAY_CHANGE_ARGUMENTS = {"network_snapshot_ticks", "image_snapshot_ticks", "metric_arg_list"}
_MAY_CHANGE_OF_SCHEDULE = {"minibatch_gpu_base", "minibatch_gpu_dict"}
_NEW = {"allow_tf32"}  # earlier runs have it nowhere, and computed in TensorFloat-32 where there was a GPU
_HANDLED_APART = {"resume", "result_dir", "num_gpus", "dataset", "data_dir", "config"}


def continues(flags: dict[str, Any]) -> bool:
    """Whether --resume asks to go on with a run in its folder, rather than for a new one from a network pickle."""
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
    problems += _changed_dataset(kwargs, flags)
    if flags.get("config", kwargs.config) != kwargs.config:
        old = kwargs.config or "an unknown one (the folder was renamed)"
        problems.append(_cannot_change("--config", old, flags["config"]))
    started = {**kwargs, **{name: {"num_fp16_res": 0, **kwargs[name]} for name in ("G_args", "D_args")}}
    started["dataset_args"] = {"exif": "upright", **kwargs.dataset_args}
    if started.get("seed") is None:
        started["seed"] = kwargs.tf_config.get("rnd.np_random_seed")
    may_change = _MAY_CHANGE | (_NEW - kwargs.keys())
    for name in sorted(flags.keys() - may_change - _HANDLED_APART):
        for _, old, new in list(differences(started, SETTINGS[name](flags[name])))[:1]:
            if name == "precision":
                old, new = f"num_fp16_res={old}", f"num_fp16_res={new} ({flags[name]})"
            problems.append(_cannot_change(f"--{name.replace('_', '-')}", old, new))
    changing, fixed = _divided(settings)
    problems += [_cannot_change(name, old, new) for name, old, new in differences(started, fixed)]
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
    for note in notes:
        print(note, file=sys.stderr)
    kwargs.resume_run_dir = run_dir
    submit_config = dnnlib.SubmitConfig()
    submit_config.num_gpus = num_gpus
    return Run(submit_config, kwargs, run_dir)


def _divided(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings that may change in a run that goes on, and those that may not."""
    changing = {key: value for key, value in settings.items() if key in _MAY_CHANGE_ARGUMENTS}
    fixed = {key: value for key, value in settings.items() if key not in _MAY_CHANGE_ARGUMENTS}
    schedule = fixed.pop("sched_args", {})
    if pieces := {key: value for key, value in schedule.items() if key in _MAY_CHANGE_OF_SCHEDULE}:
        changing["sched_args"] = pieces
    return changing, {**fixed, "sched_args": {key: value for key, value in schedule.items() if key not in pieces}}


def _cannot_change(name: str, old: Any, new: Any) -> str:
    return f"{name}: cannot change from {old} to {new} in a run that goes on; start a new one from its network pickle"


def _changed_dataset(kwargs: EasyDict, flags: dict[str, Any]) -> list[str]:
    """The data set may be elsewhere if it has moved (it is no longer where it was), or if it may have changed."""
    if "dataset" not in flags and "data_dir" not in flags:
        return []
    old = os.path.join(kwargs.data_dir, kwargs.dataset_args.tfrecord_dir)
    data_dir = os.path.expanduser(flags.get("data_dir", kwargs.data_dir))
    dataset = find_dataset(flags.get("dataset", kwargs.dataset_args.tfrecord_dir), data_dir)[0]
    new = os.path.join(data_dir, dataset)
    if os.path.realpath(old) == os.path.realpath(new):
        return []
    has_moved = os.path.basename(old) == os.path.basename(new) and os.path.exists(new) and not os.path.exists(old)
    if has_moved or flags.get("resume_changed_data"):
        kwargs.data_dir, kwargs.dataset_args.tfrecord_dir = data_dir, dataset
        return []
    name = "--dataset" if "dataset" in flags else "--data-dir"
    hint = "; --resume-changed-data goes on with other data"
    return [_cannot_change(name, old, new) + hint]
