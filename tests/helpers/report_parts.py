"""Parts of a report that compute nothing, and behave badly."""

import os
import subprocess
import sys
import time

from tools.report.records import Record, text


def figures(number):
    print("this goes to the log")
    yield Record("Figures", {"number": number, "of": 2.0})
    yield Record("Figures", {"number": number + 1, "note": "a | b"}, True)
    yield text("Words", "Two words.")


def goes_wrong():
    yield Record("Figures", {"number": 3})
    raise RuntimeError("what went wrong")


def wrong_result():
    yield Record("Checks", {"what": "pixels"}, False)


def hangs(path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    with open(path, "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    yield Record("Figures", {"number": 4})
    time.sleep(100)
