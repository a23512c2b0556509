"""`run_training.py --resume`: which runs go on, and what may change on the way."""

import json
import os
from pathlib import Path

import pytest
from training_commands import REQUIRED, kwargs_of, make_run, problems, write

import run_training
from dnnlib import EasyDict
from dnnlib.errors import UserError
from training.data import find_dataset
from training.run_folder import options_file

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent.parent


# ----------------------------------------------------------------------------
# Runs that go on.


def test_going_on(folder):
    run_dir = make_run(folder, 3, "--config=config-a", "--gamma=5", "--seed=7", "--metrics=ls,pr50k3", "--cond")
    started = kwargs_of("--config=config-a", "--gamma=5", "--seed=7", "--metrics=ls,pr50k3", "--cond")
    for args in (f"--resume={run_dir}",), (f"--resume={folder / run_dir}/",), (f"--resume={Path(run_dir).name}",):
        run, _ = run_training.parse([*args])
        assert run.kwargs == {**started, "resume_run_dir": run.run_dir}
        assert os.path.samefile(run.run_dir, run_dir) and run.submit_config.num_gpus == 1
    assert isinstance(run.kwargs.sched_args, EasyDict)
    assert run.kwargs.sched_args.minibatch_gpu_dict == {8: 32, 16: 16, 32: 8, 64: 4}
    assert run.kwargs.metric_arg_list[0].attrib_indices == range(40)
    assert json.loads(run.to_json())["run_dir"] == run.run_dir


def test_what_may_change_on_the_way(folder):
    run_dir = make_run(folder, 0)
    may = ("--total-kimg=99", "--metrics=none", "--snap=1", "--image-snap=2", "--keep-snapshots=3", "--num-gpus=2")
    option = write(folder, "image_snapshot_ticks: 7\ngamma: 10")
    run, _ = run_training.parse([f"--resume={run_dir}", *may, "--logical-cpus=2", "--result-dir=other", option])
    new = {"total_kimg": 99, "metric_arg_list": [], "network_snapshot_ticks": 1, "image_snapshot_ticks": 2}
    new |= {"keep_snapshots": 3, "logical_cpus": 2, "resume_run_dir": run_dir}
    assert {key: value for key, value in run.kwargs.items() if kwargs_of().get(key) != value} == new
    assert run.submit_config.num_gpus == 2
    run, _ = run_training.parse([f"--resume={run_dir}", option])
    assert run.kwargs.image_snapshot_ticks == 7

    assert "--exif: cannot change from upright to ignore" in problems(f"--resume={run_dir}", "--exif=ignore")[0]
    same = (
        "--exif=upright",
        "--dataset=cats",
        "--config=config-f",
        "--gamma=10",
        "--mirror-augment=no",
        "--seed=1000",
        "--cond=no",
    )
    same += ("--data-dir=./datasets", "--dataset=datasets/cats", "--minibatch=32", "--minibatch-gpu=4")
    run_training.parse([f"--resume={run_dir}", *same])


def test_tensorfloat_32(folder):
    """As other options; of earlier runs it is not known."""
    run_dir = make_run(folder, 0, "--allow-tf32")
    assert json.loads((Path(run_dir) / "training_options.json").read_text())["allow_tf32"] is True
    for args in [], ["--allow-tf32"]:
        assert run_training.parse([f"--resume={run_dir}", *args])[0].kwargs.allow_tf32 is True
    (line,) = problems(f"--resume={run_dir}", "--allow-tf32=false")
    assert line.startswith("--allow-tf32: cannot change from True to False in a run that goes on")
    run_dir = make_run(folder, 1)  # written without it, as by earlier versions
    for args, expected in ([], False), (["--allow-tf32"], True), (["--allow-tf32=0"], False):
        kwargs = run_training.parse([f"--resume={run_dir}", *args])[0].kwargs
        assert kwargs.get("allow_tf32", False) is expected


