"""Networks as state dicts of NVIDIA's PyTorch networks, in safetensors files that `load_state_dict` takes strictly.

The metadata says how the class is called and its arguments, and describes the network as other files of arrays do. By
that it is read here again, bit for bit.
"""

import functools
import json
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dnnlib.formats import arrays as array_files
from dnnlib.resolutions import resolution_of
from dnnlib.tflib import network_state
from dnnlib.tflib.model_building import model_class_of, variable_shapes
from dnnlib.tflib.network import Network
from dnnlib.tflib.network_state import Makers, NetworkState, NetworkStateError

from . import descriptions, nvidia_torch, rounded_variables
from .descriptions import NOTE, Networks
from .foreign_variables import StoredAs, feature_map_arguments, taps_of, variables_of

CLASS_NAME = "class_name"  # in the metadata: what its presence tells such files by
_INIT_KWARGS, _ROUNDED = "init_kwargs", "rounded_variables"
_GENERATORS = ("training.networks.G_main", "training.networks_stylegan2.G_main")
_DISCRIMINATORS = ("training.networks.D_main", "training.networks_stylegan2.D_stylegan2")
_DEFAULT_FILTER = [1, 3, 3, 1]  # of layers that do not resample, too, which have one all the same
Kwargs = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]


def problems_of(net: Network) -> list[str]:
    """What of a network the PyTorch classes cannot be."""
    func_name, kwargs = _description(net)
    return _problems(func_name, kwargs, {name: tuple(var.shape) for name, var in net.vars.items()})


def write(nets: Mapping[str, Network], path: str) -> None:
    """Writes a network, the only one of `nets`, which has no `problems_of` it, to a new file."""
    ((role, net),) = nets.items()
    func_name, kwargs = _description(net)
    variables = {name: var.numpy() for name, var in net.vars.items()}
    stored_as = _stored_as(func_name)
    stored = {name: stored_as(name, x.shape) for name, x in variables.items() if name != "lod"}
    tensors = {of.name: of.tensor(variables[name]) for name, of in stored.items()}
    filters = _filters(func_name in _GENERATORS, kwargs["resample_kernel"], tensors)
    class_name, init_kwargs = constructor(net)
    notes = {
        CLASS_NAME: class_name,
        _INIT_KWARGS: json.dumps(init_kwargs),
        NOTE: descriptions.to_note({role: net}),
        _ROUNDED: rounded_variables.to_text(rounded_variables.rounded(variables, stored_as)),
    }
    with open(path, "xb") as file:
        array_files.write_safetensors(file, tensors | filters, notes)


