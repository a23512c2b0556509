"""Images and W of points: of seeds, and of vectors from files."""

from collections.abc import Collection, Sequence

import numpy as np

from .image_generation import ImageGenerator
from .latent_points import Point, Vectors


class PointImages:
    """Renders points, each with its noise: vectors with that of their file, or else the network's own.

    Args:
        generator: renders.
        vectors: the vectors by name.
        dlatents_psi: strength of truncation of the vectors; 1 is none. Seeds are truncated as the generator says.
    """

    def __init__(self, generator: ImageGenerator, vectors: Vectors, dlatents_psi: float = 1.0):
        self.generator = generator
        self._noises = vectors.noises
        self._dlatents = vectors.dlatents
        if dlatents_psi != 1:
            self._dlatents = {name: generator.truncate(w, dlatents_psi) for name, w in vectors.dlatents.items()}

    def render(self, points: Sequence[Point]) -> list[np.ndarray]:
        """Images `[H, W, C]`: of seeds as the official `generate-images` makes them, with noise of their own."""
        seeds, names = _split(points)
        images: dict[Point, np.ndarray] = {}
        if seeds:
            images.update(zip(seeds, self.generator.from_seeds(seeds), strict=True))
        if names:
            images.update(zip(names, self.synthesize(names, self._dlatents), strict=True))
        return [images[point] for point in points]

    def dlatents(self, points: Sequence[Point]) -> dict[Point, np.ndarray]:
        """Truncated W `[layers, dlatent_size]` of each point."""
        seeds, names = _split(points)
        from_seeds = self.generator.dlatents_from_seeds(seeds) if seeds else {}
        return {**from_seeds, **{name: self._dlatents[name] for name in names}}

    def stacked(self, points: Sequence[Point]) -> np.ndarray:
        """Truncated W `[N, layers, dlatent_size]` of points, which may come more than once."""
        dlatents = self.dlatents(list(dict.fromkeys(points)))
        return np.stack([dlatents[point] for point in points])

    def synthesize(self, points: Sequence[Point], dlatents: dict[Point, np.ndarray]) -> np.ndarray:
        """Images `[N, H, W, C]` of points, whose `dlatents` are given; seeds have the network's own noise."""
        noises = [self.noises_of(point) for point in points]
        return self.generator.from_dlatents(np.stack([dlatents[point] for point in points]), len(points), noises)

    def mix(
        self, pairs: Sequence[tuple[Point, Point]], dlatents: dict[Point, np.ndarray], col_styles: Collection[int]
    ) -> np.ndarray:
        """Images `[N, H, W, C]` of (row, column) pairs: layers `col_styles` of the column, the others of the row.

        Each layer has the noise of where it comes from. dlatents: W of all points.
        """
        w = np.stack([dlatents[row] for row, _ in pairs])  # [N, layers, dlatent_size]
        w[:, col_styles] = np.stack([dlatents[col][col_styles] for _, col in pairs])
        noises = [self._mixed_noises(row, col, col_styles) for row, col in pairs]
        return self.generator.from_dlatents(w, len(pairs), noises)

    def noises_of(self, point: Point) -> list[np.ndarray]:
        """Noise images of a point; none where no point has any: the same rendering, but faster."""
        if not any(self._noises.values()):
            return []
        return self._noises.get(point) or self.generator.own_noises

    def _mixed_noises(self, row: Point, col: Point, col_styles: Collection[int]) -> list[np.ndarray]:
        both = enumerate(zip(self.noises_of(row), self.noises_of(col), strict=True))
        return [of_col if layer in col_styles else of_row for layer, (of_row, of_col) in both]


def _split(points: Sequence[Point]) -> tuple[list[int], list[str]]:
    """Seeds, and names of vectors."""
    seeds = [point for point in points if isinstance(point, int)]
    return seeds, [point for point in points if isinstance(point, str)]
