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


def error_lines(output):
    return [line for line in output.splitlines() if re.match("Error|Traceback|.*Error:", line)]


@pytest.mark.slow
def test_kills_of_one_of_two_workers(tmp_path):
    symbols = tmp_path / "symbols"
    create_symbols(str(symbols), resolution=16, num_images=64)
    options = options_file(
        tmp_path, **{"total-kimg": 0.1 + 0.06 * KILLS, "minibatch-gpu": 4, "image-snap": 1000, **TICKS}
    )
    args = [f"--options={options}", f"--dataset={symbols}", "--config=config-f"]
    for process in Workers(tmp_path, *args, "--result-dir=whole").start():
        assert ends_within(process, 600)[0]
        assert process.returncode == 0

    choose, counts, longest = random.Random(1), collections.Counter(), 0.0
    workers = Workers(tmp_path, *args, "--result-dir=parts")
    for _ in range(KILLS):
        processes = workers.start()
        sent = choose.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
        victim = choose.randrange(2)
        time.sleep(choose.choice([choose.uniform(0, 8), choose.uniform(0, 40)]))
        finished = processes[victim].poll() is not None
        processes[victim].send_signal(sent)
        output, seconds = ends_within(processes[1 - victim], 300)
        if sent == signal.SIGSTOP and not finished:
            processes[victim].kill()
        ends_within(processes[victim], 300)
        status = processes[1 - victim].returncode
        if status not in (0, 128 + signal.SIGTERM):
            if "did not come" not in output:  # it was killed before it had said who it is
                longest = max(longest, seconds)
                assert seconds < SECONDS, output
            assert (status, len(error_lines(output))) == (75, 1), output
        counts[f"{sent.name} to worker {victim}, the other ends with {status}"] += 1
        print(f"{sum(counts.values())}: {sent.name} to worker {victim}, {status} after {seconds:.1f} s", flush=True)
    for process in workers.start():
        output, _ = ends_within(process, 600)
        assert process.returncode == 0, output
    whole, parts = states_of(tmp_path / "whole", tmp_path / "parts")
    largest = max(differences(whole, parts).values())
    print(*sorted(counts.items()), f"at most {longest:.1f} s; largest difference {largest:g}", sep="\n")
    assert (
        json.loads(str(whole["meta"]))["counters"]["cur_nimg"] == json.loads(str(parts["meta"]))["counters"]["cur_nimg"]
    )
    assert largest < 1e-3
