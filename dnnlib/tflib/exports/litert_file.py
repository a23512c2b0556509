"""Generators as LiteRT (TensorFlow Lite) models, of its built-in operators alone, without control flow."""

import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib import files
from dnnlib.errors import UserError
from dnnlib.formats.program_options import ProgramOptions
from dnnlib.progress import Progress
from dnnlib.streams import hidden_notes
from dnnlib.tflib.network import Network

from . import litert_model, verifying
from .programs import Program
from .running import failing


def write(net: Network, options: ProgramOptions, path: str) -> list[str]:
    """Writes a generator to a new file, which is run by LiteRT's interpreter and compared. Returns lines on it.

    Raises VerificationError where it computes something else, UserError where LiteRT fails. OSError.
    """
    program = Program(net, options, repeats_noise=True)
    with Progress(3, "steps", desc=os.path.basename(path)) as progress:  # minutes for large networks
        model = _converted(program)
        _save(model, path)
        progress.update(note=lambda: "converted")
        _ = program.examples  # which are kept
        progress.update(note=lambda: "computed by TensorFlow")
        lines = verifying.compared(program, _Runner(path).run)
        if options.weights != "float32":
            litert_model.store_as_float16(model)
            if options.weights == "int8":
                litert_model.store_as_int8(model, but=net.components.mapping.name)  # another W is another image
            _save(model, path)
            lines += verifying.compared_weights(program, _Runner(path).run)
    return [*lines, files.format_size(os.path.getsize(path))]


def _save(model: Any, path: str) -> None:
    if found := litert_model.unusual_operators(model):
        raise UserError(f"the model has operators that are not everywhere: {', '.join(found)}")
    with open(path, "wb") as file:
        file.write(litert_model.content_of(model))


# ----------------------------------------------------------------------------
# Models.


def _converted(program: Program) -> Any:
    """A program as a `litert_model`. Its one signature has the names of inputs and output."""
    module = tf.Module()
    module.vars = dict(program.net.vars)
    module.function = program.function
    concrete = module.function.get_concrete_function()  # which is our own code, whose errors are ours
    with failing("LiteRT's converter"), hidden_notes(show_failures=False):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        model = litert_model.parsed(converter.convert())
    litert_model.describe(model, program.notes())
    return model


# ----------------------------------------------------------------------------
# Running.


class _Runner:
    """A file as LiteRT's interpreter runs it on a CPU."""

    def __init__(self, path: str):
        with warnings.catch_warnings(), failing("LiteRT"), hidden_notes(show_failures=False):
            warnings.simplefilter("ignore", UserWarning)  # that newer versions are a package of their own
            interpreter = tf.lite.Interpreter(path, num_threads=len(os.sched_getaffinity(0)))
            self._run = interpreter.get_signature_runner()

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output of a model for inputs by name, of any size of minibatches."""
        with failing("LiteRT"), hidden_notes(show_failures=False):
            return next(iter(self._run(**inputs).values()))
