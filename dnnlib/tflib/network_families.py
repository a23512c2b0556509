"""Which network a pickled build function is: StyleGAN, StyleGAN2 or StyleGAN2-ADA, and with which arguments."""

import importlib
import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib import util

SourceDefaults = dict[str, dict[str, Any]]

# Arguments of build functions that are inputs or describe TensorFlow 1 graphs.
_NOT_OPTIONS = {
    *("latents_in", "labels_in", "dlatents_in", "images_in", "components"),
    *("is_template_graph", "force_clean_graph"),
}


class UnsupportedNetworkError(ValueError):
    """A network that cannot be built here. The message names what is missing."""


@dataclass(frozen=True)
class Family:
    """Networks that come from one module of official code.

    module: our module. functions: official build function -> our class. keeps_source: whether networks are written
    again with the source they came with, which calls for the same function names.
    """

    title: str
    module: str
    functions: dict[str, str]
    keeps_source: bool = True

    def arguments(
        self, func_name: str, static_kwargs: dict[str, Any], defaults: SourceDefaults
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Class name, static arguments, and all arguments including defaults that the source declares differently."""
        if func_name not in self.functions:
            raise UnsupportedNetworkError(f"the {self.title} code has no network of this name")
        class_name = f"{self.module}.{self.functions[func_name]}"
        known = own_arguments(util.get_obj_by_name(class_name))
        declared = defaults.get(func_name, {})
        changed = {key: value for key, value in declared.items() if key in known and not _same(value, known[key])}
        return class_name, dict(static_kwargs), {**changed, **static_kwargs}

    def merge_component(
        self, build_kwargs: dict[str, Any], key: str, component_class: str, component_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Arguments of a generator joined with those of a component, which take effect there."""
        merged = dict(build_kwargs)
        component_kwargs = {name: value for name, value in component_kwargs.items() if name != "dlatent_broadcast"}
        for name, value in component_kwargs.items():
            if name in merged and not _same(merged[name], value):
                raise UnsupportedNetworkError(
                    f"component {key!r} was built with {name}={value!r}, the network with {merged[name]!r}"
                )
            merged[name] = value
        return {**merged, **self._component_choice(key, component_class)}

    def _component_choice(self, key: str, component_class: str) -> dict[str, Any]:
        return {}

    def implied_variables(self, class_name: str) -> dict[str, Any]:
        """Variables that our class has and files of this family do not."""
        return {}


class StyleGAN2Family(Family):
    """Configs b to f."""

    def _component_choice(self, key: str, component_class: str) -> dict[str, Any]:
        return {"synthesis_func": component_class.rsplit(".", 1)[1]} if key == "synthesis" else {}


# Arguments that only StyleGAN2-ADA has, with the values under which its networks are those of StyleGAN2.
_ADA_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "use_noise": (True,),
    "fmap_const": (None,),
    "label_size": (0,),
    "score_size": (1,),
    "use_pagan": (False,),
    "use_spectral_norm": (False,),
    "adaptive_dropout": (0,),
}
_ADA_WITHOUT_EFFECT = {
    *("label_fmaps", "augment_strength", "pagan_num", "pagan_fade", "score_max", "freeze_layers"),
}


