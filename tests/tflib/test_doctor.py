"""The doctor, on machines that are data; and on this one, with and without TensorFlow."""

import dataclasses
import fnmatch
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib.tflib import doctor
from dnnlib.tflib.doctor import machine, verdicts
from dnnlib.tflib.doctor.machine import Card, Folder, Machine

ROOT = Path(__file__).parent.parent.parent
H100 = Card("NVIDIA H100 80GB HBM3", (9, 0), 79.6, 79.1)
WHEEL = ("sm_60", "sm_70", "sm_80", "sm_89", "compute_90")  # of TensorFlow 2.21
FOLDERS = tuple(Folder(purpose, f"/data/{purpose}", 500) for purpose in ("results", "downloads", "CUDA's cache"))
GOOD = Machine(
    **{"python": "3.12.3", "system": "Linux x86_64", "cpus": 16, "memory": 128, "available": 120, "folders": FOLDERS},
    **{"driver": "580.65.06", "driver_cuda": "13.0", "cards": (H100,), "cxx": "/usr/bin/g++ 13.3.0", "nvcc": "13.0.88"},
    **{"nvcc_archs": (75, 80, 90, 100, 120), "tensorflow": "2.21.0", "cuda": "12.5.1", "cudnn": "9"},
    **{"capabilities": WHEEL, "gpus": (Card(H100.name, (9, 0)),), "onednn": True, "tf32": False},
    **{"ops": "cuda", "ops_reason": "built with g++13.3.0 and nvcc13.0.88 for sm90"},
)
NO_GPU = {"driver": None, "driver_cuda": None, "cards": (), "gpus": ()}
FAILED = "no compiled ops: g++ -O2 ended with status 1:\nerror: many\nlines"


def card(name, *capability, **sizes):
    return {"cards": (Card(name, capability, **sizes),), "gpus": (Card(name, capability),)}


