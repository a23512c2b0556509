"""Which implementation of a custom op runs.

Each op is one public function with an `impl` argument. 'ref' is built from TensorFlow ops and defines the meaning;
it runs on every device and is the only one there is so far.
"""


def check_impl(impl: str) -> None:
    """Raises ValueError unless `impl` names an implementation that this version has ('ref', or 'auto' for the best)."""
    if impl in ("ref", "auto"):
        return
    if impl == "cuda":
        raise ValueError("impl='cuda': this version has no CUDA kernels; use impl='ref' (or 'auto')")
    raise ValueError(f"impl must be 'ref' or 'auto', got {impl!r}")
