"""What can be projected: images of seeds, of a data set, of files. UserError is raised for what does not fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from training import dataset
from training.real_images import adjust_dynamic_range

from . import image_targets

_NUM_IMAGES = 3  # of data sets, officially


@dataclass(frozen=True)
class Target:
    """An image to project.

    name: how names of its files begin. title: what the log calls it. source: where it is from.
    image: [1, C, H, W], from about -1 to 1.
    """

    name: str
    title: str
    source: str
    image: np.ndarray


class Targets(Protocol):
    """Images to project, which are made or read when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Target: ...


class GeneratedImages:
    """Images that the network itself makes of seeds: z and noise images from RandomState(seed), as officially."""

    def __init__(self, Gs: Any, seeds: Sequence[int], truncation_psi: float | None = 1.0):
        self.seeds = list(seeds)
        self._Gs = Gs
        synthesis = Gs.components.synthesis
        self._noise_shapes = [tuple(var.shape) for name, var in synthesis.vars.items() if name.startswith("noise")]
        kwargs = {"truncation_psi": truncation_psi, "randomize_noise": False}

        def make(z: tf.Tensor, noise: list[tf.Tensor]) -> tf.Tensor:
            return tf.cast(Gs.get_output_for(z, None, noise=noise or None, **kwargs), tf.float32)

        self._make = tf.function(make, autograph=False)

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> Target:
        seed = self.seeds[index]
        rnd = np.random.RandomState(seed)
        z = rnd.randn(1, *self._Gs.input_shape[1:]).astype(np.float32)
        noise = [rnd.randn(*shape).astype(np.float32) for shape in self._noise_shapes]
        image = self._make(tf.constant(z), [tf.constant(layer) for layer in noise]).numpy()
        return Target(f"seed{seed:04d}", f"seed {seed} ({index}/{len(self)})", f"seed {seed}", image)


class DatasetImages:
    """The first images of a data set: so many, or None: the first three, if there are."""

    def __init__(self, Gs: Any, dataset_name: str, data_dir: str | None, num_images: int | None = None):
        print(f'Loading images from "{dataset_name}"...')
        options = {"max_label_size": 0, "repeat": False, "shuffle_mb": 0}
        self._name = dataset_name
        self._dataset = dataset.load_dataset(data_dir=data_dir, tfrecord_dir=dataset_name, **options)
        shape, wanted, count = self._dataset.shape, Gs.output_shape[1:], self._dataset.num_images
        problems = []
        if list(shape) != list(wanted):
            problems.append(f"--dataset={dataset_name}: has images {list(shape)}, the network makes {list(wanted)}")
        if num_images is not None and num_images > count:
            problems.append(f"--num-images={num_images}: the data set {dataset_name} has {count}")
        if problems:
            self._dataset.close()
            raise UserError("\n".join(problems))
        self._num_images = min(_NUM_IMAGES, count) if num_images is None else num_images

    def __len__(self) -> int:
        return self._num_images

    def __getitem__(self, index: int) -> Target:
        pixels, _labels = self._dataset.read(np.asarray([index]))
        image = adjust_dynamic_range(pixels.astype(np.float32), self._dataset.dynamic_range, (-1, 1))
        return _numbered(index, len(self), f"{self._name} {index}", image)


class ImageFiles:
    """Image files, by the rule of `image_targets`."""

    def __init__(self, Gs: Any, paths: Sequence[str], convert: bool = False, num_images: int | None = None):
        self._paths = list(paths) if num_images is None else list(paths)[:num_images]
        _, self._channels, self._resolution, _ = Gs.output_shape
        if num_images is not None and num_images > len(paths):
            raise UserError(f"--num-images={num_images}: --images has {len(paths)}")
        image_targets.check_images(self._paths, self._resolution, self._channels, convert)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Target:
        path = self._paths[index]
        pixels = image_targets.read_image(path, self._resolution, self._channels)[np.newaxis]
        image = adjust_dynamic_range(pixels.astype(np.float32), (0, 255), (-1, 1))
        return _numbered(index, len(self), path, image)


def _numbered(index: int, count: int, source: str, image: np.ndarray) -> Target:
    return Target(f"image{index:04d}", f"image {index}/{count}", source, image)
