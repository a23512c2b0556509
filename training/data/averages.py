"""The means of pixels that lower levels of images are. Those of RGBA weigh colours by alpha."""

import numpy as np


def box_mean(images: np.ndarray, times: int) -> np.ndarray:
    """Images, uint8 [..., C, H, W], with height and width halved so many times, as in lower levels of tfrecords.

    Like there, the means of 2x2 pixels are rounded once, at the end, halves to even. Images of four channels are RGBA:
    where all alphas are 0, colours are the plain mean.
    """
    if times == 0:
        return images
    result = np.empty([*images.shape[:-2], images.shape[-2] >> times, images.shape[-1] >> times], np.uint8)
    is_rgba = images.shape[-3] == 4
    for index in np.ndindex(*images.shape[: -3 if is_rgba else -2]):  # planes one by one: they fit into the cache
        planes = sums_of(images[index]) if is_rgba else images[index].astype(np.float32)
        for _ in range(times):
            planes = halved(planes)
        result[index] = rounded(colors_of(planes) if is_rgba else planes)  # exact sums: 2**24 is more than 255 * 4**8
    return result


def sums_of(images: np.ndarray) -> np.ndarray:
    """What is to be halved of images [..., C, H, W], float32: them, and of RGBA also the colours times alpha."""
    images = images.astype(np.float32)
    if images.shape[-3] != 4:
        return images
    return np.concatenate([images, images[..., :3, :, :] * images[..., 3:, :, :]], axis=-3)


def colors_of(sums: np.ndarray) -> np.ndarray:
    """The images [..., C, H, W] of what `sums_of` gave, once it is halved."""
    if sums.shape[-3] != 7:
        return sums
    alpha = sums[..., 3:4, :, :]
    seen = alpha > 0
    colors = np.where(seen, sums[..., 4:, :, :] / np.where(seen, alpha, 1), sums[..., :3, :, :])
    return np.concatenate([colors, alpha], axis=-3)


def halved(images: np.ndarray) -> np.ndarray:
    """The means of 2x2 pixels: images, float32 [..., H, W], as [..., H / 2, W / 2]."""
    rows = images[..., 0::2, :] + images[..., 1::2, :]
    return (rows[..., 0::2] + rows[..., 1::2]) * np.float32(0.25)


def rounded(images: np.ndarray) -> np.ndarray:
    """Numbers as uint8, halves to even, what is beyond 0 to 255 cut off."""
    return images if images.dtype == np.uint8 else np.rint(images).clip(0, 255).astype(np.uint8)
