"""Small files of images, labels and options that would take gigabytes or for ever."""

import gzip
import io
import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from dataset_tools import arrays
from dnnlib.errors import UserError
from projection import sources
from tests.helpers.limits import within
from training.data.containers import Container
from training.data.image_files import Reading
from training.data.image_listing import find_images
from training.options.loop_arguments import problems_of
from training.options.yaml_file import read_yaml
from training.run_folder import options_file


def refused(function, **limits):
    """The message of the user error that a function raises."""
    message = within(function, errors=(UserError,), **limits)
    assert message and len(message.splitlines()) <= 40 and message.replace("\n", "").isprintable()
    return message


def test_zip_files_that_unpack_to_many_times_their_size(tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset.json", '{"labels":[' + "[]," * 20_000_000 + "]}")
        archive.writestr("a.bmp", bytes(300 << 20))
        archive.writestr("b.json", "[]" + " " * (10 << 20))
    assert path.stat().st_size < 1 << 20
    container = Container(str(path))
    assert "unpacks to" in refused(lambda: container.read("dataset.json"))
    assert len(container.read("b.json")) == 2 + (10 << 20)
    with pytest.raises(ValueError, match="unpacks to"):
        container.open("a.bmp")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="of systems with named pipes")
def test_pipes_and_devices_among_images(tmp_path):
    """Opening the one, and reading the other, would never end."""
    for name in ("pipe", "pipe.png"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    container = Container(str(tmp_path))
    names, others = find_images(container, Reading())
    assert (
        names == ["image.png", "pipe.png", "zero.png"] and others == "Left out 1 file: 1 pipe, socket or device (pipe)"
    )
    message = refused(lambda: sources.check_readable([str(tmp_path / name) for name in names]))
    assert message.splitlines() == [f"{tmp_path / name}: pipe, socket or device" for name in names[1:]]


def test_mnist_that_unpacks_to_many_times_its_size(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(bytes([0, 0, 8, 3]) + np.array([200_000, 28, 28], ">i4").tobytes() + bytes(200_000 * 28 * 28))
    assert "damaged" in refused(lambda: arrays._read_idx(str(tmp_path), path.name, 3))


def test_svhn_that_unpacks_to_many_times_its_size(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    images = np.zeros([32, 32, 3, 60_000], np.uint8)
    scipy_io.savemat(tmp_path / "train_32x32.mat", {"X": images, "y": np.ones([60_000, 1])}, do_compression=True)
    assert "the shape (32, 32, 3, 60000)" in refused(lambda: arrays._read_svhn(str(tmp_path)))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1, 1]\n"
        + "".join(f"b{n}: &b{n} [*{f'b{n - 1}' if n else 'a'}, *{f'b{n - 1}' if n else 'a'}]\n" for n in range(60)),
        "".join(f"option{n}: {n}\n" for n in range(20_000)),
        "a: " + "[" * 40_000,
        "a: &a [*a]",
        "a: 2020-99-99",
        "a: " + "9" * 5000,
        "a: !!int x",
        "a: 1\n? [1]\n: 2",
        '"a\\e[31m": 1\n"a\\e[31m": 1',
    ],
)
def test_options_in_yaml(tmp_path, text):
    path = tmp_path / "options.yaml"
    path.write_text(text)
    assert str(path) in refused(lambda: read_yaml(str(path)))


def test_many_options_that_do_not_exist():
    messages = problems_of({f"gamme{n}\x1b": n for n in range(10_000)})
    assert len(messages) == 31 and messages[-1] == "... and more" and "\x1b" not in "".join(messages)


@pytest.mark.parametrize(
    "changes",
    [
        {"a": {"__range__": [0, 10**15]}},
        {"a": {"__range__": "abc"}},
        {"G_args": 3, "dataset_args": "\u202e\x1b[2J" * 100, "sched_args": {"\x1b[2J_dict": 3}},
        {"num_gpus": "\x1b[2J" * 1000},
    ],
)
def test_options_of_runs(tmp_path, changes):
    options = {"run_func_name": options_file.RUN_FUNCTION, "num_gpus": 1, "data_dir": "x", "tf_config": {}}
    options |= {"G_args": {}, "D_args": {}, "sched_args": {"G_lrate_dict": {"9" * 5000: 1}}}
    options |= {"dataset_args": {"tfrecord_dir": "x"}, **changes}
    (tmp_path / options_file.TRAINING_OPTIONS).write_text(json.dumps(options))
    refused(lambda: options_file.load_training_options(str(tmp_path)))


def test_arrays_that_unpack_to_many_times_their_size():
    """See tests/generation/test_vector_files.py; a few times as many are read."""
    from dnnlib.formats.arrays import ArrayFileError, load_npz

    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros(20 << 20, np.uint8), b=np.zeros(20 << 20, np.uint8))
    with load_npz(file, 50 << 20) as npz:
        assert len(npz["a"]) == 20 << 20
    with pytest.raises(ArrayFileError, match="more bytes than the file"):
        load_npz(file, 30 << 20)
