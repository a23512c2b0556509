"""Networks with classes, without, or with more or fewer of them.

Classes that are new are at first as the mean of those that there were. Where there were none, images and scores are at
first the same whatever the class, and training can tell the classes apart from its first steps: of the two factors that
a label goes through, one is zero and the other is not.
"""

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib.network import Network
from training.nets.layers import normalize_2nd_moment

from .copies import assign, coef_of, is_generator, layer_of, remade

_Values = dict[str, np.ndarray | float]


def with_classes(net: Network, count: int) -> tuple[Network, str]:
    """A network with so many classes, and a line on what it does with them. Raises UserError."""
    old = net.input_shapes[1][1]
    new = remade(net, label_size=count)
    if is_generator(net):
        first = "G_mapping/Dense0/weight"
        if first not in net.vars:
            raise UserError(f"{net.name}: has no mapping network that labels could go into (mapping_layers=0)")
        assign(new, _mapping(net, new, old, count))
        done = "at first the same images whatever the class"
        gone = "as with a label of zeros"
    else:
        is_embedded = _embeds(net) or _embeds(new)
        assign(new, _projection(net, new, old, count) if is_embedded else _scores(net, count))
        done = "at first the same scores whatever the class"
        gone = "the mean of the scores of all classes"
    if old and count:
        done = f"classes 0 to {min(old, count) - 1} as they were" + (", new ones as their mean" if count > old else "")
    return new, f"labels {old} to {count}: {done if count else gone}"


def _embeds(net: Network) -> bool:
    return any(name.endswith("LabelEmbed/weight") for name in net.vars)


def _resized(rows: np.ndarray, count: int) -> np.ndarray:
    """The first so many rows, continued by their mean."""
    mean = rows.mean(axis=0, keepdims=True)
    return np.concatenate([rows[:count], np.repeat(mean, max(count - len(rows), 0), axis=0)])


def _embedding(net: Network, new: Network, name: str, count: int) -> np.ndarray:
    """Weights of `LabelEmbed` for another number of classes."""
    return _resized(net.get_var(name), count) * (coef_of(net, name) / coef_of(new, name))


def _mapping(net: Network, new: Network, old: int, count: int) -> _Values:
    """Variables of the mapping network."""
    dense, bias = "G_mapping/Dense0/weight", "G_mapping/Dense0/bias"
    embed, concat = "G_mapping/LabelEmbed/weight", "G_mapping/LabelConcat/weight"
    is_embedded = _embeds(net) or _embeds(new)
    if old and count:
        if is_embedded:
            return {embed: _embedding(net, new, embed, count)}
        return {concat: _resized(net.get_var(concat), count)}
    latent_size = net.input_shape[1]
    scale = coef_of(net, dense) / coef_of(new, dense)
    if not is_embedded and net.model.G_mapping.normalize_latents:
        scale *= 2 ** (0.5 if old else -0.5)  # Z is normalised together with as many numbers that are zero
    of_latents = net.get_var(dense)[:latent_size] * scale
    if count:
        rest = new.get_var(dense)[latent_size:] * (0 if is_embedded else 1)
        values: _Values = {dense: np.concatenate([of_latents, rest])}
        return values if is_embedded else {**values, concat: 0.0}
    values = {dense: of_latents}
    if is_embedded:
        label = _normalized(net.get_var("G_mapping/LabelEmbed/bias"))
        effect = label @ net.get_var(dense)[latent_size:] * coef_of(net, dense)
        values[bias] = net.get_var(bias) + effect / layer_of(net, bias).lrmul
    return values


def _normalized(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(np.square(x)) + 1e-8)


def _scores(net: Network, count: int) -> _Values:
    """Variables of the last layer of D, which has a score for each class."""
    base = net.model.resolution.first_log2
    names = ["Output/weight", f"{2**base}x{2**base}/Dense1/weight"]
    name = next(name for name in names if name in net.vars)
    bias = f"{name.rpartition('/')[0]}/bias"
    weights = _resized(net.get_var(name).T, count).T if count else net.get_var(name).mean(axis=1, keepdims=True)
    biases = _resized(net.get_var(bias), count) if count else net.get_var(bias).mean(keepdims=True)
    return {name: weights, bias: biases}


def _projection(net: Network, new: Network, old: int, count: int) -> _Values:
    """Variables of a D of StyleGAN2-ADA, whose score is the product of features with an embedded label."""
    if old and count:
        return {"LabelEmbed/weight": _embedding(net, new, "LabelEmbed/weight", count)}
    weight, bias = net.get_var("Output/weight"), net.get_var("Output/bias")
    if not count:
        labels = _embedded(net, np.eye(old, dtype=np.float32)).mean(axis=0)
        factors = (labels * len(labels) ** -0.5)[:, np.newaxis]
        return {"Output/weight": weight @ factors, "Output/bias": bias @ factors}
    assign(new, {"LabelEmbed/weight": 0, "LabelEmbed/bias": 1})
    label = _embedded(new, np.zeros([1, count], np.float32))[0]
    # Features times this give the old score. Were they along the label, it would be at a maximum, and never learn.
    along = label * (len(label) ** 0.5 / (label @ label))
    across = np.random.RandomState(0).randn(len(label)) * len(label) ** -0.5
    factors = along + across - label * (across @ label / (label @ label))
    return {"Output/weight": weight * factors, "Output/bias": bias * factors}


def _embedded(net: Network, labels: np.ndarray) -> np.ndarray:
    """What D makes of labels `[N, label_size]`, `[N, features]` in float64."""
    y = normalize_2nd_moment(net.model.LabelEmbed(tf.constant(labels)))
    for name in net.model.mapping_names:
        y = getattr(net.model, name)(y)
    return y.numpy().astype(np.float64)
