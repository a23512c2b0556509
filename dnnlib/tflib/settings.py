"""How TensorFlow computes: the one place that tells it.

`import dnnlib.tflib` applies `set_defaults` to the whole process, before anything is traced, so that a program which
only loads a pickle computes as the scripts do. What a program sets by itself after that import stays.
"""

import tensorflow as tf


def set_defaults() -> None:
    """float32 is IEEE float32, and convolutions keep their layout.

    TensorFlow allows TensorFloat-32 unless it is told otherwise: inputs of convolutions and matrix products lose 13 of
    their 23 bits on GPUs that can, and images are not the official ones any more.

    Its layout optimizer puts our NHWC convolutions between transpositions to NCHW and back, because it counts for what
    NHWC is best, and takes a transposed convolution for a training in float32. Our ops are unknown to it, so that each
    convolution is wrapped for itself, while cuDNN computes 16 bit and TensorFloat-32 in NHWC. On CPUs it does nothing.
    """
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.optimizer.set_experimental_options({"layout_optimizer": False})


def allow_tf32(allowed: bool | None) -> None:
    """Sets whether float32 may be TensorFloat-32 on GPUs (None: as it is). Where there is one, prints which it is."""
    if allowed is not None:
        tf.config.experimental.enable_tensor_float_32_execution(allowed)
    if tf.config.list_physical_devices("GPU"):
        print(f"{describe_float32()}.")


def uses_tf32() -> bool:
    """Whether float32 may be computed in TensorFloat-32, on a GPU that TensorFlow sees."""
    return tf.config.experimental.tensor_float_32_execution_enabled() and bool(tf.config.list_physical_devices("GPU"))


def describe_float32() -> str:
    """What float32 means on a GPU, for people."""
    if tf.config.experimental.tensor_float_32_execution_enabled():
        return "TensorFloat-32 allowed: convolutions and matrix products of float32 round their inputs to 10 bits"
    return "float32 is IEEE float32 (--allow-tf32 is faster, and less exact)"


def allow_remapping(allowed: bool) -> bool:
    """Sets whether TensorFlow may fuse its own ops in graphs that are traced from now on. Returns whether it might.

    Its pass for that, the remapper, fails on graphs of gradients, with a message for each, and leaves them as fast
    without: trainings go without.
    """
    before = tf.config.optimizer.get_experimental_options().get("remapping", True)
    tf.config.optimizer.set_experimental_options({"remapping": allowed})
    return before
