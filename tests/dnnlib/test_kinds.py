"""What a file is by its first bytes."""

import gzip
import io
import pickle
import tarfile

import h5py
import numpy as np
import pytest
import weight_writers

from dnnlib.formats import arrays
from dnnlib.kinds import HEAD, kind_of, mistaken

pytestmark = pytest.mark.one_stack


def written(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def write_tar(stream):
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))


ARRAYS = {"a": np.zeros(3, np.float32)}
FILES = {
    "npz": written(lambda stream: arrays.write_npz(stream, ARRAYS, {})),
    "safetensors": written(lambda stream: arrays.write_safetensors(stream, ARRAYS, {})),
    "hdf5": written(lambda stream: h5py.File(stream, "w").close()),
    "zip": weight_writers.pth_zip(ARRAYS),
    "torch legacy": weight_writers.pth_legacy(ARRAYS),
    "tar": written(write_tar),
    "gzip": gzip.compress(b"text"),
}


@pytest.mark.parametrize("kind", FILES)
def test_kinds(kind):
    head = FILES[kind][:HEAD]
    assert kind_of(head) == kind
    assert (mistaken(head) is None) == (kind != "gzip")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("content", [(1, 2), {"a": [1.5]}, "text" * 300])
def test_pickles(protocol, content):
    head = pickle.dumps(content, protocol)[:HEAD]
    assert kind_of(head) == ("pickle" if head[0] in b"\x80(c" else None) and mistaken(head) is None


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", "image"),
        (b"7z\xbc\xaf\x27\x1c", "unpack it first"),
        (gzip.compress(b"text", mtime=0), "unpack it first"),
        (b"\x08\x08\x12\x07tf2onnx\x1a\x0b1.17.0 None:", "an ONNX model, a program"),
        (b"\x1c\0\0\0TFL3\x14\0 \0", "a LiteRT model, a program"),
    ],
)
def test_what_people_have_instead(head, message):
    assert message in mistaken(head)


def test_other_files():
    for head in (b"P", b"PK", b"\x80", b"text", bytes(HEAD), b"{" * HEAD, b"\x08\x08\x12", b"\x08\x08\x12\x02\0a"):
        assert kind_of(head) is None and mistaken(head) is None
