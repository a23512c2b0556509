"""Names of files: cut by bytes, and found to be too long before anything is made for them."""

import os

import pytest

from dnnlib.files import atomic_path, atomic_write, short_name

pytestmark = pytest.mark.one_stack


@pytest.mark.parametrize(
    ("name", "most", "expected"),
    [
        ("anna", 100, "anna"),
        ("a" * 250, 100, "a" * 100),
        ("写" * 83, 100, "写" * 33),  # 3 bytes each
        ("a" + "😀" * 60, 100, "a" + "😀" * 24),  # 4 bytes each
        ("", 100, ""),
        ("b\udcff" * 99, 10, "b\udcffb\udcffb"),  # bytes that are no UTF-8
    ],
)
def test_short_name(name, most, expected):
    assert short_name(name, most) == expected
    assert len(os.fsencode(short_name(name, most))) <= most


@pytest.mark.parametrize("make", [atomic_write, atomic_path])
def test_long_names(tmp_path, make):
    for name in ("a" * 251 + ".png", "写" * 83 + ".png", "😀" * 62 + ".png", os.fsdecode(b"\xff" * 240 + b".png")):
        with make(tmp_path / name) as file:
            if make is atomic_path:
                open(file, "w").close()
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()
    for name in ("a" * 256, "写" * 86):
        with pytest.raises(OSError, match="File name too long") as error, make(tmp_path / name):
            raise AssertionError("the name is checked first")
        assert error.value.filename == str(tmp_path / name)
    assert not os.listdir(tmp_path)
