"""The cluster that Slurm has started: `TF_CONFIG`, and the GPUs of each task, from the variables that srun sets.

Every task is a worker. Workers are counted by node and by task on the node, so that each finds the addresses of all by
itself, however Slurm has distributed them. Nothing is asked of Slurm's programs.
"""

import contextlib
import itertools
import math
import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from dnnlib.errors import UserError, counted, short

from .workers import VARIABLE, Cluster

FLAG = "--cluster=slurm"
_FIRST_PORT, _PORTS = 12000, 20000  # below those that systems give to whoever asks for any
_PORTS_OF_JOB = 16
_MOST_HOSTS = 1 << 16
_NO_GPU = ("", "-1", "NoDevFiles")


@dataclass(frozen=True)
class Task:
    """One process of a job step, as Slurm's variables tell it."""

    job: str
    step: str
    nodes: tuple[str, ...]  # host names
    tasks: tuple[int, ...]  # how many run on each node
    node: int  # number of this task's
    local: int  # number of this task on its node

    @property
    def cluster(self) -> Cluster:
        """All tasks as workers, in the order of the nodes."""
        port = _FIRST_PORT + (int(self.job) * _PORTS_OF_JOB + int(self.step) * max(self.tasks)) % _PORTS
        pairs = zip(self.nodes, self.tasks, strict=True)
        addresses = tuple(f"{host}:{port + local}" for host, count in pairs for local in range(count))
        return Cluster(addresses, sum(self.tasks[: self.node]) + self.local)


def join(environ: MutableMapping[str, str] = os.environ) -> Task:
    """Sets `TF_CONFIG` to what Slurm's variables say. A task that is alone is no cluster, and trains as without Slurm.

    Raises UserError if variables are missing or contradict each other, or `TF_CONFIG` says something else.
    """
    task = task_of(environ)
    config = task.cluster.to_json() if len(task.cluster.workers) > 1 else ""
    if environ.get(VARIABLE, config) != config:
        raise UserError(
            f"{FLAG} makes {VARIABLE}, which is set already, to something else; unset it, or leave {FLAG} out"
        )
    if config:
        environ[VARIABLE] = config
    return task


def take_gpus(task: Task, num_gpus: int, environ: MutableMapping[str, str] = os.environ) -> None:
    """Where all tasks of a node see all its GPUs, leaves this one its share, by CUDA_VISIBLE_DEVICES.

    Raises UserError if the GPUs of a node are not `num_gpus` for each of its tasks. To be called before TensorFlow is
    imported.
    """
    names = ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
    name = next((name for name in names if name in environ), "")
    text = environ.get(name, "")
    if text.strip() in _NO_GPU:
        return
    gpus, count = [gpu.strip() for gpu in text.split(",")], task.tasks[task.node]
    if name.startswith("SLURM"):  # may have ranges
        with contextlib.suppress(ValueError):
            gpus = _numbers(text)
    if len(gpus) == num_gpus:
        return
    if len(gpus) != num_gpus * count:
        hint = f"--num-gpus={len(gpus) // count}" if len(gpus) % count == 0 else f"srun --gpus-per-task={num_gpus}"
        raise UserError(
            f"--num-gpus={num_gpus}: {task.nodes[task.node]} has {counted(count, 'task')} of this step, and "
            f"{counted(len(gpus), 'GPU')} for them ({name}={short(text)}); expected {hint}"
        )
    environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[task.local * num_gpus : (task.local + 1) * num_gpus])


# ----------------------------------------------------------------------------
# Slurm's variables.


def task_of(environ: Mapping[str, str]) -> Task:
    """What the variables of a process that srun has started say. Raises UserError with all that is wrong."""
    of = _Variables(environ)
    nodes = of.hosts("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    count = of.number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS", least=1)
    rank = of.number("SLURM_PROCID")
    job = of.number("SLURM_JOB_ID", "SLURM_JOBID")
    of.report()
    step = of.number("SLURM_STEP_ID", "SLURM_STEPID", default=0)
    tasks = of.tasks_per_node(len(nodes), count)
    of.report()
    of_job = () if of.nodes.startswith("SLURM_STEP") else ("SLURM_JOB_NUM_NODES", "SLURM_NNODES")
    num_nodes = of.number("SLURM_STEP_NUM_NODES", *of_job, default=len(nodes))
    if num_nodes != len(nodes):
        of.contradict(f"{of.last}={num_nodes}, but {of.nodes} names {counted(len(nodes), 'node')}")
    if sum(tasks) != count:
        of.contradict(f"{of.tasks} makes {counted(sum(tasks), 'task')}, but there are {count} ({of.count})")
    if rank >= count:
        of.contradict(f"SLURM_PROCID={rank}, but there are {counted(count, 'task')} ({of.count})")
    of.report()
    blocks = [(node, local) for node, number in enumerate(tasks) for local in range(number)]
    node = of.number("SLURM_NODEID", default=blocks[rank][0])
    local = of.number("SLURM_LOCALID", default=blocks[rank][1] if node == blocks[rank][0] else 0)
    of.report()
    if node >= len(nodes):
        of.contradict(f"SLURM_NODEID={node}, but {of.nodes} names {counted(len(nodes), 'node')}")
    elif local >= tasks[node]:
        of.contradict(f"SLURM_LOCALID={local}, but {nodes[node]} has {counted(tasks[node], 'task')} ({of.tasks})")
    else:
        in_turn = sorted(blocks, key=lambda place: (place[1], place[0]))
        free = environ.get("SLURM_DISTRIBUTION", "").startswith(("plane", "arbitrary"))
        if (node, local) not in (blocks[rank], in_turn[rank]) and not free:
            where = " or ".join(dict.fromkeys("{}, {}".format(*place) for place in (blocks[rank], in_turn[rank])))
            of.contradict(
                f"SLURM_NODEID={node} and SLURM_LOCALID={local}, but SLURM_PROCID={rank} of these tasks is at {where}"
            )
    of.report()
    return Task(str(job), str(step), nodes, tasks, node, local)


