"""Whether a program that was written computes what the network does."""

from collections.abc import Callable, Mapping

import numpy as np

from .comparing import VerificationError, largest_difference, limit_of
from .programs import Program

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""What computes the output of a program for inputs by name."""
_MINIBATCHES = (1, 3)


def compared(program: Program, run: Run) -> list[str]:
    """What a program that runs elsewhere computes, compared with the network itself. Returns lines on it.

    Raises VerificationError.
    """
    difference, limit = 0.0, 0.0
    for num_samples in _MINIBATCHES:
        inputs = program.example(num_samples)
        before, after = program.expected(inputs), run(inputs)
        difference = max(difference, largest_difference(before, after))
        limit = max(limit, limit_of(before))
    line = f"{program.output} differs by {difference:.2g} at most (tolerance {limit:.2g})"
    if not difference <= limit:
        raise VerificationError(line)
    return [line]
