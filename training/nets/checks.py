"""What the networks' constructors check: choices, numbers, sizes, labels."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib import resolutions
from dnnlib.errors import short
from dnnlib.tflib.ops.fused_bias_act import activation_funcs


def resolution_of(owner: str, resolution: resolutions.Size, base: resolutions.Size | None) -> resolutions.Resolution:
    """The resolution of images. Raises ValueError for sizes that networks cannot have, with the nearest that they can.

    Args:
        owner: name of the network.
        resolution: the side of a square, or `[height, width]`.
        base: size of the smallest feature maps, of which the resolution is a power of two; None: see `resolutions`.
    """
    try:
        return resolutions.resolution_of(resolution, base)
    except ValueError as error:
        raise ValueError(f"{owner}: resolution: {error}") from None


def feature_maps(fmap_base: float, fmap_decay: float, fmap_min: int, fmap_max: int) -> Callable[[int], int]:
    """The number of feature maps at a stage (the level, less one: `dnnlib.resolutions`).

    Raises ValueError for arguments that leave no feature maps.
    """
    check_numbers("feature maps", fmap_base=fmap_base, fmap_decay=fmap_decay, fmap_min=fmap_min, fmap_max=fmap_max)
    if not (fmap_base > 0 and 1 <= fmap_min <= fmap_max and abs(fmap_decay) <= 10):
        given = f"fmap_base={fmap_base}, fmap_decay={fmap_decay}, fmap_min={fmap_min}, fmap_max={fmap_max}"
        raise ValueError(f"no feature maps with {given}")
    return lambda stage: int(np.clip(int(fmap_base / (2.0 ** (stage * fmap_decay))), fmap_min, fmap_max))


def check_choice(owner: str, argument: str, value: Any, choices: Iterable[Any]) -> None:
    """Raises ValueError unless the value is one of the choices."""
    if value not in tuple(choices):
        raise ValueError(f"{owner}: {argument} must be one of {', '.join(map(repr, choices))}, got {short(value)}")


def check_common(owner: str, nonlinearity: str, dtype: str, **sizes: int) -> None:
    """Checks arguments that several networks share: an activation, a float type, and positive sizes."""
    check_choice(owner, "nonlinearity", nonlinearity, activation_funcs)
    check_choice(owner, "dtype", dtype, ("float32", "float16", "bfloat16", "float64"))
    check_sizes(owner, **sizes)


def check_kernel(owner: str, argument: str, kernel: Any) -> None:
    """Raises ValueError unless a resampling filter is None or numbers that do not sum to 0."""
    if kernel is None:
        return
    try:
        taps = np.asarray(kernel, float)
        usable = taps.ndim == 1 and 0 < len(taps) <= 32 and np.abs(taps).max() <= 1e6 and abs(np.sum(taps)) > 1e-6
    except (TypeError, ValueError):
        usable = False
    if not usable:
        raise ValueError(f"{owner}: {argument} must be None or a filter such as [1, 3, 3, 1], got {short(kernel)}")


# Numbers beyond which networks give infinity or NaN.
_RANGES = {
    "truncation_psi": (-100, 100),
    "truncation_psi_val": (-100, 100),
    "mapping_lrmul": (-100, 100),
    "dlatent_avg_beta": (0, 1),
}


def check_numbers(owner: str, **values: Any) -> None:
    """Raises ValueError unless all are finite numbers, not too large, None, or tensors; `lrmul` may not be near 0."""
    for name, value in values.items():
        if value is None or hasattr(value, "dtype"):
            continue
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{owner}: {name} must be a finite number, got {short(value)}")
        least, most = _RANGES.get(name, (-math.inf, math.inf))
        if not least <= value <= most:
            raise ValueError(f"{owner}: {name} must be a number from {least:g} to {most:g}, got {short(value)}")
        if name.endswith("lrmul") and abs(value) < 1e-9:
            raise ValueError(f"{owner}: {name} must be a number farther from 0, got {short(value)}")


def check_flags(owner: str, **flags: Any) -> None:
    """Raises ValueError unless all are True or False, 1 or 0, None, or tensors."""
    for name, value in flags.items():
        if not (value is None or hasattr(value, "dtype") or (isinstance(value, int) and value in (0, 1))):
            raise ValueError(f"{owner}: {name} must be True or False, got {short(value)}")


def check_sizes(owner: str, **sizes: int) -> None:
    """Raises ValueError unless all are integers of 1 or more; those that may be are 0."""
    for name, value in sizes.items():
        least = 0 if name in ("label_size", "mapping_layers", "mbstd_group_size") else 1
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= 1 << 20:
            raise ValueError(f"{owner}: {name} must be an integer of {least} or more, got {short(value)}")
        if name == "mapping_layers" and value > 1000:
            raise ValueError(f"{owner}: mapping_layers must be 1000 or less, got {value}")


def check_mbstd(owner: str, mbstd_num_features: int, fmaps: int) -> None:
    """Raises ValueError unless the feature maps fall into so many equal parts, of which each has a deviation."""
    if fmaps % mbstd_num_features:
        raise ValueError(f"{owner}: mbstd_num_features must divide the feature maps, {fmaps}, got {mbstd_num_features}")


def prepare_labels(owner: str, labels: Any, label_size: int, minibatch: Any, dtype: str) -> tf.Tensor | None:
    """Labels `[N, label_size]`, zeros if None was given (as officially); None for unconditional networks.

    Raises ValueError if the labels have another width.
    """
    if labels is None:
        return tf.zeros([minibatch, label_size], dtype) if label_size else None
    labels = tf.cast(labels, dtype)
    if labels.shape.rank != 2 or not labels.shape[1:].is_compatible_with([label_size]):
        raise ValueError(f"{owner}: labels must have shape [N, {label_size}], got {labels.shape}")
    return labels if label_size else None
