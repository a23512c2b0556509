"""Small pickles that would take gigabytes or for ever: by nesting, by copying, by sizes that they claim."""

import io
import pickle

import numpy as np
import pytest

from dnnlib.errors import printable, short
from dnnlib.formats import network_pickle, torch_pickle
from dnnlib.tflib import network_state
from dnnlib.tflib.checkpoints.torch_modules import ALLOWED
from tests.helpers.limits import within

ERRORS = (network_pickle.DamagedPickleError, network_pickle.UnsafePickleError)
NESTED = b")" + b"2\x86" * 45  # a tuple of itself, twice, 45 times: (((..), (..)), ((..), (..)))
TORCH = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
DTYPE = b"cnumpy\ndtype\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
FLOAT = DTYPE + b"\x8c\x02f4\x85R"


def read(program):
    """Reads a pickle as networks of both frameworks are read."""
    data = b"\x80\x04" + program + b"."
    return torch_pickle.load_pickle(io.BytesIO(data), "file", "network pickle", ALLOWED)


def refused(program, **limits):
    """The message for a pickle that is not read."""
    message = within(lambda: read(program), errors=ERRORS, **limits)
    assert message and message.isprintable() and len(message) < 500
    return message


@pytest.mark.parametrize(
    "program",
    [
        DTYPE + NESTED + b"\x85R",  # types, orders, shapes: shown in messages
        FLOAT + b"K\x03" + NESTED + b"NNNK\xffK\xffK\x00tb",
        RECONSTRUCT + b"(K\x01" + NESTED + FLOAT + b"\x89C\x04abcdtb",
        b"}" + NESTED + b"Ns",  # keys
        b"}(" + NESTED + b"Nu",
        b"(" + NESTED + b"Nd",
        b"ccollections\nOrderedDict\n]" + NESTED + b"N\x86a\x85R",
        b"cdnnlib.util\nEasyDict\n]" + NESTED + b"N\x86a\x85R",
        b"cnumpy\n_" + b"x" * 100_000 + b"\x1b\n",  # names
        b"cnumpy\n\x1b[31m\xe2\x80\xae\n",
        NESTED + b"Q",  # references to other objects
        b"\x8a\xff" + b"\x7f" * 255 + b"\x85\x93",
    ],
)
def test_nothing_is_hashed_or_shown_that_nests_itself(program):
    refused(program)


def test_sets_hash_nothing():
    """They are read as lists and tuples."""
    refused(b"\x8f(" + NESTED + b"\x90")
    refused(b"(" + NESTED + b"\x91")
    assert read(b"\x8f(K\x01K\x02\x90") == [1, 2] and read(b"(K\x01K\x02\x91") == (1, 2)


def _many(items, make):
    return b"".join(make(number) for number in range(items))


ITEMS = b"}(" + _many(20_000, lambda n: b"\x8c\x05%05dN" % n) + b"u\x94"  # a dict of 160 kB, memo 0
LIST = b"](" + b"N" * 200_000 + b"e\x94"


@pytest.mark.parametrize(
    "program",
    [
        ITEMS + b"(" + b"cdnnlib.util\nEasyDict\n)\x81h\x00b" * 3000 + b"l",
        ITEMS + b"(" + b"cdnnlib.util\nEasyDict\nh\x00\x85R" * 3000 + b"l",
        ITEMS + b"(" + b"ccollections\nOrderedDict\nh\x00\x85R" * 3000 + b"l",
        LIST + b"cbuiltins\nset\n\x94(" + b"h\x01h\x00\x85R" * 50_000 + b"l",
        LIST + DTYPE + b"\x94(" + b"h\x01h\x00R" * 50_000 + b"l",
        # modules that share one state of many attributes
        b"}(\x8c\x04type\x8c\x05class\x8c\x0aclass_name\x8c\x01G\x8c\x05state"
        + ITEMS
        + b"u\x94"
        + TORCH
        + b"\x94("
        + b"h\x02h\x01\x85R" * 3000
        + b"l",
        # arrays of one string of Python 2
        b"T" + (400_000).to_bytes(4, "little") + b"x" * 400_000 + b"\x94" + FLOAT + b"\x94("
        b"" + (RECONSTRUCT + b"(K\x01J\xa0\x86\x01\x00\x85h\x01\x89h\x00tb") * 2000 + b"l",
        b"X" + (400_000).to_bytes(4, "little") + b"x" * 400_000 + b"\x94c_codecs\nencode\n\x94\x8c\x06latin1\x94("
        b"" + b"h\x01h\x00h\x02\x86R" * 20_000 + b"l",
    ],
    ids=["EasyDict", "EasyDict items", "OrderedDict", "set", "arguments", "modules", "strings", "encode"],
)
def test_nothing_is_copied_again_and_again(program):
    assert len(program) < 1 << 20
    refused(program)


