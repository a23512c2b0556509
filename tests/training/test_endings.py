"""How trainings end: signals, full disks, data that cannot be read, clocks; and that the state is saved before."""

import errno
import json
import os
import re
import shutil
import signal
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from small_trainings import options_file
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import dnnlib
import run_training
from dataset_tools.symbols import create_symbols
from dnnlib import files
from dnnlib.errors import UserError, exits_on_user_error
from dnnlib.progress import Progress
from dnnlib.submission.run_context import Stopped
from dnnlib.tflib import autosummary
from metrics.metric_base import DummyMetric
from training.loop import measuring, reals, run, signals
from training.loop.counters import Counters
from training.loop.reals import RealsReader
from training.run_folder import report, snapshots, state
from training.training_loop import _explained_memory

pytestmark = pytest.mark.one_stack


# ----------------------------------------------------------------------------
# Signals.


def send(name):
    os.kill(os.getpid(), getattr(signal, name))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_signals_that_stop(name):
    before = signal.getsignal(getattr(signal, name))
    with signals.noted() as received:
        send(name)
        send("SIGINT")  # of a supervisor that signals the process and its group
        send("SIGTERM")
        assert received == [getattr(signal, name)]
    assert signal.getsignal(getattr(signal, name)) == before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_signals_that_are_ignored_stay_ignored(handler):
    """As `nohup` does with SIGHUP."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        with signals.noted() as received:
            send("SIGHUP")
            assert not received
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_interrupt(monkeypatch):
    monkeypatch.setattr(signals, "_GRACE_SECONDS", 0.0)
    with pytest.raises(signals.StopAtOnce), signals.noted() as received:
        send("SIGTERM")
        send("SIGTERM")
        assert received == [signal.SIGTERM]
        send("SIGINT")


# ----------------------------------------------------------------------------
# Everything else that ends a training.


class Killed(BaseException):
    """As if the machine had gone down."""


def failing(patch, place, name, call, how):
    """Makes a function do something else first when it is called for the n-th time."""
    original, calls = getattr(place, name), []

    def function(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            how()
        return original(*args, **kwargs)

    patch.setattr(place, name, function)


def raising(error):
    def function(*_args, **_kwargs):
        raise error

    return function


def test_whatever_ends_a_training_it_goes_on_exactly(tmp_path, monkeypatch, capsys):
    """A run that ends in one way after the other is as one that nothing has ended. Its images have all that is rare."""
    create_symbols(str(tmp_path / "symbols"), resolution=(20, 12), num_images=64, transparent=True)
    metric = {"func_name": "metrics.metric_base.DummyMetric", "name": "dummy"}
    losses = {"G_loss_args": {"func_name": "training.loss.G_logistic_ns"}}
    losses["D_loss_args"] = {"func_name": "training.loss.D_logistic"}
    options = options_file(tmp_path, **losses, **{"total-kimg": 0.16, "metrics": None, "metric_arg_list": [metric]})

    def start(name, *args):
        run_training.parse([*args, f"--result-dir={tmp_path / name}"])[0].start()

    def counters():
        return state.load(str(run_dir)).counters

    args = [f"--options={options}", f"--dataset={tmp_path / 'symbols'}", "--config=config-f"]
    start("whole", *args)
    run_dir = tmp_path / "parts" / next((tmp_path / "whole").iterdir()).name
    capsys.readouterr()

    with monkeypatch.context() as patch, pytest.raises(UserError, match="img00000007"):
        failing(patch, RealsReader, "pieces", 3, raising(UserError("img00000007.png: cannot be read")))
        start("parts", *args)
    assert (counters()["cur_nimg"], counters()["repeat"]) == (16, 2)
    assert f"Ended at kimg 0.0. To continue: --resume={run_dir}" in capsys.readouterr().out

    with monkeypatch.context() as patch, pytest.raises(UserError, match="no room"):
        patch.setattr(snapshots, "check_room", raising(UserError("no room")))
        start("parts", "--resume=latest")
    assert counters()["cur_nimg"] == 32 and counters()["tick_is_open"]
    assert not list(run_dir.glob("network*.pkl"))

    with monkeypatch.context() as patch, pytest.raises(Killed):
        failing(patch, DummyMetric, "_evaluate", 1, raising(Killed()))
        patch.setattr(run.TrainingRun, "_save_last", lambda *_: None)
        start("parts", "--resume=latest")
    assert counters()["cur_nimg"] == 32
    assert json.loads((run_dir / "metrics-begun.json").read_text())["tries"] == 1

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        failing(patch, RealsReader, "pieces", 6, lambda: os.kill(os.getpid(), signal.SIGHUP))
        start("parts", "--resume=latest")
    assert end.value.code == 129 and counters()["cur_nimg"] == 32 + 48

    with monkeypatch.context() as patch, pytest.raises(KeyError):
        failing(patch, RealsReader, "pieces", 1, raising(KeyError("whatever")))
        patch.setattr(state, "save", raising(OSError(errno.ENOSPC, "No space left", str(run_dir / "state"))))
        start("parts", "--resume=latest")
    assert counters()["cur_nimg"] == 32 + 48
    assert f"goes on from kimg 0.1. ({run_dir / 'state'}: No space left)" in capsys.readouterr().out

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        failing(patch, run.TrainingRun, "_iteration", 1, raising(MemoryError()))
        start("parts", "--resume=latest")
    assert counters()["cur_nimg"] == 32 + 48
    assert f"Ended at kimg 0.1, within an iteration: --resume={run_dir} goes on" in capsys.readouterr().out

    start("parts", "--resume=latest")
    of = {name: next((tmp_path / name).iterdir()) for name in ("whole", "parts")}
    a, b = (dict(np.load(folder / "training-state.npz")) for folder in of.values())
    assert a.keys() == b.keys()
    assert not [key for key in a if "Timing" not in key and key != "meta" and not np.array_equal(a[key], b[key])]
    for name in ("stats.jsonl", "metric-dummy.txt", "metric-dummy.jsonl"):
        texts = [(folder / name).read_text().splitlines() for folder in of.values()]
        assert len(texts[0]) == len(texts[1])
    names = [sorted(path.name for path in folder.iterdir() if "events" not in path.name) for folder in of.values()]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith(".png"):
            assert (of["whole"] / name).read_bytes() == (of["parts"] / name).read_bytes(), name


def test_data_that_do_not_come_can_be_stopped(monkeypatch):
    """A network drive that hangs: the state can be saved nevertheless."""
    monkeypatch.setattr(reals, "_PATIENCE_SECONDS", 0.01)
    comes = threading.Event()
    images = np.zeros([2, 3, 4, 4], np.uint8), np.zeros([2, 0], np.float32)
    data = types.SimpleNamespace(order=lambda *_: np.arange(2), read=lambda *_: comes.wait(60) and images)
    reader = RealsReader(data, seed=1)
    assert reader.pieces(0, 2, 2, 0, lambda: True) is None
    comes.set()
    (piece,) = reader.pieces(0, 2, 2, 0, lambda: False)
    assert piece[0] == 0 and piece[1].shape == (2, 3, 4, 4)
    reader.close()


def measured(folder, how):
    """A run in which metrics are computed; `how` ends that."""
    kwargs = {"run_dir": str(folder), "metric_kwargs": {}, "devices": types.SimpleNamespace(is_only_worker=True)}
    return types.SimpleNamespace(metrics=types.SimpleNamespace(metrics=[DummyMetric("fid")], run=how), **kwargs)


def test_metrics_that_end_a_training_twice_are_left_out(tmp_path, capsys):
    """Otherwise it would end there whenever it goes on. Signals do not count, nor do those of another snapshot."""
    begun = tmp_path / "metrics-begun.json"
    for _ in range(2):
        assert measuring.measure(measured(tmp_path, raising(Stopped())), "network-snapshot-000001.pkl")
        assert not begun.exists()
    assert "Stopping before fid of network-snapshot-000001.pkl are computed; they are when" in capsys.readouterr().out
    for name in ("network-snapshot-000001.pkl", "network-snapshot-000002.pkl", "network-snapshot-000002.pkl"):
        with pytest.raises(Killed):
            measuring.measure(measured(tmp_path, raising(Killed())), name)
        assert begun.exists()
    assert not measuring.measure(measured(tmp_path, raising(Killed())), "network-snapshot-000002.pkl")
    assert not begun.exists()
    assert "fid of network-snapshot-000002.pkl ended the training 2 times: left out" in capsys.readouterr().out
    begun.write_text("{")
    assert not measuring.measure(measured(tmp_path, lambda *_, **__: None), "network-snapshot-000002.pkl")


# ----------------------------------------------------------------------------
# Disks and logs.


def test_a_disk_that_is_rather_full(tmp_path, monkeypatch):
    path = str(tmp_path / "network-snapshot-000001.pkl")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=52_000_000))
    with pytest.raises(UserError) as error:
        snapshots.check_room(path, 500_000)
    assert str(error.value).startswith(f"{path}: a snapshot needs 1 MB, the disk has 52 MB left, of which 64 MB are ")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=64_500_001))
    snapshots.check_room(path, 500_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(total=0, free=0))  # it does not know
    snapshots.check_room(path, 500_000)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (tf.errors.ResourceExhaustedError(None, None, "a/b; No space left on device"), "a/b; No space left on device"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), "out of memory; use a smaller --minibatch-gpu"),
        (MemoryError(), "out of memory; use a smaller --minibatch-gpu"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device"),
    ],
)
def test_full_disks_are_told_from_full_memory(capsys, error, message):
    with pytest.raises(SystemExit), exits_on_user_error("--minibatch-gpu"):
        raise error
    assert capsys.readouterr().err == f"Error: {message}\n"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        with pytest.raises(UserError) as shown, _explained_memory():
            raise error
        assert ("--minibatch-gpu" in str(shown.value)) == ("No space" not in message)


def new_report(folder, **values):
    counters = Counters(cur_nimg=40, **values)
    return report.TickReport(str(folder), 1000, counters), counters


def finish_tick(of_run):
    of_run.tick(40, types.SimpleNamespace(lod=0.0, minibatch_size=8, tick_kimg=0.04), 0.0)
    of_run.finish_tick()


def events(folder):
    loaded = EventFileLoader(str(next(folder.glob("events*")))).Load()
    return [value.tag for event in loaded for value in event.summary.value]


def test_logs_of_a_disk_that_is_full_for_a_moment(tmp_path, monkeypatch, capsys):
    autosummary.restore({})
    of_run, _ = new_report(tmp_path)
    finish_tick(of_run)
    with monkeypatch.context() as patch:
        patch.setattr(files, "append", raising(OSError(errno.ENOSPC, "No space left on device")))
        finish_tick(of_run)
        finish_tick(of_run)
    finish_tick(of_run)
    assert len((tmp_path / "stats.jsonl").read_text().splitlines()) == 2
    assert events(tmp_path).count("Progress/kimg") == 2
    text = capsys.readouterr().out
    for name in ("stats.jsonl", "events"):
        assert len(re.findall(rf"{name}\S*: No space left on device; nothing is added", text)) == 1
        assert len(re.findall(rf"{name}\S* can be written again; 2 pieces are missing", text)) == 1


def test_a_folder_whose_name_is_no_text(tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(folder)
    of_run, _ = new_report(os.fsdecode(folder))
    finish_tick(of_run)
    os.rename(folder, os.fsencode(tmp_path / "named"))
    assert "Progress/kimg" in events(tmp_path / "named")


def test_logs_shorter_than_the_state_says(tmp_path, capsys):
    """After a power cut: what was written last may be lost, in the middle of a line."""
    for name, content in {"log.txt": b"one\ntwo\nthr", "stats.jsonl": b"{}\n", "metric-a.txt": b"x"}.items():
        (tmp_path / name).write_bytes(content)
    state.SavedState("", {}, {"log.txt": 14, "stats.jsonl": 2}, {}, None).cut_logs(str(tmp_path))
    assert (tmp_path / "log.txt").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "stats.jsonl").read_bytes() == b"{}"
    assert not (tmp_path / "metric-a.txt").exists()
    assert capsys.readouterr().out.endswith("log.txt: 3 bytes are missing that it had when the state was saved.\n")


def test_logs_are_on_the_disk_before_the_state(tmp_path, monkeypatch):
    synced, sync = [], os.fsync
    (tmp_path / "log.txt").write_text("line")

    def fsync(number):
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{number}")).split(".npz")[0])
        sync(number)

    monkeypatch.setattr(os, "fsync", fsync)
    state.save(str(tmp_path), {}, {})
    assert synced == ["log.txt", ".training-state"]


# ----------------------------------------------------------------------------
# Clocks.


def test_durations_do_not_jump_with_the_clock(tmp_path, monkeypatch, capsys):
    real = time.time
    context = dnnlib.RunContext(types.SimpleNamespace(task_name="a", host_name="b", run_dir=str(tmp_path)))
    of_run, counters = new_report(tmp_path, total_sec=5.0, tick_sec=1.0)
    progress = Progress(100, "images", interval=0)
    progress.update(1)
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    finish_tick(of_run)
    progress.update(1)
    context.update()
    assert 5 <= counters.total_sec < 65 and 1 <= counters.tick_sec < 61 and 0 <= counters.maintenance_sec < 60
    assert 0 <= context.get_time_since_start() < 60 and 0 <= context.get_last_update_interval() < 60
    assert 0 < progress.format_dict["elapsed"] < 60
    context.close()
    assert "-" not in re.search(r"time .* eta", capsys.readouterr().out)[0]


def test_clocks_that_can_be_set_give_stamps_only():
    root = Path(run_training.__file__).parent
    uses = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in root.glob("*/**/*.py")
        if path.relative_to(root).parts[0] in ("dnnlib", "training", "metrics", "projection", "generation")
        for line in path.read_text().splitlines()
        if "time.time()" in line
    ]
    stamps = re.compile(r'"timestamp": time\.time\(\)|wall_time=time\.time\(\)|event_file\.py: +now = time\.time\(\)')
    assert not [use for use in uses if not stamps.search(use)]
