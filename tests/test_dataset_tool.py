"""`dataset_tool.py` as a user runs it: files as TensorFlow parses them, messages, what interruptions leave."""

import contextlib
import gzip
import io
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import golden
import numpy as np
import PIL.Image
import pytest

import dataset_tool

ROOT = Path(__file__).parent.parent
INDEX = golden.index("dataset", "index.json")["datasets"]
GOLDENS = golden.GOLDENS / "dataset"


def start(cwd, *args, shell_prefix="", env=None):
    """The tool in a process of its own."""
    command = [sys.executable, str(ROOT / "dataset_tool.py"), *map(str, args)]
    if shell_prefix:
        command = ["bash", "-c", f'{shell_prefix}; exec "$@"', "bash", *command]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def run(cwd, *args, **kwargs):
    """Runs the tool to the end: in this process, which is faster, unless there are keyword arguments for `start`."""
    if kwargs:
        process = start(cwd, *args, **kwargs)
        out, err = process.communicate(timeout=300)
        returncode = process.returncode
    else:
        returncode, out, err = run_here(cwd, args)
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(args, returncode, out, err)


def run_here(cwd, args):
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    returncode, argv, before = 0, sys.argv, os.getcwd()
    sys.argv = ["dataset_tool.py", *map(str, args)]
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            dataset_tool.main()
    except SystemExit as stop:
        returncode = stop.code
    finally:
        os.chdir(before)
        sys.argv = argv
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return returncode, *texts


def succeeds(cwd, *args, **kwargs):
    result = run(cwd, *args, **kwargs)
    assert result.returncode == 0, result.stderr
    return result


def fails(cwd, *args, **kwargs):
    """What a command that fails says; it leaves no file and no folder."""
    before = sorted(Path(cwd).rglob("*"))
    result = run(cwd, *args, **kwargs)
    assert result.returncode == 1
    assert sorted(Path(cwd).rglob("*")) == before
    return result.stderr


def parse(path):
    """Images of a tfrecord file as TensorFlow reads them, [N, C, H, W]."""
    import tensorflow as tf

    features = {"shape": tf.io.FixedLenFeature([3], tf.int64), "data": tf.io.FixedLenFeature([], tf.string)}
    images = []
    for record in tf.data.TFRecordDataset(str(path)):
        example = tf.io.parse_example(record, features)
        images.append(np.frombuffer(example["data"].numpy(), np.uint8).reshape(example["shape"].numpy()))
    return np.stack(images)


def dataset(folder):
    """All levels of a data set, by resolution, and its labels."""
    files = {path.name: path for path in Path(folder).iterdir() if not path.name.startswith(".")}
    labels = files.pop(f"{folder.name}-rxx.labels", None)
    levels = {}
    for name, path in files.items():
        images = parse(path)
        assert name == f"{folder.name}-r{images.shape[2].bit_length() - 1:02d}.tfrecords"
        levels[images.shape[2]] = images
    assert sorted(levels) == [2**level for level in range(2, max(levels).bit_length())]
    for size, images in levels.items():
        factor = max(levels) // size
        full = levels[max(levels)].astype(np.float64)
        means = full.reshape(*full.shape[:2], size, factor, size, factor).mean(axis=(3, 5))
        np.testing.assert_array_equal(images, np.rint(means).astype(np.uint8))
    return levels[max(levels)], None if labels is None else np.load(labels)


def shuffled(count):
    order = np.arange(count)
    np.random.RandomState(123).shuffle(order)
    return order


def random_images(count, *shape, seed=1):
    return np.random.RandomState(seed).randint(0, 256, [count, *shape], np.uint8)


def save_images(folder, images, names=None, **kwargs):
    folder.mkdir(parents=True, exist_ok=True)
    for idx, image in enumerate(images):
        PIL.Image.fromarray(image).save(folder / (names[idx] if names else f"{idx:04d}.png"), **kwargs)


# ----------------------------------------------------------------------------
# The official tool's own outputs.


