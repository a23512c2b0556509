"""Features of images, real and generated, by metric networks.

All networks that are asked for together see each image once. Features of real images are kept for good; those of
generated ones until all metrics are done, so that an interrupted run goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.pictures import WHITE
from metrics.nets.images import composited
from metrics.nets.metric_network import MetricNetwork, combine

from .batches import BatchFunction, fill
from .feature_file import RowFile, file_label, in_cache, key_of
from .random_inputs import RandomInputs
from .samples import Samples

# How the Inception and VGG networks resize, part of what their features depend on.
_RESIZE = "bilinear of TensorFlow 1, inside of the network"

_NOT_FINITE = "values that are not finite"


class ImagePass:
    """Features of a stream of images. A subclass says what the images are, and computes.

    Args:
        folder: for the files.
        label: what file names start with.
        unit: what the images are called in progress lines.
        facts: what the images are, in JSON: equal facts, equal images.
        devices: names of devices that share the work.
        per_device: images on a device at once.
        seed: of random numbers that making the images takes.
        functions: those that are compiled, by what they do.
        matte: red, green and blue of the colour that images are laid over; None: they have no transparency.
    """

    def __init__(
        self,
        folder: Path,
        label: str,
        unit: str,
        facts: Mapping[str, Any],
        devices: Sequence[str],
        per_device: int,
        seed: int = 0,
        functions: dict[Any, BatchFunction] | None = None,
        matte: Sequence[int] | None = None,
    ):
        self.unit = unit
        self._batches = {"devices": devices, "per_device": per_device, "seed": seed}
        self._batch_size = per_device * len(devices)
        self._matte = matte
        self._facts = {**facts, "resize": _RESIZE, **({"tf32": True} if tflib.settings.uses_tf32() else {})}
        self._facts |= {} if matte is None else {"matte": list(matte)}
        self._folder = folder
        self._key = key_of(self._facts)
        self._label = file_label(label)
        self._wanted: dict[str, int] = {}  # images, by name of the network
        self._networks: dict[str, MetricNetwork] = {}
        self._functions = {} if functions is None else functions
        self._used: dict[Path, RowFile] = {}

    def expect(self, network: MetricNetwork, count: int) -> None:
        """Announces that the features of so many images will be asked for: the next pass computes them, too."""
        key = self._key_of(network)
        self._networks[key] = network
        self._wanted[key] = max(count, self._wanted.get(key, 0))

    def _key_of(self, network: MetricNetwork) -> str:
        """The name of a network; with its digest if another network has the name."""
        other = self._networks.get(network.name, network)
        return network.name if other.digest == network.digest else f"{network.name}-{network.digest[:8]}"

    def features(self, network: MetricNetwork, count: int) -> np.ndarray:
        """The output of a network, float32 [count, columns], for the first images of the stream."""
        self.expect(network, count)
        with in_cache(self._folder, self._key, f"features of the same {self.unit}"):
            files = {name: self._open(other) for name, other in self._networks.items()}
            try:
                fill(files, self._wanted, self._batch_size, self._compute, self.unit)
                return files[self._key_of(network)].read(count)
            finally:
                for file in files.values():
                    file.close()

    def _open(self, network: MetricNetwork) -> RowFile:
        columns = network.output_shape[1]
        key = key_of({**self._facts, "network": network.digest, "columns": columns})
        file = RowFile(self._folder / f"{self._label}-{network.name}-{key}.rows", columns)
        self._used[file.path] = file
        return file

    def remove(self) -> None:
        """Deletes the files."""
        for file in self._used.values():
            file.remove()

    def _compute(self, names: list[str], begin: int, count: int) -> Sequence[np.ndarray]:
        """Features of `count` images from number `begin`, for each network."""
        networks = [self._networks[name] for name in names]
        batches = self._batches["per_device"], self._matte
        key = self.unit, self._facts.get("arguments"), *batches, *(net.digest for net in networks)
        if key not in self._functions:
            features_of = _all_of(networks)
            self._functions[key] = BatchFunction(lambda *x: features_of(self._rgb_images(*x)), **self._batches)
        try:
            features = self._functions[key](begin, *self._inputs(begin, count))
        except tf.errors.InvalidArgumentError as error:
            if _NOT_FINITE not in str(error):
                raise
            raise UserError(f"there are {self.unit} with {_NOT_FINITE}; has the network diverged?") from None
        for name, values in zip(names, features, strict=True):
            if not np.isfinite(values).all():
                raise UserError(f"{name} of {self.unit} has {_NOT_FINITE}; has the network diverged?")
        return features

    def _inputs(self, begin: int, count: int) -> Sequence[np.ndarray]:
        """What `count` images from number `begin` are made of."""
        raise NotImplementedError

    def _images(self, *inputs: tf.Tensor) -> tf.Tensor:
        """Images uint8 [N, C, H, W] from what `_inputs` returns."""
        raise NotImplementedError

    def _rgb_images(self, *inputs: tf.Tensor) -> tf.Tensor:
        images = self._images(*inputs)
        return images if self._matte is None else composited(images, self._matte)


class RealImages(ImagePass):
    """The images of a data set in their order, again and again.

    mirror: whether half of them, drawn anew for each place in the stream, are flipped left to right.
    matte: of images with transparency.
    """

    def __init__(
        self,
        folder: Path,
        dataset: Any,
        name: str,
        mirror: bool,
        devices: Sequence[str],
        per_device: int,
        matte: Sequence[int] = WHITE,
    ):
        facts = {"images": dataset.digest(), "mirrored": mirror}
        label = f"{name}-mirrored" if mirror else name
        of_rgba = matte if dataset.shape[0] == 4 else None
        super().__init__(folder, label, "real images", facts, devices, per_device, matte=of_rgba)
        self._dataset = dataset
        self._mirror = mirror
        self._reader = ThreadPoolExecutor(1, "read-ahead")
        self._ahead: tuple[tuple[int, int], Any] = ((0, 0), None)

    def _inputs(self, begin: int, count: int) -> Sequence[np.ndarray]:
        place, images = self._ahead
        images = images.result() if place == (begin, count) else self._read(begin, count)
        self._ahead = (begin + count, count), self._reader.submit(self._read, begin + count, count)
        return [images]

    def _images(self, images: tf.Tensor) -> tf.Tensor:
        return images

    def _read(self, begin: int, count: int) -> np.ndarray:
        """Images uint8 [count, C, H, W]."""
        images = self._dataset.read(np.arange(begin, begin + count) % self._dataset.num_images)[0]
        if self._mirror:
            mirrored = RandomInputs(0).mirrors(begin, count)
            images[mirrored] = images[mirrored, :, :, ::-1]
        return images


class GeneratedImages(ImagePass):
    """Images of a generator for random latents and labels, converted to uint8 as they would be saved.

    matte: of images with transparency.
    """

    def __init__(
        self,
        folder: Path,
        generator: Samples,
        per_device: int,
        functions: dict[Any, BatchFunction],
        matte: Sequence[int] = WHITE,
    ):
        batches = generator.devices, per_device, generator.seed
        of_rgba = matte if generator.Gs.output_shape[1] == 4 else None
        super().__init__(folder, generator.name, "generated images", generator.facts, *batches, functions, of_rgba)
        self._generator = generator

    def _inputs(self, begin: int, count: int) -> Sequence[np.ndarray]:
        return self._generator.inputs(begin, count)

    def _images(self, latents: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        images = self._generator.Gs.get_output_for(latents, labels, **self._generator.Gs_kwargs)
        return tflib.convert_images_to_uint8(tf.debugging.check_numerics(images, _NOT_FINITE))  # black otherwise


def _all_of(networks: Sequence[Any]) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """A function from images to the outputs of several networks. Equal trunks run once."""
    official = [network for network in networks if isinstance(network, MetricNetwork)]
    combined = combine(official) if official else None

    def outputs(images: tf.Tensor) -> list[tf.Tensor]:
        found = dict(zip(official, combined.get_output_for(images), strict=True)) if combined else {}
        return [found[network] if network in found else network.get_output_for(images) for network in networks]

    return outputs
