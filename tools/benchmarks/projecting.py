"""Times projecting: a step against what it cannot do without, and several images at once against one after the other.

What it cannot do without: the image, its features, the distance to those of the target, and the gradients of that by W
and by the noise images. LPIPS has random weights.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

import pretrained_networks
from dnnlib.tflib import Network
from metrics.nets.images import prepare_images
from metrics.nets.lpips import LPIPS
from projection.distances import Distance, PixelDistance
from projection.projector import Projector

from .generating import network
from .metrics import random_network
from .table import Figure, Options
from .timing import in_turns, run_all

_DEMO = Path(__file__).resolve().parents[2] / "demo" / "symbols-32x32.pkl"
_RESOLUTION = 64
_TOGETHER = 4  # images
_STEPS = 20  # of the small network in each round; of the large one there is one


def make_projector(Gs: Network, distance: Distance, minibatch: int) -> Projector:
    """A projector that has begun with random images."""
    proj = Projector()
    proj.clone_net = False
    proj.distance = distance
    proj.num_steps = 1 << 30
    proj.dlatent_avg_samples = 100
    proj.set_network(Gs, minibatch)
    shape = [minibatch, *Gs.output_shape[1:]]
    proj.start(np.random.RandomState(0).uniform(-1, 1, shape).astype(np.float32))
    return proj


def bare_step(proj: Projector) -> Callable[[], object]:
    """Computes the distances and gradients of a step, and nothing else."""
    synthesis = proj._synthesis
    dlatents = tf.constant(proj.get_dlatents())
    noises = [tf.constant(noise) for noise in proj.get_noises()]

    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([dlatents, *noises])
            images = synthesis.get_output_for(dlatents, noise=noises, **proj._synthesis_kwargs)
            distance = proj._target_distance.between(prepare_images(images), proj._prepared)
        return tape.gradient(distance, [dlatents, *noises])

    return tf.function(gradients, autograph=False).get_concrete_function()


def bench(options: Options) -> Iterator[Figure]:
    """The demo network, and config f at a resolution."""
    resolution = options.resolution or _RESOLUTION
    demo, Gs = pretrained_networks.load_networks(str(_DEMO))[2], network("Gs", "config-f", resolution)
    cases = {
        "demo network, 32x32, pixel distance": (demo, PixelDistance(), _STEPS),
        f"config f, {resolution}x{resolution}, LPIPS": (Gs, random_network(LPIPS, 2, [None]), 1),
    }
    for title, (net, distance, steps) in cases.items():
        alone, together = (make_projector(net, distance, number) for number in (1, _TOGETHER))
        calls = {"step": alone.step, "bare": bare_step(alone), "batch": together.step}
        repeated = {name: functools.partial(run_all, [call] * steps) for name, call in calls.items()}
        times = in_turns(repeated, options.rounds)
        per_step = times["step"] / steps
        what = f"projecting, {title}"
        yield Figure(f"{what}: a step", f"{1000 * per_step:.0f} ms, 1000 steps {1000 * per_step / 60:.1f} min")
        ratio = times["step"] / times["bare"]
        yield Figure(f"{what}: step against image, distance and gradients", f"{ratio:.2f}", "1.3 or less")
        ratio = times["batch"] / (_TOGETHER * times["step"])
        yield Figure(f"{what}: {_TOGETHER} images at once against one after the other", f"{ratio:.2f}", "0.8 or less")