@pytest.mark.parametrize("name", ["rgb32", "gray16"])
@pytest.mark.parametrize("kind", ["", "_noshuffle", "_h5"])
def test_official_outputs(tmp_path, name, kind):
    target = f"tfr_{name}{kind}"
    if kind == "_h5":
        (tmp_path / f"h5_{name}.h5").symlink_to(GOLDENS / f"h5_{name}.h5")
        (tmp_path / f"h5_{name}-labels.npy").symlink_to(GOLDENS / f"h5_{name}-labels.npy")
        result = succeeds(tmp_path, "create_from_hdf5", target, f"h5_{name}.h5")
    else:
        (tmp_path / f"png_{name}").symlink_to(GOLDENS / f"png_{name}")
        shuffle = ["--shuffle", "0"] if kind else []
        result = succeeds(tmp_path, "create_from_images", target, f"png_{name}", *shuffle)
    assert sorted(path.name for path in (tmp_path / target).iterdir()) == INDEX[name]["files"][target]
    for file in INDEX[name]["files"][target]:
        if file.endswith(".labels"):
            assert (tmp_path / target / file).read_bytes() == (GOLDENS / target / file).read_bytes()
        else:
            np.testing.assert_array_equal(parse(tmp_path / target / file), parse(GOLDENS / target / file))
    official = INDEX[name]["stdout"].replace("\\r", "\r").split("Loading")[("", "_noshuffle", "_h5").index(kind) + 1]
    for line in ("Loading" + official).splitlines():
        assert line in result.stdout.splitlines()


# ----------------------------------------------------------------------------
# Small sources of every kind.


