"""The process of one part: imports, waits until the device is free, and writes records as lines of JSON to stdout.

Everything else that is printed goes to stderr.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
_STAND_INS = Path(__file__).parent / "stand_ins"


def add_stand_ins() -> None:
    """Makes what is not installed importable: the little that is used of pytest and google_crc32c."""
    missing = [path.stem for path in _STAND_INS.glob("*.py") if importlib.util.find_spec(path.stem) is None]
    if missing:
        sys.path.append(str(_STAND_INS))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(_STAND_INS)]))
        print(f"Not installed, replaced for this report: {', '.join(sorted(missing))}", file=sys.stderr)


def _end_with(parent: IO[str]) -> None:
    """Ends this process and what it started when the parent ends or closes the pipe."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            parent.read()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _check_gpu() -> None:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        sys.exit("TensorFlow sees no GPU, although the machine has one; its messages above may say why")


def main() -> None:
    """Runs the function that the command line names, once stdin says so."""
    function, kwargs = sys.argv[1], json.loads(sys.argv[2])
    records = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]
    add_stand_ins()
    module, name = function.rsplit(".", 1)
    run = getattr(importlib.import_module(module), name)
    if not sys.stdin.readline():
        return
    _end_with(sys.stdin)
    if "needs-gpu" in sys.argv[3:]:
        _check_gpu()
    for record in run(**kwargs):
        print(record.line(), file=records, flush=True)


if __name__ == "__main__":
    main()
