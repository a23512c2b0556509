"""Starting a training from the weights of trained networks, of whatever file, as far as they fit.

Variables are found by name. Those of a level, such as `64x64/Conv0_up/weight`, are in every network that has this
level, so networks of another size, family or number of classes give what they have in common. `fitting` makes fit what
is of another shape because images have other proportions or channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dnnlib.errors import UserError, listed

from .fitting import fitted, other_base

_MAX_LINES = 30
_ADVICE = "What decides shapes: --config, --fmap-base, --fmap-max, --cond, --resolution, --base, G_args and D_args."


def copy_weights(origin: str, loaded: Any, networks: Sequence[Any], partial: bool = False) -> list[str]:
    """Copies the variables of trained networks.

    Args:
        origin: the file, for messages.
        loaded: (G, D, Gs), where one may be None, or a single network.
        networks: (G, D, Gs) to start from them.
        partial: copy what fits even if not everything does; the rest keeps its initial values.

    Returns:
        Lines for the log: what was copied, what was changed to fit, and what does not.

    Raises:
        UserError: something does not fit, and `partial` is not set, or nothing fits at all. The message lists every
            variable.
    """
    G, D, Gs = _three(origin, loaded)
    lines, done, problems, copies = [], [], [], []
    for net, source in zip(networks, (G, D, Gs), strict=True):
        if source is None:
            problems.append(f"{net.name}: not in {origin}")
            continue
        made, changes = fitted(net, source)
        values = {**source.vars, **made}
        fits, wrong = compare(net.vars, values)
        copies.append((net, values, fits))
        needed = [name for name in net.vars if not _is_lod(name)]
        lines.append(f"{net.name}: {len(fits)} of {len(needed)} variables fit")
        if net.name != networks[2].name:  # Gs is like G
            done += [f"{net.name}: {line}" for line in changes]
            problems += [*_different_data(net, source, bool(wrong)), *(f"{net.name}: {line}" for line in wrong)]
    if not any(fits for *_, fits in copies):
        raise UserError(f"{origin}: not a single variable fits the networks to train. {_ADVICE}")
    if problems and not partial:
        rest = f"--resume-partial starts from what fits ({'; '.join(lines)}) and trains the rest from random values."
        found = [f"{origin}: {len(problems)} things do not fit:", *listed(problems, _MAX_LINES)]
        raise UserError("\n".join([*found, _ADVICE, rest]))
    for net, values, fits in copies:
        shown = [name for name in net.vars if _is_lod(name) and name in values]  # until the schedule sets it
        for name in [*fits, *shown]:
            net.vars[name].assign(values[name])
    return [*lines, *done, *problems]


def _three(origin: str, loaded: Any) -> tuple[Any, Any, Any]:
    """(G, D, Gs). Either generator stands in for the other."""
    if not isinstance(loaded, (tuple, list)):
        loaded = (None, loaded, None) if len(loaded.output_shape) == 2 else (None, None, loaded)
    if len(loaded) != 3:
        raise UserError(f"{origin}: holds {len(loaded)} networks, expected (G, D, Gs) or a single one")
    G, D, Gs = loaded
    return G or Gs, D, Gs or G


def compare(needed: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names of variables that fit, and a line for each that does not."""
    fits, wrong = [], []
    for name, variable in needed.items():
        shape = list(variable.shape)
        if _is_lod(name):  # set by the schedule
            continue
        if name not in given:
            wrong.append(f"{name}: {shape} here, not in the file")
        elif list(given[name].shape) != shape:
            wrong.append(f"{name}: {shape} here, {list(given[name].shape)} in the file")
        else:
            fits.append(name)
    unused = [name for name in given if name not in needed and not _is_lod(name)]
    return fits, wrong + [f"{name}: {list(given[name].shape)} in the file, not here" for name in unused]


def _is_lod(name: str) -> bool:
    return name.split("/")[-1] == "lod"


def _different_data(net: Any, source: Any, other_images: bool) -> list[str]:
    """Images (if asked for) and labels of another kind, which is why variables do not fit."""
    images = "output_shape" if len(net.output_shape) == 4 else "input_shape"
    pairs = {"images": (getattr(net, images), getattr(source, images))} if other_images else {}
    if len(net.input_shapes) > 1 and len(source.input_shapes) > 1:
        pairs["labels"] = net.input_shapes[1], source.input_shapes[1]
    base = other_base(net, source) if other_images else None
    return [
        f"{net.name}: {what} of shape {given[1:]} in the file, {have[1:]} here"
        for what, (have, given) in pairs.items()
        if list(have[1:]) != list(given[1:])
    ] + ([f"{net.name}: {base}"] if base else [])
