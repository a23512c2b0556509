"""Trainings from the command line, on 64 tiny symbols: every configuration, what is written, and what can go wrong."""

import inspect
import json
import re
import shutil
from pathlib import Path

import golden
import numpy as np
import PIL.Image
import pytest
from small_trainings import OPTIONS, differences, finish, free_ports, options_file, start, states_of
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import dnnlib
import run_training
from dataset_tools.symbols import create_symbols
from dnnlib.errors import UserError
from metrics.metric_defaults import metric_defaults
from training import misc
from training.loop import run
from training.run_folder import state
from training.training_loop import _saved_state, training_loop

GROWING = {"lod_initial_resolution": 4, "lod_training_kimg": 0.02, "lod_transition_kimg": 0.02}
TICK = re.compile(
    r"^tick \d+ +kimg [\d.]+ +lod [\d.]+ +minibatch \d+ +time (\d+\w )*\d+\w +sec/tick [\d.]+ +sec/kimg [\d.]+ +"
    r"maintenance [\d.]+ +gpumem [\d.]+ +eta \S.*$"
)


@pytest.fixture(scope="session")
def symbols(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "symbols"
    create_symbols(str(folder), resolution=16, num_images=64)
    return folder


def train(folder, *args, **changes):
    """Runs a training in this process; its run folder."""
    path = options_file(folder, **changes)
    run, _ = run_training.parse([f"--options={path}", f"--result-dir={folder / 'results'}", *args])
    run.start()
    return sorted((folder / "results").iterdir())[-1]


def events(run_dir):
    """Steps by tag, of all TensorBoard files."""
    result = {}
    for path in sorted(run_dir.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                result.setdefault(value.tag, []).append(event.step)
    return result


SLOW = pytest.mark.slow  # what the others have: lazy or not, growing or not, path lengths or not


@pytest.mark.parametrize(
    "config",
    [
        pytest.param("config-a", marks=SLOW),
        pytest.param("config-b", marks=SLOW),
        pytest.param("config-c", marks=SLOW),
        pytest.param("config-d", marks=SLOW),
        pytest.param("config-e", marks=SLOW),
        "config-f",
    ],
)
def test_every_configuration(tmp_path, symbols, config):
    growing = config in ("config-a", "config-b", "config-c", "config-d")
    changes = {}
    if growing:
        tables = ("minibatch_size_dict", "minibatch_gpu_dict", "G_lrate_dict", "D_lrate_dict")
        changes["sched_args"] = {**OPTIONS["sched_args"], **GROWING, **{table: {} for table in tables}}
    run_dir = train(tmp_path, f"--dataset={symbols}", f"--config={config}", **changes)

    names = {path.name for path in run_dir.iterdir()}
    recorded = golden.index("loop", "config-d.json" if growing else "config-f.json")
    expected = {name for name in recorded["files"] if not re.match("events|fakes0|network-snap|metric", name)}
    assert expected <= names
    assert {"fakes000000.png", "network-snapshot-000000.pkl", "stats.jsonl", "training_options.json"} <= names
    for name in ("reals.png", "fakes_init.png", "fakes000000.png", "network-final.png"):
        assert PIL.Image.open(run_dir / name).size == (16, 16)

    lines = (run_dir / "log.txt").read_text().splitlines()
    ticks = [line for line in lines if line.startswith("tick ")]
    assert all(TICK.match(line) for line in ticks), ticks
    assert len(ticks) == 3
    lods = [float(line.split()[5]) for line in ticks]
    assert (max(lods) > 1 and min(lods) == 0) if growing else set(lods) == {0}

    tags = events(run_dir)
    official = set(recorded["summary_tags"]) - {"Metrics/dummy"}
    if config in ("config-a", "config-b"):  # regularization is not lazy, path lengths are not regularized
        official = {tag for tag in official if not tag.startswith(("Reg", "Loss/pl_"))}
    elif config == "config-c":
        official = {tag for tag in official if not tag.startswith(("RegG", "Loss/pl_"))}
    assert set(tags) == official
    steps = tags["Progress/kimg"]
    stats = [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]
    assert [record["cur_nimg"] for record in stats] == steps
    assert official <= set().union(*stats)
    assert np.isfinite(stats[-1]["Loss/scores/fake"])

    card = (run_dir / "network-final.md").read_text()
    assert f"| configuration | `{config}` |" in card and "| content | 64 images, 10 classes: 0, 1, 2" in card
    assert str(tmp_path) not in card
    G, D, Gs = misc.load_pkl(str(run_dir / "network-final.pkl"))
    assert (G.name, D.name, Gs.name) == ("G", "D", "Gs")
    images = Gs.run(np.random.randn(2, 8), None)
    assert images.shape == (2, 3, 16, 16)
    assert np.isfinite(images).all()
    for name in ("G", "D", "Gs"):
        for key, var in locals()[name].vars.items():
            assert np.isfinite(var.numpy()).all(), key
    assert not np.array_equal(G.get_var("dlatent_avg"), np.zeros(8))


@pytest.mark.parametrize("config", [pytest.param("d", marks=pytest.mark.slow), "f"])
def test_official_run(tmp_path, config):
    """The run that goldens/loop recorded: files, picture sizes, lines of the log, tags and steps."""
    recorded = golden.index("loop", f"config-{config}.json")
    kwargs = recorded["kwargs"]
    for name, table in kwargs["sched_args"].items():
        if name.endswith("_dict"):
            kwargs["sched_args"][name] = {int(key): value for key, value in table.items()}
    kwargs["data_dir"] = str(golden.GOLDENS / "dataset")
    submit_config = dnnlib.SubmitConfig()
    submit_config.run_dir_root, submit_config.run_desc = str(tmp_path), Path(recorded["run_dir"]).name[6:]
    dnnlib.submit_run(submit_config, **kwargs)
    run_dir = tmp_path / Path(recorded["run_dir"]).name

    for name, facts in recorded["files"].items():
        if "events" not in name:
            assert (run_dir / name).exists(), name
        if "png_size" in facts:
            picture = PIL.Image.open(run_dir / name)
            assert (list(picture.size), picture.mode) == (facts["png_size"], facts["mode"])
    assert events(run_dir) == recorded["summary_tags"]
    log = (run_dir / "log.txt").read_text()
    for line in recorded["log_txt"].splitlines():
        if line.startswith(("tick", "network-snapshot")):
            # Times differ, and the ETA is ours.
            line = re.sub(r"(?<=time )[\dhms ]+?(?= )|(?<=sec/tick )[\d.]+|(?<=sec/kimg )[\d.]+", "@", line)
            line = re.sub(r"(?<=maintenance )[\d.]+|(?<=gpumem )[\d.]+", "@", line)
            pattern = re.sub(r" +", " +", re.escape(re.sub(" +", " ", line)).replace("\\ ", " "))
            assert re.search(pattern.replace("@", r"[\d.hms ]+?"), log), line
        elif not line.startswith("dnnlib: Finished"):
            assert line in log.splitlines()


@pytest.mark.one_stack
def test_labels_and_metrics(tmp_path, symbols, capsys):
    metric = {"func_name": "metrics.metric_base.DummyMetric", "name": "dummy"}
    path = options_file(tmp_path, **{"metrics": None, "metric_arg_list": [metric], "total-kimg": 0.03})
    args = [f"--options={path}", f"--result-dir={tmp_path}", f"--dataset={symbols}", "--config=config-f"]
    run_training.parse([*args, "--cond"])[0].start()
    run_dir = sorted(tmp_path.glob("0*"))[-1]
    _, D, Gs = misc.load_pkl(str(run_dir / "network-final.pkl"))
    assert Gs.input_shapes[1] == [None, 10]
    assert D.input_shapes[1] == [None, 10]
    assert "Label size    = 10" in (run_dir / "log.txt").read_text()
    line = (run_dir / "metric-dummy.txt").read_text().splitlines()[0]
    assert re.fullmatch(r"network-snapshot-000000 +time \d+s +dummy 0\.0000 *", line)
    assert "Metrics/dummy" in events(run_dir)
    card = (run_dir / "network-final.md").read_text()
    assert "| dummy | 0 | `network-snapshot-000000.pkl` |" in card and " --class-idx=0 " in card
    capsys.readouterr()
    run_training.parse(args)[0].start()
    assert "labels of size 10; training without them (--cond uses them)" in capsys.readouterr().out


@pytest.mark.one_stack
def test_metrics_at_snapshots(tmp_path, symbols, metric_networks, monkeypatch):
    monkeypatch.setenv("STYLEGAN2_OFFLINE", "1")
    monkeypatch.setenv("STYLEGAN2_CACHE_DIR", str(tmp_path / "cache"))
    metrics = [
        {**metric_defaults["fid50k"], "name": "fid16", "num_images": 16},
        {**metric_defaults["pr50k3"], "name": "pr16", "num_images": 16},  # there is no vgg16.pkl
    ]
    changes = {"metrics": None, "metric_arg_list": metrics, "total-kimg": 0.05}
    args = [f"--dataset={symbols}", "--config=config-f", "--snap=2", f"--metric-networks={metric_networks}"]
    run_dir = train(tmp_path, *args, **changes)
    log = (run_dir / "log.txt").read_text()
    lines = (run_dir / "metric-fid16.txt").read_text().splitlines()
    values = [float(line.split("fid16 ")[1]) for line in lines]
    assert len(set(values)) == len(values) >= 2 and all(line in log for line in lines)
    assert log.count("metric pr16 failed: vgg16.pkl is not in the cache") == len(values)
    assert log.count("of 16 real images") == 1
    records = [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]
    assert [round(record["Metrics/fid16"], 4) for record in records][-1] == values[-1]
    assert all("Metrics/fid16" in record for record in records) and "Metrics/fid16" in events(run_dir)
    ticks = [line for line in log.splitlines() if line.startswith("tick ")]
    assert ticks[-1].endswith(f" fid16 {values[-2]:.4f}") and "fid16" not in ticks[0]
    assert [json.loads(line)["results"]["fid16"] for line in (run_dir / "metric-fid16.jsonl").read_text().splitlines()]
    kept = [path.name.split("-")[1] for path in (tmp_path / "cache" / "metrics").iterdir()]
    assert kept == ["inception_v3_features"]  # of the real images


@pytest.mark.one_stack
def test_arguments_of_the_loop():
    with pytest.raises(
        UserError, match=r"training_loop: no argument 'G_arg' \(did you mean G_args\?\)\ntraining_loop: no"
    ):
        training_loop(G_arg={}, total_kimgs=3)
    assert list(inspect.signature(training_loop).parameters)[:2] == ["G_args", "D_args"]


@pytest.mark.one_stack
def test_starting_from_a_pickle(tmp_path, symbols):
    first = train(tmp_path, f"--dataset={symbols}", "--config=config-f", **{"total-kimg": 0.03})
    pkl = str(first / "network-final.pkl")
    with pytest.raises(UserError) as error:
        train(tmp_path, f"--dataset={symbols}", "--config=config-f", "--fmap-max=4", f"--resume={pkl}")
    assert "G: G_synthesis/4x4/Conv/weight: [3, 3, 4, 4] here, [3, 3, 8, 8] in the file" in str(error.value)
    assert "--fmap-base" in str(error.value)
    run_dir = train(tmp_path, f"--dataset={symbols}", "--config=config-f", f"--resume={pkl}", **{"total-kimg": 0.008})
    assert run_dir != first
    before, after = (misc.load_pkl(str(folder / "network-final.pkl"))[2] for folder in (first, run_dir))
    w = [net.get_var("G_synthesis/4x4/Conv/weight") for net in (before, after)]
    assert np.abs(w[0] - w[1]).max() < 0.02


def test_gradients_that_are_not_finite(tmp_path, symbols):
    changes = {"D_loss_args": {"gamma": 1e38}, "total-kimg": 3, "D_reg_interval": 1}
    with pytest.raises(UserError, match=r"20 updates in a row .* RegD are not finite; the last good snapshot is the"):
        train(tmp_path, f"--dataset={symbols}", "--config=config-f", **changes)


@pytest.mark.one_stack
@pytest.mark.parametrize("name", [pytest.param("D_wgan_gp", marks=SLOW), "D_logistic_r2"])
def test_other_losses(tmp_path, symbols, name):
    changes = {"G_loss_args": {"func_name": "training.loss.G_wgan"}, "total-kimg": 0.03, "minibatch-gpu": 4}
    changes["D_loss_args"] = {"func_name": f"training.loss.{name}"}
    run_dir = train(tmp_path, f"--dataset={symbols}", "--config=config-f", **changes)
    tags = events(run_dir)
    assert ("Loss/mixed_norms" in tags) == (name == "D_wgan_gp")
    assert "Loss/gradient_penalty" in tags
    assert "RegG/learning_rate" not in tags
    changes["G_loss_args"]["pl_weight"] = 3
    with pytest.raises(UserError, match="G_loss_args: training.loss.G_wgan has no pl_weight"):
        train(tmp_path, f"--dataset={symbols}", "--config=config-f", **changes)


@pytest.mark.one_stack
def test_disk_without_room(tmp_path, symbols, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"a snapshot needs \d+ MB, the disk has 0 MB left"):
        train(tmp_path, f"--dataset={symbols}", "--config=config-f")


@pytest.mark.one_stack
def test_damaged_state(tmp_path, symbols, capsys):
    run_dir = train(tmp_path, f"--dataset={symbols}", "--config=config-f", **{"total-kimg": 0.008})
    path = run_dir / "training-state.npz"
    data = path.read_bytes()
    for damaged in (b"", data[:1000], data[: len(data) // 2], data[:5000] + b"x" * 100 + data[5100:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            state.load(str(run_dir)).restore({})
    with pytest.raises(UserError, match="Start a new run from its networks: --resume=.*network-final.pkl"):
        _saved_state(str(run_dir))
    for network in run_dir.glob("network*.pkl"):
        network.unlink()
    assert _saved_state(str(run_dir)) is None  # nothing is lost but the time from the start to the first snapshot
    assert "stopped before its first snapshot" in capsys.readouterr().out
    assert not list(run_dir.glob("events*")) and (run_dir / "log.txt").exists()


@pytest.mark.slow
def test_not_square_with_transparency_goes_on_exactly(tmp_path, monkeypatch):
    """Growing from a base that is asked for, augmented; the run that is ended between two ticks is as the whole one."""
    data = tmp_path / "symbols"
    create_symbols(str(data), resolution=(40, 24), num_images=64, transparent=True)
    tables = ("minibatch_size_dict", "minibatch_gpu_dict", "G_lrate_dict", "D_lrate_dict")
    growing = {**OPTIONS["sched_args"], **GROWING, **{table: {} for table in tables}}
    options = options_file(tmp_path, **{"total-kimg": 0.08, "sched_args": growing, "base": [10, 6]})
    args = [f"--options={options}", f"--dataset={data}", "--config=config-d", "--aug=fixed", "--p=0.5"]

    def start(name, *args):
        run_training.parse([*args, f"--result-dir={tmp_path / name}"])[0].start()

    start("whole", *args)
    pieces, calls = run.RealsReader.pieces, []

    def ending(*given):
        calls.append(given)
        if len(calls) == 6:
            raise UserError("ended")
        return pieces(*given)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="ended"):
        patch.setattr(run.RealsReader, "pieces", ending)
        start("parts", *args)
    start("parts", "--resume=latest")
    a, b = states_of(tmp_path / "whole", tmp_path / "parts")
    assert a.keys() == b.keys()
    assert not [key for key in a if key != "meta" and "Timing" not in key and not np.array_equal(a[key], b[key])]

    run_dir = next((tmp_path / "parts").iterdir())
    lods = [float(line.split()[5]) for line in (run_dir / "log.txt").read_text().splitlines() if line[:5] == "tick "]
    assert max(lods) == 2 and min(lods) < 1  # from 10x6 to 40x24
    for name in ("reals.png", "fakes000000.png"):
        picture = PIL.Image.open(run_dir / name)
        assert (picture.mode, picture.size) == ("RGB", (24, 40))
    G, D, Gs = misc.load_pkl(str(run_dir / "network-final.pkl"))
    assert Gs.output_shape == [None, 4, 40, 24] and Gs.static_kwargs.base == D.static_kwargs.base == [10, 6]


# ----------------------------------------------------------------------------
# Trainings in processes of their own.


def wait_for(process, folder, pattern, lines=1):
    """Reads the output until a line matches so many times."""
    for line in process.stdout:
        lines -= bool(re.match(pattern, line))
        if not lines:
            return
    raise AssertionError("the training ended early")


@pytest.mark.parametrize("signal", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_continuing_is_exact(tmp_path, symbols, signal):
    import signal as signals

    metric = {"func_name": "metrics.metric_base.DummyMetric", "name": "dummy"}
    changes = {"total-kimg": 0.6, "minibatch-gpu": 4, "metrics": None, "metric_arg_list": [metric]}
    options = options_file(tmp_path, **changes)
    args = [f"--options={options}", f"--dataset={symbols}", "--config=config-f"]
    whole = start(tmp_path, *args, "--result-dir=whole")
    parts = start(tmp_path, *args, "--result-dir=parts")
    wait_for(parts, tmp_path, "tick", lines=3)
    parts.send_signal(getattr(signals, signal))
    output = parts.communicate()[0]
    assert parts.returncode == {"SIGKILL": -9, "SIGTERM": 143}[signal], output
    assert signal == "SIGKILL" or "To continue: --resume=" in output
    finish(start(tmp_path, "--resume=latest", "--result-dir=parts"))
    finish(whole)

    a, b = states_of(tmp_path / "whole", tmp_path / "parts")
    assert len([key for key in a if key.startswith("variables/G_opt/m/")]) > 20
    assert a.keys() == b.keys()
    exact = [key for key in a if key != "meta" and "Timing" not in key]
    assert not [key for key in exact if not np.array_equal(a[key], b[key])]
    run_dirs = [next((tmp_path / name).iterdir()) for name in ("whole", "parts")]
    nets = [misc.load_pkl(str(run_dir / "network-final.pkl")) for run_dir in run_dirs]
    for net_a, net_b in zip(*nets, strict=True):
        for key in net_a.vars:
            assert np.array_equal(net_a.get_var(key), net_b.get_var(key)), key
    stats = [[json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()] for run_dir in run_dirs]
    untimed = [[{k: v for k, v in r.items() if "Timing" not in k and k != "timestamp"} for r in run] for run in stats]
    assert untimed[0] == untimed[1]
    ticks = [re.findall(r"^tick \d+ +kimg \S+", (run_dir / "log.txt").read_text(), re.M) for run_dir in run_dirs]
    assert ticks[0] == ticks[1]
    assert events(run_dirs[0]) == events(run_dirs[1])
    pictures = [sorted(path.name for path in run_dir.glob("*.png")) for run_dir in run_dirs]
    assert pictures[0] == pictures[1]
    for name in pictures[0]:
        assert (run_dirs[0] / name).read_bytes() == (run_dirs[1] / name).read_bytes(), name


def test_replicas_and_workers_train_alike(tmp_path, symbols):
    options = options_file(tmp_path, **{"total-kimg": 0.032, "minibatch-gpu": 4})
    args = [f"--options={options}", f"--dataset={symbols}", "--config=config-f"]
    finish(start(tmp_path, *args, "--result-dir=one"))
    finish(start(tmp_path, *args, "--result-dir=two", "--num-gpus=2", "--logical-cpus=2"))
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    workers = [
        start(
            tmp_path,
            *args,
            "--result-dir=workers",
            env={"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})},
        )
        for index in (0, 1)
    ]
    for worker in workers:
        finish(worker)
    one, two, workers = states_of(*(tmp_path / name for name in ("one", "two", "workers")))
    # Updates of Adam without momentum are as large as the learning rate, so this is float noise.
    assert max(differences(one, two).values()) < 2e-4
    assert max(differences(one, workers).values()) < 2e-4
    for name in ("two", "workers"):  # one line for all replicas
        (run_dir,) = (tmp_path / name).iterdir()
        log = (run_dir / "log.txt").read_text()
        assert [len(re.findall(rf"^Traced {phase} in ", log, re.M)) for phase in ("TrainG", "RegG", "RegD")] == [1] * 3


@pytest.mark.one_stack
def test_two_devices_are_refused_on_one(tmp_path, symbols):
    output = finish(start(tmp_path, f"--dataset={symbols}", "--config=config-f", "--num-gpus=2"), expected=1)
    assert "--logical-cpus=2" in output
    assert "Traceback" not in output
