"""The cluster that Slurm's variables describe: lists of hosts, tasks of several nodes, GPUs of each, contradictions."""

import json

import pytest

from dnnlib.clusters import slurm, workers
from dnnlib.errors import UserError

pytestmark = pytest.mark.one_stack

# Five tasks on three nodes; this is the fourth.
STEP = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_NODELIST": "gpu[01-02],x",
    "SLURM_STEP_NODELIST": "gpu[01-02],x",
    "SLURM_NTASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "3",
    "SLURM_NODEID": "1",
    "SLURM_LOCALID": "1",
}


def environ(**changes):
    return {name: value for name, value in {**STEP, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("login2", "login2"),
        ("gpu[01-03,7],login2,x[1-2]y[3-4]", "gpu01 gpu02 gpu03 gpu7 login2 x1y3 x1y4 x2y3 x2y4"),
        ("n[8-11]", "n8 n9 n10 n11"),
        ("n[08-11]", "n08 n09 n10 n11"),
        ("n[098-101,3]-ib0,b", "n098-ib0 n099-ib0 n100-ib0 n101-ib0 n3-ib0 b"),
        ("rack1-[1]", "rack1-1"),
    ],
)
def test_lists_of_hosts(text, hosts):
    assert slurm.host_names(text) == tuple(hosts.split())


@pytest.mark.parametrize("text", ["", "a,,b", "a,", "n[1-2", "n1]", "n[3-1]", "n[]", "n[a-b]", "n[[1]]", "a b", "a,a"])
def test_what_is_no_list_of_hosts(text):
    with pytest.raises(ValueError, match="expected|twice|many"):
        slurm.host_names(text)


def test_huge_lists_of_hosts():
    for text in ("n[0-999999999]", "n[0-999][0-999]"):
        with pytest.raises(ValueError, match="expected|twice|many"):
            slurm.host_names(text)


def test_workers_of_a_step(monkeypatch):
    variables = environ()
    slurm.join(variables)
    config = json.loads(variables["TF_CONFIG"])
    hosts = [address.split(":")[0] for address in config["cluster"]["worker"]]
    assert hosts == ["gpu01", "gpu01", "gpu02", "gpu02", "x"]
    assert len(set(config["cluster"]["worker"])) == 5
    assert config["task"] == {"type": "worker", "index": 3}
    monkeypatch.setenv("TF_CONFIG", variables["TF_CONFIG"])
    assert workers.cluster().index == 3
    slurm.join(variables)  # once more is no contradiction


def places(**changes):
    """Numbers and addresses of the workers of a step, from the variables of all its tasks: rank, node, local."""
    result = []
    for rank, node, local in changes.pop("tasks"):
        variables = environ(
            SLURM_PROCID=str(rank),
            SLURM_NODEID=None if node is None else str(node),
            SLURM_LOCALID=None if local is None else str(local),
            **changes,
        )
        cluster = slurm.task_of(variables).cluster
        result.append((cluster.index, cluster.workers[cluster.index].split(":")[0], cluster.workers))
    assert len({addresses for _, _, addresses in result}) == 1
    assert sorted(index for index, _, _ in result) == list(range(len(result)))
    return [f"{index}:{host}" for index, host, _ in result]


def test_distributions():
    blocks = [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1), (4, 2, 0)]
    expected = ["0:gpu01", "1:gpu01", "2:gpu02", "3:gpu02", "4:x"]
    assert places(tasks=blocks) == expected
    assert places(tasks=[(rank, None, None) for rank in range(5)]) == expected
    few = {"SLURM_STEP_TASKS_PER_NODE": None, "SLURM_STEP_NODELIST": None, "SLURM_STEP_ID": None}
    assert places(tasks=blocks, **few) == expected
    in_turn = [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 0, 1), (4, 1, 1)]
    assert places(tasks=in_turn) == ["0:gpu01", "2:gpu02", "4:x", "1:gpu01", "3:gpu02"]
    plane = [(0, 2, 0), (1, 1, 0), (2, 1, 1), (3, 0, 0), (4, 0, 1)]
    assert places(tasks=plane, SLURM_DISTRIBUTION="arbitrary")[0] == "4:x"


