"""Images of points of latent space, with the random numbers of the official generator scripts."""

import functools
import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import Problems, listed
from dnnlib.parallel import parallel_map
from dnnlib.pictures import MODES
from dnnlib.tflib import Network, convert_images_to_uint8
from dnnlib.tflib.fetching import fetched
from dnnlib.tflib.kept import Kept
from dnnlib.tflib.ops import implementation
from training.nets.generator import noise_variables
from training.nets.style_space import affine_layers, offsets_added

from . import conventions, directions
from .conventions import SEED_NOISE, Rendering
from .directions import Offsets
from .points import Point, Vectors

_MAX_LISTED = 20  # layers
_MAX_THREADS = 8  # that draw random numbers


class ImageGenerator:
    """Renders uint8 images `[N, H, W, C]` of points with a generator network: of seeds, and of vectors from files.

    Args:
        net: the generator, usually Gs.
        rendering: how; None: as the tools of the network's kind.
        vectors: the vectors by name.
        col_styles: layers that will be mixed.
        has_seeds: whether there will be images of seeds, for which some networks need a class.

    Attributes:
        rendering: how, with conventions of the network's kind in place of None. It may be replaced between calls, but
            for noise mode 'random'; nothing is traced anew for other truncation.
        size: height and width of images.

    Raises:
        UserError: whatever of this the network cannot do, all in one message.
    """

    def __init__(
        self,
        net: Network,
        rendering: Rendering | None = None,
        vectors: Vectors | None = None,
        col_styles: Collection[int] = (),
        has_seeds: bool = False,
    ):
        self.net = net
        self.rendering = (rendering or Rendering()).completed(net)
        self.synthesis = net.components.synthesis
        self.latent_size = net.input_shape[1]
        self.size: tuple[int, int] = tuple(net.output_shape[2:])
        self.num_layers = self.synthesis.input_shape[1]
        self.label_size = net.input_shapes[1][1]
        self.noise_shapes = [tuple(variable.shape) for variable in noise_variables(self.synthesis)]
        problems = Problems()
        with problems.gather():
            class_idx, label = self.rendering.class_idx, self.rendering.label
            class_idx, label = conventions.choose_label(net, class_idx, label, has_seeds)
            self.rendering = replace(self.rendering, class_idx=class_idx, label=label)
        problems.messages += self._problems(net.output_shape[1], col_styles)
        with problems.gather():
            self.move(self.rendering.directions)
        problems.report()
        as_float32 = self.synthesis.model.rendering_kwargs()
        self._call_kwargs = {"randomize_noise": self.rendering.noise_mode == "random", **as_float32}
        self.precision = "float32, because there is no GPU" if as_float32 else self._built_precision()
        self.net.prepare(**self._call_kwargs)
        self.synthesis.prepare(**self._call_kwargs)
        self._kept = Kept()
        # partial: functions of the same code are one to TensorFlow, which warns that it is traced too often.
        self._render = implementation.function(functools.partial(self._pixels))
        self._render_floats = implementation.function(functools.partial(self._images))
        self._synthesize = implementation.function(functools.partial(self._synthesize_dlatents))
        vectors = vectors or Vectors()
        self._noises = vectors.noises
        self._dlatents = vectors.dlatents
        self._dlatents = {name: self.truncated_as_files(w) for name, w in vectors.dlatents.items()}

    def _built_precision(self) -> str:
        """What to say of 16 bit; empty where there is none."""
        model = self.synthesis.model
        return model.precision.describe(model.resolution) if model.precision.num_fp16_res else ""

    def _problems(self, num_channels: int, col_styles: Collection[int]) -> Iterator[str]:
        cutoff = self.rendering.truncation_cutoff
        if num_channels not in MODES:
            yield f"the network makes images of {num_channels} channels; only 1, 3 or 4 can be saved"
        if num_channels == 4 and self.rendering.image_format == "jpg":
            yield "--format=jpg cannot hold the transparency of this network's RGBA images; use png or webp"
        if cutoff is not None and not 0 <= cutoff <= self.num_layers:
            yield f"--truncation-cutoff={cutoff}: expected 0 to {self.num_layers}, the number of layers"
        for flag, layers in (
            ("--col-styles", col_styles),
            ("--layer-psi", [layer for layer, _ in self.rendering.layer_psi]),
        ):
            wrong = sorted({layer for layer in layers if not 0 <= layer < self.num_layers})
            if wrong:
                shown = ",".join(listed([str(layer) for layer in wrong], _MAX_LISTED))
                yield f"{flag}: the network has layers 0 to {self.num_layers - 1}, got {shown}"

    def move(self, moves: Sequence[Any]) -> None:
        """From now on images are moved along these directions, see `Rendering.directions`, and no others.

        Raises UserError for what cannot be read, or is of another network.
        """
        self.rendering = replace(self.rendering, directions=directions.moves_of(moves, self.net))

    def offsets(self) -> Offsets | None:
        """What is added to W and styles of all images; None: nothing. W of points, as below, is without it."""
        return directions.offsets(self.rendering.directions, self.net)

    def labels(self, num: int) -> np.ndarray | None:
        """Labels `[num, label_size]`, all of them what was chosen; None without."""
        return conventions.labels(self.rendering.class_idx, self.rendering.label, self.label_size, num)

    # ------------------------------------------------------------------------
    # Images of points as the official `generate-images` makes them: z and noise of seeds are from RandomState(seed).

    def render(self, points: Sequence[Point]) -> list[np.ndarray]:
        """Images `[H, W, C]`: of seeds with noise of their own, of vectors with that of their file, if it has any."""
        (images,) = self.rendered([points])
        return images

    def rendered(
        self, batches: Sequence[Sequence[Point]], labels: Sequence[np.ndarray] | None = None
    ) -> Iterator[list[np.ndarray]]:
        """What `render` returns for each of some lists of points.

        Random numbers are drawn ahead, by threads, and images are fetched while the next ones are rendered.

        batches: the lists. labels: of each list, `[N, label_size]` for its seeds; None: what was chosen for all.
        """
        split = [_split(points) for points in batches]
        offsets = self.offsets()
        numbers = self._drawn(itertools.chain.from_iterable(seeds for seeds, _ in split))

        def inputs(work: tuple[Sequence[str], list[Any], np.ndarray | None]) -> list[tuple[Any, Any]]:
            names, drawn, of_drawn = work
            calls = [(self._render, (*self._inputs(drawn, of_drawn), offsets))] if drawn else []
            if names:
                w, noises = self._mixed_inputs([(name, name) for name in names], self._dlatents)
                calls.append((self._synthesize, (w.astype(np.float32), self._noise_inputs(noises), offsets)))
            return [(function, tf.nest.map_structure(_tensor, args)) for function, args in calls]

        of_batches = itertools.repeat(None) if labels is None else labels
        work = (
            (names, [next(numbers) for _ in seeds], of_drawn)
            for (seeds, names), of_drawn in zip(split, of_batches, strict=labels is not None)
        )
        self._kept.refresh(frozen=True)
        started = ([function(*args) for function, args in calls] for calls in parallel_map(inputs, work, threads=1))
        for points, (seeds, names), arrays in zip(batches, split, fetched(started), strict=True):
            images = dict(zip([*seeds, *names], itertools.chain.from_iterable(arrays), strict=True))
            yield [images[point] for point in points]

    def from_seeds(self, seeds: Sequence[int]) -> np.ndarray:
        """The images of some seeds, `[N, H, W, C]`. Each is what the official `generate-images` renders alone."""
        return self._fetched(self._render, (*self._inputs(list(self._drawn(seeds))), self.offsets()))

    def floats_from_seeds(self, seeds: Sequence[int]) -> np.ndarray:
        """The same as float32 `[N, C, H, W]`, from about -1 to 1."""
        inputs = self._inputs(list(self._drawn(seeds)))
        return self._fetched(self._render_floats, (*inputs, self.offsets())).astype(np.float32)

    def _fetched(self, function: Any, inputs: Sequence[Any]) -> np.ndarray:
        self._kept.refresh(frozen=True)
        ((array,),) = fetched([[function(*inputs)]])
        return array

    def _drawn(self, seeds: Iterable[int]) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Z and noise images of each seed, drawn by threads."""
        return parallel_map(self._numbers, seeds, min(os.cpu_count() or 1, _MAX_THREADS))

    def _numbers(self, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Z and noise images of a seed."""
        shapes = self.noise_shapes if self.rendering.noise_mode == SEED_NOISE else ()
        return conventions.numbers_of_seed(seed, self.latent_size, shapes)

    def _inputs(
        self, numbers: Sequence[tuple[np.ndarray, list[np.ndarray]]], labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, list[np.ndarray] | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """Z, noise images, labels, psi and cutoff of a minibatch of seeds. labels: None: what was chosen for all."""
        latents, noises = zip(*numbers, strict=True)
        labels = self.labels(len(numbers)) if labels is None else labels
        psi, cutoff = self.rendering.truncation_psi, self.rendering.truncation_cutoff
        psi = None if psi == 1 else np.array(psi, np.float32)  # numbers would be traced one by one
        cutoff = None if cutoff is None else np.array(cutoff, np.float32)
        return np.concatenate(latents).astype(np.float32), self._noise_inputs(noises), labels, psi, cutoff

    def _images(
        self,
        latents: tf.Tensor,
        noise: list[tf.Tensor] | None,
        labels: tf.Tensor | None,
        psi: tf.Tensor | None,
        cutoff: tf.Tensor | None,
        offsets: Offsets | None = None,
    ) -> tf.Tensor:
        """psi: None: no truncation. cutoff: None: that of the network. offsets: None: images are not moved."""
        kwargs: dict[str, Any] = {"is_training": False, "is_validation": False, "return_dlatents": False}
        kwargs["truncation_psi"] = psi
        if cutoff is not None:
            kwargs["truncation_cutoff"] = cutoff
        with self._kept.in_use():
            if offsets is None:
                return self.net.get_output_for(latents, labels, noise=noise, **kwargs, **self._call_kwargs)
            kwargs |= {**self._call_kwargs, "return_dlatents": True, "randomize_noise": False}
            _, dlatents = self.net.get_output_for(latents, labels, **kwargs)  # images that nobody takes: not computed
        return self._images_of_dlatents(dlatents, noise, offsets)

    def _pixels(self, *inputs: Any) -> tf.Tensor:
        return convert_images_to_uint8(self._images(*inputs), nchw_to_nhwc=True)

    # ------------------------------------------------------------------------
    # W of points, truncated as the official `style-mixing-example` does it.

    def dlatents(self, points: Sequence[Point]) -> dict[Point, np.ndarray]:
        """Truncated W `[layers, dlatent_size]` of each point."""
        seeds, names = _split(points)
        of_seeds = self.dlatents_from_latents(self.latents_from_seeds(seeds)) if seeds else ()
        return {**dict(zip(seeds, of_seeds, strict=True)), **{name: self._dlatents[name] for name in names}}

    def stacked(self, points: Sequence[Point]) -> np.ndarray:
        """Truncated W `[N, layers, dlatent_size]` of points, which may come more than once."""
        dlatents = self.dlatents(list(dict.fromkeys(points)))
        return np.stack([dlatents[point] for point in points])

    def ends(self, points: Sequence[Point], space: str) -> np.ndarray:
        """What the ways between points lead through: W as `stacked`, or for space 'z' Z `[N, latent_size]` of seeds."""
        return self.latents_from_seeds(points) if space == "z" else self.stacked(points)

    def between(self, batches: Iterable[np.ndarray], space: str) -> Iterator[np.ndarray]:
        """Images `[H, W, C]` of what lies between such ends, fetched while the next ones are rendered."""
        dlatents = (self.dlatents_from_latents(vectors) if space == "z" else vectors for vectors in batches)
        return self.of_inputs((w, []) for w in dlatents)

    def of_inputs(self, inputs: Iterable[tuple[np.ndarray, Sequence[Sequence[np.ndarray]]]]) -> Iterator[np.ndarray]:
        """Images `[H, W, C]` of what `from_dlatents` takes, one batch after the other, fetched as by `between`."""
        self._kept.refresh(frozen=True)
        offsets = self.offsets()
        calls = ((w.astype(np.float32), self._noise_inputs(noises), offsets) for w, noises in inputs)
        for (images,) in fetched([self._synthesize(*call)] for call in calls):
            yield from images

    def latents_from_seeds(self, seeds: Sequence[int]) -> np.ndarray:
        """Z `[N, latent_size]` of seeds."""
        return np.concatenate([conventions.numbers_of_seed(seed, self.latent_size)[0] for seed in seeds])

    def dlatents_from_latents(self, latents: np.ndarray) -> np.ndarray:
        """Truncated W `[N, layers, dlatent_size]` of Z `[N, latent_size]`."""
        w = self.net.components.mapping.run(latents.astype(np.float32), self.labels(len(latents)))
        return self.truncate(w, self.rendering.truncation_psi)

    def truncated_as_files(self, dlatents: np.ndarray) -> np.ndarray:
        """W `[..., layers, dlatent_size]` of files, truncated as such are, if they are."""
        psi = self.rendering.dlatents_psi
        return self.truncate(dlatents, psi) if psi != 1 or self.rendering.layer_psi else dlatents

    def truncate(
        self, dlatents: np.ndarray, psi: float | np.ndarray, layer_psi: Sequence[tuple[int, float]] | None = None
    ) -> np.ndarray:
        """W `[..., layers, dlatent_size]`, moved towards its average in the layers that are truncated.

        psi: a number, or one for each W, `[..., 1, 1]`. layer_psi: of some layers; None: that of the rendering.
        """
        w_avg = self.net.get_var("dlatent_avg")  # [dlatent_size]
        layers = slice(None, self.rendering.truncation_cutoff)
        result = dlatents.copy()
        result[..., layers, :] = w_avg + (result[..., layers, :] - w_avg) * psi
        for layer, own in self.rendering.layer_psi if layer_psi is None else layer_psi:
            result[..., layer, :] = w_avg + (dlatents[..., layer, :] - w_avg) * own
        return result

    # ------------------------------------------------------------------------
    # Images of W: noise is that of a file, or else the network's own.

    def mix(
        self, pairs: Sequence[tuple[Point, Point]], dlatents: dict[Point, np.ndarray], col_styles: Sequence[int] = ()
    ) -> np.ndarray:
        """Images `[N, H, W, C]` of (row, column) pairs: layers `col_styles` of the column, the others of the row.

        Each layer has the noise of where it comes from. dlatents: W of all points.
        """
        return self.from_dlatents(*self._mixed_inputs(pairs, dlatents, col_styles))

    def _mixed_inputs(
        self, pairs: Sequence[tuple[Point, Point]], dlatents: dict[Point, np.ndarray], col_styles: Sequence[int] = ()
    ) -> tuple[np.ndarray, list[list[np.ndarray]]]:
        """W `[N, layers, dlatent_size]` and noise images of pairs."""
        layers = list(col_styles)
        w = np.stack([dlatents[row] for row, _ in pairs])  # [N, layers, dlatent_size]
        w[:, layers] = np.stack([dlatents[col][layers] for _, col in pairs])
        return w, [self._mixed_noises(row, col, col_styles) for row, col in pairs]

    def _mixed_noises(self, row: Point, col: Point, col_styles: Sequence[int]) -> list[np.ndarray]:
        both = enumerate(zip(self.noises_of(row), self.noises_of(col), strict=True))
        return [of_col if layer in col_styles else of_row for layer, (of_row, of_col) in both]

    def noises_of(self, point: Point) -> list[np.ndarray]:
        """Noise images of a point; none where no point has any: the same rendering, but faster."""
        if not any(self._noises.values()):
            return []
        return self._noises.get(point) or self.own_noises

    @functools.cached_property
    def own_noises(self) -> list[np.ndarray]:
        """The network's own noise images, `[1, 1, H, W]` each."""
        return [variable.numpy() for variable in noise_variables(self.synthesis)]

    def from_dlatents(
        self,
        dlatents: np.ndarray,
        noises: Sequence[Sequence[np.ndarray]] = (),
        offsets: Offsets | None = None,
    ) -> np.ndarray:
        """Images `[N, H, W, C]` of W `[N, layers, dlatent_size]`.

        noises: the noise images `[1, 1, H, W]` of each; where there are none, the network's own. offsets: how they are
        moved; None: as all images.
        """
        offsets = self.offsets() if offsets is None else offsets
        return self._fetched(self._synthesize, (dlatents.astype(np.float32), self._noise_inputs(noises), offsets))

    def _noise_inputs(self, noises: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray] | None:
        """Noise images `[N or 1, 1, H, W]` of a minibatch, as the networks take them.

        noises: those of each image. None: all have the network's own, or random ones.
        """
        if self.rendering.noise_mode == "none":
            return [np.zeros(shape, np.float32) for shape in self.noise_shapes]
        if self.rendering.noise_mode == "random" or not any(noises):
            return None
        return [np.concatenate(layer) for layer in zip(*(some or self.own_noises for some in noises), strict=True)]

    def _synthesize_dlatents(
        self, dlatents: tf.Tensor, noise: list[tf.Tensor] | None, offsets: Offsets | None = None
    ) -> tf.Tensor:
        return convert_images_to_uint8(self._images_of_dlatents(dlatents, noise, offsets), nchw_to_nhwc=True)

    def _images_of_dlatents(
        self, dlatents: tf.Tensor, noise: list[tf.Tensor] | None, offsets: Offsets | None
    ) -> tf.Tensor:
        """float32 `[N, C, H, W]`."""
        styles = {}
        if offsets is not None:
            dlatents += tf.cast(offsets.dlatents, dlatents.dtype)
            weights = {affine.name: affine.weight for affine in affine_layers(self.net)} if offsets.styles else {}
            styles = {id(weights[name]): style for name, style in offsets.styles.items()}
        with self._kept.in_use(), offsets_added(styles):
            return self.synthesis.get_output_for(dlatents, noise=noise, **self._call_kwargs)


def _tensor(array: np.ndarray | None) -> tf.Tensor | None:
    return None if array is None else tf.constant(array)


def _split(points: Sequence[Point]) -> tuple[list[int], list[str]]:
    """Seeds, and names of vectors."""
    seeds = [point for point in points if isinstance(point, int)]
    return seeds, [point for point in points if isinstance(point, str)]
