"""TensorFlow helpers with the names of the official `tflib`, and their meaning without graphs and sessions."""

import os
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from . import global_names, kept

_initialized = False


def init_tf(config_dict: dict[str, Any] | None = None) -> None:
    """Seeds the random number generators and applies settings.

    Args:
        config_dict: of the official keys, `rnd.np_random_seed` (int or None) and `rnd.tf_random_seed` (int, 'auto'
            to draw it from NumPy, or None) act, and `env.NAME` sets an environment variable. The session options
            (`gpu_options.*`, `graph_options.*`) have no meaning any more and are ignored.
    """
    global _initialized
    cfg = {"rnd.np_random_seed": None, "rnd.tf_random_seed": "auto", "gpu_options.allow_growth": True}
    cfg.update(config_dict or {})
    for key, value in cfg.items():
        if key.startswith("env."):
            os.environ[key.removeprefix("env.")] = str(value)
    if cfg["rnd.np_random_seed"] is not None:
        np.random.seed(cfg["rnd.np_random_seed"])
    tf_random_seed = cfg["rnd.tf_random_seed"]
    if tf_random_seed == "auto":
        if _initialized and not config_dict:
            return
        tf_random_seed = int(np.random.randint(1 << 31))
    if tf_random_seed is not None:
        tf.random.set_seed(tf_random_seed)
        random.seed(tf_random_seed)
    if cfg["gpu_options.allow_growth"] and not _initialized:
        for device in tf.config.list_physical_devices("GPU"):
            try:
                tf.config.experimental.set_memory_growth(device, True)
            except RuntimeError:  # the device is in use already, with the settings it has
                break
    _initialized = True


def assert_tf_initialized() -> None:
    """Nothing has to be initialized any more. Kept for scripts that call it."""


def init_uninitialized_vars(target_vars: Any = None) -> None:
    """Variables have their values from the start. Kept for scripts that call it."""


def is_tf_expression(x: Any) -> bool:
    """True for tensors and variables of TensorFlow and Keras."""
    return isinstance(x, (tf.Tensor, tf.Variable)) or tf.is_tensor(x) or hasattr(x, "__tf_tensor__")


def shape_to_list(shape: Iterable[Any]) -> list[int | None]:
    """A shape as a list of int or None."""
    return tf.TensorShape(shape).as_list()


def flatten(x: tf.Tensor) -> tf.Tensor:
    """All elements of a tensor as a vector."""
    return tf.reshape(x, [-1])


def log2(x: tf.Tensor) -> tf.Tensor:
    """Logarithm of base 2."""
    return tf.math.log(x) * np.float32(1.0 / np.log(2.0))


def exp2(x: tf.Tensor) -> tf.Tensor:
    """2 to the power of x."""
    return tf.exp(x * np.float32(np.log(2.0)))


def erfinv(y: tf.Tensor) -> tf.Tensor:
    """The inverse of the error function."""
    return tf.math.erfinv(y)


def lerp(a: tf.Tensor, b: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Linear interpolation: a at t = 0, b at t = 1."""
    return a + (b - a) * t


def finite_or(new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    """`new` if all of it is finite, else `old`: one bad minibatch must not spoil a running average for good."""
    return tf.where(tf.reduce_all(tf.math.is_finite(new)), new, old)


def lerp_clip(a: tf.Tensor, b: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Linear interpolation with t clipped to [0, 1]."""
    return a + (b - a) * tf.clip_by_value(t, 0, 1)


def run(fetches: Any, *_args: Any, **_kwargs: Any) -> Any:
    """Values of tensors and variables as NumPy arrays, in the nesting given. Functions (update ops) are called.

    A text is the global name of a network's variable, see `global_names`. Numbers, arrays and None are returned as they
    are. Raises ValueError for a text that is no such name, TypeError for other things that have no value.
    """
    if isinstance(fetches, dict):  # its keys may be variables, which tf.nest would sort
        return type(fetches)((key, run(value)) for key, value in fetches.items())
    if isinstance(fetches, (list, tuple)):
        values = [run(value) for value in fetches]
        return type(fetches)(*values) if hasattr(fetches, "_fields") else type(fetches)(values)  # of namedtuples
    if isinstance(fetches, str):
        return global_names.find(fetches).numpy()
    if is_tf_expression(fetches):
        return fetches.numpy()
    if callable(fetches):
        return run(fetches())
    if fetches is not None and not isinstance(fetches, (int, float, complex, np.ndarray, np.generic)):
        raise TypeError(f"a {type(fetches).__name__} has no value: expected tensors, variables or their global names")
    return fetches


def set_vars(var_to_value_dict: dict[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
    """Assigns values to variables.

    Besides a dict of the variables of networks, one keyed by `var.ref()` or a list of pairs is taken: other variables
    of TensorFlow 2 cannot be keys.
    """
    pairs = var_to_value_dict.items() if hasattr(var_to_value_dict, "items") else var_to_value_dict
    kept.weights_changed()
    for var, value in pairs:
        var = var.deref() if hasattr(var, "deref") else var
        var.assign(tf.cast(value, var.dtype))


def convert_images_from_uint8(
    images: tf.Tensor, drange: tuple[float, float] = (-1, 1), nhwc_to_nchw: bool = False
) -> tf.Tensor:
    """uint8 images to float32 with 0 and 255 mapped to the ends of `drange`; optionally `[N,H,W,C]` to `[N,C,H,W]`."""
    images = tf.cast(images, tf.float32)
    if nhwc_to_nchw:
        images = tf.transpose(images, [0, 3, 1, 2])  # [N, C, H, W]
    return images * ((drange[1] - drange[0]) / 255) + drange[0]


def convert_images_to_uint8(
    images: tf.Tensor,
    drange: tuple[float, float] = (-1, 1),
    nchw_to_nhwc: bool = False,
    shrink: int = 1,
) -> tf.Tensor:
    """Float images `[N, C, H, W]` to uint8, rounding half up and clipping.

    drange: the values that become 0 and 255. shrink: box-average by this factor first. nchw_to_nhwc: return
    `[N, H, W, C]`.
    """
    images = tf.cast(images, tf.float32)
    if shrink > 1:
        n, c, h, w = images.shape
        images = images[:, :, : h // shrink * shrink, : w // shrink * shrink]
        images = tf.reshape(images, [-1 if n is None else n, c, h // shrink, shrink, w // shrink, shrink])
        images = tf.reduce_mean(images, axis=[3, 5])  # [N, C, H / shrink, W / shrink]
    if nchw_to_nhwc:
        images = tf.transpose(images, [0, 2, 3, 1])  # [N, H, W, C]
    scale = 255 / (drange[1] - drange[0])
    images = images * scale + (0.5 - drange[0] * scale)
    return tf.cast(tf.clip_by_value(images, 0, 255), tf.uint8)  # `saturate_cast` has an op that LiteRT lacks
