"""One unchanged command line, killed again and again: whatever is killed when, it goes on, and ends as if nothing was.

STYLEGAN2_TEST_KILLS=N kills N times (default: 12). Half of the starts are killed in their first second,
others while a file is being written, or at any moment.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from dataset_tools.symbols import create_symbols

pytestmark = [pytest.mark.one_stack, pytest.mark.slow]
ROOT = Path(__file__).resolve().parent.parent.parent
KILLS = int(os.environ.get("STYLEGAN2_TEST_KILLS", "12"))
SEED = int(os.environ.get("STYLEGAN2_TEST_KILLS_SEED", "1"))
TINY = {"fmap_base": 16, "fmap_max": 4}
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
COMMAND = ("--dataset=symbols", "--data-dir=.", "--config=config-f", "--options=options.yaml", "--resume=auto")


@pytest.fixture
def place(tmp_path):
    """A folder with a data set and an options file; trainings are of 8 ticks, 4 snapshots, and a metric."""
    create_symbols(str(tmp_path / "symbols"), resolution=8, num_images=64)
    options = {"total-kimg": 8, "minibatch": 64, "minibatch-gpu": 64, "snap": 2, "image-snap": 1}
    options["grid_args"] = {"size": "one", "layout": "random"}
    options["metric_arg_list"] = [{"func_name": "metrics.metric_base.DummyMetric", "name": "dummy"}]
    options["G_args"] = {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 1, **TINY}
    options["D_args"] = TINY
    options["G_loss_args"] = {"func_name": "training.loss.G_logistic_ns"}  # without regularization: fewer graphs
    options["D_loss_args"] = {"func_name": "training.loss.D_logistic"}
    options["sched_args"] = {"tick_kimg_base": 1, "tick_kimg_dict": {}}
    (tmp_path / "options.yaml").write_text(yaml.safe_dump(options))
    return tmp_path


class Server:
    """Starts trainings, see tests/helpers/fork_server.py."""

    def __init__(self, place):
        self.place = place
        self.env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests/helpers", "CUDA_VISIBLE_DEVICES": "-1"}
        command = [sys.executable, ROOT / "tests" / "helpers" / "fork_server.py"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=self.env, **pipes)
        assert self.process.stdout.readline() == "ready\n"

    def start(self, args, imports):
        """The process of a start. imports: whether it has to import everything, as outside of tests."""
        log = self.place / "output.txt"
        log.touch()  # a start may be killed before it opens it
        if imports:
            with open(log, "ab") as file:
                command = [sys.executable, ROOT / "run_training.py", *args]
                process = subprocess.Popen(command, cwd=self.place, env=self.env, stdout=file, stderr=file)
            return process.pid, process.wait
        self.process.stdin.write(f"{json.dumps([str(self.place), str(log), args])}\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        return pid, lambda: int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture
def server(place):
    server = Server(place)
    yield server
    server.close()


# ----------------------------------------------------------------------------
# What has to be equal.

OF_TIME = re.compile(r"Timing|Resources|timestamp|^time$|total_time|_sec$")


def records(path):
    """The numbers of a file of JSON lines, without durations."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if not OF_TIME.search(key)} for line in lines]


def ticks(path):
    """The columns of the log's tick lines, without durations."""
    lines = [line.split() for line in path.read_text().splitlines() if line.startswith("tick ")]
    return [line[:8] + line[-2:] for line in lines]


