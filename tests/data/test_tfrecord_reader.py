"""Reading of tfrecords: checksums, damaged and hostile files, the index, very large files."""

import errno
import os
import shutil
import struct
import subprocess
import sys

import golden
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlib import network_drives
from dnnlib.errors import UserError
from training.data import tfrecord_reader
from training.data.dataset import TFRecordDataset
from training.data.tfrecord_parser import checksum
from training.data.tfrecord_reader import TFRecordFile

pytestmark = pytest.mark.one_stack
RGB32 = golden.GOLDENS / "dataset" / "tfr_rgb32"
GRAY4 = golden.GOLDENS / "dataset" / "tfr_gray16" / "tfr_gray16-r02.tfrecords"


# ----------------------------------------------------------------------------
# Writing of records, as odd as the tests need them.


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, content):
    """A field with bytes, or with an integer."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(name, value):
    return field(1, field(1, name) + field(2, value))


def packed(shape):
    return field(3, field(1, b"".join(varint(size) for size in shape)))


def unpacked(shape):
    return field(3, b"".join(field(1, size) for size in shape))


def pixels(data):
    return field(1, field(1, data))


def framed(example):
    length = struct.pack("<Q", len(example))
    return b"".join(
        part + struct.pack("<I", checksum(part))
        for part in (length, example)  # each with its checksum
    )


def example(data, shape=None, shape_of=packed, order=1, extra=b""):
    data = np.asarray(data, np.uint8)
    features = [feature(b"shape", shape_of(shape or data.shape)), feature(b"data", pixels(data.tobytes()))]
    return field(1, extra + b"".join(features[::order]))


def images(count=3, size=4, seed=0):
    return np.random.RandomState(seed).randint(0, 256, [count, 1, size, size]).astype(np.uint8)


@pytest.fixture
def write(tmp_path):
    """Writes Examples into a file."""

    def write(*examples, name="x.tfrecords"):
        (tmp_path / name).write_bytes(b"".join(map(framed, examples)))
        return str(tmp_path / name)

    return write


# ----------------------------------------------------------------------------
# Checksums.


def test_checksums():
    for data, crc in ((b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)):  # RFC 3720
        rotated = crc >> 15 | crc << 17 & 0xFFFFFFFF
        assert checksum(data) == (rotated + 0xA282EAD8) % (1 << 32)


# ----------------------------------------------------------------------------
# What may be in a record.


@pytest.mark.parametrize("shape_of", [packed, unpacked])
@pytest.mark.parametrize("order", [1, -1])
def test_forms_of_examples(write, shape_of, order):
    data = images()
    file = TFRecordFile(write(*[example(d, shape_of=shape_of, order=order) for d in data]))
    np.testing.assert_array_equal(file.read([2, 0, 1]), data[[2, 0, 1]])
    assert file.index.stride


def test_forms_mixed_in_one_file(write):
    data = images(40)
    extra = feature(b"name", pixels(b"something"))
    forms = [{"order": 1}, {"order": -1}, {"shape_of": unpacked}, {"extra": extra}]
    same_length = TFRecordFile(write(*[example(d, order=-1 if i % 3 else 1) for i, d in enumerate(data)]))
    assert same_length.index.stride
    np.testing.assert_array_equal(same_length.read(range(40)), data)
    path = write(*[example(d, **forms[i % 4]) for i, d in enumerate(data)], name="y.tfrecords")
    for _ in range(2):  # the second time from the kept index
        file = TFRecordFile(path)
        assert not file.index.stride
        np.testing.assert_array_equal(file.read(range(40)), data)
        file.verify()


GOOD = images(1)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (example(GOOD, shape=[1, 4, 5]), r"has the shape \[1, 4, 5\] but 16 bytes"),
        (example(GOOD, shape=[16]), r"has the shape \[16\], expected \[channels, height, width\]"),
        (example(GOOD, shape=[1, 2, 2, 4]), "expected"),
        (example(GOOD, shape=[0, 4, 4]), "expected"),
        (example(GOOD, shape=[2**64 - 1, 4, 4]), "expected"),
        (example(GOOD, shape=[2**32, 2**32, 16]), "expected"),
        (field(1, feature(b"shape", packed([1, 4, 4]))), r"lacks the features .*it has \[.shape.\]"),
        (field(1, feature(b"image/encoded", pixels(b"x"))), r"it has \[.image/encoded.\]"),
        (field(1, feature(b"shape", pixels(b"x")) + feature(b"data", packed([1]))), "lacks"),
        (field(1, feature(b"shape", packed([1, 4, 4])) + feature(b"data", field(1, b""))), "lacks"),
        (b"", "lacks"),
        (b"\x0a\x7f", "contradict"),
        (b"\x0a" + b"\xff" * 10, "malformed number"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "contradict"),
        (b"\x0f", "not a tf.train.Example"),
        (field(9, 1) * 2000, "more than 1000 fields"),
    ],
)
def test_examples_that_are_no_images(write, content, message):
    for path in (write(content), write(example(GOOD), content, example(GOOD), content)):
        with pytest.raises(UserError, match=rf"x\.tfrecords: record \d .*{message}"):
            TFRecordFile(path)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=6)).map(
        lambda change: example(GOOD)[: change[0]] + change[1] + example(GOOD)[change[0] + len(change[1]) :]
    )
)
def test_any_bytes_with_right_checksums(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "x.tfrecords"
    path.write_bytes(framed(example(GOOD)) + framed(content))
    try:
        file = TFRecordFile(str(path))
    except UserError as error:
        assert "x.tfrecords: record 1 " in str(error)
    else:
        assert file.read([0, 1]).shape == (2, 1, 4, 4)


# ----------------------------------------------------------------------------
# Damage.


def test_every_changed_byte_is_found(tmp_path):
    content = GRAY4.read_bytes()
    path = tmp_path / "x.tfrecords"
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        with pytest.raises(UserError, match=rf"x.tfrecords: record {position // 66} "):
            TFRecordFile(str(path))


def test_every_truncation_is_found(tmp_path):
    content = GRAY4.read_bytes()
    path = tmp_path / "x.tfrecords"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        if length % 66 or not length:  # whole records are no damage that one file can tell
            with pytest.raises(UserError, match="is cut off|is empty"):
                TFRecordFile(str(path))


def copy_set(tmp_path):
    shutil.copytree(RGB32, tmp_path / "set", copy_function=shutil.copyfile)
    return {level: tmp_path / "set" / f"tfr_rgb32-r0{level}.tfrecords" for level in (2, 3, 4, 5)}


def test_all_problems_of_a_set_in_one_message(tmp_path):
    files = copy_set(tmp_path)
    files[5].write_bytes(files[5].read_bytes()[:-5])
    content = bytearray(files[4].read_bytes())
    content[60] ^= 1
    content[823 * 3 + 60] ^= 1
    files[4].write_bytes(content)
    files[2].write_bytes(b"junk" * 30)
    with pytest.raises(UserError) as error:
        TFRecordDataset(str(tmp_path / "set"))
    for text in (
        "r05.tfrecords: record 6 (at byte 18762) is cut off: the file ends at byte 21884",
        "r04.tfrecords: record 0 has a wrong checksum of its data",
        "r04.tfrecords: record 3 has a wrong checksum of its data",
        "r02.tfrecords: record 0 (at byte 0) has a wrong checksum of its length",
    ):
        assert text in str(error.value)


def test_files_that_do_not_fit_together(tmp_path):
    files = copy_set(tmp_path)
    files[3].write_bytes(files[3].read_bytes()[: 247 * 5])
    shutil.copy(files[4], tmp_path / "set" / "again.tfrecords")
    shutil.copy(GRAY4, files[2])
    (tmp_path / "set" / "odd.tfrecords").write_bytes(framed(example(np.zeros([3, 4, 8]))))
    with pytest.raises(UserError) as error:
        TFRecordDataset(str(tmp_path / "set"))
    for text in (
        "r03.tfrecords: 5 images, but tfr_rgb32-r05.tfrecords has 7",
        "tfr_rgb32-r04.tfrecords: has the same resolution 16x16 as again.tfrecords",
        "r02.tfrecords: 1 channels, but",
        "odd.tfrecords: images of 4x8, but tfr_rgb32-r05.tfrecords has 32x32",
    ):
        assert text in str(error.value)


def test_mixed_shapes(write):
    path = write(example(images(1, 4)[0]), example(images(1, 8)[0]), example(images(1, 4)[0]))
    with pytest.raises(UserError, match=r"record 1 .* has the shape \[1, 8, 8\], the first one \[1, 4, 4\]"):
        TFRecordFile(path)


def test_file_cut_off_while_open(tmp_path):
    files = copy_set(tmp_path)
    data = TFRecordDataset(str(tmp_path / "set"))
    os.truncate(files[5], 10000)
    data.read([0])
    with pytest.raises(UserError, match=r"r05\.tfrecords: ends before byte 2"):
        data.read([6])


def test_large_files_are_sampled_at_opening_and_verified_on_request(write, monkeypatch):
    monkeypatch.setattr(tfrecord_reader, "MAX_CHECKED_AT_OPENING", 1000)
    content = b"".join(framed(example(data)) for data in images(200))
    path = write()

    def open_damaged(record):
        with open(path, "wb") as file:
            file.write(content[: record * 66 + 60] + b"?" + content[record * 66 + 61 :])
        return TFRecordFile(path)

    for record in (0, 199):  # the first and the last are in the sample
        with pytest.raises(UserError, match=f"record {record} has a wrong checksum of its data"):
            open_damaged(record)
    file = open_damaged(102)
    done = []
    with pytest.raises(UserError, match=r"x\.tfrecords: record 102 has a wrong checksum of its data"):
        file.verify(done.append)
    assert sum(done) == 200


# ----------------------------------------------------------------------------
# The kept index.


def test_index_is_kept_and_renewed(tmp_path, monkeypatch):
    shutil.copyfile(GRAY4, tmp_path / "x.tfrecords")
    path, kept = str(tmp_path / "x.tfrecords"), tmp_path / ".x.tfrecords.index"
    expected = TFRecordFile(path).read(range(5))
    assert kept.exists()
    with monkeypatch.context() as patch:
        patch.setattr(tfrecord_reader, "build_index", None)  # not needed again
        np.testing.assert_array_equal(TFRecordFile(path).read(range(5)), expected)
    good = kept.read_bytes()
    for junk in (b"", b"junk", good[:200], good[:-30], bytes(len(good))):
        kept.write_bytes(junk)
        np.testing.assert_array_equal(TFRecordFile(path).read(range(5)), expected)
        assert len(kept.read_bytes()) == len(good)
    content = bytearray((tmp_path / "x.tfrecords").read_bytes())
    content[50] ^= 1
    (tmp_path / "x.tfrecords").write_bytes(content)  # same size, other time
    os.utime(path, ns=(0, 12345))
    with pytest.raises(UserError, match=r"record 0 .*has a wrong checksum of its data"):
        TFRecordFile(path)


def test_index_of_the_version_before_is_read(tmp_path, monkeypatch):
    """It says how the data was checked, too."""
    shutil.copyfile(GRAY4, tmp_path / "x.tfrecords")
    path, kept = str(tmp_path / "x.tfrecords"), tmp_path / ".x.tfrecords.index"
    expected = TFRecordFile(path).read(range(5))
    arrays = dict(np.load(kept))
    with open(kept, "wb") as file:
        np.savez(file, checked="all", **arrays)
    monkeypatch.setattr(tfrecord_reader, "build_index", None)
    np.testing.assert_array_equal(TFRecordFile(path).read(range(5)), expected)


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(tfrecord_reader, "atomic_write", refuse)
    shutil.copyfile(GRAY4, tmp_path / "x.tfrecords")
    for _ in range(2):
        assert TFRecordFile(str(tmp_path / "x.tfrecords")).count == 5
    assert os.listdir(tmp_path) == ["x.tfrecords"]


def test_drives_that_stumble(tmp_path, monkeypatch, capsys):
    """What cannot be read is tried again; a stale handle is replaced, unless the file is another one."""
    data = images(5)
    path = tmp_path / "x.tfrecords"
    path.write_bytes(b"".join(map(framed, map(example, data))))
    file, errors, preadv = TFRecordFile(str(path)), [errno.EIO, errno.ESTALE], os.preadv

    def stumble(*args):
        if errors:
            raise OSError(errors.pop(0), "stumbled")
        return preadv(*args)

    monkeypatch.setattr(tfrecord_reader.os, "preadv", stumble)
    monkeypatch.setattr(network_drives.time, "sleep", lambda seconds: None)
    np.testing.assert_array_equal(file.read([3, 1]), data[[3, 1]])
    assert "stumbled; trying again in 1 s" in capsys.readouterr().err
    errors.append(errno.ESTALE)
    path.write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="has changed since it was opened"):
        file.read([0])


# ----------------------------------------------------------------------------
# Size.

OPEN_AND_READ = """
import sys, time
import numpy as np
from training.dataset import TFRecordDataset

