"""Metric networks by official name, path or URL, from any file that holds their weights."""

import contextlib
import os
import sys
from weakref import WeakValueDictionary

from dnnlib.download import DownloadError, default_cache_dir, fetch, find_cached
from dnnlib.errors import UserError, did_you_mean
from dnnlib.files import sha256_of
from dnnlib.tflib.network_state import NetworkState
from dnnlib.util import is_url

from . import attribute_classifier, builders, catalog
from .catalog import FEATURES, LPIPS, OFFICIAL, SOFTMAX, VGG16, Official
from .matching import has_layers
from .metric_network import MetricNetwork
from .weight_files import OFFICIAL_PICKLE, WeightFile, flat_variables, read_weight_file

_loaded: WeakValueDictionary[tuple, MetricNetwork] = WeakValueDictionary()


def load(
    name_or_path: str,
    folder: str | None = None,
    *,
    as_: str | None = None,
    cache_dir: str | None = None,
    offline: bool | None = None,
    folder_option: str = "--metric-networks=DIR",
) -> MetricNetwork:
    """A metric network. Nothing in its file is executed.

    Args:
        name_or_path: official name, such as 'inception_v3_features' or 'celebahq-classifier-00-male.pkl', which is
            downloaded once; or the path or URL of any file with its weights.
        folder: looked into first for official names: the official pickle, or another file with the same weights under
            its usual name (`catalog.OFFICIAL`).
        as_: official name of the network in a file. None: by the name of the file, or else by its content; a file of
            both Inception networks is then the one of features.
        cache_dir: folder for downloads; None is $STYLEGAN2_CACHE_DIR or `.stylegan2-cache`.
        offline: fail instead of downloading; None: as $STYLEGAN2_OFFLINE says.
        folder_option: how messages say that `folder` is given.

    Raises:
        UserError: an unknown name, a file that cannot be had, or one that does not hold this network.
    """
    if as_ is not None and catalog.official_name(as_) is None:
        raise UserError(f"{as_!r} is no metric network{did_you_mean(as_, OFFICIAL, 3, 0.5)}")
    if folder is not None and not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder, expected one with files of metric networks")
    name = catalog.official_name(name_or_path)
    if name is not None:
        return _load_files(_find(OFFICIAL[name], folder, cache_dir, offline, folder_option), name)
    path = fetch(name_or_path, cache_dir, offline=offline) if is_url(name_or_path) else os.path.expanduser(name_or_path)
    if not os.path.exists(path):
        close = did_you_mean(catalog.base_name(path), OFFICIAL, 3, 0.5)
        raise UserError(f"{path}: neither a file nor the name of a metric network{close}")
    name = catalog.official_name(as_) if as_ else catalog.official_name(catalog.base_name(path))
    return _load_files([path], name)


def of_file(path_or_url: str) -> MetricNetwork | None:
    """The metric network in a file, for `misc.load_pkl`; None where it holds none, or nothing tells which."""
    path = path_or_url if is_url(path_or_url) else os.path.abspath(path_or_url)  # a name alone is that of a download
    with contextlib.suppress(UserError):
        network = load(path)
        return network if network.name in OFFICIAL else None
    return None


def of_state(state: NetworkState) -> MetricNetwork | None:
    """The metric network of a state, for `pickle.load`; None where it is none, or nothing tells which.

    Raises UserError for one whose weights do not fit.
    """
    file = WeightFile(state.name, OFFICIAL_PICKLE, flat_variables(state), (state,))
    name = catalog.official_name(state.name)
    if name is None:
        with contextlib.suppress(UserError):
            name = _recognized(file)
    if name == FEATURES and has_layers(file, [builders.INCEPTION_SOFTMAX]):  # the pickle of features lacks it
        name = SOFTMAX
    return _build([file], name) if name in OFFICIAL else None


# ----------------------------------------------------------------------------
# Where files are.


