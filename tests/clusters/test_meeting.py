"""Workers of a cluster: they wait for each other, with a word and a limit, and have the same options."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dnnlib.clusters import meeting, workers
from dnnlib.errors import TryAgainError, UserError

pytestmark = pytest.mark.one_stack
SLOW = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def addresses():
    """Of three workers."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(3)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return tuple(f"localhost:{port}" for port in ports)


def meet(addresses, *options, strangers=0):
    """What is said by workers with these options, in the order of their numbers."""
    results = ["missing"] * len(options)

    def worker(index):
        try:
            meeting.meet(workers.Cluster(addresses, index), options[index])
            results[index] = "met"
        except UserError as error:
            results[index] = str(error)

    threads = [threading.Thread(target=worker, args=[index]) for index in range(len(options))]
    for thread in threads[:1]:
        thread.start()
    for _ in range(strangers):
        while True:
            try:
                with socket.create_connection(workers.place(addresses[0]), timeout=5) as s:
                    s.sendall(b"GET / HTTP/1.1\n")
                break
            except ConnectionRefusedError:
                pass
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def test_meeting(addresses, capsys):
    same = {"seed": 1, "G_args": {"fmap_base": 64}}
    assert meet(addresses, same, same, same, strangers=2) == ["met"] * 3
    out = capsys.readouterr().out
    assert f"Waiting for workers 1 at {addresses[1]}, 2 at {addresses[2]}, 30 minutes at most..." in out
    assert out.count("All 3 workers are here.") == 3
    socket.create_server(workers.place(addresses[0])).close()  # the port is free again


def test_options_that_differ(addresses):
    results = meet(addresses, {"seed": 1, "a": {"b": [1]}}, {"seed": 1, "a": {"b": [2]}}, {"seed": 3, "c": True})
    assert len(set(results)) == 1
    assert results[0].splitlines() == [
        "the workers have different options; start all of them alike",
        "seed is 1 of worker 0, 3 of worker 2",
        "a.b is [1] of worker 0, [2] of worker 1, None of worker 2",
        "c is None of worker 0, True of worker 2",
    ]


def test_a_worker_that_does_not_come(addresses, monkeypatch):
    monkeypatch.setenv(meeting.LIMIT_VARIABLE, "0.05")
    first, second = meet(addresses, {}, {})
    missing = f"worker 2 at {addresses[2]} did not come in 0.05 minutes. Start the same command there"
    assert first.startswith((missing, f"worker 1 at {addresses[1]} has ended: "))  # whoever is first to give up
    came = f"worker 2 at {addresses[2]} did not come in 0.05 minutes."
    assert second.startswith((f"worker 0 at {addresses[0]} has ended: {came}", f"worker 0 at {addresses[0]} did not"))
    monkeypatch.setenv(meeting.LIMIT_VARIABLE, "soon")
    assert meet(addresses, {}) == ["STYLEGAN2_WAIT_MINUTES=soon: expected a number of minutes above 0"]