@pytest.mark.parametrize(
    "program",
    [
        b"\x8b\xff\xff\xff\x7f" + b"\x01" * 100,
        b"\x8b\xff\xff\xff\xff" + b"\x01" * 100_000,
        b"L" + b"9" * 4000 + b"L\n",
        b"I" + b"9" * 4000 + b"\n",
        b"L0x" + b"f" * 500_000 + b"L\n",
        b"\x96" + b"\xff" * 8,
        b"\x8e" + b"\xff" * 7 + b"\x00",
        b"\x95" + b"\xff" * 7 + b"\x00",
        b"B\xff\xff\xff\xff",
        b"(" * 1_000_000,
        b"(" + b"]" * 1_000_000 + b"l",
        b"(" + b"}" * 1_000_000 + b"l",
        b"(" + b"\x8f" * 1_000_000 + b"l",
        b"]" * 500_000 + b"a" * 499_999,
        b"N" + b"\x85" * 1_000_000,
        b"}" + b"\x8c\x01a}" * 200_000 + b"s" * 200_000,
    ],
)
def test_sizes_and_towers(program):
    refused(program, megabytes=900)


def test_values_that_are_added_to_what_holds_none():
    """An array takes a nested list for ever."""
    array = b"cnumpy.core.numeric\n_frombuffer\n(\x96" + (4).to_bytes(8, "little") + b"abcd" + FLOAT
    array += b"K\x01\x85\x8c\x01CtR"
    np.testing.assert_array_equal(read(array), np.frombuffer(b"abcd", "<f4"))
    for change in (b"K\x00" + NESTED + b"s", NESTED + b"a", b"(" + NESTED + b"e", b"(K\x01" + NESTED + b"f\x89C\x00tb"):
        refused(array + change)


def test_many_objects_of_small_files_are_read():
    """What is refused above is far from what files hold."""
    content = {f"group {n}": [{"a": float(n), "b": (n, str(n))} for n in range(20)] for n in range(500)}
    for protocol in range(5):
        assert network_pickle.load(io.BytesIO(pickle.dumps(content, protocol)), "file") == content


@pytest.mark.parametrize(
    "source",
    [
        "def G_main(a=" + "*".join(["1"] * 990) + "): pass",
        "def G_main(a=" + "-" * 90_000 + "1): pass",
        "def G_main(a=" + "(" * 5000 + ")" * 5000 + "): pass",
        "def G_main(a=" + "1," * 130_000 + "): pass",
        "x = [" + "1," * 130_000 + "]",
        "def G_main(a=2.0**30*1e300*1e300): pass",
        "\x00",
        "def G_main(a=" + "9" * 100_000 + "): pass",
    ],
)
def test_source_texts(source):
    within(lambda: network_state.source_defaults(source))


def test_source_texts_that_are_too_long():
    message = within(lambda: network_state.source_defaults("1," * 500_000), errors=(network_state.NetworkStateError,))
    assert "1000000 characters, expected" in message


def test_short():
    nested = ()
    for _ in range(200):
        nested = (nested, nested)
    assert len(short(nested)) <= 80 and short(nested).startswith("(((")
    assert short("a\x1b\u202e" * 5) == repr("a\x1b\u202e" * 5) and short(3.5) == "3.5" and short([1, "b"]) == "[1, 'b']"
    assert short(1 << 100_000) == "an integer of 100001 bits" and len(short("x" * 1000, 40)) == 40


def test_printable():
    assert printable("plain é 漢字") == "plain é 漢字"
    assert printable("\x1b]0;x\x07\n\u202e\ud800\x9b") == r"\x1b]0;x\x07\n\u202e\ud800\x9b"
    assert len(printable("x" * 1000)) == 200


@pytest.mark.parametrize("inside", [RECONSTRUCT + b"(K\x01J\xa0\x86\x01\x00\x85" + FLOAT + b"\x89B\x80\x1a\x06\x00"])
def test_what_is_shared_counts_each_time(inside):
    """A list of one array, again and again: whoever copies the arrays of a list would never end."""
    array = inside + bytes(400_000) + b"tb\x94"
    read(array)
    assert len(read(b"](" + array + b"h\x000h\x00e")) == 2
    refused(b"](" + array + b"h\x00" * 10_000 + b"e")
    refused(b"](](" + array + b"e\x94" + b"h\x01" * 10_000 + b"e")
    refused(b"](](" + b"N" * 1000 + b"e\x94" + b"h\x00" * 10_000 + b"e")
