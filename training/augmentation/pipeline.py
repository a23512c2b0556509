"""Discriminator augmentation of StyleGAN2-ADA (arXiv:2006.06676, appendix B).

Images pass through pixel blitting, general geometric transforms, colour transforms, image-space filtering and
corruptions, each applied to each image with probability p times its strength. Everything can be differentiated twice,
as R1 regularization through the pipeline needs; parameters do not depend on the images.

Images have any height and width: turns are of pixels, about the centre, and what is relative to the image is so along
each axis. Of RGBA images all four channels are moved, and 0 where a part is cut out; colours alone are filtered and
become noisy. What is added to colours is so times the weight of alpha: transparent pixels stay colourless.
"""

import dataclasses
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import tensorflow as tf

from dnnlib.errors import UserError, did_you_mean
from dnnlib.tflib import random_stream

from . import matrices
from .draws import Draws
from .filter import NUM_BANDS, apply_gains, check_size, gains
from .geometry import blit_map, geometric_map, resample
from .specs import AUGPIPE_SPECS
from .transparency import weight_of


@dataclasses.dataclass(frozen=True)
class AugmentPipe:
    """A pipeline, with official names and defaults. Raises ValueError for values that make no sense.

    Strengths, 0 or more, multiply the probability p; a transform of strength 0 is left out and draws nothing.
    Images of one channel have neither hue nor saturation.
    """

    # Pixel blitting.
    xflip: float = 0  # mirrored left and right, half of the time
    rotate90: float = 0  # quarter turns: none, one, two or three
    xint: float = 0  # moved by whole pixels
    xint_max: float = 0.125  # at most, relative to the image's width and height
    # General geometric transforms.
    scale: float = 0  # enlarged equally
    rotate: float = 0
    aniso: float = 0  # enlarged along one axis and reduced along the other
    xfrac: float = 0  # moved by fractions of pixels
    scale_std: float = 0.2  # standard deviation of the binary logarithm
    rotate_max: float = 1.0  # 1 is a half turn either way
    aniso_std: float = 0.2  # standard deviation of the binary logarithm
    xfrac_std: float = 0.125  # relative to the image's width and height
    # Colours.
    brightness: float = 0
    contrast: float = 0
    lumaflip: float = 0  # luma mirrored, half of the time
    hue: float = 0
    saturation: float = 0
    brightness_std: float = 0.2  # in the images' range
    contrast_std: float = 0.5  # of the binary logarithm
    hue_max: float = 1.0  # 1 is a half turn either way
    saturation_std: float = 1.0  # of the binary logarithm
    # Image-space filtering.
    imgfilter: float = 0
    imgfilter_bands: tuple[float, ...] = (1, 1, 1, 1)  # strengths of the bands, low frequencies first
    imgfilter_std: float = 1.0  # of the binary logarithm
    # Corruptions.
    noise: float = 0
    cutout: float = 0
    noise_std: float = 0.1  # of the noise's own standard deviation, which is half normal
    cutout_size: float = 0.5  # of the rectangle that is 0, relative to the image's width and height

    def __post_init__(self) -> None:
        object.__setattr__(self, "imgfilter_bands", tuple(self.imgfilter_bands))
        if len(self.imgfilter_bands) != NUM_BANDS:
            raise ValueError(f"imgfilter_bands must be {NUM_BANDS} numbers, got {list(self.imgfilter_bands)}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= number < math.inf:
                    raise ValueError(f"{field.name} must be a number of 0 or more, got {number!r}")

    @classmethod
    def of_spec(cls, name: str) -> "AugmentPipe":
        """A published pipeline of `AUGPIPE_SPECS`. Raises UserError for a name that is not there."""
        if name not in AUGPIPE_SPECS:
            hint = did_you_mean(name, AUGPIPE_SPECS, cutoff=0.3)
            raise UserError(f"augmentation pipeline: expected one of {' '.join(AUGPIPE_SPECS)}, got {name!r}{hint}")
        return cls(**AUGPIPE_SPECS[name])

    def transforms(self) -> list[str]:
        """The names of those whose strength is not 0."""
        return [name for name in AUGPIPE_SPECS["bgcfnc"] if getattr(self, name)]

    @property
    def moves(self) -> bool:
        """Whether pixels are moved."""
        return any((self.xflip, self.rotate90, self.xint, self.scale, self.rotate, self.aniso, self.xfrac))

    def check_images(self, shape: tf.TensorShape | list[int | None]) -> None:
        """Raises ValueError unless images of a shape [N, C, H, W] can be augmented."""
        shape = tf.TensorShape(shape)
        if shape.rank != 4 or None in shape[1:] or shape[1] not in (1, 3, 4):
            raise ValueError(f"augmentation: images must be [N, C, H, W] of 1, 3 or 4 channels, got {shape}")
        if self.imgfilter:
            check_size(*shape[2:])

    def __call__(self, images: tf.Tensor, p: Any, debug_percentile: Any = None) -> tf.Tensor:
        """Augments images.

        Args:
            images: float `[N, C, H, W]` in [-1, 1]; C (1, 3 or 4), H and W must be static. They are computed in
                float32. Those of four channels are RGBA images as a discriminator sees them (`transparency.as_seen`).
            p: probability of transforms of strength 1, a number, tensor or variable; 0 leaves images as they are, bit
                for bit; at 1 and above every transform of strength 1 is applied.
            debug_percentile: for checks, see `Draws`.

        Returns:
            `[N, C, H, W]` of the type of `images`; values may leave [-1, 1].

        Raises:
            ValueError: images of another shape, or too small for `imgfilter`.

        Random numbers come from `random_stream`, in the order of the fields above, values before gates: one value
        for each image, two for translations and the place of cutouts. After the first rotation come anisotropic
        scale and the second rotation. Noise draws its deviation, its gate and the pixels, but for alpha; cutout its
        gate and its place.
        """
        images = tf.convert_to_tensor(images)
        self.check_images(images.shape)
        dtype, p = images.dtype, tf.cast(p, tf.float32)
        images = tf.cast(images, tf.float32)
        size = tf.shape(images)[0] if images.shape[0] is None else images.shape[0]

        def draws() -> Draws:
            return Draws(size, debug_percentile)

        images = self._move(images, p, draws())
        if images.shape[1] < 4:
            images = self._change_colours(images, None, p, draws)
        else:
            colours, alpha = images[:, :3], images[:, 3:]
            images = tf.concat([self._change_colours(colours, weight_of(alpha), p, draws), alpha], axis=1)
        return tf.cast(self._cut_out(images, p, draws()), dtype)

    def _change_colours(
        self, colours: tf.Tensor, weight: tf.Tensor | None, p: tf.Tensor, draws: Callable[[], Draws]
    ) -> tf.Tensor:
        """What leaves alpha alone. weight: of alpha, `[N, 1, H, W]`; None: everything is opaque."""
        colours = self._recolour(colours, weight, p, draws())
        colours = self._filter(colours, p, draws())
        return self._add_noise(colours, p, draws())

    def _move(self, images: tf.Tensor, p: tf.Tensor, draws: Draws) -> tf.Tensor:
        if not self.moves:
            return images
        height, width = images.shape[2:]
        inverse = blit_map(draws, p, self, height, width)
        inverse = geometric_map(inverse, draws, p, self, height, width)
        return draws.where_applied(resample(images, inverse), images)

    def _recolour(self, images: tf.Tensor, weight: tf.Tensor | None, p: tf.Tensor, draws: Draws) -> tf.Tensor:
        channels = images.shape[1]
        steps = []
        if self.brightness > 0:
            offset = draws.normal(self.brightness * p, 0.0, lambda z: z * self.brightness_std)
            steps.append(matrices.brightness(offset))
        if self.contrast > 0:
            factor = draws.normal(self.contrast * p, 1.0, lambda z: 2 ** (z * self.contrast_std))
            steps.append(matrices.contrast(factor))
        if self.lumaflip > 0:
            flip = draws.uniform(self.lumaflip * p, 0.0, lambda u: tf.floor(u * 2))
            steps.append(matrices.luma(1 - 2 * flip))
        if self.hue > 0 and channels > 1:
            angle = draws.uniform(self.hue * p, 0.0, lambda u: (u * 2 - 1) * (math.pi * self.hue_max))
            steps.append(matrices.hue(angle))
        if self.saturation > 0 and channels > 1:
            factor = draws.normal(self.saturation * p, 1.0, lambda z: 2 ** (z * self.saturation_std))
            steps.append(matrices.saturation(factor))
        if not steps:
            return images
        matrix = steps[0]
        for step in steps[1:]:
            matrix = matrices.product(step, matrix)
        rows = matrix[:, :3, :, tf.newaxis, tf.newaxis]  # [N, 3, 4, 1, 1]
        if channels == 1:  # what a grey RGB image would become, and then its mean
            mean = tf.reduce_mean(rows, axis=1)
            changed = images * tf.reduce_sum(mean[:, :3], axis=1, keepdims=True) + mean[:, 3:]
        else:
            changed = tf.add_n([images[:, k : k + 1] * rows[:, :, k] for k in range(3)])
            changed += rows[:, :, 3] if weight is None else rows[:, :, 3] * weight
        return draws.where_applied(changed, images)

    def _filter(self, images: tf.Tensor, p: tf.Tensor, draws: Draws) -> tf.Tensor:
        if not self.imgfilter:
            return images
        return draws.where_applied(apply_gains(images, gains(draws, p, self)), images)

    def _add_noise(self, images: tf.Tensor, p: tf.Tensor, draws: Draws) -> tf.Tensor:
        if not self.noise:
            return images
        sigma = draws.half_normal(self.noise * p) * self.noise_std
        pixels = random_stream.normal([draws.size, *images.shape[1:]])
        return draws.where_applied(images + pixels * sigma[:, tf.newaxis, tf.newaxis, tf.newaxis], images)

    def _cut_out(self, images: tf.Tensor, p: tf.Tensor, draws: Draws) -> tf.Tensor:
        if not self.cutout:
            return images
        gate = draws.gate(self.cutout * p)
        centre = random_stream.uniform([draws.size, 2])  # [N, (x, y)]
        if draws.percentile is not None:
            centre = tf.fill(tf.shape(centre), draws.percentile)
        height, width = images.shape[2:]

        def outside(size: int, centre: tf.Tensor) -> tf.Tensor:
            place = (tf.range(size, dtype=tf.float32) + 0.5) / size
            return tf.abs(place - centre[:, tf.newaxis]) >= self.cutout_size / 2  # [N, size]

        columns, rows = outside(width, centre[:, 0]), outside(height, centre[:, 1])
        keep = columns[:, tf.newaxis, tf.newaxis, :] | rows[:, tf.newaxis, :, tf.newaxis]
        return tf.where(keep | ~gate[:, tf.newaxis, tf.newaxis, tf.newaxis], images, 0.0)
