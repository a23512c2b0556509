"""Packages that convert and run programs."""

import contextlib
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
