"""The compiled kernels as functions that can be differentiated any number of times.

u is the argument of the pointwise function F: x + b, or x * scale + noise + b. All the kernels take float32 parameters
(scale, noise, b) beside images of float32, float16 or bfloat16, and compute in float32.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from . import build


class Pointwise(NamedTuple):
    """F(u) = clamp(gain * act(u)), where clamp None is no limit; `ref` is F made of TensorFlow ops."""

    act: str
    alpha: float | None
    gain: float
    clamp: float | None
    ref: Callable[[tf.Tensor], tf.Tensor]

    def attrs(self) -> dict[str, Any]:
        """The attributes of the TensorFlow ops."""
        clamp = -1.0 if self.clamp is None else float(self.clamp)
        return {"act": self.act, "alpha": float(self.alpha or 0), "gain": float(self.gain), "clamp": clamp}

    def is_piecewise_linear(self) -> bool:
        """Whether F'' is 0."""
        return self.act in ("linear", "relu", "lrelu")


# ----------------------------------------------------------------------------
# upfirdn.


def upfirdn(
    x: tf.Tensor,
    k: np.ndarray,
    up: tuple[int, int],
    down: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
    data_format: str,
) -> tf.Tensor:
    """upfirdn as in `upfirdn_2d.py`, forward only. k `[firH, firW]`; factors and pads: (y, x)."""
    (pady0, pady1), (padx0, padx1) = pads
    return build.load().stylegan_upfirdn2d(
        x=x,
        k=tf.constant(k, tf.float32),
        **{"upx": up[1], "upy": up[0], "downx": down[1], "downy": down[0]},
        **{"padx0": padx0, "padx1": padx1, "pady0": pady0, "pady1": pady1},
        channels_last=data_format == "NHWC",
    )


# ----------------------------------------------------------------------------
# Bias and activation.


def bias_act(x: tf.Tensor, b: tf.Tensor | None, inner: int, f: Pointwise) -> tf.Tensor:
    """F(x + b). x of any shape; b `[C]` or None; inner: the product of x's sizes after the axis of b."""

    @tf.custom_gradient
    def forward(x: tf.Tensor, b: tf.Tensor) -> Any:
        def grad(dy: tf.Tensor) -> Any:
            if absent(b):
                return _form(1, x, b, dy, inner, f), tf.zeros_like(b)
            channels = b.shape[0]
            shape = [1, -1, 1, channels] if inner == 1 else [-1, channels, 1, inner]
            as_images = (tf.reshape(t, shape) for t in (dy, x))
            dx, _, _, db = _epilogue_grad(*as_images, _nothing(), _nothing(), b, inner == 1, f)
            return tf.reshape(dx, tf.shape(x)), db

        return build.load().stylegan_bias_act(
            x=x, b=b, v=tf.zeros([0], x.dtype), grad=0, inner=inner, **f.attrs()
        ), grad

    return forward(x, _parameter(b))


def _form(order: int, x: tf.Tensor, b: tf.Tensor, v: tf.Tensor, inner: int, f: Pointwise) -> tf.Tensor:
    """v times the derivative of F of an order >= 1, at x + b."""
    if order >= 2 and f.is_piecewise_linear():
        return tf.zeros_like(x)
    if order >= 3:  # there are kernels for two orders
        u = tf.cast(x, tf.float32)
        u = u if absent(b) else tf.reshape(tf.reshape(u, [-1, b.shape[0], inner]) + b[:, tf.newaxis], tf.shape(x))
        return v * tf.cast(_derivative(f.ref, order, u), x.dtype)

    @tf.custom_gradient
    def form(x: tf.Tensor, b: tf.Tensor, v: tf.Tensor) -> Any:
        def grad(w: tf.Tensor) -> Any:
            dx = _form(order + 1, x, b, w * v, inner, f)
            if absent(b):
                db = tf.zeros_like(b)
            else:
                db = tf.reduce_sum(tf.reshape(tf.cast(dx, tf.float32), [-1, b.shape[0], inner]), axis=[0, 2])
            return dx, db, _form(order, x, b, w, inner, f)

        return build.load().stylegan_bias_act(x=x, b=b, v=v, grad=order, inner=inner, **f.attrs()), grad

    return form(x, b, v)


def _derivative(func: Callable[[tf.Tensor], tf.Tensor], order: int, u: tf.Tensor) -> tf.Tensor:
    """The derivative of a pointwise function."""
    if order == 0:
        return func(u)
    with tf.GradientTape() as tape:
        tape.watch(u)
        y = _derivative(func, order - 1, u)
    return tape.gradient(y, u, unconnected_gradients=tf.UnconnectedGradients.ZERO)


# ----------------------------------------------------------------------------
# The epilogue of a layer of the synthesis network.


