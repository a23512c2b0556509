"""Random weights of metric networks, under the names that each kind of file gives them."""

import numpy as np

from metrics.nets import builders

_ROLE_OF_GRAPH = {"bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
_ROLE_OF_TORCH = {"bias": "bn.bias", "mean": "bn.running_mean", "var": "bn.running_var"}


def random_weights(layers, seed=0):
    """`<layer>/<role>`, of a size that keeps activations alive."""
    rng = np.random.default_rng(seed)
    weights = {}
    for layer in layers:
        scale = np.float32(np.sqrt(2 / np.prod(layer.kernel[:-1])))
        weights[f"{layer.name}/weight"] = rng.standard_normal(layer.kernel, np.float32) * scale
        for role in layer.vectors:
            value = rng.random(layer.kernel[-1], np.float32) * np.float32(0.4)
            weights[f"{layer.name}/{role}"] = value + np.float32(0.8 if role == "var" else -0.1)
    return weights


def inception_weights():
    """Those of all convolutions, and `softmax`."""
    weights = random_weights(builders.INCEPTION)
    rng = np.random.default_rng(1)
    softmax = {"softmax/weight": rng.standard_normal((2048, 1008), np.float32) * np.float32(0.2)}
    return weights, {**softmax, "softmax/bias": rng.standard_normal(1008, np.float32)}


def inception_of_graph(weights, softmax):
    """As classify_image_graph_def.pb names them."""
    arrays = {}
    for layer in builders.INCEPTION:
        arrays[f"{layer.name}/conv2d_params"] = weights[f"{layer.name}/weight"]
        for role, name in _ROLE_OF_GRAPH.items():
            arrays[f"{layer.name}/batchnorm/{name}"] = weights[f"{layer.name}/{role}"]
        arrays[f"{layer.name}/batchnorm/gamma"] = np.ones(layer.kernel[-1], np.float32)
    arrays["Sub/y"] = np.float32(128)
    return {**arrays, "softmax/weights": softmax["softmax/weight"], "softmax/biases": softmax["softmax/bias"]}


def inception_of_torch(weights, softmax):
    """As pytorch-fid names them."""
    arrays = {}
    for layer in builders.INCEPTION:
        name = layer.aliases[0]
        arrays[f"{name}.conv.weight"] = weights[f"{layer.name}/weight"].transpose(3, 2, 0, 1)
        arrays[f"{name}.bn.weight"] = np.ones(layer.kernel[-1], np.float32)
        for role, torch_role in _ROLE_OF_TORCH.items():
            arrays[f"{name}.{torch_role}"] = weights[f"{layer.name}/{role}"]
        arrays[f"{name}.bn.num_batches_tracked"] = np.int64(0)
    return {**arrays, "fc.weight": softmax["softmax/weight"].T, "fc.bias": softmax["softmax/bias"]}


def inception_of_pickle(weights):
    """As the official pickle may name them: scopes of the graph, no gamma."""
    return {name.replace("/bias", "/beta"): value for name, value in weights.items()}


def lpips_weights():
    """Those of the convolutions, and of the linear layers, which are positive."""
    weights = random_weights([*builders.VGG_CONVS, *builders.LPIPS_LINEAR])
    return {name: np.abs(value) if "perceptual" in name else value for name, value in weights.items()}


def lpips_of_pickle(weights):
    """As vgg16_zhang_perceptual.pkl names them."""
    arrays = {}
    for layer in builders.VGG_CONVS:
        number = layer.name.removeprefix("conv")
        arrays[f"{layer.name}/{layer.name}"] = weights[f"{layer.name}/weight"]
        arrays[f"{layer.name}/bias{number}"] = weights[f"{layer.name}/bias"]
    return {**arrays, **{layer.name: weights[f"{layer.name}/weight"] for layer in builders.LPIPS_LINEAR}}


def lpips_of_torch(weights):
    """As the `lpips` package names its linear layers."""
    return {
        f"{layer.aliases[0]}.weight": weights[f"{layer.name}/weight"].transpose(3, 2, 0, 1)
        for layer in builders.LPIPS_LINEAR
    }


def vgg_of_torch(weights, layers):
    """As torchvision names them."""
    arrays = {}
    for layer in layers:
        value = weights[f"{layer.name}/weight"]
        arrays[f"{layer.aliases[0]}.weight"] = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        arrays[f"{layer.aliases[0]}.bias"] = weights[f"{layer.name}/bias"]
    return arrays
