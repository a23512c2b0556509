"""Generators as ONNX models, of standard operators alone: no custom ones, no control flow."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib import files
from dnnlib.formats.program_options import ProgramOptions
from dnnlib.tflib.network import Network

from . import verifying
from .programs import Program


def write(net: Network, options: ProgramOptions, path: str) -> list[str]:
    """Writes a generator to a new file, which is run by onnxruntime and compared. Returns lines on it.

    Raises VerificationError where it computes something else.
    """
    import onnx
    import tf2onnx

    program = Program(net, options)
    model, _ = tf2onnx.convert.from_function(
        program.function, input_signature=list(program.inputs.values()), opset=options.opset
    )
    onnx.save(model, path)
    return [*verifying.compared(program, _Session(path).run), files.format_size(os.path.getsize(path))]


class _Session:
    """A file as onnxruntime runs it on a CPU."""

    def __init__(self, path: str):
        import onnxruntime

        self._session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output of a model for inputs by name."""
        return self._session.run(None, dict(inputs))[0]
