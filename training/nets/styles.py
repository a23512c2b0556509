"""The styles of all layers of a synthesis network in a few operations, where starting operations is what takes time.

Each layer by itself computes its style from W by a small matrix product, and from that its demodulation: two dozen
layers start 200 kernels on a GPU for numbers that fit into a page. Here the matrices of all layers are padded to one
size and multiplied in one batch. Numbers are those of `layers.modulated_conv2d` but for rounding.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.tflib import random_stream
from dnnlib.tflib.scope import Scoped

from .layers import ModulatedConv2D, largest
from .style_space import LayerStyle, offset_of


class Modulated(NamedTuple):
    """A layer, which W it takes its style from, and the type of the feature maps that it is given."""

    layer: ModulatedConv2D
    idx: int
    dtype: tf.DType


def layer_styles(network: Scoped, modulated: Sequence[Modulated], dlatents: tf.Tensor) -> list[LayerStyle]:
    """The style and demodulation of some layers, all of them demodulated or none.

    network: keeps the matrices. dlatents: W, `[N, layers, dlatent_size]`.
    """
    layers = [layer for layer, _, _ in modulated]
    width = max(layer.weight.shape[2] for layer in layers)
    name = layers[0].name
    matrices = network.kept(  # [L, dlatent_size, width]
        f"{name} matrices",
        lambda: tf.stack([_padded(layer.mod_weight * (layer.mod_coef * layer.style_coef), width) for layer in layers]),
    )
    biases = network.kept(  # [L, 1, width]
        f"{name} biases",
        lambda: tf.stack([_padded((layer.mod_bias + 1)[tf.newaxis] * layer.style_coef, width) for layer in layers]),
    )
    w = tf.transpose(tf.cast(dlatents, tf.float32), [1, 0, 2])  # [layers, N, dlatent_size]
    # 64 bit: constants of 32 bit are in the memory of the host, and copies of them wait for all that is computed.
    w = tf.gather(w, tf.constant([idx for _, idx, _ in modulated], tf.int64))  # [L, N, dlatent_size]
    styles = tf.matmul(w, matrices) + biases  # [L, N, width]
    offsets = [offset_of(layer.mod_weight) for layer in layers]
    for idx, (layer, offset) in enumerate(zip(layers, offsets, strict=True)):
        if offset is not None:
            of_layer = tf.one_hot(idx, len(layers))[:, tf.newaxis, tf.newaxis]  # [L, 1, 1]
            styles += of_layer * _padded(offset * layer.style_coef, width)
    demodulations: list[Any] = [None] * len(layers)
    if layers[0].conv_kwargs["demodulate"]:
        in_16_bit = np.array([dtype == tf.float16 for _, _, dtype in modulated])[:, np.newaxis, np.newaxis]
        if in_16_bit.any():
            styles = styles / tf.where(in_16_bit, largest(styles), 1.0)
        out_width = max(layer.weight.shape[3] for layer in layers)
        energies = network.kept(  # [L, width, out_width]
            f"{name} energies {in_16_bit.ravel()}", functools.partial(_energies, modulated, width, out_width)
        )
        factors = tf.math.rsqrt(tf.matmul(tf.square(styles), energies) + 1e-8)  # [L, N, out_width]
        demodulations = _parts(factors, [(tf.float32, layer.weight.shape[3]) for layer in layers])
    alone = dlatents.shape[0] == 1
    parts = _parts(styles, [(dtype if alone else tf.float32, layer.weight.shape[2]) for layer, _, dtype in modulated])
    return [LayerStyle(*both) for both in zip(parts, demodulations, strict=True)]


def _energies(modulated: Sequence[Modulated], width: int, out_width: int) -> tf.Tensor:
    """Sums of squares over the kernels of the layers' weights, padded: `[L, width, out_width]`."""
    energies = [tf.reduce_sum(tf.square(layer.effective_weight(dtype)), axis=[0, 1]) for layer, _, dtype in modulated]
    return tf.stack([_padded(energy, out_width, width) for energy in energies])


def _padded(matrix: tf.Tensor, width: int, height: int | None = None) -> tf.Tensor:
    """A matrix with zeros on the right and below, up to a size."""
    matrix = tf.convert_to_tensor(matrix)
    rows, columns = matrix.shape
    missing = [[0, (height or rows) - rows], [0, width - columns]]
    return tf.pad(matrix, missing) if np.any(missing) else matrix


def _parts(stack: tf.Tensor, wanted: Sequence[tuple[tf.DType, int]]) -> list[tf.Tensor]:
    """Of each matrix of a stack `[L, N, width]` so many columns, in a type."""
    converted = {dtype: tf.cast(stack, dtype) for dtype in dict.fromkeys(dtype for dtype, _ in wanted)}
    whole = stack.shape[2]
    parts = {
        (dtype, size): tf.unstack(converted[dtype] if size == whole else converted[dtype][:, :, :size])
        for dtype, size in dict.fromkeys(wanted)
    }
    return [parts[key][idx] for idx, key in enumerate(wanted)]


def layer_noises(
    network: Scoped,
    layers: Sequence[Any],
    variables: Sequence[Any],
    minibatch: Any,
    randomize_noise: Any,
    noise: Sequence[Any] | None,
) -> list[tf.Tensor | None]:
    """The noise of each layer times its strength, `[N or 1, 1, H, W]`; None where there is none.

    layers: with noise; variables: their own noise images `[1, 1, H, W]`. For the others see `Generator.call`.
    """
    if noise is None and not randomize_noise:
        return [
            network.kept(f"noise {idx}", lambda layer=layer, variable=variable: variable * layer.noise_strength)
            for idx, (layer, variable) in enumerate(zip(layers, variables, strict=True))
        ]
    sizes = [int(np.prod(variable.shape)) for variable in variables]
    if noise is None:
        joined = random_stream.normal([minibatch, sum(sizes)])
    else:
        images = [None if image is None else tf.convert_to_tensor(image) for image in noise]
        some_are_missing = any(image is None for image in images)
        if some_are_missing or len({image.shape[0] for image in images}) > 1:  # some are the same for all samples
            return [
                None if image is None else image * layer.noise_strength
                for image, layer in zip(images, layers, strict=True)
            ]
        joined = tf.concat([tf.reshape(image, [-1, size]) for image, size in zip(images, sizes, strict=True)], axis=1)
    strengths = network.kept(
        "strengths",
        lambda: tf.concat([tf.fill([n], layer.noise_strength) for layer, n in zip(layers, sizes, strict=True)], 0),
    )
    parts = tf.split(joined * strengths, sizes, axis=1)
    return [tf.reshape(part, [-1, *variable.shape[1:]]) for part, variable in zip(parts, variables, strict=True)]
