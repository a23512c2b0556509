"""What each frame of `interpolate` shows: W and noise along the way, in one image or in a grid of them."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.errors import Problems, UserError

from . import vector_files
from .walks import Walk

_OTHER_NOISE = 0  # seed of the noise that the network's own is turned towards


@dataclass
class Noise:
    """Noise images that go round, along a circle on which they are as random everywhere, and come back.

    begin, other: of each layer `[N or 1, 1, H, W]`, of the N images of a grid; where it begins, and a quarter further.
    """

    begin: Sequence[np.ndarray]
    other: Sequence[np.ndarray]

    def at(self, share: float, cell: int) -> list[np.ndarray]:
        """Those of an image, `[1, 1, H, W]` each. share: of the circle, from 0 to 1."""
        across, along = np.float32(np.cos(2 * np.pi * share)), np.float32(np.sin(2 * np.pi * share))
        return [
            begin[[cell % len(begin)]] * across + other[[cell % len(other)]] * along
            for begin, other in zip(self.begin, self.other, strict=True)
        ]


def round_of_noise(images: Any, cells: int, seed: int | None) -> Noise:
    """Noise that begins as the network's own.

    images: the `ImageGenerator`. cells: images in a frame. seed: of random noise in place of that, other in each image;
    None: the network's own in all.
    """
    from .noise import noise_of_seed

    shapes = images.noise_shapes
    if seed is None:
        return Noise(images.own_noises, noise_of_seed(shapes, _OTHER_NOISE))
    drawn = noise_of_seed([(2 * cells, *shape[1:]) for shape in shapes], seed)
    return Noise([noise[:cells] for noise in drawn], [noise[cells:] for noise in drawn])


def sweep(values: Any, loop: bool, smooth: bool, curve: str = "linear") -> Walk:
    """Values `[Q]` or `[Q, ...]` that are passed on the whole way, evenly; of a loop that come back; one that stays."""
    values = np.asarray(values)
    values = values[:, np.newaxis] if values.ndim == 1 else values
    return Walk(values, frames=1, loop=loop or len(values) == 1, smooth=smooth, curve=curve)


@dataclass
class Motion:
    """The images of all frames, frame by frame and row by row.

    images: the `ImageGenerator`.
    path: through W, `[P, N, layers, dlatent_size]` of N images, or, where it is spherical, Z, `[P, N, latent_size]`.
    columns, rows: of images in a frame.
    psi: truncation along the way, `[Q, 1]`; None: no more than that of the path.
    other: W `[R, layers, dlatent_size]` along the way, of which `styles` are mixed in; None: nothing is.
    share: how much of it, `[S, 1]`.
    noise: what goes round; None: the noise is that of the generator.
    """

    images: Any
    path: Walk
    columns: int = 1
    rows: int = 1
    psi: Walk | None = None
    other: Walk | None = None
    styles: Sequence[int] = ()
    share: Walk | None = None
    noise: Noise | None = None

    @property
    def cells(self) -> int:
        """Images in a frame."""
        return self.columns * self.rows

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return self.rows * self.images.size[0], self.columns * self.images.size[1]

    def inputs(self, numbers: range) -> tuple[np.ndarray, list[list[np.ndarray]]]:
        """W `[M, layers, dlatent_size]` and noise images of some images; none where they are those of the generator."""
        frames, cells = np.divmod(np.arange(numbers.start, numbers.stop), self.cells)
        steps = self.path.steps
        w = self.path.at(frames, of=cells)
        if self.path.spherical:
            w = self.images.dlatents_from_latents(w)
        if self.other and self.share:
            styles, share = list(self.styles), self.share.at(frames, steps)[:, np.newaxis]
            w[:, styles] += (self.other.at(frames, steps)[:, styles] - w[:, styles]) * share
        if self.psi:
            psi = self.psi.at(frames, steps)[:, np.newaxis].astype(np.float32)
            layers = [layer for layer, _ in self.images.rendering.layer_psi]  # which have their own
            truncated = self.images.truncate(w, psi, layer_psi=())
            truncated[:, layers] = w[:, layers]
            w = truncated
        if not self.noise:
            return w, []
        total = len(self.path)
        return w, [self.noise.at(frame % total / total, cell) for frame, cell in zip(frames, cells, strict=True)]


def frames_of(motion: Motion, missing: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Number and pixels, uint8 `[H, W, C]`, of the frames that are missing, rendered as if all of them were."""
    left, cells, size = set(missing), motion.cells, motion.images.rendering.minibatch_size
    total = len(motion.path) * cells
    parts = [range(begin, min(begin + size, total)) for begin in range(0, total, size)]
    parts = [part for part in parts if not left.isdisjoint(range(part[0] // cells, part[-1] // cells + 1))]
    images = motion.images.of_inputs(map(motion.inputs, parts))
    sheet = np.empty(0, np.uint8)
    for number, image in zip(itertools.chain.from_iterable(parts), images, strict=True):
        frame, cell = divmod(number, cells)
        if frame not in left:
            continue
        if cells == 1:
            yield frame, image
            continue
        height, width, channels = image.shape
        if not cell:
            sheet = np.empty([*motion.size, channels], np.uint8)
        row, column = divmod(cell, motion.columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
        if cell == cells - 1:
            yield frame, sheet


def load_trajectories(paths: Sequence[str], net: Any) -> list[np.ndarray]:
    """W `[frames, layers, dlatent_size]` of some files.

    net: the generator (a `Network`).

    Raises UserError for files that are none, do not fit the network, or are not of as many frames, two at least.
    """
    problems = Problems()
    loaded = []
    for path in paths:
        with problems.gather("--trajectory"):
            vectors = vector_files.load(path, net, frames=True).dlatents
            if len(vectors) < 2:
                raise UserError(f"{path}: has 1 frame, expected two or more: [frames, layers, dlatent_size]")
            loaded.append(vectors)
    if len({len(vectors) for vectors in loaded}) > 1:
        numbers = ", ".join(str(len(vectors)) for vectors in loaded)
        problems.messages.append(f"--trajectory: expected as many frames in each file, got {numbers}")
    problems.report()
    return loaded
