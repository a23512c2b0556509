"""Makes networks of those of files, as `Changes` say."""

from collections.abc import Callable

from dnnlib.tflib.checkpoints.descriptions import Networks

from . import averaging, blending, resizing
from .changes import Changes


def make(source: str | None, changes: Changes, read: Callable[[str], Networks]) -> tuple[Networks, list[str]]:
    """The networks of a file after changes, and lines on what was done.

    First they are averaged, then blended, then made larger or smaller.

    Args:
        source: the file; None: `changes.average`.
        changes: what is asked for.
        read: gives the networks of a file.

    Raises:
        UserError: files that cannot be read, and changes that are impossible with these networks.
    """
    if source is None:
        nets, lines = averaging.averaged(changes.average, read)
        source = "the average"
    else:
        nets, lines = read(source), []
    if changes.blend is not None:
        others = read(changes.blend)
        nets, more = blending.blended(source, nets, changes.blend, others, changes.blend_at, changes.blend_width)
        lines += more
    if changes.resizes:
        nets, more = resizing.resized(nets, changes.resolution, changes.channels, changes.labels)
        lines += more
    return nets, lines
