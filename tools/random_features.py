"""Features of images from a fixed random convolutional network: an honest measure of progress without downloads.

The weights depend on the seed alone, nothing was learned, so the numbers compare networks of the same data set with
each other and with nothing else. NumPy only.
"""

import numpy as np

_MAX_RESOLUTION = 64  # larger images are averaged down to this
_MAX_CHANNELS = 128
_BLOCK = 128  # images in memory at once


class RandomFeatures:
    """Mean and standard deviation over the image of each channel, at all scales of a random network.

    At each scale a 3x3 convolution, bias and ReLU; from scale to scale the resolution halves, down to 4x4 or an odd
    size. `fit` then rotates and scales the statistics such that on real images the strongest have no correlation and
    variance 1: otherwise colours, which vary most and which a generator learns first, would hide everything else.

    Args:
        num_channels: of the images.
        seed: of the weights.
    """

    def __init__(self, num_channels: int = 3, seed: int = 0):
        rnd = np.random.RandomState(seed)
        self._weights: list[np.ndarray] = []
        self._biases: list[np.ndarray] = []
        inputs, outputs = num_channels, 32
        for _ in range(_scales(_MAX_RESOLUTION, _MAX_RESOLUTION)):
            weight = rnd.randn(3, 3, inputs, outputs) * np.sqrt(2 / (9 * inputs))  # keeps the variance
            self._weights.append(weight.astype(np.float32))
            self._biases.append((rnd.randn(outputs) * 0.3).astype(np.float32))
            inputs, outputs = outputs, min(outputs * 2, _MAX_CHANNELS)
        self._mean: np.ndarray | None = None
        self._projection: np.ndarray | None = None

    def statistics(self, images: np.ndarray) -> np.ndarray:
        """Statistics float32 [N, S] of images uint8 [N, C, H, W] of any base times a power of two."""
        if images.ndim != 4 or images.shape[1] != self._weights[0].shape[2] or images.dtype != np.uint8:
            raise ValueError(f"expected uint8 [N, C, H, W], got {images.dtype} {images.shape}")
        blocks = [self._block_statistics(images[start : start + _BLOCK]) for start in range(0, len(images), _BLOCK)]
        return np.concatenate(blocks)

    def _block_statistics(self, images: np.ndarray) -> np.ndarray:
        x = images.transpose(0, 2, 3, 1).astype(np.float32) / np.float32(127.5) - 1
        while max(x.shape[1:3]) > _MAX_RESOLUTION and _scales(*x.shape[1:3]) > 1:
            x = _halve(x)
        result = []
        for scale in range(_scales(*x.shape[1:3])):
            x = _halve(x) if scale else x
            x = np.maximum(_convolve(x, self._weights[scale]) + self._biases[scale], 0)
            result += [x.mean(axis=(1, 2)), x.std(axis=(1, 2))]
        return np.concatenate(result, axis=1)

    def fit(self, statistics: np.ndarray, num_features: int = 64) -> None:
        """Chooses the features by the statistics [N, S] of real images, N above `num_features`."""
        if len(statistics) <= num_features:
            raise ValueError(f"{num_features} features need more images than that, got {len(statistics)}")
        self._mean = statistics.mean(axis=0, dtype=np.float64)
        values, vectors = np.linalg.eigh(np.cov(statistics - self._mean, rowvar=False))
        kept = np.argsort(values)[::-1][:num_features]
        kept = kept[values[kept] > 1e-9 * values.max()]  # directions in which real images do not vary at all
        self._projection = vectors[:, kept] / np.sqrt(values[kept])

    def features(self, statistics: np.ndarray) -> np.ndarray:
        """Features float64 [N, F] of statistics [N, S]."""
        if self._mean is None or self._projection is None:
            raise RuntimeError("fit() comes first")
        return (statistics - self._mean) @ self._projection


def _scales(height: int, width: int) -> int:
    """At how many sizes images are seen: their own, and halves of it down to about 4x4 or an odd one."""
    halvings = 0
    while min(height, width) > 4 and height % 2 == width % 2 == 0:
        height, width, halvings = height // 2, width // 2, halvings + 1
    return halvings + 1


def _halve(x: np.ndarray) -> np.ndarray:
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def _convolve(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Convolution of x [N, H, W, C] with weight [3, 3, C, F]; pixels outside are those of the edge."""
    height, width = x.shape[1:3]
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return sum(x[:, i : i + height, j : j + width] @ weight[i, j] for i in range(3) for j in range(3))
