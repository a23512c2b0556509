"""The compiled ops, with gradients of any order.

u is the argument of the pointwise function F: x + b, or x * scale + noise + b. All the kernels take float32 parameters
(scale, noise, b) beside images of float32, float16 or bfloat16, and compute in float32.

Gradients are registered by op, the one kind that also works within `tf.cond` at any order.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from . import build
from .activations import Pointwise


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
    return build.load().stylegan_bias_act(
        x=x, b=_parameter(b), v=tf.zeros([0], x.dtype), grad=0, inner=inner, **f.attrs()
    )


def _form(order: int, x: tf.Tensor, b: tf.Tensor, v: tf.Tensor, inner: int, f: Pointwise) -> tf.Tensor:
    """v times the derivative of F of an order >= 1, at x + b."""
    if order >= 2 and f.is_piecewise_linear():
        return tf.zeros_like(x)
    if order >= 3:  # there are kernels for two orders
        u = tf.cast(x, tf.float32)
        u = u if _absent(b) else tf.reshape(tf.reshape(u, [-1, b.shape[0], inner]) + b[:, tf.newaxis], tf.shape(x))
        return v * tf.cast(f.derivative(order, u), x.dtype)
    return build.load().stylegan_bias_act(x=x, b=b, v=v, grad=order, inner=inner, **f.attrs())


@tf.RegisterGradient("StyleganBiasAct")
def _bias_act_gradient(op: tf.Operation, w: tf.Tensor) -> Any:
    (x, b, v), f = op.inputs, Pointwise.of_op(op)
    order, inner = op.get_attr("grad"), op.get_attr("inner")
    if order == 0 and not _absent(b):
        channels = b.shape[0]
        shape = [1, -1, 1, channels] if inner == 1 else [-1, channels, 1, inner]
        dx, _, _, db = build.load().stylegan_epilogue_grad(
            **{"dy": tf.reshape(w, shape), "x": tf.reshape(x, shape), "b": b, "scale": _parameter(None)},
            **{"noise": _parameter(None), "channels_last": inner == 1, **f.attrs()},
        )
        return tf.reshape(dx, tf.shape(x)), db, None
    dx = _form(order + 1, x, b, w if order == 0 else w * v, inner, f)
    db = None
    if not _absent(b):
        db = tf.reduce_sum(tf.reshape(tf.cast(dx, tf.float32), [-1, b.shape[0], inner]), axis=[0, 2])
    return dx, db, None if order == 0 else _form(order, x, b, w, inner, f)


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
    scale, noise, b = _parameter(scale), _parameter(noise), _parameter(b)
    return build.load().stylegan_epilogue(x=x, scale=scale, noise=noise, b=b, channels_last=channels_last, **f.attrs())


@tf.RegisterGradient("StyleganEpilogue")
def _epilogue_gradient(op: tf.Operation, dy: tf.Tensor) -> Any:
    """(dx, dscale, dnoise, db): with du = dy * F'(u), dx = du * scale, and the rest are sums of du * x, du and du."""
    x, scale, noise, b = op.inputs
    last = op.get_attr("channels_last")
    return build.load().stylegan_epilogue_grad(
        dy=dy, x=x, scale=scale, noise=noise, b=b, channels_last=last, **Pointwise.of_op(op).attrs()
    )


@tf.RegisterGradient("StyleganEpilogueGrad")
def _epilogue_second_gradient(op: tf.Operation, a: tf.Tensor, p: tf.Tensor, q: tf.Tensor, r: tf.Tensor) -> Any:
    """Where the cotangents a, p, q, r belong to dx, dscale, dnoise, db: the gradients of sum(du * w), w as below.

    None stands for what is 0 everywhere because F'' is.
    """
    (dy, x, scale, noise, b), f = op.inputs, Pointwise.of_op(op)
    only_d_dy = f.is_piecewise_linear() and _absent(scale)
    dy = x if only_d_dy else dy  # it is not read then, and need not be kept
    gradients = build.load().stylegan_epilogue_grad_grad(
        **{"dy": dy, "x": x, "scale": scale, "noise": noise, "b": b, "a": a, "p": p, "q": q, "r": r},
        **{"channels_last": op.get_attr("channels_last"), **f.attrs()},
    )
    d_dy, d_x, d_scale, d_noise, d_b = gradients
    if only_d_dy:
        return d_dy, None, None, None, None
    return (d_dy, d_x, d_scale, None, None) if f.is_piecewise_linear() else (d_dy, d_x, d_scale, d_noise, d_b)


