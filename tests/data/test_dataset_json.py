"""`dataset.json` of all kinds that people write: what is taken, and what is said of the rest."""

import json

import numpy as np
import pytest

from dnnlib.errors import UserError
from training.data.dataset_json import read_labels

pytestmark = pytest.mark.one_stack
NAMES = [f"0000{i}/img{i}.png" for i in range(4)]


def with_labels(*labels):
    return {"labels": [[name, label] for name, label in zip(NAMES, labels, strict=True)]}


def read(content):
    return read_labels("set.zip/dataset.json", content if isinstance(content, bytes) else text(content), NAMES)[0]


def text(content):
    return (content if isinstance(content, str) else json.dumps(content)).encode()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (with_labels(0, 3, 1, 1), [0, 3, 1, 1]),
        (with_labels(0.0, 1.0, 2.0, 1.0), [0, 1, 2, 1]),  # as tables save them
        (with_labels(True, False, False, True), [1, 0, 0, 1]),
        (with_labels([1, 22.5], [2, 45], [0.5, -1], [0, 0]), [[1, 22.5], [2, 45], [0.5, -1], [0, 0]]),
        (with_labels([True], [False], [1], [0.5]), [[1], [0], [1], [0.5]]),
        ({"labels": dict(with_labels(0, 1, 2, 3)["labels"])}, [0, 1, 2, 3]),
        ({"labels": [[f"./{name}".replace("/", "\\"), 1] for name in NAMES]}, [1, 1, 1, 1]),
        ({"labels": [*with_labels(0, 1, 2, 3)["labels"], [f"/{NAMES[1]}", 1]]}, [0, 1, 2, 3]),  # twice the same
        (b"\xef\xbb\xbf" + text(with_labels(0, 1, 0, 1)), [0, 1, 0, 1]),
        (json.dumps(with_labels(0, 1, 0, 1)).encode("utf-16"), [0, 1, 0, 1]),
    ],
)
def test_labels(content, expected):
    labels = read(content)
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == (np.int64 if labels.ndim == 1 else np.float32)
    assert read({"labels": None}) is None


def test_letters_with_accents_in_two_parts():
    content = text({"labels": [["cafe\u0301.png", 5]]})
    assert read_labels("dataset.json", content, ["caf\u00e9.png"])[0].tolist() == [5]


def test_names_of_classes():
    def names(classes, *labels):
        return read_labels("dataset.json", text({**with_labels(*labels), "classes": classes}), NAMES)[1]

    assert names(["a", "b", "c"], 0, 1, 1, 0) == ["a", "b", "c"]  # one is without images
    for others in (["a"], ["a", "a"], [1, 2], {"a": 0}, None, "ab"):  # too few, and other things of others
        assert names(others, 0, 1, 1, 0) == []
    assert names(["a", "b"], [0, 1], [1, 0], [1, 0], [0, 1]) == []  # label vectors


LISTS = "labels are to be class numbers, or lists of numbers of one length"


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("{", ["is no JSON: line 1 column 2: Expecting property name"]),
        ('{"labels":\n [["a", 1],]}', ["is no JSON: line 2 column 1"]),
        (b'{"labels": "\xff"}', ["is no JSON: 'utf-8' codec can't decode byte 0xff"]),
        ("[" * 100000, ["is nested too deeply"]),
        ("[" + "1" * 5000 + "]", ["is no JSON: Exceeds the limit"]),
        (with_labels(1, 2, 3, 4)["labels"], ['is a list; put it into an object; expected {"labels": [["NAME", 3]']),
        ("3", ["is 3; expected {"]),
        ("{}", ['has no "labels", nothing; expected']),
        ({"label": []}, ['has no "labels", only "label"; expected']),
        ('{"labels": null, "labels": []}', ['has "labels" 2 times']),
        ({"labels": 3}, ['"labels" is 3; expected']),
        ({"labels": []}, ["4 of 4 images have no label, such as 00000/img0.png"]),
        (
            {"labels": [*with_labels(0, 1, 2, 3)["labels"][1:], ["img0.png", 0], ["b"], {"c": 1, "d": 2}]},
            [
                'entry 4 of "labels" is a list of 1, expected ["NAME", 3]',
                'entry 5 of "labels" is an object',
                "1 of 4 images have no label, such as 00000/img0.png",
                "has labels of 1 image that is not there, such as img0.png",
            ],
        ),
        (
            {"labels": [*with_labels(0, 1, 2, 3)["labels"], [f"./{NAMES[1]}", 2]]},
            ['"00001/img1.png" has two labels, 1 and 2'],
        ),
        (with_labels(0, None, 1, -1), ['"00001/img1.png" is null', '"00003/img3.png" is -1', LISTS]),
        (
            with_labels(0.25, 1, 2, 3),
            ["is 0.25, expected class numbers; as a label vector it is written [0.2"],
        ),
        (with_labels([1, 0], [1], [0, 1], [1, 0]), ['img1.png" is of 1 numbers, most are of 2 numbers', LISTS]),
        (with_labels([[1], [0]], [1, 0], [0, 1], 2), ["has a list of 1 in it", "is of a class, most are of 2 numbers"]),
        (with_labels("0", "1", 0, 1), ['img0.png" is "0", expected', "numbers are written without quotes"]),
        (with_labels(["0"], [1], [0], [1]), ['img0.png" has "0" in it, expected finite numbers', LISTS]),
        (with_labels("dog", "cat", "dog", 1), ['is "dog"', 'classes are numbered: 0 for "cat", 1 for "dog"']),
        (with_labels(float("nan"), 1, 0, 0), ['img0.png" is NaN, expected a class', LISTS]),
        (with_labels([float("nan")], [1], [float("inf")], [0]), ["has NaN in it", "has Infinity in it"]),
        (with_labels([1e39], [1], [0], [10**400]), ["has 1e+39 in it", "has 1000"]),
        (with_labels(0, 1, 2, 1 << 20), ["is 1048576, expected class numbers from 0 to 1048575"]),
        (with_labels([], [], [], []), ["is an empty list", LISTS]),
        (with_labels({"class": 1}, 0, 0, 0), ["is an object, expected a class or a list of numbers"]),
    ],
)
def test_what_cannot_be_used(content, lines):
    with pytest.raises(UserError) as error:
        read(content)
    said = str(error.value)
    assert said.startswith("set.zip/dataset.json: ")
    for line in lines:
        assert line in said
    assert "has two labels" not in said or "two labels" in lines[0]
    assert len(said) < 2000


def test_of_many_labels_some_are_listed():
    names = [f"{i}.png" for i in range(10000)]
    with pytest.raises(UserError) as error:
        read_labels("dataset.json", text({"labels": [[name, None] for name in names]}), names)
    assert "... and 9990 more" in str(error.value)
