"""The report of a GPU: that it tells everything, whatever happens; its parts, in small."""

import fnmatch
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import gpu_report
from tools.report import checking, document, goals, memory, profiling
from tools.report.plan import PARTS, Part
from tools.report.records import Record, tables

ROOT = Path(gpu_report.__file__).parents[1]


def report(monkeypatch, capsys, folder, parts, *args):
    """Runs the report with other parts: the exit status, report.json, report.md and what was printed."""
    monkeypatch.setattr(Part, "call", lambda self, small, goldens: (f"report_parts.{self.function}", self.kwargs))
    monkeypatch.setattr(gpu_report, "PARTS", parts)
    monkeypatch.setattr(sys, "argv", ["gpu_report.py", f"--out={folder}", *args])
    status = gpu_report.main()
    data = json.loads((folder / "report.json").read_text())
    return status, data, (folder / "report.md").read_text(), capsys.readouterr().out


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def part(name, function, limit=60.0, needs=0.0, **kwargs):
    return Part(name, f"title of {name}", function, kwargs, limit=limit, needs=needs, in_small=True)


def test_whatever_happens_is_told(monkeypatch, capsys, tmp_path):
    pids = tmp_path / "pids"
    parts = [
        part("good", "figures", number=1),
        part("broken", "goes_wrong"),
        part("missing", "no_such_function"),
        part("slow", "hangs", limit=5, path=str(pids)),
        part("wrong", "wrong_result"),
        part("late", "figures", needs=1000, number=7),
    ]
    status, data, markdown, out = report(monkeypatch, capsys, tmp_path / "report", parts)
    assert status == 1
    states = {name: value["state"] for name, value in data["parts"].items()}
    assert states == {
        **{"good": "done", "broken": "failed", "missing": "failed", "slow": "failed", "wrong": "done"},
        "late": "no time left",
    }
    assert "RuntimeError: what went wrong" in data["parts"]["broken"]["why"]
    assert "no_such_function" in data["parts"]["missing"]["why"]
    assert data["parts"]["slow"]["why"] == "stopped after 5 s"
    assert [row["cells"].get("number") for row in data["parts"]["slow"]["records"]] == [4]
    assert "| number | of | note | verdict |" in markdown and "| 2 |  | a / b | passed |" in markdown
    assert "Two words." in markdown and "- Checks: pixels" in markdown and "Failures: 4" in out
    assert "this goes to the log" in (tmp_path / "report" / "log.txt").read_text()
    time.sleep(0.5)
    assert not any(is_running(pid) for pid in pids.read_text().split())


