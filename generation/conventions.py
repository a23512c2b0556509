"""How images are rendered, and what the official tools of a network's kind do where they are not told otherwise.

Truncation, noise and labels differ; Z of a seed is the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dnnlib.errors import UserError

NOISE_MODES = ("const", "random", "none")
SEED_NOISE = "seed"
"""The noise mode of `generate-images` of TensorFlow: RandomState(seed) gives Z, and then the noise images."""


@dataclass(frozen=True)
class Rendering:
    """The options that the commands of `run_generator.py` have in common.

    truncation_psi: strength of truncation of seeds; 1 is none. None: as the tools of the network's kind.
    truncation_cutoff: number of layers that are truncated; None: the network's default.
    class_idx, label: of a conditional network, the class or the label vector; None of both: no label, all zeros.
    noise_mode: 'const': the network's own noise images, or those that are given. 'random': others in each image.
        'none': no noise. 'seed': as 'const', but images of seeds have noise of the seed. None: as the tools of the
        network's kind make images of seeds.
    dlatents_psi: strength of truncation of vectors from files; 1 is none.
    directions: along which all images are moved, after truncation: as the flag --direction has them, or
        `directions.Move`.
    layer_psi: layers with a strength of their own, of seeds and vectors alike, where images are made from W.
    minibatch_size: images rendered at once.
    image_format: that images are saved in: 'png', 'jpg' or 'webp'.
    allow_tf32: whether float32 may be TensorFloat-32 on GPUs; None: as it is set, see `dnnlib.tflib.settings`.
    cache_dir, offline: see `pretrained_networks.load_networks`.
    """

    truncation_psi: float | None = None
    truncation_cutoff: int | None = None
    class_idx: int | None = None
    label: Sequence[float] | None = None
    noise_mode: str | None = None
    dlatents_psi: float = 1.0
    directions: Sequence[Any] = ()
    layer_psi: Sequence[tuple[int, float]] = ()
    minibatch_size: int = 4
    image_format: str = "png"
    allow_tf32: bool | None = None
    cache_dir: str | None = None
    offline: bool | None = None

    def completed(self, net: Any) -> "Rendering":
        """The same with what the tools of a network's kind do in place of None. net: the `Network`."""
        conventions = of_network(net)
        psi = conventions.truncation_psi if self.truncation_psi is None else self.truncation_psi
        return replace(self, truncation_psi=psi, noise_mode=self.noise_mode or conventions.noise_of_seeds)


@dataclass(frozen=True)
class Conventions:
    """Of the tools of one kind of networks.

    tools: whose tools they are. truncation_psi: strength of truncation. noise_of_seeds: noise mode in which images of
    seeds are generated; where images are mixed it is 'const'. needs_class: whether a conditional network must be told
    a class; it makes images of no label, all zeros, elsewhere.
    """

    tools: str
    truncation_psi: float
    noise_of_seeds: str
    needs_class: bool


_OF_FORMATS = {
    "tensorflow": Conventions("the TensorFlow tools", 0.5, SEED_NOISE, needs_class=False),
    "pytorch": Conventions("the PyTorch tools", 1.0, "const", needs_class=True),
}


def numbers_of_seed(
    seed: int, latent_size: int, noise_shapes: Sequence[Sequence[int]] = ()
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Z float64 `[1, latent_size]`, then noise images float32 of these shapes, of RandomState(seed), as officially."""
    state = np.random.RandomState(seed)
    return state.randn(1, latent_size), [state.randn(*shape).astype(np.float32) for shape in noise_shapes]


def of_network(net: Any) -> Conventions:
    """Those of a network (`Network`), by the format of the file that it comes from."""
    return _OF_FORMATS[net.source_format]


def choose_label(
    net: Any, class_idx: int | None, label: Sequence[float] | None, from_latents: bool
) -> tuple[int | None, Sequence[float] | None]:
    """The class, or the label vector, to generate images of; None of both: no label.

    Args:
        net: the generator.
        class_idx, label: what is asked for; not both.
        from_latents: whether anything is mapped from Z; vectors of files are W, and need no label.

    Raises:
        UserError: where there must be a label, and for one that the network does not know, with what it does.
    """
    label_size = net.input_shapes[1][1]
    needs_class = of_network(net).needs_class
    if class_idx is None and label is None:
        if label_size and from_latents and needs_class:
            raise UserError(
                f"--class-idx is missing: this network makes images of {label_size} classes, "
                f"expected one of 0 to {label_size - 1}, or --label of {label_size} numbers"
            )
        if label_size and from_latents:
            how = "generating without a label (choose: --class-idx, --label)"
            print(f"The network knows {label_size} classes; {how}.")
        return None, None
    if class_idx is not None and label is not None:
        raise UserError("--class-idx and --label: expected one of them, got both")
    given = f"--class-idx={class_idx}" if label is None else f"--label of {len(label)} numbers"
    if not label_size and needs_class:
        print(f"warn: {given} is ignored: the network was trained without classes")
        return None, None
    if not label_size:
        raise UserError(f"{given}: the network was trained without classes; leave the option out")
    if class_idx is not None and not 0 <= class_idx < label_size:
        raise UserError(f"{given}: expected 0 to {label_size - 1}, the classes of the network")
    if label is not None and len(label) != label_size:
        raise UserError(f"{given}: expected {label_size}, as the network's labels have")
    return class_idx, label


def labels(class_idx: int | None, label: Sequence[float] | None, label_size: int, num: int) -> np.ndarray | None:
    """Labels, float32 `[num, label_size]`, of a class or of a label vector; None with neither."""
    if label is None and class_idx is None:
        return None
    return np.tile(np.float32(np.eye(label_size)[class_idx] if label is None else label), [num, 1])
