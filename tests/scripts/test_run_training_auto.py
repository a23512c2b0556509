"""`run_training.py --resume=auto` and `--run-name`: one command line for every start of a training."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock  # noqa: F401  so that it is there after forks
import numpy as np
import pytest
from training_commands import REQUIRED, make_run, problems, write

import dnnlib
import run_training
from dnnlib.errors import UserError
from dnnlib.files import atomic_write
from dnnlib.submission import submit
from training.options import auto_run
from training.run_folder import options_file

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent.parent
AUTO = (*REQUIRED, "--resume=auto")


def auto(*args):
    return run_training.parse([*AUTO, *args])[0]


def begin(run_dir, cur_nimg=8, done=False, finished=False):
    """Makes a folder of options that of a run with a state."""
    meta = {"version": 2, "counters": {"cur_nimg": cur_nimg, "done": done}, "logs": {}}
    np.savez(Path(run_dir) / "training-state.npz", meta=np.array(json.dumps(meta)))
    (Path(run_dir) / "reals.png").write_bytes(b"")
    if finished:
        (Path(run_dir) / "_finished.txt").write_bytes(b"")
    return run_dir


def named(folder, name, *args):
    """A run in progress of that name."""
    run_dir = folder / "results" / name
    os.rename(folder / make_run(folder, 9, *args), run_dir)
    return f"results/{begin(run_dir).name}"


# ----------------------------------------------------------------------------
# Names.


def test_names(folder, monkeypatch):
    run, _ = run_training.parse([*REQUIRED, "--run-name=mine"])
    assert (run.submit_config.run_dir_root, run.submit_config.run_name) == ("results", "mine")
    assert json.loads(run.to_json())["run_name"] == "mine" and "run_desc" not in json.loads(run.to_json())
    run, _ = run_training.parse([*REQUIRED, write(folder, "run_name: 12\nresume: auto")])
    assert run.submit_config.run_name == "12" and run.run_dir is None
    for name in "", ".", "..", ".mine", "a/b", "/tmp/a", "a\nb", "x" * 256:
        (line,) = problems(*AUTO, f"--run-name={name}")
        assert line.startswith("--run-name"), name
    assert problems(*REQUIRED, "--run-name=a/b", "--gamma=3", "--metrics=foo")[1].startswith("--run-name=a/b: expected")


def test_names_that_are_taken(folder, capsys):
    run_dir = named(folder, "mine")
    assert problems(*REQUIRED, "--run-name=mine") == [
        f"--run-name=mine: {run_dir} is there already; --resume=auto goes on with the run in it"
    ]
    assert auto("--run-name=mine").run_dir == run_dir
    (folder / "results" / "file").write_bytes(b"")
    (folder / "results" / "photos").mkdir()
    (folder / "results" / "photos" / "cat.jpg").write_bytes(b"")
    for name, why in {"file": "is there, but is no folder", "photos": "there are cat.jpg in this folder"}.items():
        assert problems(*AUTO, f"--run-name={name}")[0].startswith(f"results/{name}: {why}")
        assert problems(*REQUIRED, f"--run-name={name}")[0].endswith("expected a name that is free")
    for args in ["--resume=latest"], [f"--resume={run_dir}"]:
        with pytest.raises(SystemExit):
            run_training.parse([*args, "--run-name=mine"])
        assert "--run-name is for new runs and --resume=auto, not for" in capsys.readouterr().err


# ----------------------------------------------------------------------------
# Which run.


def test_the_run_of_that_name(folder, capsys):
    assert auto("--run-name=mine").submit_config.run_name == "mine"
    assert capsys.readouterr().err == "--resume=auto: results/mine starts\n"
    run_dir = named(folder, "mine", "--gamma=5", "--metrics=none")
    run = auto("--run-name=mine", "--gamma=5", "--metrics=none")
    assert (run.run_dir, run.kwargs.resume_run_dir, run.finished_kimg) == (run_dir, run_dir, None)
    assert capsys.readouterr().err == "--resume=auto: results/mine goes on\n"
    args = ("--data=cats", "--cfg=config-f", "--resume=auto", "--outdir=./results", "--run_name=mine", "--gamma=5")
    assert run_training.parse([*args])[0].run_dir == run_dir  # the spellings of StyleGAN2-ADA


def test_the_newest_run_of_these_options(folder, capsys):
    assert auto().run_dir is None
    assert capsys.readouterr().err == "--resume=auto: a run starts; none in results has these options\n"
    runs = [begin(make_run(folder, number, *args)) for number, args in enumerate([[], ["--snap=3"], ["--gamma=5"]])]
    runs += [begin(make_run(folder, 3, "--config=config-e", "--aug=ada", "--target=0.5"))]
    capsys.readouterr()
    assert auto().run_dir == runs[1] and auto("--total-kimg=9").run_dir == runs[1]
    assert capsys.readouterr().err.splitlines()[0] == f"--resume=auto: {runs[1]} goes on"
    assert auto("--gamma=5").run_dir == runs[2]
    hidden = folder / "results" / ".kept"
    os.rename(folder / runs[2], hidden)
    assert auto("--gamma=5").run_dir == "results/.kept"
    os.rename(hidden, folder / runs[2])
    assert auto("--config=config-e", "--aug=ada", "--target=0.5").run_dir == runs[3]
    capsys.readouterr()
    assert auto("--aug=ada").run_dir is None
    told = capsys.readouterr().err
    assert told.startswith(
        f"--resume=auto: a run starts; none in results has these options; of the newest, {runs[3][8:]}"
    )
    assert "--config is config-e" in told.replace("'", "") and "--target is 0.5 there, 0.6 here" in told


def test_folders_of_starts_that_were_killed(folder, capsys):
    """Whatever is missing or half-written in them: the same folder is used, and none of others."""
    name = f"00003-{auto().submit_config.run_desc}"
    run_dir = folder / "results" / name
    run_dir.mkdir(parents=True)
    begun = {
        **{".lock": "", "submit_config.txt": "{'a'", ".submit_config.pkl.12-ab.tmp": "\x80"},
        **{"submit_config.pkl": "", "log.txt": "dnn", "run.txt": "{", "training_options.json": '{"run_fu'},
    }
    for file, text in [("", None), *begun.items()]:
        if text is not None:
            (run_dir / file).write_text(text)
        for args in [], [f"--run-name={name}"]:
            run = auto(*args)
            assert (run.submit_config.run_name, run.run_dir) == (name, None), file
    assert auto("--gamma=5").submit_config.run_name == name  # nothing has been computed there
    assert auto("--config=config-e").submit_config.run_name is None
    with submit.keeping(str(run_dir)):  # by another process, which may have other options
        script = "import run_training, sys; print(run_training.parse(sys.argv[1:])[0].submit_config.run_name)"
        command = [sys.executable, "-c", script, *AUTO]
        assert subprocess.check_output(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True) == "None\n"
    (run_dir / "reals.png").write_bytes(b"")
    assert auto().submit_config.run_name is None
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"has these options; results/{name}/training_options.json: damaged" in told


def test_options_that_are_lost(folder, capsys):
    """Those of the command line are as good."""
    run_dir = named(folder, "mine")
    for lose in (lambda path: path.write_text("{"), os.unlink):
        lose(folder / run_dir / "training_options.json")
        run = auto("--run-name=mine")
        assert (run.run_dir, run.kwargs.resume_run_dir) == (run_dir, run_dir)
        assert "goes on with the options of the command line" in capsys.readouterr().err


def test_networks_to_start_from(folder, capsys):
    (folder / "net.pkl").write_bytes(b"\x80")
    started = auto("--run-name=mine", "--start-from=net.pkl", "--resume-partial")
    assert (started.kwargs.resume_pkl, started.kwargs.resume_partial) == ("net.pkl", True)
    assert problems(*AUTO, "--start-from=none.pkl") == [
        "--start-from=none.pkl: no such run folder or pickle (did you mean net.pkl?)"
    ]
    run_dir = named(folder, "mine", "--resume=net.pkl", "--resume-partial")
    run = auto("--run-name=mine", "--start-from=net.pkl", "--resume-partial")
    assert run.run_dir == run_dir and run.kwargs.resume_pkl == "net.pkl"
    found = problems(*AUTO, "--run-name=mine")
    assert any("--start-from: cannot change from net.pkl to None" in line for line in found)
    with pytest.raises(SystemExit):
        run_training.parse([*REQUIRED, "--start-from=net.pkl"])
    assert "--start-from is for --resume=auto; without that it is --resume=FILE" in capsys.readouterr().err


# ----------------------------------------------------------------------------
# What may change.


def test_what_may_change(folder, monkeypatch):
    named(folder, "mine", "--minibatch-gpu=32")
    may = ("--total-kimg=99", "--metrics=none", "--snap=1", "--image-snap=2", "--keep-snapshots=3", "--num-gpus=2")
    run = auto("--run-name=mine", *may, "--minibatch-gpu=16", "--matte=black", "--logical-cpus=2")
    assert (run.kwargs.total_kimg, run.kwargs.metric_arg_list, run.submit_config.num_gpus) == (99, [], 2)
    assert run.kwargs.sched_args.minibatch_gpu_base == 16
    assert auto("--run-name=mine", "--num-gpus=2").kwargs.sched_args.minibatch_gpu_base == 16  # made to fit
    assert "What works" in problems(*AUTO, "--run-name=new", "--num-gpus=5")[0]


@pytest.mark.parametrize(
    ("before", "after", "flags"),
    [
        (["--gamma=5"], [], ["--gamma"]),
        ([], ["--gamma=5", "--seed=3", "--mirror-augment"], ["--gamma", "--mirror-augment", "--seed"]),
        (["--fmap-base=8", "--cond"], ["--precision=bf16"], ["--cond", "--fmap-base", "--precision"]),
        (["--aug=ada", "--target=0.5"], [], ["--aug", "--augpipe", "--target"]),
        ([], ["--config=config-e"], ["--config"]),
        ([], ["--dataset=datasets/dogs"], ["--dataset"]),
        ([], ["--minibatch=8"], ["--minibatch"]),
    ],
)
def test_what_may_not_change(folder, before, after, flags):
    """Neither by a flag that is given nor by one that was given."""
    (folder / "datasets" / "dogs").mkdir()
    named(folder, "mine", *before)
    found = problems(*AUTO, "--run-name=mine", *after)
    assert {line.partition(":")[0] for line in found} >= set(flags)
    assert all("cannot change from" in line for line in found)


def test_arguments_of_files_may_not_change(folder):
    named(folder, "mine")
    options = write(folder, "G_reg_interval: 8\ngrid_args: {size: one}\nnetwork_snapshot_ticks: 2")
    found = problems(*AUTO, "--run-name=mine", options)
    assert sorted(line.partition(":")[0] for line in found) == ["G_reg_interval", "grid_args.size"]


def test_data_that_moved(folder):
    """Such as to the disk of the machine on which a job happens to run."""
    run_dir = begin(make_run(folder, 0))
    (folder / "job2").mkdir()
    (folder / "datasets").rename(folder / "job2" / "datasets")
    run = auto("--data-dir=job2/datasets")
    assert (run.run_dir, run.kwargs.data_dir) == (run_dir, "job2/datasets")


# ----------------------------------------------------------------------------
# Runs that have finished, runs in progress.


def test_finished_runs(folder, capsys):
    run_dir = named(folder, "mine", "--total-kimg=8")
    begin(folder / run_dir, 8000, done=True)
    args = ("--run-name=mine", "--total-kimg=8")
    assert auto(*args).finished_kimg is None  # killed before the file said so
    begin(folder / run_dir, 8000, done=True, finished=True)
    assert auto(*args).finished_kimg == 8
    assert auto("--run-name=mine", "--total-kimg=9").finished_kimg is None
    (folder / run_dir / "training-state.npz").unlink()
    assert auto(*args).finished_kimg is None
    (folder / run_dir / "network-final.pkl").write_bytes(b"")
    assert auto(*args).finished_kimg == 8
    capsys.readouterr()
    auto(*args).start()
    assert capsys.readouterr().out == "results/mine has finished, at kimg 8; a larger --total-kimg goes on\n"
    script = [sys.executable, str(ROOT / "run_training.py"), *AUTO, *args]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert (done.stderr, done.stdout) == (
        "--resume=auto: results/mine has finished\n",
        "results/mine has finished, at kimg 8; a larger --total-kimg goes on\n",
    )


def test_runs_in_progress_elsewhere(folder, monkeypatch, capsys):
    """They are waited for, but not for long; what they did meanwhile counts."""
    run = auto("--run-name=mine")
    held = "import sys; from dnnlib.submission import submit\nwith submit.keeping('results/mine'): print(); input()"
    command = [sys.executable, "-c", held]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        process.stdout.readline()
        monkeypatch.setattr(auto_run, "_PATIENCE_SECONDS", 0.1)
        with pytest.raises(UserError, match="^results/mine: a run is in progress in this folder$"):
            run.start()
        assert "waiting 0.1 seconds at most for its end..." in capsys.readouterr().err
        named(folder, "other", "--total-kimg=8")
        os.rename(folder / "results" / "mine" / ".lock", folder / "results" / "other" / ".lock")
        os.rmdir(folder / "results" / "mine")
        os.rename(folder / "results" / "other", folder / "results" / "mine")
        begin(folder / "results" / "mine", 25_000_000, done=True, finished=True)
        monkeypatch.setattr(auto_run, "_PATIENCE_SECONDS", 60)
        process.stdin.close()
    run.start()
    assert "results/mine has finished, at kimg 25000" in capsys.readouterr().out


def test_a_new_folder_shows_its_options(folder, monkeypatch, capsys):
    """So that another start of the same command, at the same time, does not make a second one."""
    of_others = []

    def start(*_):
        of_others.append(auto().run_dir or auto().submit_config.run_name)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_training.new_run.Run, "start", start)
    first, second = auto(), auto()
    name = f"00000-{first.submit_config.run_desc}"
    for run in first, second, auto():
        with pytest.raises(KeyboardInterrupt):
            run.start()
    assert of_others == 3 * [name] and os.listdir(folder / "results") == [name]
    assert os.listdir(folder / "results" / name) == ["training_options.json"]


# ----------------------------------------------------------------------------
# Kills; tests/run_folder/test_kills.py has those of real trainings.


def trained(func_name, **kwargs):
    """In place of a training."""
    folder = dnnlib.make_run_dir_path()
    if kwargs.get("resume_run_dir") is None:
        options_file.save_training_options(folder, 1, kwargs)
    meta = {"version": 2, "counters": {"cur_nimg": 25_000_000, "done": True}, "logs": {}}
    with atomic_write(os.path.join(folder, "training-state.npz")) as file:
        np.savez(file, meta=np.array(json.dumps(meta)))
    with atomic_write(os.path.join(folder, "network-final.pkl")) as file:
        file.write(b"networks")


def start_and_kill(call, *args):
    """The status of a start that ends, as by SIGKILL, before it changes the disk for the n-th time."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            calls = itertools.count()
            for module, name in ((os, "replace"), (os, "makedirs"), (os, "unlink"), (os, "fsync"), (os, "open")):
                original = getattr(module, name)

                def function(*args, original=original, **kwargs):
                    if next(calls) == call:
                        os._exit(9)
                    return original(*args, **kwargs)

                setattr(module, name, function)
            dnnlib.util.call_func_by_name = trained
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            auto(*args).start()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("args", [["--run-name=mine"], pytest.param([], marks=pytest.mark.slow)])
def test_whatever_write_is_killed_the_next_start_finishes(folder, args):
    name = "mine" if args else f"00000-{auto().submit_config.run_desc}"
    expected = {*("_finished.txt", "log.txt", "network-final.pkl", "run.txt", "submit_config.pkl", "submit_config.txt")}
    expected |= {"training-state.npz", "training_options.json"}
    killed = 0
    while (status := start_and_kill(killed, *args)) != 0:
        assert status == 9, f"before write {killed}"
        killed += 1
        if killed % 3:  # and starts that are killed again
            continue
        assert start_and_kill(None, *args) == 0, f"after write {killed}"
        assert {path.name for path in (folder / "results").iterdir() if path.is_dir()} == {name}
        there = {path.name for path in (folder / "results" / name).iterdir()}
        assert {file for file in there if not file.startswith(".")} == expected
        shutil.rmtree(folder / "results")
    assert killed > 12