@tf.RegisterGradient("StyleganEpilogueGradGrad")
def _epilogue_third_gradient(op: tf.Operation, *cotangents: tf.Tensor) -> Any:
    """The gradient of the second gradient made of several operations, which have gradients of any order."""
    inputs = [tf.identity(t) for t in op.inputs]  # of this graph, where it is one of a branch
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = _second_gradient_of_ops(*inputs, op.get_attr("channels_last"), Pointwise.of_op(op))
    wanted = [(y, v) for y, v in zip(outputs, cotangents, strict=True) if y is not None]
    return tape.gradient([y for y, _ in wanted], inputs, output_gradients=[v for _, v in wanted])


def _second_gradient_of_ops(
    dy: tf.Tensor,
    x: tf.Tensor,
    scale: tf.Tensor,
    noise: tf.Tensor,
    b: tf.Tensor,
    a: tf.Tensor,
    p: tf.Tensor,
    q: tf.Tensor,
    r: tf.Tensor,
    channels_last: bool,
    f: Pointwise,
) -> list[tf.Tensor | None]:
    """The outputs of StyleganEpilogueGradGrad; None: it is 0 everywhere.

    In float32, because it is a chain of several operations; u goes into the kernels without b.
    """
    batch, rows, columns, channels = (0, 1, 2, 3) if channels_last else (0, 2, 3, 1)

    def per_map(t: tf.Tensor) -> tf.Tensor:  # [N, C]
        return tf.expand_dims(tf.expand_dims(t, rows), columns)

    def per_pixel(t: tf.Tensor) -> tf.Tensor:  # [N or 1, H, W]
        return tf.expand_dims(t, channels)

    dtype, batch_of_noise = x.dtype, noise.shape[0]
    a, x32, dy32 = (tf.cast(t, tf.float32) for t in (a, x, dy))
    u, w = x32, a
    if not _absent(scale):
        u, w = u * per_map(scale), w * per_map(scale) + per_map(p) * x32
    if not _absent(noise):
        u, w = u + per_pixel(noise), w + per_pixel(q)
    if not _absent(b):
        w = w + (r if channels_last else r[:, tf.newaxis, tf.newaxis])
    inner = 1 if channels_last else x.shape[rows] * x.shape[columns]
    d_dy = tf.cast(_form(1, u, b, w, inner, f), dtype)
    du = _form(1, u, b, dy32, inner, f)
    if f.is_piecewise_linear():
        if _absent(scale):
            return [d_dy, None, None, None, None]
        return [d_dy, tf.cast(du * per_map(p), dtype), tf.reduce_sum(du * a, axis=[rows, columns]), None, None]
    d_u = _form(2, u, b, w * dy32, inner, f)
    d_x, d_scale, d_noise, d_b = d_u, None, None, None
    if not _absent(scale):
        d_x = du * per_map(p) + d_u * per_map(scale)
        d_scale = tf.reduce_sum(du * a + d_u * x32, axis=[rows, columns])
    if not _absent(noise):
        d_noise = tf.reduce_sum(d_u, axis=[channels] if batch_of_noise != 1 else [batch, channels])
        d_noise = d_noise[tf.newaxis] if batch_of_noise == 1 else d_noise
    if not _absent(b):
        d_b = tf.reduce_sum(d_u, axis=[batch, rows, columns])
    return [d_dy, tf.cast(d_x, dtype), d_scale, d_noise, d_b]


# ----------------------------------------------------------------------------
# Absent parameters are empty tensors, which is how the TensorFlow ops take them.


def _absent(parameter: tf.Tensor) -> bool:
    return parameter.shape.rank == 1 and parameter.shape[0] == 0


def _parameter(t: tf.Tensor | None) -> tf.Tensor:
    return tf.zeros([0], tf.float32) if t is None else tf.cast(t, tf.float32)
