"""What is installed, as a wheel or as a clone: its version, and the files that come with it.

Needs nothing but Python's own library: setup.py asks for the version here, too.
"""

import os
import re
from pathlib import Path

NAME = "stylegan2-keras"
_ROOT = Path(__file__).resolve().parent.parent
_OF_WHEEL = _ROOT / "stylegan2"  # where a wheel has `demo` and `configs`
_IS_WHEEL = (_OF_WHEEL / "demo").is_dir()
_NEXT = "0.1.0"  # the version that a clone without tags is on the way to


def version() -> str:
    """The version: of the installed wheel, of an unpacked sdist, or of a clone, by its tags.

    A clone is at `1.2.0` where the tag `v1.2.0` is checked out, else at `1.2.0.post3+g0123abc`, so many commits later;
    without tags at `0.1.0.dev0+g0123abc`, without git or a history at `0.1.0.dev0`.
    """
    if _IS_WHEEL:
        from importlib import metadata  # slow, like subprocess: most do not ask for the version

        return metadata.version(NAME)
    if (_ROOT / "PKG-INFO").exists():
        return re.search(r"^Version: (\S+)", (_ROOT / "PKG-INFO").read_text(encoding="utf-8"), re.MULTILINE)[1]
    return version_of(_described())


def version_of(description: str) -> str:
    """The version that `git describe --long --always --dirty` means: 'v1.2.0-3-g0123abc', or '0123abc' without tags."""
    match = re.fullmatch(r"(?:v(\d+(?:\.\d+)*(?:(?:a|b|rc)\d+)?)-(\d+)-g)?([0-9a-f]+)(-dirty)?", description)
    if match is None:
        return f"{_NEXT}.dev0"
    tag, commits, commit, dirty = match.groups()
    if tag and commits == "0" and not dirty:
        return tag
    return f"{tag}.post{commits}" * bool(tag) + f"{_NEXT}.dev0" * (not tag) + f"+g{commit}" + ".dirty" * bool(dirty)


def _described() -> str:
    if not (_ROOT / ".git").exists():  # else git would tell of a repository around this folder
        return ""
    import subprocess

    command = ["git", "-C", str(_ROOT), "describe", "--tags", "--match=v[0-9]*", "--long", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or a repository that it does not trust
        return ""


def find(path: str) -> str:
    """The path as it is, or, where nothing is there, the path of the file that comes along under this name.

    So 'demo/symbols-32x32.pkl' and 'configs/demo.yaml' are found from any folder.
    """
    return str(_own(path)) if path in names(os.path.dirname(path)) and not os.path.lexists(path) else path


def names(folder: str) -> list[str]:
    """The files that come along in a folder, by the names under which `find` finds them."""
    there = sorted(_own(folder).glob("*")) if folder in ("demo", "configs") else []
    return [os.path.join(folder, path.name) for path in there if path.is_file()]


def _own(path: str) -> Path:
    return (_OF_WHEEL if _IS_WHEEL else _ROOT) / path
