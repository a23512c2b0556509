"""Linear separability: `ls`.

Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks" (2019), section 4.2.
"""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from metrics.maths.separability import separability
from metrics.nets.catalog import CLASSIFIERS
from metrics.nets.images import average_down, composited, reduction_of

from .metric_base import MetricBase

_RESOLUTION = 256  # of what the classifiers were trained on


@dataclass(eq=False)
class LS(MetricBase):
    """How well planes in Z and in W tell faces with an attribute from those without, over 40 attributes: 1 is best.

    Args:
        num_samples: generated images.
        num_keep: images per attribute of which the classifier is most certain, which are used.
        attrib_indices: which attributes.
        minibatch_per_gpu: images on a device at once.
        classifiers: official names of the networks that find attributes, or networks that return logits [N, 1] for
            images float32 [N, C, H, W] from -1 to 1.

    official_numerics: fit planes as scikit-learn did in 2019; see `metrics.maths.separability`.
    """

    num_samples: int
    num_keep: int
    attrib_indices: InitVar[Sequence[int]]
    minibatch_per_gpu: int
    classifiers: Sequence[Any] = CLASSIFIERS

    def __post_init__(self, attrib_indices: Sequence[int]) -> None:
        if not 0 < self.num_keep <= self.num_samples:
            raise ValueError(f"num_keep must be from 1 to num_samples={self.num_samples}, got {self.num_keep}")
        self.classifiers = [self.classifiers[index] for index in attrib_indices]
        super().__post_init__()

    def networks(self) -> list[Any]:
        """The classifiers."""
        return list(self.classifiers)

    def _evaluate(self, Gs: Any, Gs_kwargs: dict[str, Any], num_gpus: int) -> None:
        evaluation = self._evaluation
        classifiers = [evaluation.settings.network(name) for name in self.classifiers]

        def sample(latents: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
            dlatents = Gs.components.mapping.get_output_for(latents, labels, **Gs_kwargs)[:, -1]
            images = Gs.get_output_for(latents, None, **Gs_kwargs)  # without labels, as in the official code
            images = composited(tf.cast(images, tf.float32), evaluation.settings.matte, (-1, 1))
            images = average_down(images, reduction_of(*images.shape[2:], _RESOLUTION))
            logits = [classifier.get_output_for(images, None) for classifier in classifiers]
            return [tf.concat([tf.cast(dlatents, tf.float32), *logits], axis=1)]  # [N, dlatent_size + attributes]

        generator = evaluation.generator
        dlatent_size = Gs.components.mapping.output_shape[2]
        rows = evaluation.rows(
            "attributes",
            dlatent_size + len(classifiers),
            self.num_samples,
            sample,
            generator.inputs,
            self.minibatch_per_gpu,
            "generated images",
            {"classifiers": [classifier.digest for classifier in classifiers]},
        )
        spaces = {"z": generator.random.latents(0, self.num_samples, Gs.input_shape[1]), "w": rows[:, :dlatent_size]}
        results = separability(
            spaces,
            [predictions_of(logits) for logits in rows[:, dlatent_size:].T],
            self.num_keep,
            official_numerics=self.official_numerics,
            progress=lambda done, total: self._report_progress(done, total, "planes"),
        )
        for space, result in results.items():
            self._report_result(result.score, suffix=f"_{space}")


def predictions_of(logits: np.ndarray) -> np.ndarray:
    """Probabilities [N, 2] of two classes whose logits are `logits` [N] and their negatives."""
    first = np.exp(-np.logaddexp(0, -2 * logits.astype(np.float64)))
    return np.stack([first, 1 - first], axis=1)
