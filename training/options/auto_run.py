"""--resume=auto: one command line for every start of a training, the first and all after it was ended."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from dnnlib.clusters import workers
from dnnlib.errors import UserError, enumerated, listed, short
from dnnlib.submission import submit
from training.run_folder import heartbeat
from training.run_folder.options_file import (
    TRAINING_OPTIONS,
    TRAINING_STATE,
    DamagedOptionsError,
    load_training_options,
    save_training_options,
    to_json,
)
from training.run_folder.progress import finished_kimg

from . import consistency, resume_target, resumed_run
from .loop_arguments import differences
from .new_run import DEFAULTS, SETTINGS, Run, new_run

_PATIENCE_SECONDS = 60.0  # for a process that was told to end, and saves its state
_MOST_TOLD = 3  # options in which another run differs
_ANY = dict.fromkeys(("gamma", "mirror_augment", "cond", "minibatch", "fmap_base", "fmap_max", "allow_tf32"), 1)
_ANY |= dict.fromkeys(("resolution", "base", "max_value", "p", "target", "freezed", "resume_partial", "seed"), 1)
_ANY |= {"exif": "ignore", "precision": "fp16", "aug": "ada", "augpipe": "bgc"}
_FLAGS = {"resume_pkl": "start_from", "config": "config"}
_FLAGS |= {path: name for name, value in _ANY.items() for path, _, _ in differences({}, SETTINGS[name](value))}
"""Which flag an argument of `training_loop` comes from."""


class AutoRun(Run):
    """The training that --resume=auto comes to, which is found out again when it starts: much may have happened since.

    Args:
        flags: the flags that are given, by name with underscores; `dataset` and `config` must be.
        settings: arguments of `training_loop` from an options file, nested.

    Raises UserError as `new_run` does, and if the run that is there cannot go on with these options.
    """

    def __init__(self, flags: dict[str, Any], settings: dict[str, Any] | None = None):
        self._flags = {name: value for name, value in flags.items() if name != "resume"}
        self._settings = settings
        self._asked: dict[int, dict[str, Any]] = {}  # arguments that these options are, by the number of GPUs
        super().__init__(**vars(self._found()))

    def start(self) -> Any:
        """Trains, as the only process in the folder; returns when the training is over, or at once if it was.

        Raises UserError where another process keeps the folder.
        """
        cluster = workers.cluster()
        if cluster is not None and cluster.index > 0:
            return super().start()
        folder = self._folder()
        with submit.keeping(folder, _PATIENCE_SECONDS, heartbeat.told(folder)):
            run = self._found(os.path.basename(folder))
            if run.notes != self.notes:
                print("\n".join(run.notes), file=sys.stderr)
            return run.start()

    def _folder(self) -> str:
        """Where the run is; if there is none yet, a new folder, in which other processes see its options."""
        config = self.submit_config
        if self.run_dir or config.run_name:
            return self.run_dir or os.path.join(config.run_dir_root, config.run_name)
        with submit.naming(config.run_dir_root):
            name, _ = self._search(config.run_dir_root, config.run_desc)
            if name is not None:
                return os.path.join(config.run_dir_root, name)
            folder = submit.next_run_dir(config)
            try:
                save_training_options(folder, config.num_gpus, self.kwargs)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            return folder

    def _new(self, **changes: int) -> Run:
        flags = {**self._flags, **changes}
        flags.pop("resume_changed_data", None)  # for what goes on
        if (start := flags.pop("start_from", None)) is None:
            return new_run(flags, self._settings, may_exist=True)
        try:
            return new_run({**flags, "resume": start}, self._settings, may_exist=True)
        except UserError as error:
            raise UserError(str(error).replace(f"--resume={start}", f"--start-from={start}")) from None

    def _found(self, name: str | None = None) -> Run:
        """The run in the folder of that name, if there is one; else what the options ask for."""
        run = self._new()
        config, told = run.submit_config, ""
        config.run_name = name or config.run_name
        if config.run_name is None:
            config.run_name, told = self._search(config.run_dir_root, config.run_desc)
        run_dir = config.run_name and os.path.join(config.run_dir_root, config.run_name)
        if run_dir is None or not os.path.lexists(run_dir) or submit.holds_no_results(run_dir):
            what = f"{run_dir} starts" if run_dir else f"a run starts; none in {config.run_dir_root} has these options"
            run.notes.append(f"--resume=auto: {what}{told}")
            if problems := consistency.check_consistency(run.kwargs, config.num_gpus):
                raise UserError("\n".join(problems))
            return run
        try:
            differing = self._differing(run_dir, data_may_change="resume_changed_data" in self._flags)
        except DamagedOptionsError as error:
            run.notes.append(f"--resume=auto: {run_dir} goes on with the options of the command line; {error}")
            run.run_dir = run.kwargs.resume_run_dir = run_dir
            return run
        if differing:
            raise UserError("\n".join(resumed_run.cannot_change(*difference) for difference in differing))
        run = resumed_run.old_run({**self._flags, "resume": run_dir}, self._settings)
        run.finished_kimg = finished_kimg(run_dir, run.kwargs.total_kimg)
        run.notes.insert(0, f"--resume=auto: {run_dir} {'goes on' if run.finished_kimg is None else 'has finished'}")
        return run

    def _search(self, root: str, desc: str) -> tuple[str | None, str]:
        """The folder of the newest run with these options, or of a process that was killed before it had begun one.

        The second text is about the newest run if it has other options.
        """
        told = ""
        for name in resume_target.newest_first(root):
            run_dir = os.path.join(root, name)
            try:
                differing = self._differing(run_dir)
            except UserError as error:
                if re.fullmatch(rf"\d+-{re.escape(desc)}", name):
                    if submit.is_left_behind(run_dir):
                        return name, ""
                    told = told or f"; {error}"
                continue
            if not differing:
                return name, ""
            words = [f"{what} is {short(old)} there, {short(new)} here" for what, old, new in differing]
            told = told or f"; of the newest, {name}, {', '.join(listed(words, _MOST_TOLD))}"
        return None, told

    def _differing(self, run_dir: str, data_may_change: bool = False) -> list[tuple[str, Any, Any]]:
        """What a run has that these options do not ask for, as far as it cannot change: flag, there, here.

        Raises UserError for folders of no run, and runs whose options cannot be read.
        """
        _check_is_run(run_dir)
        num_gpus, there = load_training_options(run_dir)
        there.config = resume_target.config_of(run_dir, there)
        if num_gpus not in self._asked:  # configurations may depend on it
            self._asked[num_gpus] = _plain(self._new(num_gpus=num_gpus, logical_cpus=num_gpus).kwargs)
        data = {"dataset": self._flags["dataset"], "data_dir": self._flags.get("data_dir", DEFAULTS["data_dir"])}
        other = None if data_may_change else resumed_run.other_dataset(there, data)
        result = [other] if other else []
        seen = {"data_dir", "dataset_args.tfrecord_dir", "resume_run_dir"}
        for path, old, new in _differences(_plain(there), self._asked[num_gpus]):
            flag = f"--{_FLAGS[path].replace('_', '-')}" if path in _FLAGS else path
            if path not in resumed_run.MAY_CHANGE and not {path, flag} & seen:
                seen.add(flag)
                result.append((flag, old, new))
        return sorted(result, key=lambda difference: not difference[0].startswith("--"))


def _check_is_run(run_dir: str) -> None:
    """Raises UserError for a folder with other things in it than those of a run."""
    there = sorted(os.listdir(run_dir)) if os.path.isdir(run_dir) else []
    if TRAINING_OPTIONS in there:
        return
    if TRAINING_STATE in there:
        raise DamagedOptionsError(f"{run_dir}: {TRAINING_OPTIONS} is missing")
    what = f"there are {enumerated(there, 5)} in this folder, but no run" if there else "is there, but is no folder"
    raise UserError(f"{run_dir}: {what}; expected another --run-name, or that of a run")


def _plain(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as their file has them."""
    return json.loads(to_json(resumed_run.as_started(kwargs)))


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Paths and values of arguments that are not the same, those that only one has among them."""
    yield from differences(there, here)
    yield from ((path, old, new) for path, new, old in differences(here, there))
