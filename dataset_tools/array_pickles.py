"""Reads pickles of arrays, as CIFAR is published, without executing anything in them."""

from typing import Any

from dnnlib.errors import UserError
from dnnlib.formats import safe_pickle


def read_array_pickle(path: str) -> Any:
    """The object in a pickle: dicts, lists and tuples of numbers, strings and NumPy arrays.

    Raises UserError for a file that is damaged, or asks for anything else.
    """
    try:
        with open(path, "rb") as file:
            return safe_pickle.load(file, path, "pickle of arrays", safe_pickle.ARRAYS)
    except (safe_pickle.UnsafePickleError, safe_pickle.DamagedPickleError) as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
