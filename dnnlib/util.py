"""Helpers that official scripts import from `dnnlib.util`: dictionaries, logging, names of objects, files, URLs."""

import argparse
import contextlib
import fnmatch
import importlib
import inspect
import io
import math
import operator
import os
import pickle
import re
import shutil
import sys
import tempfile
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlparse

from .download import CACHE_VARIABLE, fetch
from .files import Log
from .flags import boolean
from .streams import Tolerant, harmless

if TYPE_CHECKING:
    import numpy as np

# ----------------------------------------------------------------------------
# Containers and logging.


class EasyDict(dict):
    """A dict whose items are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]


class _Copied(Tolerant):
    """stdout or stderr while a Logger is open."""

    def __init__(self, logger: "Logger", stream: Any, name: str):
        plain = type(stream) is Tolerant
        super().__init__(stream.stream if plain else stream)
        self.is_gone |= plain and stream.is_gone  # its descriptor leads nowhere, and would take everything
        self.logger, self.name = logger, name
        self._unsaid = ""  # for the file, at the end of a line

    def write(self, text: str | bytes) -> int:
        """Writes text to the stream and the file."""
        text = text.decode() if isinstance(text, bytes) else text
        if not text:
            return 0
        if not text.startswith("\r"):
            self.logger.write_to_file(text)
        super().write(text)
        if self.logger.should_flush:
            super().flush()
        if self._unsaid and text.endswith("\n"):
            self.logger.write_to_file(self._unsaid)
            self._unsaid = ""
        return len(text)

    def give_up(self, reason: str) -> None:
        """From now on writes to the file only, which says so."""
        super().give_up(reason)
        self._unsaid = f"{self.name}: {reason}; what follows is only in this file\n"


class Logger(_Copied):
    """Copies what is printed to stdout and stderr into a file, too, while it is open.

    Progress bars (lines that are overwritten by a carriage return) go to the terminal only, except their last state.
    A stream that fails (a terminal that is gone) is given up, with a note in the file. What cannot be added to the file
    (a full disk) is lost, with a note on stderr.
    """

    def __init__(self, file_name: str | None = None, file_mode: str = "w", should_flush: bool = True):
        self._replaced = sys.stdout, sys.stderr
        self.should_flush = should_flush
        self.stderr = _Copied(self, sys.stderr, "stderr")
        self.log = None if file_name is None else Log(file_name, self._tell, file_mode)
        super().__init__(self, sys.stdout, "stdout")
        sys.stdout, sys.stderr = self, self.stderr

    def _tell(self, line: str) -> None:
        Tolerant.write(self.stderr, f"{line}\n")

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, exc_type: type | None, exc_value: Exception | None, traceback: TracebackType | None) -> None:
        self.close()

    def write_to_file(self, text: str) -> None:
        """Writes text to the file only."""
        if self.log is not None:
            self.log.add(harmless(text).encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Stops copying."""
        self.flush()
        if sys.stdout is self:
            sys.stdout = self._replaced[0]
        if sys.stderr is self.stderr:
            sys.stderr = self._replaced[1]
        self.log = None


# ----------------------------------------------------------------------------
# Small helpers.


def format_time(seconds: int | float) -> str:
    """A duration as text: '42s', '3m 05s', '2h 03m 05s', '1d 02h 03m'."""
    s = round(float(seconds))
    if s < 60:
        return f"{s}s"
    if s < 60 * 60:
        return f"{s // 60}m {s % 60:02}s"
    if s < 24 * 60 * 60:
        return f"{s // (60 * 60)}h {(s // 60) % 60:02}m {s % 60:02}s"
    return f"{s // (24 * 60 * 60)}d {(s // (60 * 60)) % 24:02}h {(s // 60) % 60:02}m"


def ask_yes_no(question: str) -> bool:
    """Asks on the terminal until the answer is yes or no."""
    while True:
        with contextlib.suppress(argparse.ArgumentTypeError):
            return boolean(input(f"{question} [y/n] ").strip())


def tuple_product(t: tuple) -> Any:
    """The product of the elements."""
    return math.prod(t)


def get_dtype_and_ctype(type_obj: Any) -> "tuple[np.dtype, Any]":
    """The NumPy and the ctypes type of a type given as a name, a type or a dtype."""
    import numpy as np

    try:
        return np.dtype(type_obj), np.ctypeslib.as_ctypes_type(type_obj)
    except (TypeError, NotImplementedError):
        raise ValueError(
            f"unknown type {type_obj!r}, expected an integer of 8 to 64 bits, float32 or float64"
        ) from None


# ----------------------------------------------------------------------------
# Objects by name.


def get_module_from_obj_name(obj_name: str) -> tuple[ModuleType, str]:
    """Imports the module of a dotted name; returns it and the name inside. Raises ImportError if there is none."""
    obj_name = re.sub(r"^np\.", "numpy.", re.sub(r"^tf\.", "tensorflow.", obj_name))  # official shorthands
    parts = obj_name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        module_name, local_name = ".".join(parts[:split]), ".".join(parts[split:])
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
                continue  # no such module: the name may be an attribute
            raise
        get_obj_from_module(module, local_name)
        return module, local_name
    raise ImportError(f"no module for {obj_name!r}")


def get_obj_from_module(module: ModuleType, obj_name: str) -> Any:
    """The object of a dotted name in a module; an empty name is the module. Raises ImportError if there is none."""
    try:
        return operator.attrgetter(obj_name)(module) if obj_name else module
    except AttributeError:
        raise ImportError(f"module {module.__name__!r} has no {obj_name!r}") from None


def get_obj_by_name(name: str) -> Any:
    """The object of a dotted name."""
    module, obj_name = get_module_from_obj_name(name)
    return get_obj_from_module(module, obj_name)


