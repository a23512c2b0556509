"""Hostile and damaged files of arrays: one message, nothing executed, nothing allocated that is not in the file."""

import io
import json
import os
import resource
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnnlib.formats import arrays as array_files
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import converter, network_files

SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
KWARGS = {"resolution": 4, "num_channels": 1, "fmap_base": 8, "fmap_max": 2, "label_size": 2}
NOTE = "stylegan2_networks"
WRITERS = {"npz": "npz", "safetensors": "safetensors", "weights.h5": "weights.h5"}


@pytest.fixture(scope="module")
def network():
    return Network("D", func_name="training.networks.D_main", **KWARGS)


@pytest.fixture(scope="module")
def good(network, tmp_path_factory):
    """The bytes of a good file of each format."""
    files = {}
    for name in WRITERS:
        path = tmp_path_factory.mktemp("good") / f"net.{name}"
        converter._WRITERS[name]({"D": network}, str(path))
        files[name] = path.read_bytes()
    return files


def refused(data, match="."):
    """Reads; the message must be one, and of the file."""
    with pytest.raises(network_files.NetworkFileError, match=match) as error:
        network_files.read(io.BytesIO(data), "fuzz")
    assert str(error.value).startswith("fuzz: ")


def read_anything(data):
    """Reads what may be good; whatever is wrong is one kind of error."""
    try:
        G, D, Gs = network_files.read(io.BytesIO(data), "fuzz")
        assert G is None and Gs is None and D.vars
    except network_files.NetworkFileError as error:
        assert str(error).startswith("fuzz: ")


@pytest.mark.parametrize("name", WRITERS)
def test_good(good, name):
    read_anything(good[name])
    assert network_files.read(io.BytesIO(good[name]), "good")[1].input_shape == [None, 1, 4, 4]


@pytest.mark.parametrize("name", WRITERS)
@SETTINGS
@given(data=st.data())
def test_flipped_bits(good, name, data):
    damaged = bytearray(good[name])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    read_anything(bytes(damaged))


@pytest.mark.parametrize("name", WRITERS)
@SETTINGS
@given(data=st.data())
def test_cut_and_spliced(good, name, data):
    content = good[name]
    begin, end = sorted(data.draw(st.integers(0, len(content))) for _ in range(2))
    refused(content[:end] if end < len(content) else b"")
    read_anything(content[:begin] + data.draw(st.binary(max_size=20)) + content[end:])


# ----------------------------------------------------------------------------
# Descriptions.


def with_note(network, note, arrays=None):
    file = io.BytesIO()
    arrays = {f"D/{name}": var.numpy() for name, var in network.vars.items()} if arrays is None else arrays
    array_files.write_safetensors(file, arrays, {NOTE: note if isinstance(note, str) else json.dumps(note)})
    return file.getvalue()


def described(role="D", version=1, **changes):
    network = {"name": "D", "func_name": "training.networks.D_main", "static_kwargs": KWARGS}
    return {"version": version, "networks": {role: {**network, "source_format": "tensorflow", **changes}}}


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("[" * 100_000, "no description of networks"),
        ("", "no description"),
        ({"version": 1}, "no description"),
        (described(version=2), "is of format version 2, of a later version of this project; this one reads 1"),
        (described(role="evil"), "expected networks G, D or Gs"),
        (described(role="G"), "belongs to none of its networks: G"),
        ({"version": 1, "networks": {"D": []}}, "expected networks G, D or Gs"),
        (described(func_name="os.system"), "D: 'os.system' is no network of the official code"),
        (described(func_name="training.networks.os"), "cannot build|no network"),
        (described(func_name=["D_main"]), "is no network of the official code"),
        (described(name="../D"), "not a name of a network"),
        (described(static_kwargs=[]), "'static_kwargs' must be a dict"),
        (described(static_kwargs={**KWARGS, "resolution": 1 << 16}), "missing"),
        (described(static_kwargs={**KWARGS, "fmap_max": 10**9, "fmap_base": 10**12}), "fuzz"),
        (described(static_kwargs={**KWARGS, "mapping_layers": 10**9}), "fuzz"),
        (described(static_kwargs={**KWARGS, "evil": 1}), "unknown argument 'evil'"),
        (described(source_format="exe"), "source_format 'exe', expected 'tensorflow' or 'pytorch'"),
        (described(augment_p="x"), "augment_p 'x', expected a number from 0 to 1"),
    ],
)
def test_hostile_descriptions(network, note, message):
    refused(with_note(network, note), message)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=3)
)


