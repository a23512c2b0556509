"""tfrecords of image files: read like those of pixels, as small as the files, and no less careful."""

import io
import math
import os
import struct
import time
import zlib

import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import UserError
from training.data.dataset import TFRecordDataset
from training.data.image_encoding import Encoding
from training.data.tfrecord_export import TFRecordExporter
from training.data.tfrecord_reader import TFRecordFile
from training.data.tfrecord_writer import TFRecordFileWriter

pytestmark = pytest.mark.one_stack
CROSS = np.indices([3, 64, 64]).sum(axis=0) * 2


def images(count=40, channels=3):
    """Smooth ones, which become small."""
    return np.stack([(CROSS[:channels] + 5 * number) % 256 for number in range(count)]).astype(np.uint8)


def write(path, pixels, encoding="png", **options):
    with TFRecordExporter(str(path), len(pixels), print_progress=False, encoding=Encoding(encoding)) as exporter:
        for image in pixels:
            exporter.add_image(image, **options)
        exporter.add_labels(np.arange(len(pixels)) % 3)


def read(path, lod=0):
    with_labels = TFRecordDataset(str(path), max_label_size="full", shuffle_mb=0)
    result = with_labels.read(np.arange(with_labels.num_images), lod)
    with_labels.close()
    return result


@pytest.mark.parametrize(("encoding", "channels"), [("png", 3), ("png", 1), ("webp-lossless", 3)])
def test_same_images_at_all_levels(tmp_path, capsys, encoding, channels):
    write(tmp_path / "raw", images(channels=channels), "raw")
    write(tmp_path / "encoded", images(channels=channels), encoding)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"Writing 40 images of {channels}x64x64 as {encoding}: about ")
    assert sorted(os.listdir(tmp_path / "encoded")) == ["encoded-r06.tfrecords", "encoded-rxx.labels"]
    assert os.path.getsize(tmp_path / "encoded/encoded-r06.tfrecords") < 0.2 * images(channels=channels).size
    for lod in range(5):
        for ours, expected in zip(read(tmp_path / "encoded", lod), read(tmp_path / "raw", lod), strict=True):
            np.testing.assert_array_equal(ours, expected)
    assert "lacks" not in capsys.readouterr().out


def test_jpeg(tmp_path):
    write(tmp_path / "encoded", images(), "jpeg")
    found = read(tmp_path / "encoded")[0].astype(int)
    assert 0 < np.abs(found - images()).mean() < 4
    file = io.BytesIO()  # of another program, with colours subsampled
    PIL.Image.fromarray(images()[0].transpose(1, 2, 0)).save(file, "JPEG")
    write(tmp_path / "files", images(1), "jpeg", file=file.getvalue())
    expected = np.asarray(PIL.Image.open(file)).transpose(2, 0, 1)
    np.testing.assert_array_equal(read(tmp_path / "files")[0][0], expected)


def test_what_becomes_larger_is_stored_as_pixels(tmp_path):
    pixels = images(3)
    pixels[1] = np.random.RandomState(0).randint(0, 256, [3, 64, 64])
    write(tmp_path / "mixed", pixels)
    file = TFRecordFile(str(tmp_path / "mixed/mixed-r06.tfrecords"))
    assert [size == pixels[0].size for size in file.index.sizes] == [False, True, False]
    file.close()
    np.testing.assert_array_equal(read(tmp_path / "mixed")[0], pixels)  # by the index that is kept


def test_tensorflow_parses_them(tmp_path):
    import tensorflow as tf

    write(tmp_path / "set", images(2))
    features = {"shape": tf.io.FixedLenFeature([3], tf.int64), "data": tf.io.FixedLenFeature([], tf.string)}
    for record, image in zip(tf.data.TFRecordDataset(str(tmp_path / "set/set-r06.tfrecords")), images(2), strict=True):
        example = tf.io.parse_single_example(record, features)
        np.testing.assert_array_equal(example["shape"], image.shape)
        np.testing.assert_array_equal(tf.io.decode_png(example["data"]), image.transpose(1, 2, 0))


