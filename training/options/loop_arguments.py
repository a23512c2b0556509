"""The arguments of `training_loop` by name, which options files may set, and how nested arguments are merged."""

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

from dnnlib.errors import did_you_mean, short
from dnnlib.util import EasyDict
from training.data.dataset import TFRecordDataset
from training.loop.options import LoopOptions
from training.loop.schedule import training_schedule

_MOST_PROBLEMS = 30  # in a message

# ----------------------------------------------------------------------------
# Names. Those of functions that need TensorFlow stand here, where it is not imported.

_NETWORK = {"func_name", "dtype", "fmap_base", "fmap_decay", "fmap_min", "fmap_max", "architecture", "nonlinearity"}
_NETWORK |= {"resample_kernel", "structure", "use_wscale", "fused_scale", "blur_filter"}
_NETWORK |= {"num_fp16_res", "conv_clamp", "fp16_dtype", "base"}
_OPTIMIZER = {"beta1", "beta2", "epsilon"}
NESTED: dict[str, set[str]] = {
    "G_args": _NETWORK
    | {"mapping_func", "synthesis_func", "latent_size", "dlatent_size", "mapping_layers", "mapping_fmaps"}
    | {"label_fmaps", "mapping_lrmul", "mapping_nonlinearity", "normalize_latents"}
    | {"truncation_psi", "truncation_cutoff"}
    | {"truncation_psi_val", "truncation_cutoff_val", "dlatent_avg_beta", "style_mixing_prob", "randomize_noise"}
    | {"fused_modconv", "use_styles", "const_input_layer", "use_noise", "use_pixel_norm", "use_instance_norm"},
    "D_args": _NETWORK
    | {"mbstd_group_size", "mbstd_num_features"}
    | {"mapping_layers", "mapping_fmaps", "mapping_lrmul", "freeze_layers"},
    "G_opt_args": _OPTIMIZER,
    "D_opt_args": _OPTIMIZER,
    "G_loss_args": {"func_name", "pl_minibatch_shrink", "pl_decay", "pl_weight"},
    "augment_args": {"apply_args", "initial_strength", "tune_heuristic", "tune_target", "tune_kimg", "tune_interval"}
    | {"class_name", "apply_func"},
    "D_loss_args": {"func_name", "gamma", "random_fake_labels", "wgan_lambda", "wgan_epsilon", "wgan_target"},
    "dataset_args": {*inspect.signature(TFRecordDataset).parameters, "class_name"} - {"tfrecord_dir"},
    "sched_args": {*inspect.signature(training_schedule).parameters} - {"cur_nimg", "training_set"},
    "grid_args": {"size", "layout"},
}
"""The arguments that are dicts, and the names in them."""
_TYPES = get_type_hints(LoopOptions)
ARGUMENTS = {argument.name for argument in fields(LoopOptions) if not argument.metadata.get("flag")}
"""The arguments of `training_loop` that options files may set."""
_NUMBERS = ("G_opt_args", "D_opt_args", "G_loss_args", "D_loss_args", "sched_args", "augment_args")  # hold numbers
_NOT_NUMBERS = {"func_name", "lod_initial_resolution", "random_fake_labels", "apply_args", "tune_heuristic"}
_NOT_NUMBERS |= {"class_name", "apply_func"}


def problems_of(settings: dict[str, Any]) -> list[str]:
    """What is wrong in nested settings: names that do not exist, with the nearest that do, and kinds of values."""
    problems = _problems(settings)
    first = list(itertools.islice(problems, _MOST_PROBLEMS))
    return [*first, "... and more"] if next(problems, None) else first


def _problems(settings: dict[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        if key not in ARGUMENTS:
            yield no_such("option", key, ARGUMENTS)
        elif key not in NESTED or not isinstance(value, dict):
            yield from _problem_of_value(key, _KINDS.get(_TYPES[key], _NAMES), value)
        elif str(value.get("func_name", "training.")).startswith("training."):  # others have arguments of their own
            yield from (no_such(f"{key} option", name, NESTED[key]) for name in value if name not in NESTED[key])
            for name in sorted(value.keys() & NESTED[key] - _NOT_NUMBERS) if key in _NUMBERS else ():
                kind = _TABLE if _is_table(name) else _NUMBER
                yield from _problem_of_value(f"{key}.{name}", kind, value[name])


def _problem_of_value(name: str, kind: "_Kind", value: Any) -> list[str]:
    fits, expected = kind
    return [] if fits(value) else [f"{name}: expected {expected}, got {short(value)}"]


def no_such(kind: str, name: Any, known: Any) -> str:
    """'no config 'config-g' (did you mean config-f?)'."""
    return f"no {kind} {short(str(name))}" + did_you_mean(name, known)


def merge(kwargs: dict[str, Any], settings: dict[str, Any]) -> None:
    """Puts nested settings into nested arguments. Tables (`..._dict`) and pipelines are replaced as a whole.

    So are the arguments of a loss when another function is named: its arguments are others.
    """
    for key, value in settings.items():
        old = kwargs.get(key)
        if key.endswith("_loss_args") and old and value.get("func_name", old["func_name"]) != old["func_name"]:
            kwargs[key] = EasyDict(value)
        elif isinstance(value, dict) and not _is_table(key):
            merge(kwargs.setdefault(key, EasyDict()), value)
        else:
            kwargs[key] = dict(value) if isinstance(value, dict) else value


def differences(kwargs: dict[str, Any], settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """What `merge` would change: (name, old value, new value). A missing argument equals one that is empty or 0."""
    for key, value in settings.items():
        old = kwargs.get(key)
        if isinstance(value, dict) and not _is_table(key):
            yield from differences(old if isinstance(old, dict) else {}, value, f"{prefix}{key}.")
        elif old != value and (old or value):
            yield prefix + key, old, value


def _is_table(name: Any) -> bool:
    return str(name).endswith("_dict") or name == "apply_args"


# ----------------------------------------------------------------------------
# Kinds of values.

_Kind = tuple[Callable[[Any], bool], str]  # whether a value is of this kind, and what is expected


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def is_count(value: Any) -> bool:
    """Whether a value is an integer of 1 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_range(value: Any) -> bool:
    two = isinstance(value, list | tuple) and len(value) == 2
    return two and all(isinstance(v, int | float) and _is_number(abs(v)) for v in value) and value[0] < value[1]


def _is_number_table(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_count, value)) and all(map(_is_number, value.values()))


def _are_metrics(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, dict) and {"name", "func_name"} <= {*v} for v in value)


_NUMBER: _Kind = _is_number, "a number of 0 or more"
_NAMES: _Kind = lambda value: isinstance(value, dict), "names and values"
_TABLE: _Kind = _is_number_table, "resolutions and numbers"
_KINDS: dict[Any, _Kind] = {
    float: _NUMBER,
    float | None: (lambda value: value is None or _is_number(value), "a number of 0 or more, or null"),
    int: (is_count, "an integer of 1 or more"),
    int | None: (lambda value: value is None or is_count(value), "an integer of 1 or more, or null"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    tuple[float, float]: (_is_range, "two numbers such as [-1, 1]"),
    Sequence[Mapping[str, Any]]: (_are_metrics, "a list of {name: ..., func_name: ...}"),
}
"""By the types of arguments of `LoopOptions`; all others are `_NAMES`."""
