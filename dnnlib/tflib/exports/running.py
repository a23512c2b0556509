"""Packages that convert and run programs."""

import contextlib
import importlib
from collections.abc import Iterator

from dnnlib.errors import UserError, is_out_of_memory, reason_of


@contextlib.contextmanager
def failing(package: str) -> Iterator[None]:
    """Makes what a package raises a UserError, except where there is no memory or no place for a file."""
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if "bad_alloc" in str(error) or "Failed to allocate memory" in str(error):  # of onnxruntime
            raise MemoryError from None
        raise UserError(f"{package} fails: {reason_of(error, with_kind=True)}") from error


def check_import(package: str) -> None:
    """Raises UserError for a package that is there, but cannot be imported, as with other versions of what it needs."""
    try:
        importlib.import_module(package)
    except Exception as error:
        reason = reason_of(error, with_kind=True)
        raise UserError(f"{package} cannot be imported: {reason}; is its version one for those beside it?") from None
