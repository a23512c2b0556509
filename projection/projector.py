"""`Projector`: finds W and noise images from which a generator makes given images (appendix D of arXiv:1912.04958)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib import EasyDict
from dnnlib.tflib import Network, random_stream
from dnnlib.tflib.devices import on_host
from dnnlib.tflib.ops import implementation
from dnnlib.tflib.optimizer import Optimizer
from generation import conventions
from metrics.nets.images import reduction_of
from pretrained_networks import is_generator
from training.nets.generator import noise_variables

from . import distances, schedule
from .noise import normalized, regularization

_LARGEST = 16  # what networks make goes beyond 1
_NOISE = 7  # purpose of random numbers


class Projector:
    """The official projector. Set attributes, then a network, then project.

    All attributes may be given as arguments as well; `vgg16_pkl`, as other programs have it, is `distance`.

    Several images are optimized together where `set_network` is told so. Each has its own W and noise images, and gets
    the same random numbers as if it were projected alone.

    Attributes:
        num_steps: steps of the optimization.
        dlatent_avg_samples: random W whose mean is where it starts, and whose standard deviation scales its noise.
        initial_learning_rate: learning rate, without the ramps.
        initial_noise_factor: noise on W at the start, in standard deviations of W.
        lr_rampdown_length, lr_rampup_length, noise_ramp_length: of the schedules, as shares of all steps.
        regularize_noise_weight: weight of what keeps noise images from holding the picture.
        verbose: print what is being done.
        clone_net: work with a copy of the network, so that the network may change meanwhile.

    Beyond the official ones:
        distance: what compares images: 'lpips', 'pixel', the path of a file with weights of LPIPS, or a
            `projection.distances.Distance`.
        w_plus: a W of its own for each layer.
        class_idx, label: of a conditional network: the class, or the label vector, that W is expected to be of; None of
            both: no label.
        seed: of the noise on W and of the noise images to start from.
        make_stream: random numbers for a seed.
    """

    def __init__(
        self,
        num_steps: int = 1000,
        dlatent_avg_samples: int = 10000,
        initial_learning_rate: float = 0.1,
        initial_noise_factor: float = 0.05,
        lr_rampdown_length: float = 0.25,
        lr_rampup_length: float = 0.05,
        noise_ramp_length: float = 0.75,
        regularize_noise_weight: float = 1e5,
        verbose: bool = False,
        clone_net: bool = True,
        *,
        distance: distances.Distance | str = "lpips",
        vgg16_pkl: str | None = None,
        w_plus: bool = False,
        class_idx: int | None = None,
        label: Sequence[float] | None = None,
        seed: int = 0,
        make_stream: Callable[[Any], random_stream.Stream] = random_stream.StatelessStream,
    ) -> None:
        self.num_steps = num_steps
        self.dlatent_avg_samples = dlatent_avg_samples
        self.initial_learning_rate = initial_learning_rate
        self.initial_noise_factor = initial_noise_factor
        self.lr_rampdown_length = lr_rampdown_length
        self.lr_rampup_length = lr_rampup_length
        self.noise_ramp_length = noise_ramp_length
        self.regularize_noise_weight = regularize_noise_weight
        self.verbose = verbose
        self.clone_net = clone_net
        self.distance = distance if vgg16_pkl is None else vgg16_pkl
        self.w_plus = w_plus
        self.class_idx = class_idx
        self.label = label
        self.seed = seed
        self.make_stream = make_stream

        self._minibatch_size = 0
        self._cur_step = -1
        self._last: tuple[tf.Tensor, tf.Tensor] | None = None  # distances and losses of the last step

    # ------------------------------------------------------------------------
    # Setting up.

    def set_network(self, Gs: Network, minibatch_size: int = 1) -> None:
        """Prepares for images of a generator, `minibatch_size` of them at a time.

        Raises ValueError for what is no generator and for what is no distance, UserError if the distance is LPIPS and
        its weights cannot be had.
        """
        if not is_generator(Gs):
            raise ValueError(f"network {Gs.name!r} is not a generator")
        if minibatch_size < 1:
            raise ValueError(f"minibatch_size must be 1 or more, got {minibatch_size}")
        distance = distances.resolved(self.distance)
        self._cur_step = -1
        self._last = None
        self._minibatch_size = minibatch_size
        self._Gs = Gs.clone() if self.clone_net else Gs
        self._synthesis = self._Gs.components.synthesis
        self._num_layers, dlatent_size = self._synthesis.input_shape[1:]
        # Not fused, no gradients by weights are needed, and an image alone is computed as it is among others.
        knows_fused = "fused_modconv" in self._synthesis.model.declared_arguments()
        self._synthesis_kwargs = {"fused_modconv": False} if knows_fused else {}
        self._synthesis_kwargs |= self._synthesis.model.rendering_kwargs()
        self._find_dlatent_stats()

        self._target_distance = distances.TargetDistance(distance)
        layers = self._num_layers if self.w_plus else 1
        self._dlatents = tf.Variable(tf.zeros([minibatch_size, layers, dlatent_size]), name="dlatents")
        self._noises = [
            tf.Variable(tf.zeros([minibatch_size, *noise.shape[1:]]), name=f"noise{idx}")
            for idx, noise in enumerate(noise_variables(self._synthesis))
        ]
        variables = {variable.name: variable for variable in [self._dlatents, *self._noises]}
        self._optimizer = Optimizer("projector", variables)
        # Compiled once, when their arguments are known: TensorFlow takes the functions of several projectors, which are
        # the same lines of code, for one that is compiled again and again, and warns of it.
        self._compiled: dict[str, Any] = {}

    def _find_dlatent_stats(self) -> None:
        """The mean of W, [1, 1, dlatent_size], and the distance that samples have from it."""
        self._info(f"Finding W midpoint and stddev using {self.dlatent_avg_samples} samples...")
        latents = np.random.RandomState(123).randn(self.dlatent_avg_samples, *self._Gs.input_shapes[0][1:])
        label_size = self._Gs.input_shapes[1][1]
        labels = conventions.labels(self.class_idx, self.label, label_size, self.dlatent_avg_samples)
        dlatents = self._Gs.components.mapping.run(latents.astype(np.float32), labels, minibatch_size=1000)[:, :1]
        dlatents = dlatents.astype(np.float32)  # [N, 1, dlatent_size]
        self._dlatent_avg = np.mean(dlatents, axis=0, keepdims=True)
        self._dlatent_std = (float(np.sum((dlatents - self._dlatent_avg) ** 2)) / self.dlatent_avg_samples) ** 0.5
        self._info(f"std = {self._dlatent_std:g}")

    def _info(self, text: str) -> None:
        if self.verbose:
            print("Projector:", text)

    # ------------------------------------------------------------------------
    # Projecting.

    def run(self, target_images: np.ndarray) -> EasyDict:
        """Projects images, from beginning to end. Arguments as of `start`.

        Returns:
            `dlatents`, `noises` and `images`: what the methods `get_...` return.
        """
        self.start(target_images)
        while self._cur_step < self.num_steps:
            self.step()
        return EasyDict(dlatents=self.get_dlatents(), noises=self.get_noises(), images=self.get_images())

    def start(
        self,
        target_images: np.ndarray,
        dlatents: np.ndarray | None = None,
        noises: Sequence[np.ndarray] = (),
    ) -> None:
        """Begins with new images.

        Args:
            target_images: [N, C, H, W] from -1 to 1, N being `minibatch_size`. They may be larger than what the network
                makes, by a whole factor. Images with transparency are compared as they look over black and over white.
            dlatents: where to start, [N or 1, layers or 1, dlatent_size]; None: at the mean of W.
            noises: noise images to start from, [N or 1, 1, H, W] each; none: random ones.

        Raises ValueError for other shapes, and values that are not finite.
        """
        if not self._minibatch_size:
            raise ValueError("Projector.start: set_network comes first")
        targets = self._checked_targets(target_images)
        self._info("Preparing target images...")
        self._prepared = self._call("prepare", self._target_distance.prepare, self._compared(targets))

        self._info("Initializing optimization state...")
        start = self._dlatent_avg if dlatents is None else self._checked("dlatents", dlatents, self._dlatents.shape)
        self._dlatents.assign(tf.broadcast_to(tf.constant(start, tf.float32), self._dlatents.shape))
        stream = self.make_stream(random_stream.seed_of(self.seed, 0, _NOISE))
        if len(noises) not in (0, len(self._noises)):
            raise ValueError(f"expected {len(self._noises)} noise images, got {len(noises)}")
        for idx, variable in enumerate(self._noises):
            if noises:
                noise = tf.constant(self._checked(f"noise{idx}", noises[idx], variable.shape), tf.float32)
            else:
                noise = stream.normal([1, *variable.shape[1:]], tf.float32)
            variable.assign(tf.broadcast_to(noise, variable.shape))
        self._optimizer.reset_optimizer_state()
        self._last = None
        self._cur_step = 0

    def _checked_targets(self, images: np.ndarray) -> tf.Tensor:
        """Targets as float32, of the size that images are compared at, or a multiple of it."""
        images = np.asarray(images, np.float32)
        expected = [self._minibatch_size, *self._Gs.output_shape[1:]]
        if images.ndim != 4 or images.shape[:2] != tuple(expected[:2]):
            raise ValueError(f"expected target images of shape {expected}, got {list(images.shape)}")
        height, width = self._compared_size()
        times = images.shape[2] // height
        if images.shape[2:] != (height * times, width * times) or times == 0:
            raise ValueError(f"expected target images of shape {expected}, or a multiple, got {list(images.shape)}")
        if not np.isfinite(images).all():
            raise ValueError("target images have values that are not finite")
        if images.min() >= 0 and images.max() > _LARGEST:  # pixels from 0 to 255
            raise ValueError(f"expected target images from -1 to 1, got {images.min():g} to {images.max():g}")
        return tf.constant(images)

    def _compared_size(self) -> tuple[int, int]:
        """Height and width at which images are compared: at most about 256x256."""
        height, width = self._Gs.output_shape[2:]
        factor = reduction_of(height, width)
        return height // factor, width // factor

    def _compared(self, images: tf.Tensor) -> tf.Tensor:
        """Images [N, C, H, W] from -1 to 1 as they are compared, from 0 to 255; over both mattes, [2 N, 3, H, W]."""
        return distances.compared(images, images.shape[2] // self._compared_size()[0])

    def _checked(self, name: str, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """An array that can be broadcast to a shape."""
        array = np.asarray(array, np.float32)
        if name == "dlatents" and array.ndim == 3 and shape[1] == 1 and (array == array[:, :1]).all():
            array = array[:, :1]
        fits = array.ndim == len(shape) and all(a in (1, b) for a, b in zip(array.shape, shape, strict=True))
        if not fits or not np.isfinite(array).all():
            raise ValueError(f"{name} to start from: expected finite numbers of shape {list(shape)}, got {array.shape}")
        return array

    def step(self) -> None:
        """Makes one step, unless all are done."""
        if self._cur_step < 0:
            raise ValueError("Projector.step: start comes first")
        if self._cur_step >= self.num_steps:
            return
        t = self._cur_step / self.num_steps
        noise_strength = schedule.noise_strength(
            t, self._dlatent_std * self.initial_noise_factor, self.noise_ramp_length
        )
        learning_rate = schedule.learning_rate(
            t, self.initial_learning_rate, self.lr_rampdown_length, self.lr_rampup_length
        )
        seed = tf.constant(random_stream.seed_of(self.seed, self._cur_step + 1, _NOISE))
        numbers = tf.constant(noise_strength, tf.float32), on_host(learning_rate, np.float32)
        self._last = self._call("step", self._make_step, seed, *numbers, self._prepared)
        self._cur_step += 1
        if self._cur_step == self.num_steps:
            self._info("Done.")

    def _make_step(
        self, seed: tf.Tensor, noise_strength: tf.Tensor, learning_rate: tf.Tensor, prepared: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Distances and losses, [N] each, before an update; makes the update. noise_strength: of the noise on W."""
        gradients, distance, loss = self._gradients(seed, noise_strength, prepared)
        self._optimizer.apply(gradients, learning_rate)
        for variable in self._noises:
            variable.assign(normalized(variable))
        return distance, loss

    def _gradients(
        self, seed: tf.Tensor, noise_strength: tf.Tensor, prepared: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """The gradients of W and noise images, and distances and losses, [N] each."""
        variables = list(self._optimizer.trainables.values())
        noise = self.make_stream(seed).normal([1, *self._dlatents.shape[1:]], tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            images = self._compared(self._images(self._dlatents + noise * noise_strength))
            distance = distances.of_each(self._target_distance.between(images, prepared), self._minibatch_size)
            loss = distance
            if self._noises:
                noises = [tf.convert_to_tensor(variable) for variable in self._noises]
                loss = loss + regularization(noises) * self.regularize_noise_weight
            # Each image has variables of its own, so the gradients of the sum are those of each loss.
            total = tf.reduce_sum(loss)
        gradients = tape.gradient(total, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], distance, loss

    def _images(self, dlatents: Any) -> tf.Tensor:
        """Images [N, C, H, W] of W [N, 1 or layers, dlatent_size] and the noise images."""
        dlatents = tf.convert_to_tensor(dlatents)
        if dlatents.shape[1] == 1:
            dlatents = tf.tile(dlatents, [1, self._num_layers, 1])
        noise = [tf.convert_to_tensor(variable) for variable in self._noises] or None
        return self._synthesis.get_output_for(dlatents, randomize_noise=False, noise=noise, **self._synthesis_kwargs)

    def _call(self, name: str, function: Callable, *args: Any) -> Any:
        return implementation.call_compiled(self._compiled, name, function, *args)

    def variables(self) -> dict[str, tf.Variable]:
        """Everything that steps change, by name."""
        return {variable.name: variable for variable in [self._dlatents, *self._noises]} | self._optimizer.variables()

    def go_on(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Goes on exactly where another projector was after some steps. Call `start` before, with the same images.

        values: of the other's `variables`.
        """
        for name, variable in self.variables().items():
            variable.assign(values[name])
        self._cur_step = step

    # ------------------------------------------------------------------------
    # Results.

    def get_cur_step(self) -> int:
        """Steps done; -1 before `start`."""
        return self._cur_step

    def get_dlatents(self) -> np.ndarray:
        """W, [N, layers, dlatent_size]."""
        dlatents = self._dlatents.numpy()
        return dlatents if self.w_plus else np.tile(dlatents, [1, self._num_layers, 1])

    def get_noises(self) -> list[np.ndarray]:
        """The noise images, [N, 1, H, W] each."""
        return [variable.numpy() for variable in self._noises]

    def get_images(self) -> np.ndarray:
        """What the network makes of them, [N, C, H, W] from about -1 to 1."""
        return self._call("images", lambda: self._images(self._dlatents)).numpy()

    def get_distances(self) -> np.ndarray:
        """Distances to the targets, [N], as the last step found them: before its update, with noise on W."""
        return self._of_last_step(0)

    def get_losses(self) -> np.ndarray:
        """Distances and regularization together, [N], like `get_distances`."""
        return self._of_last_step(1)

    def _of_last_step(self, index: int) -> np.ndarray:
        if self._last is None:
            return np.full([self._minibatch_size], np.nan, np.float32)
        return self._last[index].numpy()
