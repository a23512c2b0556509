"""The little of pytest that tests of golden data use, where pytest is not installed."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any


class Skipped(Exception):
    """A test does not apply here."""


class _Mark:
    def __init__(self, name: str, args: tuple, kwargs: dict):
        self.name, self.args, self.kwargs = name, args, kwargs

    def __call__(self, function: Callable) -> Callable:
        function.pytestmark = [*getattr(function, "pytestmark", []), self]
        return function


class _Marks:
    def __getattr__(self, name: str) -> Callable[..., Any]:
        def mark(*args: Any, **kwargs: Any) -> Any:
            if len(args) == 1 and callable(args[0]) and not kwargs:
                return _Mark(name, (), {})(args[0])
            return _Mark(name, args, kwargs)

        return mark


class _Param:
    def __init__(self, *values: Any, **_options: Any):
        self.values = values


mark, param = _Marks(), _Param


def skip(reason: str = "") -> None:
    """Ends a test that does not apply."""
    raise Skipped(reason)


def fixture(function: Callable | None = None, **_options: Any) -> Any:
    """Tests that need fixtures are not run; the decorator must exist."""
    return function or (lambda inner: inner)


@contextlib.contextmanager
def raises(kinds: Any, match: str = "") -> Iterator[None]:
    """Expects an exception."""
    try:
        yield
    except kinds as error:
        if not re.search(match, str(error)):
            raise
    else:
        raise AssertionError(f"{kinds} was not raised")


class _Approx:
    def __init__(self, value: Any, rel: float, abs_: float):
        self.value, self.bound = value, max(rel * abs(value), abs_)

    def __eq__(self, other: Any) -> bool:
        return abs(other - self.value) <= self.bound


def approx(value: Any, rel: float = 1e-6, abs: float = 1e-12) -> Any:
    """A number that is equal to near ones."""
    return _Approx(value, rel, abs)
