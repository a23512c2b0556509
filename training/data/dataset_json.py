"""`dataset.json`, as data sets of StyleGAN2-ADA have it: {"labels": [["NAME", LABEL], ...]}, or {"labels": null}.

A label is a class, which is an integer from 0, or a label vector, which is a list of numbers. Ours may have "classes",
too: names of the classes, in the order of their numbers.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnnlib.errors import UserError, listed

from .containers import member_name

MAX_CLASSES = 1 << 20
_EXPECTED = 'expected {"labels": [["NAME", 3], ...]}, or {"labels": null} where there are none'
_MAX_LISTED = 10  # problems of a kind
_MAX_NAMES = 5
_CHUNK = 4096  # labels converted at once
_LARGEST = float(np.finfo(np.float32).max)


def read_labels(path: str, content: bytes, names: Sequence[str]) -> tuple[np.ndarray | None, list[str]]:
    """The labels of images, and the names of the classes, if they have any.

    Args:
        path: of the file, for messages.
        content: of the file; UTF-8, 16 or 32, with a byte order mark or without.
        names: of the images, relative to the folder of the file.

    Returns:
        Classes, integers [N]; or label vectors, float32 [N, label_size]; None where the file says that there are none.
        And the names of all classes, [] where there are none, or something else stands there.

    Raises:
        UserError: for a file that cannot be read, and for all entries that are wrong, by name.
    """
    top = _object(path, content)
    entries = _entries(path, top)
    if entries is None:
        return None, []
    problems, labels = _by_name(entries)
    keys = {name: _key(name) for name in names}
    missing = [name for name, key in keys.items() if key not in labels]
    if missing:
        problems.append(f"{len(missing)} of {len(names)} images have no label, {_such_as(missing)}")
    unknown = sorted(labels.keys() - set(keys.values()))
    if unknown:
        images = "image that is" if len(unknown) == 1 else "images that are"
        problems.append(f"has labels of {len(unknown)} {images} not there, {_such_as(unknown)}")
    there = {name: labels[key] for name, key in keys.items() if key in labels}
    array = _array(list(there.values()))
    if array is None and there:
        problems += _wrong_labels(there)
    if problems:
        raise UserError(f"{path}: " + "\n  ".join(["cannot be used:", *problems] if len(problems) > 1 else problems))
    return array, _classes(top, array)


def _key(name: str) -> str:
    """What names of one image have in common: macOS takes letters with accents apart, others do not."""
    return unicodedata.normalize("NFC", member_name(name))


class _Object(list):
    """An object of JSON as pairs, so that names which are there twice are seen."""


def _object(path: str, content: bytes) -> _Object:
    """The object that the file is. Raises UserError if it is none."""
    try:
        top = json.loads(content, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: is no JSON: line {error.lineno} column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply; {_EXPECTED}") from None
    except ValueError as error:  # not UTF-8, or a number of thousands of digits
        raise UserError(f"{path}: is no JSON: {error}") from None
    if not isinstance(top, _Object):
        found = "a list; put it into an object" if isinstance(top, list) else _short(top)
        raise UserError(f"{path}: is {found}; {_EXPECTED}")
    return top


def _entries(path: str, top: _Object) -> list | None:
    """The list of labels; None where the file says that there are none. Raises UserError if it does not say."""
    found = [value for key, value in top if key == "labels"]
    if not found:
        there = [key for key, _ in top]
        has = f"only {', '.join(map(_short, listed(there, _MAX_NAMES)))}" if there else "nothing"
        raise UserError(f'{path}: has no "labels", {has}; {_EXPECTED}')
    if len(found) > 1:
        raise UserError(f'{path}: has "labels" {len(found)} times')
    if found[0] is not None and not isinstance(found[0], list):
        raise UserError(f'{path}: "labels" is {_short(found[0])}; {_EXPECTED}')
    return found[0]


def _classes(top: _Object, labels: np.ndarray | None) -> list[str]:
    """The names of classes. Other programs may write something else there."""
    names = next((value for key, value in top if key == "classes"), None)
    if not isinstance(names, list) or not all(isinstance(name, str) and len(name) <= 255 for name in names):
        return []
    fits = labels is not None and labels.ndim == 1 and labels.max() < len(names) <= MAX_CLASSES
    return names if fits and len(set(names)) == len(names) else []


def _by_name(entries: list) -> tuple[list[str], dict[str, Any]]:
    """What is wrong with entries, and the labels by the names of the images."""
    malformed, twice = [], []
    labels: dict[str, Any] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, (list, tuple)) or len(entry) != 2 or not isinstance(entry[0], str):
            malformed.append(f'entry {number} of "labels" is {_short(entry)}, expected ["NAME", 3]')
            continue
        name, label = _key(entry[0]), entry[1]
        first = labels.setdefault(name, label)
        if first is not label and first != label:  # NaN is unlike itself
            twice.append(f"{_short(name)} has two labels, {_short(labels[name])} and {_short(label)}")
    return [*listed(malformed, _MAX_LISTED), *listed(twice, _MAX_LISTED)], labels


# ----------------------------------------------------------------------------
# The labels themselves.


def _array(labels: list) -> np.ndarray | None:
    """Classes [N] or label vectors, float32 [N, label_size]; None if some are wrong or unlike the others."""
    parts = []
    for begin in range(0, len(labels), _CHUNK):
        try:
            part = np.array(labels[begin : begin + _CHUNK])
        except (ValueError, OverflowError):  # lists of several lengths; numbers out of range
            return None
        if part.dtype.kind not in "biuf" or part.ndim not in (1, 2) or 0 in part.shape:
            return None
        if part.ndim == 1 and not ((part >= 0) & (part < MAX_CLASSES) & (part == np.floor(part))).all():
            return None
        if part.ndim == 2 and not (np.abs(part.astype(np.float64)) <= _LARGEST).all():
            return None
        parts.append(part.astype(np.int64 if part.ndim == 1 else np.float32))
    if len({part.shape[1:] for part in parts}) != 1:
        return None
    return np.concatenate(parts)


def _wrong_labels(labels: dict[str, Any]) -> list[str]:
    """What is wrong with labels, by name, and what would help."""
    wrong = {name: problem for name, label in labels.items() if (problem := _wrong(label))}
    kinds = {name: _kind(label) for name, label in labels.items() if name not in wrong}
    usual = max(Counter(kinds.values()).items(), key=lambda item: item[1], default=("", 0))[0]
    wrong.update({name: f"is of {kind}, most are of {usual}" for name, kind in kinds.items() if kind != usual})
    problems = [f"the label of {_short(name)} {problem}" for name, problem in wrong.items()]
    helps = ["labels are to be class numbers, or lists of numbers of one length"]
    texts = sorted({label for label in labels.values() if isinstance(label, str)})
    if texts and all(map(str.isdecimal, texts)):
        helps.append("numbers are written without quotes")
    elif texts:
        numbered = ", ".join(f"{number} for {_short(text)}" for number, text in enumerate(texts[:_MAX_NAMES]))
        helps.append(f"classes are numbered: {numbered}")
    return [*listed(problems, _MAX_LISTED), *helps]


def _wrong(label: Any) -> str | None:
    """What is wrong with a label, whatever the others are."""
    if type(label) is list:
        if not label:
            return "is an empty list"
        bad = [number for number in label if not _is_number(number)]
        return f"has {_short(bad[0])} in it, expected finite numbers" if bad else None
    if not _is_number(label):
        return f"is {_short(label)}, expected a class or a list of numbers"
    if label != int(label):
        return f"is {label}, expected class numbers; as a label vector it is written [{label}]"
    if not 0 <= label < MAX_CLASSES:
        return f"is {label}, expected class numbers from 0 to {MAX_CLASSES - 1}"
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (bool, int, float) and -_LARGEST <= value <= _LARGEST


def _kind(label: Any) -> str:
    return f"{len(label)} numbers" if type(label) is list else "a class"


def _short(value: Any) -> str:
    """A value of JSON as it is written there, cut; of lists and objects, what they are."""
    if isinstance(value, list):
        return "an object" if isinstance(value, _Object) else f"a list of {len(value)}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _such_as(names: Sequence[str]) -> str:
    return f"such as {', '.join(names[:_MAX_NAMES])}"
