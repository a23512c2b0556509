"""Data sets from files of arrays: MNIST, CIFAR, SVHN, HDF5."""

import contextlib
import glob
import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from dnnlib.errors import UserError, enumerated, reason_of, short
from dnnlib.formats import safe_pickle
from dnnlib.formats.stand_ins import ARRAYS
from training.data.labels import one_hot, read_label_file
from training.data.tfrecord_export import TFRecordExporter, shape_problem

# ----------------------------------------------------------------------------
# The commands. Images are shuffled in the official way unless said otherwise, labels are one-hot.


def create_mnist(tfrecord_dir: str, mnist_dir: str, force: bool = True) -> None:
    """Writes the training images of MNIST, 28x28 in a frame of 2 pixels, with the digits as labels.

    `mnist_dir` holds `train-images-idx3-ubyte.gz` and `train-labels-idx1-ubyte.gz`. Raises UserError.
    """
    print(f'Loading MNIST from "{mnist_dir}"')
    images = _mnist_images(mnist_dir)
    labels = _read_idx(mnist_dir, "train-labels-idx1-ubyte.gz", dimensions=1)
    _export(tfrecord_dir, images, labels, force)


def create_mnistrgb(
    tfrecord_dir: str, mnist_dir: str, num_images: int = 1000000, random_seed: int = 123, force: bool = True
) -> None:
    """Writes `num_images` colour images whose three channels are random images of MNIST, without labels.

    `mnist_dir` holds `train-images-idx3-ubyte.gz`. Raises UserError.
    """
    print(f'Loading MNIST from "{mnist_dir}"')
    images = _mnist_images(mnist_dir)[:, 0]
    random = np.random.RandomState(random_seed)
    with TFRecordExporter(tfrecord_dir, num_images, force=force) as exporter:
        for _ in range(num_images):
            exporter.add_image(images[random.randint(len(images), size=3)])


def create_cifar10(tfrecord_dir: str, cifar10_dir: str, ignore_labels: int = 0, force: bool = True) -> None:
    """Writes the training images of CIFAR-10 with their classes, or without if `ignore_labels` is 1.

    `cifar10_dir` holds the Python version, `data_batch_1` to `data_batch_5`. Raises UserError.
    """
    print(f'Loading CIFAR-10 from "{cifar10_dir}"')
    batches = (_read_cifar(cifar10_dir, f"data_batch_{batch}", "labels") for batch in range(1, 6))
    images, classes = _joined(batches)
    _export(tfrecord_dir, images, None if ignore_labels else classes, force)


def create_cifar100(tfrecord_dir: str, cifar100_dir: str, force: bool = True) -> None:
    """Writes the training images of CIFAR-100 with their fine classes.

    `cifar100_dir` holds the Python version, `train`. Raises UserError.
    """
    print(f'Loading CIFAR-100 from "{cifar100_dir}"')
    _export(tfrecord_dir, *_read_cifar(cifar100_dir, "train", "fine_labels"), force)


def create_svhn(tfrecord_dir: str, svhn_dir: str, force: bool = True) -> None:
    """Writes the training images of SVHN with the digits as labels.

    `svhn_dir` holds `train_32x32.mat` as published, or `train_1.pkl` to `train_3.pkl` as the official tool takes them.
    Raises UserError.
    """
    print(f'Loading SVHN from "{svhn_dir}"')
    _export(tfrecord_dir, *_read_svhn(svhn_dir), force)


def create_from_hdf5(tfrecord_dir: str, hdf5_filename: str, shuffle: int = 1, force: bool = True) -> None:
    """Writes the largest data set of an HDF5 file whose name starts with `data`, uint8 [N, C, H, W].

    Labels are taken from `NAME-labels.npy` beside `NAME.h5` if it is there. `shuffle`: 1 to shuffle, 0 not to.
    Raises UserError.
    """
    try:
        import h5py
    except ImportError:
        raise UserError("reading HDF5 needs the package h5py: pip install h5py") from None
    print(f'Loading HDF5 archive from "{hdf5_filename}"')
    path = _existing(os.path.expanduser(hdf5_filename))
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(path, "r"))
            images = _largest_data(file, path, h5py.Dataset)
        except UserError:
            raise
        except Exception as error:  # h5py raises many kinds
            raise UserError(f"{path}: cannot be read as HDF5 ({reason_of(error)})") from None
        label_path = os.path.splitext(path)[0] + "-labels.npy"
        if has_labels := os.path.exists(label_path):
            read_label_file(label_path, len(images))  # for its checks
        with TFRecordExporter(tfrecord_dir, len(images), force=force) as exporter:
            order = exporter.choose_shuffled_order() if shuffle else np.arange(len(images))
            for idx in order:
                try:
                    img = images[idx]
                except Exception as error:
                    raise UserError(f"{path}: image {idx} cannot be read ({reason_of(error)})") from None
                exporter.add_image(img)
            if has_labels:
                exporter.add_labels(np.load(label_path)[order])


def _export(tfrecord_dir: str, images: np.ndarray, classes: np.ndarray | None, force: bool) -> None:
    """Writes images, uint8 [N, C, H, W], and their classes, [N], if any, in the official order of shuffled images."""
    with TFRecordExporter(tfrecord_dir, len(images), force=force) as exporter:
        order = exporter.choose_shuffled_order()
        for idx in order:
            exporter.add_image(images[idx])
        if classes is not None:
            exporter.add_labels(one_hot(tfrecord_dir, classes)[order])


