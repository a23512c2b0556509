"""A generator as a TensorFlow SavedModel, which runs without this repository and without custom ops."""

import contextlib
import os
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from dnnlib.formats.checkpoint_formats import SAVED_MODEL_FILE
from dnnlib.tflib.network import Network
from dnnlib.tflib.ops import implementation

from .comparing import (
    PSI,
    VerificationError,
    compute,
    exact_kwargs,
    inputs_of,
    largest_difference,
    limit_of,
)


class SavedGenerator(tf.Module):
    """What is saved: the function `generator(z, label, psi)`, a signature of it, and the variables as `vars`.

    z `[N, latent_size]`, label `[N, label_size]` (None: zeros), psi a number (None: that of the network; 1: no
    truncation) -> image `[N, C, H, W]` in [-1, 1], for any N. The noise images are those of the network: nothing is
    random. The signature `serving_default` takes tensors, and all of them: z, label where there are labels, psi.

    It computes in 32 bit whatever the network was trained in: what 16-bit type is fast depends on the machine.
    """

    def __init__(self, net: Network):
        super().__init__(name="generator")
        self.vars = dict(net.vars)
        z_shape, label_shape = net.model.io_inputs.values()
        z = tf.TensorSpec(z_shape, tf.float32, "z")
        label = tf.TensorSpec(label_shape, tf.float32, "label")
        psi = tf.TensorSpec([], tf.float32, "psi")

        def generate(z: tf.Tensor, label: tf.Tensor, psi: tf.Tensor) -> tf.Tensor:
            with implementation.using("ref"):
                kwargs = {"is_training": False, "is_validation": False, "return_dlatents": False, **exact_kwargs(net)}
                return net.get_output_for(z, label, truncation_psi=psi, **kwargs)

        # The network is traced once; the other functions call this one.
        self._generate = tf.function(generate, input_signature=[z, label, psi], autograph=False)
        own_psi = net.model.options["truncation_psi"]
        self._psi = 1.0 if own_psi is None else float(own_psi)
        for some_label in (None, label):
            for some_psi in (None, psi):
                self.__call__.get_concrete_function(z, some_label, some_psi)
        specs = [z, label, psi] if label_shape[-1] else [z, psi]
        self._serve = tf.function(self._served, input_signature=specs, autograph=False)

    @tf.function(autograph=False)
    def __call__(self, z: tf.Tensor, label: Any = None, psi: Any = None) -> tf.Tensor:
        """Generates images: see the class."""
        if label is None:
            label = tf.zeros([tf.shape(z)[0], self._generate.input_signature[1].shape[1]])
        return self._generate(z, label, tf.constant(self._psi) if psi is None else psi)

    def _served(self, z: tf.Tensor, *label_and_psi: tf.Tensor) -> dict[str, tf.Tensor]:
        *label, psi = label_and_psi
        return {"image": self(z, *label, psi=psi)}

    def save(self, folder: str) -> None:
        """Writes the SavedModel to a new folder."""
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(self, folder, {"serving_default": self._serve}, options)
        _forget_custom_gradients(folder)


def _forget_custom_gradients(folder: str) -> None:
    """Makes gradients of a SavedModel those of TensorFlow's own ops, of which it consists.

    Otherwise each program that loads it is warned of gradients that are our code, which is not in the file.
    """
    path = os.path.join(folder, SAVED_MODEL_FILE)
    model = saved_model_pb2.SavedModel()
    with open(path, "rb") as file:
        model.ParseFromString(file.read())
    for meta_graph in model.meta_graphs:
        functions = meta_graph.graph_def.library.function
        for nodes in (meta_graph.graph_def.node, *(function.node_def for function in functions)):
            for node in nodes:
                node.attr.pop("_gradient_op_type", None)
    with open(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))
    with contextlib.suppress(FileNotFoundError):  # TensorFlow 2.15 writes one; it is of the content before
        os.unlink(os.path.join(folder, "fingerprint.pb"))


def write(net: Network, path: str) -> list[str]:
    """Writes a generator to a new folder, which is loaded and compared. Returns lines on it.

    Raises VerificationError where images are not the same.
    """
    SavedGenerator(net).save(path)
    generator = tf.saved_model.load(path)
    before, after = compute(net), generator(*inputs_of(net), psi=PSI).numpy()
    difference, limit = largest_difference(before, after), limit_of(before)
    line = f"images differ by {difference:.2g} at most (tolerance {limit:.2g})"
    if not difference <= limit:
        raise VerificationError(line)
    precision = " in 32 bit," if net.build_kwargs.get("num_fp16_res") else ""
    return [line, f"note: images are made{precision} with the noise images of the network; nothing is random"]
