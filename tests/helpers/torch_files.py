"""Networks of StyleGAN2-ADA (PyTorch) as pickled modules, made of the tensors of `torch_reference`.

The layout of rosinality/stylegan2-pytorch and NVIDIA's are the same networks in other names, so that one reference
serves both. `weight_writers` writes what comes out here.
"""

import numpy as np
import weight_writers as writers

SOURCE = 'raise SystemExit("the source of a class was executed")\n'


def module(class_name, attributes=None, parameters=None, buffers=None, modules=None):
    """A module as `torch_utils.persistence` reduces it."""
    hooks = {f"_{kind}_hooks": {} for kind in ("backward", "forward", "forward_pre", "state_dict")}
    state = {
        "training": False,
        "_parameters": {key: writers.Parameter(x) for key, x in (parameters or {}).items()},
        "_buffers": dict(buffers or {}),
        "_non_persistent_buffers_set": set(),
        **hooks,
        "_modules": dict(modules or {}),
        "act_gain": np.float64(2**0.5),
        **(attributes or {}),
        "_init_args": (),
        "_init_kwargs": {},
    }
    meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": class_name, "state": state}
    return writers.Call(writers.Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))


def _filter(line):
    return (np.outer(line, line) / np.sum(line) ** 2).astype(np.float32)


def _dense(p, name, activation="linear", lr_multiplier=1):
    weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
    return module(
        "FullyConnectedLayer", {"activation": activation, "bias_gain": lr_multiplier}, {"weight": weight, "bias": bias}
    )


def _mapping(p, z_dim, c_dim, prefix="style.", **attributes):
    """A mapping network; `<prefix>0` is the embedding of labels, `<prefix>1` the first layer."""
    count = sum(f"{prefix}{idx}.weight" in p for idx in range(1, 100))
    layers = {f"fc{idx}": _dense(p, f"{prefix}{idx + 1}", "lrelu", 0.01) for idx in range(count)}
    if c_dim:
        layers["embed"] = _dense(p, f"{prefix}0")
    attributes = {"z_dim": z_dim, "c_dim": c_dim, "num_layers": count, **attributes}
    return attributes, layers


def generator(
    p,
    latent_avg,
    c_dim=0,
    z_dim=None,
    line=(1, 3, 3, 1),
    clamp=None,
    fp16_from=None,
    use_noise=True,
    **block_attributes,
):
    """A Generator. p: the tensors of `torch_reference.generator_tensors`. fp16_from: a resolution."""
    w_dim = len(latent_avg)
    attributes, layers = _mapping(p, w_dim if z_dim is None else z_dim, c_dim, w_dim=w_dim, w_avg_beta=0.998)
    mapping = module("MappingNetwork", attributes, {}, {"w_avg": latent_avg}, layers)

    def affine(name):
        return {"affine": _dense(p, f"{name}.conv.modulation")}

    def synthesis_layer(name, index, up):
        parameters = {"weight": p[f"{name}.conv.weight"][0], "bias": p[f"{name}.activate.bias"]}
        buffers = {"resample_filter": _filter(line if up == 2 else (1, 3, 3, 1))}
        if use_noise:
            parameters["noise_strength"] = p[f"{name}.noise.weight"].reshape(())
            buffers["noise_const"] = p[f"noises.noise_{index}"][0, 0]
        attributes = {"activation": "lrelu", "conv_clamp": clamp, "use_noise": use_noise, "up": up}
        return module("SynthesisLayer", attributes, parameters, buffers, affine(name))

    def to_rgb(name):
        parameters = {"weight": p[f"{name}.conv.weight"][0], "bias": p[f"{name}.bias"].reshape(-1)}
        return module("ToRGBLayer", {"conv_clamp": clamp}, parameters, {}, affine(name))

    def block(res, parameters, layers):
        use_fp16 = fp16_from is not None and res >= fp16_from
        attributes = {"architecture": "skip", "use_fp16": use_fp16, **block_attributes}
        return module("SynthesisBlock", attributes, parameters, {"resample_filter": _filter(line)}, layers)

    blocks = {
        "b4": block(
            4, {"const": p["input.input"][0]}, {"conv1": synthesis_layer("conv1", 0, 1), "torgb": to_rgb("to_rgb1")}
        )
    }
    idx = 0
    while f"to_rgbs.{idx}.bias" in p:
        layers = {
            "conv0": synthesis_layer(f"convs.{2 * idx}", 2 * idx + 1, 2),
            "conv1": synthesis_layer(f"convs.{2 * idx + 1}", 2 * idx + 2, 1),
            "torgb": to_rgb(f"to_rgbs.{idx}"),
        }
        blocks[f"b{8 << idx}"] = block(8 << idx, {}, layers)
        idx += 1
    image_channels = p["to_rgb1.bias"].shape[1]
    synthesis = module("SynthesisNetwork", {"img_channels": image_channels}, modules=blocks)
    return module("Generator", {"z_dim": w_dim}, modules={"synthesis": synthesis, "mapping": mapping})


def discriminator(p, c_dim=0, line=(1, 3, 3, 1), clamp=None, group_size=4, frozen=0):
    """A Discriminator. p: the tensors of `torch_reference.discriminator_tensors`, and for labels 'map.0.weight', ..."""
    frozen_left = frozen

    def conv(name, first, down=1, bias=True, can_freeze=True):
        nonlocal frozen_left
        tensors = {"weight": p[f"{name}.{first}.weight"]} | ({"bias": p[f"{name}.{first + 1}.bias"]} if bias else {})
        buffers = {"resample_filter": _filter(line if down == 2 else (1, 3, 3, 1))}
        attributes = {"activation": "lrelu", "conv_clamp": clamp, "up": 1, "down": down}
        if can_freeze and frozen_left:
            frozen_left -= 1
            return module("Conv2dLayer", attributes, {}, tensors | buffers)
        return module("Conv2dLayer", attributes, tensors, buffers)

    count = sum(f"convs.{idx}.conv1.0.weight" in p for idx in range(1, 20))
    modules = {}
    for idx in range(1, count + 1):
        layers = {"fromrgb": conv("convs.0", 0)} if idx == 1 else {}
        layers["conv0"] = conv(f"convs.{idx}.conv1", 0)
        layers["conv1"] = conv(f"convs.{idx}.conv2", 1, down=2)
        layers["skip"] = conv(f"convs.{idx}.skip", 1, down=2, bias=False)
        attributes = {"architecture": "resnet", "use_fp16": False}
        buffers = {"resample_filter": _filter(line)}
        modules[f"b{4 << (count - idx + 1)}"] = module("DiscriminatorBlock", attributes, {}, buffers, layers)
    last = {
        "mbstd": module("MinibatchStdLayer", {"group_size": group_size, "num_channels": 1}),
        "conv": conv("final_conv", 0, can_freeze=False),
        "fc": _dense(p, "final_linear.0", "lrelu"),
        "out": _dense(p, "final_linear.1"),
    }
    modules["b4"] = module("DiscriminatorEpilogue", {"architecture": "resnet"}, modules=last)
    if c_dim:
        attributes, layers = _mapping(p, 0, c_dim, "map.", w_dim=len(p["map.0.weight"]), w_avg_beta=None)
        modules["mapping"] = module("MappingNetwork", attributes, modules=layers)
    image_channels = p["convs.0.0.weight"].shape[1]
    return module("Discriminator", {"c_dim": c_dim, "img_channels": image_channels}, modules=modules)


def augment_pipe(p):
    return module("AugmentPipe", {"xflip": 1.0}, {}, {"p": np.float32(p), "Hz_geom": np.ones(12, np.float32)})
