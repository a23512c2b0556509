"""How strongly images are augmented: not at all, at a fixed p, or as much as the discriminator's overfitting asks for.

The adaptive controller (arXiv:2006.06676, section 3) watches r_t, the mean sign of the discriminator's scores of real
images: 0 where it does not overfit, 1 where it knows every one of them. p grows while r_t is above its target and
shrinks below it.
"""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import tensorflow as tf

from dnnlib.tflib import replicas
from dnnlib.tflib.autosummary import autosummary

from .pipeline import AugmentPipe

# Names of official options files for the class below and for the pipeline.
OFFICIAL_CLASS = "training.augment.AdaptiveAugment"
OFFICIAL_PIPELINE = "training.augment.augment_pipeline"


class AdaptiveAugment:
    """Augmentation of whatever the discriminator sees. Create it inside the strategy's scope.

    Args:
        pipe: the pipeline; None: images stay as they are.
        p: probability of transforms of strength 1; the first one, if it is adapted.
        target: of r_t, in [-1, 1]; None: p is fixed.
        kimg: thousands of images in which p can move by 1.
        interval: iterations between changes of p.

    Attributes:
        p: float32 variable, 0 or more; it has no upper limit.
        adaptive: whether p changes.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(
        self,
        pipe: AugmentPipe | None,
        p: float = 0.0,
        target: float | None = None,
        kimg: float = 500,
        interval: int = 4,
    ):
        _check("p", p, 0, math.inf)
        if target is not None:
            _check("target", target, -1, 1)
        _check("kimg", kimg, 0, math.inf)
        if kimg == 0:
            raise ValueError("augmentation: kimg must be above 0")
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ValueError(f"augmentation: interval must be an integer of 1 or more, got {interval!r}")
        self.pipe = pipe
        self.target = target
        self.kimg = kimg
        self.interval = interval
        self.adaptive = pipe is not None and target is not None
        self.p = _variable("augment_p", p)
        self._signs = _variable("augment_signs", 0)  # the sum of signs since p last changed
        self._count = _variable("augment_count", 0)  # of them

    @classmethod
    def of_options(
        cls,
        apply_args: Mapping[str, Any] | None = None,
        initial_strength: float = 0.0,
        tune_heuristic: str | None = None,
        tune_target: float = 0.6,
        tune_kimg: float = 500,
        tune_interval: int = 4,
        class_name: str = OFFICIAL_CLASS,
        apply_func: str = OFFICIAL_PIPELINE,
    ) -> "AdaptiveAugment":
        """The augmentation of official options (`augment_args` of `training_loop`).

        Args:
            apply_args: arguments of `AugmentPipe`; None or empty: no augmentation, but r_t is reported.
            initial_strength: p, or the first one if it is adapted.
            tune_heuristic: 'rt', or None for a fixed p.
            tune_target, tune_kimg, tune_interval: `target`, `kimg` and `interval` of the controller.
            class_name, apply_func: of this class and its pipeline, as official options have them.

        Raises ValueError for values that make no sense.
        """
        if tune_heuristic not in (None, "rt"):
            raise ValueError(f"augmentation: tune_heuristic must be 'rt' or None, got {tune_heuristic!r}")
        for key, name, known in (
            ("class_name", class_name, OFFICIAL_CLASS),
            ("apply_func", apply_func, OFFICIAL_PIPELINE),
        ):
            if name != known:
                raise ValueError(f"augmentation: {key} must be {known!r}, got {name!r}")
        pipe = AugmentPipe(**apply_args) if apply_args else None
        target = None if tune_heuristic is None else tune_target
        return cls(pipe, p=initial_strength, target=target, kimg=tune_kimg, interval=tune_interval)

    def describe(self) -> str:
        """One line for logs."""
        if self.pipe is None:
            return "none"
        how = f"adapted to r_t = {self.target:g}" if self.adaptive else f"fixed p = {float(self.p.numpy()):g}"
        return f"{', '.join(self.pipe.transforms())}; {how}"

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Augments images `[N, C, H, W]` in [-1, 1]; random numbers come from `random_stream`."""
        return images if self.pipe is None else self.pipe(images, self.p)

    def observe(self, real_scores: tf.Tensor) -> None:
        """Counts scores of augmented real images, of any shape, those of the loss and those of its regularizer.

        For the graphs of losses; NaN is not counted. The signs are reported as 'Loss/signs/real'.
        """
        signs = tf.sign(tf.stop_gradient(tf.cast(real_scores, tf.float32)))
        autosummary("Loss/signs/real", signs)
        if self.adaptive:
            usable = ~tf.math.is_nan(signs)
            total, count = tf.reduce_sum(tf.where(usable, signs, 0.0)), tf.reduce_sum(tf.cast(usable, tf.float32))
            total, count = replicas.sum_over([total, count])
            self._signs.assign(tf.convert_to_tensor(self._signs) + total)
            self._count.assign(tf.convert_to_tensor(self._count) + count)

    def after_iteration(self, iteration: int, minibatch_size: int) -> float | None:
        """Changes p if it is time to.

        Args:
            iteration: the number of the iteration that has ended; the first is 0.
            minibatch_size: real images of an iteration, over all devices.

        Returns:
            r_t where p was adapted, else None.
        """
        count = float(self._count.numpy()) if self.adaptive and (iteration + 1) % self.interval == 0 else 0.0
        if not count:
            return None
        r_t = float(self._signs.numpy()) / count
        step = minibatch_size * self.interval / (self.kimg * 1000)
        direction = (r_t > self.target) - (r_t < self.target)
        self.p.assign(max(float(self.p.numpy()) + direction * step, 0.0))
        self._signs.assign(0.0)
        self._count.assign(0.0)
        return r_t

    def variables(self) -> dict[str, Any]:
        """Everything that must survive a restart, by name."""
        return {"augment/p": self.p, "augment/signs": self._signs, "augment/count": self._count}


def _variable(name: str, value: float) -> tf.Variable:
    first = tf.VariableAggregation.ONLY_FIRST_REPLICA
    return tf.Variable(value, dtype=tf.float32, trainable=False, name=name, aggregation=first)


def _check(name: str, value: Any, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= value <= most or math.isinf(value):
        limits = f"of {least} or more" if math.isinf(most) else f"from {least} to {most}"
        raise ValueError(f"augmentation: {name} must be a number {limits}, got {value!r}")
