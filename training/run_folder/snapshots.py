"""What training leaves in the run folder now and then: image grids and network pickles."""

import functools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.files import free_space
from dnnlib.pictures import over_checkerboard
from dnnlib.tflib import Network, random_stream
from dnnlib.tflib.ops import implementation
from training import misc

from . import model_card

_SPARE_BYTES = 64_000_000


class ImageGrid:
    """A grid of generated images for the same latents, labels and noise every time, beside the real ones.

    Args:
        training_set: real images and labels for the grid.
        latent_size: of the generator.
        drange_net: range of generated images.
        seed: of the noise.
        grid_args: size and layout, see `misc.setup_snapshot_image_grid`.
    """

    def __init__(
        self, training_set: Any, latent_size: int, drange_net: tuple[float, float], seed: int = 0, **grid_args: str
    ):
        self.grid_size, self.reals, self.labels = misc.setup_snapshot_image_grid(training_set, **grid_args)
        self.latents = np.random.randn(np.prod(self.grid_size), latent_size)  # where the official code draws them
        self.drange_data, self.drange_net = training_set.dynamic_range, drange_net
        self.seed = random_stream.seed_of(seed)
        self._render: Any = None

    def save_reals(self, path: str) -> None:
        """Saves the real images."""
        self._save(self.reals, path, self.drange_data)

    def save_fakes(self, Gs: Network, path: str, minibatch_size: int) -> None:
        """Saves what the generator makes of the latents."""
        self._save(self._fakes(Gs, len(self.latents), minibatch_size), path, self.drange_net)

    def save_sample(self, Gs: Network, path: str, minibatch_size: int) -> None:
        """Saves the upper left corner of what `save_fakes` does, of a size for the model card."""
        all_columns, all_rows = self.grid_size
        rows, columns = model_card.sample_size(self.reals.shape[2:], (all_rows, all_columns))
        images = self._fakes(Gs, rows * all_columns, minibatch_size)
        corner = images.reshape(rows, all_columns, *images.shape[1:])[:, :columns].reshape(-1, *images.shape[1:])
        self._save(corner, path, self.drange_net, (columns, rows))

    def _fakes(self, Gs: Network, number: int, minibatch_size: int) -> np.ndarray:
        """The first of the generator's images [N, C, H, W]."""
        if self._render is None:
            # partial: functions of the same code are one to TensorFlow, which warns that it is traced too often.
            render = functools.partial(_render, Gs)
            self._render = implementation.function(render, reduce_retracing=True)
        images = []
        for begin in range(0, number, minibatch_size):
            part = slice(begin, begin + minibatch_size)
            latents = tf.constant(self.latents[part], tf.float32)
            labels = tf.constant(self.labels[part], tf.float32)
            seed = self.seed + np.array([begin, 0])
            images.append(self._render(latents, labels, tf.constant(seed)).numpy())
        return np.concatenate(images)[:number]

    def _save(
        self, images: np.ndarray, path: str, drange: tuple[float, float], grid_size: tuple[int, int] | None = None
    ) -> None:
        """Saves images `[N, C, H, W]` as one picture; with transparency, over a checkerboard."""
        if images.shape[1] == 4:
            images = np.rint(misc.adjust_dynamic_range(images, drange, (0, 255))).clip(0, 255).astype(np.uint8)
            images, drange = over_checkerboard(images), (0, 255)
        misc.save_image_grid(images, path, drange, grid_size or self.grid_size)


def _render(Gs: Network, latents: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    with random_stream.using(random_stream.StatelessStream(seed)):
        return Gs.get_output_for(latents, labels, is_validation=True, **Gs.model.rendering_kwargs())


def remove_old(run_dir: str, keep: int) -> None:
    """Removes all network snapshots but the newest `keep`."""
    for path in sorted(Path(run_dir).glob("network-snapshot-*.pkl"), reverse=True)[keep:]:
        path.unlink()


def newest(run_dir: str) -> str | None:
    """The pickle that a run wrote last."""
    return max(map(str, Path(run_dir).glob("network-*.pkl")), key=os.path.getmtime, default=None)


def check_room(path: str, needed: int) -> None:
    """Raises UserError unless the disk of a file that is to be written has room for so many bytes, and some to spare.

    The bytes are those of a snapshot: the file, and a state, for which the old one only makes room afterwards.
    """
    free = free_space(os.path.dirname(path))
    if free is not None and free < needed + _SPARE_BYTES:
        raise UserError(
            f"{path}: a snapshot needs {math.ceil(needed / 1e6)} MB, the disk has {free / 1e6:.0f} MB left, of which "
            f"{_SPARE_BYTES / 1e6:.0f} MB are spared for logs; make room, or keep fewer snapshots with --keep-snapshots"
        )
