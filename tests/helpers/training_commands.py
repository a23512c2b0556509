"""What the tests of `run_training.py` share: a folder with a data set, and parsing of command lines."""

import pytest

import dnnlib
import run_training
from dnnlib.errors import UserError
from training.options import loop_arguments
from training.run_folder import options_file

REQUIRED = ("--dataset=cats", "--config=config-f")


def write(folder, text):
    (folder / "options.yaml").write_text(text)
    return "--options=options.yaml"


def kwargs_of(*args):
    run, _ = run_training.parse([*REQUIRED, *args])
    return run.kwargs


def changes(*args):
    """What flags change in the arguments, as (name, old, new)."""
    return sorted(loop_arguments.differences(kwargs_of(), kwargs_of(*args)))


def problems(*args):
    with pytest.raises(UserError) as error:
        run_training.parse(list(args))
    return str(error.value).splitlines()


def usage_error(capsys, *args):
    with pytest.raises(SystemExit) as error:
        run_training.parse([*REQUIRED, *args])
    assert error.value.code == 2
    return capsys.readouterr().err.splitlines()[-1].partition(": error: ")[2]


def make_run(folder, number, *args):
    """A run folder as `training_loop` leaves it."""
    run, _ = run_training.parse([*REQUIRED, *args])
    run_dir = folder / "results" / f"{number:05d}-{run.submit_config.run_desc}"
    run_dir.mkdir(parents=True)
    options_file.save_training_options(str(run_dir), run.submit_config.num_gpus, run.kwargs)
    return f"results/{run_dir.name}"


def plain(value):
    """As the goldens write it."""
    if isinstance(value, range):
        return {"__range__": [value.start, value.stop, value.step]}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dnnlib.SubmitTarget):
        return str(value)
    return plain(vars(value)) if hasattr(value, "__dict__") else value
