"""The metrics by name, with the arguments of the paper's tables."""

from typing import Any

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


_TABLE: dict[str, dict[str, Any]] = {
    "fid50k": {"func_name": "metrics.frechet_inception_distance.FID", "num_images": 50000, "minibatch_per_gpu": 8},
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
    "pr50k3": {
        "func_name": "metrics.precision_recall.PR",
        "num_images": 50000,
        "nhood_size": 3,
        "minibatch_per_gpu": 8,
        "row_batch_size": 10000,
        "col_batch_size": 10000,
    },
}

metric_defaults = EasyDict((name, EasyDict(name=name, **args)) for name, args in _TABLE.items())
"""Arguments of `dnnlib.util.call_func_by_name` that make each metric."""
