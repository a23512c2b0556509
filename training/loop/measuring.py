"""Metrics of a training's snapshots. They may take long, and may end a process for which there is no memory."""

import contextlib
import json
import os
from typing import Any

from dnnlib.commands import as_called
from dnnlib.files import atomic_write
from dnnlib.submission.run_context import Stopped

BEGUN = "metrics-begun.json"  # in the run folder while they are computed
_MOST_TRIES = 2


def measure(run: Any, name: str) -> bool:
    """Computes the metrics of a snapshot; returns whether a signal has ended that. The state has been saved before.

    Whatever ended the process within them twice ends it no more: they are left out.

    run: a `TrainingRun`. name: of the pickle.
    """
    path, names = os.path.join(run.run_dir, BEGUN), ",".join(metric.name for metric in run.metrics.metrics)
    tries = _tries(path, name)
    if tries == _MOST_TRIES:
        times = f"{names} of {name} ended the training {tries} times"
        print(as_called(f"{times}: left out; run_metrics.py can go on."))
    else:
        with contextlib.suppress(OSError), atomic_write(path) as file:  # a full disk: they are not counted
            file.write(json.dumps({"network": name, "tries": tries + 1}).encode())
        try:
            run.metrics.run(os.path.join(run.run_dir, name), run_dir=run.run_dir, **run.metric_kwargs)
        except Stopped:
            alone = (
                "they are when the run goes on" if run.devices.is_only_worker else "run_metrics.py can go on with them"
            )
            print(as_called(f"Stopping before {names} of {name} are computed; {alone}."))
            _forget(path)
            return True
    _forget(path)
    return False


def _tries(path: str, name: str) -> int:
    """How often the metrics of a snapshot were begun, and did not come to their end."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(path, "rb") as file:
        begun = json.load(file)
        return int(begun["tries"]) if begun["network"] == name else 0
    return 0


def _forget(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