def idx_file(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    with gzip.open(path, "wb") as file:
        file.write(header + array.tobytes())


@pytest.fixture
def mnist(tmp_path):
    images, labels = random_images(7, 28, 28), np.asarray([3, 1, 4, 1, 5, 9, 2], np.uint8)
    (tmp_path / "mnist").mkdir()
    idx_file(tmp_path / "mnist" / "train-images-idx3-ubyte.gz", images)
    idx_file(tmp_path / "mnist" / "train-labels-idx1-ubyte.gz", labels)
    return np.pad(images, [(0, 0), (2, 2), (2, 2)])[:, np.newaxis], labels


def test_mnist(tmp_path, mnist):
    succeeds(tmp_path, "create_mnist", "out", "mnist")
    images, labels = dataset(tmp_path / "out")
    np.testing.assert_array_equal(images, mnist[0][shuffled(7)])
    np.testing.assert_array_equal(labels, np.eye(10, dtype=np.float32)[mnist[1]][shuffled(7)])
    succeeds(tmp_path, "create_mnistrgb", "rgb", "mnist", "--num_images", "5", "--random_seed=9")
    images, labels = dataset(tmp_path / "rgb")
    random = np.random.RandomState(9)
    np.testing.assert_array_equal(images, [mnist[0][random.randint(7, size=3), 0] for _ in range(5)])
    assert labels is None


def test_cifar(tmp_path):
    images = random_images(15, 3, 32, 32)
    labels = np.arange(15) % 10
    (tmp_path / "c10").mkdir()
    for batch in range(5):
        part = slice(3 * batch, 3 * batch + 3)
        content = {"data": images[part].reshape(3, -1), "labels": labels[part].tolist(), "filenames": ["x"] * 3}
        (tmp_path / "c10" / f"data_batch_{batch + 1}").write_bytes(pickle.dumps(content, protocol=2))
    succeeds(tmp_path, "create_cifar10", "out10", "c10")
    result, onehot = dataset(tmp_path / "out10")
    np.testing.assert_array_equal(result, images[shuffled(15)])
    np.testing.assert_array_equal(onehot, np.eye(10, dtype=np.float32)[labels][shuffled(15)])

    (tmp_path / "c100").mkdir()
    content = {
        "data": images.reshape(15, -1),
        "fine_labels": [int(i) * 7 for i in range(15)],
        "coarse_labels": [0] * 15,
    }
    (tmp_path / "c100" / "train").write_bytes(pickle.dumps(content, protocol=2))
    succeeds(tmp_path, "create_cifar100", "out100", "c100")
    result, onehot = dataset(tmp_path / "out100")
    np.testing.assert_array_equal(onehot.argmax(axis=1), 7 * shuffled(15))


def test_svhn(tmp_path):
    import scipy.io

    images, labels = random_images(6, 3, 32, 32), np.asarray([10, 1, 9, 3, 10, 5], np.uint8)
    (tmp_path / "svhn").mkdir()
    mat = {"X": images.transpose(2, 3, 1, 0), "y": labels[:, np.newaxis]}
    scipy.io.savemat(tmp_path / "svhn" / "train_32x32.mat", mat)
    succeeds(tmp_path, "create_svhn", "mat", "svhn")
    result, onehot = dataset(tmp_path / "mat")
    np.testing.assert_array_equal(result, images[shuffled(6)])
    np.testing.assert_array_equal(onehot, np.eye(10, dtype=np.float32)[labels % 10][shuffled(6)])
    (tmp_path / "pickles").mkdir()
    for batch in range(3):
        part = slice(2 * batch, 2 * batch + 2)
        content = (images[part], (labels[part] % 10).astype(np.uint8))
        (tmp_path / "pickles" / f"train_{batch + 1}.pkl").write_bytes(pickle.dumps(content, protocol=2))
    succeeds(tmp_path, "create_svhn", "pkl", "pickles")
    for ours, theirs in zip(dataset(tmp_path / "pkl"), (result, onehot), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_celeba(tmp_path):
    images = random_images(4, 218, 178, 3)
    save_images(tmp_path / "celeba" / "img_align_celeba_png", images)
    result = succeeds(tmp_path, "create_celeba", "out", "celeba", "--cx=90")
    assert "Found 4 images; the whole of CelebA has 202599." in result.stdout
    crops = images[:, 121 - 64 : 121 + 64, 90 - 64 : 90 + 64].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(dataset(tmp_path / "out")[0], crops[shuffled(4)])
    assert "--cx=20: expected 64 to 114" in fails(tmp_path, "create_celeba", "new", "celeba", "--cx=20")
    save_images(tmp_path / "celeba" / "img_align_celeba_png", random_images(1, 218, 170, 3), ["odd.png"])
    assert "  odd.png: 170x218 RGB" in fails(tmp_path, "create_celeba", "new", "celeba")


@pytest.fixture
def lsun(tmp_path):
    """Images of LSUN as an LMDB folder; one of them is damaged."""
    lmdb = pytest.importorskip("lmdb")
    images = [random_images(1, *size, 3, seed=sum(size))[0] for size in ((40, 48), (24, 32), (24, 80), (16, 16))]
    with lmdb.open(str(tmp_path / "lsun"), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for idx, image in enumerate(images):
            with io.BytesIO() as file:
                PIL.Image.fromarray(image).save(file, "WEBP", lossless=True)
                transaction.put(f"key{idx}".encode(), file.getvalue())
        transaction.put(b"key1b", b"RIFF no image")
    return [PIL.Image.fromarray(image) for image in images]


def test_lsun(tmp_path, lsun):
    result = succeeds(tmp_path, "create_lsun", "out", "lsun", "--resolution=16")
    assert "Skipping key1b: cannot be read" in result.stdout
    assert "Added 4 images." in result.stdout
    boxes = ((4, 0, 44, 40), (4, 0, 28, 24), (28, 0, 52, 24), (0, 0, 16, 16))
    expected = [img.crop(box).resize((16, 16), PIL.Image.LANCZOS) for img, box in zip(lsun, boxes, strict=True)]
    np.testing.assert_array_equal(dataset(tmp_path / "out")[0], [np.asarray(i).transpose(2, 0, 1) for i in expected])
    succeeds(tmp_path, "create_lsun", "two", "lsun", "--resolution=16", "--max_images=2")
    assert len(dataset(tmp_path / "two")[0]) == 2

    result = succeeds(tmp_path, "create_lsun_wide", "wide", "lsun", "--width=32", "--height=24")
    assert "key2: 80x24 is too small" in result.stdout
    assert "key3: 16x16 is too small" in result.stdout
    first = lsun[0].crop((0, 6, 48, 33)).resize((32, 24), PIL.Image.LANCZOS)  # 32 * 40 / 48 = 27 rows
    images = dataset(tmp_path / "wide")[0]
    assert len(images) == 2
    for image, picture in zip(images, (first, lsun[1]), strict=True):
        np.testing.assert_array_equal(image[:, 4:28], np.asarray(picture).transpose(2, 0, 1))
        assert not image[:, :4].any()
        assert not image[:, 28:].any()
    assert "none of the 5 entries can be used" in fails(tmp_path, "create_lsun_wide", "new", "lsun", "--width=512")
    data = tmp_path / "lsun" / "data.mdb"
    os.truncate(data, 9000)
    assert "data.mdb: is cut off" in fails(tmp_path, "create_lsun", "new", "lsun")


def test_hdf5_of_several_arrays(tmp_path):
    h5py = pytest.importorskip("h5py")
    images = random_images(3, 1, 8, 8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data4x4"] = random_images(3, 1, 4, 4)
        file["data8x8"] = images
        file["other"] = random_images(3, 1, 16, 16)
    succeeds(tmp_path, "create-from-hdf5", "out", "x.h5", "--shuffle=0")
    np.testing.assert_array_equal(dataset(tmp_path / "out")[0], images)
    np.save(tmp_path / "x-labels.npy", np.zeros([4, 2]))
    assert "4 labels, but the data set has 3 images" in fails(tmp_path, "create-from-hdf5", "new", "x.h5")
    (tmp_path / "y.h5").write_bytes(b"not HDF5")
    assert "y.h5: cannot be read as HDF5" in fails(tmp_path, "create-from-hdf5", "new", "y.h5")


# ----------------------------------------------------------------------------
# Images of folders and zip files.


def test_zip_file_with_classes(tmp_path):
    images = random_images(5, 8, 8, 3)
    with zipfile.ZipFile(tmp_path / "animals.zip", "w") as archive:
        for idx, name in enumerate(("dog/1.png", "cat/2.png", "dog/sub/0.png", "bird/a b.png", "cat/1.png")):
            with archive.open(f"animals/{name}", "w") as file:
                PIL.Image.fromarray(images[idx]).save(file, "PNG")
        archive.writestr("__MACOSX/animals/dog/._1.png", b"junk")
    result = succeeds(tmp_path, "create_from_images", "out", "animals.zip", "--shuffle=0")
    assert "label 0: bird (1 images)" in result.stdout
    assert "label 2: dog (2 images)" in result.stdout
    written, labels = dataset(tmp_path / "out")
    np.testing.assert_array_equal(written, images[[3, 4, 1, 0, 2]].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(labels, np.eye(3, dtype=np.float32)[[0, 1, 1, 2, 2]])


def test_folders_with_classes_and_shuffling(tmp_path):
    images = random_images(6, 8, 8)
    save_images(tmp_path / "in" / "b", images[:4])
    save_images(tmp_path / "in" / "a", images[4:])
    succeeds(tmp_path, "create_from_images", "out", "in")
    written, labels = dataset(tmp_path / "out")
    np.testing.assert_array_equal(written[:, 0], images[[4, 5, 0, 1, 2, 3]][shuffled(6)])
    np.testing.assert_array_equal(labels.argmax(axis=1), np.asarray([0, 0, 1, 1, 1, 1])[shuffled(6)])
    save_images(tmp_path / "in", images[:1])
    message = fails(tmp_path, "create_from_images", "new", "in")
    assert "sub-folders are classes (a, b), and every image needs one; 1 files are in none, such as 0000.png" in message


def test_labels_of_dataset_json(tmp_path):
    save_images(tmp_path / "in" / "00000", random_images(2, 8, 8), ["a.png", "b.png"])
    save_images(tmp_path / "in" / "00001", random_images(1, 8, 8), ["c.png"])
    labels = [["00000/b.png", 1], ["00001/c.png", 1], ["00000/a.png", 3]]
    (tmp_path / "in" / "dataset.json").write_text(json.dumps({"labels": labels}))
    succeeds(tmp_path, "create_from_images", "out", "in", "--shuffle=0")
    np.testing.assert_array_equal(dataset(tmp_path / "out")[1], np.eye(4, dtype=np.float32)[[3, 1, 1]])
    (tmp_path / "in" / "dataset.json").write_text('{"labels": null}')
    succeeds(tmp_path, "create_from_images", "none", "in", "--shuffle=0")
    assert dataset(tmp_path / "none")[1] is None


@pytest.mark.parametrize("name", ["box", "lanczos", "bicubic"])
def test_crop_and_resize(tmp_path, name):
    images = [random_images(1, *size, 3)[0] for size in ((40, 70), (64, 64), (16, 16), (33, 20))]
    save_images(tmp_path / "in", images)
    args = ("--crop=center", "--resolution=16", f"--resize={name}", "--shuffle=0")
    result = succeeds(tmp_path, "create_from_images", "out", "in", *args)
    assert "Cropping 2 images" in result.stdout
    assert f"Resizing 3 images to 16x16 ({name})." in result.stdout
    boxes = ((15, 0, 55, 40), (0, 0, 64, 64), (0, 0, 16, 16), (0, 6, 20, 26))
    resample = getattr(PIL.Image.Resampling, name.upper())
    for image, box, written in zip(images, boxes, dataset(tmp_path / "out")[0], strict=True):
        expected = PIL.Image.fromarray(image).crop(box).resize((16, 16), resample)
        np.testing.assert_array_equal(written, np.asarray(expected).transpose(2, 0, 1))


def test_conversions(tmp_path):
    rgb = random_images(1, 8, 8, 3)[0]
    folder = tmp_path / "in"
    save_images(folder, [rgb], ["a.png"])
    PIL.Image.fromarray(rgb).quantize(8).save(folder / "b.png")
    PIL.Image.fromarray(rgb).convert("CMYK").save(folder / "c.tif")
    alpha = np.full([8, 8, 1], 255, np.uint8)
    alpha[:, :4] = 0
    PIL.Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(folder / "d.png")
    deep = np.random.RandomState(0).randint(0, 65536, [8, 8]).astype(np.uint16)
    PIL.Image.fromarray(deep).save(folder / "e.png")
    PIL.Image.fromarray(rgb[:, :, 0]).save(folder / "f.png")
    (folder / "g.png").write_bytes(deep_rgb_png(deep))

    message = fails(tmp_path, "create_from_images", "new", "in")
    for line in (
        "6 of 7 images do not fit; nothing was written:",
        "b.png: 8x8 palette: expected RGB or grayscale",
        "c.tif: 8x8 CMYK: expected",
        "d.png: 8x8 RGB with transparency: expected",
        "e.png: 8x8 16 bits per channel: expected",
        "f.png: 8x8 grayscale: most images are RGB",
        "g.png: 8x8 16 bits per channel: expected",
        "What would help: --convert=rgb or --convert=gray (6 images)",
    ):
        assert line in message
    result = succeeds(tmp_path, "create_from_images", "out", "in", "--convert=rgb", "--shuffle=0")
    assert "Converting to RGB: 2 16 bits per channel, 1 palette" in result.stdout
    written = dataset(tmp_path / "out")[0]
    np.testing.assert_array_equal(written[0], rgb.transpose(2, 0, 1))
    np.testing.assert_array_equal(written[3, :, :, 4:], rgb.transpose(2, 0, 1)[:, :, 4:])
    assert not written[3, :, :, :4].any()
    np.testing.assert_array_equal(written[4], np.tile(np.rint(deep / 257).astype(np.uint8), [3, 1, 1]))
    np.testing.assert_array_equal(written[5], np.tile(rgb[:, :, 0], [3, 1, 1]))
    succeeds(tmp_path, "create_from_images", "gray", "in", "--convert=gray", "--shuffle=0")
    np.testing.assert_array_equal(dataset(tmp_path / "gray")[0][5, 0], rgb[:, :, 0])


def deep_rgb_png(values):
    """A PNG of 16 bits per channel, gray as RGB: Pillow cannot write it."""
    import zlib

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape
    rows = np.repeat(values[:, :, np.newaxis], 3, axis=2).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@pytest.mark.one_stack
def test_all_offenders_are_listed(tmp_path):
    save_images(tmp_path / "in", random_images(3, 32, 32, 3))
    names = {(48, 48): "size.png", (16, 16): "small.png", (32, 40): "wide.png"}
    for size, name in names.items():
        save_images(tmp_path / "in", random_images(1, *size, 3), [name])
    whole = (tmp_path / "in" / "0000.png").read_bytes()
    (tmp_path / "in" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "empty.png").write_bytes(b"")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    message = fails(tmp_path, "create_from_images", "new", "in")
    for line in (
        "6 of 9 images do not fit; nothing was written:",
        "  cut.png: cannot be read (",
        "  empty.png: cannot be read (the file is empty)",
        "  notes.txt: is not an image",
        "  size.png: 48x48 RGB: the resolution is not a power of two",
        "  small.png: 16x16 RGB: most images are 32x32",
        "  wide.png: 40x32 RGB: the width and the height are not the same",
        "--resolution=32 (2 images)",
        "--crop=center",
        "removing what is not a whole image (3 images)",
    ):
        assert line in message
    save_images(tmp_path / "many", random_images(60, 9, 9))
    message = fails(tmp_path, "create_from_images", "new", "many")
    assert message.count("9x9 grayscale: the resolution is not a power of two") == 50
    assert "... and 10 more" in message


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("new", "missing"), "missing: no such folder or zip file"),
        (("new", "void"), "void: there are no images in it"),
        (("new", "text.zip"), "text.zip: expected a folder or a zip file"),
        (("new", "in", "--resize=box"), "--resize=box needs --resolution"),
        (("new", "in", "--resolution=20"), "--resolution=20: expected a power of two"),
        (("in", "in"), "in exists and is not empty"),
        (("in", "in", "--force"), "--force replaces data sets only, and this folder holds other files: 0000.png"),
        (("text.zip", "in"), "text.zip is a file, expected a folder"),
        (("text.zip/new", "in"), "text.zip is a file, expected a folder"),
        (("/", "in"), "the data set's folder '/' has no name"),
    ],
)
def test_user_errors(tmp_path, args, message):
    save_images(tmp_path / "in", random_images(2, 8, 8))
    (tmp_path / "void").mkdir()
    (tmp_path / "void" / ".hidden").write_text("")
    (tmp_path / "text.zip").write_text("no zip file")
    assert message in fails(tmp_path, "create_from_images", *args)


@pytest.mark.parametrize(
    ("command", "files", "message"),
    [
        ("create_mnist", {}, "train-images-idx3-ubyte.gz: no such file; there are: no files"),
        ("create_mnist", {"train-images-idx3-ubyte.gz": b"no gzip"}, "damaged"),
        (
            "create_mnist",
            {"train-images-idx3-ubyte.gz": gzip.compress(b"\0\0\x08\x03")},
            "damaged, or not a file of MNIST",
        ),
        ("create_cifar10", {"data_batch_2": b""}, "data_batch_1: no such file; there are: data_batch_2"),
        ("create_cifar10", {"data_batch_1": b"cposix\nsystem\n(S'touch owned'\ntR."}, "Nothing in it was executed"),
        ("create_cifar100", {"train": b"\x80\x02}q\x00."}, "expected the Python version of CIFAR"),
        ("create_cifar100", {"train": b"\x80\x02}q"}, "damaged, or not a pickle"),
        ("create_svhn", {"train_32x32.mat": b"MATLAB"}, "damaged, or not a file of SVHN"),
        ("create_svhn", {}, "train_32x32.mat: no such file"),
        ("create_celeba", {}, "expected PNG images in a folder img_align_celeba_png, found none"),
        ("create_lsun", {}, "expected an LMDB folder with data.mdb in it"),
        ("create_lsun", {"data.mdb": b"\0" * 9000}, "cannot be read as LMDB"),
    ],
)
def test_damaged_sources(tmp_path, command, files, message):
    if command == "create_lsun":
        pytest.importorskip("lmdb")
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / "in" / name).write_bytes(content)
    assert message in fails(tmp_path, command, "new", "in")


@pytest.mark.one_stack
def test_without_optional_packages(tmp_path):
    (tmp_path / "lmdb.py").write_text("raise ImportError")
    (tmp_path / "h5py.py").write_text("raise ImportError")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    assert "pip install lmdb" in fails(tmp_path, "create_lsun", "new", ".", env=env)
    assert "pip install h5py" in fails(tmp_path, "create_from_hdf5", "new", "x.h5", env=env)


# ----------------------------------------------------------------------------
# Interruptions.


def slow_command(tmp_path):
    return start(tmp_path, "create_symbols", "out", "--num-images=100000")


def wait_for_temporary(tmp_path):
    for _ in range(600):
        found = [path for path in tmp_path.glob(".out.*.tmp") if any(p.stat().st_size for p in path.iterdir())]
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError("nothing was written")


def test_kill_leaves_no_data_set(tmp_path):
    process = slow_command(tmp_path)
    temporary = wait_for_temporary(tmp_path)
    other = succeeds(tmp_path, "create_symbols", "out2", "--num-images=3")
    assert temporary.exists()
    assert "interrupted" not in other.stderr
    process.kill()
    process.communicate()
    assert sorted(path.name for path in tmp_path.iterdir()) == [temporary.name, "out2"]
    result = succeeds(tmp_path, "create_symbols", "out", "--num-images=3", "--resolution=16")
    assert "Removing what an interrupted run left" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out2"]
    assert len(dataset(tmp_path / "out")[0]) == 3


@pytest.mark.one_stack
def test_control_c_cleans_up(tmp_path):
    process = slow_command(tmp_path)
    wait_for_temporary(tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.one_stack
def test_a_disk_that_is_full(tmp_path):
    message = fails(tmp_path, "create_symbols", "out", "--num-images=2000", shell_prefix="ulimit -f 4000")
    assert "out: writing failed: File too large" in message
    assert "Nothing was kept" in message


@pytest.mark.one_stack
def test_room_is_checked_first(tmp_path):
    message = fails(tmp_path, "create_symbols", "out", "--num-images=999999999", "--resolution=64")
    assert "needs 16.7 TB, only" in message


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="for the administrator every folder is writable")
def test_unwritable_target(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "is not writable" in fails(tmp_path, "create_symbols", "locked/out")


def test_force_replaces_when_complete(tmp_path):
    args = ("create_symbols", "out", "--resolution=16", "--num-images=4")
    succeeds(tmp_path, *args)
    before = dataset(tmp_path / "out")[0]
    assert "--force replaces a data set" in fails(tmp_path, *args)
    fails(tmp_path, *args[:2], "--num-images=2000", "--force", shell_prefix="ulimit -f 4000")
    np.testing.assert_array_equal(dataset(tmp_path / "out")[0], before)
    succeeds(tmp_path, *args, "--random-seed=5", "--force")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not np.array_equal(dataset(tmp_path / "out")[0], before)


# ----------------------------------------------------------------------------
# Symbols.


def test_symbols(tmp_path):
    result = succeeds(tmp_path, "create_symbols", "a", "--resolution=32", "--num_images=60", "--random_seed=7")
    assert "label 9: shapes" in result.stdout
    succeeds(tmp_path, "create_symbols", "b", "--resolution=32", "--num_images=60", "--random_seed=7")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / ("b" + path.name[1:])).read_bytes()
    images, labels = dataset(tmp_path / "a")
    assert images.shape == (60, 3, 32, 32)
    assert labels.shape == (60, 10)
    assert (labels.sum(axis=1) == 1).all()
    assert (labels.sum(axis=0) > 0).sum() >= 8
    corner, spread = images[:, :, :2, :2].mean(axis=(2, 3)), images.std(axis=(2, 3)).max(axis=1)
    assert corner.std(axis=0).min() > 40  # colours vary from image to image
    assert spread.min() > 15  # and every image shows something


@pytest.mark.one_stack
def test_symbols_of_other_fonts(tmp_path):
    (tmp_path / "bad.ttf").write_text("no font")
    assert "--font=bad.ttf: cannot be read as a font" in fails(tmp_path, "create_symbols", "x", "--font=bad.ttf")
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "cmr10.ttf"
    message = fails(tmp_path, "create_symbols", "x", f"--font={font}")
    assert "has no symbols ★☆" in message
    assert "--resolution=48: expected a power" in fails(tmp_path, "create_symbols", "x", "--resolution=48")


# ----------------------------------------------------------------------------
# Looking into data sets.


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    folder = tmp_path_factory.mktemp("symbols")
    succeeds(folder, "create_symbols", "sym", "--resolution=16", "--num-images=20")
    return folder / "sym"


@pytest.mark.one_stack
def test_extract_and_back(tmp_path, symbols):
    result = succeeds(tmp_path, "extract", symbols, "png")
    assert "Extracted 20 images." in result.stdout
    assert sorted(path.name for path in (tmp_path / "png").iterdir()) == [f"img{i:08d}.png" for i in range(20)]
    succeeds(tmp_path, "create_from_images", "again", "png", "--shuffle=0")
    result = succeeds(tmp_path, "compare", symbols, "again")
    assert result.stdout.splitlines()[-2:] == ["Identical images: 20 / 20", "Identical labels: 0 / 20"]
    result = succeeds(tmp_path, "compare", symbols, "again", "--ignore_labels=1")
    assert result.stdout.splitlines()[-1] == "Identical images: 20 / 20"


@pytest.mark.one_stack
def test_compare_finds_differences(tmp_path, symbols):
    succeeds(tmp_path, "extract", symbols, "png")
    PIL.Image.new("RGB", (16, 16)).save(tmp_path / "png" / "img00000003.png")
    (tmp_path / "png" / "img00000019.png").unlink()
    succeeds(tmp_path, "create_from_images", "other", "png", "--shuffle=0")
    result = succeeds(tmp_path, "compare", symbols, "other", "--ignore-labels")
    assert "Image 3 is different\nDatasets contain different number of images" in result.stdout
    assert "Identical images: 18 / 19" in result.stdout


@pytest.mark.one_stack
def test_info(tmp_path, symbols):
    result = succeeds(tmp_path, "info", symbols, "--verify")
    for line in ("images      20", "resolution  16x16", "3 (RGB)", "10 classes", "sym-r04.tfrecords", "all images are"):
        assert line in result.stdout
    damaged = tmp_path / "sym"
    damaged.mkdir()
    for path in symbols.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    content = bytearray((symbols / "sym-r04.tfrecords").read_bytes())
    content[5000] ^= 1
    (damaged / "sym-r04.tfrecords").write_bytes(content)
    assert "sym-r04.tfrecords: record 6 has a wrong checksum" in run(tmp_path, "info", damaged, "--verify").stderr
    assert "there is no data set" in fails(tmp_path, "info", "nowhere")


def test_display_without_a_screen(tmp_path, symbols):
    env = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")}
    result = succeeds(tmp_path, "display", symbols, env=env)
    assert f"Wrote the first 20 of 20 images to {tmp_path / 'sym-sheet.png'}" in result.stdout
    sheet = np.asarray(PIL.Image.open(tmp_path / "sym-sheet.png"))
    assert sheet.shape == (16, 20 * 16, 3)
    np.testing.assert_array_equal(sheet[:, 32:48].transpose(2, 0, 1), dataset(symbols)[0][2])


@pytest.mark.one_stack
def test_window(symbols, monkeypatch):
    """The window's keys; matplotlib draws it, but there is no screen."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    import matplotlib.pyplot as plt

    from dataset_tools import inspection
    from training.dataset import TFRecordDataset

    viewer = inspection.Viewer(TFRecordDataset(str(symbols), max_label_size="full"))
    for key, idx in ((" ", 1), ("right", 2), ("left", 1), ("x", 1), (None, 1), ("left", 0), ("left", 19), ("enter", 0)):
        viewer.on_key(key)
        assert viewer.idx == idx
    viewer.on_key("escape")
    assert not plt.fignum_exists(viewer.figure.number)


# ----------------------------------------------------------------------------


@pytest.mark.one_stack
def test_help_is_in_docs(monkeypatch):
    """docs/dataset_tool-help.txt holds the help of the tool and of every sub-command."""
    monkeypatch.setenv("COLUMNS", "100")
    top = succeeds(ROOT, "--help").stdout
    commands = [line.split()[0] for line in top.splitlines() if line.startswith("    ") and line[4] != " "]
    assert len(commands) == 15
    texts = [top] + [succeeds(ROOT, name, "--help").stdout for name in commands]
    documented = (ROOT / "docs" / "dataset_tool-help.txt").read_text()
    assert " ".join(documented.split()) == " ".join(" ".join(texts).split())


@pytest.mark.one_stack
def test_help_does_not_wait():
    """Nothing heavy is imported for --help."""
    code = "import sys, dataset_tool; sys.argv[1:] = ['info', '--help']\n"
    code += (
        "try: dataset_tool.main()\nexcept SystemExit: print(sorted({'tensorflow', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.one_stack
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("create_cifar", "a", "b"), "invalid choice: 'create-cifar'"),
        (("create_from_images", "a", "b", "--shuffle=2"), "invalid choice: 2"),
        (("create_from_images", "a", "b", "--crop=left"), "invalid choice: 'left'"),
        (("create_symbols", "a", "--num_image=5"), "did you mean --num-images?"),
        (("create_symbols", "a", "--num-images=0"), "integer of 1 or more"),
        (("compare", "a"), "the following arguments are required: TFRECORD_DIR_B"),
    ],
)
def test_wrong_arguments(tmp_path, args, message):
    result = run(tmp_path, *args)
    assert result.returncode == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())
    assert run(tmp_path).returncode == 1
