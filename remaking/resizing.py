"""Networks for other images or labels, to be trained further: at first they do what the old ones did."""

from collections.abc import Callable, Iterator

from dnnlib.errors import Problems, UserError
from dnnlib.resolutions import Resolution, resolution_of, size_text
from dnnlib.tflib.checkpoints.descriptions import Networks, lines_by_role
from dnnlib.tflib.network import Network
from training.loop.fitting import fitted, other_base

from .channels import with_channels
from .classes import with_classes
from .copies import assign, is_generator, remade
from .growing import grown, sized
from .shrinking import shrunk

_Step = Callable[[Network], tuple[Network, str]]


def resized(
    nets: Networks, size: tuple[int, int] | None, channels: int | None, labels: int | None
) -> tuple[Networks, list[str]]:
    """Networks for images of another size `(height, width)`, with other channels, or other labels; None: as they are.

    Returns the networks, and lines on what they do at first.

    Raises:
        UserError: with all that is impossible.
    """
    problems = Problems()
    result, lines = {}, {}
    for role, net in nets.items():
        with problems.gather(role):
            done = []
            for step in _steps(net, size, channels, labels):
                net, line = step(net)
                done.append(line)
            result[role], lines[role] = net, list(dict.fromkeys(done))
    problems.report()
    return result, lines_by_role(lines)


def _steps(net: Network, size: tuple[int, int] | None, channels: int | None, labels: int | None) -> Iterator[_Step]:
    """What leads to the network that is asked for."""
    is_maker = is_generator(net)
    if labels is not None and labels != net.input_shapes[1][1]:
        yield lambda net: with_classes(net, labels)
    if channels is not None and channels != (net.output_shape if is_maker else net.input_shape)[1]:
        yield lambda net: with_channels(net, channels)
    if size is not None:
        old = net.model.resolution
        new = _target(old, size)
        times = new.log2 - new.first_log2 - (old.log2 - old.first_log2)
        if new.base != old.base:
            yield lambda net: _in_proportion(net, new)
        if times < 0:
            yield lambda net: shrunk(net, new)
        for _ in range(times):
            yield grown


def _target(old: Resolution, size: tuple[int, int]) -> Resolution:
    """The resolution of a size, with the base that a network has if possible."""
    try:
        return resolution_of(size, old.base)
    except ValueError:
        return resolution_of(size)


def _in_proportion(net: Network, new: Resolution) -> tuple[Network, str]:
    """A network with as many levels and another base. Raises UserError where layers would be others."""
    old = net.model.resolution
    times = old.log2 - old.first_log2
    result = remade(net, **sized(new, new.base[0] << times, new.base[1] << times))
    problem = other_base(result, net)
    if problem:
        raise UserError(f"--resolution={size_text(new[:2])}: {problem}")
    values, done = fitted(result, net)
    assign(result, values)
    return result, "; ".join(done)
