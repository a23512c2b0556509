"""Builds each metric network from the files that hold its weights."""

from dataclasses import replace

import numpy as np

from dnnlib.errors import UserError

from . import catalog
from .inception import NUM_CLASSES, NUM_FEATURES, InceptionV3, SoftmaxHead, fold
from .inception_layers import CONVS
from .lpips import LPIPS
from .matching import LayerSpec, Matched, has_layers, match
from .metric_network import MetricNetwork, digest_of
from .vgg16 import FMAPS, TAP_FMAPS, VGG16, rows_by_pixel
from .weight_files import FROZEN_GRAPH, OFFICIAL_PICKLE, WeightFile

# ----------------------------------------------------------------------------
# Inception.

INCEPTION_TITLE = "Inception-v3 of 2015-12-05"
INCEPTION = [
    LayerSpec(conv.scope, (*conv.kernel, conv.in_fmaps, conv.fmaps), ("bias", "mean", "var"), (conv.torch_name,))
    for conv in CONVS
]

INCEPTION_SOFTMAX = LayerSpec(
    "softmax",
    (NUM_FEATURES, NUM_CLASSES),
    aliases=("fc", "output", "logits", "softmax/logits"),
    unused=("bias",),
    either_way=True,
)


def inception_features(file: WeightFile) -> MetricNetwork:
    """Images [N, C, H, W] to features [N, 2048]. Raises UserError if the weights do not fit."""
    return _inception(file, catalog.FEATURES, has_head=False)


def inception_softmax(file: WeightFile) -> MetricNetwork:
    """Images [N, C, H, W] to probabilities [N, 1008]. Raises UserError if the weights do not fit."""
    return _inception(file, catalog.SOFTMAX, has_head=True)


def _inception(file: WeightFile, name: str, has_head: bool) -> MetricNetwork:
    softmax = replace(INCEPTION_SOFTMAX, optional=not has_head)
    matched = match(file, [*INCEPTION, softmax], INCEPTION_TITLE, _hint(name))
    weights = _only(matched, INCEPTION)
    return MetricNetwork(
        name,
        InceptionV3.with_weights(fold(weights)),
        source=_source(file, matched),
        trunk_digest=digest_of(INCEPTION_TITLE, weights),
        output_shape=[None, NUM_CLASSES if has_head else NUM_FEATURES],
        head=SoftmaxHead(matched.weights["softmax/weight"]) if has_head else None,
        digest=digest_of(f"{INCEPTION_TITLE}, softmax", matched.weights) if has_head else "",
    )


# ----------------------------------------------------------------------------
# VGG-16.

VGG_TITLE = "VGG-16 of torchvision"
_TORCHVISION_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG_CONVS = [
    LayerSpec(f"conv{number}", (3, 3, in_fmaps, fmaps), ("bias",), (f"features.{_TORCHVISION_CONVS[number - 1]}",))
    for number, (in_fmaps, fmaps) in enumerate(zip((3, *FMAPS), FMAPS, strict=False), 1)
]
LPIPS_LINEAR = [
    LayerSpec(f"perceptual_weight_{idx}", (1, 1, fmaps, 1), aliases=(f"lin{idx}.model.1",))
    for idx, fmaps in enumerate(TAP_FMAPS)
]
VGG_FULLY_CONNECTED = [
    LayerSpec("fc1", (7 * 7 * FMAPS[-1], 4096), ("bias",), ("classifier.0",)),
    LayerSpec("fc2", (4096, 4096), ("bias",), ("classifier.3",)),
    LayerSpec("fc3", (4096, 1000), ("bias",), ("classifier.6",), optional=True),
]


def vgg16_features(file: WeightFile) -> MetricNetwork:
    """Images [N, C, H, W] to features [N, 4096].

    The rows of the first fully connected layer are taken as channel, y, x: so they are in torchvision, whose weights
    the official pickle holds for a network that works channels-first. If the source in a pickle speaks of channels-last
    alone, as y, x, channel. A frozen graph does not tell, and is refused.

    Raises UserError if the weights do not fit.
    """
    if file.kind == FROZEN_GRAPH:
        raise UserError(
            f"{file.path}: VGG-16 is not read from frozen graphs, which do not tell the order of features. "
        )
    layers = [*VGG_CONVS, *VGG_FULLY_CONNECTED]
    matched = match(file, layers, VGG_TITLE, _hint(catalog.VGG16))
    weights = _only(matched, layers[:-1])
    if not _is_channels_last(file):
        weights["fc1/weight"] = rows_by_pixel(weights["fc1/weight"])
    return MetricNetwork(
        catalog.VGG16,
        VGG16.with_weights(weights),
        source=_source(file, matched),
        trunk_digest=digest_of(VGG_TITLE, weights),
        output_shape=[None, 4096],
    )


def _is_channels_last(file: WeightFile) -> bool:
    source = file.network.source if file.kind == OFFICIAL_PICKLE and file.network is not None else ""
    return "NHWC" in source and "NCHW" not in source


def lpips(files: list[WeightFile]) -> MetricNetwork:
    """Two batches of images [N, C, H, W] to distances [N].

    files: the official pickle, or the linear layers of `lpips` and the convolutions of torchvision, in any order.

    Raises UserError if the weights do not fit.
    """
    title, hint = "LPIPS on VGG-16", _hint(catalog.LPIPS)
    if len(files) == 1:
        parts = [match(files[0], [*VGG_CONVS, *LPIPS_LINEAR], title, hint)]
    else:
        linear, convs = sorted(files, key=lambda file: not has_layers(file, LPIPS_LINEAR))
        parts = [
            match(linear, LPIPS_LINEAR, f"the linear layers of {title}", hint),
            match(
                convs, [*VGG_CONVS, *(replace(layer, optional=True) for layer in VGG_FULLY_CONNECTED)], VGG_TITLE, hint
            ),
        ]
    found = {name: value for part in parts for name, value in part.weights.items()}
    weights = {name: found[name] for spec in VGG_CONVS for name in (f"{spec.name}/weight", f"{spec.name}/bias")}
    weights.update((spec.name, found[f"{spec.name}/weight"]) for spec in LPIPS_LINEAR)
    return MetricNetwork(
        catalog.LPIPS,
        LPIPS.with_weights(weights),
        source=", ".join(_source(file, part) for file, part in zip(files, parts, strict=True)),
        trunk_digest=digest_of(title, weights),
        input_shapes=[[None, 3, None, None]] * 2,
        output_shape=[None],
    )


BUILDERS = {catalog.FEATURES: inception_features, catalog.SOFTMAX: inception_softmax, catalog.VGG16: vgg16_features}
"""Of networks whose weights are in one file, by official name."""

# ----------------------------------------------------------------------------
# Shared.


def _only(matched: Matched, layers: list[LayerSpec]) -> dict[str, np.ndarray]:
    """Weights of some of the layers."""
    names = [f"{layer.name}/{role}" for layer in layers for role in ("weight", *layer.vectors)]
    return {name: matched.weights[name] for name in names}


def _source(file: WeightFile, matched: Matched) -> str:
    return f"{file.path} ({file.kind}{', matched by order' if matched.by_order else ''})"


def _hint(name: str) -> str:
    return f"{name} is read from: {catalog.OFFICIAL[name].files()}."
