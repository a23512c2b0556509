"""The official metric networks: names, URLs, other files with the same weights, known hashes."""

import os
import re
from dataclasses import dataclass

from dnnlib.errors import UserError
from pretrained_networks import gdrive_urls, locate, locate_networks

BASE_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan/networks/metrics/"
_COPIES_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada/pretrained/metrics/"
FEATURES = "inception_v3_features"
SOFTMAX = "inception_v3_softmax"
VGG16 = "vgg16"
LPIPS = "vgg16_zhang_perceptual"
ATTRIBUTES = (
    *("male", "smiling", "attractive", "wavy-hair", "young", "5-o-clock-shadow", "arched-eyebrows", "bags-under-eyes"),
    *("bald", "bangs", "big-lips", "big-nose", "black-hair", "blond-hair", "blurry", "brown-hair", "bushy-eyebrows"),
    *("chubby", "double-chin", "eyeglasses", "goatee", "gray-hair", "heavy-makeup", "high-cheekbones"),
    *("mouth-slightly-open", "mustache", "narrow-eyes", "no-beard", "oval-face", "pale-skin", "pointy-nose"),
    *("receding-hairline", "rosy-cheeks", "sideburns", "straight-hair", "wearing-earrings", "wearing-hat"),
    *("wearing-lipstick", "wearing-necklace", "wearing-necktie"),
)
"""The 40 attributes of CelebA in the official order."""
CLASSIFIERS = tuple(f"celebahq-classifier-{number:02d}-{attribute}" for number, attribute in enumerate(ATTRIBUTES))
_INCEPTION_FILES = (
    "classify_image_graph_def.pb",
    "inception-2015-12-05.tgz",
    "pt_inception-2015-12-05-6726825d.pth",
    "weights-inception-2015-12-05-6726825d.pth",
)
TORCHVISION_VGG16 = ("vgg16-397923af.pth", "vgg16.pth")
LPIPS_LINEAR = ("vgg.pth", "lpips_vgg.pth", "lpips-v0.1-vgg.pth")


@dataclass(frozen=True)
class Official:
    """A metric network of the official code.

    name: file name without `.pkl`. groups: files that hold the same weights, best first; a group of several must be
    there together, each under any of its names.
    """

    name: str
    groups: tuple[tuple[tuple[str, ...], ...], ...] = ()

    @property
    def url(self) -> str:
        """Where it is downloaded from."""
        return f"{BASE_URL}{self.name}.pkl"

    @property
    def urls(self) -> tuple[str, ...]:
        """Where copies may have been downloaded from; caches know files by their URL."""
        return self.url, f"{_COPIES_URL}{self.name}.pkl"

    def files(self) -> str:
        """The files that hold its weights, for messages."""
        others = [" together with ".join(" or ".join(names) for names in group) for group in self.groups]
        return "; ".join([f"{self.name}.pkl", *others])


OFFICIAL = {
    official.name: official
    for official in (
        *(Official(name, tuple(((file,),) for file in _INCEPTION_FILES)) for name in (FEATURES, SOFTMAX)),
        Official(VGG16, ((TORCHVISION_VGG16,),)),
        Official(LPIPS, ((LPIPS_LINEAR, TORCHVISION_VGG16),)),
        *map(Official, CLASSIFIERS),
    )
}
"""All of them by name."""
SHA256 = {
    "inception_v3_features.pkl": "83b1803e01031ef6ca3178a436e1b9c0a2c957fb152e81fc578e9bc4d0b47ab5",
    "vgg16_zhang_perceptual.pkl": "cf536336882135dc0beda2400b9648603f3b9956e870d194386417bb2b67fe59",
    "pt_inception-2015-12-05-6726825d.pth": "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "vgg16-397923af.pth": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "vgg.pth": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}
"""Hashes by file name, as others have published them. Nobody has published any of the remaining files."""


def base_name(path: str) -> str:
    """The name of a file as it was before a cache put the hash of its URL in front."""
    return re.sub(r"^[0-9a-f]{32}_", "", os.path.basename(path))


def official_name(name: str) -> str | None:
    """The official network of a name, with or without `.pkl`; None if there is none."""
    name = name.removesuffix(".pkl")
    return name if name in OFFICIAL else None


def locate_generator(path_or_gdrive_path: str) -> str:
    """`pretrained_networks.locate_networks`, for what should make images.

    Raises UserError also for files that are known as metric networks.
    """
    path_or_url = locate(path_or_gdrive_path)
    if official_name(base_name(path_or_url)):
        raise UserError(
            f"{path_or_url}: is a metric network, which measures images; expected a generator, such as "
            f"{next(iter(gdrive_urls))}; run_projector.py takes files of LPIPS as --distance=FILE"
        )
    return locate_networks(path_or_url)
