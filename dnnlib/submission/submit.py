"""Submitting a function as a run with a numbered folder of its own, as the official scripts do.

A run folder holds log.txt (everything printed), run.txt (start and end), submit_config.txt and .pkl (what was run with
which arguments), and in the end _finished.txt. `resume_run` goes on in such a folder.
"""

import contextlib
import copy
import getpass
import os
import pickle
import platform
import pprint
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from dnnlib import util
from dnnlib.errors import UserError
from dnnlib.files import atomic_write, only_one
from dnnlib.streams import need_not_arrive
from dnnlib.util import EasyDict

from .internal import local
from .run_context import RunContext

_LOCK = ".lock"  # in the folder of all runs while one gets its number, in a run's folder while it is in progress
submit_config: "SubmitConfig | None" = None  # of the run in progress; officially `dnnlib.submit_config`


class SubmitTarget(Enum):
    """Where a run is executed."""

    LOCAL = 1


class PathType(Enum):
    """How paths are written."""

    WINDOWS = 1
    LINUX = 2
    AUTO = 3


class PlatformExtras(EasyDict):
    """Settings of platforms, official ones. There are none that matter here."""

    def __init__(self) -> None:
        super().__init__(data_reader_buffer_size=1 << 30, data_reader_process_count=0)


class SubmitConfig(EasyDict):
    """The settings of a run.

    Set by the user: run_dir_root (folder of all runs), run_desc (the end of the folder's name), run_dir_ignore and
    run_dir_extra_files (kept for official callers), num_gpus, and run_name for a folder of that name in place of a
    number and run_desc. Set by `submit_run`: run_id, run_name, run_dir, run_func_name, run_func_kwargs, user_name,
    task_name, host_name. The others are official and do nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.run_dir_root = ""
        self.run_desc = ""
        self.run_dir_ignore = [
            *("__pycache__", "*.pyproj", "*.sln", "*.suo", ".cache", ".idea", ".vs", ".vscode", "_cudacache"),
        ]
        self.run_dir_extra_files: list[tuple[str, str]] = []
        self.submit_target = SubmitTarget.LOCAL
        self.num_gpus = 1
        self.print_info = False
        self.nvprof = False
        self.local = local.TargetOptions()
        self.datasets: list[str] = []
        self.run_id: int | None = None
        self.run_name: str | None = None
        self.run_dir: str | None = None
        self.run_func_name: str | None = None
        self.run_func_kwargs: dict[str, Any] | None = None
        self.user_name: str | None = None
        self.task_name: str | None = None
        self.host_name = "localhost"
        self.platform_extras = PlatformExtras()


def get_path_from_template(path_template: str, path_type: PathType = PathType.AUTO) -> str:
    """A path with `<USERNAME>` replaced, in the style of a platform."""
    return convert_path(path_template.replace("<USERNAME>", get_user_name()), path_type)


def get_template_from_path(path: str) -> str:
    """A path with forward slashes."""
    return path.replace("\\", "/")


def convert_path(path: str, path_type: PathType = PathType.AUTO) -> str:
    """A path in the style of a platform."""
    if path_type == PathType.AUTO:
        path_type = PathType.WINDOWS if platform.system() == "Windows" else PathType.LINUX
    return path.replace("/", "\\") if path_type == PathType.WINDOWS else path.replace("\\", "/")


_user_name_override: str | None = None


def set_user_name_override(name: str) -> None:
    """Sets the user's name for run settings."""
    global _user_name_override
    _user_name_override = name


def get_user_name() -> str:
    """The user's name."""
    if _user_name_override is not None:
        return _user_name_override
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return "unknown"


def make_run_dir_path(*paths: str) -> str:
    """A path inside the folder of the run in progress; outside of runs, inside the current folder."""
    return os.path.join(os.getcwd() if submit_config is None else submit_config.run_dir, *paths)


@contextlib.contextmanager
def naming(root: str) -> Iterator[None]:
    """Inside, this process is the only one that makes run folders in a folder, which is made if it is not there."""
    os.makedirs(root, exist_ok=True)
    with only_one(os.path.join(root, _LOCK)):
        yield


def _number_of(name: str) -> int:
    """The number that the name of a run folder begins with; -1: there is none."""
    match = re.match(r"\d+(?=-|$)", name)
    return int(match[0]) if match else -1


def next_run_dir(submit_config: SubmitConfig) -> str:
    """Creates the next numbered run folder, `naming` held, and returns its path."""
    root = convert_path(submit_config.run_dir_root)
    number = max(map(_number_of, os.listdir(root)), default=-1) + 1
    run_dir = os.path.join(root, f"{number:05d}-{submit_config.run_desc}")
    os.makedirs(run_dir)
    return run_dir


