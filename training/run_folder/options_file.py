"""The options of a run as its folder keeps them: `training_options.json`."""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from dnnlib.errors import UserError, listed, printable, reason_of, short
from dnnlib.files import atomic_write
from dnnlib.formats import versions
from dnnlib.util import EasyDict

TRAINING_OPTIONS = "training_options.json"
TRAINING_STATE = "training-state.npz"  # named here, where TensorFlow is not imported; `state` writes it
VERSION = 1  # of this format; files without a number are of version 1, too
RUN_FUNCTION = "training.training_loop.training_loop"
_MOST_NUMBERS = 1_000_000  # of a range
_MAX_PROBLEMS = 10  # told of a file
_FOR_ONCE = ("resume_run_dir", "resume_changed_data")  # arguments that are not kept
_IMAGES = ("", "training.dataset.TFRecordDataset", "training.data.dataset.TFRecordDataset")  # class_name


class DamagedOptionsError(UserError):
    """The options of a run cannot be read, whatever they were."""


def to_json(options: Any) -> str:
    """Options as indented JSON. Ranges become {"__range__": [start, stop, step]}."""
    return json.dumps(options, indent=2, default=_encode)


def _encode(value: Any) -> Any:
    if isinstance(value, range):
        return {"__range__": [value.start, value.stop, value.step]}
    if hasattr(value, "tolist"):  # numbers and arrays of NumPy
        return value.tolist()
    raise TypeError(f"{value!r} cannot be stored as JSON")


def save_training_options(
    run_dir: str, num_gpus: int, kwargs: Mapping[str, Any], data: Mapping[str, Any] | None = None
) -> None:
    """Writes `training_options.json`: the arguments of `training_loop`, the number of GPUs, the function's name.

    All arguments but those that are for once: the folder itself, which the file goes with wherever it is moved, and
    whether the data set may have changed.

    data: facts about the data set, for people; None: not known yet.
    """
    options = {versions.KEY: VERSION, "run_func_name": RUN_FUNCTION, "num_gpus": num_gpus, **kwargs}
    for name in _FOR_ONCE:
        options.pop(name, None)
    if data is not None:
        options["data"] = data
    if _reads_images(options.get("dataset_args")):
        options["dataset_args"] = {"exif": "upright", **options["dataset_args"]}
    with atomic_write(os.path.join(run_dir, TRAINING_OPTIONS)) as file:
        file.write(to_json(options).encode() + b"\n")


def options_beside(network_pkl: str) -> EasyDict | None:
    """`load_for_data` of the run that has written a pickle; None if it is not in a run folder."""
    run_dir = os.path.dirname(os.path.abspath(os.path.expanduser(network_pkl)))
    if not os.path.isfile(os.path.join(run_dir, TRAINING_OPTIONS)):
        return None
    return load_for_data(run_dir)


def load_for_data(run_dir: str) -> EasyDict:
    """The arguments of `training_loop` that a run was started with, for whoever opens its data set.

    With them `data`: the facts that `save_training_options` was given, unchecked; None if there are none.

    Raises UserError as `load_training_options` does, and where the class of the data set is not of this project.
    """
    _, options, data = _load(run_dir)
    if problems := problems_of_trust(run_dir, {"dataset_args": options.dataset_args}):
        raise UserError("\n".join(problems))
    options.data = data
    return options


def load_training_options(run_dir: str) -> tuple[int, EasyDict]:
    """The number of GPUs and the arguments of `training_loop` that a run was started with.

    The file may be of anybody: ask `problems_of_trust` before anything that it names is imported.

    Raises:
        UserError: no such file, or not what `save_training_options` writes.
    """
    num_gpus, options, _ = _load(run_dir)
    return num_gpus, options


