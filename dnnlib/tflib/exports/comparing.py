"""What proves a network that was written: what it computes for a few inputs, before and after."""

from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib.network import Network

TOLERANCE = 1e-4
"""Of differences between what networks compute before and after, in units of the largest number, and of 1 at least."""
NUM_SAMPLES = 2
PSI = 0.7  # of truncation, which makes the average of W matter


class VerificationError(UserError):
    """A network that computes something else after it was written."""


def inputs_of(net: Network, num_samples: int = NUM_SAMPLES) -> list[np.ndarray]:
    """Inputs of a network that are always the same: normal numbers, and one-hot labels `[N, label_size]`."""
    random = np.random.RandomState(0)
    inputs = []
    for name, (_, *shape) in zip(net.input_names, net.input_shapes, strict=True):
        if name == "labels_in":
            classes = np.arange(num_samples)[:, np.newaxis] % max(shape[0], 1)
            inputs.append((np.arange(shape[0]) == classes).astype(np.float32))
        else:
            inputs.append(random.randn(num_samples, *shape).astype(np.float32))
    return inputs


def compute(net: Network, **kwargs: Any) -> np.ndarray:
    """What a network computes for `inputs_of` it, in 32 bit: images, scores, or W `[N, ...]`.

    kwargs: arguments of the network, in place of those that it was built with.
    """
    psi = {"truncation_psi": PSI} if "truncation_psi" in net.call_arguments() else {}
    kwargs = psi | exact_kwargs(net) | kwargs
    outputs = net.get_output_for(*map(tf.constant, inputs_of(net)), return_as_list=True, **kwargs)
    return outputs[0].numpy()


def exact_kwargs(net: Network) -> dict[str, Any]:
    """Arguments of calls of a network by which it computes in 32 bit, and with its own noise images."""
    kwargs: dict[str, Any] = {"randomize_noise": False} if "randomize_noise" in net.call_arguments() else {}
    if net.build_kwargs.get("dtype", "float32") != "float32":  # of all activations
        kwargs["dtype"] = "float32"
    return kwargs | net.model.float32_kwargs()


def largest_difference(before: np.ndarray, after: np.ndarray) -> float:
    """The largest difference of two arrays; what is infinite or no number in both is equal there."""
    if before.shape != after.shape:
        return np.inf
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    difference = np.zeros(before.shape)
    np.subtract(before, after, where=~same, out=difference)
    return float(np.max(np.nan_to_num(np.abs(difference), nan=np.inf, posinf=np.inf), initial=0))


def limit_of(before: np.ndarray) -> float:
    """`TOLERANCE` in the units of what is compared."""
    return TOLERANCE * max(1.0, float(np.max(np.abs(before), initial=0, where=np.isfinite(before))))
