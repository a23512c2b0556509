"""Run folders: where a script's results, log and settings go."""

from . import run_context, submit
