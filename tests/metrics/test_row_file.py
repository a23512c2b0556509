"""Rows on disk: they grow, survive interruptions, and damage is found."""

import numpy as np
import pytest

from metrics.features.feature_file import RowFile

pytestmark = pytest.mark.one_stack
ROWS = np.random.RandomState(0).randn(10, 3).astype(np.float32)


def write(path, *sizes, facts=None):
    file = RowFile(path, 3, facts)
    for size in sizes:
        file.append(ROWS[file.rows : file.rows + size])
    file.close()
    return path


def test_rows_grow(tmp_path):
    path = write(tmp_path / "new folder" / "x.rows", 3, 1)
    write(path, 4)
    file = RowFile(path, 3)
    assert file.rows == 8
    np.testing.assert_array_equal(file.read(8), ROWS[:8])
    np.testing.assert_array_equal(file.read(2), ROWS[:2])
    file.append(ROWS[8:])
    np.testing.assert_array_equal(file.read(10), ROWS)
    file.remove()
    assert not path.exists()


def test_other_facts_start_anew(tmp_path, capsys):
    path = write(tmp_path / "x.rows", 4, facts={"of": "cats"})
    assert RowFile(path, 3, {"of": "cats"}).rows == 4
    assert capsys.readouterr().err == ""
    assert RowFile(path, 3, {"of": "dogs"}).rows == 0
    assert "does not hold what its name says" in capsys.readouterr().err
    path.write_bytes(b"garbage")
    assert RowFile(path, 3).rows == 0


def test_every_truncation_and_every_flipped_byte_is_noticed(tmp_path, capsys):
    path = write(tmp_path / "x.rows", 2, 2, 2)
    data = path.read_bytes()
    header = len(data) - 3 * (8 + 2 * 12)
    for end in range(header, len(data)):
        path.write_bytes(data[:end])
        file = RowFile(path, 3)
        assert file.rows == (end - header) // 32 * 2
        np.testing.assert_array_equal(file.read(file.rows), ROWS[: file.rows])
        file.append(ROWS[file.rows : 6])  # it goes on from there
        np.testing.assert_array_equal(file.read(6), ROWS[:6])
        file.close()
    capsys.readouterr()
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        file = RowFile(path, 3)
        assert file.rows == max(place - header, 0) // 32 * 2
        np.testing.assert_array_equal(file.read(file.rows), ROWS[: file.rows])
        assert str(path) in capsys.readouterr().err
        file.close()


def test_blocks_do_not_change_places(tmp_path):
    path = write(tmp_path / "x.rows", 2, 2)
    data = path.read_bytes()
    path.write_bytes(data[:-64] + data[-32:] + data[-64:-32])
    assert RowFile(path, 3).rows == 0


def test_absurd_sizes_allocate_nothing(tmp_path):
    path = write(tmp_path / "x.rows", 2)
    path.write_bytes(path.read_bytes()[:-32] + b"\xff\xff\xff\xff" + bytes(28))
    assert RowFile(path, 3).rows == 0
