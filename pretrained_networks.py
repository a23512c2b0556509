"""Pretrained networks by name, URL or path, downloaded once into a cache."""

import contextlib
import glob
import os
import re
from typing import TYPE_CHECKING, Any

import dnnlib
from dnnlib import installed
from dnnlib.download import default_cache_dir
from dnnlib.errors import UserError, did_you_mean, listed
from dnnlib.formats.checkpoint_formats import FORMATS
from dnnlib.kinds import HEAD, is_text, kind_of, mistaken

if TYPE_CHECKING:
    from dnnlib.tflib import Network

_BASE_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks/"
_FILES = [
    *(f"stylegan2-{data}-config-{config}.pkl" for data in ("car", "ffhq") for config in "abcdef"),
    *(f"stylegan2-{data}-config-{config}.pkl" for data in ("cat", "church", "horse") for config in "af"),
    *(
        f"table2/stylegan2-{data}-config-e-{G}-{D}.pkl"
        for data in ("car", "ffhq")
        for G in ("Gorig", "Gresnet", "Gskip")
        for D in ("Dorig", "Dresnet", "Dskip")
    ),
]
gdrive_urls = {"gdrive:networks/" + file: _BASE_URL + file for file in _FILES}
"""The 36 networks of the paper by their official names."""
_ADA_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada/pretrained/"
_ADA_PYTORCH_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/"
_ADA_FILES = {
    name: f"{name}.pkl" for name in ("ffhq", "metfaces", "afhqcat", "afhqdog", "afhqwild", "brecahad", "cifar10")
}
_SOURCE_FILES = {  # what trainings start from, by the names that --resume has officially
    "ffhq256": "transfer-learning-source-nets/ffhq-res256-mirror-paper256-noaug.pkl",
    "ffhq512": "transfer-learning-source-nets/ffhq-res512-mirror-stylegan2-noaug.pkl",
    "ffhq1024": "transfer-learning-source-nets/ffhq-res1024-mirror-stylegan2-noaug.pkl",
    "celebahq256": "transfer-learning-source-nets/celebahq-res256-mirror-paper256-kimg100000-ada-target0.5.pkl",
    "lsundog256": "transfer-learning-source-nets/lsundog-res256-paper256-kimg100000-noaug.pkl",
}
published = {
    "StyleGAN2": {re.sub(r".*stylegan2-(.*)\.pkl", r"\1", name): url for name, url in gdrive_urls.items()},
    "StyleGAN2-ADA (TensorFlow)": {f"ada-{name}": _ADA_URL + file for name, file in _ADA_FILES.items()},
    "StyleGAN2-ADA (TensorFlow), to start a training from": {
        name: _ADA_URL + file for name, file in _SOURCE_FILES.items()
    },
    "StyleGAN2-ADA (PyTorch)": {
        f"ada-pytorch-{name}": _ADA_PYTORCH_URL + file for name, file in (_ADA_FILES | _SOURCE_FILES).items()
    },
}
"""URLs of published networks by short names of ours, such as 'ffhq-config-f', in groups by where they come from.

The names of what trainings start from, 'ffhq256' and so on, are those of the official --resume.
"""
short_names = {name: url for group in published.values() for name, url in group.items()}
"""The URLs of all groups of `published`."""


def get_path_or_url(path_or_gdrive_path: str) -> str:
    """The URL of an official or short name; paths and URLs as they are. What exists in the current folder is a path.

    Raises UserError for a `gdrive:` name that does not exist, with the nearest that does.
    """
    if path_or_gdrive_path in gdrive_urls:
        return gdrive_urls[path_or_gdrive_path]
    if path_or_gdrive_path in short_names and not os.path.lexists(path_or_gdrive_path):
        return short_names[path_or_gdrive_path]
    if path_or_gdrive_path.startswith("gdrive:"):
        close = did_you_mean(path_or_gdrive_path, gdrive_urls, 3, 0.4)
        raise UserError(f"{path_or_gdrive_path!r} is not one of the {len(gdrive_urls)} pretrained networks{close}")
    return path_or_gdrive_path


def published_url(name: str) -> str:
    """The URL of a published network by its short or official name. Raises UserError, with the nearest name."""
    known = {**short_names, **gdrive_urls}
    if name not in known:
        close = did_you_mean(name.removesuffix(".pkl").removeprefix("stylegan2-"), known)
        raise UserError(f"{name!r} is no published network{close}; --download=list shows their names")
    return known[name]