def test_clusters(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert workers.cluster() is None
    config = {"cluster": {"worker": ["a:1", "[::1]:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert workers.cluster() == workers.Cluster(("a:1", "[::1]:2"), 1)
    assert workers.place("[::1]:2") == ("::1", 2)
    alone = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    meeting.meet(workers.Cluster(("a:1",), 0), alone)
    for wrong in ("{", "3", json.dumps({**config, "task": {"type": "chief", "index": 0}}), json.dumps(alone)[:-1]):
        monkeypatch.setenv("TF_CONFIG", wrong)
        with pytest.raises(UserError, match="TF_CONFIG: expected"):
            workers.cluster()


# A worker that meets the others, says so, and then waits as long as it is not ended.
WORKER = """
import ctypes, sys, time
from dnnlib.clusters import guard, meeting, watch, workers
from dnnlib.errors import UserError, exits_on_user_error

watch.SILENCE_SECONDS, watch._BEAT_SECONDS, watch._GRACE_SECONDS, ending = 1.5, 0.1, 0.2, sys.argv[1]
guard._GRACE_SECONDS = 0.4
with exits_on_user_error(), meeting.meet(workers.cluster(), {}) as w:
    w.advice = "start again"
    if ending == "error":
        time.sleep(0.3)
        raise UserError("no space left")
    if ending == "deaf":  # as while TensorFlow connects: no other thread of Python runs
        with w.guarding():
            ctypes.PyDLL(None).sleep(100)
    if ending == "done":
        w.end_together()
        sys.exit(3)
    time.sleep(100)  # as TensorFlow does, deaf to everything
"""


@pytest.fixture
def three_workers(addresses):
    """Starts three workers, each with its ending; they have met."""
    processes = []

    def start(*endings):
        for index, ending in enumerate(endings):
            env = {**os.environ, "TF_CONFIG": workers.Cluster(addresses, index).to_json(), "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-u", "-c", WORKER, ending]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            processes.append(subprocess.Popen(command, env=env, **pipes))
        for process in processes:
            assert any("All 3 workers are here." in line for line in process.stdout)
        return processes

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("victim", "sent", "why"),
    [
        (1, "SIGKILL", "was killed, or its machine has failed"),
        pytest.param(0, "SIGKILL", "was killed, or its machine has failed", marks=SLOW),
        pytest.param(2, "SIGSTOP", "has said nothing for 2 seconds: it or the network has stopped", marks=SLOW),
    ],
)
def test_a_worker_that_is_gone_ends_the_others(three_workers, addresses, victim, sent, why):
    processes = three_workers("wait", "wait", "wait")
    processes[victim].send_signal(getattr(signal, sent))
    for index in {0, 1, 2} - {victim}:
        _, message = processes[index].communicate(timeout=20)
        gone = f"worker {victim} at {addresses[victim]}"
        assert message == f"Error: {gone} {why}. So this worker ends, too; start again\n"
        assert processes[index].returncode == 75
    if sent == "SIGSTOP":  # what was only asleep ends as well
        processes[victim].send_signal(signal.SIGCONT)
        _, message = processes[victim].communicate(timeout=20)
        assert message.startswith(f"Error: worker {victim} at {addresses[victim]} has said nothing")


def test_workers_that_let_no_thread_run(three_workers, addresses):
    processes = three_workers("deaf", "deaf", "wait")
    processes[1].kill()
    _, message = processes[0].communicate(timeout=20)
    why = "was killed, or its machine has failed. So this worker ends, too; start again"
    assert message == f"Error: worker 1 at {addresses[1]} {why}\n"
    assert processes[0].returncode == -signal.SIGKILL
    _, message = processes[2].communicate(timeout=20)
    assert message.startswith("Error: worker 0 at ")


def test_the_last_words_of_a_worker(three_workers, addresses):
    processes = three_workers("wait", "error", "wait")
    messages = [process.communicate(timeout=20)[1] for process in processes]
    told = f"Error: worker 1 at {addresses[1]} has ended: no space left. So this worker ends, too; start again\n"
    assert messages == [told, "Error: no space left\n", told]
    assert [process.returncode for process in processes] == [1, 1, 1]


@pytest.mark.slow
def test_workers_that_end_together(three_workers):
    processes = three_workers("done", "done", "done")
    assert [process.communicate(timeout=20)[1] for process in processes] == [""] * 3
    assert [process.returncode for process in processes] == [3, 3, 3]


def test_a_worker_that_is_gone_before_all_have_come(addresses):
    first = meeting.Meeting(workers.Cluster(addresses, 0))
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            one = workers.Line(socket.create_connection(workers.place(addresses[0]), timeout=5))
            break
    one.send({"worker": 1})
    assert one.receive_one(5) == {"welcome": 1}
    again = workers.Line(socket.create_connection(workers.place(addresses[0]), timeout=5))
    again.send({"worker": 1})
    assert again.receive_one(5) == {"refused": f"there is a worker 1 at {addresses[1]} already"}
    del one, again  # hangs up, as a process that is killed
    with pytest.raises(TryAgainError, match=f"worker 1 at {addresses[1]} was killed"):
        first.come({}, meeting._Wait(first.cluster, 1.0))
    first.watch.close()
