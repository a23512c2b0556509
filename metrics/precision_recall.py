"""Improved precision and recall: `pr50k3`, `pr50k3_full`.

Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (2019).
"""

from dataclasses import dataclass
from typing import Any

from dnnlib.errors import UserError
from metrics.maths.neighbourhoods import precision_recall

from .feature_metric import FeatureMetric


@dataclass(eq=False)
class PR(FeatureMetric):
    """Precision: how many generated images lie among the real ones. Recall: the reverse. Both 0 to 1, 1 is best.

    nhood_size: the balls around images reach to this neighbour. row_batch_size, col_batch_size: distances in memory at
    once. official_numerics: distances in float16, as the official code has them.
    """

    num_images: int
    nhood_size: int
    minibatch_per_gpu: int
    row_batch_size: int = 10000
    col_batch_size: int = 10000
    detector: Any = "vgg16"

    def __post_init__(self) -> None:
        if self.num_images <= self.nhood_size:
            raise UserError(f"{self.num_images} images are too few for neighbourhoods of {self.nhood_size}")
        super().__post_init__()

    def _evaluate(self, Gs: Any, Gs_kwargs: dict[str, Any], num_gpus: int) -> None:
        result = precision_recall(
            *self._features(),
            nhood_size=self.nhood_size,
            row_batch_size=self.row_batch_size,
            col_batch_size=self.col_batch_size,
            official_numerics=self.official_numerics,
            progress=lambda done, total: self._report_progress(done, total, "blocks of distances"),
        )
        self._report_result(result.precision, suffix="_precision")
        self._report_result(result.recall, suffix="_recall")
