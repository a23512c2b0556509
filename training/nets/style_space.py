"""Style space: what the affine layers of a synthesis network make of W, and offsets that are added to it.

Each convolution of StyleGAN2, and each normalization of StyleGAN, has an affine layer, whose result is its style:
`style = W @ matrix + bias`. In StyleGAN2 feature maps are multiplied by it; in StyleGAN its first half, plus 1,
multiplies them, and its second half is added. (Wu, Lischinski, Shechtman, arXiv:2011.12799)
"""

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

_offsets: contextvars.ContextVar[Mapping[int, tf.Tensor] | None] = contextvars.ContextVar("style_offsets", default=None)


class LayerStyle(NamedTuple):
    """What a layer is given in place of W where this is computed for all layers at once, see `styles`.

    style: what the input's feature maps are multiplied by, `[N, in]`; of one sample in their type, as weights may be
    multiplied in their place. demodulation: the same of the output's, `[N, out]`; None is nothing. noise:
    `[N or 1, 1, H', W']`, times its strength; None is none.
    """

    style: tf.Tensor
    demodulation: tf.Tensor | None = None
    noise: tf.Tensor | None = None


class Affine(NamedTuple):
    """An affine layer of a network.

    name: of its layer, such as '8x8/Conv0_up'. layer: the index of its W. weight: the variable of its matrix, which
    tells whose layer it is. coef: what the matrix is multiplied by. bias_var: the variable of its bias, to which `one`
    is added.
    """

    name: str
    layer: int
    weight: Any
    coef: float
    bias_var: Any
    one: float

    @property
    def width(self) -> int:
        """How many numbers its style has."""
        return int(self.weight.shape[1])

    def matrix(self) -> np.ndarray:
        """float32 `[dlatent_size, width]`, as the network uses it."""
        return np.asarray(tf.convert_to_tensor(self.weight)) * np.float32(self.coef)

    def bias(self) -> np.ndarray:
        """float32 `[width]`, as the network uses it."""
        return np.asarray(tf.convert_to_tensor(self.bias_var)) + np.float32(self.one)


def affine_layers(net: Any) -> list[Affine]:
    """The affine layers on which images of a generator (a `Network` such as Gs) hang, from the base up.

    Of a network that grows, those of its level of detail. None without styles.
    """
    synthesis = net.components.synthesis.model
    names = {id(variable): name for name, variable in synthesis.named_variables().items()}
    with tf.init_scope():  # where a graph is being made, too
        lod = float(net.get_var("lod")) if "lod" in net.vars else 0.0
    layers = synthesis.styled_layers(lod)
    paths = [names[id(layer.affine[0])].rpartition("/")[0].removesuffix("/StyleMod") for layer, _ in layers]
    return [Affine(path, idx, *layer.affine) for path, (layer, idx) in zip(paths, layers, strict=True)]


@contextlib.contextmanager
def offsets_added(offsets: Mapping[int, tf.Tensor]) -> Iterator[None]:
    """Inside, styles are moved. offsets: `[N or 1, width]` by the `id` of the variable `Affine.weight`."""
    token = _offsets.set(offsets or None)
    try:
        yield
    finally:
        _offsets.reset(token)


def offset_of(weight: Any) -> tf.Tensor | None:
    """What is to be added to the style of the affine layer of this variable, float32 `[N or 1, width]`."""
    offsets = _offsets.get()
    return None if offsets is None else offsets.get(id(weight))


def moved(style: tf.Tensor, weight: Any) -> tf.Tensor:
    """A style `[N, width]` with the offset of its affine layer."""
    offset = offset_of(weight)
    return style if offset is None else style + tf.cast(offset, style.dtype)
