"""Variables of generators that training does not change by gradients, for files that lack them."""

import re
import sys
from dataclasses import replace

import numpy as np

from dnnlib.errors import enumerated
from dnnlib.tflib import fork_pickles, network_state
from dnnlib.tflib.model_building import variable_shapes
from dnnlib.tflib.network import Network
from dnnlib.tflib.network_state import NetworkState

_AVERAGE = "dlatent_avg"
_NOISE = re.compile(r"G_synthesis/noise\d+")
_MOST_NUMBERS = 1 << 23  # in random Z and labels
_MOST_DLATENTS = 1 << 26  # numbers in W
_MOST_NOISE = 1 << 24  # numbers in noise images: those of 2048x2048 have 11 million


def completed(state: NetworkState, name: str) -> NetworkState:
    """The state of a generator with the untrained variables that it lacks; any other state as it is.

    Scripts that average models leave them out where they look for variables with a gradient. The average of W is that
    of random Z, noise images are normal numbers of a fixed seed, and the level of detail is 0, that of a network that
    has grown. A line on stderr says so.

    name: of the file, for messages. Raises as `Network.from_state`.
    """
    if not {"mapping", "synthesis"} <= state.components.keys():
        return state
    state = fork_pickles.without_additions(state)
    plan = network_state.plan(state)
    shapes = variable_shapes(plan.class_name, plan.build_kwargs)
    missing = {key: shape for key, shape in shapes.items() if key not in plan.values}
    noise = {key: shape for key, shape in missing.items() if _NOISE.fullmatch(key)}
    is_known = missing.keys() <= {_AVERAGE, "lod", *noise}
    if not missing or not is_known or sum(int(np.prod(shape)) for shape in noise.values()) > _MOST_NOISE:
        return state
    random = np.random.RandomState(0)
    values = {key: random.randn(*missing[key]) if key in noise else np.zeros(missing[key]) for key in missing}
    state = replace(state, variables=state.variables | {key: x.astype(np.float32) for key, x in values.items()})
    what = [key for key in ("lod",) if key in missing] + list(noise)
    if _AVERAGE in missing:
        state.variables[_AVERAGE] = average_w(state)
        what.insert(0, f"{_AVERAGE} (now that of random Z)")
    print(f"{name}: network {state.name!r} lacks untrained variables: {enumerated(what, 6)}", file=sys.stderr)
    return state


def average_w(state: NetworkState) -> np.ndarray:
    """The mean of W of a generator over random latents, with its classes in turn, `[dlatent_size]`."""
    mapping = Network.from_state(state).components.mapping
    (_, latent_size), (_, label_size) = mapping.input_shapes
    most = min(_MOST_NUMBERS // (latent_size + label_size), _MOST_DLATENTS // int(np.prod(mapping.output_shape[1:])))
    count = max(1, min(4096, most))
    z = np.random.RandomState(0).randn(count, latent_size)
    labels = (np.arange(count)[:, np.newaxis] % label_size == np.arange(label_size)) if label_size else None
    return mapping.run(z, labels)[:, 0].mean(axis=0)
