"""What metrics that compare features of real and generated images have in common."""

from dataclasses import dataclass

from metrics.features.evaluation import Request

from .metric_base import MetricBase


@dataclass(eq=False, kw_only=True)
class FeatureMetric(MetricBase):
    """A metric of the features of real and of generated images. Subclasses have the first three arguments.

    Args:
        num_images: generated images, and as many real ones: the first of the data set, again from its start where it
            has fewer, mirrored at random if the training does that.
        minibatch_per_gpu: images on a device at once.
        detector: official name of the network of the features, or a network: something with `name`, `digest`,
            `output_shape` and `get_output_for`.
        full: take each real image once and not mirrored, instead.
        max_reals: with `full`, how many of them at most; None: all.
    """

    full: bool = False
    max_reals: int | None = None

    def requests(self) -> list[Request]:
        """The features of real and of generated images."""
        reals = ("each real", self.detector, self.max_reals) if self.full else ("real", self.detector, self.num_images)
        generated = "generated", self.detector, self.num_images
        return [Request(*reals, self.minibatch_per_gpu), Request(*generated, self.minibatch_per_gpu)]
