"""Progressive growing: how a network renders at the level of detail `lod` (ProGAN, section 2).

`lod` counts from 0, full resolution, upwards; lod 1.5 is a half-way blend of the images at 1/2 and 1/4 of it. Three
structures compute the same images:

* fixed: full resolution only, `lod` has no effect;
* linear: everything is computed and blended; simple graphs;
* recursive: only the levels that are needed are computed.

Images and feature maps are `[N, H, W, C]`; `res` is a level, the binary logarithm of the side of a square.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from dnnlib.resolutions import Resolution
from dnnlib.tflib.scope import is_recording_rows
from dnnlib.tflib.tfutil import lerp, lerp_clip

STRUCTURES = ("auto", "fixed", "linear", "recursive")
Step = Callable[[tf.Tensor, int], tf.Tensor]


def resolve_structure(structure: str) -> str:
    """What 'auto' means: recursive, and linear while the layer table is made (it shows all layers)."""
    if structure != "auto":
        return structure
    return "linear" if is_recording_rows() else "recursive"


_known_lod: contextvars.ContextVar[tuple[int, int] | None] = contextvars.ContextVar("known_lod", default=None)


@contextlib.contextmanager
def known_lod(lod: float) -> Iterator[None]:
    """Inside, recursive networks are made for levels of detail like this one: equal if it is an integer, else between
    the same two integers.

    They have no branches then. Training depends on it: second gradients of nested branches grow with every level.
    """
    token = _known_lod.set((math.floor(lod), math.ceil(lod)))
    try:
        yield
    finally:
        _known_lod.reset(token)


_lod_is_fixed: contextvars.ContextVar[bool] = contextvars.ContextVar("lod_is_fixed", default=False)


@contextlib.contextmanager
def fixed_lod(lod: float) -> Iterator[None]:
    """Inside, the same, and graphs do not set the levels of detail of sub-networks, which have this one already."""
    token = _lod_is_fixed.set(True)
    try:
        with known_lod(lod):
            yield
    finally:
        _lod_is_fixed.reset(token)


def lod_is_fixed() -> bool:
    """Whether the level of detail of sub-networks stays as it is."""
    return _lod_is_fixed.get()


def whole_lod(lod: Any) -> int | tf.Tensor:
    """The level of detail `lod`, rounded down: a number inside `known_lod`, else an int32 tensor."""
    known = _known_lod.get()
    return tf.cast(tf.convert_to_tensor(lod), tf.int32) if known is None else known[0]


def _if_above(lod: tf.Tensor, level: int, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """What to compute depends on whether lod > level."""
    known = _known_lod.get()
    if known is None:
        return tf.cond(lod > level, then, otherwise)
    low, high = known
    return then() if low > level or (low == level and high > low) else otherwise()


def _if_below(lod: tf.Tensor, level: int, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """What to compute depends on whether lod < level."""
    known = _known_lod.get()
    if known is None:
        return tf.cond(lod < level, then, otherwise)
    low, high = known
    return then() if high < level or (high == level and high > low) else otherwise()


class GeneratorSteps(NamedTuple):
    """The steps of a growing generator."""

    block: Step  # feature maps of res - 1 -> feature maps of res
    torgb: Step  # feature maps of res -> image of res
    upsample: Callable[[tf.Tensor, str], tf.Tensor]  # image enlarged twice; the name of the step
    enlarge: Callable[[tf.Tensor, int], tf.Tensor]  # image enlarged by a factor, nearest neighbour
    row: Callable[[tf.Tensor, str], tf.Tensor]  # notes a step in the layer table


class DiscriminatorSteps(NamedTuple):
    """The steps of a growing discriminator."""

    block: Step  # feature maps of res -> feature maps of res - 1; scores for the base
    fromrgb: Step  # image of res -> feature maps of res
    downsample: Callable[[tf.Tensor, str], tf.Tensor]  # image reduced twice; the name of the step
    shrink: Callable[[tf.Tensor, int], tf.Tensor]  # image reduced by a factor, box average
    row: Callable[[tf.Tensor, str], tf.Tensor]


def grow_generator(
    structure: str, x: tf.Tensor, lod: tf.Tensor, resolution: Resolution, steps: GeneratorSteps
) -> tf.Tensor:
    """The image of a generator. x: feature maps of the base. lod: scalar."""
    lod = tf.cast(lod, x.dtype)
    first, last = resolution.first_log2, resolution.log2
    if structure == "fixed":
        for res in range(first + 1, last + 1):
            x = steps.block(x, res)
        return steps.torgb(x, last)

    if structure == "linear":
        images = steps.torgb(x, first)
        for res in range(first + 1, last + 1):
            level = last - res
            x = steps.block(x, res)
            img = steps.torgb(x, res)
            images = steps.upsample(images, f"Upsample_lod{level}")
            images = steps.row(lerp_clip(img, images, lod - level), f"Grow_lod{level}")
        return images

    def grow(x: tf.Tensor, res: int, level: int) -> tf.Tensor:
        y = steps.block(x, res)

        def this_level() -> tf.Tensor:
            return steps.enlarge(steps.torgb(y, res), 2**level)

        def blend() -> tf.Tensor:
            coarse = steps.upsample(steps.torgb(x, res - 1), f"Upsample_lod{level}")
            return steps.enlarge(lerp(steps.torgb(y, res), coarse, lod - level), 2**level)

        def this_level_or_blend() -> tf.Tensor:
            return _if_above(lod, level, blend, this_level)

        if level == 0:
            return this_level_or_blend()
        return _if_below(lod, level, lambda: grow(y, res + 1, level - 1), this_level_or_blend)

    if first == last:
        return steps.torgb(x, last)
    return grow(x, first + 1, last - first - 1)


def grow_discriminator(
    structure: str, images: tf.Tensor, lod: tf.Tensor, resolution: Resolution, steps: DiscriminatorSteps
) -> tf.Tensor:
    """The output of the last block, of the base, of a discriminator. images: full resolution. lod: scalar."""
    lod = tf.cast(lod, images.dtype)
    first, last = resolution.first_log2, resolution.log2
    if structure == "fixed":
        x = steps.fromrgb(images, last)
        for res in resolution.levels:
            x = steps.block(x, res)
        return x

    if structure == "linear":
        img = images
        x = steps.fromrgb(img, last)
        for res in range(last, first, -1):
            level = last - res
            x = steps.block(x, res)
            img = steps.downsample(img, f"Downsample_lod{level}")
            y = steps.fromrgb(img, res - 1)
            x = steps.row(lerp_clip(x, y, lod - level), f"Grow_lod{level}")
        return steps.block(x, first)

    def grow(res: int, level: int) -> tf.Tensor:
        """Output of the block of `res`, blended with the image of the next lower resolution."""

        def from_image() -> tf.Tensor:
            return steps.fromrgb(steps.shrink(images, 2**level), res)

        x = from_image() if level == 0 else _if_below(lod, level, lambda: grow(res + 1, level - 1), from_image)
        x = steps.block(x, res)
        if res == first:
            return x

        def blend() -> tf.Tensor:
            y = steps.fromrgb(steps.shrink(images, 2 ** (level + 1)), res - 1)
            return lerp(x, y, lod - level)

        return _if_above(lod, level, blend, lambda: x)

    return grow(first, last - first)