def events(run_dir):
    """Values by tag and step, of all TensorBoard files."""
    found = Counter()
    for path in run_dir.glob("events.out.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                number = 0.0 if OF_TIME.search(value.tag) else float(value.tensor.float_val[0])
                found[value.tag, event.step, number] += 1
    return found


def state(path):
    """Arrays and counters of a state, without durations."""
    arrays = dict(np.load(path))
    meta = json.loads(str(arrays.pop("meta")))
    counters = {key: value for key, value in meta["counters"].items() if not OF_TIME.search(key) and "sec" not in key}
    return counters, {key: value for key, value in arrays.items() if not OF_TIME.search(key)}


def card(path):
    lines = path.read_text().splitlines()
    return [line for line in lines if not line.startswith(("| time |", "| software |"))]


def compare(there, here):
    """Fails unless two run folders hold the same, but for durations and names of processes."""
    names = [{path.name for path in folder.iterdir() if "events" not in path.name} for folder in (there, here)]
    names[1] -= {".lock"}  # of a start that found the run finished, and was killed while it looked
    assert names[0] == names[1]
    for name in sorted(names[0] - {"log.txt", "run.txt", "heartbeat.json", "training-state.npz"}):
        a, b = there / name, here / name
        if name == "network-final.md":
            assert card(a) == card(b)
        elif name.endswith((".jsonl", "metric-dummy.txt")):
            assert (records(a) == records(b)) if name.endswith("l") else len(a.read_text()) == len(b.read_text()), name
        elif not name.startswith("submit_config"):
            assert a.read_bytes() == b.read_bytes(), name
    (counters, arrays), (counters_here, arrays_here) = (
        state(there / "training-state.npz"),
        state(here / "training-state.npz"),
    )
    assert counters == counters_here and arrays.keys() == arrays_here.keys()
    assert [key for key in arrays if not np.array_equal(arrays[key], arrays_here[key])] == []
    assert ticks(there / "log.txt") == ticks(here / "log.txt")
    assert events(there) == events(here)
    assert json.loads((here / "heartbeat.json").read_text())["doing"] == "finished"


# ----------------------------------------------------------------------------
# Kills.


def writes(run_dir):
    """The files that are being written in a folder."""
    with contextlib.suppress(OSError):
        return {name for name in os.listdir(run_dir) if name.endswith(".tmp") and "heartbeat" not in name}
    return set()


def wait_to_kill(pid, dice, run_dir, seconds):
    """Waits for the moment of a kill; says which kind it was. seconds: of the processor, for a start to its end."""
    kind = dice.choice(["first second"] * 4 + ["write"] * 3 + ["moment"])
    if kind == "write":
        count, seen = dice.choice([1, 2, 3, 4, 5, 6, 8, 10, 12, 16]), set()
        while cpu_seconds(pid) is not None:
            now = writes(run_dir) - seen
            seen |= now
            if len(seen) >= count:
                time.sleep(dice.choice([0, 0, 0.001, 0.01]))
                break
            time.sleep(0.0005)
        return kind
    until = dice.uniform(0, 1.1 * seconds if kind == "moment" else 1)
    while (now := cpu_seconds(pid)) is not None and now < until:
        time.sleep(0.005)
    return kind


def cpu_seconds(pid):
    """What a process has used so far, which goes by no clock if the machine has other work; None: it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
        return None if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


@pytest.mark.parametrize("name", [["--run-name=mine"], []], ids=["named", "numbered"])
def test_a_command_line_that_is_killed(place, server, name):
    dice = random.Random(SEED)
    args = [*COMMAND, *name]
    pid, wait = server.start(args, imports=False)
    seconds = 0
    while (now := cpu_seconds(pid)) is not None:
        seconds = now
        time.sleep(0.02)
    assert wait() == 0, (place / "output.txt").read_text()[-3000:]
    (place / "results").rename(place / "undisturbed")
    (undisturbed,) = [path for path in (place / "undisturbed").iterdir() if path.is_dir()]
    run_dir = place / "results" / undisturbed.name

    counts, kills, runs, signum = Counter(), 0, 0, 0
    while True:
        last = kills >= (KILLS + 1) // 2
        starts = [(server.start(args, imports=dice.random() < 0.25), "")]
        if dice.random() < 0.15 and not last:
            starts.append((server.start(args, imports=True), " beside another"))
        statuses = []
        for (pid, wait), beside in starts:
            if not last:
                kind = wait_to_kill(pid, dice, run_dir, seconds) + beside
                signum = dice.choice(SIGNALS)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
            statuses.append(status := wait())
            output = (place / "output.txt").read_text()
            if status not in (0, -signum, 128 + signum) or (status and last):
                assert beside and "a run is in progress in this folder" in output, f"{status} after {signum}\n{output}"
            if status and status != 1:
                kills += 1
                what = f"{kind} {signal.Signals(signum).name}{' noted' * (status > 0)}"
                counts[what] += 1
                print(time.strftime("%T"), kills, what, flush=True)
        (place / "output.txt").unlink()
        if 0 in statuses:
            runs += 1
            assert [path.name for path in (place / "results").iterdir() if path.is_dir()] == [run_dir.name]
            compare(undisturbed, run_dir)
            print(f"{runs} runs compared after {kills} kills: {sorted(counts.items())}", flush=True)
            if last:
                break
            shutil.rmtree(run_dir)
