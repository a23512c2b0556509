"""`dataset_tool.py` with small sources of every kind: what it writes, and what it says of those that do not fit."""

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import PIL.Image
import pytest
from dataset_tool_runs import dataset, fails, random_images, save_images, shuffled, succeeds

from training.data import image_files

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


def test_pickles_of_python_2(tmp_path):
    """Opcodes as the published files have them: strings of bytes, NumPy's old module names."""
    images = random_images(2, 3, 32, 32)
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02M\x00\x0c\x86"
    array += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    array += b"T" + struct.pack("<i", images.nbytes) + images.tobytes() + b"tb"
    content = b"\x80\x02}q\x01(U\x04data" + array + b"U\x0bfine_labels](K\x01K\x03eU\x0bbatch_labelU\x02hiu."
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train").write_bytes(content)
    succeeds(tmp_path, "create_cifar100", "out", "in")
    written, labels = dataset(tmp_path / "out")
    np.testing.assert_array_equal(written, images[shuffled(2)])
    np.testing.assert_array_equal(labels, np.eye(4, dtype=np.float32)[[1, 3]][shuffled(2)])


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
    assert "  odd.png: 218x170 RGB" in fails(tmp_path, "create_celeba", "new", "celeba")


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
    assert "Skipping key1b: not an image" in result.stdout
    assert "Added 4 images." in result.stdout
    boxes = ((4, 0, 44, 40), (4, 0, 28, 24), (28, 0, 52, 24), (0, 0, 16, 16))
    expected = [img.crop(box).resize((16, 16), PIL.Image.LANCZOS) for img, box in zip(lsun, boxes, strict=True)]
    np.testing.assert_array_equal(dataset(tmp_path / "out")[0], [np.asarray(i).transpose(2, 0, 1) for i in expected])
    succeeds(tmp_path, "create_lsun", "two", "lsun", "--resolution=16", "--max_images=2")
    assert len(dataset(tmp_path / "two")[0]) == 2

    result = succeeds(tmp_path, "create_lsun_wide", "wide", "lsun", "--width=32", "--height=24")
    assert "key2: 24x80 is too small" in result.stdout
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


@pytest.mark.one_stack
def test_files_beside_class_folders(tmp_path):
    for name in "ab":
        save_images(tmp_path / "in" / name, random_images(2, 8, 8))
    for name in ("Thumbs.db", "a/Thumbs.db", "desktop.ini"):
        (tmp_path / "in" / name).write_bytes(b"of desktops")
    assert "label 1: b (2 images)" in succeeds(tmp_path, "create_from_images", "out", "in").stdout
    PIL.Image.new("P", (8, 8)).save(tmp_path / "in" / "a" / "colours.png")
    (tmp_path / "in" / "readme.txt").write_text("no image")
    message = fails(tmp_path, "create_from_images", "new", "in")
    assert "1 of 5 images does not fit" in message
    assert "\n  a/colours.png: 8x8 palette: expected RGB, RGBA or grayscale\n" in message
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "readme.txt").write_text("no image")
    message = fails(tmp_path, "create_from_images", "new", "texts")
    assert "texts: there are no images in it\nLeft out 1 file: 1 not an image (readme.txt)" in message


@pytest.mark.one_stack
def test_files_beside_dataset_json(tmp_path):
    save_images(tmp_path / "in", random_images(2, 8, 8), ["a.png", "b.png"])
    (tmp_path / "in" / "dataset.json").write_text(json.dumps({"labels": [["a.png", 0], ["b.png", 1]]}))
    (tmp_path / "in" / "readme.txt").write_text("no image")
    result = succeeds(tmp_path, "create_from_images", "out", "in")
    assert "Left out 1 file: 1 not an image (readme.txt)" in result.stdout
    assert len(dataset(tmp_path / "out")[1]) == 2


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