class StyleGAN2ADAFamily(StyleGAN2Family):
    """Networks of StyleGAN2-ADA, as far as they are those of StyleGAN2 under other names."""

    def arguments(
        self, func_name: str, static_kwargs: dict[str, Any], defaults: SourceDefaults
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        effective = {**defaults.get(func_name, {}), **static_kwargs}
        extra = {
            key: effective[key]
            for key, neutral in _ADA_NEUTRAL.items()
            if effective.get(key, neutral[0]) not in neutral
        }
        if extra:
            listed = ", ".join(f"{key}={value!r}" for key, value in extra.items())
            raise UnsupportedNetworkError(f"StyleGAN2-ADA networks with {listed} cannot be built by this version")
        dropped = (_ADA_NEUTRAL.keys() | _ADA_WITHOUT_EFFECT) - {"label_size"}
        if func_name == "D_main":
            dropped |= {"mapping_layers", "mapping_fmaps", "mapping_lrmul"}  # of labels, which there are none
        kwargs = {key: value for key, value in static_kwargs.items() if key not in dropped}
        if func_name in ("G_main", "G_mapping") and effective.get("mapping_fmaps") is None:
            kwargs["mapping_fmaps"] = effective.get("dlatent_size", 512)
        if func_name == "D_main" and effective.get("mbstd_group_size") is None:
            kwargs["mbstd_group_size"] = 1 << 30  # the whole minibatch
        known_defaults = {
            name: {key: value for key, value in arguments.items() if key not in dropped and value is not None}
            for name, arguments in defaults.items()
        }
        class_name, _, build_kwargs = super().arguments(func_name, kwargs, known_defaults)
        return class_name, kwargs, build_kwargs

    def merge_component(
        self, build_kwargs: dict[str, Any], key: str, component_class: str, component_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        build_kwargs = {name: value for name, value in build_kwargs.items() if name != "synthesis_func"}
        if key == "synthesis":  # only the mapping network knows what mapping_fmaps=None means
            component_kwargs = {name: value for name, value in component_kwargs.items() if name != "mapping_fmaps"}
        return super().merge_component(build_kwargs, key, component_class, component_kwargs)

    def implied_variables(self, class_name: str) -> dict[str, Any]:
        return {"lod": np.float32(0)} if class_name.endswith(".G_main") else {}


STYLEGAN = Family(
    "StyleGAN",
    "training.networks_stylegan",
    {name: name for name in ("G_style", "G_mapping", "G_synthesis", "D_basic")},
)
STYLEGAN2 = StyleGAN2Family(
    "StyleGAN2",
    "training.networks_stylegan2",
    {
        name: name
        for name in (
            *("G_main", "G_mapping", "G_synthesis_stylegan2", "G_synthesis_stylegan_revised"),
            *("D_stylegan2", "D_stylegan"),
        )
    },
)
STYLEGAN2_ADA = StyleGAN2ADAFamily(
    "StyleGAN2-ADA",
    "training.networks_stylegan2",
    {
        "G_main": "G_main",
        "G_mapping": "G_mapping",
        "G_synthesis": "G_synthesis_stylegan2",
        "D_main": "D_stylegan2",
    },
    keeps_source=False,
)


def identify(func_name: str, defaults: SourceDefaults, imported_modules: set[str]) -> Family:
    """The family of a build function, by its name and what its source declares or imports.

    Raises UnsupportedNetworkError for functions of other projects.
    """
    if func_name in ("D_main",) or (func_name in STYLEGAN2_ADA.functions and "D_main" in defaults):
        return STYLEGAN2_ADA
    if func_name == "G_synthesis":
        return STYLEGAN
    for family in (STYLEGAN, STYLEGAN2):
        if family.module in imported_modules and func_name in family.functions:
            return family
    if func_name == "G_mapping":
        return STYLEGAN if "G_style" in defaults or "use_wscale" in defaults.get("G_mapping", {}) else STYLEGAN2
    for family in (STYLEGAN2, STYLEGAN):
        if func_name in family.functions:
            return family
    known = sorted({*STYLEGAN.functions, *STYLEGAN2.functions, *STYLEGAN2_ADA.functions})
    reason = " (a ProGAN network)" if func_name in ("G_paper", "D_paper") else ""
    raise UnsupportedNetworkError(f"this version cannot build {func_name!r:.80}{reason}; it knows {', '.join(known)}")


def official_module(model_class: type) -> str:
    """The official module that holds a network class, which may be defined in a module of its own here."""
    for family in (STYLEGAN2, STYLEGAN):
        if getattr(importlib.import_module(family.module), model_class.__name__, None) is model_class:
            return family.module
    return model_class.__module__


def own_arguments(model_class: type) -> dict[str, Any]:
    """The arguments that a network class declares itself, with their defaults."""
    parameters = inspect.signature(model_class.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in _NOT_OPTIONS}


def _same(a: Any, b: Any) -> bool:
    a, b = (list(x) if isinstance(x, tuple) else x for x in (a, b))
    return type(a) is type(b) and a == b if isinstance(a, bool) or isinstance(b, bool) else a == b
