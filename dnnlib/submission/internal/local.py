"""Options of runs in this process."""


class TargetOptions:
    """Options of local runs: none."""

    def __init__(self) -> None:
        self.do_not_copy_source_files = False

    def __repr__(self) -> str:
        return "TargetOptions()"