def locate(path_or_gdrive_path: str) -> str:
    """The path or URL of a network, after checking that the name or the file exists. Raises UserError."""
    path_or_url = get_path_or_url(os.fspath(path_or_gdrive_path))
    if dnnlib.util.is_url(path_or_url):
        return path_or_url
    if dnnlib.util.is_url(path_or_url, allow_file_urls=True):
        path_or_url = dnnlib.util.path_of_file_url(path_or_url)
    elif "://" in path_or_url:
        raise UserError(f"{path_or_url}: expected a path, an http or https URL, or a gdrive: name")
    path = installed.find(os.path.expanduser(path_or_url))
    if not path:
        raise UserError("the name of the network is empty; expected a path, a URL, or a gdrive: name")
    if os.path.isdir(path):
        raise UserError(f"{path}: is a folder, expected a network pickle{_networks_in(path)}")
    if not os.path.exists(path):
        folder, base = os.path.split(path)
        there = [name for name in glob.glob(os.path.join(glob.escape(folder), "*")) if os.path.isfile(name)]
        close = did_you_mean(path, there + installed.names(folder)) or did_you_mean(
            f"gdrive:networks/{base}", gdrive_urls, cutoff=0.85
        )
        raise UserError(f"{path}: no such file{close or did_you_mean(path, short_names, cutoff=0.85)}")
    return path


