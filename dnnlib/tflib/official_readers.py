"""What the official programs that read network pickles know, and what is therefore written into ours.

The TensorFlow code of StyleGAN2 and StyleGAN2-ADA ignores arguments that it does not know. The readers in the PyTorch
versions of StyleGAN2-ADA and StyleGAN3 refuse files that have any.
"""

from typing import Any

_BOTH = {
    *("label_size", "resolution", "num_channels", "fmap_base", "fmap_max", "num_fp16_res", "conv_clamp"),
    *("architecture", "resample_kernel", "nonlinearity", "mapping_layers", "mapping_fmaps", "mapping_lrmul"),
    "structure",
}
_GENERATOR = _BOTH | {
    *("latent_size", "dlatent_size", "label_fmaps", "mapping_nonlinearity", "w_avg_beta", "use_noise"),
    *("truncation_psi", "truncation_cutoff", "style_mixing_prob"),
}
_DISCRIMINATOR = _BOTH | {"freeze_layers", "mbstd_group_size", "mbstd_num_features"}
PYTORCH = {"G_main": _GENERATOR, "D_stylegan2": _DISCRIMINATOR, "D_main": _DISCRIMINATOR}
"""The arguments that the readers of both PyTorch versions know, by function. They cannot read other networks."""
BESIDE = ("pytorch_details",)
"""Arguments of ours that change what is computed. Pickles hold them beside the official arguments, where all official
readers ignore them: those of TensorFlow have no such thing, and those of PyTorch compute so anyway."""
_OF_DEVICES = ("fp16_dtype",)  # the machine decides


def written_kwargs(net: Any, built_here: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a network that a pickle holds, and those of ours that it holds beside them.

    built_here: whether it is built by the official module itself. Then arguments that the PyTorch readers refuse are
    left out where they have their default. Otherwise its source may declare other defaults.
    """
    kwargs = {key: value for key, value in net.static_kwargs.items() if key not in (*_OF_DEVICES, *BESIDE)}
    known = PYTORCH.get(type(net.model).__name__)
    if built_here and known is not None:
        defaults = _defaults(net)
        kwargs = {key: x for key, x in kwargs.items() if key in known or key not in defaults or defaults[key] != x}
    return kwargs, {key: net.build_kwargs[key] for key in BESIDE if net.build_kwargs.get(key)}


def _defaults(net: Any) -> dict[str, Any]:
    """Defaults of a network's arguments and of those that it hands down."""
    defaults: dict[str, Any] = {}
    for model in (*net.model.components.values(), net.model):
        defaults.update(model.declared_arguments())
    return defaults