class _Variables:
    """Reads variables and gathers what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]):
        self._environ = environ
        self._problems: list[str] = []
        self.last = self.nodes = self.count = self.tasks = ""  # names of the variables that were found

    def report(self) -> None:
        """Raises UserError for everything that was found."""
        if not self._problems:
            return
        hint = "" if "SLURM_JOB_ID" in self._environ else "; it is for processes that srun starts in a job of Slurm"
        raise UserError("\n".join(f"{FLAG}: {problem}{hint}" for problem in self._problems))

    def contradict(self, problem: str) -> None:
        """Notes a problem."""
        self._problems.append(problem)

    def _find(self, names: tuple[str, ...]) -> str | None:
        self.last = next((name for name in names if self._environ.get(name)), "")
        return self._environ[self.last] if self.last else None

    def number(self, *names: str, least: int = 0, default: int | None = None) -> int:
        """The number in the first of these variables that is set."""
        text = self._find(names)
        if self.last in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"):
            self.count = self.last
        if text is None:
            if default is None:
                self.contradict(f"{names[0]} is not set")
            return default or 0
        if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) < least:
            self.contradict(f"{self.last}={short(text)}: expected a number of {least} or more")
            return least
        return int(text)

    def hosts(self, *names: str) -> tuple[str, ...]:
        """The hosts in the first of these variables that is set."""
        text = self._find(names)
        self.nodes = self.last
        if text is None:
            self.contradict(f"{names[1]} is not set")
            return ()
        try:
            return host_names(text)
        except ValueError as error:
            self.contradict(f"{self.last}={short(text, 200)}: {error}")
            return ()

    def tasks_per_node(self, num_nodes: int, count: int) -> tuple[int, ...]:
        """How many tasks each node has; where no variable tells, as evenly as Slurm does it, the first ones more."""
        text = self._find(("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"))
        self.tasks = self.last
        if text is None:
            self.tasks = f"{self.nodes} with {self.count}"
            each, more = divmod(count, num_nodes)
            if not each:
                self.contradict(f"{self.nodes} names {counted(num_nodes, 'node')} for {counted(count, 'task')}")
            return tuple(each + (number < more) for number in range(num_nodes))
        result: list[int] = []
        for part in text.split(","):
            match = re.fullmatch(r"([0-9]{1,6})(?:\(x([0-9]{1,6})\))?", part.strip())
            if match is None or not int(match[1]):
                self.contradict(f"{self.last}={short(text)}: expected numbers of tasks such as 4(x2),3")
                return ()
            result += [int(match[1])] * int(match[2] or 1)
        if len(result) != num_nodes:
            self.contradict(
                f"{self.last}={short(text)} is for {counted(len(result), 'node')}, but {self.nodes} names {num_nodes}"
            )
        return tuple(result)


# ----------------------------------------------------------------------------
# Lists of hosts.


def host_names(text: str) -> tuple[str, ...]:
    """The hosts of a list as Slurm writes it: 'gpu[01-03,7],login2,x[1-2]y[3-4]', 11 hosts in this order.

    Raises ValueError for what is no such list.
    """
    result: list[str] = []
    for part in _parts(text.strip()):
        pieces = re.split(r"\[([^\[\]]*)\]", part)  # text and brackets in turn
        if any(set("[] \t\n") & set(piece) for piece in pieces[::2]):
            raise ValueError(f"expected hosts such as node[01-03,7], got {short(part)}")
        choices = [[piece] if index % 2 == 0 else _numbers(piece) for index, piece in enumerate(pieces)]
        if len(result) + math.prod(map(len, choices)) > _MOST_HOSTS:
            raise ValueError("these are too many hosts")
        result += map("".join, itertools.product(*choices))
    if twice := sorted({host for host in result if result.count(host) > 1}) if len(result) < 1000 else []:
        raise ValueError(f"{twice[0]} is named twice")
    return tuple(result)


def _parts(text: str) -> list[str]:
    """What commas outside of brackets divide."""
    parts = re.findall(r"(?:[^,\[]|\[[^\]]*\]|\[)+", text)
    if ",".join(parts) != text or not parts:
        raise ValueError("expected names with commas between")
    return [part.strip() for part in parts]


def _numbers(text: str) -> list[str]:
    """'01-03,7' as 01, 02, 03, 7: as many digits as the first of a range has."""
    result: list[str] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)
        first, last = (match[1], match[2] or match[1]) if match else ("", "")
        if match is None or not 0 <= int(last) - int(first) < _MOST_HOSTS:
            raise ValueError(f"expected numbers such as 01-03,7 in brackets, got {short(text)}")
        result += [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    return result
