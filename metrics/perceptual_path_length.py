"""The perceptual path length: `ppl_zfull`, `ppl_wfull`, `ppl_zend`, `ppl_wend`, `ppl2_wend`.

Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks" (2019), section 4.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.pictures import WHITE
from dnnlib.tflib import lerp, random_stream
from metrics.maths.path_length import path_length_score
from metrics.nets.images import prepare_images
from training.nets.generator import noise_variables

from .metric_base import MetricBase

_NOISE = 1  # purpose of random numbers, beside those of samples


@dataclass(eq=False)
class PPL(MetricBase):
    """How much images change, as people see it, along short steps between latents: less is better.

    Args:
        num_samples: steps.
        epsilon: their length, as a share of the whole way.
        space: 'z' or 'w', in which the ways lead.
        sampling: 'full': steps anywhere on the way; 'end': at its start.
        crop: look at the part of the image where a face is.
        minibatch_per_gpu: steps on a device at once.
        Gs_overrides: arguments of the generator.
        distance: official name of the network that compares images, or something with `name`, `digest` and
            `get_output_for(images_a, images_b)`, images float32 [N, C, H, W] from 0 to 255, returning [N].

    Truncation has no effect.
    """

    num_samples: int
    epsilon: float
    space: str
    sampling: str
    crop: bool
    minibatch_per_gpu: int
    Gs_overrides: Mapping[str, Any] = field(default_factory=dict)
    distance: Any = "vgg16_zhang_perceptual"

    def __post_init__(self) -> None:
        if self.space not in ("z", "w") or self.sampling not in ("full", "end"):
            given = f"{self.space!r} and {self.sampling!r}"
            raise ValueError(f"space must be 'z' or 'w', sampling 'full' or 'end', got {given}")
        super().__post_init__()

    def networks(self) -> list[Any]:
        """The network that compares images."""
        return [self.distance]

    def _evaluate(self, Gs: Any, Gs_kwargs: dict[str, Any], num_gpus: int) -> None:
        distance = self._evaluation.settings.network(self.distance)
        generator = self._evaluation.generator
        if Gs_kwargs.get("truncation_psi") is not None:
            print(f"{self.name}: truncation has no effect on path lengths.")
        overrides = {**Gs.model.float32_kwargs(), **self.Gs_overrides}  # 16 bit would round the short steps away
        kwargs = {**Gs_kwargs, **overrides}
        matte = self._evaluation.settings.matte

        def step(
            latents0: tf.Tensor, latents1: tf.Tensor, t: tf.Tensor, labels: tf.Tensor, noise_seeds: tf.Tensor
        ) -> list[tf.Tensor]:
            noise = noise_of(Gs, noise_seeds[0])
            distances = self.path_distances(Gs, distance, [latents0, latents1], t, labels, noise, kwargs, matte)
            return [distances[:, tf.newaxis]]

        def inputs(begin: int, count: int) -> list[np.ndarray]:
            latents = generator.random.latents(2 * begin, 2 * count, Gs.input_shape[1])
            t = generator.random.positions(begin, count) if self.sampling == "full" else np.zeros(count, np.float32)
            noise_seeds = np.tile(random_stream.seed_of(generator.seed, begin, _NOISE), [count, 1])
            return [latents[0::2], latents[1::2], t, generator.labels(begin, count), noise_seeds]

        facts = {
            "steps": [self.epsilon, self.space, self.sampling, self.crop],
            "overrides": repr(sorted(overrides.items())),
            "network": distance.digest,
        }
        label = f"path-lengths-{self.space}{self.sampling}"
        distances = self._evaluation.rows(
            label, 1, self.num_samples, step, inputs, self.minibatch_per_gpu, "pairs of images", facts
        )
        self._report_result(path_length_score(distances[:, 0]))

    def path_distances(
        self,
        Gs: Any,
        distance: Any,
        latents: Sequence[tf.Tensor],
        t: tf.Tensor,
        labels: tf.Tensor,
        noise: Sequence[tf.Tensor],
        Gs_kwargs: Mapping[str, Any],
        matte: Sequence[int] = WHITE,
    ) -> tf.Tensor:
        """The lengths of steps, [N], divided by epsilon squared.

        Args:
            Gs: the generator.
            distance: see the class.
            latents: where each way starts and where it ends, [N, latent_size] each.
            t: where on the way, from 0 to 1, [N].
            labels: [N, label_size], the same for both images.
            noise: noise images [1, 1, H, W], the same for all images.
            Gs_kwargs: arguments of the generator.
            matte: red, green and blue of what images with transparency are laid over, 0 to 255.
        """
        num = tf.shape(t)[0]
        places = tf.stack([t, t + self.epsilon], axis=1)  # [N, 2]
        mapping, synthesis = Gs.components.mapping, Gs.components.synthesis

        def dlatents_of(z: tf.Tensor) -> tf.Tensor:  # [N, 2, latent_size] -> [N, 2, layers, dlatent_size]
            both = tf.repeat(labels, 2, axis=0)
            w = mapping.get_output_for(tf.reshape(z, [2 * num, z.shape[2]]), both, **Gs_kwargs)
            return tf.reshape(tf.cast(w, tf.float32), [num, 2, *w.shape[1:]])

        ends = tf.stack(list(latents), axis=1)  # [N, 2, latent_size]
        if self.space == "w":
            w = dlatents_of(ends)
            dlatents = lerp(w[:, :1], w[:, 1:], places[:, :, tf.newaxis, tf.newaxis])
        else:
            dlatents = dlatents_of(slerp(ends[:, :1], ends[:, 1:], places[:, :, tf.newaxis]))
        dlatents = tf.reshape(dlatents, [2 * num, *dlatents.shape[2:]])
        images = synthesis.get_output_for(dlatents, noise=list(noise), **Gs_kwargs)
        images = prepare_images(tf.cast(images, tf.float32), self.crop, matte)
        return distance.get_output_for(images[0::2], images[1::2]) * (1 / self.epsilon**2)


def slerp(a: tf.Tensor, b: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """From direction a to direction b, the share t of the way on the unit sphere; vectors are the last axis."""
    a, b = normalize(a), normalize(b)
    cosine = tf.reduce_sum(a * b, axis=-1, keepdims=True)
    direction = normalize(b - cosine * a)
    angle = t * tf.acos(cosine)
    return normalize(a * tf.cos(angle) + direction * tf.sin(angle))


def normalize(v: tf.Tensor) -> tf.Tensor:
    """Vectors, on the last axis, of length 1."""
    return v / tf.sqrt(tf.reduce_sum(tf.square(v), axis=-1, keepdims=True))


def noise_of(Gs: Any, seed: tf.Tensor) -> list[tf.Tensor]:
    """Noise images in place of those of a generator, `[1, 1, H, W]` each, which depend on a seed (int64 [2])."""
    stream = random_stream.StatelessStream(seed)
    return [stream.normal(variable.shape, variable.dtype) for variable in noise_variables(Gs.components.synthesis)]
