"""`Tuner`: trains a generator to make images of which only the nearest was found (arXiv:2106.05744).

Noise images stay as they were found; the weights of the synthesis network give way, a little, so that it makes the
target images of them. One network serves any number of images. The locality term holds it where it was elsewhere:
images of other W, drawn anew in each step, shall not move. Then W moves along a little, each layer's by itself, which
no other image feels; else it stays, too.

Weights are trained in coordinates of their own, by how sensitive random images are to them. What was found for an image
that the network does not know lies many standard deviations away along directions that random W hardly use, and so do
the feature maps that follow: along these, weights may change for the image and for nothing else.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib import Network, kept, random_stream
from dnnlib.tflib.devices import on_host
from dnnlib.tflib.ops import implementation
from dnnlib.tflib.optimizer import Optimizer
from generation import conventions
from metrics.nets.images import reduction_of
from training.nets.generator import noise_variables

from . import distances, schedule

_PROBES, _PROBED_IMAGES = 48, 8  # gradients that say how sensitive images are, and images of each
_DAMPING = 0.01  # of the mean sensitivity, which is added to all
_SMOOTH = 1 / 255  # changes of other images below this count by their squares
_ADAM: dict[str, float] = {"beta2": 0.99, "epsilon": 1e-12}
_RAMP_UP, _RAMP_DOWN = 0.05, 1.0  # of the learning rate, as shares of all steps
_OTHERS, _SENSITIVITY = 8, 9  # purposes of random numbers


class Tuner:
    """Trains a copy of a generator, `network`, step by step.

    Args:
        Gs: the generator, which is not changed.
        distance: what compares images, beside their pixels.
        num_steps: how many there will be; the schedule of the learning rate stretches with it.
        learning_rate: at its highest: about how far random images would move in a step that moves all coordinates,
            root mean square, 1 being from black to white; None: 0.004, and with a locality term 0.001.
        pixel_weight: of the mean squared difference of pixels, where black and white differ by 1, beside the distance.
        locality_weight: of the mean absolute difference of other images from what they were, in the same unit; the
            smallest differences count less.
        locality_images: how many other images each step looks at.
        dlatent_learning_rate: of W, likewise, which then moves along, each layer's by itself; None: 0, so that W stays,
            and with a locality term 0.06, as that takes much of what weights could do.
        minibatch_size: images at once; more only take more memory.
        label: label vector of all other images; None: random classes, where the network has labels.
        seed: of all random numbers.
    """

    def __init__(
        self,
        Gs: Network,
        distance: distances.Distance | str,
        *,
        num_steps: int = 350,
        learning_rate: float | None = None,
        pixel_weight: float = 4.0,
        locality_weight: float = 0.0,
        locality_images: int = 16,
        dlatent_learning_rate: float | None = None,
        minibatch_size: int = 1,
        label: Sequence[float] | None = None,
        seed: int = 0,
    ):
        self.num_steps = num_steps
        self.learning_rate = (0.001 if locality_weight else 0.004) if learning_rate is None else learning_rate
        by_default = 0.06 if locality_weight else 0.0
        self.dlatent_learning_rate = by_default if dlatent_learning_rate is None else dlatent_learning_rate
        self.pixel_weight = pixel_weight
        self.locality_weight = locality_weight
        self.locality_images = locality_images
        self.minibatch_size = minibatch_size
        self.label = label
        self.seed = seed
        self.network = Gs.clone()
        self._Gs = Gs
        self._distance = distances.TargetDistance(distances.resolved(distance))
        self._synthesis = self.network.components.synthesis
        # What all images have in common, biases and constants, stays: with it all images would move.
        trainables = self._synthesis.trainables.items()
        self._trained = {key: var for key, var in trainables if key.endswith("weight") and len(var.shape) >= 2}
        self._compiled: dict[Any, Any] = {}
        self._cur_step = -1
        self._numbers: dict[str, float] = {}
        knows_fused = "fused_modconv" in self._synthesis.model.declared_arguments()
        self._kwargs = {"randomize_noise": False} | ({"fused_modconv": False} if knows_fused else {})
        self._kwargs |= self._synthesis.model.rendering_kwargs()
        self._ways = self._insensitive_coordinates()
        self._begins = [tf.constant(var.numpy()) for var in self._trained.values()]
        self._coordinates = {key: tf.Variable(tf.zeros(_flat(var))) for key, var in self._trained.items()}
        self._optimizer = Optimizer("tuner", self._coordinates, **_ADAM)

    def _insensitive_coordinates(self) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """For each matrix of weights the ways from its coordinates to it, [inputs, inputs] and [outputs, outputs].

        Inputs of convolutions are those of all places of the kernel. Along a mixture of inputs or outputs to which
        random images are half as sensitive, a coordinate changes weights twice as much. The sensitivity is taken for
        the product of that to the input and to the output (arXiv:1503.05671).
        """
        moments = [(tf.zeros([rows, rows]), tf.zeros([columns, columns])) for rows, columns in self._shapes()]
        for probe in range(_PROBES):
            key = tf.constant(random_stream.seed_of(self.seed, probe, _SENSITIVITY))
            moments = self._call("moments", self._add_moments, moments, key)
        # Then a step of 1 along all coordinates of all matrices moves random images by about 1, root mean square.
        size = sum(rows * columns for rows, columns in self._shapes())
        scale = _PROBES * _PROBED_IMAGES * np.prod(self._Gs.output_shape[1:]) * 4 / size
        return [
            (_inverse_root(inputs.numpy() / scale), _inverse_root(outputs.numpy() / (np.trace(outputs.numpy()) or 1.0)))
            for inputs, outputs in moments
        ]

    def _shapes(self) -> list[list[int]]:
        return [_flat(var) for var in self._trained.values()]

    def _add_moments(self, moments: list[Any], key: tf.Tensor) -> list[Any]:
        """Adds the second moments of gradients of random images, of their pixels with random signs."""
        stream = random_stream.StatelessStream(key)
        dlatents, noises = self._random_points(stream, _PROBED_IMAGES)
        matrices = list(self._trained.values())
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(matrices)
            images = self._synthesis.get_output_for(dlatents, noise=noises, **self._kwargs)
            total = tf.reduce_sum(images * tf.sign(stream.normal(images.shape, tf.float32)))
        gradients = tape.gradient(total, matrices, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        flat = [tf.reshape(gradient, _flat(gradient)) for gradient in gradients]
        return [
            (
                inputs + tf.matmul(gradient, gradient, transpose_b=True),
                outputs + tf.matmul(gradient, gradient, transpose_a=True),
            )
            for (inputs, outputs), gradient in zip(moments, flat, strict=True)
        ]

    def _random_points(self, stream: random_stream.Stream, num: int) -> tuple[tf.Tensor, list[tf.Tensor] | None]:
        """W [num, layers, dlatent_size] and noise images."""
        latents = stream.normal([num, *self._Gs.input_shapes[0][1:]], tf.float32)
        label_size, labels = self._Gs.input_shapes[1][1], None
        if self.label is not None:
            labels = tf.constant(conventions.labels(None, self.label, label_size, num))
        elif label_size:
            labels = tf.one_hot(stream.uniform([num], 0, label_size, tf.int32), label_size)
        dlatents = self._Gs.components.mapping.get_output_for(latents, labels)
        shapes = [noise.shape[1:] for noise in noise_variables(self._synthesis)]
        return dlatents, [stream.normal([num, *shape], tf.float32) for shape in shapes] or None

    # ------------------------------------------------------------------------

    def start(self, targets: np.ndarray, dlatents: np.ndarray, noises: Sequence[np.ndarray] = ()) -> None:
        """Begins.

        Args:
            targets: [N, C, H, W] from -1 to 1, of the size that the network makes.
            dlatents: W of each, [N, layers, dlatent_size].
            noises: noise images of each, [N, 1, H, W] per layer; none: the network's own.

        Raises ValueError for shapes that do not fit each other or the network, and values that are not finite.
        """
        expected = [len(targets), *self._Gs.output_shape[1:]]
        arrays = {"target images": (targets, expected)}
        arrays["dlatents"] = (dlatents, [len(targets), *self._synthesis.input_shape[1:]])
        if len(noises) not in (0, len(own := noise_variables(self._synthesis))):
            raise ValueError(f"expected {len(own)} noise images, got {len(noises)}")
        for idx, noise in enumerate(noises):
            arrays[f"noise{idx}"] = (noise, [len(targets), *own[idx].shape[1:]])
        for name, (array, shape) in arrays.items():
            if list(np.shape(array)) != shape or not len(targets) or not np.isfinite(array).all():
                raise ValueError(f"{name}: expected finite numbers of shape {shape}, got shape {list(np.shape(array))}")
        targets, dlatents, *noises = (np.asarray(array, np.float32) for array, _ in arrays.values())
        self._targets, self._noises = targets, noises
        self._dlatents = tf.Variable(dlatents)
        self._dlatent_optimizer = Optimizer("tuner_dlatents", {"dlatents": self._dlatents}, **_ADAM)
        self._cur_step = 0

    def _photos(self, begin: int, end: int) -> list[tf.Tensor]:
        """Targets, W and noise images of some of the images."""
        arrays = (self._targets, self._dlatents.numpy(), *self._noises)
        return [tf.constant(array[begin:end]) for array in arrays]

    def step(self) -> None:
        """Makes one step: looks at all images, and at others if there is a locality term, and changes weights."""
        if self._cur_step < 0:
            raise ValueError("Tuner.step: start comes first")
        sums = [tf.zeros(var.shape) for var in self._trained.values()]
        total = np.zeros(3)
        num = len(self._targets)
        of_dlatents = []
        for begin in range(0, num, self.minibatch_size):
            photos = self._photos(begin, begin + self.minibatch_size)
            share = on_host(1 / num, np.float32)
            sums, numbers, gradient = self._call(("photos", len(photos[0])), self._add_photos, sums, share, photos)
            of_dlatents.append(gradient)
            total += numbers.numpy()
        for begin in range(0, self.locality_images if self.locality_weight else 0, self.minibatch_size):
            size = min(self.minibatch_size, self.locality_images - begin)
            key = tf.constant(random_stream.seed_of(self.seed, self._cur_step, begin, _OTHERS))
            sums, numbers = self._call(("others", size), functools.partial(self._add_others, size), sums, key)
            total += numbers.numpy()
        share = schedule.learning_rate(self._cur_step / self.num_steps, 1.0, _RAMP_DOWN, _RAMP_UP)
        self._call("update", self._update, sums, on_host(share * self.learning_rate, np.float32))
        if self.dlatent_learning_rate:
            rate = on_host(share * self.dlatent_learning_rate, np.float32)
            self._call("update W", self._dlatent_optimizer.apply, [tf.concat(of_dlatents, axis=0)], rate)
        kept.weights_changed()
        self._numbers = dict(zip(("distance", "pixel", "others"), total.tolist(), strict=True))
        self._cur_step += 1

    def _add_photos(
        self, sums: list[tf.Tensor], share: tf.Tensor, photos: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Adds the gradients of some images, and gives those of their W. share: of each in the loss."""
        targets, dlatents, *noises = photos
        num, factor = targets.shape[0], reduction_of(*targets.shape[2:])
        prepared = self._distance.prepare(distances.compared(targets, factor))
        whole = distances.compared(targets)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*self._trained.values(), dlatents])
            images = self._synthesis.get_output_for(dlatents, noise=noises or None, **self._kwargs)
            distance = self._distance.between(distances.compared(images, factor), prepared)
            distance = tf.reduce_sum(distances.of_each(distance, num)) * share
            pixel = distances.PixelDistance().get_output_for(distances.compared(images), whole)
            pixel = tf.reduce_sum(distances.of_each(pixel, num)) * share
            loss = distance + pixel * self.pixel_weight
        *gradients, of_dlatents = self._gradients(tape, loss, [*self._trained.values(), dlatents])
        return _added(sums, gradients), tf.stack([distance, pixel, 0.0]), of_dlatents

    def _add_others(self, num: int, sums: list[tf.Tensor], key: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Adds the gradients of so many random images, by how far they are from those of the network as it was."""
        dlatents, noises = self._random_points(random_stream.StatelessStream(key), num)
        before = self._Gs.components.synthesis.get_output_for(dlatents, noise=noises, **self._kwargs)
        before = distances.compared(before)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(self._trained.values()))
            images = self._synthesis.get_output_for(dlatents, noise=noises, **self._kwargs)
            moved = (distances.compared(images) - before) / 255
            smooth = tf.sqrt(tf.square(moved) + _SMOOTH**2) - _SMOOTH
            smooth, moved = (
                tf.reduce_sum(distances.of_each(tf.reduce_mean(each, axis=[1, 2, 3]), num)) / self.locality_images
                for each in (smooth, tf.abs(moved))
            )
            loss = smooth * self.locality_weight
        return _added(sums, self._gradients(tape, loss, list(self._trained.values()))), tf.stack([0.0, 0.0, moved])

    @staticmethod
    def _gradients(tape: tf.GradientTape, loss: tf.Tensor, sources: list[Any]) -> list[tf.Tensor]:
        return tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def _update(self, gradients: list[tf.Tensor], rate: tf.Tensor) -> None:
        by_coordinates = [
            inputs @ tf.reshape(gradient, _flat(gradient)) @ outputs
            for (inputs, outputs), gradient in zip(self._ways, gradients, strict=True)
        ]
        self._optimizer.apply(by_coordinates, rate)
        parts = zip(self._trained.values(), self._begins, self._ways, self._coordinates.values(), strict=True)
        for var, begin, (inputs, outputs), coordinates in parts:
            var.assign(begin + tf.reshape(inputs @ coordinates @ outputs, var.shape))

    def _call(self, key: Any, function: Callable, *args: Any) -> Any:
        return implementation.call_compiled(self._compiled, key, function, *args)

    # ------------------------------------------------------------------------

    def get_cur_step(self) -> int:
        """Steps done; -1 before `start`."""
        return self._cur_step

    def get_numbers(self) -> dict[str, float]:
        """What the last step found before its change: `distance` and `pixel`, means of all images, and `others`.

        'others' is how far other images have moved, 1 being from black to white; 0 without a locality term.
        """
        return self._numbers

    def get_dlatents(self) -> np.ndarray:
        """W of each image now, [N, layers, dlatent_size]."""
        return self._dlatents.numpy()

    def get_images(self, begin: int, end: int) -> np.ndarray:
        """What the network makes of some of the images now, [end - begin, C, H, W] from about -1 to 1."""
        _targets, dlatents, *noises = self._photos(begin, end)

        def images(dlatents: tf.Tensor, noises: list[tf.Tensor]) -> tf.Tensor:
            return self._synthesis.get_output_for(dlatents, noise=noises or None, **self._kwargs)

        return self._call(("images", end - begin), images, dlatents, noises).numpy()

    def variables(self) -> dict[str, tf.Variable]:
        """Everything that steps change, by name. Call `start` before."""
        result = {f"weights/{key}": var for key, var in self._trained.items()} | self._optimizer.variables()
        result |= {f"coordinates/{key}": var for key, var in self._coordinates.items()} | {"dlatents": self._dlatents}
        return result | {f"dlatents/{key}": var for key, var in self._dlatent_optimizer.variables().items()}

    def go_on(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Goes on exactly where another tuner was after some steps. Call `start` before, with the same arguments.

        values: of the other's `variables`.
        """
        for name, variable in self.variables().items():
            variable.assign(values[name])
        self._cur_step = step


def _flat(weights: Any) -> list[int]:
    """The shape of weights as a matrix, [inputs, outputs]."""
    return [int(np.prod(weights.shape[:-1])), int(weights.shape[-1])]


def _inverse_root(moments: np.ndarray) -> tf.Tensor:
    """The inverse of the square root of second moments, which are damped; none at all count as 1."""
    values, directions = np.linalg.eigh(moments.astype(np.float64))
    mean = values.mean() or 1.0
    return tf.constant((directions / np.sqrt(np.maximum(values, 0) + mean * _DAMPING)) @ directions.T, tf.float32)


def _added(sums: list[tf.Tensor], gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    return [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