VALUES = SCALARS | st.lists(SCALARS, max_size=3)
KEYS = st.sampled_from(["resolution", "label_size", "fmap_base", "fmap_decay", "resample_kernel", "name"])


@SETTINGS
@given(KEYS, VALUES)
def test_odd_arguments(network, key, value):
    changes = {"name": value} if key == "name" else {"static_kwargs": {**KWARGS, key: value}}
    read_anything(with_note(network, described(**changes)))


# ----------------------------------------------------------------------------
# .safetensors


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(begin, end, shape=None, dtype="F32"):
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors({}, length=1 << 31), "header is to have 2147483648 bytes"),
        (safetensors({"a": entry(0, 8)}, bytes(4)), "damaged .*file not fully covered"),
        (safetensors({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "damaged .*invalid offset for tensor `b`"),
        (safetensors({"a": entry(0, 4), "b": entry(8, 12)}, bytes(12)), "damaged .*invalid offset for tensor `b`"),
        (safetensors({"a": entry(0, 4)}, bytes(12)), "damaged .*file not fully covered"),
        (safetensors({"a": entry(0, 4, [1 << 40, 1 << 40])}, bytes(4)), "damaged .*overflow computing buffer size"),
        (safetensors({"a": entry(0, 4, [-1, -1])}, bytes(4)), "damaged .*integer `-1`"),
        (safetensors({"a": entry(0, 4, [1.0])}, bytes(4)), "damaged .*floating point `1.0`"),
        (safetensors({"a": entry(0, 4, [1, True])}, bytes(4)), "damaged .*boolean `true`"),
        (
            safetensors({"a": {**entry(0, 4), "data_offsets": [4, 0]}}, bytes(4)),
            "damaged .*invalid offset for tensor",
        ),
        (safetensors({"a": entry(0, 4, [1], "I32")}, bytes(4)), "dtype I32, expected one of F64, F32, F16"),
        (safetensors({"a": entry(0, 4, [1], ["F32"])}, bytes(4)), "damaged"),
        (safetensors({"a": [0, 4]}, bytes(4)), "damaged .*invalid type"),
        (safetensors(b'{"a": {}, "a": {}}'), "damaged .*missing field"),
        (safetensors(b'{"a":' + b"[" * 100_000), "damaged"),
        (safetensors({"__metadata__": {"a": 1}}), "damaged .*expected a string"),
        (safetensors({"a": entry(0, 4)}, bytes(4)), "1 arrays and no description .* run_convert.py"),
    ],
)
def test_hostile_safetensors(content, message):
    refused(content, message)


