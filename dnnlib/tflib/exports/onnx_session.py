"""ONNX models as onnxruntime runs them on a CPU."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .running import failing


class Session:
    """A model: the path of its file, or its bytes. Raises UserError where onnxruntime fails, MemoryError."""

    def __init__(self, model: str | bytes):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        with failing("onnxruntime"):
            self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def compute(self, outputs: Sequence[str] | None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs by name, None for all of them, for inputs by name."""
        with failing("onnxruntime"):
            return self._session.run(outputs, dict(inputs))

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The only output of a model."""
        (output,) = self.compute(None, inputs)
        return output
