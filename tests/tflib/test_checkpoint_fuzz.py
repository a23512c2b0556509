"""Checkpoints of PyTorch that are damaged or mean harm: one clear message, nothing executed, no large memory.

STYLEGAN2_FUZZ sets how many random changes of each file are tried.
"""

import functools
import io
import os
import pickle
import re
import resource
import struct
import tempfile
import time
import zipfile

import numpy as np
import pytest
import torch_files as files
import torch_reference as reference
import weight_writers as writers
from weight_writers import Call, Name, Storage, Tensor

from dnnlib.tflib.checkpoints import array_checkpoints, network_files, pickle_writer, torch_modules
from dnnlib.tflib.checkpoints.network_files import NetworkFileError

pytestmark = pytest.mark.one_stack
CHANGES = int(os.environ.get("STYLEGAN2_FUZZ", "60"))
CHANNELS = {4: 2, 8: 2}
KINDS = [
    *("pickle of TensorFlow", "npz", "safetensors"),
    *("modules in a pickle", "modules in a pickle of protocol 4", "modules in a zip", "modules in a legacy container"),
    *("state dicts in a zip", "state dicts in a legacy container"),
]


def _written(write, nets):
    """The bytes that a function writes to a path."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/file"
        write(nets, path)
        with open(path, "rb") as file:
            return file.read()


@functools.cache
def files_by_kind():
    """A small file of every kind."""
    g = reference.generator_tensors(CHANNELS, style_dim=2, n_mlp=1, image_channels=1)
    d = reference.discriminator_tensors(CHANNELS, image_channels=1)
    G, D = files.generator(g, np.zeros(2, np.float32)), files.discriminator(d)
    modules = {
        "G": G,
        "D": D,
        "G_ema": G,
        "augment_pipe": files.augment_pipe(0.5),
        "training_set_kwargs": {"path": "x"},
    }
    tensors = {"g": g, "d": d, "g_ema": g, "latent_avg": np.zeros(2, np.float32)}
    nets = network_files.read(io.BytesIO(writers.pth_zip(tensors)), "networks")
    pickled = io.BytesIO()
    pickle_writer.dump(nets, pickled)
    by_role = dict(zip(("G", "D", "Gs"), nets, strict=True))
    return {
        "pickle of TensorFlow": pickled.getvalue(),
        "npz": _written(array_checkpoints.write_npz, by_role),
        "safetensors": _written(array_checkpoints.write_safetensors, by_role),
        "modules in a pickle": writers.pickle_of_modules(modules),
        "modules in a pickle of protocol 4": writers.pickle_of_modules(modules, protocol=4),
        "modules in a zip": writers.pth_zip(modules),
        "modules in a legacy container": writers.pth_legacy(modules),
        "state dicts in a zip": writers.pth_zip(tensors),
        "state dicts in a legacy container": writers.pth_legacy(tensors),
    }


def read(data):
    """The networks of a file, or None after a message of one kind."""
    try:
        nets = network_files.read(io.BytesIO(data), "file.pkl")
    except NetworkFileError as error:
        assert re.match("file.pkl: [^ ]", str(error))
        assert str(error).isprintable() or "\n" in str(error)
        return None
    return nets if isinstance(nets, (tuple, list)) else (nets,)


def refused(data):
    """The message of a file that must not be read."""
    with pytest.raises(NetworkFileError) as error:
        network_files.read(io.BytesIO(data), "file.pkl")
    return str(error.value)


def memory_of(data):
    """How many MB reading a file takes at most, beyond what was ever taken."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read(data)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


