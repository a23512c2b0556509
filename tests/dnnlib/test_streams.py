"""Streams and logs that fail: terminals and readers that are gone, full disks, no streams at all."""

import contextlib
import errno
import io
import os
import resource
import subprocess
import sys
import types
from pathlib import Path

import pytest

import dnnlib
from dnnlib.errors import UserError, exits_on_user_error
from dnnlib.files import Log, append
from dnnlib.flags import ArgumentParser
from dnnlib.progress import Progress
from dnnlib.streams import Tolerant, hidden_notes, tolerant
from dnnlib.util import Logger

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent.parent


def broken_pipe():
    read, write = os.pipe()
    os.close(read)
    return open(write, "w")


def gone_terminal():
    terminal, side = os.openpty()
    os.close(terminal)
    return open(side, "w")


def full_disk():
    return open("/dev/full", "w")


def closed_file():
    file = open(os.devnull, "w")  # noqa: SIM115
    file.close()
    return file


GONE = [broken_pipe, gone_terminal, closed_file]


@pytest.mark.parametrize("make", GONE)
def test_streams_that_are_gone_are_given_up_with_a_note(tmp_path, monkeypatch, make):
    streams = {"stdout": make(), "stderr": make()}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    with Logger(str(tmp_path / "log.txt")):
        print("one")
        print("two", file=sys.stderr)
        for _ in range(2):
            progress = Progress(3, "images", interval=0)
            progress.update(3)
            progress.finish()
        print("three", flush=True)
        assert not sys.stdout.isatty()
    text = (tmp_path / "log.txt").read_text()
    assert {"one", "two", "three"} <= set(text.splitlines())
    assert text.count("stdout: ") == text.count("stderr: ") == 1
    assert text.count("; what follows is only in this file\n") == 2
    assert (sys.stdout, sys.stderr) == tuple(streams.values())
    for stream in streams.values():  # as Python does at exit
        if not stream.closed:
            stream.flush()


def test_scripts_outside_of_runs(monkeypatch, capsys):
    def printing(stream):
        with monkeypatch.context() as patch, exits_on_user_error():
            patch.setattr(sys, "stdout", Tolerant(stream, must_arrive=True))
            print("text", flush=True)

    with pytest.raises(SystemExit) as end:  # `| head`
        printing(broken_pipe())
    assert end.value.code == 1 and capsys.readouterr().err == ""
    printing(gone_terminal())
    with pytest.raises(SystemExit) as end:
        printing(full_disk())
    assert end.value.code == 1 and capsys.readouterr().err == "Error: stdout: No space left on device\n"


@pytest.mark.parametrize("make", [broken_pipe, full_disk])
def test_runs_do_not_need_stdout(tmp_path, monkeypatch, make):
    config = dnnlib.SubmitConfig()
    config.run_dir_root, config.run_desc = str(tmp_path), "desc"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", make())
        with exits_on_user_error("--minibatch-size"):
            dnnlib.submit_run(config, "dnnlib.util.format_time", seconds=3)
    assert (tmp_path / "00000-desc" / "_finished.txt").exists()


class Cell(io.TextIOBase):
    """As stdout is in a notebook, without `reconfigure`; it may have few methods."""

    encoding = "ascii"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text.encode("ascii").decode()


@pytest.mark.parametrize(
    "stream", [Cell(), types.SimpleNamespace(write=[].append), None], ids=["cell", "write", "none"]
)
def test_streams_of_other_kinds(tmp_path, monkeypatch, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with exits_on_user_error(), Logger(str(tmp_path / "log.txt")):
        print("caf\xe9 \udcff", flush=True)
        with Progress(2, "images", interval=0) as progress:
            progress.update(2)
        assert sys.stdout.encoding and not sys.stdout.isatty()
    assert (tmp_path / "log.txt").read_text().splitlines()[0] == "caf\xe9 \\udcff"
    assert sys.stdout is stream
    if isinstance(stream, Cell):
        assert stream.text.startswith("caf\\xe9 \\udcff\n")


def test_closed_descriptors_do_not_become_those_of_files(tmp_path):
    code = "import os, sys; from dnnlib.errors import exits_on_user_error\nwith exits_on_user_error():\n"
    code += "    with open('a', 'w') as file:\n        print('x'); print('x', file=sys.stderr); os.write(1, b'x')\n"
    code += "        os.write(2, b'x'); file.write(str(file.fileno()))"
    command = ["bash", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert int((tmp_path / "a").read_text()) > 2


def test_logs_of_a_full_disk(tmp_path):
    path, said = tmp_path / "log", []
    path.symlink_to("/dev/full")
    log = Log(path, said.append)
    for line in (b"one\n", b"two\n"):
        log.add(line)
    assert said == [f"{path}: No space left on device; nothing is added to it until that is over"]
    path.unlink()
    log.add(b"three\n")
    assert said[1:] == [f"{path} can be written again; 2 pieces are missing"]
    log.add(b"four\n")
    assert path.read_bytes() == b"three\nfour\n" and len(said) == 2


def test_a_piece_is_added_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15, limits[1]))
    try:
        with pytest.raises(OSError, match=str(path)) as error:
            append(path, b"a" * 10)
        append(path, b"b" * 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert path.read_bytes() == b"0123456789bbbbb"


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe \x9b31m\x00 \u2028"


def test_what_is_printed_does_nothing_to_terminals(tmp_path, capsys):
    """Neither on the terminal nor in the log; progress bars go on."""
    with tolerant():
        print(f"Reading {HOSTILE}")
        with Logger(str(tmp_path / "log.txt")):
            print(f"Logged {HOSTILE}")
        print("\r 50% é 漢字 \u200d\x1b[A\tend", file=sys.stderr)
    out, err = capsys.readouterr()
    for text in (out, (tmp_path / "log.txt").read_text()):
        assert (
            text.replace("\n", "").isprintable() and r"\x1b]0;owned\x07\x1b[2J\u202egnp.exe \x9b31m\x00 \u2028" in text
        )
    assert err == "\r 50% é 漢字 \u200d\x1b[A\tend\n"


def test_errors_are_short_and_printable(capsys):
    message = "\n".join(f"{HOSTILE} {n}" for n in range(1000)) + "x" * 1_000_000
    with pytest.raises(SystemExit), exits_on_user_error():
        raise UserError(message)
    err = capsys.readouterr().err
    assert err.replace("\n", "").isprintable() and err.count("\n") == 36 and len(err) < 100_000
    assert err.startswith(r"Error: \x1b]0;owned") and err.endswith("... and 965 more\n")
    with pytest.raises(SystemExit):
        ArgumentParser().error(HOSTILE)
    assert capsys.readouterr().err.replace("\n", "").isprintable()


def test_hidden_notes(capfd, monkeypatch):
    """What is written to the descriptor itself, as libraries do."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")

    def said(fails, **kwargs):
        with contextlib.suppress(ValueError), hidden_notes(**kwargs):
            os.write(2, b"note")
            if fails:
                raise ValueError
        os.write(2, b".")
        return capfd.readouterr().err

    assert said(False) == "." and said(True) == "note." and said(True, show_failures=False) == "."
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert said(False) == "note."
