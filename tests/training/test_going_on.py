"""Trainings that go on with other data, other devices, or functions of one's own."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest
from test_training_loop import train

import run_training
from dnnlib.errors import UserError
from training.run_folder import state

pytestmark = pytest.mark.one_stack


def save_image(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.random.RandomState(number).randint(0, 256, [16, 16, 3], np.uint8)).save(path)


@pytest.fixture
def pets(tmp_path):
    """A data set: two folders of images."""
    for number in range(20):
        save_image(tmp_path / "pets" / ("cats" if number < 12 else "dogs") / f"{number:02d}.png", number)
    return tmp_path / "pets"


def resume(run_dir, *args):
    run, _ = run_training.parse([f"--resume={run_dir}", *args])
    run.start()


def refusal(run_dir, *args):
    with pytest.raises(UserError) as error:
        resume(run_dir, *args)
    return str(error.value).splitlines()


def test_data_that_changed(tmp_path, pets, capsys):
    config = (f"--dataset={pets}", "--config=config-f", "--cond")
    run_dir = train(tmp_path, *config, **{"total-kimg": 0.016})
    assert "20 images, 2 classes: cats, dogs\n" in (run_dir / "log.txt").read_text()
    options = json.loads((run_dir / "training_options.json").read_text())
    facts = options["data"]
    assert (facts["images"], facts["classes"]) == (20, ["cats", "dogs"])
    shutil.copytree(pets, tmp_path / "kept" / "pets")

    (pets / "cats" / "03.png").unlink()
    (pets / "dogs").rename(pets / "wolves")
    assert refusal(run_dir) == [
        f"the data set {pets} has changed since the run was stopped:",
        "  1 image removed (cats/03.png)",
        "  1 class renamed: dogs -> wolves",
        "(--resume-changed-data goes on with it as it is now)",
    ]
    assert json.loads((run_dir / "training_options.json").read_text()) == options
    save_image(pets / "ants" / "1.png", 1)
    lines = refusal(run_dir, "--resume-changed-data")
    assert lines[0].endswith("its networks do not fit:") and "3 columns (ants, cats, wolves) now" in lines[1]
    assert "--resume-partial" in lines[-1]
    shutil.rmtree(pets / "ants")

    capsys.readouterr()
    resume(run_dir, "--resume-changed-data", "--total-kimg=0.064")
    out = capsys.readouterr().out
    assert "The data set has changed since the run was stopped:\n  1 image removed (cats/03.png)\n" in out
    assert json.loads((run_dir / "training_options.json").read_text())["data"]["images"] == 19
    assert "resume_changed_data" not in json.loads((run_dir / "training_options.json").read_text())
    resume(run_dir)  # as it is now, it is known

    again = (f"--dataset={tmp_path}/kept/pets",)
    assert "--resume-changed-data goes on with other data" in refusal(run_dir, *again)[0]
    assert refusal(run_dir, *again, "--resume-changed-data", "--minibatch=4")[0].startswith("--minibatch: cannot")
    resume(run_dir, *again, "--resume-changed-data", "--total-kimg=0.096")
    assert "1 image added (cats/03.png)" in capsys.readouterr().out
    assert state.load(str(run_dir)).contents.facts() == facts


def test_data_may_not_change_in_a_new_run(tmp_path, pets):
    with pytest.raises(UserError, match="--resume-changed-data needs --resume=latest or --resume=RUN_DIR"):
        run_training.parse([f"--dataset={pets}", "--config=config-f", "--resume-changed-data"])


# ----------------------------------------------------------------------------
# Functions of one's own.

MINE = """
import tensorflow as tf
from metrics.metric_base import MetricBase
from training import loss

def G_mine(G, D, opt, training_set, minibatch_size, scale=1.0):
    value, _ = loss.G_logistic_ns(G, D, opt, training_set, minibatch_size)
    return value * scale, None

class Mine(MetricBase):
    def _evaluate(self, Gs, Gs_kwargs, num_gpus):
        self._report_result(float(self._get_dataset_obj().num_images))
"""


def test_functions_of_ones_own(tmp_path, pets, monkeypatch, capsys):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own_code.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    names = {"G_loss_args": {"func_name": "own_code.G_mine", "scale": 2}, "metrics": None}
    names["metric_arg_list"] = [{"func_name": "own_code.Mine", "name": "mine"}]
    run_dir = train(tmp_path, f"--dataset={pets}", "--config=config-f", **{"total-kimg": 0.016, **names})
    log = (run_dir / "log.txt").read_text()
    assert (
        "Not of this project: own_code.G_mine, own_code.Mine; to go on with this run, --resume needs an --options"
        in log
    )
    assert "mine 20.0000" in (run_dir / "metric-mine.txt").read_text()

    options = f"--options={tmp_path}/options.yaml"
    for args in ([], [write(tmp_path, {"G_loss_args": {"func_name": "own_code.G_theirs"}})]):
        found = [line for line in refusal(run_dir, *args) if "if you trust it" in line]
        assert [line.split(": ")[1].split(",")[0] for line in found] == [
            "G_loss_args.func_name is 'own_code.G_mine'",
            "metric_arg_list.func_name is 'own_code.Mine'",
        ]
    write(tmp_path, {"G_loss_args": {"func_name": "own_code.G_mine"}})
    run_training.parse([f"--resume={run_dir}", options, "--metrics=none"])
    write(tmp_path, {"G_loss_args": {"func_name": "own_code.G_mine"}, "metric_arg_list": names["metric_arg_list"]})
    capsys.readouterr()
    resume(run_dir, options, "--total-kimg=0.064", "--minibatch-gpu=4")
    out = capsys.readouterr().out
    assert "Continuing at kimg 0.0" in out and "failed" not in out
    assert "\ntotal_kimg: 0.064, it was 0.016\n" in out and "sched_args.minibatch_gpu_base: 4, it was 8\n" in out


def write(folder, options):
    (folder / "options.yaml").write_text(json.dumps(options))
    return f"--options={folder}/options.yaml"


@pytest.mark.parametrize(
    "options",
    [
        {"G_loss_args": {"func_name": "no_such_module.G"}},
        {"D_loss_args": {"func_name": "training.loss.no_such_loss"}},
        {"G_args": {"func_name": "no_such_module.G_main"}},
    ],
)
def test_functions_that_do_not_exist(tmp_path, pets, options):
    ((name, func),) = options.items()
    with pytest.raises(UserError, match=rf"^{name}: {func['func_name']} cannot be imported"):
        train(tmp_path, f"--dataset={pets}", "--config=config-f", **options)
