"""Data sets for training: `load_dataset`, `TFRecordDataset`, `SyntheticDataset`.

There are two ways to read. `order` and `read` go by position: which image stands at a position of the endless shuffled
stream depends on a seed only, so that the state of reading is one integer, and several workers share the stream by
index. `configure`, `get_minibatch_np` and `get_minibatch_tf` are the official way, one stream per data set object.

Difference from the original: every epoch is a full permutation of the data set, not what a buffer of `shuffle_mb`
happens to hold; `shuffle_mb=0` still means no shuffling. There is no state in TensorFlow, nor any pipeline of it, so
`prefetch_mb` and `buffer_mb` have no effect.
"""

import contextlib
import functools
import hashlib
import math
import os
import threading
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

import dnnlib
from dnnlib.errors import UserError
from dnnlib.progress import Progress
from dnnlib.resolutions import Resolution, Size, resolution_of, size_text

from .contents import Contents, describe
from .find_dataset import open_source
from .image_check import ImageCheck
from .image_files import Reading
from .image_sources import ImageSource, ZeroSource
from .labels import are_classes, cut_labels, find_label_file, read_label_file

_DIGEST_IMAGES = 32


class Dataset:
    """What all data sets have in common: order, minibatches, random labels.

    Args:
        source: of the images.
        resolution: to read.
        labels: [num_images, label_size] of `label_dtype`.
        dynamic_range: [lowest, highest] value of pixels.
        label_dtype: of labels.

    Attributes:
        num_images: number of images.
        shape: [C, H, W] at full resolution.
        resolution, resolution_log2: H where W is the same, else [H, W]; and its level, see `dnnlib.resolutions`.
        dtype: of images.
        dynamic_range: [lowest, highest] value of pixels.
        label_size: columns of labels; 0 without labels.
        label_dtype: of labels.
        label_names: of the columns of labels there are, asked for or not: names of the classes, or numbers.
        has_classes: whether these labels are one-hot.
        shuffle: whether the stream is shuffled.
        repeat: whether the official stream goes on after the last image.
    """

    def __init__(
        self,
        source: ImageSource,
        resolution: Resolution,
        labels: np.ndarray,
        dynamic_range: Sequence[float] = (0, 255),
        label_dtype: str = "float32",
    ):
        self._source = source
        self.shape = [source.channels, resolution.height, resolution.width]
        self.resolution = resolution.argument
        self.resolution_log2 = resolution.log2
        self.dtype = source.dtype
        self.dynamic_range = list(dynamic_range)
        self.num_images = len(labels)
        self.label_size = labels.shape[1]
        self.label_dtype = label_dtype
        self.label_names = [str(column) for column in range(labels.shape[1])]
        self.has_classes = False
        self.shuffle = True
        self.repeat = True
        self._np_labels = labels  # official name
        self._tf_labels: Any = None
        self._lock = threading.Lock()
        self._configured: tuple[int, int] | None = None  # minibatch size and lod of the official stream
        self._position = 0  # in the official stream

    def close(self) -> None:
        """Closes files."""
        self._source.close()

    # By position.

    def order(self, seed: int, start: int, count: int) -> np.ndarray:
        """Which images stand at positions `start` to `start + count - 1` of the endless stream, int64 [count].

        Each stretch of `num_images` positions is a permutation of the data set that depends on `seed` (0 or more) and
        its number only; without shuffling, it is the order of storage.
        """
        if min(seed, start, count) < 0:
            raise ValueError(f"seed {seed}, start {start} and count {count} must not be negative")
        positions = np.arange(start, start + count, dtype=np.int64)
        epochs, within = np.divmod(positions, self.num_images)
        if not self.shuffle:
            return within
        parts = [_permutation(self.num_images, int(seed), int(e))[within[epochs == e]] for e in np.unique(epochs)]
        return np.concatenate([within[:0], *parts])

    def read(self, indices: np.ndarray, lod: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels by index, from any thread.

        Args:
            indices: integers [N] from 0 to num_images - 1.
            lod: 0 is the full resolution, every further one halves it.

        Returns:
            Images [N, C, H >> lod, W >> lod] of `dtype`, and labels [N, label_size].
        """
        indices = np.asarray(indices, np.int64)
        if indices.ndim != 1 or (indices.size and (indices.min() < 0 or indices.max() >= self.num_images)):
            raise IndexError(f"indices must be a list of numbers from 0 to {self.num_images - 1}")
        most = math.gcd(*self.shape[1:])
        most = (most & -most).bit_length() - 1
        if lod != int(lod) or not 0 <= lod <= most:
            raise ValueError(f"lod must be an integer from 0 to {most}, got {lod}")
        return self._source.read(indices, self.resolution_log2 - int(lod)), self._np_labels[indices]

    @property
    def image_names(self) -> Sequence[str]:
        """Of the images, relative paths with `/`; empty where they have none."""
        return self._source.names[: self.num_images]

    def open_image(self, index: int) -> BinaryIO | None:
        """The file of an image at the stored resolution; None where images are stored as pixels.

        Any exception means that it cannot be read.
        """
        return self._source.open_image(index, self._source.levels[0])

    def labels_of(self, indices: np.ndarray) -> np.ndarray:
        """Labels [N, label_size] of images by index, without reading these."""
        return self._np_labels[indices]

    def digest(self) -> str:
        """A hash that changes when the images do: of names, sizes and times of their files, and of some images."""
        files = [(os.path.basename(path), os.stat(path)) for path in self._source.files()]
        facts = [self.num_images, self.shape, self.dtype, [(name, s.st_size, s.st_mtime_ns) for name, s in files]]
        facts += self._source.changes
        result = hashlib.sha256(repr(facts).encode())
        some = np.unique(np.linspace(0, self.num_images - 1, _DIGEST_IMAGES).astype(np.int64))
        result.update(self.read(some)[0].tobytes())
        return result.hexdigest()

    def contents(self) -> Contents:
        """What a training depends on, to tell later what has changed. Raises UserError if it cannot be read."""
        if self.has_classes and self.label_size == len(self.label_names):
            labels = self._np_labels.argmax(axis=1)
        else:
            labels = [zlib.crc32(row.tobytes()) for row in self._np_labels]
        return Contents(
            images=self._source.checksums(self.num_images),
            labels=np.asarray(labels, np.uint32),
            names=list(self.image_names),
            shape=tuple(self.shape),
            levels=tuple(self._source.levels),
            label_names=tuple(self.label_names),
            has_classes=self.has_classes,
            label_size=self.label_size,
        )

    def describe(self) -> str:
        """One line for people: '300 images, 2 classes: cats, dogs'."""
        return describe(self.num_images, self.label_names, self.has_classes)

    def verify(self, verbose: bool = True) -> None:
        """Reads all images and checks them, showing progress. Raises UserError with everything that is wrong."""
        progress = Progress(self._source.count * len(self._source.levels), "images")
        self._source.verify_images(progress.update if verbose else lambda count: None)
        if verbose:
            progress.finish()

    def image_check(self) -> ImageCheck:
        """A check of all images, for the start of a training."""
        return ImageCheck(self._source, self.num_images)

    # The official stream.

    def configure(self, minibatch_size: int, lod: int = 0) -> None:
        """Sets what the next minibatches are. A change starts the stream from the beginning."""
        lod = int(np.floor(lod))
        if minibatch_size < 1:
            raise ValueError(f"minibatch_size must be 1 or more, got {minibatch_size}")
        if self._configured != (minibatch_size, lod):
            self._configured = minibatch_size, lod
            self._position = 0

    def get_minibatch_np(self, minibatch_size: int, lod: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The next images [N, C, H >> lod, W >> lod] and labels [N, label_size].

        With repeat=False, the last minibatch may be smaller, and after it tf.errors.OutOfRangeError is raised.
        """
        self.configure(minibatch_size, lod)
        return self._next_minibatch()

    def get_minibatch_tf(self) -> tuple[Any, Any]:
        """Tensors of the next images and labels of the configured stream; in a tf.function, next at each call."""
        import tensorflow as tf

        if self._configured is None:
            raise RuntimeError("get_minibatch_tf: call configure() first")
        _, lod = self._configured
        images, labels = tf.numpy_function(self._next_minibatch, [], [self.dtype, self.label_dtype], stateful=True)
        images.set_shape([None, self.shape[0], self.shape[1] >> lod, self.shape[2] >> lod])
        labels.set_shape([None, self.label_size])
        return images, labels

    def _next_minibatch(self) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            minibatch_size, lod = self._configured
            start, count = self._position, minibatch_size
            if not self.repeat:
                count = min(count, self.num_images - start)
            self._position += count
        if count == 0:
            import tensorflow as tf

            raise tf.errors.OutOfRangeError(None, None, "end of the data set")
        return self.read(self.order(0, start, count), lod)

    # Random labels.

    def get_random_labels_tf(self, minibatch_size: Any) -> Any:
        """Labels [minibatch_size, label_size] of random images, drawn from `dnnlib.tflib.random_stream`."""
        import tensorflow as tf

        from dnnlib.tflib import random_stream

        if self.label_size == 0:
            return tf.zeros([minibatch_size, 0], self.label_dtype)
        if self._tf_labels is None:
            with tf.init_scope(), tf.device("/cpu:0"):  # once, outside of the graph in which it is used
                self._tf_labels = tf.constant(self._np_labels, self.label_dtype)
        chosen = random_stream.uniform([minibatch_size], 0, self.num_images, dtype=tf.int32)
        with tf.device("/cpu:0"):  # so that GPUs are sent the chosen rows, and not the table
            return tf.gather(self._tf_labels, chosen)

    def get_random_labels_np(self, minibatch_size: int) -> np.ndarray:
        """Labels [minibatch_size, label_size] of random images, drawn from `np.random`."""
        if self.label_size == 0:
            return np.zeros([minibatch_size, 0], self.label_dtype)
        return self._np_labels[np.random.randint(self.num_images, size=[minibatch_size])]


@functools.lru_cache(maxsize=4)  # the current epoch and the next, of two data sets
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch]))).permutation(count)