# ----------------------------------------------------------------------------
# Damage.


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_are_read(kind):
    assert list(files_by_kind()) == KINDS
    nets = read(files_by_kind()[kind])
    assert nets is not None and all(net is not None for net in nets)


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off(kind):
    """At the beginning, at the end, and in many places between."""
    data = files_by_kind()[kind]
    random = np.random.RandomState(0)
    places = {*range(12), *(len(data) - n for n in range(1, 12)), *random.randint(0, len(data), CHANGES // 3)}
    for place in places:
        assert read(data[:place]) is None, place


@pytest.mark.parametrize("kind", KINDS)
def test_changed_bytes(kind):
    """Single bytes, and a few at once: refused, or read as other values. Where there are checksums, refused."""
    data = files_by_kind()[kind]
    random = np.random.RandomState(1)
    for _ in range(CHANGES):
        damaged = bytearray(data)
        for place in random.randint(0, len(data), random.choice([1, 1, 1, 4])):
            damaged[place] ^= 1 << random.randint(8)
        begin = time.monotonic()
        nets = read(bytes(damaged))
        assert time.monotonic() - begin < 20
        if nets is not None:
            assert len(nets) in (1, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_moved(kind):
    """Parts of the file are removed, doubled, or written over others."""
    data = files_by_kind()[kind]
    random = np.random.RandomState(2)
    for _ in range(CHANGES // 3):
        begin, end, target = sorted(random.randint(0, len(data), 3))
        piece = data[begin : min(end, begin + 500)]
        read(data[:begin] + data[begin + len(piece) :])
        read(data[:target] + piece + data[target:])
        read(data[:target] + piece + data[target + len(piece) :])


def test_random_programs_of_allowed_names():
    """Pickles that call what checkpoints may name, in any order, with any arguments, change nothing here."""
    allowed = torch_modules.ALLOWED | {"torch.storage": {"_load_from_bytes": None}}
    names = [(module, name) for module, members in allowed.items() for name in members]
    storage = writers.storage_bytes(Storage(np.zeros(2, np.float32)))
    atoms = [
        *(pickle.NONE, pickle.NEWTRUE, pickle.EMPTY_TUPLE, pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.MARK),
        *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.SETITEM, pickle.SETITEMS, pickle.APPEND),
        *(pickle.REDUCE, pickle.REDUCE, pickle.BUILD, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.DUP, pickle.POP),
        *(pickle.MEMOIZE, b"h\x00", b"h\x01", pickle.OBJ, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.BINPERSID),
        *(b"K\x01", b"J\xff\xff\xff\xff", b"C\x04abcd", b"\x8c\x04type", b"\x8c\x05class", b"\x8c\x05state"),
        b"B" + struct.pack("<I", len(storage)) + storage,
        *(b"c%s\n%s\n" % (module.encode(), name.encode()) for module, name in names),
    ]
    random = np.random.RandomState(3)
    before = {name: type(torch_modules.ALLOWED[module][name]) for module, name in names if module != "torch.storage"}
    for _ in range(20 * CHANGES):
        parts = [atoms[idx] for idx in random.randint(0, len(atoms), random.randint(1, 25))]
        read(b"\x80\x04" + b"".join(parts) + b".")
    assert before == {name: type(torch_modules.ALLOWED[m][name]) for m, name in names if m != "torch.storage"}
    for kind in KINDS:
        assert read(files_by_kind()[kind]) is not None
    for module, name in names:  # BUILD would set attributes of any object
        for state in (b"N}\x8c\x08__call__Ns\x86", b"}\x8c\x04evilK\x01s"):
            assert read(b"\x80\x04c" + f"{module}\n{name}\n".encode() + state + b"b.") is None


# ----------------------------------------------------------------------------
# Intent.


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "builtins.exec", "builtins.getattr", "torch.load"])
@pytest.mark.parametrize("place", ["instead of networks", "as an attribute", "in a storage", "as a weight"])
def test_nothing_is_executed(target, place, tmp_path):
    """Whatever calls for a function is refused by its name. The source text of classes is not even looked at."""
    command = f"touch {tmp_path}/executed"
    call = Call(Name(*target.rsplit(".", 1)), (command,))
    g = reference.generator_tensors(CHANNELS)
    G = files.generator(g, np.zeros(8, np.float32))
    state = G.args[0]["state"]
    contents = {"G_ema": G}
    if place == "instead of networks":
        contents = call
    elif place == "as an attribute":
        state["z_dim"] = call
    elif place == "as a weight":
        state["_parameters"] = {"weight": call}
    for write in (writers.pickle_of_modules, writers.pth_zip, writers.pth_legacy):
        if place == "in a storage":
            parts = [writers.dumps(part, 2) for part in (writers.MAGIC, 1001, {}, call, [])]
            inside = Call(Name("torch.storage", "_load_from_bytes"), (b"".join(parts),))
            state["z_dim"] = inside
        message = refused(write(contents))
        assert target in message or (place == "in a storage" and "_load_from_bytes" in message)
        assert not list(tmp_path.iterdir())


def _tensor(offset=0, size=(2,), stride=(1,), count=4):
    return Tensor(Storage(np.zeros(count, np.float32)), offset, size, stride)


@pytest.mark.parametrize(
    "tensor",
    [
        _tensor(offset=3),
        _tensor(offset=-1),
        _tensor(offset=1 << 62),
        _tensor(size=(5,)),
        _tensor(size=(-2,)),
        _tensor(size=(1 << 40,), stride=(0,)),
        _tensor(size=(1 << 20, 1 << 20), stride=(0, 0)),
        _tensor(size=(2,), stride=(-1,)),
        _tensor(size=(2,), stride=(1 << 62,)),
        _tensor(size=(2, 2), stride=(1,)),
        _tensor(size=(1,) * 40, stride=(1,) * 40),
        _tensor(size=[2], stride=[1]),
        _tensor(size=(True,), stride=(1,)),
        _tensor(size=(2.0,), stride=(1,)),
        _tensor(size=(10**5000,), stride=(0,)),
    ],
)
@pytest.mark.parametrize("write", [writers.pickle_of_modules, writers.pth_zip, writers.pth_legacy])
def test_impossible_tensors(write, tensor):
    data = write({"G_ema": files.module("Generator", parameters={"w": 0}), "x": tensor})
    assert memory_of(data) < 50
    assert "damaged or not a" in refused(data)


def _storage_pickle(data):
    call = Call(Name("torch.storage", "_load_from_bytes"), (data,))
    tensor = Call(Name("torch._utils", "_rebuild_tensor_v2"), (call, 0, (1,), (1,), False, {}))
    return writers.dumps({"G_ema": tensor})


def test_impossible_storages():
    """Bytes that hold more or less than they say."""
    good = writers.storage_bytes(Storage(np.zeros(4, np.float32)))
    assert "expected a network" in refused(_storage_pickle(good))
    count = good.rindex(struct.pack("<q", 4))
    for damaged in (
        *(b"", b"abc", "text", 3, None, good[:-1], good[:count], good[: count - 3]),
        *(good[:count] + struct.pack("<q", n) + good[count + 8 :] for n in (-1, 5, 1 << 62)),
        good.replace(b"K\x04N", b"K\x07N"),
        good.replace(b"FloatStorage", b"ByteStorage"),
        good.replace(b"ctorch\nFloatStorage", b"cos\nsystem"),
        writers.pth_legacy({"x": np.zeros(4, np.float32)}),
        pickle.dumps(3),
    ):
        assert memory_of(_storage_pickle(damaged)) < 50
        assert "expected a network" not in refused(_storage_pickle(damaged)), damaged


def test_the_same_bytes_again_and_again():
    """A small file that refers to its largest part many times."""
    data = writers.storage_bytes(Storage(np.zeros(250_000, np.float32)))
    program = (
        b"\x80\x04]\x94(ctorch.storage\n_load_from_bytes\n\x94B" + struct.pack("<I", len(data)) + data + b"\x94\x85R"
    )
    program += b"h\x01h\x02\x85R" * 2000 + b"e."
    assert len(program) < 1_100_000
    assert memory_of(program) < 100
    assert "larger than the file" in refused(program)


def test_containers_that_contain_themselves():
    G = files.module("Generator")
    G.args[0]["state"]["_modules"] = {"again": G}
    with pytest.raises(RecursionError):  # pickles can, this writer cannot
        writers.pickle_of_modules(G)
    reconstruct = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
    for program in (
        b"}\x94\x8c\x01Gh\x00s.",
        b"]\x94h\x00a.",
        reconstruct + b"}\x94\x8c\x04type\x8c\x05classs\x8c\x0aclass_name\x8c\x01Gs\x8c\x05stateh\x00s\x85R.",
        reconstruct + b"}\x94\x8c\x05state}\x94\x8c\x08_modules}\x94sss\x85R\x94h\x02\x8c\x01ah\x03s0h\x03.",
    ):
        assert "damaged" in refused(b"\x80\x04" + program)


def test_deep_and_wide_towers():
    """Modules in modules, hundreds deep; and few modules that contain each other in millions of ways."""
    deep = files.module("Generator")
    for _ in range(60):
        deep = files.module("Generator", modules={"mapping": deep, "synthesis": files.module("x")})
    assert "nested too deeply" in refused(writers.pickle_of_modules(deep))
    reconstruct = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n\x94"  # memo 0
    program, last = b"\x80\x04" + reconstruct + b"0", None
    for level in range(8):
        inside = b"" if last is None else b"".join(b"\x8c\x02m%dh%c" % (n, last) for n in range(8))
        names = b"" if last is None else b"\x8c\x09synthesish%c\x8c\x07mappingh%c" % (last, last)
        state = b"}(\x8c\x0b_parameters}\x8c\x08_buffers}\x8c\x08_modules}(" + inside + names + b"uu"
        meta = b"}(\x8c\x04type\x8c\x05class\x8c\x0aclass_name\x8c\x01G\x8c\x05state" + state + b"u"
        program += b"h\x00" + meta + b"\x85R\x940"
        last = level + 1
    begin = time.monotonic()
    message = refused(program + b"h%c." % last)
    assert time.monotonic() - begin < 5
    assert "more objects than the file" in message


def test_many_names_give_a_short_message():
    g = reference.generator_tensors(CHANNELS) | {f"extra{n}": np.zeros(1, np.float32) for n in range(3000)}
    g["\x1b[31m\n" * 200] = np.zeros(1, np.float32)
    message = refused(writers.pth_zip({"g_ema": g}))
    assert "... and 2971 more" in message and "\x1b" not in message


# ----------------------------------------------------------------------------
# Zip files.


def _members(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def _zip(members, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_that_are_not_as_torch_writes_them():
    members = _members(files_by_kind()["state dicts in a zip"])
    assert read(_zip(members)) is not None
    storage = next(name for name, _ in members if "/data/" in name)
    changes = {
        "the same name": [*members, members[0]],
        "a part is compressed": None,
        "unknown byte order": [(name, b"middle" if name.endswith("byteorder") else data) for name, data in members],
        "KeyError": [item for item in members if item[0] != storage],
        "numbers has": [(name, data[:-4] if name == storage else data) for name, data in members],
        "EOFError": [(name, b"" if name.endswith("data.pkl") else data) for name, data in members],
        "not written by torch.save: it is a Keras model": [("model.weights.h5", b"x")],
        "not written by torch.save: it is a data set": [("dataset.json", b"{}"), ("00/img.png", b"x")],
        "TorchScript program": [*members, ("archive/code/x.py", b"")],
        "not written by torch.save)": [*members, ("other/data.pkl", members[0][1])],
    }
    for message, content in changes.items():
        data = _zip(members, zipfile.ZIP_DEFLATED) if content is None else _zip(content)
        assert message in refused(data), message


def test_zip_bombs():
    """Parts that claim to be large, that are compressed, that lie over each other."""
    zeros = bytes(200_000_000)
    members = _members(files_by_kind()["state dicts in a zip"])
    name = next(name for name, _ in members if "/data/" in name)
    bomb = _zip([(n, zeros if n == name else data) for n, data in members], zipfile.ZIP_DEFLATED)
    del zeros
    assert memory_of(bomb) < 50 and read(bomb) is None
    data = files_by_kind()["state dicts in a zip"]
    sizes = re.compile(re.escape(b"PK\x01\x02") + b".{16}(.{8})", re.DOTALL)
    for claimed in (0xFFFFFFFE, 1 << 30):
        claims = struct.pack("<II", claimed, claimed)
        changed = sizes.sub(lambda match: match[0][:20] + claims, data)
        assert changed != data
        assert memory_of(changed) < 50 and read(changed) is None
    offsets = bytearray(data)  # every part is the first one
    for match in sizes.finditer(data):
        offsets[match.start() + 42 : match.start() + 46] = bytes(4)
    assert read(bytes(offsets)) is None


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"\x1f\x8b\x08", "compressed"),
        (b"", "empty"),
        (bytes(257) + b"ustar" + bytes(300), "tar container of PyTorch 0.1"),
        (b"<html>not found</html>", "web page"),
    ],
)
def test_other_formats(head, message):
    assert message in refused(head)
