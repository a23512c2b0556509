"""Networks for images of more or fewer channels: gray, RGB, RGBA.

More channels are as for trainings that start from such networks (`training.loop.fitting`). With fewer, images are the
gray or the colours of what they were; scores are those of the same images, gray in all colours, and opaque.
"""

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib.network import Network
from training.loop.fitting import fitted

from .copies import assign, coef_of, is_generator, remade

_LUMA = np.array([0.299, 0.587, 0.114])
"""Gray of red, green and blue (ITU-R 601), as Pillow and `dataset_tool.py` compute it."""
_NAMES = {1: "gray", 3: "RGB", 4: "RGBA"}


def with_channels(net: Network, count: int) -> tuple[Network, str]:
    """A network for images of so many channels, and a line on what it does. Raises UserError."""
    old = (net.output_shape if is_generator(net) else net.input_shape)[1]
    if old not in _NAMES:
        raise UserError(f"{net.name}: its images have {old} channels, expected 1 (gray), 3 (RGB) or 4 (RGBA)")
    new = remade(net, num_channels=count)
    if count > old:
        values, done = fitted(new, net)
        assign(new, values)
        return new, "; ".join(done)
    if is_generator(net):
        assign(new, _to_images(net, old, count))
        return new, f"images {_NAMES[old]} to {_NAMES[count]}: " + ("their gray" if count == 1 else "their colours")
    assign(new, _from_images(net, new, old, count))
    return new, f"images {_NAMES[old]} to {_NAMES[count]}, with the scores of {_NAMES[old]} images that look the same"


def _to_images(net: Network, old: int, count: int) -> dict[str, np.ndarray]:
    """Variables of ToRGB layers."""
    matrix = np.eye(old)[:, :count]  # [old, count]
    if count == 1:
        matrix = np.pad(_LUMA, [0, old - 3])[:, np.newaxis]
    names = [name for name in net.vars if "ToRGB" in name and name.endswith(("/weight", "/bias"))]
    return {name: net.get_var(name) @ matrix for name in names}


def _from_images(net: Network, new: Network, old: int, count: int) -> dict[str, np.ndarray]:
    """Variables of FromRGB layers."""
    values = {}
    for name in net.vars:
        if "FromRGB" in name and name.endswith("/weight"):
            weight = net.get_var(name) * coef_of(net, name)  # [1, 1, old, fmaps]
            colours, alpha = weight[:, :, :3], weight[0, 0, 3:]
            colours = colours.sum(axis=2, keepdims=True) if count == 1 else colours
            bias = name.replace("/weight", "/bias")
            values[name] = colours / coef_of(new, name)
            values[bias] = net.get_var(bias) + alpha.sum(axis=0)
    return values
