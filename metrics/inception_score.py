"""The Inception score: `is50k`.

Salimans et al., "Improved Techniques for Training GANs" (2016).
"""

from dataclasses import dataclass
from typing import Any

from dnnlib.errors import UserError
from metrics.features.evaluation import Request
from metrics.maths.inception_score import inception_score

from .metric_base import MetricBase


@dataclass(eq=False)
class IS(MetricBase):
    """How sure a classifier is of each generated image, and how different its answers are: higher is better.

    Args:
        num_images: generated images.
        num_splits: parts, in the order of generation, over which the score is averaged.
        minibatch_per_gpu: images on a device at once.
        detector: official name of the classifier, or a network.
    """

    num_images: int
    num_splits: int
    minibatch_per_gpu: int
    detector: Any = "inception_v3_softmax"

    def __post_init__(self) -> None:
        if self.num_images < self.num_splits:
            raise UserError(f"{self.num_images} images are too few for {self.num_splits} splits")
        super().__post_init__()

    def requests(self) -> list[Request]:
        """The probabilities of classes of generated images."""
        return [Request("generated", self.detector, self.num_images, self.minibatch_per_gpu)]

    def _evaluate(self, Gs: Any, Gs_kwargs: dict[str, Any], num_gpus: int) -> None:
        score = inception_score(self._features()[0], self.num_splits)
        self._report_result(score.mean, suffix="_mean")
        self._report_result(score.std, suffix="_std")
