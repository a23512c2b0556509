"""Which official module a pickled build function is of: StyleGAN's, StyleGAN2's, StyleGAN2-ADA's; and its arguments."""

from dataclasses import dataclass
from typing import Any

from dnnlib import util
from dnnlib.errors import printable, short

SourceDefaults = dict[str, dict[str, Any]]


class UnsupportedNetworkError(ValueError):
    """A network that cannot be built here. The message names what is missing."""


@dataclass(frozen=True)
class OfficialModule:
    """A module of the official code, and the networks in it.

    title: of what it belongs to. name: of the module, whose classes have the names of the official build functions.
    state_version: of the pickles that we write. chooses_synthesis: whether a generator is told the name of its
    synthesis network.
    """

    title: str
    name: str
    functions: tuple[str, ...]
    state_version: int = 4
    chooses_synthesis: bool = True

    def class_of(self, func_name: str) -> Any:
        """The network class of one of its functions."""
        return util.get_obj_by_name(f"{self.name}.{func_name}")

    def arguments(
        self, func_name: str, static_kwargs: dict[str, Any], defaults: SourceDefaults
    ) -> tuple[str, dict[str, Any]]:
        """Class name, and all arguments, including defaults that the source declares differently."""
        if func_name not in self.functions:
            raise UnsupportedNetworkError(f"the {self.title} code has no network of this name")
        class_name = f"{self.name}.{func_name}"
        known = self.class_of(func_name).declared_arguments()
        declared = defaults.get(func_name, {})
        changed = {key: value for key, value in declared.items() if key in known and not _same(value, known[key])}
        return class_name, {**changed, **static_kwargs}

    def merge_component(
        self, build_kwargs: dict[str, Any], key: str, component_class: str, component_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Arguments of a generator joined with those of a component, which take effect there."""
        merged = dict(build_kwargs)
        for name, value in component_kwargs.items():
            if name == "dlatent_broadcast":
                continue
            if name in merged and not _same(merged[name], value):
                raise UnsupportedNetworkError(
                    f"component {short(key)} was built with {printable(name)}={short(value)}, the network with "
                    f"{short(merged[name])}"
                )
            merged[name] = value
        if key == "synthesis" and self.chooses_synthesis:
            merged["synthesis_func"] = component_class.rsplit(".", 1)[1]
        return merged


STYLEGAN = OfficialModule(
    "StyleGAN",
    "training.networks_stylegan",
    ("G_style", "G_mapping", "G_synthesis", "D_basic"),
    chooses_synthesis=False,
)
STYLEGAN2 = OfficialModule(
    "StyleGAN2",
    "training.networks_stylegan2",
    (
        *("G_main", "G_mapping", "G_synthesis_stylegan2", "G_synthesis_stylegan_revised"),
        *("D_stylegan2", "D_stylegan"),
    ),
)
STYLEGAN2_ADA = OfficialModule(
    "StyleGAN2-ADA",
    "training.networks",
    ("G_main", "G_mapping", "G_synthesis", "D_main"),
    state_version=5,
)
_MODULES = (STYLEGAN, STYLEGAN2, STYLEGAN2_ADA)


def identify(func_name: str, defaults: SourceDefaults, imported_modules: set[str]) -> OfficialModule:
    """The module of a build function, by its name and what its source declares or imports.

    Raises UnsupportedNetworkError for functions of other projects.
    """
    for module in _MODULES:
        if module.name in imported_modules and func_name in module.functions:
            return module
    if func_name == "D_main" or (func_name in STYLEGAN2_ADA.functions and "D_main" in defaults):
        return STYLEGAN2_ADA
    if func_name == "G_synthesis":
        return STYLEGAN
    if func_name == "G_mapping":
        return STYLEGAN if "G_style" in defaults or "use_wscale" in defaults.get("G_mapping", {}) else STYLEGAN2
    for module in (STYLEGAN2, STYLEGAN):
        if func_name in module.functions:
            return module
    known = sorted({name for module in _MODULES for name in module.functions})
    reason = " (a ProGAN network)" if func_name in ("G_paper", "D_paper") else ""
    raise UnsupportedNetworkError(f"this version cannot build {short(func_name)}{reason}; it knows {', '.join(known)}")


def import_source(module: str) -> str:
    """The source text in pickles of networks built here.

    It lets the official repository, which executes it, build them with its own code. StyleGAN2-ADA's has no module of
    StyleGAN2, but computes the same where there are no labels.
    """
    source = f'"""Networks of this pickle are those of the official module."""\n\nfrom {module} import *\n'
    return _WITH_ADA if module == STYLEGAN2.name else source


_WITH_ADA = '''"""Networks of this pickle are those of the official module, or without labels of StyleGAN2-ADA's."""

try:
    from training.networks_stylegan2 import *
except ImportError:
    import numpy as np
    import tensorflow as tf
    from training import networks

    def unknown(inputs, **_kwargs):
        raise ImportError("this network needs the code of StyleGAN2: training.networks_stylegan2")

    def without_labels(label_size=0, **kwargs):
        return unknown(None) if label_size else kwargs

    def G_main(latents_in, labels_in, **kwargs):
        tf.get_variable("lod", initializer=np.float32(0), trainable=False)
        return networks.G_main(latents_in, labels_in, **without_labels(**kwargs))

    def G_mapping(latents_in, labels_in, mapping_fmaps=512, **kwargs):
        return networks.G_mapping(latents_in, labels_in, mapping_fmaps=mapping_fmaps, **without_labels(**kwargs))

    def G_synthesis_stylegan2(dlatents_in, **kwargs):
        return networks.G_synthesis(dlatents_in, **kwargs)

    def D_stylegan2(images_in, labels_in, mbstd_group_size=4, mbstd_num_features=1, **kwargs):
        kwargs = without_labels(**kwargs)
        kwargs["mbstd_num_features"] = mbstd_num_features if mbstd_group_size > 1 else 0
        return networks.D_main(images_in, labels_in, mbstd_group_size=mbstd_group_size, **kwargs)

    G_synthesis_stylegan_revised = D_stylegan = unknown
'''


def modules() -> list[str]:
    """The names of all modules."""
    return [module.name for module in _MODULES]


def module_of(model_class: type) -> OfficialModule | None:
    """The official module of a network class, which bears its name; None: one of somebody's own."""
    for module in _MODULES:
        if model_class.__module__ == module.name and model_class.__name__ in module.functions:
            return module
    return None


def _same(a: Any, b: Any) -> bool:
    a, b = (list(x) if isinstance(x, tuple) else x for x in (a, b))
    return type(a) is type(b) and a == b if isinstance(a, bool) or isinstance(b, bool) else a == b


# ----------------------------------------------------------------------------
# What the official programs that read network pickles know, and what is therefore written into ours.
#
# The TensorFlow code of StyleGAN2 and StyleGAN2-ADA ignores arguments that it does not know. The readers in the PyTorch
# versions of StyleGAN2-ADA and StyleGAN3 refuse files that have any.

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
        defaults = defaults_of(net)
        kwargs = {key: x for key, x in kwargs.items() if key in known or key not in defaults or defaults[key] != x}
    return kwargs, {key: net.build_kwargs[key] for key in BESIDE if net.build_kwargs.get(key)}


def refused_by_pytorch(net: Any, func_name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Those arguments of a network for which these readers refuse a pickle with them, if they read its kind."""
    known = PYTORCH.get(func_name, kwargs)
    refused = {key: x for key, x in kwargs.items() if key not in known}
    resolution = getattr(net.model, "resolution", None)
    if "resolution" in kwargs and resolution is not None and resolution.base != (4, 4):
        refused["resolution"] = kwargs["resolution"]
    if kwargs.get("label_size") and module_of(type(net.model)) is STYLEGAN2:
        refused["label_size"] = kwargs["label_size"]
    return refused


def otherwise_in_pytorch(net: Any, func_name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Those arguments of a network that a pickle with these does not name, and that these readers take otherwise."""
    if func_name not in PYTORCH:
        return {}
    every = defaults_of(net) | net.build_kwargs
    width = every.get("dlatent_size")  # what inner layers and labels have there; D has groups of the whole minibatch
    theirs = {"mbstd_group_size": None, "mapping_fmaps": width}
    ours = {key: every.get(key) for key in theirs}
    if width is not None and every["label_size"]:
        theirs["label_fmaps"], ours["label_fmaps"] = width, every.get("label_fmaps") or every["latent_size"]
    return {key: x for key, x in ours.items() if key not in kwargs and x not in (None, theirs[key])}


def defaults_of(net: Any) -> dict[str, Any]:
    """Defaults of a network's arguments and of those that it hands down, by name."""
    defaults: dict[str, Any] = {}
    for model in (*net.model.components.values(), net.model):
        defaults.update(model.declared_arguments())
    return defaults
