"""Small trainings as processes of their own, and what they leave."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = {"fmap_base": 64, "fmap_max": 8}
OPTIONS = {
    "metrics": "none",
    "total-kimg": 0.12,
    "minibatch": 8,
    "minibatch-gpu": 8,
    "snap": 2,
    "image-snap": 1,
    "G_args": {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2, **SMALL},
    "D_args": SMALL,
    "sched_args": {"tick_kimg_base": 0.04, "tick_kimg_dict": {}},
    "grid_args": {"size": "one", "layout": "random"},
}


def options_file(folder, **changes):
    """Options for a small training; None removes one."""
    options = {key: value for key, value in {**OPTIONS, **changes}.items() if value is not None}
    path = Path(folder) / "options.yaml"
    path.write_text(yaml.safe_dump(options))
    return path


def start(folder, *args, env=None):
    command = [sys.executable, str(ROOT / "run_training.py"), *map(str, args)]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(env or {})}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process, expected=0):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == expected, output
    return output


def states_of(*folders):
    """The arrays of the training states in the only run of each result folder."""
    return [dict(np.load(next(folder.glob("*/training-state.npz")))) for folder in folders]


def differences(a, b):
    assert a.keys() == b.keys()
    return {key: np.abs(a[key].astype(float) - b[key]).max() for key in a if key.startswith("variables/")}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("localhost", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()
