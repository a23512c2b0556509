"""What all discriminators share: images and labels in, one score out."""

from typing import Any

import tensorflow as tf

from dnnlib.resolutions import Size

from .checks import check_common, prepare_labels, resolution_of
from .network_model import NetworkModel


class Discriminator(NetworkModel):
    """images `[N, C, H, W]`, labels `[N, label_size]` -> scores `[N, 1]`."""

    def setup(
        self, num_channels: int, resolution: Size, base: Size | None, label_size: int, nonlinearity: str, dtype: str
    ) -> None:
        """Checks the arguments that all have, and sets inputs and outputs."""
        check_common(self.name, nonlinearity, dtype, num_channels=num_channels, label_size=label_size)
        self.resolution = resolution_of(self.name, resolution, base)
        self.label_size = label_size
        self.activation_dtype = dtype
        self.set_io(
            {"images_in": [None, num_channels, *self.resolution[:2]], "labels_in": [None, label_size]},
            {"scores_out": [None, 1]},
        )

    def images_nhwc(self, images_in: Any) -> tf.Tensor:
        """Checked images as `[N, H, W, C]`."""
        images = tf.cast(images_in, self.activation_dtype)
        expected = self.io_inputs["images_in"]
        if not images.shape.is_compatible_with(expected):
            raise ValueError(f"{self.name}: images must have shape {['N', *expected[1:]]}, got {images.shape}")
        return tf.transpose(images, [0, 2, 3, 1])  # [N, H, W, C]

    def choose_label(self, scores: tf.Tensor, labels_in: Any, row: str) -> tf.Tensor:
        """The score of each sample's class, `[N, 1]`, of scores for all classes; `row` names it in the layer table."""
        labels = prepare_labels(self.name, labels_in, self.label_size, tf.shape(scores)[0], scores.dtype)
        if labels is None:
            return scores
        return self.row(tf.reduce_sum(scores * labels, axis=1, keepdims=True), row)
