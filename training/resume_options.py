"""Runs that go on in their folder: which one --resume means, and which options may change on the way."""

import copy
import os
import re
from typing import Any

import dnnlib
from dnnlib.errors import UserError
from dnnlib.util import EasyDict

from . import training_options
from .option_names import differences, problems_of
from .options_files import TRAINING_OPTIONS, load_training_options
from .training_options import DEFAULTS, SETTINGS, Run

_RUN_DESC = re.compile(r"(?P<id>\d+)-stylegan2-(?P<dataset>.+)-\d+gpu-(?P<config>config-.+)")
_MAY_CHANGE = {"total_kimg", "metrics", "snap", "image_snap", "keep_snapshots", "logical_cpus"}
_MAY_CHANGE_ARGUMENTS = {"network_snapshot_ticks", "image_snapshot_ticks", "metric_arg_list"}
_HANDLED_APART = {"resume", "result_dir", "num_gpus", "dataset", "data_dir", "config"}


def continues(flags: dict[str, Any]) -> bool:
    """Whether --resume asks to go on with a run in its folder, rather than for a new one from a network pickle."""
    resume = flags.get("resume")
    return resume is not None and (resume == "latest" or _folder(flags) is not None)


def _folder(flags: dict[str, Any]) -> str | None:
    """The folder that --resume names, as a path or as a name in --result-dir."""
    path = os.path.expanduser(flags["resume"])
    for candidate in (path, os.path.join(_result_dir(flags), path)):
        if path and os.path.isdir(candidate):
            return os.path.normpath(candidate)
    return None


def _result_dir(flags: dict[str, Any]) -> str:
    return os.path.expanduser(flags.get("result_dir", DEFAULTS["result_dir"]))


# ----------------------------------------------------------------------------
# Which run.


def latest_run(result_dir: str, dataset: str | None = None, config: str | None = None) -> str:
    """The folder of the newest training: the one with the highest number.

    Args:
        result_dir: root folder of run folders.
        dataset: only runs with this data set, by its name in the run folder's name. None: any.
        config: only runs with this configuration. None: any.

    Raises:
        UserError: there is none; the message lists those that there are.
    """
    runs = []
    for name in os.listdir(result_dir) if os.path.isdir(result_dir) else ():
        match = _RUN_DESC.fullmatch(name)
        if match and _can_go_on(os.path.join(result_dir, name)):  # not one that stopped before it began
            runs.append((int(match["id"]), name, match))
    runs.sort(key=lambda run: run[:2])
    fitting = [name for _, name, m in runs if dataset in (None, m["dataset"]) and config in (None, m["config"])]
    if fitting:
        return os.path.join(result_dir, fitting[-1])
    wanted = "".join(f" with --{k}={v}" for k, v in (("dataset", dataset), ("config", config)) if v is not None)
    there = "; there are: " + ", ".join(name for _, name, _ in runs[-10:]) if runs else ""
    raise UserError(f"--resume=latest: no training{wanted} in {result_dir}{there}")


def _check_folder(run_dir: str) -> None:
    if not _can_go_on(run_dir):
        pickles = sorted(name for name in os.listdir(run_dir) if re.fullmatch(r"network-.*\.pkl", name))
        advice = f"; --resume={os.path.join(run_dir, pickles[-1])} starts from its weights" if pickles else ""
        raise UserError(f"{run_dir}: cannot go on, {TRAINING_OPTIONS} is missing{advice}")


def _can_go_on(run_dir: str) -> bool:
    return os.path.isfile(os.path.join(run_dir, TRAINING_OPTIONS))


# ----------------------------------------------------------------------------
# With which options.


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
    run_dir = _folder(flags)
    if flags["resume"] == "latest":
        data_dir = os.path.expanduser(flags.get("data_dir", DEFAULTS["data_dir"]))
        desc = training_options.find_dataset(flags["dataset"], data_dir)[1] if "dataset" in flags else None
        run_dir = latest_run(_result_dir(flags), desc, flags.get("config"))
    _check_folder(run_dir)
    num_gpus, kwargs = load_training_options(run_dir)

    problems = [*training_options.unknown_metrics(flags.get("metrics", ())), *problems_of(settings)]
    problems += _changed_dataset(kwargs, flags) + _changed_config(run_dir, flags)
    started = dict(kwargs)
    if started.get("seed") is None:
        started["seed"] = kwargs.tf_config.get("rnd.np_random_seed")
    for name in sorted(flags.keys() - _MAY_CHANGE - _HANDLED_APART):
        for _, old, new in list(differences(started, SETTINGS[name](flags[name])))[:1]:
            problems.append(_cannot_change(f"--{name.replace('_', '-')}", old, new))
    fixed = {key: value for key, value in settings.items() if key not in _MAY_CHANGE_ARGUMENTS}
    problems += [_cannot_change(name, old, new) for name, old, new in differences(started, fixed)]
    if problems:
        raise UserError("\n".join(problems))

    num_gpus = flags.get("num_gpus", num_gpus)
    changes = {name: flags[name] for name in flags.keys() & _MAY_CHANGE}
    kwargs = copy.deepcopy(kwargs)
    training_options.apply(kwargs, changes, {k: v for k, v in settings.items() if k in _MAY_CHANGE_ARGUMENTS})
    problems = training_options.check_consistency(kwargs, num_gpus)
    if problems:
        raise UserError("\n".join(problems))
    kwargs.resume_run_dir = run_dir
    submit_config = dnnlib.SubmitConfig()
    submit_config.num_gpus = num_gpus
    return Run(submit_config, kwargs, run_dir)


def _cannot_change(name: str, old: Any, new: Any) -> str:
    return f"{name}: cannot change from {old} to {new} in a run that goes on; start a new one from its network pickle"


def _changed_config(run_dir: str, flags: dict[str, Any]) -> list[str]:
    """The configuration of a run is known by the folder's name only."""
    match = _RUN_DESC.fullmatch(os.path.basename(os.path.abspath(run_dir)))
    old = match["config"] if match else "an unknown one (the folder was renamed)"
    return [_cannot_change("--config", old, flags["config"])] if flags.get("config", old) != old else []


def _changed_dataset(kwargs: EasyDict, flags: dict[str, Any]) -> list[str]:
    """--data-dir may change if the data set has moved, which is when it is no longer where it was."""
    if "dataset" not in flags and "data_dir" not in flags:
        return []
    old = os.path.join(kwargs.data_dir, kwargs.dataset_args.tfrecord_dir)
    data_dir = os.path.expanduser(flags.get("data_dir", kwargs.data_dir))
    dataset = training_options.find_dataset(flags.get("dataset", kwargs.dataset_args.tfrecord_dir), data_dir)[0]
    new = os.path.join(data_dir, dataset)
    if os.path.realpath(old) == os.path.realpath(new):
        return []
    if os.path.basename(old) == os.path.basename(new) and os.path.exists(new) and not os.path.exists(old):
        kwargs.data_dir, kwargs.dataset_args.tfrecord_dir = data_dir, dataset
        return []
    name = "--dataset" if "dataset" in flags else "--data-dir"
    return [_cannot_change(name, old, new)]
