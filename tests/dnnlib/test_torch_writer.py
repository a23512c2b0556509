"""The writer of PyTorch's files, without torch; `exports/test_rosinality_in_torch.py` reads them with it."""

import io
import weakref
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from dnnlib.formats import torch_pickle, torch_writer
from dnnlib.formats.torch_writer import Tensor

RND = np.random.RandomState(0)
ARRAYS = {
    "weight": RND.randn(4, 3, 2, 1).astype(np.float32),
    "turned": RND.randn(5, 3).astype(np.float32).T,
    "scalar": np.float32(3),
    "empty": np.zeros([0, 3], np.float32),
}
OTHERS = {"text": "ä", "numbers": [1, -(1 << 40), 1.5, True, None], "nested": {"pair": (1, (2, "text"))}}


def tensor(array):
    return Tensor(np.shape(array), lambda: array)


def saved(obj):
    stream = io.BytesIO()
    torch_writer.save(obj, stream)
    return stream.getvalue()


def test_is_read_again():
    data = saved({"g": OrderedDict((name, tensor(x)) for name, x in ARRAYS.items()), **OTHERS})
    read = torch_pickle.load(io.BytesIO(data), "file.pt")
    assert list(read) == ["g", *OTHERS] and list(read["g"]) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert read["g"][name].shape == np.shape(array)
        np.testing.assert_array_equal(read["g"][name], array)
    assert {name: read[name] for name in OTHERS} == OTHERS
    assert data == saved({"g": OrderedDict((name, tensor(x)) for name, x in ARRAYS.items()), **OTHERS})


@pytest.mark.parametrize("large", [1 << 30, 8], ids=["zip", "zip64"])
def test_storages_can_be_mapped(large, monkeypatch):
    """The bytes of each begin at a multiple of 64, also where sizes of the zip are long."""
    monkeypatch.setattr(torch_writer, "_LARGE", large)
    data = saved([tensor(array) for array in ARRAYS.values()])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            *("archive/data.pkl", "archive/byteorder", *(f"archive/data/{key}" for key in range(4)), "archive/version")
        ]
        assert [archive.read(f"archive/{name}") for name in ("byteorder", "version")] == [b"little", b"3\n"]
    for array in ARRAYS.values():
        raw = np.ascontiguousarray(array).tobytes()
        assert not raw or data.index(raw) % 64 == 0


def test_one_tensor_at_a_time_is_in_memory():
    alive = []

    def values(number):
        assert not any(reference() is not None for reference in alive[:-1])
        array = np.full([1000], number, np.float32)
        alive.append(weakref.ref(array))
        return array

    saved([Tensor((1000,), lambda number=number: values(number)) for number in range(4)])
    assert len(alive) == 4


@pytest.mark.parametrize("other", [np.zeros(3), {1, 2}, object(), b"bytes"], ids=lambda x: type(x).__name__)
def test_nothing_else_is_written(other):
    with pytest.raises(TypeError, match=type(other).__name__):
        saved({"other": other})