def epilogue(
    x: tf.Tensor,
    scale: tf.Tensor | None,
    noise: tf.Tensor | None,
    b: tf.Tensor | None,
    channels_last: bool,
    f: Pointwise,
) -> tf.Tensor:
    """F(x * scale + noise + b).

    x: `[N, H, W, C]` if channels_last else `[N, C, H, W]`; scale `[N, C]`, noise `[N or 1, H, W]`, b `[C]` or None.
    """

    @tf.custom_gradient
    def forward(x: tf.Tensor, scale: tf.Tensor, noise: tf.Tensor, b: tf.Tensor) -> Any:
        def grad(dy: tf.Tensor) -> Any:
            return _epilogue_grad(dy, x, scale, noise, b, channels_last, f)

        y = build.load().stylegan_epilogue(x=x, scale=scale, noise=noise, b=b, channels_last=channels_last, **f.attrs())
        return y, grad

    return forward(x, _parameter(scale), _parameter(noise), _parameter(b))


def _epilogue_grad(
    dy: tf.Tensor, x: tf.Tensor, scale: tf.Tensor, noise: tf.Tensor, b: tf.Tensor, channels_last: bool, f: Pointwise
) -> Any:
    """(dx, dscale, dnoise, db): with du = dy * F'(u), dx = du * scale, and the rest are sums of du * x, du and du."""
    batch, rows, columns, channels = (0, 1, 2, 3) if channels_last else (0, 2, 3, 1)

    def per_map(t: tf.Tensor) -> tf.Tensor:  # [N, C]
        return tf.expand_dims(tf.expand_dims(t, rows), columns)

    def per_pixel(t: tf.Tensor) -> tf.Tensor:  # [N or 1, H, W]
        return tf.expand_dims(t, channels)

    @tf.custom_gradient
    def gradient(dy: tf.Tensor, x: tf.Tensor, scale: tf.Tensor, noise: tf.Tensor, b: tf.Tensor) -> Any:
        def grad(a: tf.Tensor, p: tf.Tensor, q: tf.Tensor, r: tf.Tensor) -> Any:
            """Where the cotangents a, p, q, r belong to dx, dscale, dnoise, db: of sum(du * w), w as below.

            In float32, because it is a chain of several operations; u goes into the kernels without b.
            """
            dtype, batch_of_noise = x.dtype, noise.shape[0]
            a, x32, dy32 = (tf.cast(t, tf.float32) for t in (a, x, dy))
            u, w = x32, a
            if not absent(scale):
                u, w = u * per_map(scale), w * per_map(scale) + per_map(p) * x32
            if not absent(noise):
                u, w = u + per_pixel(noise), w + per_pixel(q)
            if not absent(b):
                w = w + (r if channels_last else r[:, tf.newaxis, tf.newaxis])
            inner = 1 if channels_last else x.shape[rows] * x.shape[columns]
            d_dy = _form(1, u, b, w, inner, f)
            du = _form(1, u, b, dy32, inner, f)
            d_u = tf.zeros_like(u) if f.is_piecewise_linear() else _form(2, u, b, w * dy32, inner, f)
            d_x, d_scale, d_noise, d_b = d_u, tf.zeros_like(scale), tf.zeros_like(noise), tf.zeros_like(b)
            if not absent(scale):
                d_x = du * per_map(p) + d_u * per_map(scale)
                d_scale = tf.reduce_sum(du * a + d_u * x32, axis=[rows, columns])
            if not absent(noise):
                d_noise = tf.reduce_sum(d_u, axis=[channels] if batch_of_noise != 1 else [batch, channels])
                d_noise = d_noise[tf.newaxis] if batch_of_noise == 1 else d_noise
            if not absent(b):
                d_b = tf.reduce_sum(d_u, axis=[batch, rows, columns])
            return tf.cast(d_dy, dtype), tf.cast(d_x, dtype), d_scale, d_noise, d_b

        outputs = build.load().stylegan_epilogue_grad(
            dy=dy, x=x, scale=scale, noise=noise, b=b, channels_last=channels_last, **f.attrs()
        )
        return tuple(outputs), grad

    return gradient(dy, x, scale, noise, b)


# ----------------------------------------------------------------------------
# Absent parameters are empty tensors, which is how the TensorFlow ops take them.


def absent(parameter: tf.Tensor) -> bool:
    """Whether a parameter of an op stands for None."""
    return parameter.shape.rank == 1 and parameter.shape[0] == 0


def _parameter(t: tf.Tensor | None) -> tf.Tensor:
    return _nothing() if t is None else tf.cast(t, tf.float32)


def _nothing() -> tf.Tensor:
    return tf.zeros([0], tf.float32)
