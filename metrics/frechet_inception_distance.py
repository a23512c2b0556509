"""The Fréchet Inception distance: `fid50k`, `fid50k_full`, `fid5k`.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium" (2017).
"""

from dataclasses import dataclass
from typing import Any

from metrics.maths.frechet import feature_statistics, frechet_distance

from .feature_metric import FeatureMetric


@dataclass(eq=False)
class FID(FeatureMetric):
    """Distance of the normal distributions that fit the features of real and generated images: 0 is best.

    official_numerics: the square root of a general matrix, as the official code has it. It loses precision where there
    are fewer images than features.
    """

    num_images: int
    minibatch_per_gpu: int
    detector: Any = "inception_v3_features"

    def _evaluate(self, Gs: Any, Gs_kwargs: dict[str, Any], num_gpus: int) -> None:
        features = self._features()
        print(f"{self.name}: comparing {len(features[0])} real and {len(features[1])} generated images ...")
        real, generated = map(feature_statistics, features)
        self._report_result(frechet_distance(*real, *generated, official_numerics=self.official_numerics))