# ----------------------------------------------------------------------------
# .npz


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def npz(compression=zipfile.ZIP_STORED, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            if not isinstance(content, bytes):
                array = io.BytesIO()
                np.save(array, content, allow_pickle=True)
                content = array.getvalue()
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


HUGE = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1024), }".ljust(
    118
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz(a=np.array([Evil()])), "Object arrays cannot be loaded"),
        (npz(a=np.zeros(3)), "1 arrays and no description"),
        (npz(a=HUGE), "damaged .*Unable to allocate"),
        (npz(a=np.arange(3)), "type int64, expected floating point"),
        (npz(zipfile.ZIP_DEFLATED, a=np.zeros(10**6)), "is compressed"),
        (npz(__metadata__=np.array("{")), "damaged"),
        (npz(__metadata__=np.array('{"a": 1}')), "notes .* are no texts"),
        (npz(__metadata__=np.zeros(3)), "expected text"),
        (npz(a=b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 70_000), "damaged .*Header info length \\(65535\\) is large"),
        (npz(a=b"text"), "type .S4, expected floating point"),
    ],
)
def test_hostile_npz(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    refused(content, message)
    assert os.listdir() == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_with_a_name_twice():
    file = io.BytesIO(npz(a=np.zeros(3)))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("a.npy", archive.read("a.npy"))
    refused(file.getvalue(), "'a' occurs twice")


def test_sizes_that_nothing_backs_are_not_allocated(network):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(npz(a=HUGE))
    refused(safetensors({"a": entry(0, 1 << 40)}, bytes(4)))
    refused(with_note(network, described(static_kwargs={**KWARGS, "resolution": 1 << 15})))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


# ----------------------------------------------------------------------------
# .weights.h5


@pytest.fixture
def changed(good, tmp_path):
    """Applies a function to an open copy of the good file, and gives its bytes."""

    def changed(change):
        path = tmp_path / "net.weights.h5"
        path.write_bytes(good["weights.h5"])
        with h5py.File(path, "r+") as file:
            names = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            change(file, names[0])
        return path.read_bytes()

    return changed


def replace(file, name, **kwargs):
    """Replaces a dataset by another one of the same official name."""
    official, value = file[name].attrs["official_name"], file[name][()]
    del file[name]
    file.create_dataset(name, **{"data": value, **kwargs}).attrs["official_name"] = official


def virtual(file, name):
    official, shape = file[name].attrs["official_name"], file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "secret", shape)
    file.create_virtual_dataset(name, layout).attrs["official_name"] = official


def external_link(file, name):
    del file[name]
    file[name] = h5py.ExternalLink("/etc/passwd", "secret")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file, name: file.attrs.pop(NOTE), "no description of networks"),
        (lambda file, name: file.attrs.__setitem__(NOTE, "text of any length"), "no attribute .* of text"),
        (lambda file, name: file.attrs.__setitem__(NOTE, np.zeros(3)), "no attribute .* of text"),
        (lambda file, name: file[name].attrs.pop("official_name"), "no attribute 'official_name'"),
        (lambda file, name: file[name].attrs.__setitem__("official_name", np.bytes_(b"\xff")), "damaged"),
        (lambda file, name: file[name].attrs.__setitem__("official_name", np.bytes_("Evil/weight")), "Evil/weight"),
        (lambda file, name: file.__delitem__(name), "missing"),
        (lambda file, name: replace(file, name, data=np.zeros([7, 7], np.float32)), r"\[7, 7\]"),
        (lambda file, name: replace(file, name, data=np.zeros(3, np.int32)), "int32, expected floating point"),
        (lambda file, name: replace(file, name, data=None, shape=[1 << 40], dtype="f4"), "cut off"),
        (lambda file, name: replace(file, name, chunks=True, compression="gzip"), "no plain array"),
        (
            lambda file, name: replace(file, name, data=None, shape=[2], dtype="f4", external=[("/etc/passwd", 0, 8)]),
            "no plain array",
        ),
        (virtual, "no plain array"),
        (external_link, "missing"),
        (lambda file, name: file.__setitem__(name + "again", file[name][()]), "no attribute 'official_name'"),
    ],
)
def test_hostile_weights(changed, change, message):
    refused(changed(change), message)


def test_links_in_circles_and_names_twice(changed):
    def circle(file, name):
        file["circle"] = file["/"]
        file["soft"] = h5py.SoftLink("/soft")
        file["twice"] = file[name]  # the same dataset by another name

    read_anything(changed(circle))

    def twice(file, name):
        file["twice"] = file[name][()]
        file["twice"].attrs["official_name"] = file[name].attrs["official_name"]

    refused(changed(twice), "occurs twice")
