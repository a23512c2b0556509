"""The recipes of docs/clusters.md, run with stand-ins for Slurm, Kubernetes and what clouds tell their machines."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_trainings import ROOT, options_file

import run_training
from dataset_tools.symbols import create_symbols
from dnnlib.clusters import workers

pytestmark = pytest.mark.one_stack
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "docs" / "clusters.md").read_text(), re.MULTILINE | re.DOTALL)
SRUN = r"""
while [[ $1 == -* ]]; do shift; done
export SLURM_JOB_ID=77 SLURM_STEP_ID=0 SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2 SLURM_STEP_TASKS_PER_NODE=2
export CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7 SLURM_NODEID=0
for task in 0 1; do SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & processes="$processes $!"; done
highest=0
for process in $processes; do wait $process; status=$?; [ $status -gt $highest ] && highest=$status; done
exit $highest
"""


def recipe(language, word):
    """The block of a language in which a word is."""
    (text,) = [text for kind, text in BLOCKS if kind == language and word in text]
    return text


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder with a data set, and with programs in it that take the place of others; what they were called with."""
    create_symbols(str(tmp_path / "datasets" / "mine"), resolution=16, num_images=16)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)

    def program(name, script):
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/bash\necho {name} "$@" >> {tmp_path}/calls\n{script}')
        path.chmod(0o755)

    return program


def calls(name):
    """The arguments with which a stand-in was called, in their order."""
    lines = Path("calls").read_text().splitlines() if Path("calls").exists() else []
    return [shlex.split(line)[1:] for line in lines if line.split()[0] == name]


def bash(script, timeout=60, **env):
    command = ["bash", "-c", script]
    return subprocess.run(
        command, env={**os.environ, **env}, timeout=timeout, capture_output=True, text=True, check=False
    )


DRY_RUN = f'{sys.executable} {ROOT}/run_training.py --dry-run "${{@:2}}" > options.$SLURM_PROCID'


def test_slurm(machine):
    machine("srun", SRUN)
    machine("scontrol", "")
    for status, again in ((0, False), (1, False), (75, True), (138, True)):
        machine("python", f"exit {status}" if status else DRY_RUN)
        result = bash(recipe("bash", "#SBATCH"), SLURM_JOB_ID="77")
        assert result.returncode == status, result.stderr
        assert calls("scontrol") == [["requeue", "77"]] * again
        Path("calls").unlink()
    options = [json.loads(Path(f"options.{task}").read_text()) for task in (0, 1)]
    assert options[0] == options[1]
    assert (options[0]["num_gpus"], options[0]["run_name"]) == (4, "mine")


@pytest.mark.slow
def test_slurm_with_two_workers(machine):
    """A job that is told that its time is over, and the one that goes on, through the same script."""
    options = options_file(".", **{"total-kimg": 0.4, "minibatch-gpu": 4, "image-snap": 1000})
    machine("srun", SRUN.replace("CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7", "STYLEGAN2_WAIT_MINUTES=3"))
    machine("scontrol", "")
    machine("python", f'{sys.executable} {ROOT}/run_training.py "${{@:2}}" --options={options} --num-gpus=1')
    script = recipe("bash", "#SBATCH")
    job = subprocess.Popen(["bash", "-c", script], env={**os.environ, "SLURM_JOB_ID": "77"}, start_new_session=True)
    log = Path("results/mine/log.txt")
    while not log.exists() or "tick 0" not in log.read_text():
        assert job.poll() is None
        time.sleep(0.2)
    beat = json.loads(Path("results/mine/heartbeat.json").read_text())
    os.kill(beat["pid"], 10)  # SIGUSR1, to one of them
    assert job.wait(timeout=120) == 138
    assert calls("scontrol") == [["requeue", "77"]]
    stopped_at = int(json.loads(str(np.load("results/mine/training-state.npz")["meta"]))["counters"]["cur_nimg"])
    assert 0 < stopped_at < 400
    result = bash(script, timeout=300, SLURM_JOB_ID="77")
    assert result.returncode == 0, result.stdout + result.stderr
    assert Path("results/mine/network-final.pkl").exists()


