"""The pickle reader under random damage and random programs: one kind of exception, no side effects, no hang."""

import io
import pickle
import pickletools
import resource

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnnlib.formats import network_pickle
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import network_files, pickle_writer

SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def good():
    kwargs = {"resolution": 4, "num_channels": 1, "fmap_base": 8, "fmap_max": 2}
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **kwargs)
    stream = io.BytesIO()
    pickle_writer.dump(D, stream)
    return stream.getvalue()


def read_anything(data):
    """Reads; whatever the data, the result is a value or one of the reader's exceptions."""
    try:
        return network_pickle.load(io.BytesIO(data), "fuzz")
    except (network_pickle.UnsafePickleError, network_pickle.DamagedPickleError) as error:
        assert "\n" not in str(error)
        return None


@SETTINGS
@given(data=st.data())
def test_flipped_bits(good, data):
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        network_files.read(io.BytesIO(bytes(damaged)), "fuzz")
    except network_files.NetworkFileError as error:
        assert str(error).startswith("fuzz: ")


def test_claimed_sizes_reserve_nothing():
    """A byte array of 4 GB in a file of a few bytes."""
    claim = b"\x96" + (1 << 32).to_bytes(8, "little")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for program in (b"\x80\x05" + claim, b"\x80\x05\x95" + (20).to_bytes(8, "little") + claim + bytes(11)):
        with pytest.raises(network_pickle.DamagedPickleError, match="early|exhausted"):
            network_pickle.load(io.BytesIO(program + b"."), "fuzz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB
    array = np.arange(2000.0)
    np.testing.assert_array_equal(network_pickle.load(io.BytesIO(pickle.dumps(array, protocol=5)), "fuzz"), array)


@SETTINGS
@given(st.binary(max_size=200))
def test_random_bytes(data):
    read_anything(data)
    read_anything(b"\x80\x04" + data)


NAMES = [(module, name) for module, names in network_pickle.ALLOWED.items() for name in names]
ATOMS = st.sampled_from(
    [
        *(pickle.NONE, pickle.NEWTRUE, pickle.EMPTY_TUPLE, pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.MARK),
        *(b"K\x01", b"K\x00", b"G" + b"\x7f\xf0" + bytes(6), b"C\x04abcd", b"\x8c\x01a", b"\x8c\x02f4", b"\x8c\x01<"),
        *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.SETITEM, pickle.SETITEMS, pickle.APPEND),
        *(pickle.APPENDS, pickle.REDUCE, pickle.BUILD, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.DUP, pickle.POP),
        *(pickle.MEMOIZE, b"h\x00", b"h\x01", b"h\x02", pickle.OBJ, pickle.FROZENSET, pickle.BINPERSID),
        *(b"c%s\n%s\n" % (module.encode(), name.encode()) for module, name in NAMES),
        *(b"i%s\n%s\n" % (module.encode(), name.encode()) for module, name in NAMES),
    ]
)


@SETTINGS
@given(st.lists(ATOMS, max_size=30))
def test_random_programs_of_allowed_names(parts):
    before = {id(obj): repr(type(obj)) for names in network_pickle.ALLOWED.values() for obj in names.values()}
    read_anything(b"\x80\x04" + b"".join(parts) + b".")
    after = {id(obj): repr(type(obj)) for names in network_pickle.ALLOWED.values() for obj in names.values()}
    assert before == after
    assert network_pickle.PickledNetwork.__setstate__.__name__ == "__setstate__"


@pytest.mark.parametrize(
    "target", [f"{module}\n{name}\n" for module, name in NAMES], ids=lambda text: text.replace("\n", ".")
)
def test_names_cannot_be_changed(target):
    """BUILD with a slot state sets attributes of any object: not of these."""
    program = b"c" + target.encode() + b"N}\x8c\x08__call__Ns\x86b."
    assert read_anything(program) is None
    program = b"c" + target.encode() + b"}\x8c\x04evilK\x01sb."
    assert read_anything(program) is None


@SETTINGS
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(max_size=5), inner, max_size=4)
            | st.tuples(inner, inner)
        ),
        max_leaves=12,
    )
)
def test_what_is_written_is_read_again(value):
    stream = io.BytesIO()
    pickle_writer.dump(value, stream)
    assert pickle.loads(stream.getvalue()) == value
    pickletools.dis(stream.getvalue(), out=io.StringIO())
    assert network_pickle.load(io.BytesIO(stream.getvalue()), "again") == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", "u1", "<i8", "?"])
def test_arrays_of_all_protocols(protocol, dtype):
    for array in (
        np.arange(6).reshape(2, 3).astype(dtype),
        np.asfortranarray(np.eye(3, dtype=dtype)),
        np.zeros([0, 2]),
    ):
        for names in (b"numpy._core", b"numpy.core "):
            data = pickle.dumps({"a": array, "b": array.dtype.type(1)}, protocol=protocol)
            if names == b"numpy.core " and protocol < 2:
                data = data.replace(b"numpy._core", b"numpy.core")
            result = network_pickle.load(io.BytesIO(data), "arrays")
            np.testing.assert_array_equal(result["a"], array)
            assert result["b"] == 1


def test_memory_bombs():
    """Sizes that no data backs are refused without allocating them."""
    for data in (
        b"\x80\x04\x8e" + (1 << 45).to_bytes(8, "little") + b"abc.",
        b"\x80\x04B\xff\xff\xff\x7fabc.",
        b"\x80\x04Nr" + (1 << 28).to_bytes(4, "little") + b".",
        pickle.dumps(np.zeros(2, np.float32), protocol=2).replace(b"K\x02\x85", b"J\xff\xff\xff\x7f\x85"),
    ):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        read_anything(data)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


def test_shared_towers_take_linear_time():
    """[[x, x], [x, x]] nested 40 times has 2^40 leaves, but only 40 lists."""
    data = b"\x80\x04]" + b"".join(b"\x94h" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40)) + b"."
    read_anything(data)
