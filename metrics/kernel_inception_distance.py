"""The kernel Inception distance: `kid50k`, `kid50k_full`.

Binkowski et al., "Demystifying MMD GANs" (2018); subsets as in Karras et al., "Training Generative Adversarial Networks
with Limited Data" (2020).
"""

from dataclasses import dataclass
from typing import Any

from metrics.maths.kernel import kernel_distance

from .feature_metric import FeatureMetric


@dataclass(eq=False)
class KID(FeatureMetric):
    """Squared maximum mean discrepancy of the features of real and generated images: 0 is best.

    num_subsets, max_subset_size: it is averaged over pairs of random subsets. official_numerics: they come from
    `np.random`, instead of the seed of the evaluation.
    """

    num_images: int
    minibatch_per_gpu: int
    num_subsets: int = 100
    max_subset_size: int = 1000
    detector: Any = "inception_v3_features"

    def _evaluate(self, Gs: Any, Gs_kwargs: dict[str, Any], num_gpus: int) -> None:
        real, generated = self._features()
        print(f"{self.name}: comparing {len(real)} real and {len(generated)} generated images ...")
        seed = None if self.official_numerics else self._evaluation.settings.seed
        distance = kernel_distance(real, generated, self.num_subsets, self.max_subset_size, seed)
        self._report_result(distance, fmt="%-12.8f")
