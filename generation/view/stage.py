"""The networks of the page, and their pictures: the bits that the commands of `run_generator.py` make."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dnnlib.errors import UserError

from .. import conventions, vector_files, walks
from ..conventions import SEED_NOISE
from ..directions import Direction, Move
from ..image_generator import ImageGenerator
from ..points import Point
from .picture import Facts, Picture, command_line, query_of


class Stage:
    """Renders pictures of some networks. Who calls it sees to it that there is one call at a time.

    Args:
        facts: of each network.
        images: its generator, in a noise mode other than 'random'.
        directions: its directions.
        files: of each, and options: see `picture.command_line`.
    """

    def __init__(
        self,
        facts: Sequence[Facts],
        images: Sequence[ImageGenerator],
        directions: Sequence[Sequence[Direction]],
        files: Sequence[Sequence[str]],
        options: Sequence[str] = (),
    ):
        self.facts = facts
        self._images = images
        self._directions = directions
        self._files = files
        self._options = options

    def render(self, picture: Picture) -> np.ndarray:
        """The image, uint8 `[H, W, C]`."""
        images = self._prepared(picture)
        if not picture.is_mixed and isinstance(picture.base, int):
            return images.from_seeds([picture.base])[0]
        base, dlatents = picture.base, self._dlatents(images, picture)
        if not picture.is_mixed:
            return images.mix([(base, base)], dlatents)[0]
        return images.mix([(base, picture.mix)], dlatents, picture.layers)[0]

    def vector(self, picture: Picture) -> bytes:
        """The content of a file of vectors, of which `generate-images --dlatents` makes the picture.

        Raises UserError where W alone does not make it.
        """
        moved = [self._directions[picture.network][index] for index, _ in picture.directions]
        if any(direction.space == "s" for direction in moved):
            raise UserError("vectors are W, and directions in style space cannot be in them; the command line has them")
        images = self._prepared(picture)
        base, dlatents = picture.base, self._dlatents(images, picture)
        w = dlatents[base].copy()  # [layers, dlatent_size]
        noises = list(images.noises_of(base))
        if picture.is_mixed:
            layers = list(picture.layers)
            w[layers] = dlatents[picture.mix][layers]
            of_mix = enumerate(zip(noises, images.noises_of(picture.mix), strict=True))
            noises = [mixed if layer in layers else own for layer, (own, mixed) in of_mix]
        elif picture.noise == SEED_NOISE and isinstance(base, int):
            _, noises = conventions.numbers_of_seed(base, images.latent_size, images.noise_shapes)
        offsets = images.offsets()
        if offsets is not None:
            w += offsets.dlatents[0]
        facts = self.facts[picture.network]
        settings = {"network": facts.name, "state": query_of(picture), "noise_mode": picture.noise}
        file = io.BytesIO()
        vector_files.write(file, w[np.newaxis], noises, settings)
        return file.getvalue()

    def command(self, picture: Picture) -> str:
        """The command line that makes the picture."""
        return command_line(picture, self.facts[picture.network], self._files[picture.network], self._options)

    def _prepared(self, picture: Picture) -> ImageGenerator:
        images = self._images[picture.network]
        truncation = {"truncation_psi": picture.psi, "truncation_cutoff": picture.cutoff}
        of_picture = {**truncation, "class_idx": picture.class_idx, "noise_mode": picture.noise}
        images.rendering = replace(images.rendering, **of_picture)
        there = self._directions[picture.network]
        images.move([Move(there[index], strength) for index, strength in picture.directions])
        return images

    def _dlatents(self, images: ImageGenerator, picture: Picture) -> dict[Point, np.ndarray]:
        """W `[layers, dlatent_size]` of the picture's points, as the commands compute it."""
        points = list(dict.fromkeys([picture.base, *([picture.mix] if picture.is_mixed else [])]))
        if picture.base != "":
            return images.dlatents(points)
        point = walks.place(images.ends(picture.corners(), picture.space), picture.x, picture.y)
        (w,) = images.dlatents_from_latents(point[np.newaxis]) if picture.space == "z" else (point,)
        return {"": w, **(images.dlatents(points[1:]) if points[1:] else {})}


def facts_of(name: str, images: ImageGenerator, vectors: dict[str, str | None], directions: Any) -> Facts:
    """What a page has to know of a network. vectors, directions: as in `Facts`."""
    model, net = images.net.model, images.net
    cutoff = model.options["truncation_cutoff"]
    if cutoff is None:
        cutoff = images.num_layers if model.truncate_without_cutoff else 0
    psi = conventions.of_network(net).truncation_psi
    needs_class = conventions.of_network(net).needs_class
    cutoff = min(max(math.ceil(cutoff), 0), images.num_layers)
    sizes = (*images.size, net.output_shape[1], images.num_layers, images.label_size)
    return Facts(name, *sizes, needs_class, psi, cutoff, vectors, directions)