def test_a_second_run_does_what_is_left(monkeypatch, capsys, tmp_path):
    folder = tmp_path / "report"
    parts = [part("a", "figures", number=1), part("b", "figures", needs=1000, number=5)]
    assert report(monkeypatch, capsys, folder, parts)[0] == 0
    parts[1] = part("b", "figures", number=5)
    status, data, markdown, out = report(monkeypatch, capsys, folder, parts)
    assert status == 0 and "title of a" not in out and "title of b" in out
    assert {name: value["state"] for name, value in data["parts"].items()} == {"a": "done", "b": "done"}
    assert "| 1 | 2 |" in markdown and "| 6 |" in markdown
    out = report(monkeypatch, capsys, folder, parts, "--only=a")[3]
    assert "title of a" in out and "title of b" not in out
    other = json.loads((folder / "report.json").read_text())
    other["machine"]["commit"] = "another"
    (folder / "report.json").write_text(json.dumps(other))
    with pytest.raises(SystemExit):
        report(monkeypatch, capsys, folder, parts)
    assert "is of another commit: 'another'" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_report_that_is_ended_has_told_what_it_knows(tmp_path, number):
    """Parts end with it, even if it is killed; the one that ran is not done."""
    script = (
        "import sys; sys.path[:0] = ['tests/helpers', '.']; from tools import gpu_report;"
        "from tools.report.plan import Part; Part.call = lambda self, *_: ('report_parts.hangs', self.kwargs);"
        f"gpu_report.PARTS = [Part('slow', 'slow', '', {{'path': {str(tmp_path / 'pids')!r}}}, in_small=True)];"
        f"sys.argv = ['gpu_report.py', '--out={tmp_path / 'report'}']; gpu_report.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=-1)
    end = time.monotonic() + 60
    while time.monotonic() < end and '"number": 4' not in _text(tmp_path / "report" / "report.json"):
        time.sleep(0.2)
    process.send_signal(number)
    process.wait()
    assert json.loads(_text(tmp_path / "report" / "report.json"))["parts"]["slow"]["state"] in document.UNFINISHED
    assert process.stderr.read() == b""
    assert "| 4 |" in _text(tmp_path / "report" / "report.md")
    while time.monotonic() < end and any(map(is_running, _text(tmp_path / "pids").split())):
        time.sleep(0.2)
    assert not any(map(is_running, _text(tmp_path / "pids").split()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((text, "damaged, or no report") for text in ("{", "[]", "null", '{"machine": []}', "\xff")),
        (None, "Is a directory"),
    ],
)
def test_damaged_reports(monkeypatch, capsys, tmp_path, content, message):
    path = tmp_path / "report.json"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(SystemExit):
        report(monkeypatch, capsys, tmp_path, [part("a", "figures", number=1)])
    error = capsys.readouterr().err
    assert f"--out={tmp_path}: " in error and message in error and "Choose another folder" in error


def test_folders_that_cannot_be_written(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        report(monkeypatch, capsys, tmp_path / "file", [part("a", "figures", number=1)])
    assert f"--out={tmp_path / 'file'}: cannot be made (File exists)" in capsys.readouterr().err

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(document, "atomic_write", full)
    monkeypatch.setattr(sys, "argv", ["gpu_report.py", f"--out={tmp_path / 'full'}"])
    assert gpu_report.main() == 1
    assert "No space left on device. Make room" in capsys.readouterr().err


def _text(path):
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only=generate-fp61"], "there is no part generate-fp61 (did you mean generate-fp16"),
        (["--goldens=/nowhere"], "--goldens=/nowhere: expected a folder of golden data"),
        (["--minutes=0"], "--minutes"),
    ],
)
def test_wrong_arguments(monkeypatch, capsys, args, message):
    monkeypatch.setattr(sys, "argv", ["gpu_report.py", *args])
    with pytest.raises(SystemExit):
        gpu_report.main()
    assert message in capsys.readouterr().err


def test_parts():
    assert len({part.name for part in PARTS}) == len(PARTS)
    for part in PARTS:
        module, name = part.call(False, None)[0].rsplit(".", 1)
        function = getattr(__import__(module, fromlist=[name]), name)
        code = function.__code__
        known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        takes_more = bool(code.co_flags & 8)
        for kwargs in (part.kwargs, part.small):
            assert takes_more or set(kwargs) <= set(known), part.name
        assert part.needs <= part.limit <= 180
    assert PARTS[2].call(True, None)[1]["resolution"] == 32
    checks = next(part for part in PARTS if part.name == "check-pixels")
    assert checks.call(False, "/goldens")[1] == {"folder": "/goldens"}


def test_verdicts():
    case = {"network": "config-f", "resolution": "1024x1024", "implementation": "cuda", "settings": ""}
    rows = [
        Record("Generating", {**case, "minibatch": 8, "precision": "fp16", "images/s": 310.0}),
        Record("Generating", {**case, "minibatch": 8, "precision": "fp16", "images/s": 900.0, "settings": "X=1"}),
        Record("Generating", {**case, "minibatch": 1, "precision": "fp32", "images/s": 100.0}),
        Record("Start-up", {"what": "first tick of run_training.py, second time", "resolution": "256x256", "s": 34.0}),
        Record("Start-up", {"what": "first tick of run_training.py, empty caches", "resolution": "32x32", "s": 34.0}),
    ]
    found = {record.cells["what"]: record for record in goals.verdicts(rows)}
    assert found["generating 1024x1024, minibatch 8, fp16"].cells["measured"] == 310
    assert found["generating 1024x1024, minibatch 8, fp16"].passed is True
    assert found["generating 1024x1024, minibatch 1, the fastest precision"].passed is False
    assert found["generating 1024x1024, minibatch 1, fp32"].passed is None
    assert found["first tick of run_training.py, second time (256x256, fp16)"].passed is True
    assert found["first tick of run_training.py, empty caches (256x256, fp16)"].cells["measured"] is None
    assert "| **FAILED** |" in tables(list(found.values()))


def test_starting_and_goals_speak_of_the_same():
    from tools.report import starting

    wanted = {goal.where["what"] for goal in goals.GOALS if goal.table == starting.TITLE}
    assert wanted == {f"{starting.FIRST_TICK}, {time_of}" for time_of in ("empty caches", "second time")}


def test_largest_minibatches():
    peaks = {4: 6.0, 8: 10.0, 6: 99.0}
    assert memory.line_through(peaks) == (2.0, 1.0)
    assert memory.largest(peaks, 8, 4) == 4 and memory.largest(peaks, 24, 4) == 20 and memory.largest(peaks, 2, 1) == 0
    row = memory.fits("training", {"network": "config-f"}, peaks).cells
    assert row["fits 80 GB"] == 76 and row["GB/image"] == 1


def test_time_in_which_a_device_is_busy():
    events = [profiling.Event("a", 0, 10), profiling.Event("b", 5, 7), profiling.Event("c", 20, 30)]
    assert profiling.busy(events) == 20
    rows = list(profiling.summary("it", events, 2))
    assert rows[0].cells["idle, %"] == pytest.approx(100 / 3) and rows[0].cells["launches"] == 1.5
    kinds = {
        "void stylegan2::upfirdn_rows<float>": "ours",
        "sm90_xmma_fprop_implicit_gemm_f16f16": "convolution",
        "void cudnn::ops::nchwToNhwcKernel<float>": "transposition",
        "nvjet_hsh_128x128": "matrix product",
        "MemcpyD2H": "copy to the host",
        "Mul_GPU_DT_FLOAT_DT_FLOAT_kernel": "elementwise and others",
        "FillPhiloxRandomKernelLaunch": "random numbers",
    }
    assert {name: profiling.kind_of(name) for name in kinds} == kinds


def test_little_is_needed_to_begin():
    absent = "for name in ('tensorflow', 'google_crc32c', 'PIL', 'requests', 'yaml'): sys.modules[name] = None"
    script = f"import sys\n{absent}\nimport tools.gpu_report"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_golden_tests_run_without_pytest(tmp_path):
    """The stand-ins of packages that a GPU machine may lack do what is needed of them."""
    script = (
        "import sys; sys.modules.pop('pytest', None); sys.path[:0] = ['tools/report/stand_ins', 'tests/helpers', '.'];"
        "from tools.report import checking; import google_crc32c, pytest;"
        "assert 'stand_ins' in pytest.__file__ and google_crc32c.value(b'123456789') == 0xE3069283;"
        "print([tuple(r) for r in checking.goldens(['ops', 'losses'], at_most=1)])"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    rows = eval(result.stdout.splitlines()[-1])
    assert len(rows) == 15 and all(passed for _table, _cells, passed in rows), rows


def test_goldens_have_tolerances_of_the_device():
    script = (
        "import sys; sys.path[:0] = ['tests/helpers', '.']; import tensorflow as tf; from tools.report import checking;"
        "tf.config.list_physical_devices = lambda kind=None: ['GPU']; list(checking.goldens([]));"
        "import lane; assert lane.gradients(1e-3) == lane.TOLERANCES['fp32'].gradients"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_checks_that_fail():
    def test_numbers(number, eagerly):
        assert number < 2, "too large"

    test_numbers = pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.slow)])(test_numbers)
    results = [checking.run_case(test_numbers, arguments) for _label, arguments in checking.cases(test_numbers)]
    assert results[0] == "passed" and results[1].startswith("AssertionError: too large")
    assert "needs tmp_path" in checking.run_case(lambda tmp_path: None, {})


