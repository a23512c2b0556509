"""16-bit feature maps in the highest resolutions, as in StyleGAN2-ADA (arXiv:2006.06676, appendix D).

Weights, W, images, scores, losses and the optimizer stay in float32, as do the lower resolutions, where accuracy
matters most and time least. float16 overflows at 65504: styles and weights are normalised before a convolution
(`layers.modulated_conv2d`), and feature maps are clamped (`conv_clamp`).
"""

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from dnnlib.errors import short
from dnnlib.resolutions import Resolution, size_text

from .checks import check_choice, check_numbers

FP16_DTYPES = ("auto", "float16", "bfloat16")


class MixedPrecision(NamedTuple):
    """Which resolutions are computed in 16 bit.

    num_fp16_res: so many of the highest ones; 0 is none.
    conv_clamp: feature maps are clamped to [-conv_clamp, conv_clamp], at all resolutions; None: they are not.
    fp16_dtype: 'float16', 'bfloat16', or 'auto': float16 where there is a GPU, else bfloat16, which CPUs have.
    """

    num_fp16_res: int = 0
    conv_clamp: float | None = None
    fp16_dtype: str = "auto"

    def check(self, owner: str) -> "MixedPrecision":
        """Itself. Raises ValueError for values that make no sense."""
        if isinstance(self.num_fp16_res, bool) or not isinstance(self.num_fp16_res, int) or self.num_fp16_res < 0:
            raise ValueError(f"{owner}: num_fp16_res must be an integer of 0 or more, got {short(self.num_fp16_res)}")
        check_numbers(owner, conv_clamp=self.conv_clamp)
        if self.conv_clamp is not None and self.conv_clamp <= 0:
            raise ValueError(f"{owner}: conv_clamp must be a number above 0, or None, got {short(self.conv_clamp)}")
        check_choice(owner, "fp16_dtype", self.fp16_dtype, FP16_DTYPES)
        return self

    def dtype_at(self, level: int, resolution: Resolution, dtype: str) -> str:
        """The type of feature maps at a level of a resolution; `dtype` is the network's own."""
        if level < self._lowest(resolution):
            return dtype
        return default_fp16_dtype() if self.fp16_dtype == "auto" else self.fp16_dtype

    def _lowest(self, resolution: Resolution) -> int:
        """The lowest level in 16 bit: the base never is."""
        return max(resolution.log2 - self.num_fp16_res, resolution.first_log2) + 1

    def describe(self, resolution: Resolution) -> str:
        """One line for logs, such as 'bfloat16 from 8x8 to 64x64, float32 elsewhere'."""
        lowest = self._lowest(resolution)
        if lowest > resolution.log2:
            return "float32"
        dtype = self.dtype_at(resolution.log2, resolution, "float32")
        where = " to ".join(size_text(resolution.size(level)) for level in (lowest, resolution.log2))
        note = f"; this CPU has no {dtype} instructions, so expect it to be slower" if is_slow_here(dtype) else ""
        return f"{dtype} from {where}, float32 elsewhere{note}"


def default_fp16_dtype() -> str:
    """The 16-bit type of this machine."""
    return "float16" if tf.config.get_visible_devices("GPU") else "bfloat16"


def is_slow_here(dtype: str) -> bool:
    """Whether a 16-bit type only costs time: on a CPU without instructions for it, as far as the system tells."""
    if tf.config.get_visible_devices("GPU"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text().lower()
    except OSError:
        return False
    wanted = ("avx512_bf16", "amx_bf16", " bf16") if dtype == "bfloat16" else ("avx512_fp16", "amx_fp16", " fphp")
    return not any(flag in flags for flag in wanted)
