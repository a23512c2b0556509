"""The arguments of `training_loop` by name, which options files may set, and how nested arguments are merged."""

from collections.abc import Callable, Iterator
from typing import Any

from dnnlib.errors import did_you_mean
from dnnlib.util import EasyDict

_NETWORK = {"func_name", "dtype", "fmap_base", "fmap_decay", "fmap_min", "fmap_max", "architecture", "nonlinearity"}
_NETWORK |= {"resample_kernel", "structure", "use_wscale", "fused_scale", "blur_filter"}
_NETWORK |= {"num_fp16_res", "conv_clamp", "fp16_dtype"}
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
    "dataset_args": {"resolution", "label_file", "max_label_size", "max_images", "repeat"}
    | {"shuffle_mb", "prefetch_mb", "buffer_mb", "num_threads"},
    "sched_args": {"lod_initial_resolution", "lod_training_kimg", "lod_transition_kimg"}
    | {"minibatch_size_base", "minibatch_size_dict", "minibatch_gpu_base", "minibatch_gpu_dict"}
    | {"G_lrate_base", "G_lrate_dict", "D_lrate_base", "D_lrate_dict", "lrate_rampup_kimg"}
    | {"tick_kimg_base", "tick_kimg_dict"},
    "grid_args": {"size", "layout"},
}
"""The arguments that are dicts, and the names in them."""
PLAIN: dict[str, str] = {
    "G_smoothing_kimg": "number",
    "G_smoothing_rampup": "number",
    "resume_partial": "switch",
    "minibatch_repeats": "count",
    "lazy_regularization": "switch",
    "G_reg_interval": "count",
    "D_reg_interval": "count",
    "reset_opt_for_new_lod": "switch",
    "drange_net": "range",
    "image_snapshot_ticks": "ticks",
    "network_snapshot_ticks": "ticks",
    "save_tf_graph": "switch",
    "save_weight_histograms": "switch",
    "resume_kimg": "number",
    "resume_time": "number",
    "resume_with_new_nets": "switch",
    "metric_arg_list": "metrics",
    "tf_config": "names",
}
"""The other arguments, and what kind of value each has."""
_NUMBERS = ("G_opt_args", "D_opt_args", "G_loss_args", "D_loss_args", "sched_args", "augment_args")  # hold numbers
_NOT_NUMBERS = {"func_name", "lod_initial_resolution", "random_fake_labels", "apply_args", "tune_heuristic"}
_NOT_NUMBERS |= {"class_name", "apply_func"}
ARGUMENTS = {*NESTED, *PLAIN}
"""The arguments of `training_loop` that options files may set."""


def problems_of(settings: dict[str, Any]) -> list[str]:
    """What is wrong in nested settings: names that do not exist, with the nearest that do, and kinds of values."""
    problems = []
    for key, value in settings.items():
        if key in PLAIN:
            problems += _problem_of_value(key, PLAIN[key], value)
        elif key not in NESTED:
            problems.append(no_such("option", key, ARGUMENTS))
        elif not isinstance(value, dict):
            problems += _problem_of_value(key, "names", value)
        elif str(value.get("func_name", "training.")).startswith("training."):  # others have arguments of their own
            problems += [no_such(f"{key} option", name, NESTED[key]) for name in value if name not in NESTED[key]]
            for name in sorted(value.keys() & NESTED[key] - _NOT_NUMBERS) if key in _NUMBERS else ():
                kind = "table" if _is_table(name) else "number"
                problems += _problem_of_value(f"{key}.{name}", kind, value[name])
    return problems


def _problem_of_value(name: str, kind: str, value: Any) -> list[str]:
    fits, expected = _KINDS[kind]
    return [] if fits(value) else [f"{name}: expected {expected}, got {value!r}"]


def no_such(kind: str, name: Any, known: Any) -> str:
    """'no config 'config-g' (did you mean config-f?)'."""
    return f"no {kind} {str(name)!r}" + did_you_mean(name, known)


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_signed(value: Any) -> bool:
    return isinstance(value, int | float) and _is_number(abs(value))


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_signed, value)) and value[0] < value[1]


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "number": (_is_number, "a number of 0 or more"),
    "count": (_is_count, "an integer of 1 or more"),
    "ticks": (lambda value: value is None or _is_count(value), "an integer of 1 or more, or null"),
    "switch": (lambda value: isinstance(value, bool), "true or false"),
    "names": (lambda value: isinstance(value, dict), "names and values"),
    "table": (
        lambda value: isinstance(value, dict) and all(map(_is_count, value)) and all(map(_is_number, value.values())),
        "resolutions and numbers",
    ),
    "metrics": (
        lambda value: (
            isinstance(value, list) and all(isinstance(v, dict) and {"name", "func_name"} <= {*v} for v in value)
        ),
        "a list of {name: ..., func_name: ...}",
    ),
    "range": (_is_range, "two numbers such as [-1, 1]"),
}
