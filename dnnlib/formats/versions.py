"""Version numbers of this project's own formats, of which docs/formats.md says where they stand and what reads what."""

from typing import Any

from dnnlib.errors import short

KEY = "format_version"
"""What the number is called in files that have names for their parts."""


def problem_of(version: Any, newest: int, oldest: int = 1) -> str | None:
    """Why a file of a format version cannot be read; None if it can.

    version: as the file has it. newest, oldest: that can be read.
    """
    if isinstance(version, int) and not isinstance(version, bool):
        if oldest <= version <= newest:
            return None
        of = "a later" if version > newest else "an earlier"
        which = f"format version {short(version, 40)}, of {of} version of this project"
        advice = "; install that version or a newer one" if version > newest else ""
    else:
        which, advice = f"format version {short(version, 40)}, which is none", ""
    reads = f"{oldest} to {newest}" if oldest < newest else f"{newest}"
    return f"{which}; this one reads {reads}{advice}"
