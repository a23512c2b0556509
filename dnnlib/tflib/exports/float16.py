"""Which weights of a program may be stored as float16."""

import numpy as np

_LIMITS = np.finfo(np.float16)


def stored_as_float16(values: np.ndarray, fewest: int) -> np.ndarray | None:
    """An array of float32 as float16; None where its numbers would become infinite or vanish.

    fewest: elements of an array that is worth the operator by which float16 becomes float32; None for smaller ones.
    """
    largest = np.max(np.abs(values), initial=0)
    fits = largest == 0 or _LIMITS.tiny <= largest <= _LIMITS.max
    return values.astype(np.float16) if fits and values.size >= fewest else None
