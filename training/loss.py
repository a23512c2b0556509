"""Loss functions of StyleGAN2, with their official names and arguments.

Each returns `(loss, reg)`: the loss, and the regularization term that may be evaluated less often (lazy regularization,
StyleGAN2 section 3.1), each with one number per sample or None. `parts` chooses what is computed: 'loss', 'reg' or
'both'; the other is None then. Averages of interest go to `autosummary`.

Common arguments: networks `G` and `D`; `opt`, unused, as officially in its place; `training_set`, which draws labels;
`minibatch_size`; for discriminators `reals` `[N, C, H, W]` in the networks' range, and `labels` `[N, L]`, which are
theirs and those of the generated images as well; `augment`, an `AdaptiveAugment` that changes whatever the
discriminator sees and counts the signs of its scores of real images, or None.

Of images with transparency, real and generated, discriminators see the colours times the weight of alpha
(`augmentation.transparency`), and that is what is augmented; gradients are by the images themselves.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib import random_stream, replicas
from dnnlib.tflib.autosummary import autosummary
from dnnlib.tflib.tfutil import finite_or, lerp
from training.augmentation.transparency import as_seen

Result = tuple[tf.Tensor | None, tf.Tensor | None]

# ----------------------------------------------------------------------------
# Pieces.


def _generate(G: Any, minibatch_size: int, labels: tf.Tensor) -> tf.Tensor:
    """Images of random latents."""
    latents = random_stream.normal([minibatch_size, *G.input_shapes[0][1:]])
    return G.get_output_for(latents, labels, is_training=True)


def _scores(D: Any, images: tf.Tensor, labels: tf.Tensor, augment: Any, real: bool = False) -> tf.Tensor:
    """real: whether they are scores of real images, whose signs `augment` counts."""
    images = as_seen(images)
    images = images if augment is None else augment(images)
    scores = D.get_output_for(images, labels, is_training=True)
    if real and augment is not None:
        augment.observe(scores)
    return scores


def _fake_scores(G: Any, D: Any, minibatch_size: int, labels: tf.Tensor, augment: Any) -> tf.Tensor:
    return _scores(D, _generate(G, minibatch_size, labels), labels, augment)


def _scores_for_G(G: Any, D: Any, training_set: Any, minibatch_size: int, augment: Any) -> tf.Tensor:
    return _fake_scores(G, D, minibatch_size, training_set.get_random_labels_tf(minibatch_size), augment)


def _gradient(
    D: Any, images: tf.Tensor, labels: tf.Tensor, augment: Any, real: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores of images and the gradient of their sum with respect to the images as they are, `[N, C, H, W]`."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        scores = _scores(D, images, labels, augment, real)
        total = tf.reduce_sum(scores)
    return scores, tape.gradient(total, images)


def _wants(parts: str) -> tuple[bool, bool]:
    if parts not in ("loss", "reg", "both"):
        raise ValueError(f"parts must be 'loss', 'reg' or 'both', got {parts!r}")
    return parts != "reg", parts != "loss"


# ----------------------------------------------------------------------------
# Logistic losses (Goodfellow et al. 2014).


def G_logistic(
    G: Any, D: Any, opt: Any, training_set: Any, minibatch_size: int, augment: Any = None, parts: str = "both"
) -> Result:
    """Saturating logistic loss, log(1 - sigmoid(D(G(z))))."""
    if not _wants(parts)[0]:
        return None, None
    return -tf.nn.softplus(_scores_for_G(G, D, training_set, minibatch_size, augment)), None


def G_logistic_ns(
    G: Any, D: Any, opt: Any, training_set: Any, minibatch_size: int, augment: Any = None, parts: str = "both"
) -> Result:
    """Non-saturating logistic loss, -log(sigmoid(D(G(z))))."""
    if not _wants(parts)[0]:
        return None, None
    return tf.nn.softplus(-_scores_for_G(G, D, training_set, minibatch_size, augment)), None


def _logistic(real_scores: tf.Tensor, fake_scores: tf.Tensor) -> tf.Tensor:
    real_scores = autosummary("Loss/scores/real", real_scores)
    fake_scores = autosummary("Loss/scores/fake", fake_scores)
    return tf.nn.softplus(fake_scores) + tf.nn.softplus(-real_scores)


def D_logistic(
    G: Any,
    D: Any,
    opt: Any,
    training_set: Any,
    minibatch_size: int,
    reals: tf.Tensor,
    labels: tf.Tensor,
    augment: Any = None,
    parts: str = "both",
) -> Result:
    """Logistic loss without regularization."""
    if not _wants(parts)[0]:
        return None, None
    fake_scores = _fake_scores(G, D, minibatch_size, labels, augment)
    return _logistic(_scores(D, reals, labels, augment, real=True), fake_scores), None


# ----------------------------------------------------------------------------
# R1 and R2 regularizers (Mescheder et al. 2018).


def D_logistic_r1(
    G: Any,
    D: Any,
    opt: Any,
    training_set: Any,
    minibatch_size: int,
    reals: tf.Tensor,
    labels: tf.Tensor,
    gamma: float = 10.0,
    random_fake_labels: bool = False,
    augment: Any = None,
    parts: str = "both",
) -> Result:
    """Logistic loss; gamma / 2 times the squared gradient norm at real images.

    random_fake_labels: generated images have labels of random images, as in StyleGAN2-ADA, not those of `reals`.
    """
    want_loss, want_reg = _wants(parts)
    loss = reg = None
    if want_loss:
        fake_labels = training_set.get_random_labels_tf(minibatch_size) if random_fake_labels else labels
        fake_scores = _fake_scores(G, D, minibatch_size, fake_labels, augment)
    if want_reg:
        real_scores, gradient = _gradient(D, reals, labels, augment, real=True)
        reg = _gradient_penalty(gradient, gamma)
    else:
        real_scores = _scores(D, reals, labels, augment, real=True)
    if want_loss:
        loss = _logistic(real_scores, fake_scores)
    return loss, reg


def D_logistic_r2(
    G: Any,
    D: Any,
    opt: Any,
    training_set: Any,
    minibatch_size: int,
    reals: tf.Tensor,
    labels: tf.Tensor,
    gamma: float = 10.0,
    augment: Any = None,
    parts: str = "both",
) -> Result:
    """Logistic loss; gamma / 2 times the squared gradient norm at generated images."""
    want_loss, want_reg = _wants(parts)
    loss = reg = None
    images = _generate(G, minibatch_size, labels)
    if want_reg:
        fake_scores, gradient = _gradient(D, images, labels, augment)
        reg = _gradient_penalty(gradient, gamma)
    else:
        fake_scores = _scores(D, images, labels, augment)
    if want_loss:
        loss = _logistic(_scores(D, reals, labels, augment, real=True), fake_scores)
    return loss, reg


def _gradient_penalty(gradient: tf.Tensor, gamma: float) -> tf.Tensor:
    penalty = tf.reduce_sum(tf.square(gradient), axis=[1, 2, 3])  # [N]
    return autosummary("Loss/gradient_penalty", penalty) * (gamma * 0.5)


# ----------------------------------------------------------------------------
# WGAN (Arjovsky et al. 2017) and WGAN-GP (Gulrajani et al. 2017).


def G_wgan(
    G: Any, D: Any, opt: Any, training_set: Any, minibatch_size: int, augment: Any = None, parts: str = "both"
) -> Result:
    """WGAN loss."""
    if not _wants(parts)[0]:
        return None, None
    return -_scores_for_G(G, D, training_set, minibatch_size, augment), None


def _wgan(real_scores: tf.Tensor, fake_scores: tf.Tensor, wgan_epsilon: float) -> tf.Tensor:
    real_scores = autosummary("Loss/scores/real", real_scores)
    fake_scores = autosummary("Loss/scores/fake", fake_scores)
    epsilon_penalty = autosummary("Loss/epsilon_penalty", tf.square(real_scores))
    return fake_scores - real_scores + epsilon_penalty * wgan_epsilon


def D_wgan(
    G: Any,
    D: Any,
    opt: Any,
    training_set: Any,
    minibatch_size: int,
    reals: tf.Tensor,
    labels: tf.Tensor,
    wgan_epsilon: float = 0.001,
    augment: Any = None,
    parts: str = "both",
) -> Result:
    """WGAN loss; `wgan_epsilon` weighs the squared real scores, which keeps them from drifting."""
    if not _wants(parts)[0]:
        return None, None
    fake_scores = _fake_scores(G, D, minibatch_size, labels, augment)
    return _wgan(_scores(D, reals, labels, augment, real=True), fake_scores, wgan_epsilon), None


def D_wgan_gp(
    G: Any,
    D: Any,
    opt: Any,
    training_set: Any,
    minibatch_size: int,
    reals: tf.Tensor,
    labels: tf.Tensor,
    wgan_lambda: float = 10.0,
    wgan_epsilon: float = 0.001,
    wgan_target: float = 1.0,
    augment: Any = None,
    parts: str = "both",
) -> Result:
    """WGAN loss; the gradient norm at mixtures of real and generated images is drawn to `wgan_target`."""
    want_loss, want_reg = _wants(parts)
    loss = reg = None
    images = _generate(G, minibatch_size, labels)
    if want_loss:
        fake_scores = _scores(D, images, labels, augment)
        loss = _wgan(_scores(D, reals, labels, augment, real=True), fake_scores, wgan_epsilon)
    if want_reg:
        factors = random_stream.uniform([minibatch_size, 1, 1, 1], dtype=images.dtype)
        mixed_scores, gradient = _gradient(D, lerp(tf.cast(reals, images.dtype), images, factors), labels, augment)
        autosummary("Loss/mixed_scores", mixed_scores)
        norms = tf.sqrt(tf.reduce_sum(tf.square(gradient), axis=[1, 2, 3]))  # [N]
        norms = autosummary("Loss/mixed_norms", norms)
        penalty = autosummary("Loss/gradient_penalty", tf.square(norms - wgan_target))
        reg = penalty * (wgan_lambda / wgan_target**2)
    return loss, reg


# ----------------------------------------------------------------------------
# Path length regularization (StyleGAN2, section 3.2).


def G_logistic_ns_pathreg(
    G: Any,
    D: Any,
    opt: Any,
    training_set: Any,
    minibatch_size: int,
    pl_minibatch_shrink: int = 2,
    pl_decay: float = 0.01,
    pl_weight: float = 2.0,
    pl_mean: tf.Variable | None = None,
    augment: Any = None,
    parts: str = "both",
) -> Result:
    """Non-saturating logistic loss with path length regularization (equation 4).

    Args:
        pl_minibatch_shrink: the regularizer uses a minibatch this many times smaller, to save memory.
        pl_decay: how fast the average path length follows, per evaluation.
        pl_weight: weight of the regularizer; 0: there is none.
        pl_mean: variable of the average path length; None: one that belongs to `G` (`path_length_mean`).
        G, D, opt, training_set, minibatch_size, augment, parts: see the module.
    """
    want_loss, want_reg = _wants(parts)
    loss = None
    own_minibatch = pl_minibatch_shrink > 1
    if want_loss and (own_minibatch or not want_reg or not pl_weight):
        loss = tf.nn.softplus(-_scores_for_G(G, D, training_set, minibatch_size, augment))
    if not want_reg or not pl_weight:
        return loss, None

    pl_minibatch = max(minibatch_size // pl_minibatch_shrink, 1) if own_minibatch else minibatch_size
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        latents = random_stream.normal([pl_minibatch, *G.input_shapes[0][1:]])
        tape.watch(latents)  # so that W, which depends on them, is on the tape
        labels = training_set.get_random_labels_tf(pl_minibatch)
        images, dlatents = G.get_output_for(latents, labels, is_training=True, return_dlatents=True)
        if want_loss and not own_minibatch:
            loss = tf.nn.softplus(-_scores(D, images, labels, augment))
        pl_noise = random_stream.normal(images.shape) / np.sqrt(np.prod(G.output_shape[2:]))
        total = tf.reduce_sum(images * pl_noise)
    pl_grads = tape.gradient(total, dlatents)  # [N, layers, dlatent_size]
    pl_lengths = tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(pl_grads), axis=2), axis=1))  # [N]
    pl_lengths = autosummary("Loss/pl_lengths", pl_lengths)

    target = _track_mean(path_length_mean(G) if pl_mean is None else pl_mean, pl_lengths, pl_decay)
    pl_penalty = autosummary("Loss/pl_penalty", tf.square(pl_lengths - target))
    return loss, pl_penalty * pl_weight


def path_length_mean(G: Any) -> tf.Variable:
    """The average path length of a generator, a variable that starts at 0. Created when it is first asked for."""
    if "pl_mean" not in G.__dict__:
        with tf.init_scope():
            G.pl_mean = tf.Variable(
                0.0, trainable=False, name="pl_mean", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
            )
    return G.pl_mean


def _track_mean(variable: tf.Variable, pl_lengths: tf.Tensor, decay: float) -> tf.Tensor:
    """Moves the average towards the lengths of all replicas, one after the other; returns this replica's average.

    So the result does not depend on whether minibatches are computed by several replicas or in several rounds.
    """
    own = tf.reduce_mean(pl_lengths)
    average = tf.convert_to_tensor(variable)
    target = tf.zeros([])
    for index, batch_mean in enumerate(replicas.gather(own)):
        is_own = tf.equal(replicas.replica_index(), index)
        target = tf.where(is_own, average + decay * (own - average), target)  # with the gradient of the own lengths
        average = finite_or(average + decay * (batch_mean - average), average)
    variable.assign(average)
    return target
