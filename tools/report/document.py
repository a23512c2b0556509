"""The report's files: report.json with everything, report.md for people; each is written whole, again and again."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dnnlib.files import atomic_write

from .goals import verdicts
from .machine import NOW
from .records import Record, tables

UNFINISHED = ("waiting", "running", "no time left")


@dataclass
class Outcome:
    """What became of a part. state: waiting, running, done, failed, or no time left; why: it failed."""

    title: str
    state: str = "waiting"
    why: str = ""
    seconds: float = 0.0
    records: list[Record] = field(default_factory=list)


@dataclass
class Report:
    """Everything that is known so far, which lies in a folder.

    machine: facts by name; command: that made it; outcomes: of parts, by name.
    """

    folder: Path
    machine: dict[str, str]
    command: str
    outcomes: dict[str, Outcome]
    clocks: list[dict[str, str]] = field(default_factory=list)

    def records(self) -> list[Record]:
        """Of all parts."""
        return [record for outcome in self.outcomes.values() for record in outcome.records]

    def failures(self) -> list[str]:
        """Checks that were not passed, and parts that failed."""
        parts = [f"{name}: {outcome.why}" for name, outcome in self.outcomes.items() if outcome.state == "failed"]
        checks = [f"{record.table}: {_first_cells(record)}" for record in self.records() if record.passed is False]
        return parts + checks

    def write(self) -> None:
        """Replaces both files."""
        data = {key: value for key, value in asdict(self).items() if key not in ("folder", "outcomes")}
        data["parts"] = {name: _outcome_json(outcome) for name, outcome in self.outcomes.items()}
        data["must hold"] = [record._asdict() for record in verdicts(self.records())]
        for name, content in (("report.json", json.dumps(data, indent=1)), ("report.md", self.markdown())):
            with atomic_write(str(self.folder / name)) as file:
                file.write(content.encode())

    def markdown(self) -> str:
        """What people read."""
        machine = "\n".join(f"| {name} | {value} |" for name, value in self.machine.items() if value)
        parts = "\n".join(
            f"| {name} | {outcome.title} | {outcome.state} | {outcome.seconds:.0f} | {outcome.why.replace('|', '/')} |"
            for name, outcome in self.outcomes.items()
        )
        failures = "\n".join(f"- {failure}" for failure in self.failures())
        sections = [
            f"# Report of {self.machine.get('GPU', '')}",
            f"`{self.command}`",
            tables(verdicts(self.records())),
            "PyTorch: NVIDIA's stylegan3 code (its `stylegan2` networks, torch 2.11) on one H100, at f1b4f1e's time.",
            f"## Failures\n\n{failures or 'None so far.'}",
            f"## Machine\n\n| | |\n|---|---|\n{machine}",
            f"## Parts\n\n| part | what | state | s | why |\n|---|---|---|---|---|\n{parts}",
            f"## Measurements\n\n{tables(self.records())}",
        ]
        if self.clocks:
            sections.append(tables([Record("Clocks after parts", row) for row in self.clocks]))
        return "\n\n".join(sections) + "\n"


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    return {**vars(outcome), "records": [record._asdict() for record in outcome.records]}


def _first_cells(record: Record) -> str:
    return ", ".join(str(value) for value in list(record.cells.values())[:3])[:200]


def read_outcomes(folder: Path, machine: dict[str, str]) -> dict[str, Outcome]:
    """Outcomes of an earlier report in a folder, of the same GPU, TensorFlow and commit.

    Raises:
        ValueError: there is one of another machine or commit, or a file that is no report. The message says which.
        OSError: it cannot be read.
    """
    path = folder / "report.json"
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _outcomes(data, machine, path)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(f"{path} is damaged, or no report") from None


def _outcomes(data: dict[str, Any], machine: dict[str, str], path: Path) -> dict[str, Outcome]:
    for key in ("GPU", "tensorflow", "commit"):
        before, now = data["machine"].get(key, ""), machine.get(key, "")
        if _without_state(before) != _without_state(now):
            raise ValueError(f"{path} is of another {key}: {before!r}, here {now!r}")
    result = {}
    for name, outcome in data["parts"].items():
        records = [Record(**record) for record in outcome.pop("records")]
        result[name] = Outcome(**outcome, records=records)
    return result


def _without_state(text: str) -> str:
    """Without what nvidia-smi tells of the moment."""
    return text.split(", pstate")[0]


def clocks_row(part: str, facts: dict[str, str]) -> dict[str, str]:
    """What nvidia-smi told after a part."""
    return {"part": part, **{name: facts.get(name, "") for name in NOW}}
