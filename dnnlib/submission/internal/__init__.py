"""What official scripts and the settings of runs name."""

from . import local
