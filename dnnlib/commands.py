"""The sub-commands of the command `stylegan2`, and what they are called in texts that name scripts."""

import re
import sys

PROGRAM = "stylegan2"
COMMANDS = {  # name: module, what it does
    "generate": ("run_generator", "make images, figures, videos and data sets with a network"),
    "train": ("run_training", "train a network, or go on with a training"),
    "directions": ("run_directions", "find directions of a network, and show them"),
    "project": ("run_projector", "find the latent vectors of images"),
    "metrics": ("run_metrics", "compute metrics of networks"),
    "dataset": ("dataset_tool", "make data sets, and look into them"),
    "convert": ("run_convert", "convert networks between formats, and download published ones"),
    "doctor": ("dnnlib.tflib.doctor.__main__", "tell whether this machine is fit; build the custom ops"),
}
_MODULES = {
    **{f"{module}.py": name for name, (module, _) in COMMANDS.items()},
    "python -m dnnlib.tflib.doctor": "doctor",
    "python -m dnnlib.tflib.ops.build": "doctor --build",
}
_NAMED = re.compile(rf"(?<![\w./-])(?:python )?({'|'.join(map(re.escape, _MODULES))})(?!\w)")


def running() -> str | None:
    """Which sub-command of `stylegan2` this process runs; None: none, but a script or a program of others."""
    program, _, command = (sys.argv or [""])[0].partition(" ")
    return command if program == PROGRAM and command in COMMANDS else None


def take_over(command: str) -> None:
    """From now on this process runs a sub-command: `sys.argv`, whose first part is `stylegan2`, loses its name."""
    sys.argv[:2] = [f"{PROGRAM} {command}"]


def as_called(text: str) -> str:
    """A text that names scripts, as this process is called: 'stylegan2 generate' for 'python run_generator.py'."""
    if running() is None:
        return text
    return _NAMED.sub(lambda match: f"{PROGRAM} {_MODULES[match[1]]}", text)
