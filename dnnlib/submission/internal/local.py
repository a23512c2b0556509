"""Options of runs in this process."""

from dnnlib.util import EasyDict


class TargetOptions(EasyDict):
    """Options of local runs: none that matter here."""
