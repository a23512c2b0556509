"""Writes the lock files: exact versions of everything, for each supported Python.

Usage: python tools/lock.py python3.10 python3.11 python3.12 python3.13

Each interpreter asks pip what it would install; versions that differ between Pythons get a marker.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMON = ["pillow", "scipy", "requests", "tqdm", "scikit-learn", "tensorboard", "matplotlib", "pyyaml", "setuptools"]
TOOLS = ["pytest", "pytest-xdist", "hypothesis", "ruff", "lmdb"]
STACKS = {
    "requirements.lock": (["tensorflow==2.21.0", "numpy"], ("3.10", "3.11", "3.12", "3.13")),
    "requirements-addons.lock": (
        ["tensorflow==2.15.1", "tensorflow-addons==0.23.0", "numpy<2"],
        ("3.10", "3.11"),
    ),
}


def resolve(python: str, packages: list[str]) -> dict[str, str]:
    """What pip would install for an interpreter: versions by name."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [python, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--report", report.name]
        subprocess.run([*command, *packages], check=True)
        items = json.loads(Path(report.name).read_text())["install"]
    return {item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"] for item in items}


def merge(versions: dict[str, dict[str, str]]) -> list[str]:
    """Lines of a lock file from the versions for each Python."""
    lines = []
    for name in sorted({name for of_python in versions.values() for name in of_python}):
        by_version: dict[str, list[str]] = {}
        for python, of_python in versions.items():
            if name in of_python:
                by_version.setdefault(of_python[name], []).append(python)
        for version, pythons in by_version.items():
            marker = "" if len(pythons) == len(versions) else " ; " + " or ".join(map(_marker, pythons))
            lines.append(f"{name}=={version}{marker}")
    return lines


def _marker(python: str) -> str:
    return f'python_version == "{python}"'


def main() -> None:
    """Writes every lock file for the interpreters given."""
    interpreters = {}
    for python in sys.argv[1:]:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        interpreters[subprocess.check_output([python, "-c", code], text=True).strip()] = python
    for name, (packages, pythons) in STACKS.items():
        versions = {v: resolve(interpreters[v], [*packages, *COMMON, *TOOLS]) for v in pythons}
        head = f"# Exact versions for Python {', '.join(pythons)}. Written by tools/lock.py.\n"
        (ROOT / name).write_text(head + "\n".join(merge(versions)) + "\n")
        print(f"{name}: {len(versions)} Pythons")


if __name__ == "__main__":
    main()