MACHINES = {  # what differs from GOOD -> verdicts that are not ok, by subject, and words of the line
    "h100": ({}, {}),
    "cpu only": ({**NO_GPU, "ops": "cpu", "nvcc": None, "nvcc_archs": ()}, {}),
    "cpu only, nothing to compile with": (
        {**NO_GPU, "ops": "ref", "ops_reason": "no compiled ops: no C++ compiler found. Install g++", "cxx": None},
        {"C++ compiler": ("warning", "apt install g++"), "Custom ops": ("warning", "ref')*no C++ compiler found")},
    ),
    "ref by choice": ({"ops": "ref", "ops_asked": "ref", "ops_reason": "STYLEGAN2_OPS=ref"}, {}),
    "ops that do not build": (
        {"ops": "ref", "ops_reason": FAILED},
        {"Custom ops": ("warning", "ended with status 1:*python -m dnnlib.tflib.ops.build")},
    ),
    "ops that cannot be had": (
        {"ops": None, "ops_asked": "cpu", "ops_reason": "STYLEGAN2_OPS=cpu: no compiled ops"},
        {"Custom ops": ("problem", "STYLEGAN2_OPS=cpu")},
    ),
    "rtx 5090, stock wheel": (
        card("NVIDIA GeForce RTX 5090", 12, 0),
        {"GPU": ("problem", "compute capability 12.0*no code for it*sm_60, *compute_90*nvcr.io/nvidia/tensorflow")},
    ),
    "b200, stock wheel, old nvcc": (
        {**card("NVIDIA B200", 10, 0), "nvcc": "12.5.82", "nvcc_archs": (50, 80, 90), "ops": "cuda"},
        {"GPU": ("problem", "Blackwell"), "nvcc": ("warning", "does not know compute capability 10.0*12.8")},
    ),
    "rtx 5090, wheel that has it": (
        {**card("NVIDIA GeForce RTX 5090", 12, 0), "capabilities": (*WHEEL, "sm_120")},
        {},
    ),
    "gtx 970": (card("GTX 970", 5, 2), {"GPU": ("problem", "no code for it*built for this GPU")}),
    "cuda libraries not found": (
        {"gpus": (), "notes": "Cannot dlopen some GPU libraries."},
        {"GPU": ("problem", "does not see NVIDIA H100*Cannot dlopen*pip install 'tensorflow[[]and-cuda]'")},
    ),
    "tensorflow without cuda": (
        {"gpus": (), "cuda": None, "cudnn": None, "capabilities": ()},
        {"GPU": ("problem", "built without CUDA*pip install 'tensorflow[[]and-cuda]'")},
    ),
    "hidden": ({"gpus": (), "visible_devices": "-1"}, {"GPU": ("warning", "CUDA_VISIBLE_DEVICES='-1' hides it*Unset")}),
    "one of them chosen, none seen": (
        {"gpus": (), "visible_devices": "0"},
        {"GPU": ("problem", "does not see NVIDIA H100")},
    ),
    "a card chosen that is not there": (
        {"gpus": (), "visible_devices": "3"},
        {"GPU": ("warning", "CUDA_VISIBLE_DEVICES='3' hides it*Unset")},
    ),
    "old driver": (
        {"driver": "470.82", "driver_cuda": "11.4", "gpus": (), "ops": "cpu"},
        {"Driver": ("problem", "470.82, CUDA up to 11.4*supports CUDA 12.5.1*"), "GPU": ("problem", "See the driver")},
    ),
    "driver a little old": (
        {"driver": "535.54", "driver_cuda": "12.2", "nvcc": "12.2.140"},
        {"Driver": ("warning", "535.54*supports CUDA 12.5.1")},
    ),
    "broken driver": (
        {**NO_GPU, "driver_problem": "Failed to initialize NVML: Driver/library version mismatch", "ops": "cpu"},
        {"Driver": ("problem", "version mismatch*Restart")},
    ),
    "nvcc newer than the driver": (
        {"driver_cuda": "12.8", "ops": "ref", "ops_reason": "CUDA: driver version is insufficient; nvcc must not be"},
        {"nvcc": ("warning", "13.0.88, newer than the driver's CUDA 12.8"), "Custom ops": ("warning", "insufficient")},
    ),
    "no nvcc": (
        {"nvcc": None, "nvcc_archs": (), "ops": "ref", "ops_reason": "TensorFlow sees GPUs (sm_90), but nvcc"},
        {"nvcc": ("warning", "cannot be built*CUDA toolkit"), "Custom ops": ("warning", "but nvcc")},
    ),
    "no nvcc, built ahead": ({"nvcc": None, "nvcc_archs": (), "cxx": None}, {}),
    "no nvidia-smi": ({"driver": None, "cards": ()}, {}),
    "a100 in use": (
        card("NVIDIA A100", 8, 0, memory=80, free=3),
        {"GPU memory": ("warning", "3 GB are free*CUDA_VISIBLE_DEVICES")},
    ),
    "no tensorflow": (
        {"tensorflow": None, "tensorflow_problem": "ModuleNotFoundError: No module named 'tensorflow'", "gpus": ()},
        {"TensorFlow": ("problem", "No module named 'tensorflow'*pip install -r requirements.lock")},
    ),
    "old processor": (
        {"tensorflow": None, "tensorflow_problem": "the process ended by SIGILL", "gpus": ()},
        {"TensorFlow": ("problem", "AVX")},
    ),
    "other tensorflow": ({"tensorflow": "2.23.0"}, {"TensorFlow": ("warning", "tried: 2.15 to 2.21")}),
    "little memory": ({"memory": 8, "available": 1.5}, {"Memory": ("warning", "8 GB, 2 GB of them free")}),
    "full disk": (
        {"folders": (Folder("results", "/r", 0.4), Folder("downloads", "/d", 0.4), Folder("custom ops", "/o", 50))},
        {
            "Folder of results": ("problem", "/r is full*--result-dir"),
            "Folder of downloads": ("warning", "--cache-dir"),
        },
    ),
    "read-only home": (
        {"folders": (Folder("results", "/r", 9), Folder("custom ops", "/o", 50, writable=False))},
        {
            "Folder of results": ("warning", "9 GB free*0.4 GB each"),
            "Folder of custom ops": ("warning", "/o cannot be written*STYLEGAN2_OPS_CACHE"),
        },
    ),
}


@pytest.mark.parametrize("name", MACHINES)
def test_verdicts(name):
    facts, expected = MACHINES[name]
    findings = verdicts.examine(dataclasses.replace(GOOD, **facts))
    bad = {finding.subject: finding for finding in findings if finding.verdict != verdicts.OK}
    assert {subject: finding.verdict for subject, finding in bad.items()} == {
        subject: verdict for subject, (verdict, _) in expected.items()
    }
    for subject, (_, words) in expected.items():
        assert fnmatch.fnmatch(str(bad[subject]), f"*{words}*"), str(bad[subject])
        assert bad[subject].remedy
    assert not any("\n" in str(finding) for finding in findings)  # one line each


@pytest.mark.parametrize(
    ("capability", "code"),
    [
        ((9, 0), "native"),
        ((8, 6), "native"),
        ((7, 5), "native"),
        ((6, 1), "native"),
        ((5, 2), "none"),
        ((10, 0), "ptx"),
    ],
)
def test_code_of_the_wheel(capability, code):
    assert verdicts.code_for(WHEEL, capability) == code
    assert verdicts.code_for((), capability) == "native"  # not known to be missing
    assert verdicts.code_for(("sm_80",), (9, 0)) == "none" and verdicts.code_for(("compute_80",), (9, 0)) == "ptx"
    assert verdicts.code_for(("sm_89",), (8, 6)) == "none" and verdicts.code_for(("sm_120",), (12, 0)) == "native"


