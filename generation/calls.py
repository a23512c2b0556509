"""Images by a call, for programs: what `generate-images` saves, as an array. TensorFlow is imported by the call."""

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.flags import MAX_SEED

from . import synthetic
from .conventions import Rendering

if TYPE_CHECKING:
    from dnnlib.tflib import Network

_MOST_KEPT = 8  # ways to make images, of networks that programs go on using


def images(
    network: "Network",
    seeds: int | Iterable[int],
    truncation_psi: float | None = None,
    class_idx: int | None = None,
    *,
    label: Sequence[float] | None = None,
    truncation_cutoff: int | None = None,
    noise_mode: str | None = None,
    minibatch_size: int | None = None,
    directions: Sequence[Any] = (),
) -> np.ndarray:
    """Images of seeds: those that `run_generator.py generate-images` saves.

        Gs = pretrained_networks.load("ffhq-config-f")
        pictures = generation.images(Gs, seeds=range(85, 89), truncation_psi=0.7)  # [4, 1024, 1024, 3]
        PIL.Image.fromarray(pictures[0]).save("seed0085.png")

    Args:
        network: the generator, such as `pretrained_networks.load` returns.
        seeds: of latents and noise, from 0 to 2^32 - 1: one, or several.
        truncation_psi: strength of truncation: 1 is none, 0 the average image; None: 0.5, or 1 of PyTorch networks.
        class_idx: of a conditional network, the class of all images, from 0; None: no label.
        label: in place of a class, the label vector `[label_size]` of all images.
        truncation_cutoff: number of layers that are truncated; None: the network's own.
        noise_mode: 'seed': noise of each seed; 'const': the network's own; 'random'; or 'none'. None: 'seed', or of
            PyTorch networks 'const'.
        minibatch_size: images rendered at once; None: what suits the resolution.
        directions: along which images are moved, after truncation: texts as the flag --direction has them, such as
            'sefa.npz:0=2', or `generation.directions.Move`.

    Returns:
        uint8 `[N, H, W, C]`, in the order of the seeds: 1 channel of gray, 3 of RGB, or 4 of RGBA.

    Raises:
        UserError: a seed out of range, or what the network cannot do, such as a class that it has not.
    """
    seeds = [_seed(seed) for seed in ([seeds] if isinstance(seeds, (int, np.integer)) else seeds)]
    if minibatch_size is not None and minibatch_size < 1:
        raise UserError(f"minibatch_size={minibatch_size}: expected 1 or more")
    label = None if label is None else tuple(float(number) for number in label)
    rendering = Rendering(truncation_psi, truncation_cutoff, class_idx, label, noise_mode)
    generator = _generator(network, rendering)
    with _arguments_named():
        generator.move(directions)
    size = minibatch_size or synthetic.minibatch_size(*generator.size)
    batches = [seeds[begin : begin + size] for begin in range(0, len(seeds), size)]
    result = np.empty([len(seeds), *generator.size, network.output_shape[1]], np.uint8)
    for number, batch in enumerate(generator.rendered(batches)):
        result[number * size : number * size + len(batch)] = batch
    return result


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= MAX_SEED:
        raise UserError(f"seeds: expected integers from 0 to {MAX_SEED}, got {seed!r}")
    return int(seed)


@functools.lru_cache(_MOST_KEPT)  # the next call of this kind needs not be traced again
def _generator(network: Any, rendering: Rendering) -> Any:
    from .conventions import NOISE_MODES, SEED_NOISE
    from .image_generator import ImageGenerator

    if rendering.noise_mode not in (None, SEED_NOISE, *NOISE_MODES):
        modes = ", ".join((SEED_NOISE, *NOISE_MODES))
        raise UserError(f"noise_mode={rendering.noise_mode!r}: expected one of {modes}")
    with _arguments_named():
        return ImageGenerator(network, replace(rendering), has_seeds=True)


@contextlib.contextmanager
def _arguments_named() -> Iterator[None]:
    """Inside, messages that name flags name arguments."""
    try:
        yield
    except UserError as error:
        raise UserError(re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda flag: flag[1].replace("-", "_"), str(error))) from None