def records(path, *files, shape=(3, 64, 64)):
    writer = TFRecordFileWriter(str(path), shape)
    for file in files:
        writer.write_files(np.zeros([1, *shape], np.uint8), [file])
    writer.close()
    return str(path)


PNG = Encoding("png").encode(images(1)[0])
SMALL = Encoding("png").encode(images(1)[0][:, :32])
GRAY = Encoding("png").encode(images(1)[0][:1])


def test_damaged_images_are_all_told(tmp_path):
    header = b"IHDR" + struct.pack(">2I", 20000, 20000) + PNG[24:29]
    bomb = PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]
    path = records(tmp_path / "x-r06.tfrecords", PNG, PNG[:-200], SMALL, GRAY, PNG, bomb)
    file = TFRecordFile(path)
    np.testing.assert_array_equal(file.read(np.array([0, 4, 3])), [images(1)[0]] * 2 + [images(1)[0, [0, 0, 0]]])
    with pytest.raises(UserError) as caught:
        file.verify()
    lines = str(caught.value).split("\n")
    assert [line.split(" ")[:3] for line in lines] == [[f"{path}:", "record", n] for n in "125"]
    assert lines[1].endswith("is 32x64 RGB, but has the shape [3, 64, 64]")
    assert lines[2].endswith("is 20000x20000 RGB, but has the shape [3, 64, 64]")  # and was not decoded
    with pytest.raises(UserError, match="record 2 is 32x64 RGB"):
        file.read(np.array([0, 2]))
    file.close()
    dataset = TFRecordDataset(str(tmp_path))
    with pytest.raises(UserError, match=r"3 of 6 images cannot be read"):
        dataset.image_check().ahead()


def test_no_images(tmp_path):
    with pytest.raises(
        UserError, match=r"record 1 .*\[3, 64, 64\] but 100 bytes of data, which are no PNG, JPEG or WebP"
    ):
        TFRecordFile(records(tmp_path / "text-r06.tfrecords", PNG, b"GIF89a" + bytes(94)))
    with pytest.raises(UserError, match="images of 1x64x64: webp-lossless has no grayscale; png has"):
        write(tmp_path / "gray", images(1, 1), "webp-lossless")
    assert sorted(os.listdir(tmp_path)) == ["text-r06.tfrecords"]


def test_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr("training.data.tfrecord_export.free_space", lambda folder: 10_000)
    with pytest.raises(UserError, match=r"needs \d+\.\d kB, only 10.0 kB are free"):
        write(tmp_path / "set", images(100))
    assert os.listdir(tmp_path) == []


def test_pixels_that_begin_like_a_file_are_pixels(tmp_path):
    pixels = images(2)
    for number, magic in enumerate((PNG, b"\xff\xd8\xff")):
        flat = pixels[number].reshape(-1)
        flat[: len(magic)] = np.frombuffer(magic, np.uint8)
    assert math.prod(pixels.shape[1:]) > len(PNG)
    write(tmp_path / "raw", pixels, "raw")
    np.testing.assert_array_equal(read(tmp_path / "raw")[0], pixels)


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "least"), [("jpeg", 2000), ("png", 1000)])
def test_speed(tmp_path, encoding, least):
    """Images per second that training can have on 2 cores of a machine that is not busy."""
    random = np.random.RandomState(0)
    noise = random.randint(-8, 9, [64, 3, 256, 256])
    waves = np.sin(np.indices([256, 256]).sum(axis=0) * random.uniform(0.01, 0.1, [64, 3, 1, 1])) * 100 + 128
    write(tmp_path / "set", np.clip(waves + noise, 0, 255).astype(np.uint8), encoding)
    dataset = TFRecordDataset(str(tmp_path / "set"), num_threads=2)
    rates = []
    for _ in range(5):
        begin = time.perf_counter()
        for start in range(0, 512, 32):
            dataset.read(dataset.order(0, start, 32))
        rates.append(512 / (time.perf_counter() - begin))
    assert max(rates) > least, rates
