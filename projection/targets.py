"""What can be projected: images of seeds, of a data set, of files, which are made or read when they are asked for.

Each class is a sequence of `Target`, and raises UserError for what does not fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.errors import Problems, UserError
from generation import points
from generation.conventions import Rendering
from generation.image_generator import ImageGenerator
from training.data.image_files import AS_USUAL, Reading
from training.misc import adjust_dynamic_range

from . import sources

_NUM_IMAGES = 3  # of data sets, officially


@dataclass(frozen=True)
class Target:
    """An image to project.

    name: how names of its files begin. title: what the log calls it. source: where it is from.
    vector_name: of its file of vectors. image: [1, C, H, W], from about -1 to 1.
    """

    name: str
    title: str
    source: str
    vector_name: str
    image: np.ndarray


class GeneratedImages:
    """Images that the network itself makes of seeds: z and noise images from RandomState(seed), as officially.

    Networks of PyTorch have noise images of their own there. truncation_psi: None is none, like 1. class_idx,
    label: of a conditional network; None of both: no label.
    """

    def __init__(
        self,
        Gs: Any,
        seeds: Sequence[int],
        truncation_psi: float | None = 1.0,
        class_idx: int | None = None,
        label: Sequence[float] | None = None,
    ):
        self._seeds = list(seeds)
        psi = 1.0 if truncation_psi is None else truncation_psi
        self._generator = ImageGenerator(Gs, Rendering(psi, class_idx=class_idx, label=label))

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: int) -> Target:
        seed = self._seeds[index]
        name, title = points.file_name(seed), points.title(seed)
        image = self._generator.floats_from_seeds([seed])
        return Target(name, f"{title} ({index}/{len(self)})", title, name, image)


class DatasetImages:
    """The first images of a data set: so many, or None: the first three, if there are."""

    def __init__(
        self,
        Gs: Any,
        dataset_name: str,
        data_dir: str | None,
        num_images: int | None = None,
        reading: Reading = AS_USUAL,
    ):
        print(f'Loading images from "{dataset_name}"...')
        self._name = dataset_name
        self._dataset = sources.open_dataset(dataset_name, data_dir, num_images, reading)
        shape, wanted = self._dataset.shape, Gs.output_shape[1:]
        if list(shape) != list(wanted):
            self._dataset.close()
            raise UserError(f"--dataset={dataset_name}: has images {list(shape)}, the network makes {list(wanted)}")
        self._num_images = min(_NUM_IMAGES, self._dataset.num_images) if num_images is None else num_images

    def __len__(self) -> int:
        return self._num_images

    def __getitem__(self, index: int) -> Target:
        pixels, _labels = self._dataset.read(np.asarray([index]))
        image = adjust_dynamic_range(pixels.astype(np.float32), self._dataset.dynamic_range, (-1, 1))
        name = f"image{index:04d}"
        return Target(name, f"image {index}/{len(self)}", f"{self._name} {index}", name, image)


class ImageFiles:
    """Image files, by the rule of `sources`. Their vectors are named after them."""

    def __init__(
        self,
        Gs: Any,
        paths: Sequence[str],
        convert: bool = False,
        num_images: int | None = None,
        reading: Reading = AS_USUAL,
    ):
        self._reading = reading
        self._paths = list(paths) if num_images is None else list(paths)[:num_images]
        self._channels, *size = Gs.output_shape[1:]
        self._size = tuple(size)
        if num_images is not None and num_images > len(paths):
            raise UserError(f"--num-images={num_images}: --images has {len(paths)}")
        problems = Problems()
        with problems.gather("--images"):
            sources.check_images(self._paths, self._size, self._channels, convert, reading)
        problems.report()
        taken: set[str] = set()
        self._vector_names = [points.unique(points.stem_of(path), taken) for path in self._paths]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Target:
        path = self._paths[index]
        pixels = sources.read_image(path, self._size, self._channels, self._reading)[np.newaxis]
        image = adjust_dynamic_range(pixels.astype(np.float32), (0, 255), (-1, 1))
        name = f"image{index:04d}"
        return Target(name, f"{name}: {path} ({index}/{len(self)})", path, self._vector_names[index], image)