def test_kubernetes(machine):
    service, job = yaml.safe_load_all(recipe("yaml", "kind: Job"))
    pod = job["spec"]["template"]["spec"]
    name = job["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    (container,) = pod["containers"]
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert pod["restartPolicy"] == "Never"  # which podFailurePolicy needs
    assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"] for volume in pod["volumes"]]
    machine("stylegan2", 'echo "$TF_CONFIG" > config.$JOB_COMPLETION_INDEX')
    for index in range(job["spec"]["completions"]):
        result = subprocess.run(
            container["command"], env={**os.environ, "JOB_COMPLETION_INDEX": str(index)}, check=True
        )
        assert result.returncode == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TF_CONFIG", Path(f"config.{index}").read_text())
            cluster = workers.cluster()
        assert cluster.index == index
        hosts = [f"{name}-{number}.{pod['subdomain']}" for number in range(job["spec"]["completions"])]
        assert [workers.place(address)[0] for address in cluster.workers] == hosts
    first, second = calls("stylegan2")
    assert first == second
    assert first[0] == "train"
    args = [arg.replace("/work/datasets", "datasets").replace("/work/results", "results") for arg in first[1:]]
    assert run_training.parse(args)[0].submit_config.run_name == name


@pytest.mark.parametrize("is_taken", [True, False])
def test_spot_machines(machine, is_taken):
    machine("curl", '[[ "$*" == *api/token* ]] && echo secret || [ "$(grep -c instance-action calls)" -gt 3 ]')
    ending = "sleep 20 >/dev/null 2>&1 & wait" if is_taken else "sleep 0.3"
    machine("python", f"trap 'exit 143' TERM\n{ending}")
    result = bash(recipe("bash", "spot/instance-action"), timeout=15, SECONDS_BETWEEN="0.1")
    assert result.returncode == (143 if is_taken else 0), result.stderr
    assert "secret" in calls("curl")[1]
    (args,) = calls("python")
    args = [arg.replace("/mnt/", "") for arg in args]
    assert args[0] == "run_training.py"
    assert run_training.parse(args[1:])[0].submit_config.run_dir_root == "results"


def test_notebooks(machine):
    machine("stylegan2", "exec sleep 20")
    result = bash(recipe("bash", "timeout").replace(" 11h ", " 0.2 "))
    assert result.returncode == 124  # of timeout, when it has ended what it runs
    (line,) = [line for line in recipe("python", "drive").replace("\\\n", "").splitlines() if "train" in line]
    kaggle, colab = calls("stylegan2")[0], shlex.split(line.removeprefix("!"))[1:]
    for args in (kaggle, colab):
        assert args[0] == "train"
        args = [arg.replace("/kaggle/input/", "").replace("/content/mine.zip", "mine") for arg in args[1:]]
        args = ["--result-dir=results" if arg.startswith("--result-dir") else arg for arg in args]
        run, _ = run_training.parse(args)
        assert run.kwargs.keep_snapshots == 2


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 0),
        ({"timestamp": -300}, 1),  # nobody has written it for long
        ({"timestamp": -300, "doing": "finished"}, 0),
        ({"doing": "failed"}, 1),
        ({"unchanged_sec": 3000}, 1),
        ({"unchanged_sec": 3000, "doing": "computing metrics"}, 0),
    ],
)
def test_watching(tmp_path, monkeypatch, changes, status):
    beat = {
        "doing": "training",
        "kimg": 1.5,
        "total_kimg": 25000,
        "host": "gpu01",
        "unchanged_sec": 3.0,
        "timestamp": 0,
    }
    beat |= changes
    (tmp_path / "results" / "mine").mkdir(parents=True)
    (tmp_path / "results" / "mine" / "heartbeat.json").write_text(
        json.dumps({**beat, "timestamp": time.time() + beat["timestamp"]})
    )
    monkeypatch.chdir(tmp_path)
    result = bash(recipe("bash", "heartbeat.json").replace("python -", f"{sys.executable} -"))
    assert (result.returncode, result.stderr) == (status, "")
    assert f"{beat['doing']}, kimg 1.5 of 25000, on gpu01, " in result.stdout