def _load(run_dir: str) -> tuple[int, EasyDict, Any]:
    """The number of GPUs, the arguments, and the facts about the data set."""
    path = os.path.join(run_dir, TRAINING_OPTIONS)
    try:
        with open(path, encoding="utf-8") as file:
            options = json.load(file, object_hook=_decode)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedOptionsError(f"{path}: damaged ({reason_of(error)})") from None
    if not isinstance(options, dict) or options.pop("run_func_name", None) != RUN_FUNCTION:
        raise UserError(f"{path}: not the options of a training")
    if problem := versions.problem_of(options.pop(versions.KEY, 1), VERSION):
        raise UserError(f"{path}: {problem}")
    data = options.pop("data", None)
    for name in _FOR_ONCE:
        options.pop(name, None)
    num_gpus = options.pop("num_gpus", None)
    problems = [] if isinstance(num_gpus, int) and num_gpus > 0 else [f"num_gpus is {short(num_gpus)}"]
    for name in ("G_args", "D_args", "dataset_args", "sched_args", "tf_config"):
        if not isinstance(options.get(name), dict):
            problems.append(f"{name} is {short(options.get(name))}, expected names and values")
        elif name == "sched_args":
            tables = {key: value for key, value in options[name].items() if key.endswith("_dict")}
            wrong = {key: value for key, value in tables.items() if not isinstance(value, dict)}
            problems += [f"{printable(key)} is {short(value)}, expected a table" for key, value in wrong.items()]
    for place, name in ((options, "data_dir"), (options.get("dataset_args"), "tfrecord_dir")):
        if isinstance(place, dict) and not isinstance(place.get(name), str):
            problems.append(f"{name} is {short(place.get(name))}, expected a folder")
    if problems:
        raise UserError("\n".join(f"{path}: {problem}" for problem in listed(problems, _MAX_PROBLEMS)))
    if _reads_images(options["dataset_args"]):
        exif = options["dataset_args"].pop("exif", "ignore")  # of runs of earlier versions, which go on as they began
        if exif != "upright":  # the default
            options["dataset_args"].exif = exif
    for name, table in options["sched_args"].items():
        if name.endswith("_dict"):
            options["sched_args"][name] = {int(k) if _is_number(k) else k: v for k, v in table.items()}
    return num_gpus, options, data


def _reads_images(dataset_args: Any) -> bool:
    """Whether these are arguments of `TFRecordDataset`."""
    return isinstance(dataset_args, Mapping) and (dataset_args.get("class_name") or "") in _IMAGES


def _decode(items: dict[str, Any]) -> Any:
    if set(items) == {"__range__"}:
        numbers = range(*items["__range__"])
        if len(numbers) > _MOST_NUMBERS:
            raise ValueError(f"a range of {len(numbers)} numbers")
        return numbers
    return EasyDict(items)


def _is_number(key: str) -> bool:
    return key.isdecimal() and len(key) < 10


# ----------------------------------------------------------------------------
# What a file of others must not decide alone.

_NAMES_OF_CODE = ("func_name", "class_name", "apply_func")


def foreign_code(value: Any, place: str = "") -> list[tuple[str, Any]]:
    """What in options leads to code that is not of this project: places and values.

    That are functions of other packages, of metrics all but classes of `metrics`, and environment variables, which can
    name programs.
    """
    if isinstance(value, list | tuple):
        return [found for item in value for found in foreign_code(item, place)]
    if not isinstance(value, Mapping):
        return []
    result = []
    for key, item in value.items():
        where = f"{place}.{key}" if place else str(key)
        ours = r"metrics\.\w+\.[A-Z]\w*" if place.startswith("metric_arg_list") else r"training\.\w+\.\w+"
        if key in _NAMES_OF_CODE:
            result += [] if re.fullmatch(ours, str(item)) else [(where, item)]
        elif str(key).startswith("env."):
            result.append((where, item))
        else:
            result += foreign_code(item, where)
    return result


def problems_of_trust(run_dir: str, options: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> list[str]:
    """Why code that options of a run name must not run.

    given: settings that the user gives now; what they name, too, may run.
    """
    path, named = os.path.join(run_dir, TRAINING_OPTIONS), foreign_code(given or {})
    try:
        foreign = [found for found in foreign_code(options) if found not in named]
    except RecursionError:
        return [f"{path}: damaged (nested too deeply)"]
    problems = [
        f"{path}: {printable(place)} is {short(value)}, expected a function of training or metrics; "
        f"if you trust it, name it again in an options file (--options=FILE)"
        for place, value in foreign
    ]
    return listed(problems, _MAX_PROBLEMS)
