"""What parts of the report tell: rows of tables, results of checks, and text."""

import json
from typing import Any, NamedTuple


class Record(NamedTuple):
    """A row of a table; rows of one table may have different columns.

    table: its title. cells: by column; units stand in the column's name, numbers are as they were measured.
    passed: the verdict of a check; None: nothing was checked.
    """

    table: str
    cells: dict[str, Any]
    passed: bool | None = None

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps(self._asdict())

    @staticmethod
    def of_line(line: str) -> "Record":
        """The record of a line of JSON."""
        return Record(**json.loads(line))


def case(config: str, resolution: int, minibatch: int, precision: str, impl: str) -> dict[str, Any]:
    """Columns that tell what was measured."""
    named = {"network": config, "resolution": f"{resolution}x{resolution}", "minibatch": minibatch}
    return {**named, "precision": precision, "implementation": impl}


TEXT = "text"  # the column of a record that is no row: paragraphs in Markdown


def text(table: str, paragraphs: str, passed: bool | None = None) -> Record:
    """A record that is shown as it is."""
    return Record(table, {TEXT: paragraphs}, passed)


def number_text(value: Any) -> str:
    """Three or four digits of numbers; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def tables(records: list[Record]) -> str:
    """Markdown: the text and the table of each title, in the order in which titles first come."""
    by_title: dict[str, list[Record]] = {}
    for record in records:
        by_title.setdefault(record.table, []).append(record)
    return "\n\n".join(f"### {title}\n\n{_table(rows)}" for title, rows in by_title.items())


def _table(records: list[Record]) -> str:
    paragraphs = [record.cells[TEXT] for record in records if TEXT in record.cells]
    rows = [record for record in records if TEXT not in record.cells]
    columns = list(dict.fromkeys(column for record in rows for column in record.cells))
    checked = any(record.passed is not None for record in rows)
    lines = []
    if rows:
        head = [*columns, *(["verdict"] if checked else [])]
        lines = [_line(head), _line(["---"] * len(head))]
    for record in rows:
        cells = [number_text(record.cells.get(column)) for column in columns]
        verdict = {True: "passed", False: "**FAILED**", None: ""}[record.passed]
        lines.append(_line([*cells, *([verdict] if checked else [])]))
    return "\n\n".join([*paragraphs, *(["\n".join(lines)] if lines else [])])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"
