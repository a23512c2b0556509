"""Which networks a checkpoint of PyTorch holds, once it is read.

- NVIDIA's StyleGAN2-ADA and StyleGAN3 (config stylegan2): a pickle, or a file of torch.save, of
  {'G': ..., 'D': ..., 'G_ema': ..., 'augment_pipe': ...}, of some of these, or of one network. See `torch_networks`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import torch_networks
from .network_state import NetworkState, NetworkStateError
from .torch_modules import TorchModule

# A network: called, it gives the state, or raises NetworkStateError.
Maker = Callable[[], NetworkState]


def networks_of(content: Any) -> tuple[Maker | None, Maker | None, Maker | None] | None:
    """G, D and Gs of what a file holds, None for each that it lacks; None for a file that is no checkpoint.

    Without a moving average, Gs is G.
    """
    if isinstance(content, TorchModule):
        content = {"D" if content.class_name == "Discriminator" else "G_ema": content}
    if not isinstance(content, dict):
        return None
    modules = {key: content[key] for key in ("G", "D", "G_ema") if isinstance(content.get(key), TorchModule)}
    if not modules:
        return None
    makers = {
        key: partial(
            _named, key, torch_networks.discriminator_state if key == "D" else torch_networks.generator_state, module
        )
        for key, module in modules.items()
    }
    if "G_ema" not in makers and "G" in makers:
        makers["G_ema"] = makers["G"]
    if "D" in makers:
        makers["D"] = partial(_with_augment_p, makers["D"], torch_networks.augment_p(content.get("augment_pipe")))
    return makers.get("G"), makers.get("D"), makers.get("G_ema")


def _named(key: str, make_state: Callable[[TorchModule, str], NetworkState], module: TorchModule) -> NetworkState:
    try:
        return make_state(module, "Gs" if key == "G_ema" else key)
    except NetworkStateError as error:
        raise NetworkStateError(f"{key}: {error}") from None


def _with_augment_p(make: Maker, p: float | None) -> NetworkState:
    state = make()
    state.augment_p = p
    return state


def describe(content: Any) -> str:
    """What a file holds that is no network: 'a dict of ...'."""
    if isinstance(content, TorchModule):
        return f"a {content.class_name:.80} of PyTorch"
    if isinstance(content, np.ndarray):
        return "an array"
    return f"a {type(content).__name__.strip('_')}"