# ----------------------------------------------------------------------------
# Readers.


def _existing(path: str) -> str:
    if not os.path.isfile(path):
        folder = os.path.dirname(path) or "."
        there = sorted(os.listdir(folder))[:8] if os.path.isdir(folder) else None
        note = f"; there are: {', '.join(there) or 'no files'}" if there is not None else ", nor its folder"
        raise UserError(f"{path}: no such file{note}")
    return path


def _most_unpacked(path: str) -> int:
    """Bytes that a file may unpack to: 50 times as many as it has, or a few. Images of digits have 5 times as many."""
    return max(50 * os.path.getsize(path), 1 << 26)


def _read_idx(folder: str, name: str, dimensions: int) -> np.ndarray:
    """An array of MNIST's format: bytes 0, 0, 8 (uint8), the number of dimensions, the dimensions, the values."""
    path = _existing(os.path.join(os.path.expanduser(folder), name))
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(_most_unpacked(path))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged ({reason_of(error)})") from None
    start = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:start]) if len(content) >= start else ()
    if content[:4] != bytes([0, 0, 8, dimensions]) or math.prod(shape) != len(content) - start:
        raise UserError(f"{path}: damaged, or not a file of MNIST")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _mnist_images(folder: str) -> np.ndarray:
    """Images of MNIST, uint8 [N, 1, 32, 32]."""
    images = _read_idx(folder, "train-images-idx3-ubyte.gz", dimensions=3)
    if images.shape[1:] != (28, 28) or not len(images):
        raise UserError(f"{folder}/train-images-idx3-ubyte.gz: expected images of 28x28, got {list(images.shape)}")
    return np.pad(images[:, np.newaxis], [(0, 0), (0, 0), (2, 2), (2, 2)])


def _read_pickle(path: str) -> Any:
    """The dicts, lists and tuples of numbers, strings and NumPy arrays in a pickle; nothing in it is executed."""
    try:
        with open(_existing(path), "rb") as file:
            return safe_pickle.load(file, path, "pickle of arrays", ARRAYS)
    except (safe_pickle.UnsafePickleError, safe_pickle.DamagedPickleError) as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _read_cifar(folder: str, name: str, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 [N, 3, 32, 32], and classes, [N], of a file of the Python version of CIFAR."""
    path = os.path.join(os.path.expanduser(folder), name)
    content = _read_pickle(path)
    try:
        images, labels = np.asarray(content["data"]), content[label_key]
        return _checked(images.reshape(-1, 3, 32, 32), np.asarray(labels), path)
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: expected the Python version of CIFAR, a dict with data and {label_key}") from None


def _read_svhn(folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 [N, 3, 32, 32], and digits, [N]."""
    folder = os.path.expanduser(folder)
    path = os.path.join(folder, "train_32x32.mat")
    if not os.path.exists(path) and glob.glob(os.path.join(glob.escape(folder), "train_*.pkl")):
        return _joined(_read_svhn_pickle(os.path.join(folder, f"train_{batch}.pkl")) for batch in range(1, 4))

    import scipy.io

    _existing(path)
    try:
        for name, shape, _type in scipy.io.whosmat(path):
            if name in ("X", "y") and math.prod(shape) > _most_unpacked(path):
                raise ValueError(f"{name} is said to have the shape {short(shape)}")
        content = scipy.io.loadmat(path, variable_names=["X", "y"])
        images, labels = content["X"].transpose(3, 2, 0, 1), content["y"][:, 0] % 10  # [H, W, C, N]; 10 stands for 0
    except Exception as error:  # of any kind: the file is damaged
        raise UserError(f"{path}: damaged, or not a file of SVHN ({reason_of(error, with_kind=True)})") from None
    return _checked(images, labels, path)


def _read_svhn_pickle(path: str) -> tuple[np.ndarray, np.ndarray]:
    content = _read_pickle(path)
    if not isinstance(content, (list, tuple)) or len(content) < 2:
        raise UserError(f"{path}: expected images and labels")
    return _checked(np.asarray(content[0]), np.asarray(content[1]), path)


def _joined(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _checked(images: np.ndarray, labels: np.ndarray, path: str) -> tuple[np.ndarray, np.ndarray]:
    if images.dtype != np.uint8 or images.shape[1:] != (3, 32, 32) or not len(images):
        raise UserError(f"{path}: expected uint8 images [N, 3, 32, 32], got {images.dtype} {list(images.shape)}")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or not 0 <= labels.min() <= labels.max() < 256:
        raise UserError(f"{path}: expected {len(images)} class numbers, got {labels.dtype} {list(labels.shape)}")
    return images, labels.astype(np.int64)


def _largest_data(file: Any, path: str, dataset_type: type) -> Any:
    found = [value for key, value in file.items() if key.startswith("data") and isinstance(value, dataset_type)]
    found = [value for value in found if value.ndim == 4 and len(value)]
    if not found:
        there = enumerated(list(file), 8) or "nothing"
        raise UserError(f"{path}: expected data sets [N, C, H, W] named data..., found {there}")
    images = max(found, key=lambda value: math.prod(value.shape[2:]))
    problem = shape_problem(images.shape[1:]) or (None if images.dtype == np.uint8 else "expected uint8")
    if problem:
        raise UserError(f"{path}: {images.name} is {images.dtype} {list(images.shape)}: {problem}")
    return images
