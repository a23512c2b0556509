"""Finds the weights of a network in a file: tolerant of names, strict about shapes, loud when they do not fit.

The same weights come under many names: scopes of TensorFlow graphs, modules of PyTorch, and those of official pickles,
some of which nobody has listed. Names decide where they can. Files of TensorFlow that use unknown names are matched by
the order of their shapes, which is the order in which the network was created, if every single one agrees.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnnlib.errors import UserError, listed

from .weight_files import WeightFile

_MAX_LINES = 20  # of differences in a message
_ROLES = {
    **dict.fromkeys(("weight", "weights", "kernel", "w", "conv2d_params"), "weight"),
    **dict.fromkeys(("bias", "biases", "b", "beta"), "bias"),
    **dict.fromkeys(("mean", "moving_mean", "running_mean"), "mean"),
    **dict.fromkeys(("var", "variance", "moving_variance", "moving_var", "running_var"), "var"),
    **dict.fromkeys(("gamma", "scale"), "gamma"),
}
_NORMALIZATION = ("bn", "batchnorm", "batch_norm", "batch_normalization", "batchnormalization")
_WRAPPERS = ("inceptionv3", "inception_v3", "vgg16", "layers", "module", "model", "net")


class WeightsMismatchError(UserError, ValueError):
    """Weights that do not fit a network. The message lists every difference."""


@dataclass(frozen=True)
class LayerSpec:
    """A layer whose weights are looked for.

    Attributes:
        name: what results call it.
        kernel: shape of its weight, [height, width, in, out] or [in, out]. PyTorch has [out, in, ...].
        vectors: what else it has, each of shape [out]: 'bias', 'mean', 'var'.
        aliases: names in other files.
        unused: vectors that files may hold besides.
        optional: whether a file may lack it.
        either_way: whether the weight may be transposed.
    """

    name: str
    kernel: tuple[int, ...]
    vectors: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    optional: bool = False
    either_way: bool = False

    def shape(self, role: str) -> tuple[int, ...]:
        """Shape of the weight or of a vector."""
        return self.kernel if role == "weight" else self.kernel[-1:]

    def has(self, role: str) -> bool:
        """Whether a file may hold this for the layer. `gamma` belongs to the normalisation that `mean` does."""
        return role in ("weight", *self.vectors, *self.unused) or (role == "gamma" and "mean" in self.vectors)


@dataclass
class Matched:
    """Weights by name, `<layer>/<role>`, float32 in TensorFlow's layout, and in which way they were found."""

    weights: dict[str, np.ndarray]
    by_order: bool = False


def match(file: WeightFile, layers: Sequence[LayerSpec], title: str, hint: str) -> Matched:
    """Finds the weights of all layers in a file. A `gamma` of batch normalisation is multiplied into the rest.

    Args:
        file: the file.
        layers: the layers in their official order.
        title: the network, for messages.
        hint: what else could be done, for messages.

    Raises:
        WeightsMismatchError: with everything that is missing, unexpected, or of a wrong shape.
    """
    found, problems = _match_names(file, layers)
    if not problems:
        return Matched(_finished(file, layers, found))
    in_order = None if file.kind.startswith("torch") else _match_order(file, layers)
    if in_order is not None:
        return Matched(_finished(file, layers, in_order), by_order=True)
    lines = listed(problems, _MAX_LINES)
    if len(problems) > _MAX_LINES:
        lines[-1] += "; 'run_metrics.py inspect FILE' lists what is in a file"
    message = f"{file.path}: the weights in this {file.kind} do not fit {title}:\n  " + "\n  ".join(lines)
    raise WeightsMismatchError(f"{message}\n{hint}")


def has_layers(file: WeightFile, layers: Sequence[LayerSpec]) -> bool:
    """Whether any of these layers is in a file by name."""
    found, _problems = _match_names(file, layers)
    return bool(found)


# ----------------------------------------------------------------------------
# By name.

_Found = dict[tuple[str, str], np.ndarray]  # by layer and role


def _match_names(file: WeightFile, layers: Sequence[LayerSpec]) -> tuple[_Found, list[str]]:
    """The weights of layers by their names in a file, and what does not fit."""
    known = {_key(re.split(r"[/.]", alias)): layer for layer in layers for alias in (layer.name, *layer.aliases)}
    found: _Found = {}
    origin: dict[tuple[str, str], str] = {}
    unexpected, misshapen = [], []
    for name, array in file.arrays.items():
        place = _place(name, known)
        if place is None:
            if array.size >= _least_size(layers):  # smaller ones are constants of a graph
                unexpected.append(f"{name}: unexpected, of shape {list(array.shape)}")
            continue
        layer, role = place
        if (layer.name, role) in origin:
            unexpected.append(f"{name}: unexpected, {origin[layer.name, role]} is the {role} of {layer.name} already")
            continue
        origin[layer.name, role] = name
        value = _in_layout(array, layer, role, file.kind)
        if value is None:
            misshapen.append(f"{name}: has shape {list(array.shape)}, expected {_expected(layer, role, file.kind)}")
        else:
            found[layer.name, role] = value
    missing = [
        f"{layer.name}/{role}: missing, of shape {_expected(layer, role, file.kind)}"
        for layer in layers
        for role in ("weight", *layer.vectors)
        if (layer.name, role) not in origin and not layer.optional
    ]
    # Where no name is known, what the file holds tells more than what it lacks.
    return found, misshapen + missing + unexpected if origin else unexpected or missing