def _find(
    official: Official, folder: str | None, cache_dir: str | None, offline: bool | None, folder_option: str
) -> list[str]:
    """The files of an official network: in the folder, in the cache, or downloaded."""
    if folder is not None and (found := _find_in_folder(official, folder)):
        return found
    cache_dir = cache_dir or default_cache_dir()
    if cached := _cached(official, os.path.expanduser(cache_dir)):
        return [cached]
    try:
        return [fetch(official.url, cache_dir, offline=offline)]
    except DownloadError as error:
        looked = f" {folder} has none of them." if folder is not None else ""
        raise UserError(
            f"{error}\nThe weights of {official.name} are read from any of: {official.files()}. Put one into a folder "
            f"and name the folder with {folder_option}.{looked}"
        ) from None


def _find_in_folder(official: Official, folder: str) -> list[str]:
    """The official pickle, also as caches name it, or the first complete group of files with the same weights."""
    own = os.path.join(folder, f"{official.name}.pkl")
    if os.path.isfile(own):
        return [own]
    if cached := _cached(official, folder):
        return [cached]
    for group in official.groups:
        found = [_first_file(folder, names) for names in group]
        if all(found):
            return found
    return []


def _cached(official: Official, folder: str) -> str | None:
    return next(filter(None, (find_cached(url, folder) for url in official.urls)), None)


def _first_file(folder: str, names: tuple[str, ...]) -> str | None:
    paths = (os.path.join(folder, name) for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)


# ----------------------------------------------------------------------------
# What is in them.


def _load_files(paths: list[str], name: str | None) -> MetricNetwork:
    key = (name, *((path, os.stat(path).st_mtime_ns, os.stat(path).st_size) for path in paths))
    network = _loaded.get(key)
    if network is None:
        network = _loaded[key] = _build([_read(path) for path in paths], name)
    return network


def _read(path: str) -> WeightFile:
    """The weights in a file. Warns of one that is another than the published one of its name."""
    expected = catalog.SHA256.get(catalog.base_name(path))
    if expected is not None and (found := sha256_of(path)) != expected:
        print(
            f"Warning: {path} is not the published file of this name: its sha256 is {found}, expected "
            f"{expected}. Values may not be comparable.",
            file=sys.stderr,
        )
    return read_weight_file(path)


def _build(files: list[WeightFile], name: str | None) -> MetricNetwork:
    file = files[0]
    name = _recognized(file) if name is None else name
    if name in builders.BUILDERS:
        return builders.BUILDERS[name](file)
    if name == LPIPS:
        return builders.lpips(_with_the_rest(file) if len(files) == 1 else files)
    return attribute_classifier.build(file, name)


def _with_the_rest(file: WeightFile) -> list[WeightFile]:
    """A file of LPIPS, and the one beside it with the linear layers or convolutions that it lacks."""
    has_linear, has_convs = (has_layers(file, part) for part in (builders.LPIPS_LINEAR, builders.VGG_CONVS))
    if has_linear == has_convs:
        return [file]
    names = catalog.TORCHVISION_VGG16 if has_linear else catalog.LPIPS_LINEAR
    path = _first_file(os.path.dirname(file.path), names)
    if path is None:
        raise UserError(
            f"{file.path}: holds only a part of {LPIPS}; expected the rest beside it as {' or '.join(names)}, or the "
            f"official pickle {LPIPS}.pkl instead"
        )
    return [file, _read(path)]


def _recognized(file: WeightFile) -> str:
    """The network in a file whose name says nothing. Raises UserError if it is none."""
    if "FromRGB_lod0/weight" in file.arrays:
        return os.path.splitext(catalog.base_name(file.path))[0]
    if has_layers(file, builders.LPIPS_LINEAR):
        return LPIPS
    if has_layers(file, builders.VGG_CONVS):
        return VGG16 if has_layers(file, builders.VGG_FULLY_CONNECTED) else LPIPS
    if has_layers(file, builders.INCEPTION):
        return FEATURES
    raise UserError(
        f"{file.path}: this {file.kind} is none of the metric networks as far as its names tell; they are "
        f"{', '.join((FEATURES, SOFTMAX, VGG16, LPIPS))} and {catalog.CLASSIFIERS[0]} to {catalog.CLASSIFIERS[-1]}"
    )
