"""The optimizer of the official training loop: Adam whose state several losses share, and which skips bad steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from . import replicas
from .ops import variables


class Optimizer:
    """Adam, with TensorFlow 1's formulas and state.

    One optimizer serves a network's loss and its lazily evaluated regularizer, which share its moments, as officially
    (`share=`). Gradients are summed over replicas. An update with a gradient that is not finite is skipped.

    Create it inside the strategy's scope; `apply` runs inside `strategy.run`.

    Args:
        name: name of the state's variables.
        trainables: what it trains: variables by their official names.
        beta1, beta2, epsilon: of Adam.
    """

    def __init__(
        self,
        name: str,
        trainables: Mapping[str, Any],
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ):
        self.name = name
        self.trainables = dict(trainables)
        self.betas = beta1, beta2
        self.epsilon = epsilon

        def state(label: str, value: Any) -> tf.Variable:
            return tf.Variable(value, trainable=False, name=f"{name}/{label}")

        self.m = {key: state(f"m/{key}", tf.zeros(var.shape)) for key, var in self.trainables.items()}
        self.v = {key: state(f"v/{key}", tf.zeros(var.shape)) for key, var in self.trainables.items()}
        self.powers = [state(f"beta{i}_power", beta) for i, beta in enumerate(self.betas, 1)]

    def variables(self) -> dict[str, tf.Variable]:
        """Everything that must survive a restart, by name."""
        result = {f"m/{key}": var for key, var in self.m.items()}
        result |= {f"v/{key}": var for key, var in self.v.items()}
        return result | {f"beta{i}_power": var for i, var in enumerate(self.powers, 1)}

    def reset_optimizer_state(self) -> None:
        """Forgets all moments, as at the start of training."""
        for var in (*self.m.values(), *self.v.values()):
            var.assign(tf.zeros(var.shape))
        for var, beta in zip(self.powers, self.betas, strict=True):
            var.assign(beta)

    def apply(self, gradients: Sequence[tf.Tensor], learning_rate: Any) -> tf.Tensor:
        """Makes one step with gradients in the order of `trainables`, each replica's share of their sum.

        Returns whether it was made: False if a gradient was not finite.
        """
        gradients = replicas.sum_over(list(gradients))
        return variables.adam(
            *(list(of_all.values()) for of_all in (self.trainables, self.m, self.v)),
            self.powers,
            gradients,
            learning_rate,
            betas=self.betas,
            epsilon=self.epsilon,
        )
