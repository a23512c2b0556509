"""`heartbeat.json`: what a run does right now."""

import json
import threading
import time
import types

import pytest

from dnnlib import files
from dnnlib.errors import UserError
from training.run_folder import heartbeat
from training.run_folder.heartbeat import Heartbeat

pytestmark = pytest.mark.one_stack


def wait_for(folder, **expected):
    for _ in range(500):
        path = folder / "heartbeat.json"
        facts = json.loads(path.read_text()) if path.exists() else {}
        if expected.items() <= facts.items():
            return facts
        time.sleep(0.01)
    raise AssertionError(facts)


def test_what_it_says(tmp_path, monkeypatch):
    with Heartbeat(str(tmp_path), 100) as beat:
        assert set(wait_for(tmp_path, doing="starting", total_kimg=100, version=1)) == {
            *("version", "timestamp", "host", "pid", "doing", "total_kimg", "unchanged_sec")
        }
        beat.counters = types.SimpleNamespace(cur_nimg=1500, cur_tick=3, sec_per_kimg=2.5)
        beat.doing("training")
        facts = wait_for(tmp_path, doing="training", kimg=1.5, tick=3, sec_per_kimg=2.5)
        assert abs(facts["timestamp"] - time.time()) < 60
        assert heartbeat.told(str(tmp_path)).startswith(
            f"process {facts['pid']} on {facts['host']}, training at kimg 1.5"
        )
    assert wait_for(tmp_path)["doing"] == "finished"
    assert [path.name for path in tmp_path.iterdir()] == ["heartbeat.json"]


@pytest.mark.parametrize(
    ("error", "word"), [(KeyboardInterrupt(), "stopped"), (SystemExit(143), "stopped"), (OSError(), "failed")]
)
def test_how_it_ends(tmp_path, error, word):
    with pytest.raises(type(error)), Heartbeat(str(tmp_path), 1):
        raise error
    assert wait_for(tmp_path)["doing"] == word


def test_it_goes_on_beating(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "_SECONDS", 0.01)
    with Heartbeat(str(tmp_path), 1):
        first = wait_for(tmp_path, doing="starting")
        time.sleep(0.2)
        last = wait_for(tmp_path, doing="starting")
        assert last["timestamp"] > first["timestamp"] and last["unchanged_sec"] > first["unchanged_sec"]


def test_disks_and_workers_without(tmp_path, monkeypatch):
    with Heartbeat(None, 1) as beat:
        beat.doing("training")
        assert "heartbeat" not in [thread.name for thread in threading.enumerate()]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with Heartbeat(str(tmp_path), 1):
        pass
    assert not list(tmp_path.iterdir())


def test_runs_on_other_machines(tmp_path, monkeypatch, capsys):
    """Locks of some network drives are of one machine alone."""

    def beat(timestamp, doing="training", host="other"):
        facts = {"timestamp": timestamp, "pid": 12, "host": host, "doing": doing}
        (tmp_path / "heartbeat.json").write_text(json.dumps(facts))

    def check(while_waiting):
        monkeypatch.setattr(heartbeat.time, "sleep", while_waiting)
        heartbeat.check_not_elsewhere(str(tmp_path))

    monkeypatch.setattr(heartbeat, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat.socket, "gethostname", lambda: "mine")
    check(None)
    for last in ((1, "finished"), (1, "stopped"), (1, "failed"), (1, "training", "mine")):
        beat(*last)
        check(None)
    assert capsys.readouterr().out == ""
    beat(1)
    check(lambda _: None)  # as after a kill
    assert "waiting 0.01 seconds to see if it still is in use (process 12 on other, training" in capsys.readouterr().out
    check(lambda _: beat(2, "stopped"))
    beat(1)
    with pytest.raises(UserError, match="a run is in progress in this folder .process 12 on other, training, seen at"):
        check(lambda _: beat(2))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"timestamp": 1e999, "pid": 1}', '{"timestamp": "a"}'])
def test_other_files(tmp_path, text):
    (tmp_path / "heartbeat.json").write_text(text)
    assert heartbeat.told(str(tmp_path)) == ""
