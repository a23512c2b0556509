"""What the layout of rosinality/stylegan2-pytorch implies of networks, and no tensor of its files tells."""

from collections.abc import Mapping
from typing import Any

from dnnlib.errors import short

IMPLIED = {
    "G_main": {
        "label_size": 0,
        "architecture": "skip",
        "use_noise": True,
        "nonlinearity": "lrelu",
        "mapping_nonlinearity": "lrelu",
        "normalize_latents": True,
        "dtype": "float32",
    },
    "D_stylegan2": {"label_size": 0, "architecture": "resnet", "nonlinearity": "lrelu", "dtype": "float32"},
}
IMPLIED["D_main"] = IMPLIED["D_stylegan2"] | {"score_size": 1, "score_max": 1}
"""Arguments by class, with the only value that they can have. Those of our classes have it by default."""


def contradictions(class_name: str, kwargs: Mapping[str, Any]) -> list[str]:
    """Arguments of a network that the layout cannot have, with what it expects. class_name: of `IMPLIED`."""
    return [
        f"{key}={short(kwargs[key])}, expected {short(value)}"
        for key, value in IMPLIED[class_name].items()
        if kwargs.get(key, value) != value
    ]
