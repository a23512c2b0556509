"""Variables of our networks as files of other projects store them: under other names, in other shapes."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.errors import listed, printable
from dnnlib.tflib.model_building import variable_shapes
from dnnlib.tflib.network_state import NetworkState, NetworkStateError
from dnnlib.tflib.official_modules import import_source

_MOST_PROBLEMS = 30  # in a message
_MOST_BLOCKS = 15  # those of 65536x65536 images
_BASES = (16 << 10, 8 << 10)  # `fmap_base` of configs f and e, and of networks that NVIDIA published
Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Stored:
    """How a file stores a variable.

    name, shape: of the tensor in the file. axes: order in which its axes make the variable; None: as they are.
    flipped: the first two axes of the variable, a kernel `[k, k, in, out]`, run the other way. offset: what the values
    in the file are larger by.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    flipped: bool = False
    offset: float = 0

    def value(self, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The variable of a tensor: float32, of the shape that the network needs."""
        array = np.asarray(tensor, np.float32)
        array = array if self.axes is None else array.transpose(self.axes)
        array = array.reshape(shape)
        array = array[::-1, ::-1] if self.flipped else array
        return array - np.float32(self.offset) if self.offset else array

    def tensor(self, variable: np.ndarray) -> np.ndarray:
        """The tensor of a variable: what `value` makes the variable of, but for bits that an offset rounds away."""
        array = variable + np.float32(self.offset) if self.offset else variable
        array = array[::-1, ::-1] if self.flipped else array
        if self.axes is not None:
            array = array.reshape([self.shape[axis] for axis in self.axes]).transpose(np.argsort(self.axes))
        return array.reshape(self.shape)


def level_of_block(block: str) -> int:
    """The number of a block of layers, '4x4', '8x8', ...: 0, 1, ..."""
    return int(block.split("x")[0]).bit_length() - 3


def dense(path: str, leaf: str, shape: tuple[int, ...]) -> Stored:
    """The 'bias' of a fully connected layer, or its 'weight' `[in, out]`, in PyTorch `[out, in]`."""
    return Stored(f"{path}.{leaf}", shape[::-1], (1, 0)) if leaf == "weight" else Stored(f"{path}.{leaf}", shape)


def convolution(name: str, shape: tuple[int, ...], up: bool = False, batched: bool = False) -> Stored:
    """Kernels `[k, k, in, out]`, in PyTorch `[out, in, k, k]`.

    up: of a convolution after upsampling: its transposed convolution spreads the kernel the way that others slide it.
    batched: `[1, out, in, k, k]`.
    """
    kernel_height, kernel_width, in_fmaps, out_fmaps = shape
    stored = (out_fmaps, in_fmaps, kernel_height, kernel_width)
    if batched:
        return Stored(name, (1, *stored), (0, 3, 4, 2, 1), up)
    return Stored(name, stored, (2, 3, 1, 0), up)


StoredAs = Callable[[str, tuple[int, ...]], Stored | None]
"""How a file stores a variable, given its name and shape. None: it has no place for it."""


def state_of(
    name: str, func_name: str, kwargs: dict[str, Any], tensors: Tensors, stored_as: StoredAs, filters: str
) -> NetworkState:
    """The state of a network from the tensors of a file of PyTorch.

    Args:
        name: of the network.
        func_name: dotted name of its class.
        kwargs: its arguments.
        tensors: what the file has.
        stored_as: how the file stores variables.
        filters: the last part of the names of resampling filters, which follow from the arguments.

    Raises:
        NetworkStateError: with all tensors that are missing, of another shape or type, or not part of the network.
    """
    module, _, local_name = func_name.rpartition(".")
    return NetworkState(
        name=name,
        func_name=local_name,
        source=import_source(module),
        static_kwargs=kwargs,
        variables=variables_of(variable_shapes(func_name, kwargs), tensors, stored_as, filters),
        source_format="pytorch",
    )


def variables_of(
    shapes: Mapping[str, tuple[int, ...]], tensors: Tensors, stored_as: StoredAs, filters: str
) -> dict[str, np.ndarray]:
    """The variables of these shapes that tensors make. For the other arguments, and what is raised, see `state_of`."""
    values, problems = {}, []
    used = set(filters_in(tensors, filters))
    for name, shape in shapes.items():
        if name == "lod":  # of growing, always 0
            values[name] = np.zeros(shape, np.float32)
            continue
        stored = stored_as(name, shape)
        if stored is None:
            problems.append(f"{printable(name)}: has no place in files of this kind")
            continue
        tensor = tensors.get(stored.name)
        used.add(stored.name)
        if tensor is None:
            problems.append(f"{stored.name}: missing, the network needs shape {list(stored.shape)}")
        elif tensor.shape != stored.shape:
            problems.append(f"{stored.name}: has shape {list(tensor.shape)}, the network needs {list(stored.shape)}")
        elif tensor.dtype.kind != "f":
            problems.append(f"{stored.name}: holds {tensor.dtype}, expected floating-point numbers")
        else:
            values[name] = stored.value(tensor, shape)
    problems += [f"{printable(name)}: not part of the network" for name in tensors if name not in used]
    if problems:
        raise NetworkStateError("\n  ".join(["its tensors do not fit the network:", *listed(problems, _MOST_PROBLEMS)]))
    return values


# ----------------------------------------------------------------------------
# Arguments of networks that follow from tensors.


def shape_of(tensors: Tensors, name: str, rank: int) -> tuple[int, ...]:
    """The shape of a tensor. Raises NetworkStateError where it is missing or has another number of axes."""
    tensor = tensors.get(name)
    if tensor is None or len(tensor.shape) != rank:
        given = "is missing" if tensor is None else f"has shape {list(tensor.shape)}"
        raise NetworkStateError(f"{name} {given}, expected {rank} axes")
    return tensor.shape


def last_number(tensors: Tensors, pattern: str) -> int:
    """The largest number in names of a kind. Raises NetworkStateError for none, or one beyond those of any network."""
    found = [int(match[1]) for key in tensors if (match := re.fullmatch(pattern, key)) and len(match[1]) < 6]
    if not found or max(found) > 2 * _MOST_BLOCKS:
        raise NetworkStateError(f"its layers of the kind {pattern} are {found[:20]}, expected 0 to {2 * _MOST_BLOCKS}")
    return max(found)


def random_noise(count: int) -> list[np.ndarray]:
    """Noise images `[1, 1, H, W]` of a generator for files that have none: normal numbers, always the same."""
    random = np.random.RandomState(0)
    sizes = [4 << (idx + 1) // 2 for idx in range(count)]
    return [random.randn(1, 1, size, size).astype(np.float32) for size in sizes]


def check_constant(const: np.ndarray | None) -> None:
    """Raises NetworkStateError for the input of a generator `[..., H, W]` that begins with something else than 4x4."""
    size = (4, 4) if const is None or const.ndim < 2 else const.shape[-2:]
    if size != (4, 4):
        what = "that are not square" if size[0] != size[1] else "of other sizes"
        raise NetworkStateError(
            f"of a fork, for images {what}: it begins with {size[0]}x{size[1]} (height x width); of files of "
            "this kind, networks can be read that begin with 4x4"
        )


def feature_map_arguments(channels: Mapping[int, int]) -> dict[str, float]:
    """`fmap_base` and `fmap_max` that give these feature maps: likely ones, if they do.

    channels: feature maps by resolution. Raises NetworkStateError where no values give them.
    """
    largest = max(channels.values())
    at_least, below = 0.0, float("inf")
    for res, count in channels.items():  # count = min(int(fmap_base / (res / 2)), largest)
        at_least = max(at_least, count * res / 2)
        below = below if count == largest else min(below, (count + 1) * res / 2)
    if not at_least < below:
        found = ", ".join(f"{res}x{res}: {count}" for res, count in sorted(channels.items()))
        raise NetworkStateError(f"its feature maps do not fall with resolution as those of StyleGAN2: {found}")
    base = next((likely for likely in _BASES if at_least <= likely < below), at_least)
    return {"fmap_base": int(base) if base == int(base) else base, "fmap_max": largest}


def filters_in(tensors: Tensors, last_part: str) -> dict[str, np.ndarray]:
    """The resampling filters in a file by name, which ends with this part."""
    return {name: tensor for name, tensor in tensors.items() if name.split(".")[-1] == last_part}


def taps_of(resample_kernel: Sequence[float] | None) -> list[float]:
    """The FIR filter that this argument means: None is a box."""
    return [1, 1] if resample_kernel is None else list(resample_kernel)


def resample_kernel_of(kernels: Iterable[np.ndarray]) -> list[float]:
    """The FIR filter, of one dimension, of the filters in a file, which have two: `[k, k]` or `[1, 1, k, k]`.

    Raises NetworkStateError where they differ, or are no products of one filter with itself.
    """
    found: list[np.ndarray] = []
    for kernel in kernels:
        kernel = np.asarray(kernel[0, 0] if kernel.ndim == 4 and kernel.shape[:2] == (1, 1) else kernel, np.float64)
        total = kernel.sum()
        if kernel.ndim not in (1, 2) or not 0 < kernel.size <= 1024 or not np.isfinite(total) or abs(total) < 1e-6:
            raise NetworkStateError(f"a resampling filter of shape {list(kernel.shape)} cannot be used")
        line = (kernel if kernel.ndim == 1 else kernel.sum(axis=0)) / total
        if kernel.ndim == 2 and not (
            kernel.shape[0] == kernel.shape[1] and np.allclose(kernel / total, np.outer(line, line), atol=1e-6)
        ):
            raise NetworkStateError("a resampling filter is not the product of one filter with itself")
        found.append(line)
    if not found:
        return [1, 3, 3, 1]
    if any(line.shape != found[0].shape or not np.allclose(line, found[0], atol=1e-6) for line in found):
        raise NetworkStateError("its resampling filters differ from each other")
    smallest = np.min(np.abs(found[0][np.abs(found[0]) > 1e-6]))
    whole = np.round(found[0] / smallest)  # [1, 3, 3, 1], as networks declare it
    same = np.allclose(whole / whole.sum(), found[0], atol=1e-6) if whole.sum() else False
    return [int(x) for x in whole] if same else [float(x) for x in found[0]]
