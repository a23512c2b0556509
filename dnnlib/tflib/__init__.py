"""TensorFlow side of the official `dnnlib`: networks, pickles, custom ops and small helpers."""

import sys

from dnnlib import commands

# The doctor, `python -m dnnlib.tflib.doctor` or `stylegan2 doctor`, runs without TensorFlow, too.
if "dnnlib.tflib.doctor" not in sys.orig_argv and commands.running() != "doctor":
    from . import autosummary, kept, network, ops, optimizer, settings, tfutil
    from .network import Network
    from .optimizer import Optimizer
    from .tfutil import (
        assert_tf_initialized,
        convert_images_from_uint8,
        convert_images_to_uint8,
        exp2,
        flatten,
        init_tf,
        init_uninitialized_vars,
        is_tf_expression,
        lerp,
        lerp_clip,
        log2,
        run,
        set_vars,
        shape_to_list,
    )

    settings.set_defaults()