def test_documents_name_parts_that_there_are():
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    commands = re.findall(r"gpu_report\.py [^`\n]*--only=([\w,-]+)", text)
    rows = re.findall(r"^\| ((?:`[\w*-]+`(?:, )?)+) \|", text[: text.index("### NVIDIA")], re.MULTILINE)
    patterns = re.findall(r"`([\w*-]+)`", " ".join(row for row in rows if "`--" not in row))
    known = {part.name for part in PARTS}
    assert len(commands) > 3 and {name for names in commands for name in names.split(",")} <= known
    assert len(patterns) > 10 and all(fnmatch.filter(known, pattern) for pattern in patterns)
    assert all(any(fnmatch.fnmatch(name, pattern) for pattern in patterns) for name in known)


def test_clocks():
    assert document.clocks_row("a", {"clocks.sm": "1980 MHz"})["clocks.sm"] == "1980 MHz"


SMALL = [part for part in PARTS if part.function.split(".")[0] not in ("starting", "checking")]


@pytest.mark.slow
@pytest.mark.parametrize("name", [part.name for part in SMALL])
def test_parts_in_small(name):
    run_in_small(name)


@pytest.mark.parametrize("name", ["generate-fp32", "check-pixels", "profile-generate", "memory-generating-f-1024-fp16"])
def test_some_parts_in_small(name):
    run_in_small(name)


def run_in_small(name):
    path, kwargs = next(part for part in PARTS if part.name == name).call(True, None)
    module, function = path.rsplit(".", 1)
    records = list(getattr(__import__(module, fromlist=[function]), function)(**kwargs))
    assert records and not [record for record in records if record.passed is False]
    assert "nan" not in tables(records)
    assert [Record.of_line(record.line()) for record in records] == records
