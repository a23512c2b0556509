"""Which networks a checkpoint of PyTorch holds, once it is read.

- NVIDIA's StyleGAN2-ADA and StyleGAN3 (config stylegan2): a pickle, or a file of torch.save, of
  {'G': ..., 'D': ..., 'G_ema': ..., 'augment_pipe': ...}, of some of these, or of one network. See `nvidia_torch`.
- rosinality/stylegan2-pytorch: a file of torch.save of {'g': ..., 'd': ..., 'g_ema': ..., 'latent_avg': ...}, of some
  of these, or of one state dict. See `rosinality`.
- genforce and its sister projects: a file of torch.save of {'generator': ..., 'discriminator': ...,
  'generator_smooth': ...}, of some of these (of a training: under 'models'), or of one state dict. See `genforce`.
- adriansahlman/stylegan2_pytorch: a file of torch.save of one network. See `adriansahlman`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dnnlib.errors import listed, short
from dnnlib.formats.network_pickle import PickledNetwork
from dnnlib.tflib.network_state import Makers, NetworkState, NetworkStateError

from . import adriansahlman, genforce, nvidia_torch
from .rosinality import notes as rosinality_notes
from .rosinality import reading as rosinality
from .torch_modules import TorchModule


def networks_of(content: Any) -> Makers:
    """The networks in what a file holds; {} for a file of something else."""
    if adriansahlman.is_network(content):
        return _of_described(content)
    return _of_modules(content) or _of_state_dicts(content)


def _of_described(content: dict) -> Makers:
    """The network of a file of adriansahlman's."""
    makes = {"Generator": adriansahlman.generator_state, "Discriminator": adriansahlman.discriminator_state}
    class_name = content["name"]
    if not isinstance(class_name, str) or class_name not in makes:
        return {}
    role = "D" if class_name == "Discriminator" else "Gs"
    return {role: partial(_made, class_name, None, makes[class_name], content, role)}


def _of_modules(content: Any) -> Makers:
    if isinstance(content, TorchModule):
        content = {"D" if content.class_name == "Discriminator" else "G_ema": content}
    if not isinstance(content, dict):
        return {}
    makers: Makers = {}
    for key, name in (("G", "G"), ("D", "D"), ("G_ema", "Gs")):
        module = content.get(key)
        if isinstance(module, TorchModule):
            make = nvidia_torch.discriminator_state if key == "D" else nvidia_torch.generator_state
            pipe = content.get("augment_pipe") if key == "D" else None
            augment_p = pipe.buffers.get("p") if isinstance(pipe, TorchModule) else None
            makers[name] = partial(_made, key, augment_p, make, module, name)
        elif makers and module is not None:
            makers[name] = partial(_made, key, None, _refused, module)
    return makers


def _of_state_dicts(content: Any) -> Makers:
    content = _without_prefix(content)
    if _is_state_dict(content):
        is_discriminator = rosinality.is_discriminator(content) or genforce.is_discriminator(content)
        content = {"d" if is_discriminator else "g_ema": content}
    if isinstance(content, dict) and isinstance(content.get("models"), dict):  # a training of genforce
        content = content["models"]
    if not isinstance(content, dict):
        return {}
    content = {key: _without_prefix(value) for key, value in content.items()}
    latent_avg = content.get("latent_avg")
    latent_avg = latent_avg if isinstance(latent_avg, np.ndarray) else None
    entry = content.get(rosinality_notes.ENTRY)
    makers: Makers = {}
    for keys, name in ((("g", "generator"), "G"), (("g_ema", "generator_smooth"), "Gs")):
        for key in keys:
            tensors = content.get(key)
            if _is_state_dict(tensors) and rosinality.is_generator(tensors):
                average = latent_avg if key == "g_ema" or "g_ema" not in content else None
                makers[name] = partial(_made, key, None, rosinality.generator_state, tensors, name, average, entry)
            elif _is_state_dict(tensors) and genforce.is_generator(tensors):
                makers[name] = partial(_made, key, None, genforce.generator_state, tensors, name)
    for key in ("d", "discriminator"):
        tensors = content.get(key)
        augment_p = content.get("ada_aug_p")
        if _is_state_dict(tensors) and rosinality.is_discriminator(tensors):
            makers["D"] = partial(_made, key, augment_p, rosinality.discriminator_state, tensors, "D", entry)
        elif _is_state_dict(tensors) and genforce.is_discriminator(tensors):
            makers["D"] = partial(_made, key, augment_p, genforce.discriminator_state, tensors, "D")
    return makers


def _without_prefix(content: Any) -> Any:
    """A state dict without the prefix of all its names that `torch.nn.DataParallel` gives; other things as they are."""
    while _is_state_dict(content) and all(isinstance(key, str) and key.startswith(_PARALLEL) for key in content):
        content = {key.removeprefix(_PARALLEL): tensor for key, tensor in content.items()}
    return content


_PARALLEL = "module."


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, dict) and bool(content) and all(isinstance(x, np.ndarray) for x in content.values())


def _made(key: str, augment_p: Any, make: Callable[..., NetworkState], *args: Any) -> NetworkState:
    """A state, with the probability of augmentation, if that is a number. Errors say under which key of the file."""
    try:
        state = make(*args)
    except NetworkStateError as error:
        raise NetworkStateError(f"{key}: {error}") from None
    state.augment_p = _number(augment_p) if augment_p is not None else state.augment_p
    return state


def _refused(content: Any) -> NetworkState:
    raise NetworkStateError(f"expected a network, got {_kind(content)}")


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
    if isinstance(content, (tuple, list)):
        items = listed([_kind(item) for item in content], 6)
        return f"a {type(content).__name__} of {len(content)}{': ' if items else ''}{', '.join(items)}"
    if not isinstance(content, dict):
        return f"a {type(content).__name__.strip('_')}"
    if adriansahlman.is_network(content):
        return f"{short(content['name'])} of adriansahlman/stylegan2_pytorch; expected a Generator or a Discriminator"
    for value in [content, *content.values()]:
        for name, meaning in _KNOWN_TENSORS.items():
            if isinstance(value, dict) and name in value:
                return meaning
    items = [f"{short(str(key), 40)} ({_kind(value)})" for key, value in list(content.items())[:6]]
    return f"a dict of {', '.join(items)}{', ...' if len(content) > 6 else ''}" if items else "an empty dict"


def _kind(value: Any) -> str:
    if isinstance(value, TorchModule):
        return f"a {value.class_name}"
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)}"
    if isinstance(value, PickledNetwork):
        return "a network"
    return type(value).__name__.strip("_")