def test_answers_of_nvidia_smi():
    text = "NVIDIA H100 80GB HBM3, 580.65.06, 81559, 81029, 9.0\nTesla T4, 580.65.06, 15360, [N/A], 7.5\n"
    facts = machine.cards_of_nvidia_smi(text)
    assert facts["driver"] == "580.65.06"
    assert facts["cards"][1] == Card("Tesla T4", (7, 5), 15.0, None)
    assert facts["cards"][0].capability == (9, 0) and facts["cards"][0].memory == pytest.approx(79.65, abs=0.01)
    old = machine.cards_of_nvidia_smi("Tesla V100-SXM2-16GB, 450.80.02, 16160, 16100\n")
    assert old["cards"] == (Card("Tesla V100-SXM2-16GB", None, 16160 / 1024, 16100 / 1024),)


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        ("echo 'NVIDIA L4, 550.54, 23034, 22000, 8.9'", {"driver": "550.54"}),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", {"driver_problem": "NVML"}),
        ("echo 'No devices were found'; exit 6", {}),
        (
            "echo 'Unable to determine the device handle for GPU0: Unknown Error'",
            {"driver_problem": "handle"},
        ),
        ("echo 'L4, 550.54, 23034, 22000, 8.9'; echo 'WARNING: infoROM is corrupted'; exit 14", {"driver": "550.54"}),
        (
            'case "$*" in *compute_cap*) echo "compute_cap is no field"; exit 2;; esac; echo "K80, 440.1, 9, 9"',
            {"driver": "440.1"},
        ),
    ],
)
def test_programs_in_place_of_nvidia_smi(tmp_path, monkeypatch, words, facts):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{words}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = machine.examine_host(str(tmp_path))
    assert found.get("driver") == facts.get("driver") and len(found["cards"]) == ("driver" in facts)
    assert facts.get("driver_problem", "") in (found.get("driver_problem") or "")
    assert ("driver_problem" in found) == ("driver_problem" in facts)


def test_notes_of_gpus():
    text = (
        "I0000 00:00:1.8 77 port.cc:153] oneDNN custom operations are on.\n"
        "W0000 00:00:1.9 77 gpu_device.cc:2342] Cannot dlopen some GPU libraries. Please make sure\n"
    )
    assert machine.notes_of_gpus(text) == "Cannot dlopen some GPU libraries. Please make sure"
    assert machine.notes_of_gpus("") == ""


def test_lines_of_logs(monkeypatch):
    """The machine in a line, then what is not ok."""
    monkeypatch.setattr(doctor, "examine_machine", lambda results: dataclasses.replace(GOOD, available=1, cxx=None))
    line, warning = doctor.lines_for_log("results")
    assert line.startswith(
        "TensorFlow: 2.21.0, CUDA 12.5.1, cuDNN 9; Driver: 580.65.06, CUDA up to 13.0; GPU: NVIDIA H100"
    )
    assert line.endswith("; Custom ops: CUDA kernels, built with g++13.3.0 and nvcc13.0.88 for sm90")
    assert warning == "Warning: Memory: 128 GB, 1 GB of them free. Large networks may not fit: end other programs"


def test_users_without_a_home(monkeypatch):
    """A training goes on: that nothing is built is a line of its log."""

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("dnnlib.tflib.ops.build.cache_dir", nowhere)
    assert machine.examine_tensorflow()["folders"] == ()


def run_doctor(**env):
    command = [sys.executable, "-m", "dnnlib.tflib.doctor", "--result-dir", "results"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True)


def test_this_machine():
    """The command runs, and every line has a verdict."""
    done = run_doctor()
    *lines, empty, summary = done.stdout.splitlines()
    assert empty == "" and {line.split()[0] for line in lines} <= {"ok", "warning", "problem"}
    assert "Traceback" not in done.stderr
    assert done.returncode == any(line.startswith("problem") for line in lines)
    assert summary == "All is well." or "problem" in summary
    subjects = [line[9:].partition(":")[0] for line in lines]
    for subject in ("System", "TensorFlow", "Driver", "GPU", "nvcc", "C++ compiler", "Custom ops", "oneDNN", "Memory"):
        assert subject in subjects


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ImportError('libfoo.so.1: cannot open shared object file')", "libfoo.so.1: cannot open"),
        ("raise ImportError('Failed to load the runtime: no DLL.\\n\\nIf you need help,\\nask')", "runtime: no DLL."),
        ("import os; os.kill(os.getpid(), 4)", "ended by SIGILL. TensorFlow's wheels need a processor with AVX"),
    ],
)
def test_tensorflow_that_cannot_be_imported(tmp_path, code, words):
    (tmp_path / "tensorflow.py").write_text(code)
    done = run_doctor(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert line.startswith("problem  TensorFlow: cannot be imported: ") and words in line
    assert "Memory: " in done.stdout and "1 problem, " in done.stdout