def _place(name: str, known: dict[str, LayerSpec]) -> tuple[LayerSpec, str] | None:
    """The layer and role that a name stands for, None if it is none of the known."""
    parts = [part for part in re.split(r"[/.]", name.split(":")[0].lower()) if part]
    candidates = [(parts, "weight")]  # such as perceptual_weight_0
    if parts:
        *scope, leaf = parts
        role = _ROLES.get(leaf) or _ROLES.get(leaf.rstrip("0123456789"))  # such as conv1/bias1
        if scope and leaf == scope[-1]:  # such as conv1/conv1
            candidates.append((scope, "weight"))
        if role and scope and scope[-1] in _NORMALIZATION:
            candidates.append((scope[:-1], "gamma" if role == "weight" else role))
        elif role:
            candidates.append((scope, role))
            if scope and scope[-1] == "conv":  # PyTorch's Conv2d_1a_3x3.conv.weight
                candidates.append((scope[:-1], role))
    for scope, role in candidates:
        layer = known.get(_key(scope))
        if layer is not None and layer.has(role):
            return layer, role
    return None


def _key(parts: Sequence[str]) -> str:
    """A scope as it is compared: between scopes, '/', '.' and '_' are alike."""
    parts = [part.lower() for part in parts]
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        parts = parts[1:]
    return "_".join(parts)


def _least_size(layers: Sequence[LayerSpec]) -> int:
    return min(layer.kernel[-1] if layer.vectors else int(np.prod(layer.kernel)) for layer in layers)


def _in_layout(array: np.ndarray, layer: LayerSpec, role: str, kind: str) -> np.ndarray | None:
    """The array in TensorFlow's layout, None if its shape is another."""
    if role == "weight" and kind.startswith("torch"):
        array = array.transpose((2, 3, 1, 0) if array.ndim == 4 else None)  # [out, in, ...]
    shape = layer.shape(role)
    if role == "weight" and layer.either_way and array.shape == shape[::-1] != shape:
        array = array.T
    return array if array.shape == shape else None


def _expected(layer: LayerSpec, role: str, kind: str) -> list[int]:
    shape = list(layer.shape(role))
    if role == "weight" and kind.startswith("torch"):
        return [shape[-1], shape[-2], *shape[:-2]]
    return shape


# ----------------------------------------------------------------------------
# By order.


def _match_order(file: WeightFile, layers: Sequence[LayerSpec]) -> _Found | None:
    """The weights in the order of the layers, each weight followed by its vectors; None if anything is different."""
    least = _least_size(layers)
    rest = [(name, array) for name, array in file.arrays.items() if array.size >= least]
    found: _Found = {}
    for layer in layers:
        if not rest and layer.optional:
            continue
        if not rest or rest[0][1].ndim < 2:
            return None
        value = _in_layout(rest.pop(0)[1], layer, "weight", file.kind)
        if value is None:
            return None
        found[layer.name, "weight"] = value
        vectors = []
        while rest and rest[0][1].ndim == 1:
            vectors.append(rest.pop(0))
        roles = _roles_of(vectors, layer)
        if roles is None:
            return None
        found.update(((layer.name, role), array) for role, (_name, array) in zip(roles, vectors, strict=True))
    return None if rest else found


def _roles_of(vectors: list[tuple[str, np.ndarray]], layer: LayerSpec) -> list[str] | None:
    """What each vector of a layer is: by its name, or because nothing else is left. None if that does not decide."""
    if any(array.shape != layer.shape("bias") for _name, array in vectors):
        return None
    roles = [_ROLES.get(re.split(r"[/.]", name.lower())[-1].rstrip("0123456789")) for name, _array in vectors]
    left = [role for role in layer.vectors if role not in roles]
    unclear = [index for index, role in enumerate(roles) if role is None or not layer.has(role)]
    if len(unclear) == len(left) == 1:
        roles[unclear[0]] = left[0]
    known = [role for role in roles if role is not None and layer.has(role)]
    if len(set(known)) != len(roles) or not set(layer.vectors) <= set(known):
        return None
    return known


def _finished(file: WeightFile, layers: Sequence[LayerSpec], found: _Found) -> dict[str, np.ndarray]:
    weights = {}
    for layer in layers:
        gamma = found.get((layer.name, "gamma"))
        for role in ("weight", *layer.vectors):
            if (layer.name, role) not in found:
                continue
            value = np.asarray(found[layer.name, role], np.float32)
            if gamma is not None and role in ("weight", "mean") and not np.all(gamma == 1):
                value = value * np.asarray(gamma, np.float32)
            weights[f"{layer.name}/{role}"] = value
    damaged = [
        name
        for name, value in weights.items()
        if not np.isfinite(value).all() or (name.endswith("/var") and (value < 0).any())
    ]
    if damaged:
        names = ", ".join(damaged[:_MAX_LINES])
        raise WeightsMismatchError(f"{file.path}: the file is damaged: impossible numbers in {names}")
    return weights
