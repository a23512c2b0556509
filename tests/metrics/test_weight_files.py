"""Files of weights: every kind is read as it was written; every other file is refused with one message."""

import gzip
import io
import os
import pickle
import random
import resource
import tarfile
from collections import OrderedDict

import golden
import numpy as np
import pytest
import tensorflow as tf
import weight_writers as writers
from weight_writers import Call, Instance, Name

from dnnlib.errors import UserError
from metrics.nets import frozen_graph, weight_files
from metrics.nets.weight_files import read_weight_file

pytestmark = pytest.mark.one_stack
RND = np.random.RandomState(0)
ARRAYS = {
    "conv/conv2d_params": RND.randn(3, 3, 3, 4).astype(np.float32),
    "conv/batchnorm/beta": RND.randn(4).astype(np.float32),
    "conv/batchnorm/gamma": np.ones(4, np.float32),
    "softmax/weights": RND.randn(4, 2).astype(np.float32),
}
SOURCE = "def InceptionV3(images, size=299): pass\n"
OFFICIAL = {"name": "InceptionV3", "func_name": "InceptionV3", "source": SOURCE, "static_kwargs": {"size": 299}}


def assert_same(file, expected, kind):
    assert file.kind == kind
    assert list(file.arrays) == list(expected)
    for name, value in expected.items():
        assert (file.arrays[name].shape, file.arrays[name].dtype) == (np.shape(value), np.asarray(value).dtype)
        np.testing.assert_array_equal(file.arrays[name], value)


# ----------------------------------------------------------------------------
# Round trips.


@pytest.mark.parametrize(
    ("version", "module", "protocol"),
    [(2, "tfutil", 2), (3, "dnnlib.tflib.network", 4), (4, "dnnlib.tflib.network", 4), (5, "dnnlib.tflib.network", 5)],
)
def test_official_pickles(version, module, protocol, tmp_path):
    path = str(tmp_path / "name.of.no.meaning")
    variables = {**ARRAYS, "lod": np.float32(0)}
    writers.write_official_pickle(
        path, variables=variables, version=version, module=module, protocol=protocol, **OFFICIAL
    )
    file = read_weight_file(path)
    assert_same(file, variables, weight_files.OFFICIAL_PICKLE)
    net = file.network
    assert (file.path, net.name, net.func_name, net.version) == (path, "InceptionV3", "InceptionV3", version)
    assert (net.static_kwargs, net.source) == ({"size": 299}, SOURCE)


def test_triples_and_components(write):
    """Of three networks, the third counts. Variables of components have official local names."""
    part = writers.official_network("G_synthesis", {"4x4/Const/const": RND.randn(1, 2, 4, 4)}, "G_synthesis")
    nets = [
        writers.official_network(name, {"own": np.float32(number)}, "G_main", components={"synthesis": part})
        for number, name in enumerate(("G", "D", "Gs"))
    ]
    file = read_weight_file(write(writers.dumps(tuple(nets))))
    assert [net.name for net in file.networks] == ["G", "D", "Gs"]
    assert list(file.arrays) == ["own", "G_synthesis/4x4/Const/const"]
    assert file.arrays["own"] == 2 and file.network.name == "Gs"
    assert list(read_weight_file(write(writers.dumps([nets[1]]))).arrays) == list(file.arrays)
    for other in (tuple(nets[:2]), (), {"a": 1}, (1, 2, 3), "text"):
        with pytest.raises(UserError, match="expected a network"):
            read_weight_file(write(writers.dumps(other)))


@pytest.mark.parametrize("archive", [None, "tgz", "tar"])
def test_frozen_graphs(archive, tmp_path, write):
    others = [("input", "Placeholder", []), ("pool", "AvgPool", ["conv/conv2d_params", "^input"])]
    constants = {**ARRAYS, "half": np.ones([2], np.float16), "mean": np.float32(128), "size": np.array([299, 299])}
    path = str(tmp_path / "weights.pth")
    if archive is None:
        writers.write_frozen_graph(path, constants, others)
    else:
        writers.write_frozen_graph_tgz(path, constants, others)
    if archive == "tar":
        with gzip.open(path) as file:
            path = write(file.read())
    file = read_weight_file(path)
    assert_same(file, {**ARRAYS, "half": constants["half"]}, weight_files.FROZEN_GRAPH)
    assert file.graph.others == {"mean": "float32 []", "size": "int64 [2]"}
    assert file.graph.operations == {"Const": 7, "Placeholder": 1, "AvgPool": 1}
    assert (file.graph.inputs, file.graph.outputs) == (["input"], ["pool"])


def test_constants_that_are_one_repeated_value(write):
    node = tf.compat.v1.NodeDef(name="gamma", op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.float32(1)))
    node.attr["value"].tensor.tensor_shape.dim.add(size=32)
    arrays = read_weight_file(write(writers.frozen_graph({}, [node]))).arrays
    np.testing.assert_array_equal(arrays["gamma"], np.ones(32, np.float32))


@pytest.mark.parametrize(("kind", "writer"), [("torch zip", writers.pth_zip), ("torch legacy", writers.pth_legacy)])
def test_state_dicts(kind, writer, write):
    arrays = {**ARRAYS, "bn.num_batches_tracked": np.int64(3)}
    assert_same(read_weight_file(write(writer(arrays))), arrays, kind)
    assert_same(read_weight_file(write(writer({"epoch": 1, "state_dict": OrderedDict(arrays)}))), arrays, kind)


@pytest.mark.parametrize("path", sorted(golden.GOLDENS.glob("pickles/*.pkl"))[:2], ids=lambda path: path.stem)
def test_generators(path):
    file = read_weight_file(path)
    assert [net.name for net in file.networks] == ["G", "D", "Gs"]
    assert "G_mapping/Dense0/weight" in file.arrays and "dlatent_avg" in file.arrays


# ----------------------------------------------------------------------------
# Refused.

PICKLE = writers.dumps(writers.official_network("net", ARRAYS, "f"))
GRAPH = writers.frozen_graph(ARRAYS)


def archive(*members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:83b1", "git lfs pull"),
        (b"\xfd7zXZ" + bytes(100), "unpack"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x00\x01\x02" + bytes(100), "no kind of file"),
        (b"some text", "no kind of file"),
        (b"\n\nsome text", "ends within a node"),
        (b"\x08\x01\x12\x03abc", "an ONNX model"),
        (b"\x08\x01\x1a\x03abc", "no kind of file"),
        (b"PK\x03\x04" + bytes(100), "BadZipFile"),
        (gzip.compress(b"text", mtime=0), "no archive with one frozen graph"),
        (gzip.compress(GRAPH)[:-9], "no archive with one frozen graph"),
        (gzip.compress(archive(("a.pb", GRAPH), ("b.pb", GRAPH))), "it holds a.pb, b.pb"),
        (archive(("sys_info", b""), ("pickle", b"")), "it holds sys_info, pickle"),
        (archive(("a.pb", b"\n\xff")), "ends within a node"),
        (writers.pth_zip({}, others=[("constants.pkl", b"")]), "TorchScript.*6726825d.pth"),
        (writers.pth_zip({"a": [1]}), "state dict"),
        (PICKLE.replace(b"build_func_name", b"build_func_nome"), "build_func_name"),
        (writers.dumps(Instance(Name("network", "Network"), {})), "Theano"),
        (pickle.dumps({"weights": [1.0]}), "expected a network"),
    ],
)
def test_other_files_are_refused(data, reason, write):
    with pytest.raises(UserError, match=f"(?s)^.*file: .*({reason})") as raised:
        read_weight_file(write(data))
    if "state dict" not in reason and "Theano" not in reason:
        assert "classify_image_graph_def.pb" in str(raised.value) or "6726825d" in str(raised.value)


def test_places_without_a_file(tmp_path):
    for path, reason in (
        (tmp_path, "folder"),
        (tmp_path / "none", "No such file"),
        ("/dev/null", "regular"),
        ("a\0b", "null"),
    ):
        with pytest.raises(UserError, match=reason):
            read_weight_file(path)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy", "ndarray.tofile"),
        ("dnnlib.tflib.network", "Network.__init__"),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_pickles(module, name, protocol, folder, write):
    net = writers.official_network("net", {**ARRAYS, "x": np.float32(1)}, "f")
    net.state["static_kwargs"]["evil"] = Call(Name(module, name), ("touch evil",))
    with pytest.raises(UserError, match=f"refused: .*{module}.{name}.*Nothing in it was executed"):
        read_weight_file(write(writers.dumps(net, protocol)))
    assert not os.path.exists("evil")


def test_pickles_of_the_pytorch_code(write):
    persistent = Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), ({"state": {}},))
    with pytest.raises(UserError, match="torch_utils.*6726825d.pth"):
        read_weight_file(write(writers.dumps({"G_ema": persistent})))


def test_arrays_of_objects(write):
    net = writers.official_network("net", {"x": np.array([{}, None])}, "f")
    with pytest.raises(UserError, match="damaged"):
        read_weight_file(write(writers.dumps(net)))


def constant(name="x", shape=(2,), dtype=1, **values):
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    for key, value in values.items():
        if key == "tensor_content":
            tensor.tensor_content = value
        else:
            getattr(tensor, key).extend(value)
    return node


@pytest.mark.parametrize(
    "node",
    [
        constant(shape=(1 << 20, 1 << 20), float_val=[1]),
        constant(shape=(1 << 62, 1 << 62), float_val=[1]),
        constant(shape=(1 << 30,), float_val=[]),
        constant(shape=(2,), float_val=[1, 2, 3]),
        constant(shape=(-1,), float_val=[1]),
        constant(shape=(3,), tensor_content=bytes(8)),
        constant(shape=(0,), tensor_content=bytes(8)),
        constant(shape=(1,) * 40, float_val=[1]),
        constant(dtype=0),
        constant(dtype=99),
        constant(name=""),
        constant(name="softmax/weights", float_val=[1, 2]),
    ],
)
def test_impossible_constants(node, write):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="constant|node"):
        read_weight_file(write(writers.frozen_graph(ARRAYS, [node])))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


def test_constants_that_together_are_too_large(write):
    nodes = [constant(name=str(number), shape=(1 << 20,), float_val=[1]) for number in range(40)]
    with pytest.raises(UserError, match="larger than the file"):
        read_weight_file(write(writers.frozen_graph({}, nodes)))


def test_graphs_that_are_too_large(write, monkeypatch):
    data = writers.frozen_graph(ARRAYS)
    monkeypatch.setattr(frozen_graph, "MAX_SIZE", len(data))
    assert list(read_weight_file(write(data)).arrays) == list(ARRAYS)
    monkeypatch.setattr(frozen_graph, "MAX_SIZE", len(data) - 1)
    with pytest.raises(UserError, match="too large"):
        read_weight_file(write(data))


def test_archives_that_are_too_large(write, monkeypatch):
    monkeypatch.setattr(weight_files, "_MAX_UNPACKED", 1 << 16)
    with pytest.raises(UserError, match="too large"):
        read_weight_file(write(gzip.compress(bytes(1 << 17))))


# ----------------------------------------------------------------------------
# Damage.

SMALL = {"a/weight": np.ones([2, 3], np.float32), "a/bias": np.zeros(3, np.float32)}
KINDS = {
    "official pickle": writers.dumps(writers.official_network("net", SMALL, "f", "def f(x=1): pass", {"x": 2})),
    "frozen graph": writers.frozen_graph(SMALL, [("out", "Softmax", ["a/weight"])]),
    "torch zip": writers.pth_zip(SMALL),
    "torch legacy": writers.pth_legacy(SMALL),
    "tgz": gzip.compress(archive(("graph.pb", writers.frozen_graph(SMALL)))),
}


def read_anything(path):
    """Reads; whatever the file, the result is its weights or a UserError that names it."""
    try:
        return read_weight_file(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: ")
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_truncated(kind, write):
    data = KINDS[kind]
    for size in {*range(0, len(data), 7), *range(len(data) - 20, len(data))}:
        file = read_anything(write(data[:size]))
        if kind == "frozen graph":  # one without its last nodes is a graph, too
            assert file is None or len(file.graph.operations) < 3
        elif kind != "tgz" or size < len(data) - 8:
            assert file is None


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits(kind, write):
    data, rng = KINDS[kind], random.Random(1)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file = read_anything(write(bytes(damaged)))
        assert file is None or all(isinstance(value, (np.ndarray, np.generic)) for value in file.arrays.values())


def test_random_graphs(write):
    rng = random.Random(2)
    for _ in range(300):
        data = b"\n" + bytes(rng.choice(b"\n\x12\x1a\x22\x2a\x01\x02\x05\x08Const") for _ in range(rng.randint(1, 60)))
        with pytest.raises(ValueError, match="graph|constant"):
            frozen_graph.parse(data)
