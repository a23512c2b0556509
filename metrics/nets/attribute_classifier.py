"""Classifiers of the 40 attributes of CelebA-HQ: discriminators whose score tells whether a face has the attribute.

They were trained with the code of ProGAN or of StyleGAN. Both name their variables alike, but StyleGAN blurs before it
shrinks, and ProGAN does not. Which one it is follows from the build function and its arguments, read as text.
"""

import json
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib.network import Network
from dnnlib.tflib.network_state import NetworkState, source_defaults
from dnnlib.tflib.scope import VariableMismatchError
from training.nets.stylegan_discriminator import D_basic

from .metric_network import MetricNetwork, digest_of
from .weight_files import WeightFile, flat_variables

_MAX_LINES = 20  # of differences in a message
_PROGAN_DEFAULTS = {"fused_scale": True, "blur_filter": None}  # of D_paper, where they are no arguments or others


class AttributeClassifier:
    """Images [N, C, H, W], float -1..1, to logits [N, 1]."""

    def __init__(self, model: Any):
        self.model = model

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        if images.dtype.is_integer:
            raise ValueError(
                f"{self.model.name}: expected images of float numbers from -1 to 1, got {images.dtype.name}"
            )
        return self.model(tf.repeat(images, 3, axis=1) if images.shape[1] == 1 else images)


def build(file: WeightFile, name: str) -> MetricNetwork:
    """The classifier in an official pickle. Raises UserError if there is none."""
    state = file.network
    if state is None:
        raise UserError(f"{file.path}: a {file.kind}, expected the official pickle of {name}")
    try:
        kwargs = _arguments(state)
        variables = _variables(state, kwargs["structure"])
        net = Network.from_state(NetworkState(state.name, D_basic.__name__, "", kwargs, variables))
        net.prepare()
    except (VariableMismatchError, TypeError, ValueError, ArithmeticError, MemoryError) as error:
        reasons = str(error).splitlines()[:_MAX_LINES]
        raise UserError(f"{file.path}: {state.func_name} is no attribute classifier: " + "\n".join(reasons)) from None
    damaged = [variable for variable, value in variables.items() if not np.isfinite(value).all()]
    if damaged:
        raise UserError(f"{file.path}: the file is damaged: impossible numbers in {', '.join(damaged[:_MAX_LINES])}")
    if net.output_shape != [None, 1]:
        raise UserError(f"{file.path}: {state.func_name} has outputs {net.output_shape}, expected one for each image")
    blur = "with blur" if kwargs["blur_filter"] is not None else "without blur"
    return MetricNetwork(
        name,
        AttributeClassifier(net.model),
        source=f"{file.path} ({file.kind}, {state.func_name} {blur})",
        trunk_digest=digest_of(f"classifier {json.dumps(kwargs, sort_keys=True)}", variables),
        input_shapes=net.input_shapes[:1],
        output_shape=net.output_shape,
    )


def _arguments(state: NetworkState) -> dict[str, Any]:
    """The arguments of `D_basic` that make the network of a pickle."""
    defaults = D_basic.declared_arguments()
    declared = source_defaults(state.source).get(state.func_name, {})
    from_stylegan = state.func_name == D_basic.__name__ or "blur" in state.source
    effective = {**defaults, **({} if from_stylegan else _PROGAN_DEFAULTS), **declared, **state.static_kwargs}
    lod = float(np.asarray(state.variables.get("lod", 0)))
    # Without fading, all but the first of the layers from RGB are idle.
    effective.update(structure="fixed" if lod == 0 else "linear", dtype="float32")
    return {key: effective[key] for key in defaults}


def _variables(state: NetworkState, structure: str) -> dict[str, Any]:
    """The variables under the names of `D_basic`. ProGAN's Conv1 is followed by a shrinking of its own."""
    variables: dict[str, Any] = {"lod": np.float32(0)}
    for name, value in flat_variables(state).items():
        if structure == "fixed" and name.startswith("FromRGB_lod") and not name.startswith("FromRGB_lod0/"):
            continue
        variables[name.replace("/Conv1/", "/Conv1_down/")] = value
    return variables
