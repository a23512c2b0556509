"""Weighted averages of networks, such as the snapshots of a training."""

from collections.abc import Callable, Sequence

import numpy as np

from dnnlib.tflib.checkpoints.descriptions import Networks

from .relatives import check_related, unlike


def averaged(files: Sequence[tuple[str, float]], read: Callable[[str], Networks]) -> tuple[Networks, list[str]]:
    """The average of each variable of the networks that all files have. One file at a time is in memory.

    Args:
        files: names and weights, which are positive.
        read: gives the networks of a file.

    Returns:
        The networks, as of the first file but for the values; and lines on what was done.

    Raises:
        UserError: files that cannot be read, or networks of different kinds, with all that differs.
    """
    (first, weight), *rest = files
    nets = read(first)
    roles = list(nets)
    sums = {role: {name: _of(net.vars[name]) * weight for name in net.vars} for role, net in nets.items()}
    lines = [f"weights: {', '.join(f'{name} {weight:g}' for name, weight in files)}"]
    for name, weight in rest:
        others = read(name)
        roles = [role for role in check_related(first, nets, name, others) if role in roles]
        lines += unlike(first, nets, name, others)
        for role in roles:
            for key, variable in others[role].vars.items():
                sums[role][key] += _of(variable) * weight
    total = sum(weight for _, weight in files)
    result = {role: nets[role].clone() for role in roles}
    for role, net in result.items():
        for key, variable in net.vars.items():
            net.set_var(key, (sums[role][key] / total).astype(variable.numpy().dtype))
    if left := [role for role in nets if role not in roles]:
        lines.append(f"left out, as not all files have it: {', '.join(left)}")
    return result, lines


def _of(variable: object) -> np.ndarray:
    return np.asarray(variable.numpy(), np.float64)
