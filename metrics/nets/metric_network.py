"""Metric networks as metrics use them: callable like the official networks, with channels-first images.

A network is a trunk, which is where the time goes, and a small head. Networks with equal trunks, such as the two
Inception networks, are computed together by `combine`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_MINIBATCH = 16  # what `run` computes at once unless told otherwise
Shape = Sequence[int | None]


class _Runnable:
    """Runs a computation eagerly, inside of a `tf.function`, or on NumPy arrays in minibatches."""

    name: str
    input_shapes: list[list[int | None]]

    def __init__(self) -> None:
        self._functions: dict[Any, Any] = {}

    def _outputs(self, *inputs: tf.Tensor) -> list[tf.Tensor]:
        raise NotImplementedError

    def _get_outputs(self, inputs: Sequence[Any]) -> list[tf.Tensor]:
        tensors = self._checked([tf.convert_to_tensor(x) for x in self._present(inputs)])
        return self._outputs(*tensors) if tf.inside_function() else self._compiled(tensors)

    def _run(self, arrays: Sequence[Any], minibatch_size: int | None) -> list[np.ndarray]:
        arrays = self._checked([np.asarray(x) for x in self._present(arrays)])
        size = _MINIBATCH if minibatch_size is None else minibatch_size
        if size < 1:
            raise ValueError(f"{self.name}.run: minibatch_size must be 1 or more, got {size}")
        num_items = len(arrays[0])
        if num_items == 0 or any(len(array) != num_items for array in arrays):
            raise ValueError(f"{self.name}.run: inputs have {', '.join(str(len(array)) for array in arrays)} items")
        pieces = []
        for begin in range(0, num_items, size):
            batch = [tf.constant(array[begin : begin + size]) for array in arrays]
            pieces.append([output.numpy() for output in self._compiled(batch)])
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]

    def _compiled(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """The outputs by a function that is compiled once for each size of images, whatever their number."""
        specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in tensors]
        key = tuple((spec.dtype, tuple(spec.shape)) for spec in specs)
        if key not in self._functions:
            self._functions[key] = tf.function(self._outputs, input_signature=specs, autograph=False)
        return self._functions[key](*tensors)

    def _present(self, inputs: Sequence[Any]) -> list[Any]:
        """The inputs without labels, which callers of the official classifiers give as None."""
        given = [x for x in inputs if x is not None]
        if len(given) != len(self.input_shapes) or any(x is None for x in inputs[: len(given)]):
            raise ValueError(f"{self.name}: expected {len(self.input_shapes)} inputs, got {len(given)}")
        return given

    def _checked(self, inputs: list[Any]) -> list[Any]:
        for x, expected in zip(inputs, self.input_shapes, strict=True):
            shape = tf.TensorShape(x.shape)
            allowed = [expected, [expected[0], 1, *expected[2:]]]
            if not any(shape.is_compatible_with(candidate) for candidate in allowed):
                sizes = ", ".join("any" if n is None else str(n) for n in expected[1:])
                raise ValueError(f"{self.name}: expected images of shape [N, {sizes}], got {list(x.shape)}")
        return inputs


class MetricNetwork(_Runnable):
    """A network with weights.

    Attributes:
        name: official name, e.g. 'inception_v3_features'.
        source: where the weights came from, for people.
        digest: hex sha256 over the names, shapes and values of the weights, whatever file they came in. It identifies
            features in caches.
        trunk_digest: the same for the trunk alone.
        trunk: Keras model.
        input_shapes: [None, 3, None, None] for images of any size, one for each input.
        output_shape: [None, 2048].
    """

    def __init__(
        self,
        name: str,
        trunk: Any,
        *,
        source: str,
        trunk_digest: str,
        output_shape: Shape,
        input_shapes: Sequence[Shape] = ((None, 3, None, None),),
        head: Callable[[tf.Tensor], tf.Tensor] | None = None,
        digest: str | None = None,
    ):
        """Puts a network together.

        Args:
            name, source, trunk_digest, output_shape, input_shapes: see the class.
            trunk: images -> features.
            head: features -> output; None: they are the output.
            digest: None: that of the trunk.
        """
        super().__init__()
        self.name = name
        self.trunk = trunk
        self.head = head
        self.source = source
        self.trunk_digest = trunk_digest
        self.digest = digest or trunk_digest
        self.input_shapes = [list(shape) for shape in input_shapes]
        self.output_shape = list(output_shape)

    def get_output_for(self, *inputs: Any) -> tf.Tensor:
        """The output for tensors: differentiable, eager or inside a `tf.function`.

        Images are [N, C, H, W], uint8 or float 0..255 (-1..1 for attribute classifiers). Grey images (C = 1) are taken
        as three equal channels. Labels may be given as None.

        Raises ValueError for other shapes.
        """
        return self._get_outputs(inputs)[0]

    def run(self, *arrays: Any, minibatch_size: int | None = None) -> np.ndarray:
        """The output for NumPy arrays, computed `minibatch_size` (None: 16) items at a time. See `get_output_for`."""
        return self._run(arrays, minibatch_size)[0]

    def _outputs(self, *inputs: tf.Tensor) -> list[tf.Tensor]:
        features = self.trunk(*inputs)
        return [features if self.head is None else self.head(features)]


class CombinedNetworks(_Runnable):
    """Several networks of the same inputs. `get_output_for` and `run` are those of one, and return a list."""

    def __init__(self, networks: Sequence[MetricNetwork]):
        super().__init__()
        self.networks = list(networks)
        if not self.networks:
            raise ValueError("no networks to combine")
        self.name = "+".join(network.name for network in self.networks)
        self.input_shapes = self.networks[0].input_shapes
        if any(network.input_shapes != self.input_shapes for network in self.networks):
            raise ValueError(f"{self.name}: these networks have different inputs")

    def get_output_for(self, *inputs: Any) -> list[tf.Tensor]:
        """The output of each network."""
        return self._get_outputs(inputs)

    def run(self, *arrays: Any, minibatch_size: int | None = None) -> list[np.ndarray]:
        """The output of each network, as NumPy arrays."""
        return self._run(arrays, minibatch_size)

    def _outputs(self, *inputs: tf.Tensor) -> list[tf.Tensor]:
        features: dict[str, tf.Tensor] = {}
        for network in self.networks:
            if network.trunk_digest not in features:
                features[network.trunk_digest] = network.trunk(*inputs)
        pairs = [(network.head, features[network.trunk_digest]) for network in self.networks]
        return [value if head is None else head(value) for head, value in pairs]


def combine(networks: Sequence[MetricNetwork]) -> CombinedNetworks:
    """Networks of the same inputs as one that returns a list of outputs. Trunks with equal weights run only once.

    Raises ValueError if there are none, or their inputs differ.
    """
    return CombinedNetworks(networks)


def digest_of(kind: str, weights: Mapping[str, np.ndarray]) -> str:
    """Hex sha256 over the kind of a network and the names, shapes and float32 values of its weights."""
    digest = hashlib.sha256(kind.encode())
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name], "<f4")
        digest.update(f"\n{name} {list(value.shape)}\n".encode())
        digest.update(memoryview(value).cast("B") if value.size else b"")
    return digest.hexdigest()
