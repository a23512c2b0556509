"""How runs are executed."""

from . import local

__all__ = ["local"]
