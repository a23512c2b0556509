"""What --resume names: the newest run, a run folder, or a network pickle."""

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import pretrained_networks
from dnnlib.errors import UserError, did_you_mean
from training.data.find_dataset import find_dataset
from training.run_folder.options_file import TRAINING_OPTIONS, TRAINING_STATE, load_training_options

from .ada_configs import ADA_CONFIGS
from .configs import CONFIGS

_TRAINING = re.compile(r"(\d+)-stylegan2-.+")  # names of run folders of trainings, unless people rename them
_MAX_LISTED = 10


def find_folder(resume: str, result_dir: str) -> str | None:
    """The folder that --resume names, as a path or as a name in the root folder of runs; None if it is none."""
    path = os.path.expanduser(resume)
    for candidate in (path, os.path.join(result_dir, path)):
        if path and os.path.isdir(candidate):
            return os.path.normpath(candidate)
    return None


def latest_run(result_dir: str, asked: Mapping[str, str]) -> str:
    """The folder of the newest training: the one with the highest number, if possible one with a saved state.

    Says which newer ones are passed over.

    Args:
        result_dir: root folder of run folders.
        asked: the `dataset` and `config` that the training must have; what is not named may be any.

    Raises:
        UserError: there is none that can go on; the message lists those that there are.
    """
    names = newest_first(result_dir)
    missing = {name: _missing(os.path.join(result_dir, name)) for name in names}

    def fits(name: str) -> bool:
        if not asked or missing[name] == TRAINING_OPTIONS:  # not known of the latter, so they are passed over aloud
            return True
        with contextlib.suppress(UserError):
            return asked.items() <= _facts(os.path.join(result_dir, name)).items()
        return False  # its options cannot be read

    wanted = [name for name in names if fits(name)]
    for acceptable in (None, TRAINING_STATE):
        for number, name in enumerate(wanted):
            if missing[name] in (None, acceptable):
                if number:
                    passed = ", ".join(f"{other} (no {missing[other]})" for other in wanted[:number])
                    print(f"--resume=latest is {name}; passed over: {passed}", file=sys.stderr)
                return os.path.join(result_dir, name)

    with_what = "".join(f" with --{name}={value}" for name, value in asked.items())
    able = [name for name in missing if missing[name] != TRAINING_OPTIONS]
    if able:
        there = f"; there are: {', '.join(reversed(able[:_MAX_LISTED]))}"
    else:
        there = "".join(f"; {_why_not(os.path.join(result_dir, name))}" for name in list(missing)[:_MAX_LISTED])
    raise UserError(f"--resume=latest: no training{with_what} in {result_dir}{there}")


def newest_first(folder: str) -> list[str]:
    """The names of the trainings in a folder, by their numbers."""
    return sorted(_trainings(folder), key=_number_and_name, reverse=True)


def check_folder(run_dir: str) -> None:
    """Raises UserError, with what would do instead, if the run in a folder cannot go on."""
    if _missing(run_dir) == TRAINING_OPTIONS:
        raise UserError(_why_not(run_dir))


def _facts(run_dir: str) -> dict[str, Any]:
    kwargs = load_training_options(run_dir)[1]
    dataset = find_dataset(kwargs.dataset_args.tfrecord_dir, kwargs.data_dir)[1]
    return {"dataset": dataset, "config": config_of(run_dir, kwargs)}


def config_of(run_dir: str, kwargs: Mapping[str, Any]) -> str | None:
    """The name of a run's configuration.

    The version before did not store it, nor do programs that call the loop. In the names of such run folders, unless
    renamed, it comes after the number of GPUs and before other flags: `00000-stylegan2-ffhq-8gpu-config-f-freezed10`.
    """
    match = re.fullmatch(rf"{_TRAINING.pattern}-\d+gpu-(.+)", os.path.basename(os.path.abspath(run_dir)))
    end = match[2] if match else ""
    found = [name for name in (*CONFIGS, *ADA_CONFIGS) if f"{end}-".startswith(f"{name}-")]
    return kwargs.get("config") or max(found, key=len, default=None)


def _is_training(path: str) -> bool:
    """Whether a folder is one of a training, by its name or by what is in it."""
    named = _TRAINING.fullmatch(os.path.basename(path)) is not None and os.path.isdir(path)
    return named or os.path.isfile(os.path.join(path, TRAINING_OPTIONS))


def _number_and_name(name: str) -> tuple[int, str]:
    match = _TRAINING.fullmatch(name)
    return int(match[1]) if match else -1, name  # renamed folders come last


def _trainings(folder: str) -> list[str]:
    """The names of the run folders in a folder."""
    return [name for name in _list(folder) if _is_training(os.path.join(folder, name))]


def _missing(run_dir: str) -> str | None:
    """Which file a run lacks to go on from where it was: without options not at all, without state from its start."""
    there = _list(run_dir)
    return next((name for name in (TRAINING_OPTIONS, TRAINING_STATE) if name not in there), None)


def _why_not(run_dir: str) -> str:
    pickles = sorted(name for name in os.listdir(run_dir) if re.fullmatch(r"network-.*\.pkl", name))
    advice = f"; --resume={os.path.join(run_dir, pickles[-1])} starts from its weights" if pickles else ""
    return f"{run_dir}: cannot go on, {TRAINING_OPTIONS} is missing{advice}"


# ----------------------------------------------------------------------------
# Network pickles.


def find_pickle(resume: str, result_dir: str) -> str:
    """The path or URL of the network pickle that --resume names.

    Raises:
        UserError: it does not exist, or is another file; with the nearest that would do.
    """
    is_name = resume in pretrained_networks.short_names and not os.path.exists(resume)
    if is_name or "://" in resume or resume.startswith("gdrive:") or not resume:
        return pretrained_networks.locate(resume)
    path = os.path.expanduser(resume)
    if os.path.isfile(path) and _may_hold_networks(path):
        return path
    folder = os.path.dirname(path)
    problem = "is not a network pickle" if os.path.exists(path) else "no such run folder or pickle"
    if os.path.isfile(os.path.join(folder, TRAINING_OPTIONS)) and not _is_pickle(path):
        hint = f"; to go on with the run, name its folder: --resume={folder or '.'}"
    else:
        hint = did_you_mean(resume, _known_names(folder, result_dir))
    raise UserError(f"--resume={resume}: {problem}{hint}")


def _is_pickle(path: str) -> bool:
    """Whether a file has the name of a network pickle."""
    return path.endswith(".pkl") and os.path.basename(path) not in pretrained_networks.NO_NETWORKS


def _may_hold_networks(path: str) -> bool:
    """Whether to try and read it; what it holds shows then."""
    if os.path.basename(path) in pretrained_networks.NO_NETWORKS:
        return False
    with open(path, "rb") as file:
        return file.read(1) == b"\x80" or path.endswith(pretrained_networks.NETWORK_FILES)


def _known_names(folder: str, result_dir: str) -> set[str]:
    """What --resume could have meant: what is beside it, and where it has no folder, what names alone stand for."""
    beside = {os.path.join(folder, name) for name in _list(folder or ".")}
    names = {path for path in beside if _is_pickle(path) or _is_training(path)}
    if not folder:
        names |= {"auto", "latest", *_trainings(result_dir)}
        names |= {*pretrained_networks.gdrive_urls, *pretrained_networks.short_names}
    return names


def _list(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []
