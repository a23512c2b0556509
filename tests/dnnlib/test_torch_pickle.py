"""The reader of PyTorch's files: what torch.save writes, without torch; damage and bad intent are refused."""

import io
import os
import pickle
import random
import resource
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import weight_writers as writers
from weight_writers import Call, Instance, Name, Parameter, Persistent, Storage, Tensor

from dnnlib.errors import UserError
from dnnlib.formats import torch_pickle
from dnnlib.formats.safe_pickle import DamagedPickleError, UnsafePickleError
from dnnlib.formats.torch_pickle import TorchScriptError

pytestmark = pytest.mark.one_stack
RND = np.random.RandomState(0)
CONTAINERS = {"legacy": writers.pth_legacy, "zip": writers.pth_zip}
ARRAYS = {
    "conv.weight": RND.randn(4, 3, 2, 1).astype(np.float32),
    "conv.bias": RND.randn(4).astype(np.float32),
    "double": RND.randn(2, 2),
    "half": RND.randn(3).astype(np.float16),
    "num_batches_tracked": np.int64(12),
    "int": np.arange(5, dtype=np.int32),
    "short": np.arange(5, dtype=np.int16),
    "char": np.arange(-2, 3, dtype=np.int8),
    "byte": np.arange(250, 256, dtype=np.uint8),
    "bool": np.array([True, False]),
    "empty": np.zeros([0, 3], np.float32),
}


@pytest.fixture(params=CONTAINERS)
def write(request):
    return CONTAINERS[request.param]


def load(data):
    return torch_pickle.load(io.BytesIO(data), "file.pth")


def zipped(*members, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def assert_same(actual, expected):
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (value.shape, value.dtype)
        np.testing.assert_array_equal(actual[name], value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_state_dicts_are_read_as_they_were_written(write, protocol, tmp_path):
    data = write(ARRAYS, protocol=protocol)
    assert_same(torch_pickle.state_dict(load(data), "file"), ARRAYS)
    (tmp_path / "file").write_bytes(data)
    with open(tmp_path / "file", "rb") as file:  # mapped into memory
        arrays = torch_pickle.load(file, "file")
    (tmp_path / "file").write_bytes(b"")
    assert_same(arrays, ARRAYS)


def test_big_endian_machines():
    assert_same(load(writers.pth_zip(ARRAYS, big_endian=True)), ARRAYS)


def test_bfloat16_becomes_float32(write):
    values = np.array([1, -2.5, 0, np.inf, 3.140625], np.float32)
    stored = Storage((values.view(np.uint32) >> 16).astype(np.uint16), "BFloat16")
    result = load(write({"x": Tensor(stored, 1, (4,), (1,))}))["x"]
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, values[1:])


def test_views_of_one_storage(write):
    data = np.arange(24, dtype=np.float32)
    storage = Storage(data)
    views = {
        "all": Tensor(storage, 0, (2, 3, 4), (12, 4, 1)),
        "transposed": Tensor(storage, 0, (4, 3, 2), (1, 4, 12)),
        "part": Tensor(storage, 7, (2, 2), (4, 2)),
        "scalar": Tensor(storage, 23, (), ()),
        "expanded": Tensor(storage, 3, (4, 2), (0, 1)),
        "none": Tensor(storage, 24, (0,), (1,)),
    }
    result = load(write(views))
    np.testing.assert_array_equal(result["all"], data.reshape(2, 3, 4))
    np.testing.assert_array_equal(result["transposed"], data.reshape(2, 3, 4).T)
    np.testing.assert_array_equal(result["part"], [[7, 9], [11, 13]])
    assert result["scalar"] == 23
    np.testing.assert_array_equal(result["expanded"], [[3, 4]] * 4)
    assert result["none"].shape == (0,)
    assert np.shares_memory(result["all"], result["part"])


def test_parameters_and_tensors_of_all_times(write):
    x = RND.randn(2, 3).astype(np.float32)
    tensor = Tensor(Storage(x.reshape(-1)), 0, (2, 3), (3, 1), rebuild="v1")
    result = load(write({"new": Parameter(x), "old": Parameter(tensor, old=True), "v1": tensor}))
    for value in result.values():
        np.testing.assert_array_equal(value, x)


def test_whole_checkpoints(write):
    """Nested objects come out as they are; the state dict in one is found."""
    checkpoint = {
        "epoch": 3,
        "state_dict": OrderedDict(ARRAYS),
        "optimizer": {
            "state": {0: {"step": 7, "exp_avg": ARRAYS["double"]}},
            "groups": [{"lr": 0.1, "b": (0.9, 0.99)}],
        },
    }
    loaded = load(write(checkpoint))
    assert loaded["epoch"] == 3 and loaded["optimizer"]["groups"] == [{"lr": 0.1, "b": (0.9, 0.99)}]
    np.testing.assert_array_equal(loaded["optimizer"]["state"][0]["exp_avg"], ARRAYS["double"])
    assert_same(torch_pickle.state_dict(loaded, "file"), ARRAYS)
    del loaded["state_dict"]
    with pytest.raises(UserError, match=r"file: .*state dict.*'epoch' \(int\), 'optimizer' \(dict\)"):
        torch_pickle.state_dict(loaded, "file")
    for other, what in (([1], "list"), ({}, "empty"), ({3: ARRAYS["double"]}, "'3'")):
        with pytest.raises(UserError, match=what):
            torch_pickle.state_dict(load(write(other)), "file")


def test_parts_of_storages_in_very_old_files():
    data = np.arange(10, dtype=np.float32)
    system = {"little_endian": True}

    def written(offset, size):
        pid = Persistent(("storage", Name("torch", "FloatStorage"), "1", "cpu", 10, ("7", offset, size)))
        tensor = Call(Name("torch._utils", "_rebuild_tensor"), (pid, 1, (2,), (1,)))
        parts = [writers.dumps(part, 2) for part in (writers.MAGIC, 1001, system, {"x": tensor}, ["1"])]
        return b"".join(parts) + struct.pack("<q", 10) + data.tobytes()

    np.testing.assert_array_equal(load(written(4, 3))["x"], [5, 6])
    for offset, size in ((4, 2), (9, 3), (-1, 4)):
        with pytest.raises(DamagedPickleError):
            load(written(offset, size))


# ----------------------------------------------------------------------------
# Refused.


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (1, (6,), (1,)),
        (0, (2, 3), (4, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (1 << 40,), (0,)),
        (0, (2, 1 << 62), (0, 0)),
        (1 << 60, (2,), (1,)),
        (0, (2, 3), (1,)),
        (0, (True, 3), (1, 1)),
        (0, (2.0,), (1,)),
        (0, (1,) * 40, (1,) * 40),
        (0, (0, 1 << 47, 1 << 47), (1, 1, 1)),
    ],
)
def test_tensors_outside_of_their_storage(write, offset, size, stride):
    with pytest.raises(DamagedPickleError):
        load(write({"x": Tensor(Storage(np.zeros(6, np.float32)), offset, size, stride)}))


def test_tensors_that_together_are_too_large(write):
    whole = Tensor(Storage(np.zeros(100_000, np.float32)), 0, (100_000,), (1,))
    with pytest.raises(DamagedPickleError, match="larger than the file"):
        load(write({str(index): whole for index in range(100)}))


def with_count(write, count, key="0"):
    """A file whose reference says that a storage has so many numbers."""
    tensor = Call(Name("torch._utils", "_rebuild_tensor_v2"), (None, 0, (1,), (1,), False, OrderedDict()))
    pid = ("storage", Name("torch", "FloatStorage"), key, "cpu", count)
    if write is writers.pth_legacy:
        tensor.args = (Persistent((*pid, None)), *tensor.args[1:])
        parts = [writers.dumps(part, 2) for part in (writers.MAGIC, 1001, {}, {"x": tensor}, [key])]
        return b"".join(parts) + struct.pack("<Q", count % (1 << 64)) + bytes(12)
    tensor.args = (Persistent(pid), *tensor.args[1:])
    return writers.pth_zip(OrderedDict(x=tensor), others=[("data/0", bytes(12))])


def test_sizes_of_storages(write):
    assert load(with_count(write, 3))["x"].shape == (1,)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for count in (4, 1 << 35, 1 << 62, -1, 2.5, None, True):
        if write is writers.pth_legacy and not isinstance(count, int):
            continue
        with pytest.raises(DamagedPickleError):
            load(with_count(write, count))
    for key in ("1", 0, "../0", None):
        if write is writers.pth_zip:
            with pytest.raises(DamagedPickleError):
                load(with_count(write, 3, key))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


EVIL = {
    "os.system": Call(Name("os", "system"), ("touch evil",)),
    "torchvision.models.vgg.VGG": Instance(Name("torchvision.models.vgg", "VGG"), {}),
    "builtins.eval": Call(Name("builtins", "eval"), ("open('evil', 'w')",)),
    "torch._utils._rebuild_tensor_v2.__call__": Name("torch._utils", "_rebuild_tensor_v2.__call__"),
    "torch.storage._load_from_bytes": Call(Name("torch.storage", "_load_from_bytes"), (b"",)),
    "dnnlib.tflib.network.Network": Instance(Name("dnnlib.tflib.network", "Network"), {}),
    "numpy.core.multiarray._reconstruct": np.zeros(3),
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("protocol", [2, 4])
def test_other_names_are_refused_and_not_called(write, name, protocol, folder):
    if isinstance(EVIL[name], np.ndarray):  # arrays of NumPy have no place in these files, either
        data = zipped(("a/data.pkl", writers.dumps(EVIL[name], protocol)))
    else:
        data = write([EVIL[name]], protocol=protocol)
    with pytest.raises(UnsafePickleError, match=f"file.pth: refused: .*{name}.*Nothing in it was executed"):
        load(data)
    assert not os.path.exists("evil")


def test_modules_with_source(write):
    with pytest.raises(UnsafePickleError, match="source code"):
        load(write({"net": Persistent(("module", Name("torch", "FloatStorage"), "net.py", "import os"))}))


@pytest.mark.parametrize("target", ["tensor", "storage", "type", "parameter", "call"])
@pytest.mark.parametrize(
    "state", [{"_sizes": (1 << 30,)}, (None, {"_sizes": (1 << 30,), "count": 1 << 40, "type": "O"})]
)
def test_states_cannot_be_changed(target, state):
    """BUILD with a slot state sets attributes of any object: not of these."""
    storage_type = Name("torch", "FloatStorage")
    storage = Persistent(("storage", storage_type, "0", "cpu", 3))
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    tensor = Call(rebuild, (storage, 0, (3,), (1,), False, OrderedDict()))
    objects = {"storage": storage, "type": storage_type, "call": rebuild, "tensor": tensor}
    objects["parameter"] = Call(Name("torch.nn.parameter", "Parameter"), (tensor,))
    stream = io.BytesIO()
    pickler = writers.Pickler(stream, 2)
    pickler.write(pickle.PROTO + b"\x02")
    pickler.save(objects[target])
    pickler.save(state)
    pickler.write(pickle.BUILD)
    pickler.save(tensor)
    pickler.write(pickle.TUPLE2 + pickle.STOP)
    with pytest.raises(DamagedPickleError, match="unexpected state|has no attribute|does not support"):
        load(zipped(("a/data.pkl", stream.getvalue()), ("a/data/0", bytes(12))))


def test_other_zips():
    with pytest.raises(TorchScriptError, match=r"TorchScript.*\.pth"):
        load(writers.pth_zip({}, others=[("constants.pkl", b""), ("code/__torch__.py", b"")]))
    with pytest.raises(DamagedPickleError, match=r"not written by torch\.save"):
        load(zipped(("array.npy", b"")))
    with pytest.raises(DamagedPickleError, match="compressed"):
        load(zipped(("a/data.pkl", writers.dumps({}, 2)), method=zipfile.ZIP_DEFLATED))
    with pytest.raises(DamagedPickleError), pytest.warns(UserWarning, match="Duplicate"):
        load(zipped(("a/data.pkl", writers.dumps({}, 2)), ("a/data.pkl", writers.dumps([], 2))))
    with pytest.raises(DamagedPickleError):
        load(zipped(("a/data.pkl", writers.dumps({}, 2)), ("b/data.pkl", writers.dumps({}, 2))))


def test_altered_data_of_a_zip():
    data = bytearray(writers.pth_zip({"x": np.full(100, 7, np.float32)}))
    data[data.find(struct.pack("<f", 7))] ^= 1
    with pytest.raises(DamagedPickleError, match="CRC"):
        load(bytes(data))


def test_storages_that_do_not_fit_the_tensors():
    good = writers.pth_legacy({"x": np.zeros(3, np.float32)})
    assert load(good)["x"].shape == (3,)
    keys = writers.dumps(["94000000000000"], 2)
    for other in ([], ["1"], ["94000000000000"] * 2, None, [[]]):
        with pytest.raises(DamagedPickleError):
            load(good.replace(keys, writers.dumps(other, 2)))


@pytest.mark.parametrize("data", [b"", b"\x80", b"PK\x03\x04", bytes(600), b"text", bytes(257) + b"ustar" + bytes(300)])
def test_other_files(data):
    with pytest.raises(DamagedPickleError, match="^file.pth: "):
        load(data)


# ----------------------------------------------------------------------------
# Damage.

SMALL = {"a.weight": np.ones([2, 3], np.float32), "a.bias": Parameter(np.zeros(3, np.float16))}


def load_anything(data):
    """Loads; whatever the data, the result is a value or one of the reader's exceptions."""
    try:
        return load(data)
    except (UnsafePickleError, DamagedPickleError) as error:
        assert str(error).startswith("file.pth: ") and "\n" not in str(error)
        return None


def test_truncated(write):
    data = write(SMALL)
    for size in range(len(data)):
        assert load_anything(data[:size]) is None


def test_flipped_bits(write):
    data, rng = write(SMALL), random.Random(1)
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        load_anything(bytes(damaged))


def test_random_programs_of_allowed_names():
    rng = random.Random(2)
    names = [(module, name) for module, names in torch_pickle.ALLOWED.items() for name in names]
    storage = b"(\x8c\x07storagectorch\nFloatStorage\n\x8c\x010\x8c\x03cpuK\x03tQ"
    atoms = [
        *(pickle.NONE, pickle.NEWTRUE, pickle.EMPTY_TUPLE, pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.MARK),
        *(b"K\x00", b"K\x01", b"K\x03", b"J\xff\xff\xff\xff", b"\x8c\x01a", storage, storage, b"K\x03\x85K\x01\x85"),
        *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.SETITEM, pickle.SETITEMS, pickle.APPEND),
        *(pickle.REDUCE, pickle.BUILD, pickle.NEWOBJ, pickle.DUP, pickle.POP, pickle.MEMOIZE, b"h\x00", b"h\x01"),
        *(b"c%s\n%s\n" % (module.encode(), name.encode()) for module, name in names),
        b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00K\x03\x85K\x01\x85tR",
        b"ctorch.nn.parameter\nParameter\n",
    ]
    before = [id(obj) for names in torch_pickle.ALLOWED.values() for obj in names.values()]
    good = 0
    for _ in range(1500):
        program = b"\x80\x04" + b"".join(rng.choices(atoms, k=rng.randint(1, 12))) + b"."
        good += load_anything(zipped(("a/data.pkl", program), ("a/data/0", bytes(12)))) is not None
    assert good > 20
    assert before == [id(obj) for names in torch_pickle.ALLOWED.values() for obj in names.values()]


# ----------------------------------------------------------------------------
# PyTorch itself, where it is installed.


@pytest.mark.parametrize("is_zip", [False, True])
def test_files_of_torch(is_zip, tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(4, 2).double())
    state = net.state_dict()
    state["view"] = state["0.weight"][1:, :, ::2].permute(1, 0, 3, 2)
    state["parameter"] = torch.nn.Parameter(torch.rand(3).bfloat16())
    state["flags"] = torch.tensor([True, False])
    torch.save(state, tmp_path / "file.pth", _use_new_zipfile_serialization=is_zip)
    with open(tmp_path / "file.pth", "rb") as file:
        result = torch_pickle.state_dict(torch_pickle.load(file, "file.pth"), "file.pth")
    assert list(result) == list(state)
    for name, value in state.items():
        value = value.float() if value.dtype is torch.bfloat16 else value
        np.testing.assert_array_equal(result[name], value.detach().numpy())


@pytest.mark.parametrize("weights_only", [False, True])
def test_torch_reads_what_these_tests_write(write, weights_only, tmp_path):
    torch = pytest.importorskip("torch")
    objects = {**ARRAYS, "old": Parameter(ARRAYS["half"], old=True), "new": Parameter(ARRAYS["double"])}
    (tmp_path / "file.pth").write_bytes(write(objects))
    result = torch.load(tmp_path / "file.pth", weights_only=weights_only)
    expected = {**ARRAYS, "old": ARRAYS["half"], "new": ARRAYS["double"]}
    assert_same({name: value.detach().numpy() for name, value in result.items()}, expected)


def test_torch_writes_the_same_pickle():
    torch = pytest.importorskip("torch")
    state = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
    stream = io.BytesIO()
    torch.save(state, stream)
    arrays = OrderedDict((name, value.numpy()) for name, value in state.items())
    arrays._metadata = state._metadata
    ours, theirs = (zipfile.ZipFile(io.BytesIO(data)) for data in (writers.pth_zip(arrays), stream.getvalue()))
    for name in ours.namelist():
        assert ours.read(name) == theirs.read(name)


def test_a_torchscript_file_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "net.pt")
    with open(tmp_path / "net.pt", "rb") as file, pytest.raises(TorchScriptError):
        torch_pickle.load(file, "net.pt")
