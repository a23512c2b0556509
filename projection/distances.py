"""How the projector compares images with their targets."""

import os
from collections.abc import Sequence
from typing import Any, Protocol

import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.util import is_url
from metrics.nets import loading
from metrics.nets.catalog import LPIPS
from metrics.nets.images import average_down, composited
from metrics.nets.metric_network import MetricNetwork

_MATTES = ((0, 0, 0), (255, 255, 255))  # what two pictures with transparency look like over these tells them apart


class Distance(Protocol):
    """Anything that compares images: a metric network, a `tflib.Network`, `PixelDistance`."""

    def get_output_for(self, images_a: Any, images_b: Any) -> tf.Tensor:
        """Distances [N] of float images [N, C, H, W] from 0 to 255. Differentiable by the first."""


class PixelDistance:
    """The mean squared difference of pixels and channels, where black and white differ by 1. Needs no weights."""

    name = "pixel"

    def get_output_for(self, images_a: tf.Tensor, images_b: tf.Tensor) -> tf.Tensor:
        """See `Distance`."""
        return tf.reduce_mean(tf.math.squared_difference(images_a, images_b), axis=[1, 2, 3]) * (1 / 255**2)


def load(name: str = "lpips", folder: str | None = None, as_flags: bool = False, **download: Any) -> Distance:
    """A distance by name.

    Args:
        name: 'lpips', 'pixel', or the path of a file with the weights of LPIPS.
        folder: where metric networks are looked for before they are downloaded.
        as_flags: whether messages name flags of run_projector.py, in place of what to write in Python.
        download: `cache_dir` and `offline` of `metrics.nets.loading.load`.

    Raises:
        UserError: weights that are not those of LPIPS, or cannot be had.
    """
    if name == "pixel":
        return PixelDistance()
    if name != "lpips":
        path = os.path.expanduser(name)  # not relative: that could be taken for an official name
        return loading.load(os.path.abspath(path) if os.path.exists(path) else name, as_=LPIPS, **download)
    option, pixel = "Projector.distance = projection.distances.load('lpips', DIR)", "Projector.distance = 'pixel'"
    if as_flags:
        option, pixel = "--metric-networks=DIR", "--distance=pixel"
    try:
        return loading.load(LPIPS, folder, folder_option=option, **download)
    except UserError as error:
        raise UserError(f"{error}\nWithout them, {pixel} compares pixels.") from None


def resolved(distance: Any) -> Distance:
    """A distance, or that of a name. Raises ValueError for what is neither, and what `load` raises."""
    path = os.path.expanduser(distance) if isinstance(distance, str) else ""
    if path in ("lpips", "pixel") or is_url(path) or os.path.isfile(path):
        return load(distance)
    if isinstance(distance, type) or not callable(getattr(distance, "get_output_for", None)):
        raise ValueError(
            "distance: expected 'lpips', 'pixel', the path of a file with weights of LPIPS, or an object with "
            f"get_output_for(images, targets), got {distance!r:.80}"
        )
    return distance


def compared(images: tf.Tensor, factor: int = 1) -> tf.Tensor:
    """Images [N, C, H, W] from -1 to 1 as they are compared, from 0 to 255 and smaller by a whole factor.

    Those with transparency are laid over both mattes, [2 N, 3, H, W].
    """
    images = tf.cast(images, tf.float32)
    if images.shape[1] == 4:
        images = tf.concat([composited(images, matte, (-1, 1)) for matte in _MATTES], axis=0)
    return (average_down(images, factor) + 1) * (255 / 2)


def of_each(distances: tf.Tensor, num: int) -> tf.Tensor:
    """Distances [num] of images, of those of what `compared` gives for them, [num or 2 num]."""
    return tf.reduce_mean(tf.reshape(distances, [-1, num]), axis=0)


class TargetDistance:
    """A distance, in two parts: what depends on the targets alone is computed once."""

    def __init__(self, distance: Distance):
        self.distance = distance
        trunk = distance.trunk if isinstance(distance, MetricNetwork) and distance.head is None else None
        self._network = trunk if hasattr(trunk, "features") and hasattr(trunk, "distance_of") else None

    def prepare(self, targets: tf.Tensor) -> list[tf.Tensor]:
        """What `between` compares images with. targets: [N, C, H, W], 0..255."""
        return [targets] if self._network is None else self._network.features(targets)

    def between(self, images: tf.Tensor, prepared: Sequence[tf.Tensor]) -> tf.Tensor:
        """Distances [N] of images [N, C, H, W], 0..255, to the prepared targets."""
        if self._network is None:
            return tf.reshape(self.distance.get_output_for(images, prepared[0]), [-1])
        return self._network.distance_of(self._network.features(images), list(prepared))