def test_notes_about_images(tmp_path):
    images = random_images(3, 16, 16, 3)
    save_images(tmp_path / "in", images)
    rotated = PIL.Image.fromarray(images[0])
    exif = rotated.getexif()
    exif[0x0112] = 6
    rotated.save(tmp_path / "in" / "0000.png", exif=exif)
    result = succeeds(tmp_path, "create_from_images", "out", "in", "--resolution=32", "--shuffle=0")
    assert "Resizing 3 images to 32x32 (lanczos); 3 smaller than that, which will look blurred." in result.stdout
    assert "Turning 1 image upright, by EXIF orientation" in result.stdout
    expected = PIL.Image.fromarray(np.rot90(images[0], -1)).resize((32, 32), PIL.Image.LANCZOS)
    np.testing.assert_array_equal(dataset(tmp_path / "out")[0][0], np.asarray(expected).transpose(2, 0, 1))


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
        "b.png: 8x8 palette: expected RGB, RGBA or grayscale",
        "c.tif: 8x8 CMYK: expected",
        "d.png: 8x8 RGB with transparency: most images are RGB",
        "e.png: 8x8 16 bits per channel: expected",
        "f.png: 8x8 grayscale: most images are RGB",
        "g.png: 8x8 16 bits per channel: expected",
        "What would help: --convert=rgba, --convert=rgb or --convert=gray (4 images), "
        "--max-value, what is white, or --convert=rgba, --convert=rgb or --convert=gray (2 images)",
    ):
        assert line in message
    result = succeeds(tmp_path, "create_from_images", "out", "in", "--convert=rgb", "--shuffle=0")
    assert "Converting to RGB: 2 images of 16 bits per channel, 1 palette image" in result.stdout
    written = dataset(tmp_path / "out")[0]
    np.testing.assert_array_equal(written[0], rgb.transpose(2, 0, 1))
    np.testing.assert_array_equal(written[3, :, :, 4:], rgb.transpose(2, 0, 1)[:, :, 4:])
    assert not written[3, :, :, :4].any()
    np.testing.assert_array_equal(written[4], np.tile(np.rint(deep / 257).astype(np.uint8), [3, 1, 1]))
    np.testing.assert_array_equal(written[5], np.tile(rgb[:, :, 0], [3, 1, 1]))
    succeeds(tmp_path, "create_from_images", "gray", "in", "--convert=gray", "--shuffle=0")
    np.testing.assert_array_equal(dataset(tmp_path / "gray")[0][5, 0], rgb[:, :, 0])


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def deep_rgb_png(values):
    """A PNG of 16 bits per channel, gray as RGB: Pillow cannot write it."""
    height, width = values.shape
    rows = np.repeat(values[:, :, np.newaxis], 3, axis=2).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(raw))
        + png_chunk(b"IEND", b"")
    )


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
    PIL.Image.new("P", (60, 50)).save(tmp_path / "in" / "both.png")
    message = fails(tmp_path, "create_from_images", "new", "in")
    for line in (
        "6 of 9 images do not fit; nothing was written:",
        "  cut.png: cannot be read (",
        "  empty.png: cannot be read (the file is empty)",
        "  size.png: 48x48 RGB: most images are 32x32",
        "  small.png: 16x16 RGB: most images are 32x32",
        "  wide.png: 32x40 RGB: most images are 32x32",
        "  both.png: 50x60 palette: expected RGB, RGBA or grayscale; is no small base times a power of two, nearest",
        "--resolution=32 (4 images)",
        "--crop=center",
        "removing what is not a whole image (2 images)",
    ):
        assert line in message
    save_images(tmp_path / "many", random_images(60, 23, 23))
    message = fails(tmp_path, "create_from_images", "new", "many")
    assert message.count("23x23 grayscale: is no small base times a power of two, nearest") == 30
    assert "... and 30 more" in message


@pytest.mark.one_stack
def test_damaged_images_found_while_writing(tmp_path):
    """Their headers are all right."""
    save_images(tmp_path / "in", random_images(20, 32, 32, 3))
    for name in ("0003.png", "0017.png"):
        os.truncate(tmp_path / "in" / name, 1000)
    message = fails(tmp_path, "create_from_images", "new", "in")
    assert "2 of 20 images do not fit; nothing was written:\n  0003.png: cannot be read (" in message
    assert "\n  0017.png: cannot be read (" in message
    assert "What would help: removing what is not a whole image (2 images)" in message


@pytest.mark.one_stack
def test_each_image_is_decoded_once(tmp_path, monkeypatch):
    from dataset_tools import images

    opened = []

    def decode(open_file, reading):
        opened.append(open_file)
        return image_files.decode(open_file, reading)

    monkeypatch.setattr(images, "decode", decode)
    save_images(tmp_path / "in", random_images(9, 8, 8))
    os.rename(tmp_path / "in" / "0003.png", tmp_path / "in" / "0003")  # known by its content
    succeeds(tmp_path, "create_from_images", "out", "in")
    assert len(opened) == len(dataset(tmp_path / "out")[0]) == 9


@pytest.mark.one_stack
def test_orientation_behind_the_pixels(tmp_path):
    """PNG files may have it there; it is told, though later."""
    save_images(tmp_path / "in", random_images(3, 8, 8))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "in" / "0001.png"
    content, end = path.read_bytes()[:-12], path.read_bytes()[-12:]
    path.write_bytes(content + png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + end)
    assert "Turning 1 image upright" in succeeds(tmp_path, "create_from_images", "out", "in").stdout


@pytest.mark.one_stack
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("new", "missing"), "missing: no such folder or zip file"),
        (("new", "void"), "void: there are no images in it"),
        (("new", "text.zip"), "text.zip: expected a folder or a zip file"),
        (("new", "in", "--resize=box"), "--resize=box needs --resolution"),
        (("new", "in", "--resolution=23"), "--resolution=23: height and width must be a small base"),
        (("new", "in", "--resolution=640x384", "--base=4x3"), "640x384: 640x384 is not 4x3 times a power of two; "),
        (("new", "in", "--base=40"), "--base=40: expected one of fewer than 512 pixels"),
        (("new", "in", "--crop=650x400"), "--crop=650x400: height and width must be a small base"),
        (("new", "in", "--crop=64x32", "--resolution=64", "--resize=box"), "--crop=64x32 is not of the proportions of"),
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


@pytest.mark.one_stack
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
        ("create_cifar10", {"data_batch_1": b"cposix\nsystem\n(S'touch owned'\ntR."}, "asks for posix.system"),
        ("create_cifar100", {"train": b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR."}, "damaged or not a pickle of arrays"),
        ("create_cifar100", {"train": b"\x80\x02}q\x00."}, "expected the Python version of CIFAR"),
        ("create_cifar100", {"train": b"\x80\x02}q"}, "damaged or not a pickle of arrays"),
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