def test_a_step_on_a_part_of_the_job():
    variables = environ(SLURM_JOB_NODELIST="gpu[01-09]", SLURM_JOB_NUM_NODES="9", SLURM_TASKS_PER_NODE="8(x9)")
    assert slurm.task_of(variables).nodes == ("gpu01", "gpu02", "x")


def test_ports():
    first = slurm.task_of(environ()).cluster.workers
    for changes in ({"SLURM_JOB_ID": "78"}, {"SLURM_STEP_ID": "1"}):
        assert not set(first) & set(slurm.task_of(environ(**changes)).cluster.workers)
    ports = [workers.place(address)[1] for address in slurm.task_of(environ(SLURM_JOB_ID="4294967295")).cluster.workers]
    assert all(1024 < port < 32768 for port in ports)


def test_a_task_that_is_alone():
    alone = {"SLURM_NTASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_STEP_NODELIST": "x"}
    variables = environ(**alone, SLURM_PROCID="0", SLURM_NODEID="0", SLURM_LOCALID="0")
    slurm.join(variables)
    assert "TF_CONFIG" not in variables


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict.fromkeys(STEP), "SLURM_PROCID is not set; it is for processes that srun starts in a job of Slurm"),
        ({"SLURM_PROCID": "5"}, "SLURM_PROCID=5, but there are 5 tasks (SLURM_NTASKS)"),
        ({"SLURM_PROCID": "-1"}, "SLURM_PROCID='-1': expected a number of 0 or more"),
        ({"SLURM_NODEID": "3"}, "SLURM_NODEID=3, but SLURM_STEP_NODELIST names 3 nodes"),
        ({"SLURM_LOCALID": "2"}, "SLURM_LOCALID=2, but gpu02 has 2 tasks (SLURM_STEP_TASKS_PER_NODE)"),
        ({"SLURM_LOCALID": "0"}, "SLURM_NODEID=1 and SLURM_LOCALID=0, but SLURM_PROCID=3 of these tasks is at 1, 1"),
        ({"SLURM_NTASKS": "6"}, "SLURM_STEP_TASKS_PER_NODE makes 5 tasks, but there are 6 (SLURM_NTASKS)"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, "is for 2 nodes, but SLURM_STEP_NODELIST names 3"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2x2"}, "expected numbers of tasks such as 4(x2),3"),
        ({"SLURM_STEP_NODELIST": "gpu[1-"}, "expected hosts such as node[01-03,7]"),
        ({"SLURM_STEP_NUM_NODES": "4"}, "SLURM_STEP_NUM_NODES=4, but SLURM_STEP_NODELIST names 3 nodes"),
        ({"TF_CONFIG": "{}"}, "makes TF_CONFIG, which is set already"),
    ],
)
def test_contradictions(changes, message):
    with pytest.raises(UserError) as caught:
        slurm.join(environ(**changes))
    assert message in str(caught.value)
    assert all(line.startswith("--cluster=slurm") for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("changes", "num_gpus", "expected"),
    [
        ({}, 1, None),  # no GPU
        ({"CUDA_VISIBLE_DEVICES": ""}, 1, ""),
        ({"CUDA_VISIBLE_DEVICES": "3"}, 1, "3"),  # srun has divided them
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, 1, "1"),
        ({"CUDA_VISIBLE_DEVICES": "0,1,4,5"}, 2, "4,5"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"}, 1, "MIG-b"),
        ({"SLURM_STEP_GPUS": "0-3"}, 2, "2,3"),
    ],
)
def test_gpus_of_a_task(changes, num_gpus, expected):
    variables = environ(**changes)
    slurm.take_gpus(slurm.task_of(variables), num_gpus, variables)
    assert variables.get("CUDA_VISIBLE_DEVICES") == expected


@pytest.mark.parametrize(
    ("gpus", "num_gpus", "hint"),
    [("0,1,2,3", 1, "--num-gpus=2"), ("0,1,2", 2, "srun --gpus-per-task=2"), ("0", 4, "srun --gpus-per-task=4")],
)
def test_gpus_that_cannot_be_divided(gpus, num_gpus, hint):
    variables = environ(CUDA_VISIBLE_DEVICES=gpus)
    with pytest.raises(UserError, match="gpu02 has 2 tasks of this step") as caught:
        slurm.take_gpus(slurm.task_of(variables), num_gpus, variables)
    assert f"expected {hint}" in str(caught.value)
    assert variables["CUDA_VISIBLE_DEVICES"] == gpus
