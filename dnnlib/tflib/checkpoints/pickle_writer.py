"""A writer of network pickles that old tools can read.

Python's pickler writes the names that classes and functions have today: `numpy._core.multiarray`, unknown to the NumPy
of TensorFlow 1. This one writes the names of official pickles. It writes what network states consist of: None, bool,
int, float, str, list, tuple, dict, arrays and networks; protocol 4.
"""

import math
import pickle
import struct
from typing import Any, BinaryIO

import numpy as np


def dump(obj: Any, file: BinaryIO) -> None:
    """Writes a network, or a tuple of networks, to an open binary file.

    Raises TypeError for objects that no network consists of.
    """
    file.write(pickle.PROTO + b"\x04")
    _Writer(file).write_object(obj)
    file.write(pickle.STOP)


class _Writer:
    def __init__(self, file: BinaryIO):
        self.file = file
        self.memo: dict[Any, int] = {}  # number of the memo entry of globals and strings

    def write_object(self, obj: Any) -> None:
        from dnnlib.tflib.network import Network

        if obj is None or obj is True or obj is False:
            self.file.write({None: pickle.NONE, True: pickle.NEWTRUE, False: pickle.NEWFALSE}[obj])
        elif type(obj) is int:
            self._int(obj)
        elif type(obj) is float:
            self.file.write(pickle.BINFLOAT + struct.pack(">d", obj))
        elif type(obj) is str:
            self._string(obj)
        elif isinstance(obj, (np.ndarray, np.generic)):
            self._array(obj)
        elif isinstance(obj, Network):
            self._network(obj)
        elif isinstance(obj, dict):
            self.file.write(pickle.EMPTY_DICT + pickle.MARK)
            for key, value in obj.items():
                self.write_object(key)
                self.write_object(value)
            self.file.write(pickle.SETITEMS)
        elif type(obj) is list:
            self.file.write(pickle.EMPTY_LIST + pickle.MARK)
            for value in obj:
                self.write_object(value)
            self.file.write(pickle.APPENDS)
        elif type(obj) is tuple:
            self.file.write(pickle.MARK)
            for value in obj:
                self.write_object(value)
            self.file.write(pickle.TUPLE)
        else:
            raise TypeError(f"objects of type {type(obj).__name__} do not belong into a network pickle")

    def _network(self, net: Any) -> None:
        self._global("dnnlib.tflib.network", "Network")
        self.file.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
        self.write_object(net.__getstate__())
        self.file.write(pickle.BUILD)

    def _array(self, array: Any) -> None:
        value = np.asarray(array)
        if value.dtype.kind not in "fiub":
            raise TypeError(f"arrays of type {value.dtype} do not belong into a network pickle")
        value = np.ascontiguousarray(value).reshape(value.shape)
        data = memoryview(value).cast("B") if value.size else b""
        if isinstance(array, np.generic) or value.ndim == 0:  # as official files hold rank-0 variables
            self._global("numpy.core.multiarray", "scalar")
            self.file.write(pickle.MARK)
            self._dtype(value.dtype)
            self._bytes(value.tobytes())
            self.file.write(pickle.TUPLE + pickle.REDUCE)
            return
        self._global("numpy.core.multiarray", "_reconstruct")
        self.file.write(pickle.MARK)
        self._global("numpy", "ndarray")
        self.write_object((0,))
        self._bytes(b"b")
        self.file.write(pickle.TUPLE + pickle.REDUCE + pickle.MARK)
        self.write_object(1)
        self.write_object(tuple(int(n) for n in value.shape))
        self._dtype(value.dtype)
        self.write_object(False)
        self._bytes(data)
        self.file.write(pickle.TUPLE + pickle.BUILD)

    def _dtype(self, dtype: np.dtype) -> None:
        self._global("numpy", "dtype")
        self.write_object((dtype.str[1:], False, True))
        self.file.write(pickle.REDUCE)
        order = {"=": "<", "|": "|"}.get(dtype.byteorder, dtype.byteorder)
        self.write_object((3, order, None, None, None, -1, -1, 0))
        self.file.write(pickle.BUILD)

    def _int(self, value: int) -> None:
        if 0 <= value < 1 << 8:
            self.file.write(pickle.BININT1 + bytes([value]))
        elif -(1 << 31) <= value < 1 << 31:
            self.file.write(pickle.BININT + struct.pack("<i", value))
        else:
            data = value.to_bytes(math.ceil((value.bit_length() + 1) / 8), "little", signed=True)
            self.file.write(pickle.LONG1 + bytes([len(data)]) + data)

    def _bytes(self, data: Any) -> None:
        size = len(data)
        self.file.write(
            pickle.BINBYTES + struct.pack("<I", size) if size < 1 << 32 else pickle.BINBYTES8 + struct.pack("<Q", size)
        )
        self.file.write(data)

    def _string(self, text: str) -> None:
        if self._recall(text):
            return
        data = text.encode("utf-8", "surrogatepass")
        self.file.write(pickle.BINUNICODE + struct.pack("<I", len(data)) + data)
        self._memorize(text)

    def _global(self, module: str, name: str) -> None:
        if self._recall((module, name)):
            return
        self._string(module)
        self._string(name)
        self.file.write(pickle.STACK_GLOBAL)
        self._memorize((module, name))

    def _recall(self, key: Any) -> bool:
        if key not in self.memo:
            return False
        self.file.write(pickle.LONG_BINGET + struct.pack("<I", self.memo[key]))
        return True

    def _memorize(self, key: Any) -> None:
        self.memo[key] = len(self.memo)
        self.file.write(pickle.MEMOIZE)
