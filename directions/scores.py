"""Tables of labelled samples: CSV with seeds, or files of vectors, and scores of any number of attributes."""

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dnnlib.errors import Problems, UserError, counted, enumerated, printable
from dnnlib.flags import MAX_SEED

from .fits import LEAST

_SAMPLES = {"seed": True, "seeds": True, "file": False, "files": False, "vector": False}
"""What the column of samples is called, and whether it has seeds."""
_MOST_ROWS = 5_000_000
_MOST_CLASSES = 100
_MOST_PROBLEMS = 10


class Target(NamedTuple):
    """What one direction is fitted to. name: of the direction. rows: `[M]`, samples that have a score. scores: `[M]`.

    logistic: whether scores are 0 and 1.
    """

    name: str
    rows: np.ndarray
    scores: np.ndarray
    logistic: bool


@dataclass
class Table:
    """A table. samples: seeds, or paths of files of vectors. columns: by name, the text of each sample's cell."""

    path: str
    samples: list[int] | list[str]
    columns: dict[str, list[str]]


def read(path: str) -> Table:
    """Reads a table: a line of names of columns, one of them `seed` or `file`, then a line for each sample.

    Two columns without names are seeds and scores. Paths of files are relative to the folder of the table.

    Raises UserError with everything that is wrong.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise UserError(f"{path}: {'is a folder' if os.path.isdir(path) else 'no such file'}, expected a CSV file")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=head.count)
            rows = [row for row in csv.reader(file, delimiter=delimiter) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV file ({printable(str(error), 80)})") from None
    names = [cell.strip() for cell in rows[0]] if rows else []
    if len(names) == 2 and names[0].isdecimal():
        names = ["seed", os.path.splitext(os.path.basename(path))[0]]
    else:
        rows = rows[1:]
    keys = [idx for idx, name in enumerate(names) if name.lower() in _SAMPLES]
    if len(keys) != 1 or len(names) < 2 or len(set(names)) < len(names) or not all(names):
        expected = "a first line such as 'seed,smile': one column seed or file, and others with scores, each of a name"
        raise UserError(f"{path}: expected {expected}; got {enumerated(names, 8) or 'nothing'}")
    if not rows or len(rows) > _MOST_ROWS:
        raise UserError(f"{path}: has {counted(len(rows), 'sample')}, expected 1 to {_MOST_ROWS}")
    is_seed = _SAMPLES[names[keys[0]].lower()]
    problems = [
        f"{path}: sample {number} has {counted(len(row), 'cell')}, expected {len(names)}"
        for number, row in enumerate(rows, 1)
        if len(row) != len(names)
    ]
    samples = [_sample(path, row[keys[0]].strip(), is_seed) if len(row) == len(names) else 0 for row in rows]
    problems += [f"{path}: sample {number}: {text}" for number, text in enumerate(samples, 1) if isinstance(text, _No)]
    if problems:
        more = [f"... and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise UserError("\n".join([*problems[:_MOST_PROBLEMS], *more]))
    others = [idx for idx in range(len(names)) if idx not in keys]
    return Table(path, samples, {names[idx]: [row[idx].strip() for row in rows] for idx in others})


class _No(str):
    """What is wrong with a cell."""


def _sample(path: str, cell: str, is_seed: bool) -> "int | str":
    if is_seed:
        whole = cell.isascii() and cell.isdecimal() and len(cell) <= 10
        if not whole or int(cell) > MAX_SEED:
            return _No(f"expected a seed from 0 to {MAX_SEED}, got {printable(cell, 40)!r}")
        return int(cell)
    file = os.path.join(os.path.dirname(path), os.path.expanduser(cell))
    return file if os.path.isfile(file) else _No(f"{printable(file)}: no such file")


def targets(table: Table, wanted: Sequence[str] | None = None, fit: str = "auto") -> list[Target]:
    """What directions are to be fitted to.

    A column of numbers is fitted linearly, of 0 and 1 alone logistically; of a column of other texts there is a
    direction for each class, `column-class`, that tells it from all others. Samples with an empty cell are left out.

    Args:
        table: see `read`.
        wanted: names of columns; None: all.
        fit: 'auto'; 'linear' or 'logistic': how columns of numbers are fitted.

    Raises:
        UserError: for columns that are not there, or cannot be fitted, with all of them.
    """
    problems, result = Problems(), []
    for name in table.columns if wanted is None else wanted:
        with problems.gather(f"{table.path}: {printable(name, 60)}"):
            if name not in table.columns:
                raise UserError(f"there is no such column, only {enumerated(list(table.columns), 8)}")
            result += _of_column(name, table.columns[name], fit)
    problems.report()
    return result


def _of_column(name: str, cells: Sequence[str], fit: str) -> list[Target]:
    rows = np.array([row for row, cell in enumerate(cells) if cell], int)
    if len(rows) < LEAST:
        raise UserError(f"has {counted(len(rows), 'score')}, expected {LEAST} or more")
    numbers = [_number(cells[row]) for row in rows]
    if None not in numbers:
        scores = np.array(numbers, np.float64)
        values = np.unique(scores)
        if len(values) == 1:
            raise UserError(f"all scores are {values[0]:g}: there is nothing to tell")
        logistic = fit == "logistic" or (fit == "auto" and len(values) == 2 and set(values) == {0, 1})
        if logistic and len(values) != 2:
            raise UserError(f"--fit=logistic tells two values, got {len(values)}; --fit=linear fits them")
        scores = (scores == values[-1]).astype(np.float64) if logistic else scores
        _check_both(scores, logistic)
        return [Target(name, rows, scores, logistic)]
    if fit == "linear":
        wrong = next(cells[row] for row, number in zip(rows, numbers, strict=True) if number is None)
        raise UserError(f"--fit=linear takes numbers, got {printable(wrong, 40)!r}")
    texts = np.array([cells[row] for row in rows])
    classes = sorted(set(texts.tolist()))
    if not 2 <= len(classes) <= _MOST_CLASSES:
        raise UserError(f"has {counted(len(classes), 'class')}, expected 2 to {_MOST_CLASSES}, or numbers")
    result = []
    for of_class in classes[1:] if len(classes) == 2 else classes:
        scores = (texts == of_class).astype(np.float64)
        _check_both(scores, True)
        result.append(Target(f"{name}-{of_class}", rows, scores, True))
    return result


def _check_both(scores: np.ndarray, logistic: bool) -> None:
    fewest = min(int(scores.sum()), int(len(scores) - scores.sum())) if logistic else LEAST
    if fewest < 5:
        raise UserError(f"has {counted(fewest, 'sample')} of one of two classes, expected 5 or more")


def _number(cell: str) -> float | None:
    if cell.lower() in ("true", "false"):
        return float(cell.lower() == "true")
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) and cell.isascii() and "_" not in cell else None
