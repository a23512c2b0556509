"""Checks this project on the GPU of this machine and measures it, in a few minutes, most important first.

Every part runs in a process of its own with a time limit, one at a time on the device. report.md and report.json are
written anew after every figure, so that a run that is cut tells all that it found. Started again with the same --out,
it does what is not done yet: parts that there was no time for, or that failed. Needs TensorFlow, and no network;
without a GPU it runs in small, to be tested.

Exit status: 0 if all checks that ran were passed, 1 if not, 2 for wrong arguments.
"""

import argparse
import shlex
import signal
import sys
import time
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib import flags
from dnnlib.errors import did_you_mean
from tools.report.document import UNFINISHED, Outcome, Report, clocks_row, read_outcomes
from tools.report.goals import verdicts
from tools.report.machine import NOW, describe, gpu_facts, has_gpu
from tools.report.plan import PARTS, Part
from tools.report.process import PartProcess
from tools.report.records import Record, number_text

_RESERVE = 3.0  # seconds for ending


def _parser() -> argparse.ArgumentParser:
    parser = flags.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", default="gpu-report", metavar="DIR", help="folder of the report (default: %(default)s)")
    add("--minutes", type=flags.above_zero, default=7.0, help="for everything (default: 7)")
    add("--only", type=flags.names, metavar="PARTS", help="these parts, done or not, with commas between")
    add("--skip", type=flags.names, default=[], metavar="PARTS", help="all but these parts")
    add("--repeat", action="store_true", help="parts that are done already, too")
    add("--goldens", metavar="DIR", help="compare with the large set of golden data, too")
    add("--small", action="store_true", help="little networks, as without a GPU")
    add("--list", action="store_true", help="print the parts, and stop")
    return parser


def _chosen(parser: argparse.ArgumentParser, args: argparse.Namespace, small: bool) -> list[Part]:
    """The parts that the command line asks for."""
    by_name = {part.name: part for part in PARTS}
    for name in [*(args.only or []), *args.skip]:
        if name not in by_name:
            parser.error(f"there is no part {name}{did_you_mean(name, by_name)}; --list shows them")
    of_size = [part for part in PARTS if part.in_small or not small]
    chosen = [by_name[name] for name in args.only] if args.only else of_size
    return [part for part in chosen if part.name not in args.skip]


class Runner:
    """Runs parts one after the other, the next one imported ahead, and keeps the report up to date."""

    def __init__(self, report: Report, parts: list[Part], end: float, small: bool, goldens: str | None):
        self.report, self.waiting, self.end = report, list(parts), end
        self.small, self.goldens = small, goldens
        self.begun: dict[str, PartProcess] = {}

    def run(self) -> None:
        """Everything for which there is time."""
        while (part := self._next()) is not None:
            self._run(part)

    def close(self) -> None:
        """Ends what still runs."""
        for process in self.begun.values():
            process.end()
        self.begun.clear()

    def _next(self) -> Part | None:
        """The next part that there is time for; the others are told to have none."""
        while self.waiting:
            part = self.waiting.pop(0)
            if self._left() >= part.needs:
                return part
            self.report.outcomes[part.name].state = "no time left"
        self.report.write()
        return None

    def _left(self) -> float:
        return self.end - time.monotonic() - _RESERVE

    def _begin(self, part: Part) -> PartProcess:
        if part.name not in self.begun:
            self.begun[part.name] = PartProcess(part, self.small, self.goldens, self.report.folder / "log.txt")
        return self.begun[part.name]

    def _run(self, part: Part) -> None:
        outcome = Outcome(part.title, "running")
        self.report.outcomes[part.name] = outcome
        self.report.write()
        process, start = self._begin(part), time.monotonic()
        if self.waiting and not self.small and self._left() >= self.waiting[0].needs:
            self._begin(self.waiting[0])

        def on_record(record: Record) -> None:
            outcome.records.append(record)
            outcome.seconds = time.monotonic() - start
            self.report.write()
            cells = ", ".join(f"{key} {number_text(value)}" for key, value in list(record.cells.items())[:9] if value)
            print(f"  {record.table}: {cells[:180]}", flush=True)

        print(f"{part.name}: {part.title}", flush=True)
        try:
            outcome.why = process.run(min(part.limit, self._left()), on_record)
        finally:  # what interrupts this leaves it unfinished
            self.begun.pop(part.name).end()
            outcome.seconds = time.monotonic() - start
        outcome.state = "failed" if outcome.why else "done"
        if now := gpu_facts(NOW):
            self.report.clocks.append(clocks_row(part.name, now))
        self.report.write()
        print(f"  {outcome.state} in {outcome.seconds:.1f} s{': ' * bool(outcome.why)}{outcome.why}", flush=True)


def main() -> int:
    """Runs the parts, writes the report."""
    parser = _parser()
    args = parser.parse_args()
    start = time.monotonic()
    small = args.small or not has_gpu()
    parts = _chosen(parser, args, small)
    if args.list:
        for part in PARTS:
            print(f"{part.name:30} at most {part.limit:3.0f} s  {part.title}")
        return 0
    if args.goldens and not (Path(args.goldens) / "nets" / "index.json").exists():
        parser.error(f"--goldens={args.goldens}: expected a folder of golden data, with nets/index.json")
    folder = Path(args.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out={args.out}: cannot be made ({error.strerror}). Choose another folder")
    machine = describe() | {"size": "in small: figures mean nothing" if small else ""}
    try:
        before = read_outcomes(folder, machine)
    except (ValueError, OSError) as error:
        parser.error(f"--out={args.out}: {error}. Choose another folder")
    done = {name for name, outcome in before.items() if outcome.state == "done"}
    todo = [part for part in parts if args.only or args.repeat or part.name not in done]
    outcomes = before | {part.name: Outcome(part.title) for part in todo}
    ordered = {part.name: outcomes[part.name] for part in PARTS if part.name in outcomes}
    report = Report(folder, machine, shlex.join(["python", *sys.argv]), ordered)
    runner = Runner(report, todo, start + 60 * args.minutes, small, args.goldens)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        try:
            runner.run()
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM):  # once is enough
                signal.signal(number, signal.SIG_IGN)
            for outcome in report.outcomes.values():
                if outcome.state in UNFINISHED:
                    outcome.state = "no time left"
            print("Stopped.", flush=True)
        finally:
            runner.close()
        report.write()
    except OSError as error:  # a full disk; the report as it was last written is whole
        print(f"--out={args.out}: {error}. Make room, or choose another folder, and start it again", file=sys.stderr)
        return 1
    for record in verdicts(report.records()):
        if record.cells["measured"] is not None:
            print(" | ".join(number_text(value) for value in record.cells.values()), record.passed)
    failures = report.failures()
    print(f"{folder}/report.md, {time.monotonic() - start:.0f} s. Failures: {len(failures)}")
    for failure in failures:
        print(f"- {failure[:300]}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