def peak():  # of this process, KB; ru_maxrss would be that of its parent
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

before = peak()
start = time.time()
data = TFRecordDataset(sys.argv[1])
opened = time.time() - start
assert data.num_images == int(sys.argv[2]) and data.shape == [3, 1024, 1024]
images, _ = data.read(data.order(1, 0, 4))
assert not images.any()
print(opened, (peak() - before) / 1024)
"""


def sparse_set(folder, count):
    """A set of 1024x1024 images of zeros that occupies its headers only."""
    record = framed(example(np.zeros([3, 1024, 1024], np.uint8)))
    head, tail = record[:100], record[-100:]
    folder.mkdir()
    with open(folder / "set-r10.tfrecords", "wb") as file:
        for number in range(count):
            file.seek(number * len(record))
            file.write(head)
            file.seek((number + 1) * len(record) - len(tail))
            file.write(tail)
    return len(record) * count


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
@pytest.mark.parametrize("count", [3000, pytest.param(70000, marks=pytest.mark.slow)])
def test_opening_is_fast_and_small(tmp_path, count):
    size = sparse_set(tmp_path / "set", count)
    assert os.path.getsize(tmp_path / "set" / "set-r10.tfrecords") == size
    try:
        for _ in ("first time", "from the kept index"):
            done = subprocess.run(
                [sys.executable, "-c", OPEN_AND_READ, str(tmp_path / "set"), str(count)],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            seconds, megabytes = map(float, done.stdout.split()[-2:])
            assert seconds < 20
            assert megabytes < 100  # the check of records and the images that are read included
    finally:
        shutil.rmtree(tmp_path / "set")  # pytest would keep it
