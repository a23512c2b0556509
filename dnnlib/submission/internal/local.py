"""Runs in this process."""

from typing import Any


class TargetOptions:
    """Options of local runs: none."""

    def __init__(self) -> None:
        self.do_not_copy_source_files = False

    def __repr__(self) -> str:
        return "TargetOptions()"


class Target:
    """Runs a function in this process."""

    def finalize_submit_config(self, submit_config: Any, host_run_dir: str) -> None:
        """Tells the run where its folder is."""
        submit_config.run_dir = host_run_dir

    def submit(self, submit_config: Any, host_run_dir: str) -> Any:
        """Runs and returns what the function returns."""
        from ..submit import run_wrapper

        print(f"Local submit - run_dir: {host_run_dir}")
        return run_wrapper(submit_config)