_kept: set[str] = set()  # run folders that this process has for itself, while no run is in progress in them


@contextlib.contextmanager
def keeping(run_dir: str, patience: float = 0.0, by: str = "") -> Iterator[None]:
    """Inside, a run folder, made if it is not there, is this process's own, which can start one run in it at a time.

    patience: how many seconds to wait for another process that has it. by: which that is, if it is known.

    Raises UserError where that keeps it; OSError where the folder cannot be made.
    """
    with _alone_in(run_dir, patience, by):
        path = os.path.realpath(run_dir)
        _kept.add(path)
        try:
            yield
        finally:
            _kept.discard(path)


@contextlib.contextmanager
def _alone_in(run_dir: str, patience: float = 0.0, by: str = "") -> Iterator[None]:
    path = os.path.realpath(run_dir)
    if path in _kept:
        _kept.remove(path)
        try:
            yield
        finally:
            _kept.add(path)
        return
    os.makedirs(path, exist_ok=True)
    busy = f"{run_dir}: a run is in progress in this folder" + (f" ({by})" if by else "")
    waiting = f"{busy}; waiting {patience:g} seconds at most for its end..." if patience else None
    with only_one(os.path.join(path, _LOCK), waiting, busy, patience):
        yield


def submit_run(submit_config: SubmitConfig, run_func_name: Any, **run_func_kwargs: Any) -> Any:
    """Runs a function in a new run folder.

    Args:
        submit_config: settings; `run_dir_root` and `run_desc` make the folder's name, or `run_name` is it: that folder
            may be there, with no more in it than what a run leaves that was ended before it had begun.
        run_func_name: dotted name of the function, or a top-level function.
        run_func_kwargs: its arguments.

    Returns:
        What the function returns.
    """
    if submit_config.submit_target != SubmitTarget.LOCAL:
        raise ValueError(f"runs are local, got submit_target={submit_config.submit_target}")
    submit_config = copy.deepcopy(submit_config)
    if not isinstance(run_func_name, str):
        run_func_name = util.get_top_level_function_name(run_func_name)
    root = convert_path(submit_config.run_dir_root)
    if submit_config.run_name is not None:
        run_dir = os.path.join(root, submit_config.run_name)
    else:
        with naming(root):
            run_dir = next_run_dir(submit_config)
    with _alone_in(run_dir):
        _describe_run(submit_config, run_dir, run_func_name, run_func_kwargs)
        if not holds_no_results(run_dir):
            raise UserError(f"{run_dir}: is there already")
        for name in set(os.listdir(run_dir)) - {_LOCK}:
            os.unlink(os.path.join(run_dir, name))
        try:
            _write_files(submit_config, run_dir)
        except BaseException:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise
        need_not_arrive()  # the run's folder has it
        print(f"Local submit - run_dir: {run_dir}")
        return _run_in_folder(submit_config)


def resume_run(run_dir: str, run_func_name: str, num_gpus: int = 1, **run_func_kwargs: Any) -> Any:
    """Runs a function in the folder of an earlier run: log.txt is continued, _finished.txt removed until it ends.

    Args:
        run_dir: the folder. Nothing in it is unpickled; number and description are read off its name.
        run_func_name: dotted name of the function.
        num_gpus: as in `SubmitConfig`.
        run_func_kwargs: arguments of the function.

    Returns:
        What the function returns.

    Raises:
        UserError: there is no such folder, or a run is in progress in it.
    """
    if not os.path.isdir(run_dir):
        raise UserError(f"{run_dir}: no such run folder")
    submit_config = SubmitConfig()
    submit_config.run_dir_root = os.path.dirname(os.path.abspath(run_dir))
    submit_config.num_gpus = num_gpus
    _describe_run(submit_config, run_dir, run_func_name, run_func_kwargs)
    need_not_arrive()
    print(f"Local submit - goes on in run_dir: {run_dir}")
    return run_wrapper(submit_config, resumes=True)


def run_as_worker(run_func_name: str, num_gpus: int = 1, **run_func_kwargs: Any) -> Any:
    """Runs a function without a run folder: a worker of a cluster leaves all files to the first one.

    Arguments and result as of `resume_run`.
    """
    global submit_config
    submit_config = SubmitConfig()
    submit_config.num_gpus = num_gpus
    try:
        return util.call_func_by_name(func_name=run_func_name, **run_func_kwargs)
    finally:
        submit_config = None