def _lower(full: Resolution, size: Size) -> Resolution | None:
    """The resolution of a size that images of another can be halved to; None for others."""
    with contextlib.suppress(ValueError):
        lower = resolution_of(size, full.base)
        if lower.log2 <= full.log2:
            return lower
    return None


@functools.lru_cache(maxsize=64)  # metrics open the data set at each snapshot
def _say_once(line: str) -> None:
    print(line)


class TFRecordDataset(Dataset):
    """Images of a folder of tfrecords; also of an image folder, a zip file or an LMDB folder.

    Args:
        tfrecord_dir: folder or file with the images. What it is, is found out by looking.
        resolution: to read, if lower than that of the images: the side of a square, or [height, width].
        label_file: path of the labels, or name in `tfrecord_dir`; None finds `*.labels` there.
        max_label_size: 0 for no labels, 'full' for all columns, or how many columns at most.
        max_images: use only so many of the images, from the first.
        repeat: go on after the last image (`get_minibatch_*` only).
        shuffle_mb: 0 for no shuffling; other values have no effect.
        prefetch_mb, buffer_mb: have no effect.
        num_threads: threads that decode images, of all but raw tfrecords. None: one for each core, up to 8.
        exif, max_value: how these are read, see `image_files.Reading`.

    Attributes besides those of `Dataset`:
        tfrecord_dir, label_file: paths.
        kind: 'tfrecords', 'folder', 'zip' or 'lmdb'.
        stored_label_size: columns of labels there are, asked for or not.

    Raises:
        UserError: for everything that is missing, damaged or does not fit together, all in one message.
    """

    def __init__(
        self,
        tfrecord_dir: str,
        resolution: Size | None = None,
        label_file: str | None = None,
        max_label_size: int | str = 0,
        max_images: int | None = None,
        repeat: bool = True,
        shuffle_mb: int = 4096,
        prefetch_mb: int = 2048,
        buffer_mb: int = 256,
        num_threads: int | None = None,
        exif: str = "upright",
        max_value: float | None = None,
    ):
        self.tfrecord_dir = os.fspath(tfrecord_dir)
        if max_images is not None and max_images < 1:
            raise UserError(f"max_images={max_images}, expected 1 or more")
        source = open_source(self.tfrecord_dir, num_threads, Reading(exif, max_value))
        try:
            for note in source.notes:
                _say_once(f"{self.tfrecord_dir}: {note}")
            found = source.resolution if resolution is None else _lower(source.resolution, resolution)
            if found is None:
                sizes = [source.resolution.size(level) for level in reversed(source.resolution.levels)]
                can_be = ", ".join(str(h) if h == w else size_text((h, w)) for h, w in sizes)
                raise UserError(f"resolution={resolution}: {self.tfrecord_dir} can be read at {can_be}")
            self.label_file = find_label_file(self.tfrecord_dir, label_file)
            labels = read_label_file(self.label_file, source.count) if self.label_file else source.labels
            self.kind = source.kind
            self.stored_label_size = 0 if labels is None else labels.shape[1]
            count = min(source.count, max_images or source.count)
            super().__init__(source, found, cut_labels(labels, count, max_label_size))
            if labels is not None:
                numbers = [str(column) for column in range(labels.shape[1])]
                has_names = source.labels is labels or (label_file is None and self.kind == "tfrecords")
                named = list(source.label_names) if has_names else []
                self.label_names = named if len(named) == len(numbers) else numbers
                self.has_classes = are_classes(labels)
        except BaseException:
            source.close()
            raise
        self.shuffle = shuffle_mb > 0
        self.repeat = repeat