def call_func_by_name(*args: Any, func_name: str | None = None, **kwargs: Any) -> Any:
    """Calls the function of a dotted name."""
    if func_name is None:
        raise ValueError("call_func_by_name: func_name is missing")
    return get_obj_by_name(func_name)(*args, **kwargs)


def construct_class_by_name(*args: Any, class_name: str | None = None, **kwargs: Any) -> Any:
    """A new object of the class of a dotted name."""
    if class_name is None:
        raise ValueError("construct_class_by_name: class_name is missing")
    return get_obj_by_name(class_name)(*args, **kwargs)


def is_pickleable(obj: Any) -> bool:
    """Whether an object can be pickled."""
    try:
        pickle.dumps(obj)
    except Exception:  # objects fail in ways of their own
        return False
    return True


def get_module_dir_by_obj_name(obj_name: str) -> str:
    """The folder of the module of a dotted name."""
    module, _ = get_module_from_obj_name(obj_name)
    return os.path.dirname(inspect.getfile(module))


def is_top_level_function(obj: Any) -> bool:
    """Whether an object is a function or class at the top of its module."""
    return callable(obj) and getattr(sys.modules.get(getattr(obj, "__module__", "")), obj.__name__, None) is obj


def get_top_level_function_name(obj: Any) -> str:
    """The dotted name of a top-level function."""
    module = obj.__module__
    if module == "__main__":
        module = os.path.splitext(os.path.basename(sys.modules[module].__file__))[0]
    return module + "." + obj.__name__


# ----------------------------------------------------------------------------
# Files.


def list_dir_recursively_with_ignore(
    dir_path: str, ignores: list[str] | None = None, add_base_to_relative: bool = False
) -> list[tuple[str, str]]:
    """All files below a folder as pairs (path, path relative to it), without names that match `ignores`."""
    ignores = ignores or []
    base = os.path.basename(os.path.normpath(dir_path))

    def ignored(name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in ignores)

    result = []
    for root, dirs, files in os.walk(dir_path, topdown=True):
        dirs[:] = [name for name in dirs if not ignored(name)]
        for name in files:
            if not ignored(name):
                path = os.path.join(root, name)
                relative = os.path.relpath(path, dir_path)
                result.append((path, os.path.join(base, relative) if add_base_to_relative else relative))
    return result


def copy_files_and_create_dirs(files: list[tuple[str, str]]) -> None:
    """Copies files, given as pairs (source, target), creating folders as needed."""
    for source, target in files:
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        shutil.copyfile(source, target)


# ----------------------------------------------------------------------------
# URLs.


def is_url(obj: Any, allow_file_urls: bool = False) -> bool:
    """Whether an object is a string with a URL."""
    if not isinstance(obj, str):
        return False
    try:
        parts = urlparse(obj)
    except ValueError:
        return False
    if allow_file_urls and parts.scheme == "file":
        return True
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def path_of_file_url(url: str) -> str:
    """The path that a file URL names."""
    return unquote(re.sub("^file:(//(localhost(?=/))?)?", "", url))


def open_url(
    url: str | os.PathLike,
    cache_dir: str | None = None,
    num_attempts: int = 10,
    verbose: bool = True,
    return_filename: bool = False,
    cache: bool = True,
    **fetch_kwargs: Any,
) -> BinaryIO | str:
    """Opens a file for reading: a local one, or that of a URL, which is downloaded unless it is in the cache.

    Args:
        url: http, https or file URL, or a path.
        cache_dir: folder to keep a download in; None is $STYLEGAN2_CACHE_DIR, or `make_cache_dir_path("downloads")`.
        num_attempts: tries before giving up.
        verbose: show progress.
        return_filename: return the path of the file instead.
        cache: keep a download, and take what was kept. Without it there is no file to return the path of.
        fetch_kwargs: see `download.fetch`, which also lists what is raised.

    Raises:
        OSError: a local file that cannot be opened.
        ValueError: another kind of URL, or a path is asked for of what is not kept.
    """
    if return_filename and not cache:
        raise ValueError("open_url: return_filename=True needs cache=True, only then is there a file")
    url = os.fspath(url)
    if not is_url(url, allow_file_urls=True) and "://" in url:
        raise ValueError(f"not a URL: {url!r}")
    if is_url(url):
        fetch_kwargs.update(num_attempts=num_attempts, verbose=verbose)
        if not cache:
            with tempfile.TemporaryDirectory() as folder, open(fetch(url, folder, **fetch_kwargs), "rb") as file:
                return io.BytesIO(file.read())
        url = fetch(url, cache_dir or _downloads_dir(), **fetch_kwargs)
    elif is_url(url, allow_file_urls=True):
        url = path_of_file_url(url)
    return url if return_filename else open(url, "rb")


_cache_dir: str | None = None


def set_cache_dir(path: str | os.PathLike) -> None:
    """Sets the folder that `make_cache_dir_path` names."""
    global _cache_dir
    _cache_dir = os.fspath(path)


def make_cache_dir_path(*paths: str) -> str:
    """A path in the folder of `set_cache_dir`; before that $DNNLIB_CACHE_DIR, or `.cache/dnnlib` in the home folder."""
    home = os.path.expanduser("~")
    root = tempfile.gettempdir() if home == "~" else home  # users of containers may have none
    folder = _cache_dir or os.environ.get("DNNLIB_CACHE_DIR") or os.path.join(root, ".cache", "dnnlib")
    return os.path.join(folder, *paths)


def _downloads_dir() -> str:
    from_environment = os.environ.get(CACHE_VARIABLE) if _cache_dir is None else None
    return from_environment or make_cache_dir_path("downloads")