def _describe_run(config: SubmitConfig, run_dir: str, run_func_name: str, run_func_kwargs: dict[str, Any]) -> None:
    config.user_name = get_user_name()
    config.run_name = os.path.basename(os.path.abspath(run_dir))
    match = re.fullmatch(r"(\d+)-(.*)", config.run_name)
    config.run_id, config.run_desc = (int(match[1]), match[2]) if match else (0, config.run_name)
    config.task_name = f"{config.user_name}-{config.run_name}"
    config.update(run_dir=run_dir, run_func_name=run_func_name, run_func_kwargs=run_func_kwargs)


def _write_files(submit_config: SubmitConfig, run_dir: str) -> None:
    text = pprint.pformat(dict(submit_config), indent=4, width=200)
    with atomic_write(os.path.join(run_dir, "submit_config.txt")) as file:
        file.write(f"{text}\n".encode(errors="backslashreplace"))
    with atomic_write(os.path.join(run_dir, "submit_config.pkl")) as file:
        pickle.dump(submit_config, file)


def run_wrapper(submit_config: SubmitConfig, resumes: bool = False) -> Any:
    """Runs the function of a run, with its log file and start and end times.

    A run that ends by a user's mistake before it has any results leaves no folder. One that resumes adds to log.txt.
    """
    with _alone_in(submit_config.run_dir):
        return _run_in_folder(submit_config, resumes)


def _run_in_folder(submit_config: SubmitConfig, resumes: bool = False) -> Any:
    run_dir = submit_config.run_dir
    finished = os.path.join(run_dir, "_finished.txt")
    with contextlib.suppress(OSError):
        os.unlink(finished)
    log = util.Logger(file_name=os.path.join(run_dir, "log.txt"), file_mode="a", should_flush=True)
    result = _run(submit_config, log, resumes)
    try:
        with open(finished, "wb"):
            pass
    except OSError as error:  # the work is done
        print(f"{finished}: {error.strerror}; the run has finished", file=sys.stderr)
    return result


def _run(config: SubmitConfig, logger: util.Logger, resumes: bool) -> Any:
    global submit_config
    submit_config = config
    failed_without_results = False
    try:
        name = config.run_func_name
        print(f"dnnlib: Running {name}() on {config.host_name}...")
        start_time = time.monotonic()
        with RunContext(config):
            result = util.call_func_by_name(func_name=name, **config.run_func_kwargs)
        print(f"dnnlib: Finished {name}() in {util.format_time(time.monotonic() - start_time)}.")
        return result
    except BaseException as error:
        stopped = isinstance(error, (KeyboardInterrupt, SystemExit))
        end = "was stopped." if stopped else f"failed: {error}"
        logger.write_to_file(f"dnnlib: {config.run_func_name}() {end}\n")
        expected = isinstance(error, (UserError, OSError))
        failed_without_results = expected and not resumes and holds_no_results(config.run_dir)
        raise
    finally:
        submit_config = None
        logger.close()
        if failed_without_results:
            shutil.rmtree(config.run_dir, ignore_errors=True)


_BEFORE_RESULTS = {_LOCK, "log.txt", "run.txt", "submit_config.txt", "submit_config.pkl"}
_BEFORE_RESULTS |= {"training_options.json", "heartbeat.json"}


def holds_no_results(run_dir: str) -> bool:
    """Whether a path is a folder with only what runs begin with, and what killed processes left of such files."""
    names = os.listdir(run_dir) if os.path.isdir(run_dir) else [run_dir]
    return all(name in _BEFORE_RESULTS or re.fullmatch(r"\..*\.tmp", name) for name in names)


def is_left_behind(run_dir: str) -> bool:
    """Whether a folder is that of a run which was ended before it had any results, and in which none is in progress."""
    with contextlib.suppress(OSError):
        return holds_no_results(run_dir) and is_free(run_dir)
    return False


def newest_free(root: str, is_wanted: Callable[[str], bool]) -> str | None:
    """The newest of the run folders in `root` that are wanted, and in which no run is in progress; None: there is none.

    is_wanted: of the path of a folder.
    """
    names: list[str] = []
    with contextlib.suppress(OSError):  # there may be no such folder
        names = os.listdir(root)
    for name in sorted(names, key=lambda name: (_number_of(name), name), reverse=True):
        folder = os.path.join(root, name)
        if is_wanted(folder) and is_free(folder):
            return folder
    return None


def is_free(run_dir: str) -> bool:
    """Whether a folder is there in which no run is in progress, and one can be."""
    lock = only_one(os.path.join(run_dir, _LOCK), busy="a run is in progress")
    with contextlib.suppress(UserError, OSError), lock:
        return True
    return False