def test_what_may_not_change(folder):
    (folder / "datasets" / "dogs").mkdir()
    run_dir = make_run(folder, 0)
    other = (
        "--gamma=5",
        "--mirror-augment",
        "--seed=1",
        "--cond",
        "--minibatch=8",
        "--fmap-max=9",
    )
    other += ("--fmap-base=7", "--resolution=64", "--dataset=dogs", "--config=config-e")
    other += (write(folder, "G_args: {mapping_layers: 2}\nG_reg_interval: 2"), "--metrics=foo")
    found = problems(f"--resume={run_dir}", *other)
    assert [line.partition(":")[0] for line in found] == [
        *("unknown metric 'foo'. There are", "--dataset", "--config", "--cond", "--fmap-base", "--fmap-max", "--gamma"),
        *("--minibatch", "--mirror-augment", "--resolution", "--seed"),
        *("G_args.mapping_layers", "G_reg_interval"),
    ]
    assert "--gamma: cannot change from 10 to 5 in a run that goes on" in found[6]
    assert "cannot change from config-f to config-e" in found[2]
    assert "from datasets/cats to datasets/dogs" in found[1]
    assert "--seed: cannot change from 1000 to 1 " in found[10]
    (line,) = problems(f"--resume={run_dir}", "--num-gpus=3")
    assert line.endswith("times --num-gpus=3. What works: --num-gpus=2, --num-gpus=4")
    (line,) = problems(f"--resume={run_dir}", "--num-gpus=2", "--minibatch-gpu=12")
    assert line.endswith("times --num-gpus=2. What works: --minibatch-gpu=8, --minibatch-gpu=16")


def pieces(*args):
    sched = run_training.parse([*args])[0].kwargs.sched_args
    return sched.minibatch_gpu_base, sched.get("minibatch_gpu_dict", {})


def test_another_minibatch_of_a_gpu(folder, capsys):
    """With fewer or more GPUs, or of another size; the minibatch stays."""
    run_dir = make_run(folder, 0, "--minibatch-gpu=32")  # as with `auto`, the whole one on one GPU
    assert pieces(f"--resume={run_dir}") == (32, {})
    assert capsys.readouterr().err == ""
    assert pieces(f"--resume={run_dir}", "--num-gpus=2") == (16, {})
    assert capsys.readouterr().err == "--minibatch-gpu=16, which was 32: so 2 devices share the minibatch of 32\n"
    assert pieces(f"--resume={run_dir}", "--num-gpus=16", write(folder, "minibatch-gpu: 32")) == (2, {})
    assert capsys.readouterr().err.endswith("; the discriminator compares images in groups of 2\n")
    assert pieces(f"--resume={run_dir}", "--minibatch-gpu=8") == (8, {})
    assert pieces(f"--resume={run_dir}", "--num-gpus=2", "--minibatch-gpu=8") == (8, {})
    assert pieces(f"--resume={run_dir}", write(folder, "sched_args: {minibatch_gpu_base: 4}")) == (4, {})
    assert capsys.readouterr().err == ""
    (line,) = problems(f"--resume={run_dir}", write(folder, "sched_args: {minibatch_gpu_base: 4, G_lrate_base: 1}"))
    assert line.startswith("sched_args.G_lrate_base: cannot change from 0.002 to 1")
    two = make_run(folder, 1, "--num-gpus=2", "--minibatch-gpu=16")
    assert pieces(f"--resume={two}", "--num-gpus=1") == (16, {})


def test_another_minibatch_of_a_gpu_at_each_resolution(folder, capsys):
    run_dir = make_run(folder, 0, "--config=config-a")
    assert pieces(f"--resume={run_dir}", "--num-gpus=16") == (2, {8: 16, 16: 8, 32: 4, 64: 2})
    assert capsys.readouterr().err.splitlines()[1] == (
        "--minibatch-gpu=16 at 8x8, which was 32: so 16 devices share the minibatch of 256"
    )
    assert pieces(f"--resume={run_dir}", "--num-gpus=8", "--minibatch-gpu=2") == (2, {})


