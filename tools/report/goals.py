"""The figures that must hold on one H100 with config-f, beside those of NVIDIA's PyTorch code on the same card."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .records import Record


class Goal(NamedTuple):
    """A figure, which records give.

    what, unit: for people. goal: at least or at most this; None: it is only shown. pytorch: of the stylegan3 code's
    `stylegan2` networks, torch 2.11, cuDNN benchmark on; before: of commit f1b4f1e here; both on an H100 (80 GB).
    """

    what: str
    table: str
    where: dict[str, Any]
    column: str
    unit: str
    goal: float | None
    at_least: bool
    pytorch: str
    before: str


_F = {"network": "config-f"}
_G = {**_F, "resolution": "1024x1024"}
_T = {**_F, "precision": "fp16"}


def _images(minibatch: int, precision: str, goal: float | None, pytorch: str, before: str) -> Goal:
    where = {**_G, "minibatch": minibatch, **({"precision": precision} if precision else {})}
    what = f"generating 1024x1024, minibatch {minibatch}, {precision or 'the fastest precision'}"
    return Goal(what, "Generating", where, "images/s", "images/s", goal, True, pytorch, before)


def _train(resolution: int, minibatch: int, column: str, goal: float | None, pytorch: str, before: str) -> Goal:
    where = {**_T, "resolution": f"{resolution}x{resolution}", "minibatch": minibatch}
    what = f"training {resolution}x{resolution}, minibatch {minibatch}, fp16"
    return Goal(what, "Training", where, column, column.replace("peak ", ""), goal, False, pytorch, before)


def _phase(name: str, pytorch: str) -> Goal:
    where = {**_T, "resolution": "256x256", "minibatch": 32, "phase": name}
    return Goal(f"{name}, 256x256, minibatch 32, fp16", "Training: phases", where, "ms", "ms", None, False, pytorch, "")


def _start(time_of: str, goal: float) -> Goal:
    what = f"first tick of run_training.py, {time_of}"
    where = {"what": what, "resolution": "256x256"}
    return Goal(f"{what} (256x256, fp16)", "Start-up", where, "s", "s", goal, False, "", "")


GOALS = [
    _images(1, "", 150, "55.3", "81.9"),
    _images(1, "fp16", None, "55.3", ""),
    _images(1, "fp32", None, "49.1 (TF32)", ""),
    _images(1, "tf32", None, "49.1", "81.9"),
    _images(8, "fp16", 300, "169.0", "194.2"),
    _images(8, "fp32", 1.3 * 116.6, "116.6", ""),
    _images(8, "tf32", None, "159.8", "166.5"),
    _train(256, 32, "s/kimg", 11.5, "14.4", ""),
    _train(256, 32, "peak GB", 43, "43", ""),
    *map(_phase, ("TrainG", "RegG", "TrainD", "RegD"), ("177", "401", "154", "424")),
    _train(1024, 4, "s/kimg", None, "to be measured beside it", ""),
    _train(1024, 4, "peak GB", None, "to be measured beside it", ""),
    _start("empty caches", 60),
    _start("second time", 35),
]


def found(goal: Goal, records: Iterable[Record]) -> float | None:
    """The best figure of the default settings."""
    rows = (record.cells for record in records if record.table == goal.table and not record.cells.get("settings"))
    fitting = [row for row in rows if all(row.get(key) == value for key, value in goal.where.items())]
    values = [row[goal.column] for row in fitting if isinstance(row.get(goal.column), (int, float))]
    best: Callable[[list[float]], float] = max if goal.at_least else min
    return best(values) if values else None


def verdicts(records: Iterable[Record]) -> list[Record]:
    """A row for each figure; passed: whether it holds, None if it was not measured or has no goal."""
    records, rows = list(records), []
    for goal in GOALS:
        value = found(goal, records)
        bound = "" if goal.goal is None else f"at {'least' if goal.at_least else 'most'} {goal.goal:.4g}"
        holds = None
        if value is not None and goal.goal is not None:
            holds = value >= goal.goal if goal.at_least else value <= goal.goal
        cells = {"what": goal.what, "unit": goal.unit, "measured": value, "goal": bound}
        rows.append(Record("Must hold", {**cells, "PyTorch": goal.pytorch, "here at f1b4f1e": goal.before}, holds))
    return rows
