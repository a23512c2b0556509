"""A writer of network pickles that old tools can read.

Python's pickler writes the names that classes and functions have today: `numpy._core.multiarray`, unknown to the NumPy
of TensorFlow 1. This one writes the names of official pickles. It writes what network states consist of: None, bool,
int, float, str, list, tuple, dict, arrays and networks; protocol 4.
"""

import pickle
import types
from typing import Any, BinaryIO

import numpy as np

from dnnlib.tflib.network import Network

_NAMES: dict[Any, tuple[str, str]] = {  # all that a pickle names
    Network: ("dnnlib.tflib.network", "Network"),
    np.ndarray: ("numpy", "ndarray"),
    np.dtype: ("numpy", "dtype"),
    np.zeros(1).__reduce__()[0]: ("numpy.core.multiarray", "_reconstruct"),
    np.float32(0).__reduce__()[0]: ("numpy.core.multiarray", "scalar"),
}
_TYPES = (type(None), bool, int, float, str, bytes, list, tuple, dict, np.dtype, Network)
_NAMED = (type, types.BuiltinFunctionType)


def dump(obj: Any, file: BinaryIO) -> None:
    """Writes a network, or a tuple of networks, to an open binary file.

    Raises TypeError for objects that no network consists of.
    """
    _Pickler(file, protocol=4).dump(obj)


class _Pickler(pickle._Pickler):
    """Python's pickler in Python, since that in C finds names by itself."""

    def reducer_override(self, obj: Any) -> Any:
        """What makes an array; of other objects Python knows how to write them."""
        if isinstance(obj, (np.ndarray, np.generic)):
            value = np.asarray(obj, order="C")
            if value.dtype.kind not in "fiub":
                raise TypeError(f"arrays of type {value.dtype} do not belong into a network pickle")
            return (value if value.ndim else value[()]).__reduce__()  # official files hold rank-0 variables as scalars
        if not isinstance(obj, _TYPES + _NAMED):
            raise TypeError(f"objects of type {type(obj).__name__} do not belong into a network pickle")
        return NotImplemented

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Writes a class or function by its official name."""
        if obj not in _NAMES:
            raise TypeError(f"{obj!r:.80} does not belong into a network pickle")
        for part in _NAMES[obj]:
            self.save(part)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    def memoize(self, obj: Any) -> None:
        """Notes strings and names, to refer to them. A note of an array would keep its bytes in memory to the end."""
        if isinstance(obj, (str, *_NAMED)):
            super().memoize(obj)
