"""Kinds of arguments: what is taken, and what is said of the rest, whatever it is."""

import argparse

import pytest

from dnnlib import flags

pytestmark = pytest.mark.one_stack
OTHER_DIGITS = ("٣", "３", "१", "²", "①")  # that are digits to \\d, int or str.isdigit, of other scripts


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (flags.grid_size, "auto", "auto"),
        (flags.grid_size, "8x4", (8, 4)),
        (flags.grid_size, "9999X1", (9999, 1)),
        (flags.grid_size, "08x004", (8, 4)),
        (flags.num_list, "1,2, 7-9", [1, 2, 7, 8, 9]),
        (flags.num_list, "007,4294967295", [7, 2**32 - 1]),
        (flags.natural, "0", 0),
        (flags.positive, "999999999", 999999999),
        (flags.seed, "4294967295", 2**32 - 1),
        (flags.class_idx, "3", 3),
        (flags.label_vector, "0.5,1", [0.5, 1]),
        (flags.label_vector, " -1 , .5,1e-3", [-1, 0.5, 1e-3]),
        (flags.psi, "-0.7", -0.7),
        (flags.non_negative, "1e5", 1e5),
    ],
)
def test_arguments(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "texts", "message"),
    [
        (
            flags.grid_size,
            ["", "0x4", "00x4", "4x0", "4x", "x4", "4x4x4", "4*4", "4", "4.0x4", "10000x1", "4 x 4", "4x4\n"],
            "expected COLUMNSxROWS such as 8x4, from 1 to 9999 each",
        ),
        (
            flags.num_list,
            ["", ",", "1,", "1-", "-1", "1--2", "1.5", "0x10", "1_0", "5-8-9"],
            "is not a number or a range",
        ),
        (flags.num_list, ["4294967296", "0-4294967296", "9" * 20], "is out of range, expected 0 to 4294967295"),
        (flags.num_list, ["9" * 21, "9" * 5000], "is not a number or a range"),
        (flags.num_list, ["0-1000000", "0-999999,5"], "has more than 1000000 numbers"),
        (flags.num_list, ["9-7"], "the range '9-7' is empty; did you mean 7-9?"),
        (flags.natural, ["", "-1", "1.0", "1e3", "+1", " 1", "1_0"], "expected an integer of 0 or more, got"),
        (flags.positive, ["0", "00"], "expected an integer of 1 or more, got"),
        (flags.natural, ["1000000000", "9" * 5000], "expected an integer of 0 or more, below 1000000000, got '"),
        (flags.seed, ["4294967296", "9" * 5000, "-1", "1.5"], "expected an integer from 0 to 4294967295, got"),
        (flags.psi, ["", "nan", "inf", "1,5", "1e9", "1_0", "0x1"], "expected a number from -100 to 100, got"),
        (
            flags.label_vector,
            ["", "1,", "1;2", "nan", "0,inf", "1e39", "[1]"],
            "expected a number or several with commas",
        ),
        (flags.class_idx, ["1,2", "1-2"], "expected one class for all images"),
    ],
)
def test_wrong_arguments(kind, texts, message):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError) as error:
            kind(text)
        assert message in str(error.value)
        assert len(str(error.value)) < 250


@pytest.mark.parametrize("digit", OTHER_DIGITS)
def test_digits_of_other_scripts(digit):
    kinds = (flags.num_list, flags.natural, flags.positive, flags.seed, flags.psi, flags.label_vector, flags.class_idx)
    for kind, text in [
        *((kind, digit) for kind in kinds),
        (flags.grid_size, f"{digit}x4"),
        (flags.num_list, f"1-{digit}"),
    ]:
        with pytest.raises(argparse.ArgumentTypeError) as error:
            kind(text)
        assert str(error.value).isascii()  # they look like others


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--network=a.pkl"], "unrecognized arguments: --network=a.pkl (which command? show, make, find)"),
        (["find", "--network=a.pkl"], "are required: NETWORK, FILES (NETWORK is given without --network)"),
        (["find", "a.pkl", "b.npz", "--network"], "unrecognized arguments: --network\n"),
        (["find", "a.pkl", "b.npz", "--loop"], "unrecognized arguments: --loop (an option of show)"),
        (["find"], "are required: NETWORK, FILES\n"),
        (["make", "--new-folder=a"], "are required: NEW_FOLDER (NEW_FOLDER is given without --new-folder)"),
    ],
)
def test_options_in_wrong_places(args, message, capsys):
    parser = flags.ArgumentParser()
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("show").add_argument("--loop")
    commands.add_parser("make").add_argument("folder", metavar="NEW_FOLDER")
    find = commands.add_parser("find")
    find.add_argument("network", metavar="NETWORK")
    find.add_argument("files", metavar="FILES")
    with pytest.raises(SystemExit):
        parser.parse_args(args)
    assert message in capsys.readouterr().err
