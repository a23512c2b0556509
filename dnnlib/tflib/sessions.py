"""Names of TensorFlow 1 for scripts written for the official code: `tf.Session`, `tf.assign`, `var.eval()`, and others.

`python -m dnnlib.tflib.sessions SCRIPT.py ARGUMENTS`, in the folder of this project, runs a script as it is;
`import dnnlib.tflib.sessions` gives the names to a notebook. Everything is computed at once, there are no graphs. Only
what concerns variables of networks is replaced; other names that TensorFlow 2 has under `tf.compat.v1` alone are found
as those are. `docs/porting.md` says what cannot work so.
"""

import runpy
import sys
import warnings
from pathlib import Path
from typing import Any

import tensorflow as tf

from . import global_names, kept
from .tfutil import run


class Session:
    """A session that computes nothing itself: what it is asked for has its value already."""

    def __init__(self, *_args: Any, **_kwargs: Any):
        self.graph = None

    def run(self, fetches: Any, feed_dict: dict[Any, Any] | None = None, **_options: Any) -> Any:
        """Values, see `tfutil.run`. Raises NotImplementedError if something is to be fed: that needs a graph."""
        if feed_dict:
            raise NotImplementedError("feed_dict needs a graph: call a function of what is fed instead")
        return run(fetches)

    def as_default(self) -> "Session":
        """The session, for a `with` block."""
        return self

    def close(self) -> None:
        """Nothing."""

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_exception: object) -> None:
        return None


class InteractiveSession(Session):
    """Likewise."""


_default = Session()


def get_default_session() -> Session:
    """The session."""
    return _default


def assign(ref: Any, value: Any, *_args: Any, **_kwargs: Any) -> tf.Tensor:
    """Gives a variable a value, at once, and returns it."""
    ref.assign(tf.cast(value, ref.dtype))
    kept.weights_changed()
    return tf.identity(ref)


def global_variables(scope: str | None = None) -> list[Any]:
    """The variables of all networks that exist, whose `name` is their global one from now on.

    scope: the beginning of their names.
    """
    known = global_names.variables()
    for name, variable in known.items():
        variable._handle_name = name
    return [variable for name, variable in known.items() if name.startswith(scope or "")]


def trainable_variables(scope: str | None = None) -> list[Any]:
    """Those of them that are trained."""
    return [variable for variable in global_variables(scope) if variable.trainable]


def get_collection(key: str, scope: str | None = None) -> list[Any]:
    """The variables of a collection of `tf.GraphKeys`; of others nothing."""
    keys = tf.compat.v1.GraphKeys
    known = {keys.GLOBAL_VARIABLES: global_variables, keys.TRAINABLE_VARIABLES: trainable_variables}
    return known[key](scope) if key in known else []


def _eval(self: Any, feed_dict: dict[Any, Any] | None = None, session: Session | None = None) -> Any:
    """The value. Raises NotImplementedError as `Session.run`."""
    return (session or _default).run(self, feed_dict)


def install() -> None:
    """Gives TensorFlow these names, and variables and tensors their `eval`."""
    v1 = tf.compat.v1
    stand_ins = [Session, InteractiveSession, get_default_session, assign, global_variables, trainable_variables]
    for module in (tf, v1):
        for stand_in in [*stand_ins, get_collection]:
            setattr(module, stand_in.__name__, stand_in)
        module.all_variables = global_variables  # its former name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that TensorFlow is about to remove
        for name in dir(v1):
            if name[0] != "_" and not hasattr(tf, name):
                setattr(tf, name, getattr(v1, name))
    variables = (kind for kind in type(tf.Variable(0)).__mro__ if issubclass(kind, tf.Variable))
    for kind in (type(tf.constant(0)), *variables):  # what assignments return is of a class in between
        kind.eval = _eval


install()

if __name__ == "__main__":
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        given = f"; {sys.argv[1]}: no such file" if len(sys.argv) > 1 else ""
        sys.exit(f"usage: python -m dnnlib.tflib.sessions SCRIPT.py ARGUMENTS{given}")
    del sys.argv[0]
    sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
    runpy.run_path(sys.argv[0], run_name="__main__")