def locate_networks(path_or_gdrive_path: str) -> str:
    """`locate`, for a file that should hold networks.

    Raises UserError also for files that by their name or first bytes are something else, with the networks beside it.
    """
    path_or_url = locate(path_or_gdrive_path)
    if dnnlib.util.is_url(path_or_url):
        return path_or_url
    try:
        with open(path_or_url, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UserError(f"{path_or_url}: {error.strerror or error}") from None
    problem = NO_NETWORKS.get(os.path.basename(path_or_url)) or mistaken(head)
    if problem is None and kind_of(head) is None:
        problem = f"damaged or not a network pickle: {'this is text' if is_text(head) else 'it begins otherwise'}"
    if problem:
        raise UserError(
            f"{path_or_url}: {problem}. Expected a network pickle{_networks_in(os.path.dirname(path_or_url))}"
        )
    return path_or_url


NO_NETWORKS = {
    "submit_config.pkl": "these are the settings of a run",
    "training-state.npz": "this is the state of a training, which goes on with --resume=FOLDER",
}
"""Files of run folders that look like networks, and what they are."""
NETWORK_FILES = (".pkl", ".npz", ".safetensors", ".h5", ".pt", ".pth")
"""Ends of the names of files that may hold networks."""


def _networks_in(folder: str) -> str:
    """'; networks there, newest first: ...', of the files in a folder that may be networks; '' where there are none."""
    for format_ in FORMATS.values():
        if format_.marked_by and os.path.exists(os.path.join(folder, format_.marked_by)):
            return f"; this is a {format_.title}, a program: give the network that it was made of"
    paths = _newest_first(folder)
    return f"; networks there, newest first: {', '.join(listed(paths, 3))}" if paths else ""


def _newest_first(folder: str) -> list[str]:
    """The files of a folder that may be networks."""
    with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
        files = [x for x in entries if x.name.endswith(NETWORK_FILES) and x.name not in NO_NETWORKS]
        files.sort(key=lambda x: (x.stat().st_mtime_ns, x.name), reverse=True)
        return [x.path.removeprefix("./") for x in files]
    return []


def newest(folder: str | os.PathLike) -> str:
    """The path of the newest file of networks in a run folder. Raises UserError where there is none."""
    folder = os.path.expanduser(folder)
    problems = []
    for path in _newest_first(folder):
        try:
            return locate_networks(path)
        except UserError as error:
            problems.append(str(error))
    there = f": {problems[0]}" if problems else ", expected network-snapshot-000000.pkl or the like"
    raise UserError(f"{folder}: there is no network in this folder{there}")


_cached_networks: dict[Any, Any] = {}


def load_networks(
    path_or_gdrive_path: str, cache_dir: str | None = None, offline: bool | None = None
) -> tuple[Any, Any, Any]:
    """Loads (G, D, Gs) from an official name, a URL, or a path. Nothing in the file is executed.

    Args:
        path_or_gdrive_path: e.g. 'gdrive:networks/stylegan2-ffhq-config-f.pkl', 'ffhq-config-f', a URL, or a path.
        cache_dir: folder for downloads; None is $STYLEGAN2_CACHE_DIR or `.stylegan2-cache`.
        offline: fail instead of downloading; None: as $STYLEGAN2_OFFLINE says.

    Returns:
        G, D and the moving average Gs. Of a file with a single network, (network, None, network).

    Raises:
        UserError: an unknown name, a download that failed, a file that holds no networks that can be built.
    """
    path_or_url = locate_networks(path_or_gdrive_path)
    key = (path_or_url, _version_of(path_or_url))
    if key in _cached_networks:
        return _cached_networks[key]
    _cached_networks[key] = _three(read(path_or_url, cache_dir, offline), path_or_url)
    return _cached_networks[key]


def _three(content: Any, name: str) -> tuple[Any, Any, Any]:
    """(G, D, Gs) of what a file holds. name: of the file, for messages."""
    networks = tuple(content) if isinstance(content, (tuple, list)) else (content, None, content)
    if len(networks) != 3:
        raise UserError(f"{name}: holds {len(networks)} networks, expected (G, D, Gs) or a single one")
    return networks


def read(path_or_gdrive_path: str, cache_dir: str | None = None, offline: bool | None = None) -> Any:
    """What a network pickle holds: one network, or a tuple or list of them. Arguments as of `load_networks`."""
    from dnnlib.tflib.checkpoints import network_files

    path_or_url = locate_networks(path_or_gdrive_path)
    if not dnnlib.util.is_url(path_or_url):
        return network_files.load_pkl(path_or_url)
    with dnnlib.util.open_url(path_or_url, cache_dir=cache_dir or default_cache_dir(), offline=offline) as file:
        return network_files.read(file, file.name)


def load_generator(
    path_or_gdrive_path: str, cache_dir: str | None = None, offline: bool | None = None, anew: bool = False
) -> Any:
    """The generator (a `Network`) of a file: Gs, or the only network.

    anew: read the file in any case, and keep nothing in memory. The other arguments are those of `load_networks`.

    Raises UserError also for what is no whole generator.
    """
    load = read if anew else load_networks
    G, _D, net = _three(load(path_or_gdrive_path, cache_dir, offline), path_or_gdrive_path)
    if net is None and G is None:
        raise UserError(f"{path_or_gdrive_path}: holds no generator, only D, which judges images")
    if net is None:
        raise UserError(
            f"{path_or_gdrive_path}: holds no Gs, the average of G that images are made with; "
            f"run_convert.py {path_or_gdrive_path} --network=G --output=G.pkl makes a file of G alone"
        )
    if not is_generator(net):
        kind = type(net.model).__name__
        instead = ", which judges images" if judges(net) else ""
        raise UserError(f"{path_or_gdrive_path}: network {net.name!r} ({kind}) is not a generator{instead}")
    return net


def load(
    name: str | os.PathLike, network: str = "Gs", cache_dir: str | None = None, offline: bool | None = None
) -> "Network":
    """A network by its name: two lines from here to images.

        Gs = pretrained_networks.load("ffhq-config-f")
        images = generation.images(Gs, seeds=[85, 100], truncation_psi=0.7)  # uint8 [2, 1024, 1024, 3]

    Args:
        name: a short name such as 'ffhq-config-f', an official one, a URL, a path, or a run folder: its newest network.
        network: 'Gs', the average of G that images are made with; 'G'; or 'D'. A file with one generator has it as both
            'Gs' and 'G'.
        cache_dir, offline: see `load_networks`.

    Returns:
        The network, with the official API. Of Gs and G, `run(z [N, latent_size], labels [N, label_size] or None)` gives
        images `[N, C, H, W]` float32 from about -1 to 1; of D, `run(images, labels)` gives scores `[N, 1]`.

    Raises:
        UserError: as `load_networks`, and where the file has no such network.
    """
    if network not in ("G", "D", "Gs"):
        raise UserError(f"network={network!r}: expected 'Gs', 'G' or 'D'")
    name = get_path_or_url(os.fspath(name))
    if os.path.isdir(os.path.expanduser(name)):
        name = newest(name)
    if network == "Gs":
        return load_generator(name, cache_dir, offline)
    G, D, _Gs = load_networks(name, cache_dir, offline)
    found = [net for net in (G, D) if net is not None and (is_generator(net), judges(net))["GD".index(network)]]
    if not found:
        raise UserError(f"{name}: holds no {network}")
    return found[0]


def is_generator(net: Any) -> bool:
    """Whether a `Network` is a whole generator: latents to W to images."""
    return set(net.components) == {"mapping", "synthesis"}


def judges(net: Any) -> bool:
    """Whether a `Network` is a discriminator."""
    return "images_in" in net.input_names


def _version_of(path: str) -> tuple[int, int] | None:
    """Time and size of a file, by which another one of the same name is noticed. None for URLs."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
