"""Which networks a checkpoint of PyTorch holds, once it is read.

- NVIDIA's StyleGAN2-ADA and StyleGAN3 (config stylegan2): a pickle, or a file of torch.save, of
  {'G': ..., 'D': ..., 'G_ema': ..., 'augment_pipe': ...}, of some of these, or of one network. See `torch_networks`.
- rosinality/stylegan2-pytorch: a file of torch.save of {'g': ..., 'd': ..., 'g_ema': ..., 'latent_avg': ...}, of some
  of these, or of one state dict. See `rosinality_networks`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dnnlib.tflib.network_state import Maker, Makers, NetworkState, NetworkStateError

from . import nvidia_torch, rosinality
from .torch_modules import TorchModule


def networks_of(content: Any) -> Makers | None:
    """G, D and Gs of what a file holds, None for each that it lacks; None for a file of something else.

    Without a moving average, Gs is as G.
    """
    makers = _of_modules(content) or _of_state_dicts(content)
    if not makers:
        return None
    if "G" in makers:
        makers.setdefault("Gs", makers["G"])
    return makers.get("G"), makers.get("D"), makers.get("Gs")


def _of_modules(content: Any) -> dict[str, Maker]:
    if isinstance(content, TorchModule):
        content = {"D" if content.class_name == "Discriminator" else "G_ema": content}
    if not isinstance(content, dict):
        return {}
    makers: dict[str, Maker] = {}
    for key, name in (("G", "G"), ("D", "D"), ("G_ema", "Gs")):
        module = content.get(key)
        if isinstance(module, TorchModule):
            make = nvidia_torch.discriminator_state if key == "D" else nvidia_torch.generator_state
            makers[name] = partial(_made, key, make, module, name)
        elif makers and module is not None:
            makers[name] = partial(_made, key, _refused, module)
    if "D" in makers:
        makers["D"] = partial(_with_augment_p, makers["D"], nvidia_torch.augment_p(content.get("augment_pipe")))
    return makers


def _of_state_dicts(content: Any) -> dict[str, Maker]:
    if _is_state_dict(content):
        content = {"d" if rosinality.is_discriminator(content) else "g_ema": content}
    if not isinstance(content, dict):
        return {}
    latent_avg = content.get("latent_avg")
    latent_avg = latent_avg if isinstance(latent_avg, np.ndarray) else None
    makers: dict[str, Maker] = {}
    for key, name in (("g", "G"), ("g_ema", "Gs")):
        tensors = content.get(key)
        if _is_state_dict(tensors) and rosinality.is_generator(tensors):
            average = latent_avg if key == "g_ema" or "g_ema" not in content else None
            makers[name] = partial(_made, key, rosinality.generator_state, tensors, name, average)
    if _is_state_dict(content.get("d")) and rosinality.is_discriminator(content["d"]):
        make = partial(_made, "d", rosinality.discriminator_state, content["d"], "D")
        makers["D"] = partial(_with_augment_p, make, content.get("ada_aug_p"))
    return makers


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, dict) and bool(content) and all(isinstance(x, np.ndarray) for x in content.values())


def _made(key: str, make: Callable[..., NetworkState], *args: Any) -> NetworkState:
    """A state; errors say under which key of the file it is."""
    try:
        return make(*args)
    except NetworkStateError as error:
        raise NetworkStateError(f"{key}: {error}") from None


def _refused(content: Any) -> NetworkState:
    raise NetworkStateError(f"expected a network, got {_kind(content)}")


def _with_augment_p(make: Maker, p: Any) -> NetworkState:
    state = make()
    state.augment_p = _number(p)
    return state


def _number(value: Any) -> float | None:
    """A number, or an array of one; None for anything else."""
    array = np.asarray(value) if isinstance(value, (int, float, np.generic, np.ndarray)) else np.zeros(0)
    return float(array) if array.size == 1 and array.dtype.kind in "fiu" and np.isfinite(array).all() else None


# ----------------------------------------------------------------------------
# Files of something else.

_KNOWN_TENSORS = {
    "synthesis.b4.const": "a state dict of a generator of StyleGAN2-ADA, without what else describes it; give the .pkl",
    "b4.out.weight": "a state dict of a discriminator of StyleGAN2-ADA, without what else describes it; give the .pkl",
    "synthesis.input.freqs": "a state dict of a generator of StyleGAN3, which has other layers",
    "decoder.input.input": "an encoder with its generator (pSp, e4e and the like); give the generator's own file",
    "lin0.model.1.weight": "weights of LPIPS, a distance between images; run_projector.py takes them as --distance",
    "features.0.weight": "weights of a classifier (VGG, AlexNet or the like)",
    "Conv2d_1a_3x3.conv.weight": "weights of an Inception network, which measures images",
    "D.blocks.0.conv_res.weight": "a network of lucidrains/stylegan2-pytorch, which has other layers",
}


def describe(content: Any) -> str:
    """What a file holds that is no network known here: 'a dict of ...'."""
    if isinstance(content, TorchModule):
        return f"a {content.class_name} of PyTorch"
    if isinstance(content, np.ndarray):
        return "an array"
    if not isinstance(content, dict):
        return f"a {type(content).__name__.strip('_')}"
    for value in [content, *content.values()]:
        for name, meaning in _KNOWN_TENSORS.items():
            if isinstance(value, dict) and name in value:
                return meaning
    items = [f"{str(key)!r:.40} ({_kind(value)})" for key, value in list(content.items())[:6]]
    return f"a dict of {', '.join(items)}{', ...' if len(content) > 6 else ''}" if items else "an empty dict"


def _kind(value: Any) -> str:
    if isinstance(value, TorchModule):
        return f"a {value.class_name}"
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)}"
    return type(value).__name__.strip("_")
