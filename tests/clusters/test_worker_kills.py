"""One of two workers is killed, again and again, under one command line: the other ends, and the training goes on.

STYLEGAN2_WORKER_KILLS=N kills N times. What it prints at the end (pytest -s) are the counts.
"""

import collections
import json
import os
import random
import re
import signal
import subprocess
import time

import pytest
from small_trainings import OPTIONS, differences, free_ports, options_file, start, states_of

from dataset_tools.symbols import create_symbols

KILLS = int(os.environ.get("STYLEGAN2_WORKER_KILLS", "4"))
SECONDS = 60.0  # in which the other ends
TICKS = {"snap": 1, "sched_args": {**OPTIONS["sched_args"], "tick_kimg_base": 0.03}}


class Workers:
    """Two workers with the same command line whenever they start."""

    def __init__(self, folder, *args):
        self._folder, self._args = folder, args
        self._cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}

    def start(self):
        def of(index):
            config = {"cluster": self._cluster, "task": {"type": "worker", "index": index}}
            env = {"TF_CONFIG": json.dumps(config), "STYLEGAN2_WAIT_MINUTES": "0.5"}
            return start(self._folder, "--resume=auto", *self._args, env=env)

        return [of(0), of(1)]


def ends_within(process, seconds):
    """Its output, and after how long it ended."""
    begin = time.monotonic()
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"did not end in {seconds} seconds:\n{process.communicate()[0]}") from None
    return output, time.monotonic() - begin


def finished_state(workers, folder):
    """The state of a training that nobody disturbs from here on."""
    for process in workers.start():
        output, _ = ends_within(process, 600)
        assert process.returncode == 0, output
    return states_of(folder)[0]


def error_lines(output):
    return [line for line in output.splitlines() if re.match("Error|Traceback|.*Error:", line)]


@pytest.mark.slow
def test_kills_of_one_of_two_workers(tmp_path):
    symbols = tmp_path / "symbols"
    create_symbols(str(symbols), resolution=16, num_images=64)
    options = options_file(tmp_path, **{"total-kimg": 0.64, "minibatch-gpu": 4, "image-snap": 1000, **TICKS})
    args = [f"--options={options}", f"--dataset={symbols}", "--config=config-f"]
    whole = finished_state(Workers(tmp_path, *args, "--result-dir=whole"), tmp_path / "whole")
    choose, counts, longest, largest, runs = random.Random(1), collections.Counter(), 0.0, 0.0, 0
    while counts.total() < KILLS:
        runs += 1
        workers = Workers(tmp_path, *args, f"--result-dir=parts-{runs}")
        while counts.total() < KILLS:
            processes = workers.start()
            sent = choose.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
            victim = choose.randrange(2)
            time.sleep(choose.choice([choose.uniform(0, 8), choose.uniform(0, 30)]))
            processes[victim].send_signal(sent)
            output, seconds = ends_within(processes[1 - victim], 300)
            if sent == signal.SIGSTOP:
                processes[victim].kill()
            ends_within(processes[victim], 300)
            status = processes[1 - victim].returncode
            if status == 0:  # they had finished
                break
            if status in (75, -signal.SIGKILL):  # of the watch, and of the process in its place
                assert len(error_lines(output)) == 1, output
            else:
                assert (sent, status) == (signal.SIGTERM, 128 + signal.SIGTERM), output
            if "did not come" not in output:  # else it was killed before it had said who it is
                longest = max(longest, seconds)
                assert seconds < SECONDS, output
            counts[f"{sent.name} to worker {victim}, the other ends with {status}"] += 1
            print(f"{counts.total()}: {sent.name} to worker {victim}, {status} after {seconds:.1f} s", flush=True)
        parts = finished_state(workers, tmp_path / f"parts-{runs}")
        largest = max(largest, *differences(whole, parts).values())
    print(*sorted(counts.items()), f"{runs} runs, at most {longest:.1f} s, largest difference {largest:g}", sep="\n")
    assert largest < 1e-3
