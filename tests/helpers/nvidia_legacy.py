"""How NVIDIA's PyTorch repositories open pickles of TensorFlow, made of what is known of it; nothing is ours.

Arguments become those of the constructors, variables the tensors of the state dict (`nvidia_reference`). What is known
was found by running the official converter: `tests/goldens/ada/names`.
"""

import pickle
import re

import numpy as np

GENERATOR = {  # by the constructor's argument: that of TensorFlow, and what it is where a pickle does not say
    "z_dim": ("latent_size", 512),
    "c_dim": ("label_size", 0),
    "w_dim": ("dlatent_size", 512),
    "img_resolution": ("resolution", 1024),
    "img_channels": ("num_channels", 3),
    "mapping_kwargs": {
        "num_layers": ("mapping_layers", 8),
        "embed_features": ("label_fmaps", None),
        "layer_features": ("mapping_fmaps", None),
        "activation": ("mapping_nonlinearity", "lrelu"),
        "lr_multiplier": ("mapping_lrmul", 0.01),
        "w_avg_beta": ("w_avg_beta", 0.995),
    },
    "synthesis_kwargs": {
        "channel_base": ("fmap_base", 16384),
        "channel_max": ("fmap_max", 512),
        "num_fp16_res": ("num_fp16_res", 0),
        "conv_clamp": ("conv_clamp", None),
        "architecture": ("architecture", "skip"),
        "resample_filter": ("resample_kernel", [1, 3, 3, 1]),
        "use_noise": ("use_noise", True),
        "activation": ("nonlinearity", "lrelu"),
    },
}
DISCRIMINATOR = {
    "c_dim": ("label_size", 0),
    "img_resolution": ("resolution", 1024),
    "img_channels": ("num_channels", 3),
    "architecture": ("architecture", "resnet"),
    "channel_base": ("fmap_base", 16384),
    "channel_max": ("fmap_max", 512),
    "num_fp16_res": ("num_fp16_res", 0),
    "conv_clamp": ("conv_clamp", None),
    "cmap_dim": ("mapping_fmaps", None),
    "block_kwargs": {
        "activation": ("nonlinearity", "lrelu"),
        "resample_filter": ("resample_kernel", [1, 3, 3, 1]),
        "freeze_layers": ("freeze_layers", 0),
    },
    "mapping_kwargs": {
        "num_layers": ("mapping_layers", 0),
        "embed_features": ("mapping_fmaps", None),
        "layer_features": ("mapping_fmaps", None),
        "activation": ("nonlinearity", "lrelu"),
        "lr_multiplier": ("mapping_lrmul", 0.1),
    },
    "epilogue_kwargs": {
        "mbstd_group_size": ("mbstd_group_size", None),
        "mbstd_num_channels": ("mbstd_num_features", 1),
        "activation": ("nonlinearity", "lrelu"),
    },
}
WITHOUT_EFFECT = {"truncation_psi", "truncation_cutoff", "style_mixing_prob", "structure"}

# Tensors by the pattern of their names: the variable, and what is done with it.
SAME, TRANSPOSED, FIRST = (lambda v: v), (lambda v: v.T), (lambda v: v[0])
KERNEL, MIRRORED = (lambda v: v.transpose(3, 2, 0, 1)), (lambda v: v[::-1, ::-1].transpose(3, 2, 0, 1))
_LAYERS = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip", "fromrgb": "FromRGB"}


