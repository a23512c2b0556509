"""How far a run is, without TensorFlow: what its folder tells to whoever starts, goes on or looks on."""

import json
import os
from typing import Any

from dnnlib.errors import UserError
from dnnlib.formats.arrays import load_npz

from .options_file import TRAINING_STATE, load_training_options


def counters(run_dir: str) -> dict[str, Any] | None:
    """The counters of a run's state, see `training.loop.counters`; None if there is no state that can be read."""
    try:
        with open(os.path.join(run_dir, TRAINING_STATE), "rb") as file, load_npz(file) as npz:
            return dict(json.loads(str(npz["meta"]))["counters"])
    except Exception:  # zip files and headers of arrays break in many ways; whoever goes on is told
        return None


def finished_kimg(run_dir: str, total_kimg: float) -> float | None:
    """Where a run has finished, in thousands of images; None if there is something left to do for one of that length.

    A finished run may have lost its state, which takes room.
    """
    there = set(os.listdir(run_dir))
    if "_finished.txt" not in there:
        return None
    if (c := counters(run_dir)) is not None:
        kimg = c.get("cur_nimg", 0) / 1000
        return kimg if c.get("done") and kimg >= total_kimg else None
    if TRAINING_STATE in there or "network-final.pkl" not in there:
        return None
    try:
        kimg = load_training_options(run_dir)[1].get("total_kimg")
    except UserError:
        return None
    return kimg if isinstance(kimg, int | float) and kimg >= total_kimg else None
