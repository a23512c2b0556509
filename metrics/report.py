"""Results of several networks: a table, JSON, and what failed."""

import json
import sys
from typing import Any

from dnnlib.errors import UserError, counted
from dnnlib.files import atomic_write

from .metric_base import MetricGroup


class Report:
    """Results by network."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def add(self, network: str, group: MetricGroup) -> None:
        """Adds what a group of metrics has found out about a network."""
        self.records.append({"network": network, "results": group.get_results(), "failed": dict(group.failed)})

    def print_table(self) -> None:
        """Prints one row per network and one column per number, if there are several networks."""
        if len(self.records) < 2:
            return
        columns = list(dict.fromkeys(name for record in self.records for name in record["results"]))
        rows = [["network", *columns]]
        for record in self.records:
            values = [record["results"].get(name) for name in columns]
            rows.append([record["network"], *("-" if value is None else f"{value:.6g}" for value in values)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print()
        for name, *values in rows:
            numbers = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
            print("  ".join([name.ljust(widths[0]), *numbers]).rstrip())

    def write_json(self, path: str) -> None:
        """Writes the results to a file, or prints them for '-'. Raises UserError if nothing takes what is printed."""
        text = json.dumps(self.records, indent=2)
        if path == "-":
            print(text, flush=True)
            if getattr(sys.stdout, "is_gone", False):
                raise UserError("--json=-: the results could not be written to stdout; log.txt of the run has them")
            return
        with atomic_write(path) as file:
            file.write(text.encode() + b"\n")

    def raise_failures(self) -> None:
        """Raises UserError if metrics could not be computed."""
        failed = sum(len(record["failed"]) for record in self.records)
        if failed:
            raise UserError(f"{counted(failed, 'metric')} could not be computed; see above")