def generators_variable(name):
    if name == "mapping.w_avg":
        return "dlatent_avg", SAME
    if match := re.fullmatch(r"mapping\.(?:fc(\d+)|embed)\.(weight|bias)", name):
        layer = "LabelEmbed" if match[1] is None else f"Dense{match[1]}"
        return f"mapping/{layer}/{match[2]}", TRANSPOSED if match[2] == "weight" else SAME
    if name == "synthesis.b4.const":
        return "synthesis/4x4/Const/const", FIRST
    res, layer, leaf = re.fullmatch(r"synthesis\.b(\d+)\.(\w+)\.([\w.]+)", name).groups()
    scope = f"synthesis/{res}x{res}/{'Conv' if res == '4' and layer == 'conv1' else _LAYERS[layer]}"
    if leaf == "noise_const":
        log2 = int(np.log2(int(res)))
        return f"synthesis/noise{2 * log2 - (5 if layer == 'conv0' else 4)}", lambda v: v[0, 0]
    if leaf == "weight":
        return f"{scope}/weight", MIRRORED if layer in ("conv0", "skip") else KERNEL
    if leaf == "affine.weight":
        return f"{scope}/mod_weight", TRANSPOSED
    if leaf == "affine.bias":
        return f"{scope}/mod_bias", lambda v: v + 1
    return f"{scope}/{leaf}", SAME


def discriminators_variable(name):
    if match := re.fullmatch(r"mapping\.(?:fc(\d+)|embed)\.(weight|bias)", name):
        layer = "LabelEmbed" if match[1] is None else f"Mapping{match[1]}"
        return f"{layer}/{match[2]}", TRANSPOSED if match[2] == "weight" else SAME
    res, layer, leaf = re.fullmatch(r"b(\d+)\.(\w+)\.(weight|bias)", name).groups()
    if layer in ("fc", "out"):
        scope = "4x4/Dense0" if layer == "fc" else "Output"
        return f"{scope}/{leaf}", TRANSPOSED if leaf == "weight" else SAME
    layer = {"conv0": "Conv0", "conv1": "Conv1_down", "conv": "Conv"}.get(layer) or _LAYERS[layer]
    return f"{res}x{res}/{layer}/{leaf}", KERNEL if leaf == "weight" else SAME


class Stub:
    """A network of TensorFlow, of which nothing is executed."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return Stub if module == "dnnlib.tflib.network" and name == "Network" else super().find_class(module, name)


def opened(file):
    """The three networks of an open pickle. Raises ValueError for what the PyTorch repositories refuse."""
    nets = _Unpickler(file).load()
    if not (isinstance(nets, tuple) and len(nets) == 3 and all(isinstance(net, Stub) for net in nets)):
        raise ValueError("not three networks")
    if any(net.version < 4 for net in nets):
        raise ValueError("version")
    return nets


def read(file):
    """The networks (G, D, Gs) of an open pickle, each as class name, constructor's arguments and tensors by name.

    Raises ValueError as `opened`.
    """
    return [converted(net, "Generator" if net.components else "Discriminator") for net in opened(file)]


def converted(net, class_name):
    """See `read`."""
    import nvidia_reference

    variable_of = generators_variable if class_name == "Generator" else discriminators_variable
    kwargs = constructor(net, class_name)
    variables = dict(net.variables)
    for key, component in net.components.items():
        variables.update((f"{key}/{name}", value) for name, value in component.variables)
    tensors = {}
    for name, tensor in getattr(nvidia_reference, class_name)(**kwargs).state_dict().items():
        if name.endswith("resample_filter"):
            tensors[name] = tensor
            continue
        variable, change = variable_of(name)
        if variable not in variables:
            raise ValueError(f"{variable} is missing")
        tensors[name] = tensor.new_tensor(np.ascontiguousarray(change(np.asarray(variables[variable]))))
    return class_name, kwargs, tensors


def constructor(net, class_name):
    """The constructor's arguments. Raises ValueError for arguments that are not known."""
    of_class = GENERATOR if class_name == "Generator" else DISCRIMINATOR
    known = set(WITHOUT_EFFECT)

    def arguments(of_class):
        found = {}
        for key, value in of_class.items():
            if isinstance(value, dict):
                found[key] = arguments(value)
            else:
                known.add(value[0])
                found[key] = net.static_kwargs.get(*value)
                if key == "channel_base":  # times the resolution, not half of it
                    found[key] *= 2
        return found

    found = arguments(of_class)
    if net.static_kwargs.keys() - known:
        raise ValueError(f"unknown arguments {sorted(net.static_kwargs.keys() - known)}")
    return found
