"""The arguments of `training_loop` by name, which options files may set, and how nested arguments are merged."""

import difflib
from collections.abc import Iterator
from typing import Any

from dnnlib.util import EasyDict

_NETWORK = {"func_name", "dtype", "fmap_base", "fmap_decay", "fmap_min", "fmap_max", "architecture", "nonlinearity"}
_NETWORK |= {"resample_kernel", "structure", "use_wscale", "fused_scale", "blur_filter"}
_OPTIMIZER = {"beta1", "beta2", "epsilon"}

NESTED: dict[str, set[str]] = {
    "G_args": _NETWORK
    | {"mapping_func", "synthesis_func", "latent_size", "dlatent_size", "mapping_layers", "mapping_fmaps"}
    | {"mapping_lrmul", "mapping_nonlinearity", "normalize_latents", "truncation_psi", "truncation_cutoff"}
    | {"truncation_psi_val", "truncation_cutoff_val", "dlatent_avg_beta", "style_mixing_prob", "randomize_noise"}
    | {"fused_modconv", "use_styles", "const_input_layer", "use_noise", "use_pixel_norm", "use_instance_norm"},
    "D_args": _NETWORK | {"mbstd_group_size", "mbstd_num_features"},
    "G_opt_args": _OPTIMIZER,
    "D_opt_args": _OPTIMIZER,
    "G_loss_args": {"func_name", "pl_minibatch_shrink", "pl_decay", "pl_weight"},
    "D_loss_args": {"func_name", "gamma", "wgan_lambda", "wgan_epsilon", "wgan_target"},
    "dataset_args": {"resolution", "label_file", "max_label_size", "max_images", "repeat"}
    | {"shuffle_mb", "prefetch_mb", "buffer_mb", "num_threads"},
    "sched_args": {"lod_initial_resolution", "lod_training_kimg", "lod_transition_kimg"}
    | {"minibatch_size_base", "minibatch_size_dict", "minibatch_gpu_base", "minibatch_gpu_dict"}
    | {"G_lrate_base", "G_lrate_dict", "D_lrate_base", "D_lrate_dict", "lrate_rampup_kimg"}
    | {"tick_kimg_base", "tick_kimg_dict"},
    "grid_args": {"size", "layout"},
}
"""The arguments that are dicts, and the names in them."""

PLAIN = {"G_smoothing_kimg", "minibatch_repeats", "lazy_regularization", "G_reg_interval", "D_reg_interval"}
PLAIN |= {"reset_opt_for_new_lod", "drange_net", "image_snapshot_ticks", "network_snapshot_ticks", "save_tf_graph"}
PLAIN |= {"save_weight_histograms", "resume_kimg", "resume_time", "resume_with_new_nets", "metric_arg_list"}
PLAIN |= {"tf_config"}
"""The other arguments. `tf_config` is a dict with any names."""

ARGUMENTS = {*NESTED, *PLAIN}
"""The arguments of `training_loop` that options files may set."""


def unknown_names(settings: dict[str, Any]) -> list[str]:
    """Problems of names in nested settings, with the nearest names that exist."""
    problems = []
    for key, value in settings.items():
        if key not in NESTED:
            problems += [] if key in PLAIN else [no_such("option", key, ARGUMENTS)]
        elif not isinstance(value, dict):
            problems.append(f"{key}: expected names and values, got {value!r}")
        elif str(value.get("func_name", "training.")).startswith("training."):  # other functions have other arguments
            problems += [no_such(f"{key} option", name, NESTED[key]) for name in value if name not in NESTED[key]]
    return problems + [
        f"{key}.{name}: expected resolutions and numbers, got {value!r}"
        for key, values in settings.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if _is_table(name) and not _maps_resolutions(value)
    ]


def no_such(kind: str, name: Any, known: Any) -> str:
    """'no config 'config-g' (did you mean config-f?)'."""
    return f"no {kind} {str(name)!r}" + did_you_mean(name, known)


def did_you_mean(name: Any, known: Any) -> str:
    """' (did you mean config-f?)', or nothing if no name is near. Case does not matter."""
    by_lower = {other.lower(): other for other in sorted(known)}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""


def merge(kwargs: dict[str, Any], settings: dict[str, Any]) -> None:
    """Puts nested settings into nested arguments. Tables by resolution (`..._dict`) are replaced as a whole."""
    for key, value in settings.items():
        if isinstance(value, dict) and not _is_table(key):
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
    return str(name).endswith("_dict")


def _maps_resolutions(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(k, int) and isinstance(v, int | float) and not isinstance(v, bool) for k, v in value.items()
    )
