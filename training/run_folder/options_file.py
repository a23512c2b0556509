"""The options of a run as its folder keeps them: `training_options.json`."""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from dnnlib.errors import UserError, printable, short
from dnnlib.files import atomic_write
from dnnlib.util import EasyDict

TRAINING_OPTIONS = "training_options.json"
TRAINING_STATE = "training-state.npz"  # named here, where TensorFlow is not imported; `state` writes it
RUN_FUNCTION = "training.training_loop.training_loop"
_FOR_ONCE = ("resume_run_dir", "resume_changed_data")  # arguments that are not kept


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
    options = {"run_func_name": RUN_FUNCTION, "num_gpus": num_gpus, **kwargs}
    for name in _FOR_ONCE:
        options.pop(name, None)
    if data is not None:
        options["data"] = data
    with atomic_write(os.path.join(run_dir, TRAINING_OPTIONS)) as file:
        file.write(to_json(options).encode() + b"\n")


def options_beside(network_pkl: str) -> EasyDict | None:
    """The arguments of `training_loop` of the run that has written a pickle; None if it is not in a run folder."""
    run_dir = os.path.dirname(os.path.abspath(os.path.expanduser(network_pkl)))
    if not os.path.isfile(os.path.join(run_dir, TRAINING_OPTIONS)):
        return None
    return load_training_options(run_dir)[1]


def load_training_options(run_dir: str) -> tuple[int, EasyDict]:
    """The number of GPUs and the arguments of `training_loop` that a run was started with.

    Functions that are named in the file must be those of this project: a file of others runs nothing else.

    Raises:
        UserError: no such file, or not what `save_training_options` writes.
    """
    path = os.path.join(run_dir, TRAINING_OPTIONS)
    try:
        with open(path, encoding="utf-8") as file:
            options = json.load(file, object_hook=_decode)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error})") from None
    if not isinstance(options, dict) or options.pop("run_func_name", None) != RUN_FUNCTION:
        raise UserError(f"{path}: not the options of a training")
    for name in ("data", *_FOR_ONCE):
        options.pop(name, None)
    num_gpus = options.pop("num_gpus", None)
    problems = [] if isinstance(num_gpus, int) and num_gpus > 0 else [f"num_gpus is {short(num_gpus)}"]
    for name in ("G_args", "D_args", "dataset_args", "sched_args", "tf_config"):
        if not isinstance(options.get(name), dict):
            problems.append(f"{name} is {short(options.get(name))}, expected names and values")
        elif name == "sched_args":
            tables = {key: value for key, value in options[name].items() if key.endswith("_dict")}
            problems += [
                f"{key} is {value!r}, expected a table" for key, value in tables.items() if not isinstance(value, dict)
            ]
    for place, name in ((options, "data_dir"), (options.get("dataset_args"), "tfrecord_dir")):
        if isinstance(place, dict) and not isinstance(place.get(name), str):
            problems.append(f"{name} is {short(place.get(name))}, expected a folder")
    problems += _foreign_functions(options)
    if problems:
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    for name, table in options["sched_args"].items():
        if name.endswith("_dict"):
            options["sched_args"][name] = {int(k) if k.isdecimal() else k: v for k, v in table.items()}
    return num_gpus, options


def _decode(items: dict[str, Any]) -> Any:
    if set(items) == {"__range__"}:
        return range(*items["__range__"])
    return EasyDict(items)


def _foreign_functions(value: Any, name: str = "") -> list[str]:
    if isinstance(value, list):
        return [problem for item in value for problem in _foreign_functions(item, name)]
    if not isinstance(value, dict):
        if name.endswith(".func_name") and not re.fullmatch(r"(training|metrics)\.\w+\.\w+", str(value)):
            return [f"{printable(name.lstrip('.'))} is {short(value)}, expected a function of training or metrics"]
        return []
    return [problem for key, item in value.items() for problem in _foreign_functions(item, f"{name}.{key}")]
