"""Variables that the layout of another project holds only rounded, kept beside it so that no bit is lost.

PyTorch's networks add 1 to styles in the bias, which is `mod_bias + 1` there: small numbers lose their last bits. What
is kept counts only where its tensor is the one in the file: people change tensors.
"""

import base64
import json
from collections.abc import Mapping

import numpy as np

from dnnlib.errors import short
from dnnlib.tflib.network_state import NetworkStateError

from .foreign_variables import StoredAs

Arrays = dict[str, np.ndarray]


def rounded(variables: Mapping[str, np.ndarray], stored_as: StoredAs) -> Arrays:
    """Those of some variables by name, all float32, that their tensors do not give back to the last bit."""
    return {name: x for name, x in variables.items() if not _same(_given_back(name, x, stored_as), x)}


def restored(variables: Mapping[str, np.ndarray], kept: Mapping[str, np.ndarray], stored_as: StoredAs) -> Arrays:
    """Variables made of the tensors of a file, with those that were kept in place of what these were rounded to."""
    fitting = {name: x for name, x in kept.items() if name in variables and x.shape == variables[name].shape}
    return dict(variables) | {
        name: x for name, x in fitting.items() if _same(_given_back(name, x, stored_as), variables[name])
    }


def to_text(arrays: Mapping[str, np.ndarray]) -> str:
    """Arrays of float32 as JSON: shape, and bytes in base64."""
    return json.dumps({name: [x.shape, base64.b64encode(x.astype("<f4")).decode()] for name, x in arrays.items()})


def from_text(text: str) -> Arrays:
    """The arrays of `to_text`. Raises NetworkStateError for anything else."""
    try:
        return {
            name: np.frombuffer(base64.b64decode(data, validate=True), "<f4").reshape(shape)
            for name, (shape, data) in json.loads(text).items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise NetworkStateError(f"its rounded variables cannot be read: {short(str(error))}") from None


def _given_back(name: str, variable: np.ndarray, stored_as: StoredAs) -> np.ndarray:
    if name == "lod":  # of growing: not in the files of others, where it is 0
        return np.zeros(variable.shape, np.float32)
    stored = stored_as(name, variable.shape)
    return stored.value(stored.tensor(variable), variable.shape)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()