def load(tensors: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> Makers:
    """The network of such a file. Raises NetworkStateError as `descriptions.read_note`; so does the maker."""
    described = descriptions.read_note(notes.get(NOTE, ""))
    kept = rounded_variables.from_text(notes.get(_ROUNDED, "{}"))
    if len(described) != 1:
        raise NetworkStateError(f"a state dict is of one network, its description of {len(described)}")
    return {role: functools.partial(_state, role, entry, tensors, kept) for role, entry in described.items()}


def refuse_undescribed(tensors: Container[str]) -> None:
    """Raises NetworkStateError for a state dict of these classes in a file that does not describe it."""
    for known in ("synthesis.b4.const", "b4.out.weight"):
        if known in tensors:
            raise NetworkStateError(
                "a state dict of StyleGAN2-ADA without the metadata of the file that run_convert.py wrote, which says "
                "what it is of; in PyTorch, save_file(state_dict, path, metadata) keeps it"
            )


def _state(
    role: str, entry: dict[str, Any], tensors: Mapping[str, np.ndarray], kept: Mapping[str, np.ndarray]
) -> NetworkState:
    state = descriptions.state_of(role, entry, {})
    plan = network_state.plan(state)
    shapes = variable_shapes(plan.class_name, plan.build_kwargs)
    kwargs = _all_kwargs(model_class_of(plan.class_name), plan.build_kwargs)
    problems = _problems(plan.class_name, kwargs, shapes)
    if problems:
        raise NetworkStateError("\n  ".join([f"{role}: it is described as what no state dict is of:", *problems]))
    stored_as = _stored_as(plan.class_name)
    variables = variables_of(shapes, tensors, stored_as, nvidia_torch.FILTER)
    for name, expected in _filters(plan.class_name in _GENERATORS, kwargs["resample_kernel"], tensors).items():
        found = tensors.get(name, expected)
        if found.shape != expected.shape or not np.allclose(found, expected, atol=1e-6):
            raise NetworkStateError(f"{role}: {name} is another filter than its description says")
    return replace(state, variables=rounded_variables.restored(variables, kept, stored_as))


# ----------------------------------------------------------------------------
# The constructor.


def lines_of(nets: Networks, path: str) -> list[str]:
    """The lines of Python by which PyTorch builds a network, the only one of `nets`, and loads a file; and notes."""
    ((role, net),) = nets.items()
    class_name, init_kwargs = constructor(net)
    arguments = ", ".join(f"{key}={value!r}" for key, value in init_kwargs.items())
    lines = [
        "import safetensors.torch, training.networks",
        f"{role} = training.networks.{class_name}({arguments}).eval()",
        f"{role}.load_state_dict(safetensors.torch.load_file({path!r}))",
    ]
    lines = [f"in PyTorch: {line}" for line in lines]
    _, kwargs = _description(net)
    if class_name == "Generator":
        exact = "noise_mode='const'" + (", force_fp32=True" if kwargs["num_fp16_res"] else "")
        lines.append(f"note: images are those of {exact}; without truncation_psi=... there is no truncation")
    elif kwargs["architecture"] == "skip" and kwargs["conv_clamp"] is not None and not kwargs.get("pytorch_details"):
        clamp = kwargs["conv_clamp"]
        lines.append(f"note: PyTorch does not clamp FromRGB at 4x4; scores differ where it is beyond {clamp} there")
    return lines


def constructor(net: Network) -> tuple[str, Kwargs]:
    """Class and arguments of a network in PyTorch; those that have their default in all its versions are left out.

    Raises NetworkStateError for feature maps that no arguments give.
    """
    func_name, kwargs = _description(net)
    shapes = {name: tuple(var.shape) for name, var in net.vars.items()}
    if func_name in _GENERATORS:
        return "Generator", _of_generator(kwargs, shapes)
    return "Discriminator", _of_discriminator(kwargs, shapes)


def _of_generator(kwargs: Kwargs, shapes: Shapes) -> Kwargs:
    w_dim, beta = kwargs["dlatent_size"], kwargs["dlatent_avg_beta"]
    mapping = {
        "num_layers": kwargs["mapping_layers"],
        "w_avg_beta": 1 if beta is None else beta,  # None there: no average at all, and no truncation
        **_unless(w_dim, embed_features=_label_fmaps(kwargs) if kwargs["label_size"] else w_dim),
        **_unless(w_dim, layer_features=kwargs["mapping_fmaps"] or w_dim),
        **_unless("lrelu", activation=kwargs["mapping_nonlinearity"]),
        **_unless(0.01, lr_multiplier=kwargs["mapping_lrmul"]),
    }
    synthesis = {
        **_of_sizes(kwargs, _channels_of_generator(shapes)),
        **_unless("skip", architecture=kwargs["architecture"]),
        **_unless(_DEFAULT_FILTER, resample_filter=taps_of(kwargs["resample_kernel"])),
        **_unless("lrelu", activation=kwargs["nonlinearity"]),
        **_unless(True, use_noise=bool(kwargs["use_noise"])),
    }
    return {
        "z_dim": kwargs["latent_size"],
        "c_dim": kwargs["label_size"],
        "w_dim": w_dim,
        **_of_images(kwargs),
        "mapping_kwargs": mapping,
        "synthesis_kwargs": synthesis,
    }


def _of_discriminator(kwargs: Kwargs, shapes: Shapes) -> Kwargs:
    channels = _channels_of_discriminator(shapes)
    activation = _unless("lrelu", activation=kwargs["nonlinearity"])
    block = {
        **activation,
        **_unless(_DEFAULT_FILTER, resample_filter=taps_of(kwargs["resample_kernel"])),
        **_unless(0, freeze_layers=kwargs.get("freeze_layers", 0)),
    }
    num_features = shapes["4x4/Conv/weight"][2] - channels[4]
    epilogue = {
        **activation,
        **_unless(4, mbstd_group_size=kwargs["mbstd_group_size"] if num_features else 4),
        **_unless(1, mbstd_num_channels=num_features),
    }
    result = {
        "c_dim": kwargs["label_size"],
        **_of_images(kwargs),
        **_unless("resnet", architecture=kwargs["architecture"]),
        **_of_sizes(kwargs, channels),
        "block_kwargs": block,
        "epilogue_kwargs": epilogue,
    }
    if kwargs["label_size"]:
        result |= _unless(channels[4], cmap_dim=shapes["Output/weight"][1])
        result["mapping_kwargs"] = {
            "num_layers": kwargs["mapping_layers"],
            **activation,
            **_unless(0.01, lr_multiplier=kwargs["mapping_lrmul"]),
        }
    return {key: value for key, value in result.items() if value != {}}


def _of_images(kwargs: Kwargs) -> Kwargs:
    resolution = resolution_of(kwargs["resolution"], kwargs["base"])
    return {"img_resolution": resolution.height, "img_channels": kwargs["num_channels"]}


def _of_sizes(kwargs: Kwargs, channels: dict[int, int]) -> Kwargs:
    """The arguments on feature maps, which are `min(channel_base // resolution, channel_max)`, and 16 bit."""
    base, most = 2 * kwargs["fmap_base"], kwargs["fmap_max"]
    if any(min(base // res, most) != count for res, count in channels.items()):
        found = feature_map_arguments(channels)
        base, most = 2 * found["fmap_base"], found["fmap_max"]
    keys = ("num_fp16_res", "conv_clamp")
    return {"channel_base": int(base), "channel_max": most, **{key: kwargs[key] for key in keys}}


def _unless(default: Any, **argument: Any) -> Kwargs:
    """An argument, if it is not the default."""
    ((key, value),) = argument.items()
    return {} if value == default and type(value) is type(default) else {key: value}


def _label_fmaps(kwargs: Kwargs) -> int:
    return kwargs["latent_size"] if kwargs["label_fmaps"] is None else kwargs["label_fmaps"]


# ----------------------------------------------------------------------------
# What a network is.


def _description(net: Network) -> tuple[str, Kwargs]:
    """The dotted name of a network's class, and all its arguments."""
    model_class = type(net.model)
    func_name = f"{model_class.__module__}.{model_class.__name__}"
    return func_name, _all_kwargs(model_class, net.build_kwargs)


def _all_kwargs(model_class: Any, build_kwargs: Kwargs) -> Kwargs:
    """Arguments of a network and its sub-networks, with defaults."""
    parts = (getattr(model_class, kind, ())[:1] for kind in ("synthesis_classes", "mapping_classes"))
    defaults: Kwargs = {}
    for cls in (*(cls for classes in parts for cls in classes), model_class):
        defaults.update(cls.declared_arguments())
    return {**defaults, **build_kwargs}


def _stored_as(func_name: str) -> StoredAs:
    return nvidia_torch.stored_in_generator if func_name in _GENERATORS else nvidia_torch.stored_in_discriminator


def _channels_of_generator(shapes: Shapes) -> dict[int, int]:
    """Feature maps by resolution."""
    return _channels(shapes, "G_synthesis/", "Conv1")


def _channels_of_discriminator(shapes: Shapes) -> dict[int, int]:
    return _channels(shapes, "", "Conv0")


def _channels(shapes: Shapes, scope: str, layer: str) -> dict[int, int]:
    channels = {4: shapes[f"{scope}4x4/Conv/weight"][-1]}
    res = 8
    while (name := f"{scope}{res}x{res}/{layer}/weight") in shapes:
        channels[res] = shapes[name][-1]
        res *= 2
    return channels


def _filters(is_generator: bool, kernel: Any, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The filters of blocks and layers, by name. All convolutions have one, also those that do not resample."""
    own = _filter(taps_of(kernel))
    default = _filter(_DEFAULT_FILTER)
    resampling = ("conv0" if is_generator else "conv1", "skip")
    found = {}
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        layer = path.rpartition(".")[2]
        if leaf != "weight" or tensor.ndim != 4 or layer == "torgb":
            continue
        found[f"{path}.{nvidia_torch.FILTER}"] = own if layer in resampling else default
        block = path.rpartition(".")[0]
        if block != "b4":  # the last one of a discriminator
            found[f"{block}.{nvidia_torch.FILTER}"] = own
    return found


def _filter(line: Any) -> np.ndarray:
    """A filter of sum 1, `[k, k]`; of 8 taps or more `[k]`, as PyTorch applies these to rows and columns in turn."""
    taps = np.asarray(line, np.float32)
    taps = taps if len(taps) >= 8 else np.outer(taps, taps)
    return taps / taps.sum()


# ----------------------------------------------------------------------------
# What does not fit.


def _problems(func_name: str, kwargs: Kwargs, shapes: Shapes) -> list[str]:
    """What of a network the PyTorch classes cannot be."""
    if func_name not in (*_GENERATORS, *_DISCRIMINATORS):
        return [f"{func_name} is neither of StyleGAN2 (config e or f) nor of StyleGAN2-ADA"]
    if kwargs.get("synthesis_func") == "G_synthesis_stylegan_revised":
        return ["synthesis_func=G_synthesis_stylegan_revised: growing generators (config b to d) have other layers"]
    problems = []
    resolution = resolution_of(kwargs["resolution"], kwargs["base"])
    if resolution.base != (4, 4):
        base = "x".join(map(str, resolution.base))
        problems.append(f"resolution={resolution}, base={base}: images are square there, and begin with 4x4")
    if resolution == resolution_of(4) and func_name in _DISCRIMINATORS:
        problems.append("resolution=4: discriminators are of 8x8 or more there")
    if kwargs["dtype"] != "float32":
        problems.append(f"dtype={kwargs['dtype']}: everything is float32 there, but for num_fp16_res")
    if kwargs["label_size"] and ".networks_stylegan2." in func_name:
        problems.append(f"label_size={kwargs['label_size']}: labels are those of StyleGAN2-ADA there, not StyleGAN2's")
    if problems:
        return problems
    is_generator = func_name in _GENERATORS
    channels = _channels_of_generator(shapes) if is_generator else _channels_of_discriminator(shapes)
    try:
        _of_sizes(kwargs, channels)
    except NetworkStateError as error:
        problems.append(str(error))
    return problems + (_problems_of_generator if is_generator else _problems_of_discriminator)(kwargs, shapes, channels)


def _problems_of_generator(kwargs: Kwargs, shapes: Shapes, channels: dict[int, int]) -> list[str]:
    problems = []
    const = shapes["G_synthesis/4x4/Const/const"][1]
    if const != channels[4]:
        problems.append(f"fmap_const={const}: the constant has as many feature maps as 4x4 there, {channels[4]}")
    if not kwargs["normalize_latents"]:
        problems.append("normalize_latents=False: Z is normalised there")
    return problems


def _problems_of_discriminator(kwargs: Kwargs, shapes: Shapes, channels: dict[int, int]) -> list[str]:
    problems = []
    dense = shapes["4x4/Dense0/weight"][1]
    if dense != channels[4]:
        problems.append(f"the dense layer at 4x4 has {dense} features, there as many as the convolution: {channels[4]}")
    if kwargs.get("score_max", 1) != 1:
        problems.append(f"score_max={kwargs['score_max']}: there is a single score there")
    return problems
