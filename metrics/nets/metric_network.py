"""Metric networks as metrics use them: callable like the official networks, with channels-first images.

A network is a trunk, which is where the time goes, and a small head. Networks with equal trunks, such as the two
Inception networks, are computed together by `combine`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.network_run import check_gpus, warn_of_unknown_arguments

_MINIBATCH = 16  # what `run` computes at once unless told otherwise
Shape = list[int | None]


@dataclass(eq=False)
class MetricNetwork:
    """A network with weights.

    Args:
        name: official name, e.g. 'inception_v3_features'.
        trunk: Keras model, images -> features.
        source: where the weights came from, for people.
        trunk_digest: hex sha256 over the names, shapes and values of the trunk's weights, whatever file they came in.
        output_shape: [None, 2048].
        input_shapes: [None, 3, None, None] for images of any size, one for each input.
        head: features -> output; None: they are the output.
        digest: as `trunk_digest`, of all weights; it identifies features in caches. '': that of the trunk.
    """

    name: str
    trunk: Any
    _: KW_ONLY
    source: str
    trunk_digest: str
    output_shape: Shape
    input_shapes: list[Shape] = field(default_factory=lambda: [[None, 3, None, None]])
    head: Callable[[tf.Tensor], tf.Tensor] | None = None
    digest: str = ""

    def __post_init__(self) -> None:
        self.digest = self.digest or self.trunk_digest
        self._functions: dict[Any, Any] = {}  # by types and sizes of inputs

    @property
    def num_inputs(self) -> int:
        """How many images are taken at once."""
        return len(self.input_shapes)

    @property
    def input_shape(self) -> Shape:
        """Of the first input."""
        return self.input_shapes[0]

    def clone(self, *_args: Any, **_kwargs: Any) -> "MetricNetwork":
        """Itself: the official metrics have one for each GPU."""
        return self

    def get_output_for(self, *inputs: Any, return_as_list: bool = False, **unknown: Any) -> Any:
        """The output for tensors: differentiable, eager or inside a `tf.function`.

        Images are [N, C, H, W], uint8 or float 0..255 (-1..1 for attribute classifiers). Grey images (C = 1) are taken
        as three equal channels. Labels may be given as None. Unknown arguments are ignored with a warning.

        Raises ValueError for other shapes.
        """
        warn_of_unknown_arguments(self.name, dict.fromkeys(unknown, ""))
        tensors = self._checked(inputs, tf.convert_to_tensor)
        output = self._output(*tensors) if tf.inside_function() else self._compiled(tensors)
        return [output] if return_as_list else output

    def run(
        self,
        *arrays: Any,
        return_as_list: bool = False,
        print_progress: bool = False,
        minibatch_size: int | None = None,
        num_gpus: int = 1,
        assume_frozen: bool = False,
        **unknown: Any,
    ) -> Any:
        """The output for NumPy arrays, computed `minibatch_size` (None: 16) items at a time. See `get_output_for`.

        The other arguments are those of the official networks: `num_gpus` is checked, but one GPU does the work;
        `print_progress` and `assume_frozen` have no effect.
        """
        warn_of_unknown_arguments(self.name, dict.fromkeys(unknown, ""))
        arrays = self._checked(arrays, np.asarray)
        size = _MINIBATCH if minibatch_size is None else minibatch_size
        if size < 1:
            raise ValueError(f"{self.name}.run: minibatch_size must be 1 or more, got {size}")
        num_items = len(arrays[0])
        check_gpus(num_gpus, min(size, max(num_items, 1)))
        if num_items == 0 or any(len(array) != num_items for array in arrays):
            raise ValueError(f"{self.name}.run: inputs have {', '.join(str(len(array)) for array in arrays)} items")
        pieces = []
        for begin in range(0, num_items, size):
            batch = [tf.constant(array[begin : begin + size]) for array in arrays]
            pieces.append(tf.nest.map_structure(lambda output: output.numpy(), self._compiled(batch)))
        output = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *pieces)
        return [output] if return_as_list else output

    def _output(self, *inputs: tf.Tensor) -> Any:
        features = self.trunk(*inputs)
        return features if self.head is None else self.head(features)

    def _compiled(self, tensors: list[tf.Tensor]) -> Any:
        """The output by a function that is compiled once for each size of images, whatever their number."""
        specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in tensors]
        key = tuple((spec.dtype, tuple(spec.shape)) for spec in specs)
        if key not in self._functions:
            self._functions[key] = tf.function(self._output, input_signature=specs, autograph=False)
        return self._functions[key](*tensors)

    def _checked(self, inputs: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
        """The inputs, converted, without labels, which callers of the official classifiers give as None."""
        given = [convert(x) for x in inputs if x is not None]
        if len(given) != len(self.input_shapes) or any(x is None for x in inputs[: len(given)]):
            raise ValueError(f"{self.name}: expected {len(self.input_shapes)} inputs, got {len(given)}")
        for x, expected in zip(given, self.input_shapes, strict=True):
            shape = tf.TensorShape(x.shape)
            allowed = [expected, [expected[0], 1, *expected[2:]]]
            if not any(shape.is_compatible_with(candidate) for candidate in allowed):
                sizes = ", ".join("any" if n is None else str(n) for n in expected[1:])
                raise ValueError(f"{self.name}: expected images of shape [N, {sizes}], got {list(x.shape)}")
        return given


def combine(networks: Sequence[MetricNetwork]) -> MetricNetwork:
    """Networks of the same inputs as one whose output is a list of theirs. Trunks with equal weights run only once.

    Raises ValueError if there are none, or their inputs differ.
    """
    if not networks:
        raise ValueError("no networks to combine")
    name = "+".join(network.name for network in networks)
    input_shapes = networks[0].input_shapes
    if any(network.input_shapes != input_shapes for network in networks):
        raise ValueError(f"{name}: these networks have different inputs")
    trunks = {network.trunk_digest: network.trunk for network in networks}

    def outputs(*inputs: tf.Tensor) -> list[tf.Tensor]:
        features = {digest: trunk(*inputs) for digest, trunk in trunks.items()}
        pairs = [(network.head, features[network.trunk_digest]) for network in networks]
        return [value if head is None else head(value) for head, value in pairs]

    return MetricNetwork(
        name,
        outputs,
        source=", ".join(network.source for network in networks),
        trunk_digest="+".join(network.digest for network in networks),
        input_shapes=input_shapes,
        output_shape=[],
    )


def digest_of(kind: str, weights: Mapping[str, np.ndarray]) -> str:
    """Hex sha256 over the kind of a network and the names, shapes and float32 values of its weights."""
    digest = hashlib.sha256(kind.encode())
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name], "<f4")
        digest.update(f"\n{name} {list(value.shape)}\n".encode())
        digest.update(memoryview(value).cast("B") if value.size else b"")
    return digest.hexdigest()
