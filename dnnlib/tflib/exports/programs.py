"""A generator as a function of named tensors, made of TensorFlow's own ops, without branches and without randomness.

It is what files of ONNX and LiteRT are made of. Inputs and outputs by entry (`ProgramOptions`), for any N:

- z: z `[N, latent_size]`, label `[N, label_size]` where there are labels, psi and cutoff (scalars) -> image
- w: w `[N, layers, dlatent_size]` -> image
- mapping: z, label, psi, cutoff -> w

psi 1 is no truncation; the first `cutoff` layers are truncated, those from there on are not. The noise images are those
of the network, none, or the inputs noise0, noise1, ... `[N or 1, 1, H, W]`. Images are `[N, C, H, W]` in [-1, 1], or
uint8 `[N, H, W, C]`. Everything is computed in 32 bit, at the level of detail of a growing network as it is now.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.formats.program_options import ProgramOptions
from dnnlib.tflib.network import Network
from dnnlib.tflib.ops import implementation
from dnnlib.tflib.tfutil import convert_images_to_uint8

from .comparing import PSI, exact_kwargs

NOTES_VERSION = 1
"""Of the notes of files."""

_LARGE = 512 * 512
"""Pixels of images of which less memory than of others is taken by comparing a few."""


class Program:
    """A generator as a function. `inputs`: specifications of its inputs by name, in order. `output`: 'image' or 'w'."""

    def __init__(self, net: Network, options: ProgramOptions, repeats_noise: bool = False):
        """repeats_noise: the network's own noise images but the first are repeated for each sample.

        They are no constants then, which a converter may join with those beside them: a noise image and a bias become
        an image of each channel.
        """
        self.net, self.options, self._repeats_noise = net, options, repeats_noise
        self.output = "w" if options.entry == "mapping" else "image"
        self._synthesis = net.components.synthesis
        shapes: dict[str, Any] = {"w": self._synthesis.input_shape}
        if options.entry != "w":
            z_shape, label_shape = net.input_shapes
            shapes = {"z": z_shape, "label": label_shape, "psi": [], "cutoff": []}
            if not label_shape[-1]:
                del shapes["label"]
        if options.entry != "mapping" and options.noise_mode == "inputs":
            shapes |= {name: (None, *shape[1:]) for name, shape in self._noise_shapes().items()}
        self.inputs = {name: tf.TensorSpec(shape, tf.float32, name) for name, shape in shapes.items()}
        self.function = tf.function(self._traced, input_signature=list(self.inputs.values()), autograph=False)
        """Of all inputs in order, to a dict of the output. Traced when it is first used."""

    @property
    def is_uint8(self) -> bool:
        """Whether it computes images of uint8 rather than float32."""
        return self.output == "image" and self.options.image == "uint8-nhwc"

    @property
    def num_layers(self) -> int:
        """How many layers W is given to."""
        return self._synthesis.input_shape[1]

    def _noise_shapes(self) -> dict[str, list[int]]:
        """By name, in order."""
        return {name: list(var.shape) for name, var in self._synthesis.vars.items() if name.startswith("noise")}

    def _traced(self, *tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        with implementation.using("ref"), self.net.model.without_branches():
            return {self.output: self._computed(dict(zip(self.inputs, tensors, strict=True)))}

    def _computed(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        kwargs = dict(self._noise(inputs))
        if self.options.entry == "w":
            image = self._synthesis.get_output_for(inputs["w"], **exact_kwargs(self._synthesis), **kwargs)
        else:
            image, w = self.net.get_output_for(
                inputs["z"],
                inputs.get("label"),
                truncation_psi=inputs["psi"],
                truncation_cutoff=inputs["cutoff"],
                is_training=False,
                is_validation=False,
                return_dlatents=True,
                **exact_kwargs(self.net),
                **kwargs,
            )
            if self.options.entry == "mapping":
                return w
        if self.is_uint8:
            image = convert_images_to_uint8(image, nchw_to_nhwc=True)
        return image

    def _noise(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        shapes = self._noise_shapes()
        if self.options.noise_mode == "inputs":
            return {"noise": [inputs[name] for name in shapes]} if "noise0" in inputs else {}
        if self.options.noise_mode == "none" or not shapes:
            return {"noise": [None for _ in shapes]} if shapes else {}
        first, *others = (self._synthesis.vars[name] for name in shapes)
        with tf.init_scope():
            known = first.numpy()  # so that generators compute what depends on it alone now
        if self._repeats_noise:
            num_samples = tf.shape(next(iter(inputs.values())))[0]
            others = [tf.tile(image, [num_samples, 1, 1, 1]) for image in others]
        return {"noise": [known, *others]}

    def notes(self) -> dict[str, str]:
        """What a file says of the network, by name. Numbers of truncation are those that the network has itself."""
        model, options = self.net.model, self.options
        psi, cutoff = (model.options[f"truncation_{name}"] for name in ("psi", "cutoff"))
        if cutoff is None:
            cutoff = self.num_layers if model.truncate_without_cutoff else 0
        _, num_channels, height, width = self._synthesis.output_shape
        notes = {
            "name": self.net.name,
            "func_name": f"{type(model).__module__}.{type(model).__name__}",
            "latent_size": self.net.input_shapes[0][1],
            "label_size": self.net.input_shapes[1][1],
            "dlatent_size": self._synthesis.input_shape[2],
            "num_layers": self.num_layers,
            "truncation_psi": 1.0 if psi is None else float(psi),
            "truncation_cutoff": min(max(math.ceil(cutoff), 0), self.num_layers),
            "resolution": f"{height}x{width}",
            "num_channels": num_channels,
            "source_format": self.net.source_format,
            "entry": options.entry,
            "noise_mode": options.noise_mode,
            "image": options.image,
            "weights": options.weights,
            "version": NOTES_VERSION,
        }
        return {key: str(value) for key, value in notes.items()}

    # ------------------------------------------------------------------------
    # Comparing.

    @functools.cached_property
    def examples(self) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Inputs of a few samples, and what the network itself computes: half of the layers truncated, and none."""
        layers = self.num_layers
        few = 2 if np.prod(self._synthesis.output_shape[2:]) > _LARGE else 3
        inputs = [self.example(1, PSI, layers // 2), self.example(few, 1.0, layers)]
        return [(values, self.expected(values)) for values in inputs]

    def example(self, num_samples: int, psi: float, cutoff: int) -> dict[str, np.ndarray]:
        """Inputs that are always the same: normal numbers, one-hot labels."""
        random = np.random.RandomState(num_samples)
        scalars = {"psi": psi, "cutoff": cutoff}
        values: dict[str, np.ndarray] = {}
        for name, spec in self.inputs.items():
            if name in scalars:
                values[name] = np.array(scalars[name], np.float32)
            elif name == "label":
                values[name] = np.eye(spec.shape[1], dtype=np.float32)[np.arange(num_samples) % spec.shape[1]]
            else:
                values[name] = random.randn(num_samples, *spec.shape[1:]).astype(np.float32)
        return values

    def expected(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the network itself computes, by the ops that it always takes."""
        with self.net.model.without_branches():
            return self._computed({name: tf.constant(value) for name, value in inputs.items()}).numpy()
