"""Networks for images of half the size, a quarter and so on, which at first are the old images reduced, nearly.

The layers of higher levels go, and what they added cannot be had from those that stay. The last ToRGB is fitted by
least squares to averages of pixels of the old images, and the first FromRGB of D to the feature maps that were there
for images that are enlarged. Both are 1x1 convolutions, so images lose detail, and scores are similar, not the same.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.resolutions import Resolution, size_text
from dnnlib.tflib.network import Network
from dnnlib.tflib.ops.upfirdn_2d import downsample_2d
from training.nets.stylegan_layers import Block, downscale2d, upscale2d

from .copies import assign, coef_of, is_generator, remade
from .growing import block, sized

_SAMPLES = 64
_MINIBATCH = 8


def shrunk(net: Network, resolution: Resolution) -> tuple[Network, str]:
    """A network for smaller images of the same base, and a line on how near it comes."""
    kwargs = sized(resolution, *resolution[:2])
    new = remade(net, levels_move=True, **kwargs)
    down = net.model.resolution_log2 - resolution.log2
    owner = net.components["synthesis"] if is_generator(net) else net
    if "lod" in owner.vars:
        _renumber(net, new, down)
    return _fit_generator(net, new, down) if is_generator(net) else _fit_discriminator(net, new, down)


def _renumber(net: Network, new: Network, down: int) -> None:
    """ToRGB and FromRGB of a growing network, and its level of detail."""
    lod = max(float(net.get_var("lod")) - down, 0.0)
    assign(new, {name: lod for name in new.vars if name.split("/")[-1] == "lod"})
    for name in new.vars:
        head, found, tail = name.partition("RGB_lod")
        if found:
            level, rest = tail.split("/")
            old = f"{head}RGB_lod{int(level) + down}/{rest}"
            if old in net.vars:  # in those of structure 'fixed' there is none
                assign(new, {name: net.get_var(old)})


def _inputs(net: Network, seed: int) -> list[np.ndarray]:
    """Z, and one-hot labels `[N, label_size]`."""
    random = np.random.RandomState(seed)
    (_, latent_size), (_, label_size) = net.input_shapes
    classes = random.randint(max(label_size, 1), size=_MINIBATCH)
    labels = np.eye(max(label_size, 1), dtype=np.float32)[classes, :label_size]
    return [random.randn(_MINIBATCH, latent_size).astype(np.float32), labels]


def _images(net: Network, seed: int) -> np.ndarray:
    """Images `[N, C, H, W]` in float32 of a generator, with its own noise and without truncation."""
    kwargs = {"truncation_psi": 1, "randomize_noise": False, "is_validation": False, **net.model.float32_kwargs()}
    return net.run(*_inputs(net, seed), minibatch_size=_MINIBATCH, **kwargs)


class _LeastSquares:
    """The linear map with a constant from some numbers `[P, F]` to others `[P, C]`, of many parts."""

    def __init__(self) -> None:
        self.squares: Any = 0.0
        self.products: Any = 0.0

    def add(self, given: np.ndarray, wanted: np.ndarray) -> None:
        given = np.concatenate([given, np.ones([len(given), 1])], axis=1).astype(np.float64)
        self.squares = self.squares + given.T @ given
        self.products = self.products + given.T @ wanted.astype(np.float64)

    def solve(self) -> tuple[np.ndarray, np.ndarray]:
        """The matrix `[F, C]` and the constant `[C]`."""
        ridge = np.eye(len(self.squares)) * (1e-7 * np.trace(self.squares) / len(self.squares))
        solution = np.linalg.solve(self.squares + ridge, self.products)
        return solution[:-1], solution[-1]


def _rows(maps: np.ndarray) -> np.ndarray:
    """`[N, C, H, W]` to `[N * H * W, C]`."""
    return np.moveaxis(maps, 1, 3).reshape(-1, maps.shape[1])


def _fit_generator(net: Network, new: Network, down: int) -> tuple[Network, str]:
    """The last ToRGB, so that images are as near to those of the old network as they can."""
    top = new.model.resolution.log2
    at_top = [f"G_synthesis/{block(top)}/ToRGB", "G_synthesis/ToRGB_lod0"]
    rgb = next(name for name in at_top if f"{name}/weight" in new.vars)
    if f"{rgb}/weight" not in net.vars and f"{rgb}/mod_weight" in new.vars and "lod" not in rgb:
        # The style of what read these feature maps.
        above = f"G_synthesis/{block(top + 1)}/Conv0_up"
        assign(new, {f"{rgb}/{name}": net.get_var(f"{above}/{name}") for name in ("mod_weight", "mod_bias")})
    fmaps = int(new.vars[f"{rgb}/weight"].shape[2])
    probe = remade(new, num_channels=fmaps)  # whose images are the feature maps that ToRGB is given, times its style
    for name in probe.vars:
        if "ToRGB" in name and name.endswith(("/weight", "/bias")):
            assign(probe, {name: 0})
    assign(probe, {name: new.get_var(name) for name in new.vars if "mod_" in name and "RGB_lod" in name})
    assign(probe, {f"{rgb}/weight": np.eye(fmaps) / coef_of(probe, f"{rgb}/weight")})
    assign(new, {f"{rgb}/{name}": 0 for name in ("weight", "bias")})
    fit = _LeastSquares()
    for seed in range(_SAMPLES // _MINIBATCH):
        rest = _reduced(_images(net, seed), down) - _images(new, seed)
        fit.add(_rows(_images(probe, seed)), _rows(rest))
    matrix, constant = fit.solve()
    assign(new, {f"{rgb}/weight": matrix / coef_of(new, f"{rgb}/weight"), f"{rgb}/bias": constant})
    seed = _SAMPLES  # which was not fitted to
    wanted = _reduced(_images(net, seed), down)
    error = np.sqrt(np.mean(np.square(_images(new, seed) - wanted)) / np.var(wanted))
    return (
        new,
        f"images reduced to {size_text(new.output_shape[2:])}, missed by {error:.1%} of their deviation",
    )


def _reduced(images: np.ndarray, times: int) -> np.ndarray:
    """Images `[N, C, H, W]` of half the size, a quarter, and so on, by averages of pixels."""
    return downscale2d(tf.constant(images), 2**times).numpy()


def _fit_discriminator(net: Network, new: Network, down: int) -> tuple[Network, str]:
    """The first FromRGB, so that feature maps are like those of the old network for enlarged images."""
    model, top = net.model, new.model.resolution.log2
    names = [f"{block(top)}/FromRGB", "FromRGB_lod0"]
    rgb = next(name for name in names if f"{name}/weight" in new.vars)
    fit = _LeastSquares()
    act = model.nonlinearity if hasattr(model, "nonlinearity") else net.build_kwargs.get("nonlinearity", "lrelu")
    random = np.random.RandomState(0)
    for _ in range(_SAMPLES // _MINIBATCH):
        coarse = random.randn(_MINIBATCH, net.input_shape[1], *(max(side // 4, 1) for side in new.input_shape[2:]))
        factors = [side // small for side, small in zip(new.input_shape[2:], coarse.shape[2:], strict=True)]
        images = np.repeat(np.repeat(coarse, factors[0], axis=2), factors[1], axis=3).astype(np.float32)
        images += 0.2 * random.randn(*images.shape).astype(np.float32)
        maps = _maps(net, upscale2d(tf.constant(images), 2**down), top)
        if act == "lrelu":
            maps = np.where(maps < 0, maps * 5, maps) / np.sqrt(2)
        fit.add(_rows(images), maps.reshape(-1, maps.shape[3]))
    matrix, constant = fit.solve()
    assign(new, {f"{rgb}/weight": matrix / coef_of(new, f"{rgb}/weight"), f"{rgb}/bias": constant})
    return new, "the first layer fitted to what it replaces: scores are similar"


def _maps(net: Network, images: tf.Tensor, top: int) -> np.ndarray:
    """What the block of a level is given for images `[N, C, H, W]`: `[N, h, w, fmaps]`."""
    model = net.model
    images = tf.transpose(images, [0, 2, 3, 1])  # [N, H, W, C]
    x: Any = None
    for level in model.resolution.levels:
        layers = getattr(model, block(level))
        if level == model.resolution_log2 or getattr(model, "architecture", "") == "skip":
            rgb = getattr(layers, "FromRGB", None) or model.FromRGB_lod0
            x = rgb(images) if x is None else x + rgb(images)
        if level == top:
            break
        x = layers.sublayer(1)(layers.sublayer(0)(x)) if isinstance(layers, Block) else layers(x)
        images = downsample_2d(images, k=getattr(model, "resample_kernel", None), data_format="NHWC")
    return x.numpy()
