"""Rows on disk: they grow, survive interruptions, and damage is found."""

import numpy as np
import pytest

from metrics.features import feature_file
from metrics.features.feature_file import RowFile

pytestmark = pytest.mark.one_stack
ROWS = np.random.RandomState(0).randn(10, 3).astype(np.float32)


def write(path, *sizes):
    """A part for each of the sizes."""
    for size in sizes:
        file = RowFile(path, 3)
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


def test_parts_are_plain_arrays_of_many_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_file, "_PART_ROWS", 4)
    file = RowFile(tmp_path / "x.rows", 3)
    for row in ROWS:
        file.append(row[np.newaxis])
    assert [path.name[:10] for path in sorted(file.path.iterdir())] == ["000000000-", "000000004-"]
    assert RowFile(file.path, 3).rows == 8  # as after the process was killed
    file.close()
    parts = [np.load(path) for path in sorted(file.path.iterdir())]
    assert [part.shape for part in parts] == [(4, 3), (4, 3), (2, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), ROWS)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_damaged_parts_are_noticed(number, tmp_path, capsys):
    path = write(tmp_path / "x.rows", 2, 2, 2)
    part = sorted(path.iterdir())[number]
    data = part.read_bytes()
    damaged = [data[:end] for end in range(len(data))]
    damaged += [data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :] for place in range(len(data))]
    shapes = [b"(3, 2), }", b"(0, 3), }", b"(), }    ", b"(9000000000000, 3), }"]
    damaged += [data.replace(b"(2, 3), }".ljust(30), shape.ljust(30)) for shape in shapes]
    damaged += [data.replace(b"<f4", b"<i4"), data.replace(b"<f4", b"|O ")]
    assert len({*damaged, data}) == 2 * len(data) + 6 + 1
    for content in damaged:
        part.write_bytes(content)
        capsys.readouterr()
        file = RowFile(path, 3)
        assert file.rows == number * 2 and str(part) in capsys.readouterr().err
        np.testing.assert_array_equal(file.read(file.rows), ROWS[: file.rows])
        file.append(ROWS[file.rows : 6])  # it goes on from there
        np.testing.assert_array_equal(file.read(6), ROWS[:6])
        file.close()
        assert RowFile(path, 3).rows == 6 and capsys.readouterr().err == ""


def test_parts_that_are_lost_or_change_places(tmp_path, capsys):
    path = write(tmp_path / "x.rows", 2, 2, 2)
    first, second, third = sorted(path.iterdir())
    second.unlink()
    assert RowFile(path, 3).rows == 2
    assert str(third) in capsys.readouterr().err and list(path.iterdir()) == [first]
    write(path, 2)
    first.rename(path / first.name.replace("000000000", "000000004"))
    assert RowFile(path, 3).rows == 0
