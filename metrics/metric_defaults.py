"""The metrics by name, with the arguments of the paper's tables."""

import os
from collections.abc import Iterable
from typing import Any

from dnnlib.errors import did_you_mean
from dnnlib.util import EasyDict


def _ppl(space: str, sampling: str, crop: bool) -> dict[str, Any]:
    return {
        "func_name": "metrics.perceptual_path_length.PPL",
        "num_samples": 50000,
        "epsilon": 1e-4,
        "space": space,
        "sampling": sampling,
        "crop": crop,
        "minibatch_per_gpu": 4,
        "Gs_overrides": {"dtype": "float32", "mapping_dtype": "float32"},
    }


def _fid(num_images: int, **kwargs: Any) -> dict[str, Any]:
    name = "metrics.frechet_inception_distance.FID"
    return {"func_name": name, "num_images": num_images, "minibatch_per_gpu": 8, **kwargs}


_KID = {
    "func_name": "metrics.kernel_inception_distance.KID",
    "num_images": 50000,
    "num_subsets": 100,
    "max_subset_size": 1000,
    "minibatch_per_gpu": 8,
}
_PR = {
    "func_name": "metrics.precision_recall.PR",
    "num_images": 50000,
    "nhood_size": 3,
    "minibatch_per_gpu": 8,
    "row_batch_size": 10000,
    "col_batch_size": 10000,
}
_TABLE: dict[str, dict[str, Any]] = {
    # Of the paper.
    "fid50k": _fid(50000),
    "is50k": {
        "func_name": "metrics.inception_score.IS",
        "num_images": 50000,
        "num_splits": 10,
        "minibatch_per_gpu": 8,
    },
    "ppl_zfull": _ppl("z", "full", crop=True),
    "ppl_wfull": _ppl("w", "full", crop=True),
    "ppl_zend": _ppl("z", "end", crop=True),
    "ppl_wend": _ppl("w", "end", crop=True),
    "ppl2_wend": _ppl("w", "end", crop=False),
    "ls": {
        "func_name": "metrics.linear_separability.LS",
        "num_samples": 200000,
        "num_keep": 100000,
        "attrib_indices": range(40),
        "minibatch_per_gpu": 4,
    },
    "pr50k3": _PR,
    # Of StyleGAN2-ADA: all real images, each once.
    "fid50k_full": _fid(50000, full=True),
    "kid50k": _KID,
    "kid50k_full": {**_KID, "full": True, "max_reals": 1000000},
    "pr50k3_full": {**_PR, "full": True, "max_reals": 200000},
    # For snapshots: not to be compared with anything but itself.
    "fid5k": _fid(5000),
}
metric_defaults = EasyDict((name, EasyDict(name=name, **args)) for name, args in _TABLE.items())
"""Arguments of `dnnlib.util.call_func_by_name` that make each metric."""


def needs_reals(name: str) -> bool:
    """Whether a metric looks at real images, so that it cannot do without a data set. TensorFlow is not imported."""
    return metric_defaults[name]["func_name"].rpartition(".")[2] in ("FID", "KID", "PR")


def with_num_images(kwargs: dict[str, Any], num_images: int) -> EasyDict:
    """A metric of another number of images or samples, which its name tells: 'fid2k', 'pr1.5k3', 'ls_2k'."""
    key = "num_images" if "num_images" in kwargs else "num_samples"
    if kwargs[key] == num_images:
        return EasyDict(kwargs)
    short, usual = (f"{number / 1000:.10g}k" for number in (num_images, kwargs[key]))
    name = kwargs["name"]
    name = name.replace(usual, short, 1) if usual in name else f"{name}_{short}"
    changed = EasyDict(kwargs, name=name)
    changed[key] = num_images
    if "num_keep" in changed:  # as large a share
        changed.num_keep = max(num_images * kwargs["num_keep"] // kwargs[key], 1)
    return changed


def unknown_metrics(names: Iterable[str], none: bool = True) -> list[str]:
    """Problems of names of metrics. none: whether messages offer 'none'."""
    there = ", ".join([*metric_defaults, *(["none"] if none else [])])
    return [
        f"unknown metric {name!r}{did_you_mean(name, metric_defaults)}. There are: {there}"
        for name in names
        if name not in metric_defaults
    ]


def no_metric_networks(folder: str | None) -> list[str]:
    """Problems of --metric-networks."""
    if folder is None or os.path.isdir(os.path.expanduser(folder)):
        return []
    return [f"--metric-networks={folder}: there is no such folder"]