class SyntheticDataset(Dataset):
    """Images and labels of zeros, to time training without reading."""

    def __init__(
        self,
        resolution: Size = 1024,
        num_channels: int = 3,
        dtype: str = "uint8",
        dynamic_range: list | None = None,
        label_size: int = 0,
        label_dtype: str = "float32",
    ):
        try:
            found = resolution_of(resolution)
        except ValueError as error:
            raise UserError(f"resolution={resolution}: {error}") from None
        labels = np.zeros([1024, label_size], label_dtype)
        source = ZeroSource(len(labels), num_channels, found, dtype)
        super().__init__(source, found, labels, (0, 255) if dynamic_range is None else dynamic_range, label_dtype)


def load_dataset(
    class_name: str | None = None, data_dir: str | None = None, verbose: bool = False, **kwargs: Any
) -> Dataset:
    """Opens a data set.

    Args:
        class_name: dotted name of the class; None is TFRecordDataset.
        data_dir: folder that `tfrecord_dir` is in, unless that is an absolute path.
        verbose: print what it is.
        kwargs: arguments of the class.
    """
    class_name = class_name or "training.dataset.TFRecordDataset"
    if "tfrecord_dir" in kwargs and data_dir is not None:
        kwargs["tfrecord_dir"] = os.path.join(os.path.expanduser(data_dir), kwargs["tfrecord_dir"])
    if verbose:
        print(f"Streaming data using {class_name}...")
    dataset = dnnlib.util.get_obj_by_name(class_name)(**kwargs)
    if verbose:
        print(f"Dataset shape = {dataset.shape}")
        print(f"Dynamic range = {dataset.dynamic_range}")
        print(f"Label size    = {dataset.label_size}")
    return dataset