def test_more_workers(folder, monkeypatch):
    run_dir = make_run(folder, 0, "--minibatch-gpu=32")
    cluster = {"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    assert pieces(f"--resume={run_dir}") == (16, {})
    assert pieces(f"--resume={run_dir}", "--num-gpus=2") == (8, {})


def test_a_data_set_that_moved(folder):
    run_dir = make_run(folder, 0)
    (folder / "new").mkdir()
    (folder / "datasets" / "cats").rename(folder / "new" / "cats")
    run, _ = run_training.parse([f"--resume={run_dir}", "--data-dir=new"])
    assert run.kwargs.data_dir == "new"
    find_dataset.check_dataset(run.kwargs.data_dir, run.kwargs.dataset_args.tfrecord_dir)
    run, _ = run_training.parse([f"--resume={run_dir}"])
    with pytest.raises(UserError, match="there is no datasets/cats"):
        find_dataset.check_dataset(run.kwargs.data_dir, run.kwargs.dataset_args.tfrecord_dir)


def test_the_latest_run(folder):
    assert "no training in results" in problems("--resume=latest")[0]
    assert (
        "no training with --dataset=cats with --config=config-f in results" in problems(*REQUIRED, "--resume=latest")[0]
    )
    first = make_run(folder, 2)
    second = make_run(folder, 10, "--config=config-e", "--num-gpus=2")
    (folder / "results" / "00011-generate-images").mkdir()
    assert run_training.parse(["--resume=latest"])[0].run_dir == second
    assert run_training.parse(["--resume=latest", *REQUIRED])[0].run_dir == first
    assert run_training.parse(["--resume=latest", "--dataset=cats"])[0].run_dir == second
    assert run_training.parse(["--resume=latest", "--config=config-e"])[0].run_dir == second
    (line,) = problems("--resume=latest", "--dataset=cats", "--config=config-a")
    assert line.endswith(f"there are: {Path(first).name}, {Path(second).name}")
    assert "in elsewhere" in problems("--resume=latest", "--result-dir=elsewhere")[0]


def test_the_latest_run_is_one_with_a_state(folder, capsys):
    runs = [make_run(folder, number) for number in range(4)]
    for run_dir in runs[:2]:
        (folder / run_dir / "training-state.npz").write_bytes(b"")
    (folder / runs[3] / "training_options.json").unlink()
    assert run_training.parse(["--resume=latest"])[0].run_dir == runs[1]
    names = [Path(run_dir).name for run_dir in runs]
    assert capsys.readouterr().err == (
        f"--resume=latest is {names[1]}; passed over: "
        f"{names[3]} (no training_options.json), {names[2]} (no training-state.npz)\n"
    )
    for run_dir in runs[:2]:
        (folder / run_dir / "training-state.npz").unlink()
    assert run_training.parse(["--resume=latest"])[0].run_dir == runs[2]
    assert capsys.readouterr().err == (
        f"--resume=latest is {names[2]}; passed over: {names[3]} (no training_options.json)\n"
    )


def rename(run_dir, name):
    os.rename(run_dir, os.path.join(os.path.dirname(run_dir), name))
    return f"results/{name}"


def forget_config(run_dir):
    """Makes the options those of the version before, which did not store the configuration."""
    path = Path(run_dir) / "training_options.json"
    options = json.loads(path.read_text())
    del options["config"]
    path.write_text(json.dumps(options))


def test_files_that_are_called_like_runs(folder, capsys):
    (folder / "results").mkdir()
    (folder / "results" / "00009-stylegan2-cats-1gpu-config-f.tar.gz").write_bytes(b"")
    assert problems("--resume=latest") == ["--resume=latest: no training in results"]
    run_dir = make_run(folder, 3)
    assert run_training.parse(["--resume=latest"])[0].run_dir == run_dir
    assert capsys.readouterr().err == ""


def test_wrong_options_of_a_run_that_goes_on(folder):
    run_dir = make_run(folder, 3)
    options = write(folder, "metric_arg_list: {a: 3}\nG_args: 4")
    found = problems(f"--resume={run_dir}", options, "--gamma=5")
    assert [line.partition(":")[0] for line in found] == ["metric_arg_list", "G_args", "--gamma"]


def test_renamed_folders(folder):
    first = rename(make_run(folder, 3, "--config=config-e"), "my best one")
    run, _ = run_training.parse([f"--resume={first}", "--config=config-e", "--dataset=cats"])
    assert run.run_dir == first and run.kwargs.config == "config-e"
    assert "--config: cannot change from config-e to config-a" in problems(f"--resume={first}", "--config=config-a")[0]
    assert run_training.parse(["--resume=latest"])[0].run_dir == first
    assert problems("--resume=results/my best") == [
        f"--resume=results/my best: no such run folder or pickle (did you mean {first}?)"
    ]
    second = make_run(folder, 2)  # of those with a number, the newest
    assert run_training.parse(["--resume=latest"])[0].run_dir == second
    assert run_training.parse(["--resume=latest", "--config=config-e", "--dataset=cats"])[0].run_dir == first
    (folder / second / "training_options.json").write_text("{")
    assert run_training.parse(["--resume=latest", "--config=config-e"])[0].run_dir == first


@pytest.mark.parametrize("config", ["config-e", "config-e-Gskip-Dresnet", "config-f"])
def test_folders_of_the_version_before(folder, config):
    (folder / "datasets" / "1gpu-cats").mkdir()
    run_dir = make_run(folder, 3, f"--config={config}", "--dataset=1gpu-cats", "--aug=fixed", "--p=0.3")
    forget_config(run_dir)
    for args in ([f"--resume={run_dir}"], ["--resume=latest", "--dataset=1gpu-cats"]):
        run, _ = run_training.parse([*args, f"--config={config}"])
        assert run.run_dir == run_dir and run.kwargs.config == config
    assert "--config: cannot change from config-e" in problems(f"--resume={run_dir}", "--config=config-a")[0] or (
        config == "config-f"
    )
    rename(run_dir, "cifar")  # which is a configuration, but not of this run
    assert run_training.parse(["--resume=results/cifar"])[0].kwargs.config is None
    renamed = rename("results/cifar", "mine")
    assert run_training.parse([f"--resume={renamed}"])[0].kwargs.config is None
    assert problems(f"--resume={renamed}", f"--config={config}") == [
        f"--config: cannot change from an unknown one (the folder was renamed) to {config} in a run that goes on; "
        "start a new one from its network pickle"
    ]


def test_neither_a_run_folder_nor_a_pickle(folder, capsys):
    run_dir = make_run(folder, 0)
    nothing = "no such run folder or pickle"
    go_on = f"; to go on with the run, name its folder: --resume={run_dir}"
    (folder / "README.md").write_text("# Cats")
    (folder / run_dir / "submit_config.pkl").write_bytes(b"\x80")
    messages = {
        "latset": f"{nothing} (did you mean latest?)",
        "results/nothing": nothing,
        f"{run_dir}x": f"{nothing} (did you mean {run_dir}?)",
        f"{Path(run_dir).name}x": f"{nothing} (did you mean {Path(run_dir).name}?)",
        f"{run_dir}/training-state.npz": nothing + go_on,
        f"{run_dir}/training_options.json": "is not a network pickle" + go_on,
        f"{run_dir}/submit_config.pkl": "is not a network pickle" + go_on,
        f"{run_dir}/network-snapshot-000012.pkl": nothing,
        "README.md": "is not a network pickle",
        "stylegan2-ffhq-config-f.pkl": f"{nothing} (did you mean gdrive:networks/stylegan2-ffhq-config-f.pkl?)",
    }
    for name, message in messages.items():
        for args in (), REQUIRED:
            assert problems(*args, f"--resume={name}") == [f"--resume={name}: {message}"]
    (folder / "net.pkl").write_bytes(b"")
    with pytest.raises(SystemExit):
        run_training.parse(["--resume=net.pkl", "--config=config-f"])
    assert capsys.readouterr().err.endswith(
        "required: --dataset (--resume=net.pkl is a network pickle, which starts a new run)\n"
    )


def test_folders_that_cannot_go_on(folder):
    run_dir = make_run(folder, 0)
    (folder / run_dir / "training_options.json").unlink()
    assert problems(f"--resume={run_dir}") == [f"{run_dir}: cannot go on, training_options.json is missing"]
    (folder / run_dir / "network-snapshot-000012.pkl").write_bytes(b"")
    advice = f"; --resume={run_dir}/network-snapshot-000012.pkl starts from its weights"
    assert problems(f"--resume={run_dir}")[0].endswith(advice)
    (message,) = problems("--resume=latest")
    assert message.startswith(
        f"--resume=latest: no training in results; {run_dir}: cannot go on, training_options.json"
    )
    assert message.endswith(advice)


def test_named_again(folder):
    run_dir = make_run(folder, 0)
    path = folder / run_dir / "training_options.json"
    options = json.loads(path.read_text())
    for change in (
        {"D_args": {"func_name": "mine.D"}},
        {"dataset_args": {"tfrecord_dir": "cats", "class_name": "mine.Pets"}},
        {"tf_config": {"env.OMP_NUM_THREADS": "1"}},
        {"metric_arg_list": [{"name": "mine", "func_name": "mine.Metric"}]},
    ):
        path.write_text(json.dumps({**options, **change}))
        assert "if you trust it, name it again" in problems(f"--resume={run_dir}")[0]
        ((name, args),) = change.items()
        again = (
            {key: value for key, value in args.items() if key != "tfrecord_dir"} if name != "metric_arg_list" else args
        )
        run_training.parse([f"--resume={run_dir}", write(folder, json.dumps({name: again}))])
    run_training.parse([f"--resume={run_dir}", "--metrics=none"])


def test_options_for_data(folder):
    """What metrics need is judged alone: foreign losses do not matter, classes of data sets do."""
    run_dir = make_run(folder, 0)
    path = folder / run_dir / "training_options.json"
    options = json.loads(path.read_text())
    path.write_text(json.dumps({**options, "G_loss_args": {"func_name": "mine.G_loss"}}))
    assert options_file.options_beside(f"{run_dir}/network-final.pkl").dataset_args == {"tfrecord_dir": "cats"}
    path.write_text(json.dumps({**options, "dataset_args": {"tfrecord_dir": "cats", "class_name": "os.system"}}))
    with pytest.raises(UserError, match=r"dataset_args.class_name is 'os.system', expected a function of training"):
        options_file.options_beside(f"{run_dir}/network-final.pkl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_func_name": "os.system"}, "not the options of a training"),
        ({"num_gpus": "2"}, "num_gpus is '2'"),
        ({"G_args": 3}, "G_args is 3, expected names and values"),
        ({"dataset_args": {}}, "tfrecord_dir is None, expected a folder"),
        ({"D_args": {"func_name": "os.system"}}, "D_args.func_name is 'os.system', expected a function of training"),
        ({"metric_arg_list": [{"func_name": "training.misc.os.system"}]}, "metric_arg_list.func_name is"),
        ({"metric_arg_list": [{"func_name": "training.misc.save_pkl"}]}, "metric_arg_list.func_name is"),
        ({"dataset_args": {"tfrecord_dir": "cats", "class_name": "os.system"}}, "dataset_args.class_name is 'os.sys"),
        ({"tf_config": {"env.PATH": "/tmp"}}, "tf_config.env.PATH is '/tmp'"),
        ({"sched_args": {"minibatch_gpu_dict": 3}}, "minibatch_gpu_dict is 3, expected a table"),
        ({"G_args": {"a": {"__range__": "x"}}}, "damaged"),
    ],
)
def test_options_of_others(folder, change, message):
    run_dir = make_run(folder, 0)
    path = folder / run_dir / "training_options.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    found = problems(f"--resume={run_dir}")
    assert len(found) == 1 and found[0].startswith(f"{run_dir}/training_options.json: ") and message in found[0]
    path.write_text("{")
    assert "damaged" in problems(f"--resume={run_dir}")[0]
