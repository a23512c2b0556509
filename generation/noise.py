"""What noise does to an image: other noise, noise in some layers only, and how much each pixel depends on it."""

from collections.abc import Callable, Sequence

import numpy as np

from dnnlib.pictures import composited

from .image_generator import ImageGenerator


def noise_of_seed(shapes: Sequence[Sequence[int]], seed: int) -> list[np.ndarray]:
    """Noise images, float32 `[1, 1, H, W]` for each shape, from RandomState(seed)."""
    state = np.random.RandomState(seed)
    return [state.randn(*shape).astype(np.float32) for shape in shapes]


def columns(shapes: Sequence[Sequence[int]], seeds: Sequence[int]) -> dict[str, list[np.ndarray]]:
    """The noise of each column of a figure, by its label.

    That of the seeds, then that of the first seed in no layer, in the coarse layers alone, and in the fine ones alone.
    Coarse are the lower half of the resolutions: 4x4 to 32x32 of a network of 1024x1024 (StyleGAN, figure 5).

    shapes: `[1, 1, H, W]` of each noise image.
    """
    result = {f"noise {seed}": noise_of_seed(shapes, seed) for seed in seeds}
    resolutions = sorted({shape[2] for shape in shapes})
    coarse = resolutions[: len(resolutions) // 2]
    first = noise_of_seed(shapes, seeds[0])
    result["none"] = [np.zeros_like(noise) for noise in first]
    result["coarse"] = [noise * (noise.shape[2] in coarse) for noise in first]
    result["fine"] = [noise * (noise.shape[2] not in coarse) for noise in first]
    return result


def deviations(
    generator: ImageGenerator,
    dlatents: np.ndarray,
    num_samples: int,
    gain: float,
    update: Callable[[int], None],
) -> list[np.ndarray]:
    """How much pixels depend on noise: their standard deviation over noise of RandomState(0), RandomState(1), ...

    Of the brightness, the mean of the colours, as officially; what is transparent is laid over white.

    Args:
        generator: renders, in noise mode 'const'.
        dlatents: W, `[N, layers, dlatent_size]`.
        num_samples: how much noise.
        gain: how many times as large as they are the deviations are shown; up to 255.
        update: is told how many images have been rendered.

    Returns:
        uint8 images `[H, W, 1]`, one for each W.
    """
    minibatch_size = generator.rendering.minibatch_size
    shape = [len(dlatents), *generator.size]
    sums, squares = np.zeros(shape), np.zeros(shape)
    for begin in range(0, num_samples, minibatch_size):
        seeds = range(begin, min(begin + minibatch_size, num_samples))
        noises = [noise_of_seed(generator.noise_shapes, seed) for seed in seeds]
        for idx, w in enumerate(dlatents):
            images = generator.from_dlatents(np.stack([w] * len(noises)), noises)
            if images.shape[3] == 4:
                images = composited(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
            brightness = np.mean(images, axis=3, dtype=np.float64)
            sums[idx] += brightness.sum(axis=0)
            squares[idx] += np.square(brightness).sum(axis=0)
            update(len(noises))
    variances = np.maximum(squares / num_samples - np.square(sums / num_samples), 0)
    pictures = np.sqrt(variances) * gain + 0.5
    return list(pictures.clip(0, 255).astype(np.uint8)[..., np.newaxis])
