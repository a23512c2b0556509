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
    assert lines[0].endswith("its networks do not fit:") and "3 (ants, cats, wolves) columns now" in lines[1]
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


def test_states_that_do_not_know_their_data(tmp_path, pets, capsys):
    run_dir = train(tmp_path, f"--dataset={pets}", "--config=config-f", **{"total-kimg": 0.016})
    with np.load(run_dir / "training-state.npz") as file:
        arrays = {name: value for name, value in file.items() if not name.startswith("data/")}
    meta = json.loads(str(arrays.pop("meta")))
    del meta["data"]
    np.savez(run_dir / "training-state.npz", meta=json.dumps(meta), **arrays)
    shutil.rmtree(pets / "dogs")
    resume(run_dir)
    assert "whether it has changed since is not known" in capsys.readouterr().out
