"""Networks from one format of checkpoints to others, proved by what they compute before and after."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError, short
from dnnlib.files import atomic_path
from dnnlib.formats.checkpoint_formats import (
    KERAS,
    LITERT,
    NPZ,
    ONNX,
    PKL,
    PT,
    PYTORCH,
    SAFETENSORS,
    SAVED_MODEL,
    WEB,
    Output,
)
from dnnlib.tflib import network_report, network_state
from dnnlib.tflib.exports import litert_file, onnx_file, saved_model, web_page
from dnnlib.tflib.exports.comparing import VerificationError, compute, largest_difference, limit_of
from dnnlib.tflib.exports.running import check_import
from dnnlib.tflib.network import Network

from . import array_checkpoints, descriptions, keras_weights, network_files, nvidia_state_dict
from .descriptions import Networks
from .rosinality import fit as rosinality_fit
from .rosinality import writing as rosinality_writing


def networks_of(content: Any, name: str) -> Networks:
    """The networks of what `pretrained_networks.read` gives, by role. name: of the file, for messages.

    Raises UserError for a tuple of another length than (G, D, Gs), or in another order.
    """
    if isinstance(content, Network):
        role = "D" if _is_discriminator(content) else "G" if content.name == "G" else "Gs"
        return {role: content}
    if len(content) != len(descriptions.ROLES):
        raise UserError(f"{name}: holds {len(content)} networks, expected (G, D, Gs) or a single one")
    nets = {role: net for role, net in zip(descriptions.ROLES, content, strict=True) if net is not None}
    for role, net in nets.items():
        if _is_discriminator(net) != (role == "D"):
            inputs = ", ".join(net.input_names)
            raise UserError(f"{name}: expected (G, D, Gs); in the place of {role} is {net.name!r}, of {inputs}")
    return nets


def _is_discriminator(net: Network) -> bool:
    return "images_in" in net.input_names


def describe(nets: Networks) -> list[str]:
    """One line on each network: what it is, what it makes of what, and how large it is."""
    lines = []
    for role, net in nets.items():
        inputs = _tensors(net.input_names, net.input_shapes)
        outputs = _tensors(net.output_names, net.output_shapes)
        count = sum(int(np.prod(var.shape)) for var in net.trainables.values())
        lines.append(f"{role}: {type(net.model).__name__}, {inputs} -> {outputs}, {count / 1e6:.3g} M parameters")
    return lines


def _tensors(names: Sequence[str], shapes: Sequence[Sequence[int | None]]) -> str:
    """'latents [N, 512]'; labels of no classes are left out."""
    pairs = zip(names, shapes, strict=True)
    return ", ".join(f"{name.split('_')[0]} {_shape(shape)}" for name, shape in pairs if shape[-1] != 0)


def _shape(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('N' if size is None else str(size) for size in shape)}]"


class Converter:
    """Writes networks in any format. A file takes its name only after it was read again and compared.

    Where it cannot be written, or computes something else, what had the name before keeps it.
    """

    def __init__(self, nets: Mapping[str, Network]):
        """nets: by role: 'G', 'D', 'Gs'."""
        self.nets = dict(nets)
        self._computed: dict[str, np.ndarray] = {}

    def select(self, output: Output) -> Networks:
        """The networks that go in an output.

        Raises UserError where none of them is there, where one cannot be saved so, with all that does not fit, and
        where there is NaN or infinity in one or in what it computes: nothing could be proved by it.
        """
        chosen = {role: self.nets[role] for role in output.networks if role in self.nets}
        if not chosen:
            there = " and ".join(self.nets)
            wanted = " or ".join(output.networks)
            raise UserError(f"{output.path}: there is no {wanted} to write (--network), only {there}")
        for role, net in chosen.items():
            if output.format.is_program and not {"mapping", "synthesis"} <= net.components.keys():
                inputs, outputs = ", ".join(net.input_names), ", ".join(net.output_names)
                raise UserError(f"{output.path}: {role} is no generator: it makes {outputs} of {inputs}")
        self._check_fitting(output, chosen)
        self._check_finite(output, chosen)
        return chosen

    def _check_fitting(self, output: Output, nets: Networks) -> None:
        problems_of = _PROBLEMS.get(output.format.name, lambda net: [])
        problems = {role: problems_of(net) for role, net in nets.items()}
        if any(problems.values()):
            what = f"{output.path}: a {output.format.title} cannot hold this:"
            rest = " or ".join(f"--network={role}" for role, found in problems.items() if not found)
            lines = descriptions.lines_by_role(problems)
            raise UserError("\n  ".join([what, *lines, *([f"{rest} is possible"] if rest else [])]))

    def _check_finite(self, output: Output, nets: Networks) -> None:
        problems = {}
        for role, net in nets.items():
            if found := network_report.describe_not_finite({role: net}):
                problems[role] = found
            elif not np.isfinite(self._computes(role)).all():
                problems[role] = f"NaN or infinity in what {role} computes"
        if problems:
            rest = " or ".join(f"--network={role}" for role in nets if role not in problems)
            rest = f"; {rest} is possible" if rest else ""
            raise UserError(f"{output.path}: is not written: {', '.join(problems.values())}{rest}")

    def _computes(self, role: str) -> np.ndarray:
        if role not in self._computed:
            self._computed[role] = compute(self.nets[role])
        return self._computed[role]

    def convert(self, output: Output) -> list[str]:
        """Writes an output. Returns lines on what was compared, one for each network, and on what is different now.

        Raises:
            VerificationError: a network computes something else, by more than `TOLERANCE`.
            UserError: it cannot be written, or `select` says no.
        """
        nets = self.select(output)
        try:
            with atomic_path(output.path) as path:
                lines = self._write(output, nets, path)
        except (tf.errors.OpError, OSError) as error:  # of TensorFlow's and HDF5's own writers, and of ours
            if "OOM" in str(error):
                raise MemoryError from None
            raise UserError(f"{output.path}: cannot be written: {_reason(error)}") from None
        lines_of = _LINES.get(output.format.name, lambda *_: [])
        return lines + changed_conventions(nets, output) + lines_of(nets, output.path)

    def _write(self, output: Output, nets: Networks, path: str) -> list[str]:
        """Writes to a path, and compares what was written."""
        if output.format.is_program:
            ((role, net),) = nets.items()
            try:
                for package in output.format.packages:
                    check_import(package)
                first, *others = _PROGRAMS[output.format.name](net, output, path)
                return [f"{role}: {first}", *others]
            except VerificationError as error:
                raise _not_the_same(output, f"{role}: {error}") from None
            except UserError as error:
                raise UserError(f"{output.path}: is not written: {role}: {error}") from None
        _WRITERS[output.format.name](nets, path)
        with open(path, "rb") as file:
            written = networks_of(network_files.read(file, output.path), output.path)
        return [self._compare(output, role, written[role]) for role in nets]

    def _compare(self, output: Output, role: str, written: Network) -> str:
        net = self.nets[role]
        what = "scores" if _is_discriminator(net) else "images"
        before, after = self._computes(role), compute(written)
        difference, limit = largest_difference(before, after), limit_of(before)
        changed = [name for name, var in net.vars.items() if not _equal(var.numpy(), written.get_var(name))]
        line = (
            f"{role}: {what} differ by {difference:.2g} at most (tolerance {limit:.2g}), "
            f"{len(net.vars) - len(changed)} of {len(net.vars)} variables are equal"
        )
        if changed or not difference <= limit:
            raise _not_the_same(output, line)
        return line


def _not_the_same(output: Output, line: str) -> VerificationError:
    return VerificationError(f"{output.path}: was written, read again, and is not the same: {line}; it is removed")


def changed_conventions(nets: Networks, output: Output) -> list[str]:
    """What tools will do otherwise with what was written, in a line each."""
    lines = []
    if output.format is PKL:
        lines += _in_pytorch(nets)
    if output.format is PKL and any(net.source_format == "pytorch" for net in nets.values()):
        lines.append(
            "note: a pickle of TensorFlow, by whose conventions run_generator.py will make images of it: noise of the "
            "seed and truncation 0.5; --noise-mode=const --truncation-psi=1 are those of PyTorch"
        )
    if output.format is PKL and any(net.build_kwargs.get("pytorch_details") for net in nets.values()):
        lines.append(
            "note: D has pytorch_details, which the official TensorFlow code ignores; its scores can differ there"
        )
    return lines


def _in_pytorch(nets: Networks) -> list[str]:
    """What the PyTorch versions do otherwise with a pickle of TensorFlow, if they read networks of this kind."""
    they = "note: the PyTorch versions of StyleGAN2-ADA and StyleGAN3"
    if refused := _arguments(nets, network_state.refused_by_pytorch):
        return [f"{they} refuse pickles of TensorFlow with {refused}"]
    lines = []
    if otherwise := _arguments(nets, network_state.otherwise_in_pytorch):
        lines.append(f"{they} find no {otherwise} in such a pickle, and take None")
    if len(nets) < len(descriptions.ROLES) and all(map(network_state.is_read_by_pytorch, nets.values())):
        lines.append(f"{they} read pickles of G, D and Gs together; a single network is for {PYTORCH.extensions[0]}")
    return lines


def _arguments(nets: Networks, of: Callable[[Network], dict[str, Any]]) -> str:
    """'a=1, b=2': what a function gives of some networks."""
    return ", ".join(sorted({f"{key}={short(x)}" for net in nets.values() for key, x in of(net).items()}))


def _reason(error: Exception) -> str:
    """Why a file could not be written, of the long messages that TensorFlow and HDF5 have."""
    if isinstance(error, tf.errors.OpError):
        return re.sub(r" *\[Op:\w+\]$", "", error.message.rsplit("; ", 1)[-1])
    found = re.search(r"error message = '([^']*)'", str(error))
    return found[1] if found else getattr(error, "strerror", None) or str(error)


# ----------------------------------------------------------------------------
# Formats.


def _write_pkl(nets: Networks, path: str) -> None:
    content = tuple(nets.get(role) for role in descriptions.ROLES)
    network_files.save_pkl(content if len(nets) > 1 else next(iter(nets.values())), path)


_WRITERS: dict[str, Callable[[Networks, str], None]] = {
    PKL.name: _write_pkl,
    NPZ.name: array_checkpoints.write_npz,
    SAFETENSORS.name: array_checkpoints.write_safetensors,
    PYTORCH.name: nvidia_state_dict.write,
    KERAS.name: keras_weights.write,
    PT.name: rosinality_writing.write,
}
# What a network has that a format cannot hold, in a line each.
_PROBLEMS: dict[str, Callable[[Network], list[str]]] = {
    PYTORCH.name: nvidia_state_dict.problems_of,
    PT.name: rosinality_fit.problems_of,
}
# Lines on how what was written is used.
_LINES: dict[str, Callable[[Networks, str], list[str]]] = {
    PYTORCH.name: nvidia_state_dict.lines_of,
    PT.name: rosinality_writing.lines_of,
    WEB.name: web_page.lines_of,
}
_PROGRAMS: dict[str, Callable[[Network, Output, str], list[str]]] = {
    SAVED_MODEL.name: lambda net, _output, path: saved_model.write(net, path),
    ONNX.name: lambda net, output, path: onnx_file.write(net, output.options, path),
    LITERT.name: lambda net, output, path: litert_file.write(net, output.options, path),
    WEB.name: lambda net, output, path: web_page.write(net, output.options, output.runtime, path),
}


def _equal(before: np.ndarray, after: np.ndarray) -> bool:
    return before.shape == after.shape and before.tobytes() == after.tobytes()
